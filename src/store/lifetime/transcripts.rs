//! Transcripts that go earlier than the rest: what was said is taken out of events and records past the account's age for
//! it, in steps that no door notices. Ages are those of `retention`. Refuses to know how long anything should be kept.
//!
//! Bodies that were kept for a next attempt hold what was said, too; they go, and the next attempt encodes the event as it
//! is then. What is under way goes out as it was begun.

use std::time::Duration;

use tracing::debug;

use crate::model::{AccountKey, Call, EventBody, EventType, Time};
use crate::store::StoreError;
use crate::store::apply::recording::Recording;
use crate::store::calls::{call_rows, event_rows, spans};
use crate::store::config::account_row;
use crate::store::deliveries::body_rows;
use crate::store::jobs::due::ByTime;
use crate::store::layout::codec;
use crate::store::layout::keys::{pack, unpack};
use crate::store::packed::{damaged, pack_bytes, unpack_text};
use crate::store::sql::{Connection, OptionalExtension};
use crate::store::tx::slots;
use crate::store::tx::step_budget::Budget;

/// The settings of each account, and how far its transcripts are gone.
pub const COLUMNS: &str = r"
-- In microseconds, NULL is as long as the rest; the account is looked at when transcripts_at comes. Events up to position
-- transcripts_gone have none.
ALTER TABLE accounts ADD COLUMN transcript_retention INTEGER;
ALTER TABLE accounts ADD COLUMN transcripts_at INTEGER;
ALTER TABLE accounts ADD COLUMN transcripts_gone INTEGER NOT NULL DEFAULT 0;
CREATE INDEX accounts_to_silence ON accounts (transcripts_at) WHERE transcripts_at IS NOT NULL;
";

/// Rows that one step looks at.
const STEP: i64 = 250;
/// How a snapshot with a transcript is told from others before it is read.
const SPOKEN: &str = "\"transcript\":{";

/// Sets for how long an account keeps what was said.
pub fn set(
    db: &Connection,
    account: AccountKey,
    kept: Option<Duration>,
    now: Time,
) -> Result<(), StoreError> {
    account_row::set_transcript_retention(db, account, kept, now)?;
    slots::end_slot(db, account, now)
}

/// Accounts that have transcripts past their age.
pub const OLD: ByTime = ByTime::Accounts(
    "SELECT account, transcripts_at FROM accounts
     WHERE transcripts_at > ? AND transcripts_at <= ? ORDER BY transcripts_at LIMIT ?",
);

/// One step. True when there is more.
pub fn step(recording: &mut Recording<'_>, account: AccountKey) -> Result<bool, StoreError> {
    let (db, now) = (recording.tx.db, recording.tx.now);
    let (kept, position, purged, gone): (i64, i64, i64, i64) = db
        .prepare_cached(
            "SELECT transcript_retention, position, purged, transcripts_gone FROM accounts WHERE account = ?",
        )?
        .query_row([account.0], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
    let since = now.as_micros().saturating_sub(kept);
    let kept = codec::length(kept);
    let young = slots::first_young(db, account, since, kept, position, gone.max(purged), now)?;
    // Where rows are removed, some may be left of what is past its retention: those of which something is under way.
    let gone = if db.drops_by_age() { gone.max(purged) } else { gone };
    if young <= gone + 1 {
        account_row::set_transcripts_at(db, account, now.after(slots::slot(Some(kept))))?;
    } else {
        let reached = silence(recording, account, gone + 1, young)?;
        account_row::set_transcripts_gone(db, account, reached)?;
        debug!(account = account.0, reached, "removed transcripts past their age");
    }
    Ok(true)
}

/// Takes what was said out of these events, as many as a step allows. Gives the last one that is done.
fn silence(recording: &Recording<'_>, account: AccountKey, first: i64, end: i64) -> Result<i64, StoreError> {
    let db = recording.tx.db;
    let (mut budget, mut reached, mut seen) = (Budget::new(), first - 1, 0);
    let mut statement = db.prepare_cached(
        "SELECT id, kind, call, first_delivery, deliveries, body FROM events
         WHERE id >= ? AND id < ? /*account of ?1*/ ORDER BY id LIMIT ?",
    )?;
    let mut rows = statement.query([pack(account, first), pack(account, end), STEP])?;
    while let Some(row) = rows.next()? {
        let packed = row.blob(5)?;
        if !(budget.take(i64::try_from(packed.len()).unwrap_or(i64::MAX)) && recording.may_go_on()) {
            return Ok(reached);
        }
        // A damaged one must not keep all others from going.
        let spoken = unpack_text(packed).ok().filter(|json| json.contains(SPOKEN));
        let body =
            spoken.and_then(|json| EventBody::from_json(EventType::from_code(row.get(1).ok()?)?, &json).ok());
        let id: i64 = row.get(0)?;
        if let Some(silent) = body.and_then(|body| body.without_transcript()) {
            let (from, count): (i64, i64) = (row.get(3)?, row.get(4)?);
            if !body_rows::remove_some(db, spans::of_event(db, id, from, count)?, STEP)? {
                return Ok(reached);
            }
            body_rows::remove_later(db, account, unpack(id).1)?;
            event_rows::set_body(db, id, &pack_bytes(silent.to_json().as_bytes())?)?;
        }
        if let Some(call) = row.get::<Option<i64>>(2)? {
            silence_record(db, pack(account, call), unpack(id).1)?;
        }
        reached = unpack(id).1;
        seen += 1;
    }
    Ok(if seen == STEP { reached } else { end - 1 })
}

/// Takes what was said out of a record that differs from the snapshot of its last event, if this is that event.
fn silence_record(db: &Connection, call: i64, event: i64) -> Result<(), StoreError> {
    let record: Option<Vec<u8>> = db
        .prepare_cached(
            "SELECT record FROM calls
             WHERE id = ? /*account of ?1*/ AND event = ? AND record IS NOT NULL",
        )?
        .query_row([call, event], |row| row.get(0))
        .optional()?;
    let Some(record) = record else { return Ok(()) };
    let known: Call = serde_json::from_str(&unpack_text(&record)?).map_err(damaged)?;
    if known.transcript.is_empty() {
        return Ok(());
    }
    let silent = serde_json::to_vec(&known.without_transcript()).map_err(damaged)?;
    call_rows::set_record(db, call, &pack_bytes(&silent)?)
}
