//! Batches whose time has not come: their contacts are there, and nobody is asked to call them before it has. Then each
//! that is still open and was not called is a `call.requested`, step by step. Where no batch has a time, the table is
//! empty. Refuses to know how contacts are taken in.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, params};

use super::batches;
use super::record::{About, Recording};
use super::schema::{pack, unpack};
use crate::model::Time;
use crate::model::event::{EventBody, EventType};
use crate::store::batches::Contact;
use crate::store::{Page, StoreError};

/// Batches with a time of their own, and the last contact that was looked at since it came.
pub const TABLES: &str = r"
CREATE TABLE scheduled (batch INTEGER PRIMARY KEY, due INTEGER NOT NULL, told INTEGER);
CREATE INDEX scheduled_due ON scheduled (due);
";

/// Contacts that one step looks at: each may be an event.
const STEP: usize = 100;

/// A batch that is to be asked for at a time.
pub fn add(db: &Connection, batch: i64, due: Time) -> Result<(), StoreError> {
    db.prepare_cached("INSERT INTO scheduled (batch, due) VALUES (?, ?)")?
        .execute(params![batch, due.as_micros()])?;
    Ok(())
}

/// When a batch is asked for that waits for its time, or whose time came while it was taken in.
pub fn due(db: &Connection, batch: i64) -> Result<Option<Time>, StoreError> {
    let due = db
        .prepare_cached("SELECT due FROM scheduled WHERE batch = ?")?
        .query_row([batch], |row| row.get(0))
        .optional()?;
    Ok(due.map(Time::from_micros))
}

/// The batch is asked for no more.
pub fn remove(db: &Connection, batch: i64) -> Result<(), StoreError> {
    db.prepare_cached("DELETE FROM scheduled WHERE batch = ?")?.execute([batch])?;
    Ok(())
}

/// One step. True when there is more.
pub fn step(recording: &mut Recording<'_>) -> Result<bool, StoreError> {
    let (db, now) = (recording.db, recording.now);
    let first: Option<(i64, Option<i64>)> = db
        .prepare_cached("SELECT batch, told FROM scheduled WHERE due <= ? ORDER BY due LIMIT 1")?
        .query_row([now.as_micros()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((batch, after)) = first else { return Ok(false) };
    let state = recording.batch(batch)?.map(|book| (book.state.is_over(), book.has_intake));
    let page = Page { after, limit: STEP };
    let found = match state {
        // All of them are taken in first, so that none is left out.
        Some((false, true)) => return Ok(false),
        Some((false, false)) => batches::contacts(db, batch, true, page)?,
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
    db.prepare_cached("UPDATE scheduled SET told = ? WHERE batch = ?")?.execute([last, batch])?;
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
