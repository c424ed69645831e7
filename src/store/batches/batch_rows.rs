//! The batches that an account gives, as rows of `given_batches`: opened, begun, imported, removed. Does not depend on what a
//! call does to a batch: what that changes is written by `batch_set`.

use const_format::formatcp;

use super::loaded::{BATCH_COLUMNS, BatchBook};
use super::states::{ARRIVING, COMPLETED, INGESTING};
use super::{BatchState, Given, LAST_BATCH, NewBatch, Opened, credit, intake_rows, schedule, write};
use crate::ledger::Standing;
use crate::model::{AccountKey, Text, Time};
use crate::store::StoreError;
use crate::store::config::account_row;
use crate::store::layout::keys::{pack, unpack};
use crate::store::sql::{Connection, params};

/// The tables of batches, call minutes and the watchdog.
pub const TABLES: &str = r"
-- Call minutes that are left in milliseconds, NULL is unlimited; the secret that endpoints of batches sign with.
ALTER TABLE accounts ADD COLUMN batches INTEGER NOT NULL DEFAULT 0;
ALTER TABLE accounts ADD COLUMN call_credit INTEGER;
ALTER TABLE accounts ADD COLUMN batch_secret BLOB;
-- Accounts whose open batches fail, as no call minutes are left.
CREATE TABLE out_of_credit (account INTEGER PRIMARY KEY);
-- Batches that the account gave; those that vendors tell of are in batches. State 0 arriving, 1 ingesting, 2 sealed,
-- 3 completed, 4 failed; intake while parts of it wait to be taken in; succeeded and failed are the tally.
CREATE TABLE given_batches (
    id INTEGER PRIMARY KEY, account INTEGER NOT NULL, state INTEGER NOT NULL, intake INTEGER NOT NULL,
    total INTEGER NOT NULL, taken_in INTEGER NOT NULL, succeeded INTEGER NOT NULL, failed INTEGER NOT NULL,
    max_attempts INTEGER NOT NULL, lost_after INTEGER, created_at INTEGER NOT NULL, started_at INTEGER,
    ended_at INTEGER, release_at INTEGER, given BLOB NOT NULL, error BLOB, code BLOB
);
CREATE INDEX given_batches_intake ON given_batches (id) WHERE intake = 1;
CREATE INDEX given_batches_open ON given_batches (id) WHERE state < 3;
CREATE INDEX given_batches_ended ON given_batches (account, ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX given_batches_release ON given_batches (release_at) WHERE release_at IS NOT NULL;
-- Contacts that are on disk and wait to be taken in, some in each row; its key is that of the first.
CREATE TABLE intake (id INTEGER PRIMARY KEY, packed BLOB NOT NULL);
-- A contact's number has its batch's in the upper bits, so one batch's lie together in the order given.
CREATE TABLE contacts (
    id INTEGER PRIMARY KEY, about BLOB NOT NULL, heard INTEGER NOT NULL, ended INTEGER NOT NULL,
    completed INTEGER NOT NULL, is_open INTEGER NOT NULL, due INTEGER
);
CREATE INDEX contacts_open ON contacts (id) WHERE is_open = 1;
CREATE INDEX contacts_due ON contacts (due) WHERE due IS NOT NULL;
CREATE TABLE contact_keys (hash INTEGER NOT NULL, contact INTEGER NOT NULL, PRIMARY KEY (hash, contact)) WITHOUT ROWID;
-- What each call counts for; contact is NULL while its contact may not have been taken in.
CREATE TABLE batch_calls (call INTEGER PRIMARY KEY, batch INTEGER NOT NULL, contact INTEGER, counted INTEGER NOT NULL);
CREATE INDEX batch_calls_by_batch ON batch_calls (batch, call);
CREATE INDEX batch_calls_unplaced ON batch_calls (batch, call) WHERE contact IS NULL;
-- Calls whose end must come by then, if a source or batch has a deadline.
CREATE TABLE watched (call INTEGER PRIMARY KEY, due INTEGER NOT NULL);
CREATE INDEX watched_due ON watched (due);
";

/// Gives a batch a number and writes it as arriving, under a lease epoch until it has begun.
pub fn open(db: &Connection, new: &NewBatch, epoch: i64) -> Result<Opened, StoreError> {
    if credit::left(db, new.account)?.is_some_and(|millis| millis <= 0) {
        return Ok(Opened::OutOfCredit);
    }
    let number = account_row::next_number(db, new.account, "batches")?
        .ok_or_else(|| StoreError::Data("a batch for an account that does not exist".to_owned()))?;
    if number > LAST_BATCH {
        return Ok(Opened::Full);
    }
    let lost_after = new.lost_after.map(|span| i64::try_from(span.as_micros()).unwrap_or(i64::MAX));
    db.prepare_cached(formatcp!(
        "INSERT INTO given_batches (id, account, state, intake, total, taken_in, succeeded, failed, max_attempts,
             lost_after, created_at, given, owner) VALUES (?, ?, {ARRIVING}, 0, ?, 0, 0, 0, ?, ?, ?, ?, ?)"
    ))?
    .execute(params![
        pack(new.account, number),
        new.account.0,
        new.contacts,
        new.max_attempts,
        lost_after,
        new.created_at.as_micros(),
        write(&new.given)?,
        epoch
    ])?;
    Ok(Opened::As(number))
}

