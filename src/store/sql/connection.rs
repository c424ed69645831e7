//! A connection to either database, with its statements and their rows. Does not depend on what is asked.

use std::sync::Arc;

use super::error::{Error, Result};
use super::pending::Prepared;
use super::postgres::Wire;
use super::row::Row;
use super::value::{Params, Value};

/// A connection to a database. Used by one thread at a time.
#[derive(Debug)]
pub enum Connection {
    /// To a file.
    Sqlite(rusqlite::Connection),
    /// To a server.
    Postgres(Box<Wire>),
}

impl Connection {
    /// The connection to a file.
    ///
    /// # Panics
    /// When it is one to a server: the embedded store alone asks.
    pub fn sqlite(&self) -> &rusqlite::Connection {
        match self {
            Self::Sqlite(connection) => connection,
            Self::Postgres(_) => unreachable!("the embedded store has connections to a file"),
        }
    }

    /// The same, to be set up.
    #[cfg(test)]
    pub fn sqlite_mut(&mut self) -> &mut rusqlite::Connection {
        match self {
            Self::Sqlite(connection) => connection,
            Self::Postgres(_) => unreachable!("the embedded store has connections to a file"),
        }
    }

    /// How often this connection has waited for a server's answer since it was made, but to prepare statements.
    pub fn round_trips(&self) -> u64 {
        match self {
            Self::Sqlite(_) => 0,
            Self::Postgres(wire) => wire.round_trips(),
        }
    }

    /// The connection to a server, if it is one.
    pub fn postgres(&self) -> Option<&Wire> {
        match self {
            Self::Sqlite(_) => None,
            Self::Postgres(wire) => Some(wire),
        }
    }

    /// Whether rows that nobody needs go with the partition that they lie in, so that some lie there although they are
    /// gone. Where they are removed one by one, what lies there is there.
    pub fn drops_by_age(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }

    /// Whether calls are found by an index beside their table, into which their hashes are filed in order: where the commit
    /// itself waits for every page that it touched, an index of its own would cost each new call one of them.
    pub fn files_hashes(&self) -> bool {
        self.file().is_some()
    }

    /// The connection to a file, if it is one: what is removed there stays readable until it is overwritten.
    pub fn file(&self) -> Option<&rusqlite::Connection> {
        match self {
            Self::Sqlite(connection) => Some(connection),
            Self::Postgres(_) => None,
        }
    }

    /// Whether it can be used no more.
    pub fn is_broken(&self) -> bool {
        match self {
            Self::Sqlite(_) => false,
            Self::Postgres(wire) => wire.has_ended(),
        }
    }

    /// Statements may take as long as they take, for work on whole tables, or no longer than usual again.
    pub fn set_patient(&self, is_patient: bool) -> Result<()> {
        match self {
            Self::Sqlite(_) => Ok(()),
            Self::Postgres(wire) => wire.set_patient(is_patient),
        }
    }

    /// Begins to read on one snapshot, from the first to the last row.
    pub fn begin_reading(&self) -> Result<()> {
        match self {
            Self::Sqlite(connection) => Ok(connection.execute_batch("BEGIN DEFERRED")?),
            Self::Postgres(wire) => {
                wire.begin("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
                Ok(())
            }
        }
    }

    /// Gives up the transaction, if there is one.
    pub fn roll_back(&self) {
        match self {
            Self::Sqlite(connection) => {
                if !connection.is_autocommit()
                    && let Err(error) = connection.execute_batch("ROLLBACK")
                {
                    tracing::error!(%error, "a rollback failed");
                }
            }
            Self::Postgres(wire) => wire.roll_back(),
        }
    }

    /// A statement; what its preparation took is kept for the next time.
    pub fn prepare_cached(&self, sql: &str) -> Result<Statement<'_>> {
        Ok(match self {
            Self::Sqlite(connection) => Statement::Sqlite(connection.prepare_cached(sql)?),
            Self::Postgres(wire) => Statement::Postgres(wire, wire.prepare(sql)?),
        })
    }

