//! What can go wrong with a statement, and what that means for a transaction.
//! Refuses to know which statement it was.

use tokio_postgres::error::SqlState;

use crate::store::StoreError;
use crate::store::packed::damaged;

/// What every statement gives.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// SQLite says so.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// PostgreSQL says so, or the way to it is cut.
    #[error("{}", explain(.0))]
    Postgres(#[from] tokio_postgres::Error),
    /// PostgreSQL cannot make sense of a statement, which is a fault of ours.
    #[error("{} in {sql}", explain(.error))]
    Refused {
        /// Why.
        error: tokio_postgres::Error,
        /// Which one.
        sql: String,
    },
    /// The server did not answer in time; nobody knows what became of the statement.
    #[error("the database did not answer in time")]
    Silent,
    /// There is no row where one was asked for.
    #[error("no row was found")]
    NoRow,
    /// A column holds something else than what was written.
    #[error("{0}")]
    Shape(String),
}

/// A server's own words, which its error leaves to its source.
fn explain(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(told) => format!("{} ({})", told.message(), told.code().code()),
        // What lies beneath says which: refused, no such host, not trusted.
        None => match std::error::Error::source(error) {
            Some(cause) => format!("{error}: {cause}"),
            None => error.to_string(),
        },
    }
}

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        match error {
            Error::Sqlite(error) => error.into(),
            // Classes of SQLSTATE: 22 data, 23 constraints, 54 limits. Everything else is the server's trouble.
            Error::Postgres(ref it) => match it.code().map(SqlState::code) {
                Some("PC001") => Self::Lapsed(error.to_string()),
                // A deadlock that it lost, and a serialization failure.
                Some("40P01" | "40001") => Self::Conflict(error.to_string()),
                Some("53100") => Self::Full(error.to_string()),
                // Damaged data and indexes; a table that somebody took away.
                Some("XX001" | "XX002" | "42P01") => Self::Damaged(error.to_string()),
                Some(code) if ["22", "23", "54"].iter().any(|class| code.starts_with(class)) => {
                    Self::Data(error.to_string())
                }
                _ => Self::Unavailable(error.to_string()),
            },
            Error::Refused { error: ref it, .. } if it.code() == Some(&SqlState::UNDEFINED_TABLE) => {
                Self::Damaged(error.to_string())
            }
            Error::Silent | Error::Refused { .. } => Self::Unavailable(error.to_string()),
            Error::NoRow | Error::Shape(_) => damaged(error),
        }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode::{
            ConstraintViolation, DatabaseCorrupt, DiskFull, NotADatabase, TooBig, TypeMismatch,
        };
        use rusqlite::ffi::{
            SQLITE_IOERR_CORRUPTFS, SQLITE_IOERR_DATA, SQLITE_IOERR_READ, SQLITE_IOERR_SHMSIZE,
            SQLITE_IOERR_SHORT_READ,
        };
        match error.sqlite_extended_error_code() {
            // The log's index is a file that has to grow, too.
            Some(SQLITE_IOERR_SHMSIZE) => return Self::Full(error.to_string()),
            Some(
                SQLITE_IOERR_READ | SQLITE_IOERR_SHORT_READ | SQLITE_IOERR_CORRUPTFS | SQLITE_IOERR_DATA,
            ) => {
                return Self::Damaged(error.to_string());
            }
            _ => {}
        }
        match error.sqlite_error_code() {
            Some(ConstraintViolation | TooBig | TypeMismatch) => Self::Data(error.to_string()),
            Some(DiskFull) => Self::Full(error.to_string()),
            Some(DatabaseCorrupt | NotADatabase) => Self::Damaged(error.to_string()),
            Some(_) => Self::Unavailable(error.to_string()),
            // SQLite did as it was told; what it gave back is not what was written.
            None => damaged(error),
        }
    }
}

/// A row that need not be there.
pub trait OptionalExtension<T> {
    /// Nothing in place of [`Error::NoRow`].
    fn optional(self) -> Result<Option<T>>;
}

impl<T> OptionalExtension<T> for Result<T> {
    fn optional(self) -> Result<Option<T>> {
        match self {
            Ok(found) => Ok(Some(found)),
            Err(Error::NoRow) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
