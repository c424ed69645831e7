//! The row of an account: every statement that writes it, grouped by what its columns are for. Does not depend on when a
//! column changes, and who changes it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::account::Limits;
use crate::model::id::Tag;
use crate::model::{AccountKey, Secret, Time};
use crate::store::StoreError;
use crate::store::layout::keys::MOST_ACCOUNTS;
use crate::store::sql::{Connection, OptionalExtension, params};
use crate::store::vault::Vault;

// The account and its settings.

/// Makes an account; `None` when the name is taken.
pub fn create(db: &Connection, name: &str, tag: Tag, now: Time) -> Result<Option<AccountKey>, StoreError> {
    let made = db
        .prepare_cached(
            "INSERT INTO accounts (tag, name, created_at) VALUES (?, ?, ?) ON CONFLICT (name) DO NOTHING
             RETURNING account",
        )?
        .query_row(params![tag.0.cast_signed(), name, now.as_micros()], |row| row.get(0))
        .optional()?;
    let Some(account) = made.map(AccountKey) else { return Ok(None) };
    if account.0 > MOST_ACCOUNTS {
        return Err(StoreError::Unavailable(format!(
            "this store holds {MOST_ACCOUNTS} accounts and no more"
        )));
    }
    Ok(Some(account))
}

/// Counts a change of the configuration. Gives the new revision.
pub fn next_revision(db: &Connection, account: AccountKey) -> Result<i64, StoreError> {
    Ok(db
        .prepare_cached("UPDATE accounts SET revision = revision + 1 WHERE account = ? RETURNING revision")?
        .query_row([account.0], |row| row.get(0))?)
}

/// Sets an account's own limits. What it has already stays, also if that is more.
pub fn set_limits(db: &Connection, account: AccountKey, limits: Limits) -> Result<(), StoreError> {
    let own = |limit: Option<u32>| limit.map(i64::from);
    db.prepare_cached(
        "UPDATE accounts SET endpoint_limit = ?2, source_limit = ?3, key_limit = ?4 WHERE account = ?1",
    )?
    .execute(params![account.0, own(limits.endpoints), own(limits.sources), own(limits.keys)])?;
    Ok(())
}

/// Sets the secret that endpoints of batches sign with.
pub fn set_batch_secret(
    db: &Connection,
    vault: &Vault,
    account: AccountKey,
    secret: &Secret,
) -> Result<(), StoreError> {
    db.prepare_cached("UPDATE accounts SET batch_secret = ? WHERE account = ?")?
        .execute(params![vault.seal(secret.expose()), account.0])?;
    Ok(())
}

// The numbers that an account hands out.

/// Hands out the next number of a kind, which is a column; `None` when there is no such account.
pub fn next_number(db: &Connection, account: AccountKey, column: &str) -> Result<Option<i64>, StoreError> {
    let sql = format!("UPDATE accounts SET {column} = {column} + 1 WHERE account = ? RETURNING {column}");
    Ok(db.prepare_cached(&sql)?.query_row([account.0], |row| row.get(0)).optional()?)
}

