//! Values as both databases take and give them: whole numbers, floats, text and bytes. Truth is 0 and 1.
//! Refuses to know statements.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use rusqlite::types::{ToSqlOutput, ValueRef};
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

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

/// A value that waits to be sent, with its bytes.
#[derive(Clone, Debug)]
pub enum OwnedValue {
    /// Nothing.
    Null,
    /// A whole number.
    Int(i64),
    /// A float.
    Real(f64),
    /// Text.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
}

impl From<&Value<'_>> for OwnedValue {
    fn from(value: &Value<'_>) -> Self {
        match *value {
            Value::Null => Self::Null,
            Value::Int(number) => Self::Int(number),
            Value::Real(number) => Self::Real(number),
            Value::Text(text) => Self::Text(text.to_owned()),
            Value::Blob(bytes) => Self::Blob(bytes.to_vec()),
        }
    }
}

impl OwnedValue {
    /// The same, lent.
    pub fn value(&self) -> Value<'_> {
        match self {
            Self::Null => Value::Null,
            Self::Int(number) => Value::Int(*number),
            Self::Real(number) => Value::Real(*number),
            Self::Text(text) => Value::Text(text),
            Self::Blob(bytes) => Value::Blob(bytes),
        }
    }
}

impl ToSql for OwnedValue {
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
