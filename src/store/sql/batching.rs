//! Work for a database that is far away: what a transaction needs is fetched together, and what it writes and nobody waits
//! for goes out together, before the next statement that is waited for or with the commit. SQLite is near: it is asked and
//! told row by row, which costs it nothing more. Refuses to know what is written.

use super::bulk::{Bulk, Column};
use super::connection::{Connection, Rows};
use super::error::Result;
use super::row::Row;
use super::value::Params;

/// A question with arrays of whole numbers for parameters.
pub type Question<'a> = (&'a str, &'a [&'a [i64]]);

impl Connection {
    /// Runs a statement for one more row. The rows of one [`Bulk`] reach the database together, where the first of them
    /// stands among the others, so no two of them in one transaction may touch the same row.
    pub fn bulk(&self, bulk: &'static Bulk, params: impl Params) -> Result<()> {
        match self {
            Self::Sqlite(_) => self.execute(bulk.one, params).map(drop),
            Self::Postgres(wire) => {
                params.with(|values| wire.push(bulk, values));
                Ok(())
            }
        }
    }

    /// Runs a statement in its turn, but nobody waits for what it comes to.
    pub fn later(&self, sql: &str, params: impl Params) -> Result<()> {
        match self {
            Self::Sqlite(_) => self.execute(sql, params).map(drop),
            Self::Postgres(wire) => {
                let statement = wire.prepare(sql)?;
                params.with(|values| wire.push_one(statement, values));
                Ok(())
            }
        }
    }

    /// Runs a statement for many rows at once, on a database that is far away.
    pub fn execute_many(&self, sql: &str, columns: &[Column]) -> Result<()> {
        let Self::Postgres(wire) = self else { return Ok(()) };
        wire.query_all(&[(sql, columns)]).map(drop)
    }

    /// Asks the same for each of several sets of parameters, and gives what was read of the rows of each. Where the database is
    /// far away all are asked in one round trip, each by itself: one that divides its tables asks one machine for each.
    pub fn query_each<T, const N: usize>(
        &self,
        sql: &str,
        params: &[[i64; N]],
        mut read: impl FnMut(&Row<'_>) -> Result<T>,
    ) -> Result<Vec<Vec<T>>> {
        let Self::Postgres(wire) = self else {
            let mut statement = self.prepare_cached(sql)?;
            return params.iter().map(|params| statement.query_map(*params, &mut read)?.collect()).collect();
        };
        let read_all = |rows| {
            let (mut rows, mut all) = (Rows::Postgres { rows, next: 0 }, Vec::new());
            while let Some(row) = rows.next()? {
                all.push(read(&row)?);
            }
            Ok(all)
        };
        let answers = match params.is_empty() {
            true => Vec::new(),
            false => wire.query_each(sql, params)?,
        };
        answers.into_iter().map(read_all).collect()
    }

    /// Fetches the rows of several questions together; `None` where each is asked for by itself. Each looks for what is in its
    /// arrays, so one with nothing in them is not worth asking.
    pub fn fetch(&self, questions: &[Question<'_>]) -> Result<Option<Vec<Rows<'static>>>> {
        let Self::Postgres(wire) = self else { return Ok(None) };
        let columns: Vec<Vec<Column>> = questions
            .iter()
            .map(|(_, params)| params.iter().map(|numbers| Column::of(numbers)).collect())
            .collect();
        let is_asked = |params: &[&[i64]]| params.iter().all(|numbers| !numbers.is_empty());
        let asked: Vec<(&str, &[Column])> = questions
            .iter()
            .zip(&columns)
            .filter(|((_, params), _)| is_asked(params))
            .map(|((sql, _), columns)| (*sql, &columns[..]))
            .collect();
        let mut answers = wire.query_all(&asked)?.into_iter();
        let rows_of = |(_, params): &Question<'_>| match is_asked(params) {
            true => answers.next().unwrap_or_default(),
            false => Vec::new(),
        };
        Ok(Some(questions.iter().map(rows_of).map(|rows| Rows::Postgres { rows, next: 0 }).collect()))
    }
}
