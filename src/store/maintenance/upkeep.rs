//! What is left over is tidied up: what an ended lease epoch owned is given back, and what deleted endpoints are owed is
//! cancelled. Does not depend on why an epoch ended, and who deleted an endpoint.

use crate::model::{AccountKey, Time};
use crate::store::StoreError;
use crate::store::apply::recording::Recording;
use crate::store::batches::batch_rows;
use crate::store::config::{endpoint_rows, idempotency_rows};
use crate::store::deliveries::open_rows;
use crate::store::layout::keys::{beyond, keys_of, unpack};
use crate::store::sql::{Connection, OptionalExtension};

/// Rows that one step of a chore touches: a few milliseconds.
const STEP: i64 = 500;

/// A tenure is over: what it owned is nobody's, a request that was under way in it is over, and so is a batch that was on
/// its way.
pub fn disown(db: &Connection, tenure: i64) -> Result<(), StoreError> {
    open_rows::release_all(db, tenure)?;
    idempotency_rows::forget_unfinished(db, tenure)?;
    batch_rows::delete_arriving(db, tenure)
}

/// The first account after this one with a deleted endpoint that is still owed something.
pub fn first_to_sweep(db: &Connection, _: Time, after: AccountKey) -> Result<Option<AccountKey>, StoreError> {
    let endpoint: Option<i64> = db
        .prepare_cached(
            "SELECT MIN(id) FROM endpoints WHERE deleted_at IS NOT NULL AND swept = 0 AND id >= ?",
        )?
        .query_row([beyond(after)], |row| row.get(0))?;
    Ok(endpoint.map(|endpoint| unpack(endpoint).0))
}

/// Calls off some of what a deleted endpoint of an account is owed. True when there may be more.
pub fn sweep(recording: &mut Recording<'_>, account: AccountKey) -> Result<bool, StoreError> {
    let db = recording.tx.db;
    let deleted: Option<i64> = db
        .prepare_cached(
            "SELECT id FROM endpoints
             WHERE deleted_at IS NOT NULL AND swept = 0 AND id >= ? AND id < ? /*account of ?1*/
             ORDER BY id LIMIT 1",
        )?
        .query_row(keys_of(account), |row| row.get(0))
        .optional()?;
    let Some(endpoint) = deleted else { return Ok(false) };
    let open: Vec<i64> = db
        .prepare_cached("SELECT id FROM open WHERE endpoint = ? /*account of ?1*/ ORDER BY id LIMIT ?")?
        .query_map([endpoint, STEP], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    if open.is_empty() {
        endpoint_rows::set_swept(db, endpoint)?;
    }
    recording.cancel_all(&open)?;
    Ok(true)
}
