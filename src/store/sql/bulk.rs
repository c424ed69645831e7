//! A statement for many rows at once, and the arrays that it takes. Does not depend on when it is sent.

use std::collections::BTreeSet;

use bytes::{BufMut, BytesMut};
use tokio_postgres::types::{IsNull, Kind, ToSql, Type, to_sql_checked};

use super::value::{BEGINNING, Value};

/// One statement in two forms.
#[derive(Debug)]
pub struct Bulk {
    /// For one row.
    pub one: &'static str,
    /// For many, with an array of each parameter's values; `@2` is an array of what those of the second begin with.
    pub many: &'static str,
}

/// The values of one parameter, as the elements of an array lie on the wire.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Column {
    elements: BytesMut,
    count: i32,
    has_null: bool,
}

impl Column {
    /// Of whole numbers.
    pub fn of(numbers: &[i64]) -> Self {
        let mut column = Self::default();
        numbers.iter().for_each(|&number| column.push(&Value::Int(number)));
        column
    }

    /// Adds an element.
    pub fn push(&mut self, value: &Value<'_>) {
        self.count += 1;
        match value {
            Value::Null => {
                self.has_null = true;
                self.elements.put_i32(-1);
            }
            Value::Int(number) => self.add(&number.to_be_bytes()),
            Value::Real(number) => self.add(&number.to_be_bytes()),
            Value::Text(text) => self.add(text.as_bytes()),
            Value::Blob(bytes) => self.add(bytes),
        }
    }

    /// What its whole numbers begin with, each once, in their order.
    pub fn beginnings(&self) -> Self {
        let (mut rest, mut found) = (&self.elements[..], BTreeSet::new());
        while let Some((length, behind)) = rest.split_first_chunk::<4>() {
            // Nothing has no length.
            let length = usize::try_from(i32::from_be_bytes(*length)).unwrap_or(0);
            let (element, behind) = behind.split_at(length.min(behind.len()));
            found.extend(element.try_into().ok().map(|element| i64::from_be_bytes(element) >> BEGINNING));
            rest = behind;
        }
        Self::of(&found.into_iter().collect::<Vec<i64>>())
    }

    fn add(&mut self, bytes: &[u8]) {
        // Bodies are far smaller than what a length can say.
        self.elements.put_i32(i32::try_from(bytes.len()).unwrap_or(i32::MAX));
        self.elements.extend_from_slice(bytes);
    }
}

impl ToSql for Column {
    fn to_sql(
        &self,
        ty: &Type,
        out: &mut BytesMut,
    ) -> std::result::Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        let Kind::Array(member) = ty.kind() else { return Err(format!("{ty} is no array").into()) };
        // Dimensions, whether there are nulls, the type of the elements, their number, the first one's index.
        out.put_i32(i32::from(self.count > 0));
        out.put_i32(i32::from(self.has_null));
        out.put_u32(member.oid());
        if self.count > 0 {
            out.put_i32(self.count);
            out.put_i32(1);
            out.extend_from_slice(&self.elements);
        }
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        matches!(ty.kind(), Kind::Array(_))
    }

    to_sql_checked!();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_begin_with_their_account() {
        let key = (7 << 40) | 3;
        assert_eq!(Value::Int(key).beginning(), Value::Int(7));
        assert_eq!(Value::Null.beginning(), Value::Null);
        let column = |values: &[Value<'_>]| {
            let mut column = Column::default();
            values.iter().for_each(|value| column.push(value));
            column
        };
        let keys = [key, key + 1, 2 << 40, (7 << 40) | 9].map(Value::Int);
        let mixed = [&keys[..], &[Value::Null]].concat();
        assert_eq!(column(&mixed).beginnings(), column(&[Value::Int(2), Value::Int(7)]));
        assert_eq!(column(&[]).beginnings(), Column::default());
    }
}
