//! Statements as a server has prepared them, and those that were not sent yet. Does not depend on when they are sent.

use std::sync::Arc;

use super::bulk::{Bulk, Column};
use super::template::Takes;
use super::value::{OwnedValue, Value};

/// A statement that the server has prepared.
#[derive(Debug)]
pub struct Prepared {
    pub statement: tokio_postgres::Statement,
    pub takes: Takes,
}

/// A statement that was not sent yet.
#[derive(Debug)]
pub enum Pending {
    /// For many rows.
    Many(&'static Bulk, Vec<Column>),
    /// For one, with its parameters.
    One(Arc<Prepared>, Vec<OwnedValue>),
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
