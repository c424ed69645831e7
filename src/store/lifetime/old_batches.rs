//! The removal of batches that are past their account's retention, some rows in each step. Does not depend on how long that is.

use crate::model::AccountKey;
use crate::store::apply::recording::Recording;
use crate::store::batches::loaded::{CONTACT_COLUMNS, contact_of, contacts_of};
use crate::store::batches::{batch_call_rows, batch_rows, contact_rows, schedule};
use crate::store::config::endpoint_rows;
use crate::store::layout::keys::{pack, unpack};
use crate::store::sql::OptionalExtension;
use crate::store::{EndpointRef, StoreError};

/// Rows that a step of a removal touches.
const STEP: i64 = 50;

/// Removes some of a batch of this account that ended at this moment or before. True if there was something.
pub fn purge(recording: &mut Recording<'_>, account: AccountKey, since: i64) -> Result<bool, StoreError> {
    let db = recording.tx.db;
    let old: Option<i64> = db
        .prepare_cached(
            "SELECT id FROM given_batches WHERE account = ? AND ended_at <= ? AND intake = 0 ORDER BY ended_at LIMIT 1",
        )?
        .query_row([account.0, since], |row| row.get(0))
        .optional()?;
    let Some(batch) = old else { return Ok(false) };
    let [first, end] = contacts_of(batch);
    let sql = format!(
        "SELECT {CONTACT_COLUMNS} FROM contacts WHERE id >= ? AND id < ? /*account of ?1*/
         ORDER BY id LIMIT ?"
    );
    let mut statement = db.prepare_cached(&sql)?;
    let mut rows = statement.query([first, end, STEP])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push((row.get::<i64>(0)?, contact_of(&row)?));
    }
    for (id, contact) in &found {
        contact_rows::delete(db, batch, *id, contact)?;
    }
    if !found.is_empty() {
        return Ok(true);
    }
    let links = batch_call_rows::delete_some(db, batch, STEP)?;
    if links == 0 {
        delete_endpoints(recording, batch)?;
        schedule::remove(db, batch)?;
        batch_rows::delete(db, batch)?;
    }
    Ok(true)
}

pub fn delete_endpoints(recording: &mut Recording<'_>, batch: i64) -> Result<(), StoreError> {
    let (account, _) = unpack(batch);
    let endpoints = recording.batch(batch)?.map(|book| book.given.endpoints.clone()).unwrap_or_default();
    for number in endpoints {
        endpoint_rows::delete(recording.tx.db, pack(account, number), recording.tx.now)?;
        recording.committed.disabled.push(EndpointRef { account, number });
    }
    Ok(())
}
