//! Statements that a transaction runs for many rows and whose result nobody waits for. SQLite runs them row by row, which
//! costs it nothing more; to PostgreSQL the rows of each go out together, as arrays, before the next statement that is
//! waited for or with the commit. Refuses to know what they write.

use bytes::{BufMut, BytesMut};
use tokio_postgres::types::{IsNull, Kind, ToSql, Type, to_sql_checked};

use super::{Connection, Params, Result, Value};

/// One statement in two forms.
#[derive(Debug)]
pub struct Bulk {
    /// For one row.
    pub one: &'static str,
    /// For many, with an array of each parameter's values.
    pub many: &'static str,
}

impl Connection {
    /// Runs a statement for one more row. Those of one transaction may reach the database together and in another order
    /// than those of another [`Bulk`], so no two of them may touch the same row.
    pub fn bulk(&self, bulk: &'static Bulk, params: impl Params) -> Result<()> {
        match self {
            Self::Sqlite(_) => self.execute(bulk.one, params).map(drop),
            Self::Postgres(wire) => {
                params.with(|values| wire.push(bulk, values));
                Ok(())
            }
        }
    }
}

/// What was not sent yet: few statements, so they are searched for in a row.
#[derive(Debug, Default)]
pub struct Pending(Vec<(&'static Bulk, Vec<Column>)>);

impl Pending {
    /// One row more.
    pub fn push(&mut self, bulk: &'static Bulk, values: &[Value<'_>]) {
        let at = self.0.iter().position(|(known, _)| std::ptr::eq(*known, bulk)).unwrap_or_else(|| {
            self.0.push((bulk, values.iter().map(|_| Column::default()).collect()));
            self.0.len() - 1
        });
        for (column, value) in self.0[at].1.iter_mut().zip(values) {
            column.push(value);
        }
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of it, in the order in which it began to come.
    pub fn into_iter(self) -> impl Iterator<Item = (&'static Bulk, Vec<Column>)> {
        self.0.into_iter()
    }
}

/// The values of one parameter, as the elements of an array lie on the wire.
#[derive(Debug, Default)]
pub struct Column {
    elements: BytesMut,
    count: i32,
    has_null: bool,
}

impl Column {
    fn push(&mut self, value: &Value<'_>) {
        self.count += 1;
        let bytes: &[u8] = match value {
            Value::Null => {
                self.has_null = true;
                self.elements.put_i32(-1);
                return;
            }
            Value::Int(number) => &number.to_be_bytes(),
            Value::Real(number) => &number.to_be_bytes(),
            Value::Text(text) => text.as_bytes(),
            Value::Blob(bytes) => bytes,
        };
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
        out.put_i32(1);
        out.put_i32(i32::from(self.has_null));
        out.put_u32(member.oid());
        out.put_i32(self.count);
        out.put_i32(1);
        out.extend_from_slice(&self.elements);
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        matches!(ty.kind(), Kind::Array(_))
    }

    to_sql_checked!();
}
