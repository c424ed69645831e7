//! A row of either database, and what its columns are read as. Does not depend on statements.

use rusqlite::types::ValueRef;
use tokio_postgres::types::Type;

use super::error::{Error, Result};
use super::value::Value;

/// A row.
#[derive(Clone, Copy)]
pub enum Row<'r> {
    /// Of SQLite.
    Sqlite(&'r rusqlite::Row<'r>),
    /// Of PostgreSQL.
    Postgres(&'r tokio_postgres::Row),
}

impl Row<'_> {
    /// A column's value. Whole numbers are read into any width that they fit in, and 0 and 1 into truth.
    pub fn get<T: Get>(&self, column: usize) -> Result<T> {
        T::get(self, column)
    }

    /// A column of SQLite as it is, whatever it holds.
    pub fn value(&self, column: usize) -> Result<Value<'_>> {
        let Self::Sqlite(row) = self else {
            return Err(Error::Shape("only SQLite's columns hold anything".to_owned()));
        };
        Ok(match row.get_ref(column)? {
            ValueRef::Null => Value::Null,
            ValueRef::Integer(number) => Value::Int(number),
            ValueRef::Real(number) => Value::Real(number),
            ValueRef::Text(text) => Value::Blob(text),
            ValueRef::Blob(bytes) => Value::Blob(bytes),
        })
    }

    /// A column's bytes, not copied.
    pub fn blob(&self, column: usize) -> Result<&[u8]> {
        match self {
            Self::Sqlite(row) => {
                let bytes = row.get_ref(column)?.as_bytes();
                bytes.map_err(|error| Error::Shape(error.to_string()))
            }
            Self::Postgres(row) => Ok(row.try_get(column)?),
        }
    }
}

/// Something that a column is read as.
pub trait Get: Sized {
    /// Reads a column.
    ///
    /// # Errors
    /// [`Error::Shape`] when it holds something else.
    fn get(row: &Row<'_>, column: usize) -> Result<Self>;
}

/// A whole number of any width, or truth; `None` for nothing.
fn number(row: &Row<'_>, column: usize) -> Result<Option<i64>> {
    match row {
        Row::Sqlite(row) => Ok(row.get(column)?),
        Row::Postgres(row) => Ok(match *row.columns()[column].type_() {
            Type::INT4 => row.try_get::<_, Option<i32>>(column)?.map(i64::from),
            Type::BOOL => row.try_get::<_, Option<bool>>(column)?.map(i64::from),
            _ => row.try_get(column)?,
        }),
    }
}

fn missing(column: usize) -> Error {
    Error::Shape(format!("column {column} is empty"))
}

macro_rules! narrow {
    ($($type:ty)+) => {
        $(impl Get for $type {
            fn get(row: &Row<'_>, column: usize) -> Result<Self> {
                let number = number(row, column)?.ok_or_else(|| missing(column))?;
                Self::try_from(number).map_err(|_| Error::Shape(format!("{number} in column {column} does not fit")))
            }
        })+
    };
}

narrow!(i64 i32 u32 u16 u8);

impl Get for bool {
    fn get(row: &Row<'_>, column: usize) -> Result<Self> {
        Ok(number(row, column)?.ok_or_else(|| missing(column))? != 0)
    }
}

impl Get for f64 {
    fn get(row: &Row<'_>, column: usize) -> Result<Self> {
        match row {
            Row::Sqlite(row) => Ok(row.get(column)?),
            Row::Postgres(row) => Ok(row.try_get(column)?),
        }
    }
}

impl Get for Vec<u8> {
    fn get(row: &Row<'_>, column: usize) -> Result<Self> {
        Ok(row.blob(column)?.to_vec())
    }
}

impl Get for String {
    fn get(row: &Row<'_>, column: usize) -> Result<Self> {
        match row {
            Row::Postgres(row) if *row.columns()[column].type_() != Type::BYTEA => Ok(row.try_get(column)?),
            _ => Self::from_utf8(row.blob(column)?.to_vec()).map_err(|error| Error::Shape(error.to_string())),
        }
    }
}

impl<T: Get> Get for Option<T> {
    fn get(row: &Row<'_>, column: usize) -> Result<Self> {
        let is_null = match row {
            Row::Sqlite(row) => row.get_ref(column)? == ValueRef::Null,
            Row::Postgres(row) => row.try_get::<_, Null>(column)?.0,
        };
        if is_null { Ok(None) } else { T::get(row, column).map(Some) }
    }
}

/// Whether a column of any type is empty.
struct Null(bool);

impl<'a> tokio_postgres::types::FromSql<'a> for Null {
    fn from_sql(
        _: &Type,
        _: &'a [u8],
    ) -> std::result::Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(false))
    }

    fn from_sql_null(_: &Type) -> std::result::Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(true))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}
