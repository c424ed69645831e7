//! The watchdog: calls whose end did not come in time end as `lost`, and so do requests that no call answered, so that
//! no batch waits for ever. Where nobody set a deadline its tables are empty. Refuses to know what `lost` means for a
//! call: a real end that comes later corrects it, by the ledger's rules.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::model::event::{EventBody, EventType, HeardCall, Outcome, Stage, Step};
use crate::model::{AccountKey, Call, Text};
use crate::store::apply::append::EventContext;
use crate::store::apply::recording::Recording;
use crate::store::batches::deadlines;
use crate::store::batches::loaded::Placed;
use crate::store::ingest::prepared::PreparedCall;
use crate::store::jobs::due::{ByTime, Due};
use crate::store::layout::keys::{keys_of, pack, unpack};
use crate::store::sql::OptionalExtension;
use crate::store::{Incoming, Parsed, StoreError};

/// Calls and requests that one step gives up: each is an event.
const STEP: i64 = 50;

impl Recording<'_> {
    /// Watches a call that has just been heard of, or been placed, if its batch or its source has a deadline; the
    /// batch's goes first. A call that ends is not taken off: whoever looks at it then sees that it has ended.
    pub fn watch(
        &mut self,
        account: AccountKey,
        call: i64,
        placed: Option<&Placed>,
        of_source: Option<Duration>,
    ) -> Result<(), StoreError> {
        let of_batch = placed.map(|placed| self.patience_of(placed)).transpose()?.flatten();
        let Some(patience) = of_batch.or(of_source) else { return Ok(()) };
        let due = self.tx.now.after(patience).as_micros();
        deadlines::set(self.tx.db, pack(account, call), due)
    }
}

/// Calls whose ends are late.
pub const LATE_CALLS: ByTime =
    ByTime::Keys("SELECT call, due FROM watched WHERE due > ? AND due <= ? ORDER BY due LIMIT ?");
/// Requests that nobody has answered.
pub const LATE_REQUESTS: ByTime = ByTime::Keys(
    "SELECT id, due FROM contacts WHERE due > ? AND due <= ? AND due IS NOT NULL ORDER BY due LIMIT ?",
);

/// Gives some calls up. True when there may be more.
pub fn give_up_calls(recording: &mut Recording<'_>, due: Due) -> Result<bool, StoreError> {
    let sql = "SELECT call FROM watched
         WHERE due >= ? AND due <= ? AND +call >= ? AND +call < ? /*account of ?3*/
         ORDER BY due LIMIT ?";
    let late = late(recording, due, sql)?;
    for &call in &late {
        if !recording.may_go_on() {
            break;
        }
        give_up_call(recording, call)?;
    }
    Ok(!late.is_empty())
}

/// Gives some requests up. True when there may be more.
pub fn give_up_requests(recording: &mut Recording<'_>, due: Due) -> Result<bool, StoreError> {
    let sql = "SELECT id FROM contacts
         WHERE due >= ? AND due <= ? AND due IS NOT NULL AND +id >= ? AND +id < ? /*account of ?3*/
         ORDER BY due LIMIT ?";
    let late = late(recording, due, sql)?;
    for &contact in &late {
        if !recording.may_go_on() {
            break;
        }
        give_up_request(recording, contact)?;
    }
    Ok(!late.is_empty())
}

fn late(recording: &Recording<'_>, due: Due, sql: &str) -> Result<Vec<i64>, StoreError> {
    let ([from, until], [first, end]) = (due.span, keys_of(due.account));
    let mut statement = recording.tx.db.prepare_cached(sql)?;
    let rows = statement.query_map([from, until, first, end, STEP], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn give_up_call(recording: &mut Recording<'_>, key: i64) -> Result<(), StoreError> {
    let db = recording.tx.db;
    deadlines::clear(db, key)?;
    // A call may have gone by its age, or have ended in time.
    let open: Option<(i64, Vec<u8>)> = db
        .prepare_cached(
            "SELECT source, vendor_id FROM calls WHERE id = ? /*account of ?1*/ AND outcome IS NULL",
        )?
        .query_row([key], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((source, vendor_id)) = open else { return Ok(()) };
    let (account, source) = unpack(source);
    // Without a time it stands behind whatever its source says of the end.
    let call = Call { call_id: Text::from_bytes(vendor_id), ..Call::default() };
    let heard = HeardCall { step: Step::Ended(Outcome::Lost), at: None, call };
    let incoming = Incoming {
        account,
        source,
        received_at: recording.tx.now,
        raw: Bytes::new(),
        content_type: None,
        parsed: Parsed::Events(Vec::new()),
    };
    recording.give_up(&incoming, &Arc::new(PreparedCall::of(heard)))
}

/// A contact was asked for and nobody called, or nobody called again: an attempt is lost.
fn give_up_request(recording: &mut Recording<'_>, key: i64) -> Result<(), StoreError> {
    let (account, number) = unpack(key);
    let batch = pack(account, crate::store::batches::batch_of(number));
    let is_over = recording.batch(batch)?.is_none_or(|book| book.state.is_over());
    let Some((contact, book)) = recording.who(key)? else { return Ok(()) };
    if is_over || book.is_closed {
        return recording.stop_waiting(key);
    }
    let now = recording.tx.now;
    let mut call = recording.request_of(batch, key, &contact)?;
    (call.stage, call.outcome) = (Stage::Ended, Some(Outcome::Lost));
    let body = EventBody::Call { call: Arc::new(call), changed: Vec::new() };
    recording.append(account, EventType::CallFailed, now, EventContext::default(), body, None)?;
    recording.change_contact(batch, key, now, |book, most| book.give_up(most))
}
