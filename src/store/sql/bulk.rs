//! Work for a database that is far away: what a transaction needs is fetched together, and what it writes and nobody waits
//! for goes out together, before the next statement that is waited for or with the commit. SQLite is near: it is asked and
//! told row by row, which costs it nothing more. Refuses to know what is written.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use tokio_postgres::types::{IsNull, Kind, ToSql, Type, to_sql_checked};

use super::value::BEGINNING;
use super::{Connection, Params, Prepared, Result, Row, Rows, Value};

/// One statement in two forms.
#[derive(Debug)]
pub struct Bulk {
    /// For one row.
    pub one: &'static str,
    /// For many, with an array of each parameter's values; `@2` is an array of what those of the second begin with.
    pub many: &'static str,
}

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

/// A statement that was not sent yet.
#[derive(Debug)]
pub enum Pending {
    /// For many rows.
    Many(&'static Bulk, Vec<Column>),
    /// For one, with its parameters.
    One(Arc<Prepared>, Vec<Owned>),
}

/// Adds a row to those that wait for the same statement.
pub fn push(all: &mut Vec<Pending>, bulk: &'static Bulk, values: &[Value<'_>]) {
    let is_same =
        |pending: &&mut Pending| matches!(pending, Pending::Many(known, _) if std::ptr::eq(*known, bulk));
    let columns = match all.iter_mut().find(is_same) {
        Some(Pending::Many(_, columns)) => columns,
        _ => {
            all.push(Pending::Many(bulk, values.iter().map(|_| Column::default()).collect()));
            match all.last_mut() {
                Some(Pending::Many(_, columns)) => columns,
                _ => unreachable!("pushed above"),
            }
        }
    };
    for (column, value) in columns.iter_mut().zip(values) {
        column.push(value);
    }
}

/// A value that waits.
#[derive(Clone, Debug)]
pub enum Owned {
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

impl From<&Value<'_>> for Owned {
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

impl Owned {
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

/// The values of one parameter, as the elements of an array lie on the wire.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Column {
    elements: BytesMut,
    count: i32,
    has_null: bool,
}

impl Column {
    fn of(numbers: &[i64]) -> Self {
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
