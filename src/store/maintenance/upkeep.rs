//! What the store does beside the hot path: answers kept for repeated requests, and what deleted endpoints are owed.
//! Refuses to know who asks.

use crate::model::{AccountKey, Time};
use crate::store::apply::recording::Recording;
use crate::store::batches::batch_rows;
use crate::store::config::endpoint_rows;
use crate::store::deliveries::open_rows;
use crate::store::layout::keys::{beyond, keys_of, unpack};
use crate::store::sql::{Connection, OptionalExtension, params};
use crate::store::vault::Vault;
use crate::store::{Idempotent, StoreError};

/// How long an `Idempotency-Key` is remembered.
const REMEMBERED: std::time::Duration = std::time::Duration::from_secs(24 * 3600);
/// Rows that one step of a chore touches: a few milliseconds.
const STEP: i64 = 500;

/// Begins a request with a key.
pub fn begin_idempotent(
    db: &Connection,
    vault: &Vault,
    account: AccountKey,
    (name, fingerprint): (&[u8], &[u8; 32]),
    tenure: i64,
    now: Time,
) -> Result<Idempotent, StoreError> {
    let fresh = db
        .prepare_cached(
            "INSERT INTO idempotency (account, name, fingerprint, created_at, owner) VALUES (?, ?, ?, ?, ?)
             ON CONFLICT DO NOTHING",
        )?
        .execute(params![account.0, name, fingerprint, now.as_micros(), tenure])?;
    if fresh == 1 {
        return Ok(Idempotent::Fresh);
    }
    let (known, status, sealed): (Vec<u8>, Option<u16>, Option<Vec<u8>>) = db
        .prepare_cached("SELECT fingerprint, status, sealed FROM idempotency WHERE account = ? AND name = ?")?
        .query_row(params![account.0, name], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    if known != fingerprint {
        return Ok(Idempotent::Mismatch);
    }
    match (status, sealed) {
        (Some(status), Some(sealed)) => {
            let body = vault.open(&sealed).map_err(|error| StoreError::Unavailable(error.to_string()))?;
            Ok(Idempotent::Answered { status, body })
        }
        _ => Ok(Idempotent::InProgress),
    }
}

/// Keeps the answer (sealed: it may show a secret), or forgets the key.
pub fn finish_idempotent(
    db: &Connection,
    vault: &Vault,
    account: AccountKey,
    name: &[u8],
    answer: Option<(u16, Vec<u8>)>,
) -> Result<(), StoreError> {
    match answer {
        Some((status, body)) => db
            .prepare_cached("UPDATE idempotency SET status = ?, sealed = ? WHERE account = ? AND name = ?")?
            .execute(params![status, vault.seal(&body), account.0, name])?,
        None => db
            .prepare_cached("DELETE FROM idempotency WHERE account = ? AND name = ?")?
            .execute(params![account.0, name])?,
    };
    Ok(())
}

/// A tenure is over: what it owned is nobody's, a request that was under way in it is over, and so is a batch that was on
/// its way.
pub fn disown(db: &Connection, tenure: i64) -> Result<(), StoreError> {
    open_rows::release_all(db, tenure)?;
    db.execute("DELETE FROM idempotency WHERE status IS NULL AND owner = ?", [tenure])?;
    batch_rows::delete_arriving(db, tenure)
}

/// Forgets some answers that are too old. True if there were any.
pub fn forget(recording: &Recording<'_>) -> Result<bool, StoreError> {
    let expired = recording.tx.now.as_micros() - i64::try_from(REMEMBERED.as_micros()).unwrap_or(i64::MAX);
    let forgotten = recording
        .tx
        .db
        .prepare_cached(
            "DELETE FROM idempotency WHERE (account, name) IN
             (SELECT account, name FROM idempotency WHERE created_at < ? LIMIT ?)",
        )?
        .execute([expired, STEP])?;
    Ok(forgotten > 0)
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