/// Lets the intake of an arriving batch begin, with the endpoints that were made for it.
pub fn begin(db: &Connection, id: i64, endpoints: Vec<i64>) -> Result<(), StoreError> {
    let mut statement = db.prepare_cached(formatcp!(
        "SELECT {BATCH_COLUMNS} FROM given_batches WHERE id = ? /*account of ?1*/ AND state = {ARRIVING}"
    ))?;
    let mut rows = statement.query([id])?;
    let row = rows.next()?.ok_or_else(|| StoreError::Data("a batch that is not arriving".to_owned()))?;
    let book = BatchBook::of(&row)?;
    let mut given = Given::clone(&book.given);
    given.endpoints = endpoints;
    if let Some(time) = given.scheduled_at.filter(|&time| time > book.created_at) {
        schedule::add(db, id, time)?;
    }
    db.prepare_cached(formatcp!(
        "UPDATE given_batches SET state = {INGESTING}, intake = 1, given = ? WHERE id = ? /*account of ?2*/",
    ))?
    .execute(params![write(&given)?, id])?;
    Ok(())
}

/// Removes the batches that were arriving when their lease epoch ended, with their contacts: their request got no answer.
pub fn delete_arriving(db: &Connection, epoch: i64) -> Result<(), StoreError> {
    let arriving: Vec<i64> = db
        .prepare_cached(formatcp!(
            "SELECT id FROM given_batches WHERE state < {COMPLETED} AND state = {ARRIVING} AND owner = ?"
        ))?
        .query_map([epoch], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for batch in arriving {
        intake_rows::delete_all(db, batch)?;
        delete(db, batch)?;
    }
    Ok(())
}

/// Removes a batch. Its contacts, its calls and its time are gone before.
pub fn delete(db: &Connection, id: i64) -> Result<(), StoreError> {
    db.prepare_cached("DELETE FROM given_batches WHERE id = ? /*account of ?1*/")?.execute([id])?;
    Ok(())
}

/// Clears when a batch's endpoints are to go: they are gone.
pub fn clear_release(db: &Connection, id: i64) -> Result<(), StoreError> {
    db.prepare_cached("UPDATE given_batches SET release_at = NULL WHERE id = ? /*account of ?1*/")?
        .execute([id])?;
    Ok(())
}

/// A batch of an import, as its row has it.
pub struct ImportedBatch<'a> {
    pub id: i64,
    pub state: BatchState,
    pub tally: Standing,
    pub taken_in: i64,
    pub max_attempts: i64,
    /// In microseconds.
    pub lost_after: Option<i64>,
    pub created_at: Time,
    pub started_at: Option<Time>,
    pub ended_at: Option<Time>,
    pub release_at: Option<Time>,
    pub given: &'a Given,
    pub error: Option<&'a Text>,
    pub code: Option<&'a Text>,
}

/// Writes an imported batch. It takes nothing in before [`resume`].
pub fn import(db: &Connection, batch: &ImportedBatch<'_>) -> Result<(), StoreError> {
    let micros = |time: Option<Time>| time.map(Time::as_micros);
    db.prepare_cached(
        "INSERT INTO given_batches (id, account, state, intake, total, taken_in, succeeded, failed, max_attempts,
             lost_after, created_at, started_at, ended_at, release_at, given, error, code)
         VALUES (?, ?, ?, 0, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )?
    .execute(params![
        batch.id,
        unpack(batch.id).0.0,
        batch.state.code(),
        batch.tally.total,
        batch.taken_in,
        batch.tally.succeeded,
        batch.tally.failed,
        batch.max_attempts,
        batch.lost_after,
        batch.created_at.as_micros(),
        micros(batch.started_at),
        micros(batch.ended_at),
        micros(batch.release_at),
        write(batch.given)?,
        batch.error.map(Text::as_bytes),
        batch.code.map(Text::as_bytes)
    ])?;
    Ok(())
}

/// Counts an imported contact that was taken in: one more, and what it adds to the tally.
pub fn count_imported(db: &Connection, id: i64, adds: &Standing) -> Result<(), StoreError> {
    db.prepare_cached(
        "UPDATE given_batches SET taken_in = taken_in + 1, succeeded = succeeded + ?, failed = failed + ?
             WHERE id = ? /*account of ?3*/",
    )?
    .execute([adds.succeeded, adds.failed, id])?;
    Ok(())
}

/// Lets the open batches of an account go on that came with an import: what waits of them is taken in, then they are sealed.
pub fn resume(db: &Connection, account: AccountKey) -> Result<(), StoreError> {
    db.prepare_cached(formatcp!(
        "UPDATE given_batches SET intake = 1
         WHERE state < {COMPLETED} AND state > {ARRIVING} AND id > ? AND id < ? /*account of ?1*/"
    ))?
    .execute([pack(account, 0), pack(AccountKey(account.0 + 1), 0)])?;
    Ok(())
}
