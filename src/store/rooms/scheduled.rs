//! Batches whose time has not come: their contacts are there, and nobody is asked to call them before it has. Then each
//! that is still open and was not called is a `call.requested`, step by step. Where no batch has a time, the table is
//! empty. Refuses to know how contacts are taken in.

use std::sync::Arc;

use super::append::About;
use super::batch_reads;
use super::due::{ByTime, Due};
use super::keys::{keys_of, pack, unpack};
use super::recording::Recording;
use crate::model::event::{EventBody, EventType};
use crate::model::{AccountKey, Time};
use crate::store::batches::Contact;
use crate::store::sql::{Connection, OptionalExtension, params};
use crate::store::{Page, StoreError};

/// Batches with a time of their own, and the last contact that was looked at since it came.
pub const TABLES: &str = r"
CREATE TABLE scheduled (batch INTEGER PRIMARY KEY, due INTEGER NOT NULL, told INTEGER);
CREATE INDEX scheduled_due ON scheduled (due);
";

/// What is added to the time of a batch that rests, in microseconds: later than any clock.
const REST: i64 = i64::MAX / 2;
/// Contacts that one step looks at: each may be an event.
const STEP: usize = 100;

/// A batch that is to be asked for at a time.
pub fn add(db: &Connection, batch: i64, due: Time) -> Result<(), StoreError> {
    db.prepare_cached("INSERT INTO scheduled (batch, due /*!, account */) VALUES (?, ? /*!, @1 */)")?
        .execute(params![batch, due.as_micros()])?;
    Ok(())
}

/// A batch whose contacts are not all asked for.
#[derive(Clone, Copy)]
pub struct Waiting {
    /// When that begins.
    pub due: Time,
    /// The last contact that was looked at since.
    pub told: Option<i64>,
}

/// What a batch waits for that has a time of its own, also while it is being taken in when that has come.
pub fn find(db: &Connection, batch: i64) -> Result<Option<Waiting>, StoreError> {
    let mut statement =
        db.prepare_cached("SELECT due, told FROM scheduled WHERE batch = ? /*! AND account = @1 */")?;
    let waiting = statement.query_row([batch], |row| {
        let due: i64 = row.get(0)?;
        let due = if due >= REST { due - REST } else { due };
        Ok(Waiting { due: Time::from_micros(due), told: row.get(1)? })
    });
    Ok(waiting.optional()?)
}

/// A batch that came in with an account: nothing is done for it before it is woken.
pub fn rest(db: &Connection, batch: i64, due: Time, told: Option<i64>) -> Result<(), StoreError> {
    db.prepare_cached(
        "INSERT INTO scheduled (batch, due, told /*!, account */) VALUES (?, ?, ? /*!, @1 */)",
    )?
    .execute(params![batch, due.as_micros().clamp(0, REST) + REST, told])?;
    Ok(())
}

/// Wakes those of an account that rest.
pub fn wake(db: &Connection, account: AccountKey) -> Result<(), StoreError> {
    db.prepare_cached(
        "UPDATE scheduled SET due = due - ?1
         WHERE due >= ?1 AND batch > ?2 AND batch < ?3 /*! AND account = @2 */",
    )?
    .execute([REST, pack(account, 0), pack(AccountKey(account.0 + 1), 0)])?;
    Ok(())
}

/// The batch is asked for no more.
pub fn remove(db: &Connection, batch: i64) -> Result<(), StoreError> {
    db.prepare_cached("DELETE FROM scheduled WHERE batch = ? /*! AND account = @1 */")?.execute([batch])?;
    Ok(())
}

/// Batches whose time has come.
pub const WAITING: ByTime =
    ByTime::Keys("SELECT batch, due FROM scheduled WHERE due > ? AND due <= ? ORDER BY due LIMIT ?");

/// One step. True when there is more.
pub fn step(recording: &mut Recording<'_>, due: Due) -> Result<bool, StoreError> {
    let (db, [from, until], [first, end]) = (recording.db, due.span, keys_of(due.account));
    let first: Option<(i64, Option<i64>)> = db
        .prepare_cached(
            "SELECT batch, told FROM scheduled
             WHERE due >= ? AND due <= ? AND +batch >= ? AND +batch < ? /*! AND account = @3 */
             ORDER BY due LIMIT 1",
        )?
        .query_row([from, until, first, end], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((batch, after)) = first else { return Ok(false) };
    let state = recording.batch(batch)?.map(|book| (book.state.is_over(), book.has_intake));
    let page = Page { after, limit: STEP };
    let found = match state {
        // All of them are taken in first, so that none is left out.
        Some((false, true)) => return Ok(false),
        Some((false, false)) => batch_reads::contacts(db, batch, true, page)?,
        _ => Vec::new(),
    };
    let Some(last) = found.last().map(|view| view.number) else {
        remove(db, batch)?;
        return Ok(true);
    };
    recording.committed.has_leisure = true;
    for view in found.iter().filter(|view| view.book.heard == 0) {
        request(recording, batch, pack(unpack(batch).0, view.number), &view.contact)?;
    }
    db.prepare_cached("UPDATE scheduled SET told = ? WHERE batch = ? /*! AND account = @2 */")?
        .execute([last, batch])?;
    Ok(true)
}

/// Asks whoever listens to call a contact.
pub fn request(
    recording: &mut Recording<'_>,
    batch: i64,
    contact: i64,
    about: &Contact,
) -> Result<(), StoreError> {
    let (account, now) = (unpack(batch).0, recording.now);
    let call = Arc::new(recording.request_of(batch, contact, about)?);
    let body = EventBody::Call { call, changed: Vec::new() };
    recording.append(account, EventType::CallRequested, now, About::default(), body, None)?;
    Ok(())
}
