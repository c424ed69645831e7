//! What the numbers of an import can be: each rule once, whatever line they stand in. Nothing of an import is believed before
//! it was held to the numbers that its account line says were handed out, and to what came before it. Does not depend on how
//! lines are read and written.

use crate::model::account::MOST_REPEAT_MEMORY;
use crate::model::bounds::{ATTEMPTS, LONGEST_RETENTION, MOST_CREDIT, is_span};
use crate::model::id::Kind;
use crate::model::{AccountKey, Attempt};
use crate::store::StoreError;
use crate::store::batches::{LAST_BATCH, MOST_CONTACTS, batch_of, contact_number};
use crate::store::export::AccountLine;
use crate::store::layout::codec::length;
use crate::store::layout::keys::{MOST_BROUGHT, keys_of, pack};
use crate::store::sql::{Connection, OptionalExtension, Row};

/// The most revisions of an endpoint: each is a change that somebody made.
pub const MOST_REVISIONS: i64 = 1 << 31;
/// The most attempts of a delivery. Those by hand have no end, but nobody makes a million.
pub const MOST_TRIES: u32 = 1_000_000;
/// The longest exchange in milliseconds: more than a clock that stood still in between makes of it.
const LONGEST_EXCHANGE: f64 = 1e12;
/// The longest of what is kept of an answer, in bytes: 64 KiB of which each byte became a replacement character, and more.
const LONGEST_ANSWER: usize = 256 << 10;

/// What the account has handed out: what its line said, and what was recorded since.
#[derive(Clone, Copy, Debug)]
pub struct HandedOut {
    position: i64,
    calls: i64,
    deliveries: i64,
    batches: i64,
}

impl HandedOut {
    /// The columns of [`Self::of`].
    pub const COLUMNS: &str = "position, calls, deliveries, batches";

    /// Reads [`Self::COLUMNS`], from this one on.
    pub fn of(row: &Row<'_>, first: usize) -> crate::store::sql::Result<Self> {
        Ok(Self {
            position: row.get(first)?,
            calls: row.get(first + 1)?,
            deliveries: row.get(first + 2)?,
            batches: row.get(first + 3)?,
        })
    }

    /// Whether a record can have this number. Sources, endpoints and replays that were made while an export was under way are
    /// in it, so of these only the range is known.
    pub fn has(&self, kind: Kind, number: i64) -> bool {
        let most = match kind {
            Kind::Event => self.position,
            Kind::Call => self.calls,
            Kind::Delivery => self.deliveries,
            Kind::Batch => self.batches.min(LAST_BATCH),
            Kind::Contact => {
                let batch = batch_of(number);
                let place = number - contact_number(batch, 0);
                return self.has(Kind::Batch, batch)
                    && usize::try_from(place).is_ok_and(|place| (1..=MOST_CONTACTS).contains(&place));
            }
            _ => MOST_BROUGHT,
        };
        (1..=most).contains(&number)
    }

    /// The most calls that one contact can have had.
    pub fn most_heard(&self) -> i64 {
        self.calls.saturating_add(i64::from(*ATTEMPTS.end()))
    }

    /// Where the deliveries of an event end that begin with this one, if they were all handed out.
    pub fn end_of(&self, first: i64, count: i64) -> Option<i64> {
        let end = first.checked_add(count)?;
        (first >= 1 && count >= 0 && end <= self.deliveries.checked_add(1)?).then_some(end)
    }
}

/// The first number of an account line that cannot be, by its name.
pub fn misfit(line: &AccountLine) -> Option<&'static str> {
    let is_head = |number: i64| (0..=MOST_BROUGHT).contains(&number);
    let is_kept = |kept: Option<i64>| kept.is_none_or(|micros| is_span(length(micros), LONGEST_RETENTION));
    let most_credit = i64::try_from(MOST_CREDIT.as_millis()).unwrap_or(i64::MAX);
    let memory = line.repeat_memory;
    let all = [
        ("position", is_head(line.position)),
        ("calls", is_head(line.calls)),
        ("deliveries", is_head(line.deliveries)),
        ("sources", is_head(line.sources)),
        ("endpoints", is_head(line.endpoints)),
        ("batches", is_head(line.batches) && line.batches <= LAST_BATCH),
        ("replays", is_head(line.replays)),
        ("purged", (0..=line.position).contains(&line.purged)),
        ("transcripts_gone", (0..=line.position).contains(&line.transcripts_gone)),
        ("retention", is_kept(line.retention)),
        ("transcript_retention", is_kept(line.transcript_retention)),
        ("repeat_memory", memory.is_none_or(|micros| micros >= 0 && length(micros) <= MOST_REPEAT_MEMORY)),
        // Calls may have used up more than there were.
        (
            "call_credit",
            line.call_credit.is_none_or(|left| left.unsigned_abs() <= most_credit.unsigned_abs()),
        ),
    ];
    all.into_iter().find_map(|(name, fits)| (!fits).then_some(name))
}

/// Whether so many can have been owed of an event: one to each endpoint that ever was, and all of these came before.
pub fn are_owed(db: &Connection, account: AccountKey, count: i64) -> Result<bool, StoreError> {
    if count == 0 {
        return Ok(true);
    }
    let [first, end] = keys_of(account);
    Ok(db
        .prepare_cached(
            "SELECT 1 FROM endpoints WHERE id > ? AND id < ? /*account of ?1*/
             ORDER BY id LIMIT 1 OFFSET ?",
        )?
        .exists([first, end, count - 1])?)
}

/// Whether an event's deliveries lie between those of the events beside it: they are numbered in the order of the feed.
pub fn are_in_order(
    db: &Connection,
    account: AccountKey,
    position: i64,
    [first, end]: [i64; 2],
) -> Result<bool, StoreError> {
    let ([least, most], key) = (keys_of(account), pack(account, position));
    let before: Option<i64> = db
        .prepare_cached(
            "SELECT first_delivery + deliveries FROM events WHERE id > ? AND id < ? /*account of ?1*/
             ORDER BY id DESC LIMIT 1",
        )?
        .query_row([least, key], |row| row.get(0))
        .optional()?;
    let after: Option<i64> = db
        .prepare_cached(
            "SELECT first_delivery FROM events WHERE id > ? AND id < ? /*account of ?1*/
             ORDER BY id LIMIT 1",
        )?
        .query_row([key, most], |row| row.get(0))
        .optional()?;
    Ok(before.is_none_or(|before| before <= first) && after.is_none_or(|after| end <= after))
}

/// Whether these can be the attempts of a delivery.
pub fn are_attempts(attempts: &[Attempt]) -> bool {
    let is_short = |text: &Option<String>| text.as_ref().is_none_or(|text| text.len() <= LONGEST_ANSWER);
    attempts.iter().all(|attempt| {
        (1..=MOST_TRIES).contains(&attempt.number)
            && (0.0..=LONGEST_EXCHANGE).contains(&attempt.latency_ms)
            && attempt.status.is_none_or(|status| (100..=999).contains(&status))
            && is_short(&attempt.error)
            && is_short(&attempt.response_body)
    })
}
