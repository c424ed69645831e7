//! What the store does beside the hot path: answers kept for repeated requests, and chores in small steps.
//! Refuses to know who asks.

use crate::store::sql::{Connection, OptionalExtension, params};

use super::erasure;
use super::keys::pack;
use super::record::Recording;
use super::{batches, credit, replay_steps, retention, scheduled, tombstones, transcripts, watchdog};
use crate::model::{AccountKey, Time};
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

/// Takes a body out of quarantine.
pub fn discard(db: &Connection, account: AccountKey, number: i64) -> Result<bool, StoreError> {
    let source: Option<i64> = db
        .prepare_cached("DELETE FROM quarantine WHERE id = ? /*! AND account = @1 */ RETURNING source")?
        .query_row([pack(account, number)], |row| row.get(0))
        .optional()?;
    let Some(source) = source else { return Ok(false) };
    db.prepare_cached(
        "UPDATE sources SET in_quarantine = in_quarantine - 1 WHERE id = ? /*! AND account = @1 */",
    )?
    .execute([source])?;
    Ok(true)
}

/// A tenure is over: what it owned is nobody's, a request that was under way in it is over, and so is a batch that was on
/// its way.
pub fn disown(db: &Connection, tenure: i64) -> Result<(), StoreError> {
    db.execute("UPDATE open SET state = 0 WHERE state = 2 AND owner = ?", [tenure])?;
    db.execute("DELETE FROM idempotency WHERE status IS NULL AND owner = ?", [tenure])?;
    batches::forget_arriving(db, tenure)
}

/// One kind of background work: does a step of it, and says whether there is more.
pub type Chore = fn(&mut Recording<'_>, &Vault) -> Result<bool, StoreError>;

/// What is always done a step of. Nobody's batch waits for the removal of what is old, nor does a replay; contacts are
/// asked for when all that wait are taken in.
pub const FIRST: &[Chore] = &[
    |recording, _| forget(recording),
    |recording, _| watchdog::step(recording),
    |recording, _| credit::step(recording),
    |recording, _| Ok(batches::step(recording)? || scheduled::step(recording)?),
    |recording, _| recording.let_overdue_go(),
    |recording, _| replay_steps::step(recording),
];

/// Of these the first that has something to do: what deleted endpoints are owed is called off, persons are erased, what is
/// past its account's retention is removed, what was said past that for transcripts, and what is left of removed records
/// when its time is over.
pub const THEN: &[Chore] = &[
    |recording, _| sweep(recording),
    erasure::step,
    |recording, _| retention::step(recording),
    |recording, _| transcripts::step(recording),
    |recording, _| tombstones::step(recording),
];

/// A step of all of it. True when there is more.
pub fn step(recording: &mut Recording<'_>, vault: &Vault) -> Result<bool, StoreError> {
    let mut has_more = false;
    for chore in FIRST {
        has_more |= chore(recording, vault)?;
    }
    for chore in THEN {
        if chore(recording, vault)? {
            return Ok(true);
        }
    }
    Ok(has_more)
}

fn forget(recording: &Recording<'_>) -> Result<bool, StoreError> {
    let expired = recording.now.as_micros() - i64::try_from(REMEMBERED.as_micros()).unwrap_or(i64::MAX);
    let forgotten = recording
        .db
        .prepare_cached(
            "DELETE FROM idempotency WHERE (account, name) IN
             (SELECT account, name FROM idempotency WHERE created_at < ? LIMIT ?)",
        )?
        .execute([expired, STEP])?;
    Ok(forgotten > 0)
}

fn sweep(recording: &mut Recording<'_>) -> Result<bool, StoreError> {
    let db = recording.db;
    let deleted: Option<i64> = db
        .prepare_cached("SELECT id FROM endpoints WHERE deleted_at IS NOT NULL AND swept = 0 LIMIT 1")?
        .query_row((), |row| row.get(0))
        .optional()?;
    let Some(endpoint) = deleted else { return Ok(false) };
    // By call order where there is one, so that promoting the next of a call finds it still there.
    let open: Vec<i64> = db
        .prepare_cached("SELECT id FROM open WHERE endpoint = ? /*! AND account = @1 */ ORDER BY id LIMIT ?")?
        .query_map([endpoint, STEP], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    if open.is_empty() {
        db.execute("UPDATE endpoints SET swept = 1 WHERE id = ? /*! AND account = @1 */", [endpoint])?;
    }
    for id in open {
        recording.cancel_open(id)?;
    }
    Ok(true)
}
