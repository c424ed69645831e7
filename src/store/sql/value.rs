//! Values as both databases take and give them: whole numbers, floats, text and bytes. Truth is 0 and 1.
//! Refuses to know statements.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use rusqlite::types::{ToSqlOutput, ValueRef};
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

use super::bulk::Owned;
use super::{Error, Result, Row};

/// Bits behind what a whole number begins with. A key begins with its account, by which tables can be divided.
pub const BEGINNING: u32 = 40;

/// What a parameter is set to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// Nothing.
    Null,
    /// A whole number.
    Int(i64),
    /// A float.
    Real(f64),
    /// Text.
    Text(&'a str),
    /// Bytes.
    Blob(&'a [u8]),
}

impl Value<'_> {
    /// What it begins with, if it is a whole number.
    pub fn beginning(&self) -> Self {
        match *self {
            Self::Int(number) => Self::Int(number >> BEGINNING),
            _ => Self::Null,
        }
    }
}

/// Something that a parameter can be set to.
pub trait ToValue {
    /// The value.
    fn to_value(&self) -> Value<'_>;
}

macro_rules! whole_numbers {
    ($($type:ty)+) => {
        $(impl ToValue for $type {
            fn to_value(&self) -> Value<'_> {
                Value::Int(i64::from(*self))
            }
        })+
    };
}

whole_numbers!(i64 i32 u32 u16 u8 bool);

impl ToValue for Value<'_> {
    fn to_value(&self) -> Value<'_> {
        *self
    }
}

impl ToValue for f64 {
    fn to_value(&self) -> Value<'_> {
        Value::Real(*self)
    }
}

impl ToValue for str {
    fn to_value(&self) -> Value<'_> {
        Value::Text(self)
    }
}

impl ToValue for String {
    fn to_value(&self) -> Value<'_> {
        Value::Text(self)
    }
}

impl ToValue for [u8] {
    fn to_value(&self) -> Value<'_> {
        Value::Blob(self)
    }
}

impl<const N: usize> ToValue for [u8; N] {
    fn to_value(&self) -> Value<'_> {
        Value::Blob(self)
    }
}

impl ToValue for Vec<u8> {
    fn to_value(&self) -> Value<'_> {
        Value::Blob(self)
    }
}

impl ToValue for Bytes {
    fn to_value(&self) -> Value<'_> {
        Value::Blob(self)
    }
}

impl<T: ToValue> ToValue for Option<T> {
    fn to_value(&self) -> Value<'_> {
        self.as_ref().map_or(Value::Null, T::to_value)
    }
}

impl<T: ToValue + ?Sized> ToValue for &T {
    fn to_value(&self) -> Value<'_> {
        T::to_value(self)
    }
}

impl<T: ToValue + ?Sized> ToValue for Arc<T> {
    fn to_value(&self) -> Value<'_> {
        T::to_value(self)
    }
}

impl rusqlite::ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match *self {
            Self::Null => ValueRef::Null,
            Self::Int(number) => ValueRef::Integer(number),
            Self::Real(number) => ValueRef::Real(number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

impl ToSql for Value<'_> {
    fn to_sql(
        &self,
        ty: &Type,
        out: &mut BytesMut,
    ) -> std::result::Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match (*self, ty) {
            (Self::Null, _) => Ok(IsNull::Yes),
            (Self::Int(number), &Type::INT8) => number.to_sql(ty, out),
            (Self::Int(number), &Type::INT4) => i32::try_from(number)?.to_sql(ty, out),
            (Self::Int(number), &Type::BOOL) => (number != 0).to_sql(ty, out),
            (Self::Real(number), &Type::FLOAT8) => number.to_sql(ty, out),
            (Self::Text(text), &Type::BYTEA) => text.as_bytes().to_sql(ty, out),
            (Self::Text(text), _) => text.to_sql(ty, out),
            (Self::Blob(bytes), &Type::BYTEA) => bytes.to_sql(ty, out),
            (value, ty) => Err(format!("{value:?} where {ty} is expected").into()),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

impl ToSql for Owned {
    fn to_sql(
        &self,
        ty: &Type,
        out: &mut BytesMut,
    ) -> std::result::Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        self.value().to_sql(ty, out)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// All the parameters of a statement.
pub trait Params {
    /// Hands the values to a function.
    fn with<R>(self, run: impl FnOnce(&[Value<'_>]) -> R) -> R;
}

impl Params for () {
    fn with<R>(self, run: impl FnOnce(&[Value<'_>]) -> R) -> R {
        run(&[])
    }
}

impl<T: ToValue, const N: usize> Params for [T; N] {
    fn with<R>(self, run: impl FnOnce(&[Value<'_>]) -> R) -> R {
        run(&std::array::from_fn::<_, N, _>(|at| self[at].to_value()))
    }
}

impl Params for &[Value<'_>] {
    fn with<R>(self, run: impl FnOnce(&[Value<'_>]) -> R) -> R {
        run(self)
    }
}

macro_rules! tuples {
    ($(($($name:ident)+))+) => {
        $(impl<$($name: ToValue),+> Params for ($($name,)+) {
            #[expect(non_snake_case, reason = "a type and its value")]
            fn with<R>(self, run: impl FnOnce(&[Value<'_>]) -> R) -> R {
                let ($($name,)+) = self;
                run(&[$($name.to_value()),+])
            }
        })+
    };
}

tuples!((A)(A B)(A B C)(A B C D)(A B C D E)(A B C D E F));

/// The values of expressions of any types.
#[macro_export]
#[doc(hidden)]
macro_rules! params {
    ($($value:expr),* $(,)?) => {
        &[$($crate::store::sql::ToValue::to_value(&$value)),*][..]
    };
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