/// Hands out the next number of a replay. Gives it with the last event of the feed and the last one that is gone.
pub fn next_replay(db: &Connection, account: AccountKey) -> Result<(i64, i64, i64), StoreError> {
    Ok(db
        .prepare_cached(
            "UPDATE accounts SET replays = replays + 1 WHERE account = ? RETURNING replays, position, purged",
        )?
        .query_row([account.0], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?)
}

/// Raises the last number of a kind to this one, so that it is not handed out again.
pub fn raise_number(
    db: &Connection,
    account: AccountKey,
    column: &str,
    number: i64,
) -> Result<(), StoreError> {
    let sql = format!("UPDATE accounts SET {column} = ?2 WHERE account = ?1 AND {column} < ?2");
    db.prepare_cached(&sql)?.execute([account.0, number])?;
    Ok(())
}

/// Sets the last numbers of events, calls, deliveries and bodies in quarantine.
pub fn set_head(
    db: &Connection,
    account: AccountKey,
    [position, calls, deliveries, quarantined]: [i64; 4],
) -> Result<(), StoreError> {
    Ok(db.later(
        "UPDATE accounts SET position = ?, calls = ?, deliveries = ?, quarantined = ? WHERE account = ?",
        [position, calls, deliveries, quarantined, account.0],
    )?)
}

/// Sets the last call that is filed in the index on disk, for each of these accounts.
pub fn set_filed_calls(db: &Connection, calls: &BTreeMap<AccountKey, i64>) -> Result<(), StoreError> {
    let mut statement = db.prepare_cached("UPDATE accounts SET calls_filed = ? WHERE account = ?")?;
    for (account, number) in calls {
        statement.execute([*number, account.0])?;
    }
    Ok(())
}

// Call minutes.

/// Sets the call minutes that are left, in milliseconds; `None` is unlimited.
pub fn set_call_credit(db: &Connection, account: AccountKey, millis: Option<i64>) -> Result<(), StoreError> {
    db.prepare_cached("UPDATE accounts SET call_credit = ? WHERE account = ?")?
        .execute(params![millis, account.0])?;
    Ok(())
}

/// Takes from the call minutes, in milliseconds. Gives what is left, `None` where they are unlimited.
pub fn use_call_credit(db: &Connection, account: AccountKey, millis: i64) -> Result<Option<i64>, StoreError> {
    Ok(db
        .prepare_cached(
            "UPDATE accounts SET call_credit = call_credit - ? WHERE account = ? AND call_credit IS NOT NULL
             RETURNING call_credit",
        )?
        .query_row([millis, account.0], |row| row.get(0))
        .optional()?)
}

// Retention.

/// Sets for how long what is recorded is kept, `None` for ever, and makes the removal due.
pub fn set_retention(
    db: &Connection,
    account: AccountKey,
    retention: Option<Duration>,
    now: Time,
) -> Result<(), StoreError> {
    let purge_at = retention.map(|_| now.as_micros());
    db.prepare_cached(
        "UPDATE accounts SET retention = ?, purge_at = ?, retention_set_at = ? WHERE account = ?",
    )?
    .execute(params![retention.map(micros), purge_at, now.as_micros(), account.0])?;
    Ok(())
}

/// Sets when the removal of what is old is due again.
pub fn set_purge_at(db: &Connection, account: AccountKey, at: Time) -> Result<(), StoreError> {
    db.prepare_cached("UPDATE accounts SET purge_at = ? WHERE account = ?")?
        .execute([at.as_micros(), account.0])?;
    Ok(())
}

/// Sets the last event of the feed that is gone.
pub fn set_purged(db: &Connection, account: AccountKey, position: i64) -> Result<(), StoreError> {
    db.prepare_cached("UPDATE accounts SET purged = ? WHERE account = ?")?.execute([position, account.0])?;
    Ok(())
}

/// Sets the last delivery that is gone.
pub fn set_purged_deliveries(db: &Connection, account: AccountKey, number: i64) -> Result<(), StoreError> {
    db.prepare_cached("UPDATE accounts SET purged_deliveries = ? WHERE account = ?")?
        .execute([number, account.0])?;
    Ok(())
}

/// Lets the feed begin with this event again, if that counts as gone.
pub fn reopen_feed(db: &Connection, account: AccountKey, position: i64) -> Result<(), StoreError> {
    let sql = "UPDATE accounts SET purged = ? WHERE account = ? AND purged >= ?";
    db.prepare_cached(sql)?.execute([position - 1, account.0, position])?;
    Ok(())
}

/// Lets each feed begin with the first event whose row lies there. For PostgreSQL, after rows came from an embedded store.
pub fn reopen_feeds(db: &Connection) -> Result<(), StoreError> {
    db.execute(
        "UPDATE accounts a SET purged = LEAST(purged, (SELECT MIN(id) - (a.account << 40) - 1 FROM events
                 WHERE account = a.account AND id > a.account << 40 AND id < (a.account + 1) << 40))",
        (),
    )?;
    Ok(())
}

/// Sets the end of the slot of time that is under way.
pub fn set_slot_end(db: &Connection, account: AccountKey, ends: i64) -> Result<(), StoreError> {
    db.prepare_cached("UPDATE accounts SET slot_ends = ? WHERE account = ?")?.execute([ends, account.0])?;
    Ok(())
}

/// Lets the slot of time that is under way end now, unless it ends earlier anyway or after `latest`. Says whether it does.
pub fn end_slot(db: &Connection, account: AccountKey, now: i64, latest: i64) -> Result<bool, StoreError> {
    let ended = db
        .prepare_cached(
            "UPDATE accounts SET slot_ends = ?2 WHERE account = ?1 AND slot_ends > ?2 AND slot_ends <= ?3",
        )?
        .execute([account.0, now, latest])?;
    Ok(ended == 1)
}

// Transcripts.

/// Sets for how long transcripts are kept, `None` as long as the rest, and makes their removal due.
pub fn set_transcript_retention(
    db: &Connection,
    account: AccountKey,
    kept: Option<Duration>,
    now: Time,
) -> Result<(), StoreError> {
    db.prepare_cached("UPDATE accounts SET transcript_retention = ?, transcripts_at = ? WHERE account = ?")?
        .execute(params![kept.map(micros), kept.map(|_| now.as_micros()), account.0])?;
    Ok(())
}

/// Sets when the removal of transcripts is due again.
pub fn set_transcripts_at(db: &Connection, account: AccountKey, at: Time) -> Result<(), StoreError> {
    db.prepare_cached("UPDATE accounts SET transcripts_at = ? WHERE account = ?")?
        .execute([at.as_micros(), account.0])?;
    Ok(())
}

