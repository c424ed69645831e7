//! Batches whose time has not come: their contacts are there, and nobody is asked to call them before it has. Then each
//! that is still open and was not called is a `call.requested`, step by step. Where no batch has a time, the table is
//! empty. Refuses to know how contacts are taken in.

use std::sync::Arc;

use crate::model::event::{EventBody, EventType};
use crate::store::apply::append::EventContext;
use crate::store::apply::recording::Recording;
use crate::store::batches::{Contact, schedule};
use crate::store::jobs::due::{ByTime, Due};
use crate::store::layout::keys::{keys_of, pack, unpack};
use crate::store::reads::batches;
use crate::store::sql::OptionalExtension;
use crate::store::{Page, StoreError};

/// Contacts that one step looks at: each may be an event.
const STEP: usize = 100;

/// Batches whose time has come.
pub const WAITING: ByTime =
    ByTime::Keys("SELECT batch, due FROM scheduled WHERE due > ? AND due <= ? ORDER BY due LIMIT ?");

/// One step. True when there is more.
pub fn step(recording: &mut Recording<'_>, due: Due) -> Result<bool, StoreError> {
    let (db, [from, until], [first, end]) = (recording.tx.db, due.span, keys_of(due.account));
    let first: Option<(i64, Option<i64>)> = db
        .prepare_cached(
            "SELECT batch, told FROM scheduled
             WHERE due >= ? AND due <= ? AND +batch >= ? AND +batch < ? /*account of ?3*/
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
        Some((false, false)) => batches::contacts(db, batch, true, page)?,
        _ => Vec::new(),
    };
    let Some(last) = found.last().map(|view| view.number) else {
        schedule::remove(db, batch)?;
        return Ok(true);
    };
    recording.committed.has_leisure = true;
    for view in found.iter().filter(|view| view.book.heard == 0) {
        request(recording, batch, pack(unpack(batch).0, view.number), &view.contact)?;
    }
    schedule::looked_at(db, batch, last)?;
    Ok(true)
}

/// Asks whoever listens to call a contact.
pub fn request(
    recording: &mut Recording<'_>,
    batch: i64,
    contact: i64,
    about: &Contact,
) -> Result<(), StoreError> {
    let (account, now) = (unpack(batch).0, recording.tx.now);
    let call = Arc::new(recording.request_of(batch, contact, about)?);
    let body = EventBody::Call { call, changed: Vec::new() };
    recording.append(account, EventType::CallRequested, now, EventContext::default(), body, None)?;
    Ok(())
}