    /// Runs a statement once. Gives the number of rows that it changed.
    pub fn execute(&self, sql: &str, params: impl Params) -> Result<usize> {
        self.prepare_cached(sql)?.execute(params)
    }

    /// Runs statements without parameters.
    pub fn execute_batch(&self, sql: &str) -> Result<()> {
        match self {
            Self::Sqlite(connection) => Ok(connection.execute_batch(sql)?),
            Self::Postgres(wire) => wire.execute_batch(sql),
        }
    }
}

/// A prepared statement.
pub enum Statement<'c> {
    /// Of SQLite.
    Sqlite(rusqlite::CachedStatement<'c>),
    /// Of PostgreSQL.
    Postgres(&'c Wire, Arc<Prepared>),
}

impl Statement<'_> {
    /// Runs it. Gives the number of rows that it changed.
    pub fn execute(&mut self, params: impl Params) -> Result<usize> {
        params.with(|values| match self {
            Self::Sqlite(statement) => {
                bind(statement, values)?;
                Ok(statement.raw_execute()?)
            }
            Self::Postgres(wire, prepared) => wire.execute(prepared, values),
        })
    }

    /// The rows that it gives.
    pub fn query(&mut self, params: impl Params) -> Result<Rows<'_>> {
        params.with(|values| match self {
            Self::Sqlite(statement) => {
                bind(statement, values)?;
                Ok(Rows::Sqlite(statement.raw_query()))
            }
            Self::Postgres(wire, prepared) => {
                Ok(Rows::Postgres { rows: wire.query(prepared, values)?, next: 0 })
            }
        })
    }

    /// Each row as something else.
    pub fn query_map<T, F>(&mut self, params: impl Params, read: F) -> Result<Mapped<'_, F>>
    where
        F: FnMut(&Row<'_>) -> Result<T>,
    {
        Ok(Mapped { rows: self.query(params)?, read })
    }

    /// The first row as something else; [`Error::NoRow`] when there is none.
    pub fn query_row<T>(
        &mut self,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> Result<T>,
    ) -> Result<T> {
        let mut rows = self.query(params)?;
        match rows.next()? {
            Some(row) => read(&row),
            None => Err(Error::NoRow),
        }
    }

    /// Whether it gives a row.
    pub fn exists(&mut self, params: impl Params) -> Result<bool> {
        let mut rows = self.query(params)?;
        Ok(rows.next()?.is_some())
    }
}

fn bind(statement: &mut rusqlite::CachedStatement<'_>, values: &[Value<'_>]) -> Result<()> {
    // Values that only PostgreSQL's part of a statement names stand last.
    for (at, value) in (1..=statement.parameter_count()).zip(values) {
        statement.raw_bind_parameter(at, value)?;
    }
    Ok(())
}

/// Rows, one after the other.
pub enum Rows<'s> {
    /// As SQLite finds them.
    Sqlite(rusqlite::Rows<'s>),
    /// As PostgreSQL has sent them.
    Postgres {
        /// All of them.
        rows: Vec<tokio_postgres::Row>,
        /// Which comes next.
        next: usize,
    },
}

impl Rows<'_> {
    /// One of those that were fetched together.
    pub fn at(&self, at: usize) -> Option<Row<'_>> {
        match self {
            Self::Sqlite(_) => None,
            Self::Postgres { rows, .. } => rows.get(at).map(Row::Postgres),
        }
    }

    /// The next one.
    pub fn next(&mut self) -> Result<Option<Row<'_>>> {
        match self {
            Self::Sqlite(rows) => Ok(rows.next()?.map(Row::Sqlite)),
            Self::Postgres { rows, next } => {
                let row = rows.get(*next);
                *next += 1;
                Ok(row.map(Row::Postgres))
            }
        }
    }
}

/// Rows as something else.
pub struct Mapped<'s, F> {
    rows: Rows<'s>,
    read: F,
}

impl<T, F: FnMut(&Row<'_>) -> Result<T>> Iterator for Mapped<'_, F> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.rows.next() {
            Ok(Some(row)) => Some((self.read)(&row)),
            Ok(None) => None,
            Err(error) => Some(Err(error)),
        }
    }
}