/// Sets the last event whose transcript is gone.
pub fn set_transcripts_gone(db: &Connection, account: AccountKey, position: i64) -> Result<(), StoreError> {
    db.prepare_cached("UPDATE accounts SET transcripts_gone = ? WHERE account = ?")?
        .execute([position, account.0])?;
    Ok(())
}

// Tombstones.

/// Sets for how long an account remembers. What was removed before counts from its removal, as what will be.
pub fn set_repeat_memory(
    db: &Connection,
    account: AccountKey,
    kept: Duration,
    now: Time,
) -> Result<(), StoreError> {
    db.prepare_cached(
        "UPDATE accounts SET repeat_memory = ?2,
             tombstones_at = CASE WHEN tombstones_at IS NULL THEN NULL ELSE CAST(?3 AS BIGINT) END
         WHERE account = ?1",
    )?
    .execute([account.0, micros(kept), now.as_micros()])?;
    Ok(())
}

/// Hands out so many numbers of tombstones, which are looked at from `at` on if there were none. Gives the last number.
pub fn add_tombstones(db: &Connection, account: AccountKey, count: i64, at: Time) -> Result<i64, StoreError> {
    Ok(db
        .prepare_cached(
            "UPDATE accounts SET tombstones = tombstones + ?2, tombstones_at = COALESCE(tombstones_at, ?3)
                 WHERE account = ?1 RETURNING tombstones",
        )?
        .query_row([account.0, count, at.as_micros()], |row| row.get(0))?)
}

/// Sets when the oldest tombstone is looked at; `None` when there is none.
pub fn set_tombstones_at(db: &Connection, account: AccountKey, at: Option<Time>) -> Result<(), StoreError> {
    db.prepare_cached("UPDATE accounts SET tombstones_at = ? WHERE account = ?")?
        .execute(params![at.map(Time::as_micros), account.0])?;
    Ok(())
}

// Imports.

/// What an account was where its records come from.
pub struct ImportedAccount {
    /// The tag in the ids of its records.
    pub origin: Tag,
    /// When it was made.
    pub created_at: Time,
    /// The last event.
    pub position: i64,
    /// The last call.
    pub calls: i64,
    /// The last delivery.
    pub deliveries: i64,
    /// The last source.
    pub sources: i64,
    /// The last endpoint.
    pub endpoints: i64,
    /// The last event that is gone.
    pub purged: i64,
    /// The last event whose transcript is gone.
    pub transcripts_gone: i64,
    /// The last given batch.
    pub batches: i64,
    /// The last replay.
    pub replays: i64,
    /// Call minutes that are left, in milliseconds; `None` is unlimited.
    pub call_credit: Option<i64>,
    /// The secret that endpoints of batches sign with, sealed; `None` leaves the one that is there.
    pub batch_secret: Option<Vec<u8>>,
}

/// Makes an account what it was elsewhere, and opens it for the records that follow.
pub fn begin_import(
    db: &Connection,
    account: AccountKey,
    imported: &ImportedAccount,
    now: Time,
) -> Result<(), StoreError> {
    db.prepare_cached(
        "UPDATE accounts SET origin = ?2, importing = 1, created_at = ?3, position = ?4, calls = ?5, deliveries = ?6,
             sources = CASE WHEN sources < ?7 THEN ?7 ELSE sources END,
             endpoints = CASE WHEN endpoints < ?8 THEN ?8 ELSE endpoints END, purged = ?9, transcripts_gone = ?10,
             batches = CASE WHEN batches < ?11 THEN ?11 ELSE batches END,
             replays = CASE WHEN replays < ?12 THEN ?12 ELSE replays END, call_credit = ?13,
             batch_secret = COALESCE(?14, batch_secret), imported_at = ?15
         WHERE account = ?1",
    )?
    .execute(params![
        account.0,
        imported.origin.0.cast_signed(),
        imported.created_at.as_micros(),
        imported.position,
        imported.calls,
        imported.deliveries,
        imported.sources,
        imported.endpoints,
        imported.purged,
        imported.transcripts_gone,
        imported.batches,
        imported.replays,
        imported.call_credit,
        imported.batch_secret,
        now.as_micros()
    ])?;
    Ok(())
}

/// Gives an account another tag, which the ids of its records have in them.
pub fn set_tag(db: &Connection, account: AccountKey, tag: Tag) -> Result<(), StoreError> {
    db.prepare_cached("UPDATE accounts SET tag = ? WHERE account = ?")?
        .execute([tag.0.cast_signed(), account.0])?;
    Ok(())
}

/// Closes an account for imported records.
pub fn end_import(db: &Connection, account: AccountKey) -> Result<(), StoreError> {
    db.prepare_cached("UPDATE accounts SET importing = 0 WHERE account = ?")?.execute([account.0])?;
    Ok(())
}

fn micros(length: Duration) -> i64 {
    i64::try_from(length.as_micros()).unwrap_or(i64::MAX)
}
