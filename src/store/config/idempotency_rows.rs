//! Requests with an `Idempotency-Key` and the answers that are kept for them: every statement that writes them, and how a
//! request begins. Does not depend on who asks, and what for.

use std::time::Duration;

use crate::model::{AccountKey, Time};
use crate::store::sql::{Connection, params};
use crate::store::vault::Vault;
use crate::store::{Idempotent, StoreError};

/// How long an `Idempotency-Key` is remembered.
const REMEMBERED: Duration = Duration::from_secs(24 * 3600);
/// Rows that one step of forgetting deletes: a few milliseconds.
const STEP: i64 = 500;

/// Begins a request with a key.
pub fn begin(
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
pub fn finish(
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

/// Replaces an answer that is kept.
pub fn replace_answer(
    db: &Connection,
    vault: &Vault,
    account: AccountKey,
    name: &[u8],
    answer: &[u8],
) -> Result<(), StoreError> {
    db.prepare_cached("UPDATE idempotency SET sealed = ? WHERE account = ? AND name = ?")?
        .execute(params![vault.seal(answer), account.0, name])?;
    Ok(())
}

/// Forgets the requests that were under way in a lease epoch that has ended.
pub fn forget_unfinished(db: &Connection, tenure: i64) -> Result<(), StoreError> {
    db.execute("DELETE FROM idempotency WHERE status IS NULL AND owner = ?", [tenure])?;
    Ok(())
}

/// Forgets some requests that are too old. True if there were any.
pub fn forget_old(db: &Connection, now: Time) -> Result<bool, StoreError> {
    let expired = now.as_micros() - i64::try_from(REMEMBERED.as_micros()).unwrap_or(i64::MAX);
    let forgotten = db
        .prepare_cached(
            "DELETE FROM idempotency WHERE (account, name) IN
             (SELECT account, name FROM idempotency WHERE created_at < ? LIMIT ?)",
        )?
        .execute([expired, STEP])?;
    Ok(forgotten > 0)
}
