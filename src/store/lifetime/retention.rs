//! The removal of what is older than its account keeps it, in steps that no door notices: events with their deliveries, calls,
//! quarantine, replays, batches. `tx/slots.rs` says when an event was recorded. Where rows go with their partition,
//! `partition_retention` says what happens in place of their removal. Does not depend on how long anything is to be kept, and
//! who says so.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use const_format::formatcp;
use tracing::{debug, warn};

use super::old_batches;
use crate::ledger::{BatchBook, Contribution, Received};
use crate::model::{AccountKey, DeliveryState, EventBody, EventType, Text, Time};
use crate::store::analytics::rollups::{self, Changes, Table};
use crate::store::apply::recording::Recording;
use crate::store::batches::vendor_batch_rows;
use crate::store::calls::tombstones::Of;
use crate::store::calls::{call_rows, event_rows, quarantine, spans};
use crate::store::config::{account_row, endpoint_counters, endpoint_rows};
use crate::store::deliveries::states::{CANCELLED, CLAIMED, DEAD, DELIVERED, state_of};
use crate::store::deliveries::{body_rows, deferral_rows, replayed_rows, replays, settled_rows};
use crate::store::jobs::due::ByTime;
use crate::store::layout::codec::length;
use crate::store::layout::keys::{endpoint_ref, keys_of, pack, unpack};
use crate::store::packed::unpack_text;
use crate::store::sql::Connection;
use crate::store::tx::slots::{self, end_slot, first_young, slot};
use crate::store::tx::step_budget::{Budget, STEP};
use crate::store::tx::watermarks::Watermarks;
use crate::store::{StoreError, Sum};

/// An import that broke off is sent again from its beginning, and its lines refer to each other: for so long they are kept.
/// Microseconds.
const IMPORT: i64 = 24 * 3600 * 1_000_000;

/// When an account is looked at again that waits for something that ends by itself.
const SOON: Duration = Duration::from_secs(10);

/// Sets for how long an account keeps what is recorded.
pub fn set(
    db: &Connection,
    account: AccountKey,
    retention: Option<Duration>,
    now: Time,
) -> Result<(), StoreError> {
    account_row::set_retention(db, account, retention, now)?;
    end_slot(db, account, now)
}

/// Accounts that have something past its retention.
pub const OLD: ByTime = ByTime::Accounts(
    "SELECT account, purge_at FROM accounts
     WHERE purge_at > ?1 AND purge_at <= ?2 AND (importing = 0 OR COALESCE(imported_at, 0) <= ?2 - 86400000000)
     ORDER BY purge_at LIMIT ?3",
);
const _: () = assert!(IMPORT == 86_400_000_000, "it stands in the statement above");

/// One step. True when there is more.
pub fn step(recording: &mut Recording<'_>, account: AccountKey) -> Result<bool, StoreError> {
    let now = recording.tx.now;
    let account = account.0;
    let (retention, position, purged, imported_at): (Option<i64>, i64, i64, Option<i64>) = recording
        .tx
        .db
        .prepare_cached("SELECT retention, position, purged, imported_at FROM accounts WHERE account = ?")?
        .query_row([account], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
    // Told just now to keep everything.
    let Some(retention) = retention else { return Ok(true) };
    let mut purge = Purge {
        account: AccountKey(account),
        retention: length(retention),
        // What was recorded at this moment or before is old.
        since: now.as_micros().saturating_sub(retention),
        position,
        purged,
        waits: false,
        is_late: false,
        removals: Removals::default(),
        recording,
    };
    // What has its own time in it ages from the import on, as everything that came with it.
    let is_settled = imported_at.is_none_or(|began| began <= purge.since);
    let drops = purge.recording.tx.db.drops_by_age();
    if !(purge.oldest()?
        || (!drops && purge.left_behind()?)
        || purge.quarantine()?
        || (is_settled
            && (purge.replays()? || old_batches::purge(purge.recording, purge.account, purge.since)?)))
    {
        let pause = slot(Some(purge.retention));
        let next = now.after(if purge.waits { pause.min(SOON) } else { pause });
        account_row::set_purge_at(purge.recording.tx.db, purge.account, next)?;
    }
    purge.removals.write(purge.recording.tx.db, purge.account)?;
    Ok(true)
}

/// The removal of what one account need not keep any more.
pub struct Purge<'a, 'b> {
    pub recording: &'a mut Recording<'b>,
    pub account: AccountKey,
    pub retention: Duration,
    pub since: i64,
    /// The last position of the feed.
    position: i64,
    /// The last one that is gone.
    pub purged: i64,
    /// What comes next has to wait for something else.
    pub waits: bool,
    /// What is under way is called off too: it was waited for.
    pub is_late: bool,
    /// What it removed.
    pub removals: Removals,
}

/// What a step removed, to be booked in the transaction in which it goes.
#[derive(Default)]
pub struct Removals {
    /// Deliveries that were pending.
    expired: usize,
    /// Deliveries, by endpoint.
    deliveries: BTreeMap<i64, Sum>,
    /// What calls go on adding to the numbers of the account.
    calls: Changes,
}

/// What a removal goes by of an event.
pub struct Row {
    pub id: i64,
    kind: i64,
    source: Option<i64>,
    pub call: Option<i64>,
    pub first_delivery: i64,
    pub deliveries: i64,
}

/// How far a removal came.
enum Removed {
    /// A part of the deliveries of its first events.
    Part,
    /// The events up to this position, but for those with a delivery that is under way.
    UpTo { position: i64, count: usize },
}

impl Purge<'_, '_> {
    /// Removes some of the oldest events of the feed. True when there may be more.
    fn oldest(&mut self) -> Result<bool, StoreError> {
        let (db, now) = (self.recording.tx.db, self.recording.tx.now);
        let young =
            first_young(db, self.account, self.since, self.retention, self.position, self.purged, now)?;
        if young <= self.purged + 1 {
            return slots::forget(self.recording.tx.db, self.account, self.since, STEP);
        }
        if self.recording.tx.db.drops_by_age() {
            return self.retire(young);
        }
        if let Removed::UpTo { position, .. } = self.remove(self.purged + 1, young)? {
            account_row::set_purged(self.recording.tx.db, self.account, position)?;
        }
        Ok(true)
    }

    /// Removes events that were passed over because a delivery of theirs was under way.
    fn left_behind(&mut self) -> Result<bool, StoreError> {
        let left: Vec<i64> = self
            .recording
            .tx
            .db
            .prepare_cached(
                "SELECT id FROM events WHERE id > ? AND id <= ? /*account of ?1*/ ORDER BY id LIMIT ?",
            )?
            .query_map([pack(self.account, 0), pack(self.account, self.purged), STEP], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        let mut has_removed = false;
        for id in left {
            let position = unpack(id).1;
            match self.remove(position, position + 1)? {
                Removed::Part => return Ok(true),
                Removed::UpTo { count, .. } => has_removed |= count > 0,
            }
        }
        Ok(has_removed)
    }

    /// Removes old bodies from quarantine, which gives their sources room for others.
    fn quarantine(&self) -> Result<bool, StoreError> {
        let (db, mut budget) = (self.recording.tx.db, Budget::new());
        let mut old = Vec::new();
        let mut statement = db.prepare_cached(
            "SELECT id, received_at, length(body) FROM quarantine
             WHERE id > ? AND id < ? /*account of ?1*/ ORDER BY id LIMIT ?",
        )?;
        let [first, end] = [pack(self.account, 0), pack(AccountKey(self.account.0 + 1), 0)];
        let mut rows = statement.query([first, end, STEP])?;
        while let Some(row) = rows.next()?
            && row.get::<i64>(1)? <= self.since
            && budget.take(row.get(2)?)
        {
            old.push(row.get(0)?);
        }
        quarantine::discard_all(db, &old)?;
        Ok(!old.is_empty())
    }

    /// Removes the records of replays that were over long ago.
    fn replays(&self) -> Result<bool, StoreError> {
        replays::forget(self.recording.tx.db, self.account, self.since)
    }

    /// Removes as many of these events as a step allows, with everything that hangs on them.
    fn remove(&mut self, first: i64, end: i64) -> Result<Removed, StoreError> {
        let events = self.events(first, end)?;
        let (Some(oldest), Some(newest)) = (events.first(), events.last()) else {
            return Ok(Removed::UpTo { position: end - 1, count: 0 });
        };
        // The deliveries of an event are numbered in a row, and so are those of events that follow each other.
        let end = newest.first_delivery.saturating_add(newest.deliveries);
        let deliveries = spans::of_events(self.recording.tx.db, newest.id, oldest.first_delivery, end)?;
        let position = unpack(newest.id).1;
        let Some(under_way) = self.expire(deliveries)? else { return Ok(Removed::Part) };
        // One that is under way may need its own again.
        let is_needed = |id| under_way.contains_key(&id);
        if !(body_rows::remove_range(self.recording.tx.db, deliveries, is_needed)?
            && self.remove_settled(deliveries)?)
        {
            return Ok(Removed::Part);
        }
        let mut held: BTreeSet<i64> = under_way.into_values().collect();
        if !self.remove_replayed([oldest.id, newest.id], &mut held)? {
            return Ok(Removed::Part);
        }
        let mut count = 0;
        for event in &events {
            if held.contains(&unpack(event.id).1) || self.is_quoted(unpack(event.id).1)? {
                continue;
            }
            self.remove_event(event)?;
            count += 1;
        }
        debug!(account = self.account.0, position, count, "removed events past their retention");
        Ok(Removed::UpTo { position, count })
    }

    /// Whether a delivery of an earlier event says what was known at this one: that is under way, or it would be gone.
    fn is_quoted(&self, position: i64) -> Result<bool, StoreError> {
        let [first, end] = keys_of(self.account);
        Ok(self
            .recording
            .tx
            .db
            .prepare_cached(
                "SELECT 1 FROM rendered r JOIN open o ON o.id = r.delivery /*! AND o.account = r.account */
                 WHERE r.snapshot = ? AND r.delivery >= ? AND r.delivery < ? /*! AND r.account = @2 */ LIMIT 1",
            )?
            .exists([position, first, end])?)
    }

    pub fn events(&self, first: i64, end: i64) -> Result<Vec<Row>, StoreError> {
        let mut statement = self.recording.tx.db.prepare_cached(
            "SELECT id, kind, source, call, first_delivery, deliveries, length(body) FROM events
             WHERE id >= ? AND id < ? /*account of ?1*/ ORDER BY id LIMIT ?",
        )?;
        let mut rows = statement.query([pack(self.account, first), pack(self.account, end), STEP])?;
        let (mut events, mut budget, mut deliveries) = (Vec::new(), Budget::new(), 0i64);
        while let Some(row) = rows.next()?
            && budget.take(row.get(6)?)
        {
            let event = Row {
                id: row.get(0)?,
                kind: row.get(1)?,
                source: row.get(2)?,
                call: row.get(3)?,
                first_delivery: row.get(4)?,
                deliveries: row.get(5)?,
            };
            deliveries = deliveries.saturating_add(event.deliveries.max(0));
            if deliveries > STEP && !events.is_empty() {
                break;
            }
            events.push(event);
        }
        Ok(events)
    }

    /// Calls off what is still open of these deliveries, which lets younger ones of the same calls go, and removes it.
    /// Gives those that are under way, with their events, or nothing when there is more to call off.
    pub fn expire(&mut self, range: [i64; 2]) -> Result<Option<BTreeMap<i64, i64>>, StoreError> {
        let db = self.recording.tx.db;
        let open: Vec<(i64, i64, i64)> = db
            .prepare_cached(
                "SELECT id, event, state FROM open WHERE id >= ? AND id < ? /*account of ?1*/
                 ORDER BY id",
            )?
            .query_map(range, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
            .collect::<Result<_, _>>()?;
        let (mut under_way, mut calling_off, mut are_all) = (BTreeMap::new(), Vec::new(), true);
        for (id, event, state) in open {
            if state == CLAIMED && !self.is_late {
                under_way.insert(id, event);
                continue;
            }
            if i64::try_from(calling_off.len()).is_ok_and(|count| count == STEP) {
                are_all = false;
                break;
            }
            calling_off.push(id);
        }
        for closed in self.recording.close_open(&calling_off)? {
            if closed.state == CLAIMED {
                let endpoint = endpoint_ref(closed.delivery.endpoint);
                self.recording.committed.called_off.push((endpoint, unpack(closed.delivery.id).1));
            }
            self.removals.count(closed.delivery.endpoint, DeliveryState::Cancelled);
            self.removals.expired += 1;
        }
        Ok(are_all.then_some(under_way))
    }

    /// Removes these deliveries as far as they are settled, and counts them. True when all are gone.
    fn remove_settled(&mut self, [first, end]: [i64; 2]) -> Result<bool, StoreError> {
        let db = self.recording.tx.db;
        let mut statement = db.prepare_cached(
            "SELECT id, endpoint, state, length(attempts) FROM settled
             WHERE id >= ? AND id < ? /*account of ?1*/ ORDER BY id",
        )?;
        let mut rows = statement.query([first, end])?;
        let (mut budget, mut rest) = (Budget::new(), end);
        while let Some(row) = rows.next()? {
            if !budget.take(row.get::<Option<i64>>(3)?.unwrap_or(0)) {
                rest = row.get(0)?;
                break;
            }
            self.removals.count(row.get(1)?, state_of(row.get(2)?));
        }
        settled_rows::remove_range(db, [first, rest])?;
        // What is under way goes on saying what it does.
        deferral_rows::remove_rendered_but_pending(db, [first, rest])?;
        Ok(rest == end)
    }

    /// Removes the deliveries of these events that replays planned: they are not numbered with the events' own. Adds the
    /// events of those that are under way. True when all others are gone.
    pub fn remove_replayed(
        &mut self,
        events: [i64; 2],
        held: &mut BTreeSet<i64>,
    ) -> Result<bool, StoreError> {
        let db = self.recording.tx.db;
        let again: Vec<(i64, i64)> = db
            .prepare_cached(
                "SELECT event, delivery FROM replayed WHERE event >= ? AND event <= ? /*account of ?1*/
                 ORDER BY event LIMIT ?",
            )?
            .query_map([events[0], events[1], STEP], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<_, _>>()?;
        let found = again.len();
        for (event, id) in again {
            if !self.recording.may_go_on() {
                return Ok(false);
            }
            let Some(under_way) = self.expire([id, id + 1])? else { return Ok(false) };
            if !under_way.is_empty() {
                held.insert(unpack(event).1);
                continue;
            }
            let own = [id, id + 1];
            if !(body_rows::remove_range(db, own, |_| false)? && self.remove_settled(own)?) {
                return Ok(false);
            }
            replayed_rows::remove(db, event, id)?;
        }
        Ok(i64::try_from(found).unwrap_or(i64::MAX) < STEP)
    }

    /// Removes an event whose deliveries are gone. A call goes with its last event, and so does what is remembered of a
    /// batch. A tombstone is left of both.
    fn remove_event(&mut self, event: &Row) -> Result<(), StoreError> {
        let db = self.recording.tx.db;
        self.forget_batch(event)?;
        if let Some(call) = event.call {
            let id = pack(self.account, call);
            self.forget_call(id, unpack(event.id).1)?;
        }
        event_rows::delete(db, event.id)?;
        if let Some(call) = event.call {
            let id = pack(self.account, call);
            if let Some(gone) = call_rows::delete_by_last_event(db, id, unpack(event.id).1)? {
                self.recording.calls.found.remove(db, gone.hash, id)?;
                self.bury_call(gone.source, gone.vendor_id, &gone.marks)?;
            }
        }
        Ok(())
    }

    /// Leaves a tombstone of a call that is gone.
    pub fn bury_call(&mut self, source: i64, vendor_id: Vec<u8>, marks: &[u8]) -> Result<(), StoreError> {
        // A damaged one must not keep everything else from going.
        let received = serde_json::from_slice(marks).map(|marks| Received::of_call(&marks));
        let call_id = Text::from_bytes(vendor_id);
        self.recording.bury(source, Of::Call(&call_id), received.unwrap_or_default())
    }

    /// A call that ended goes on counting when it is gone with its last event; one that never did is in progress no more.
    fn forget_call(&mut self, call: i64, event: i64) -> Result<(), StoreError> {
        let db = self.recording.tx.db;
        let is_last = db
            .prepare_cached("SELECT 1 FROM calls WHERE id = ? /*account of ?1*/ AND event = ?")?
            .exists([call, event])?;
        // A damaged one must not keep everything else from going.
        let adds = if is_last { rollups::of_call(db, call).unwrap_or_default() } else { None };
        self.book_gone(adds);
        Ok(())
    }

    /// Books what a call adds that is gone.
    pub fn book_gone(&mut self, adds: Option<Contribution>) {
        match adds {
            Some(ended) if ended.place.hour.is_some() => {
                self.removals.calls.book(self.account, None, Some(ended));
            }
            open => {
                self.recording.numbers.count(self.account, open, None);
            }
        }
    }

    /// Forgets of a batch that it ended, if this event tells so.
    pub fn forget_batch(&mut self, row: &Row) -> Result<(), StoreError> {
        let (db, event) = (self.recording.tx.db, row.id);
        let (Some(kind), Some(source)) = (EventType::from_code(row.kind), row.source) else { return Ok(()) };
        if !matches!(kind, EventType::BatchCompleted | EventType::BatchFailed) {
            return Ok(());
        }
        let source = pack(self.account, source);
        let packed: Vec<u8> = db
            .prepare_cached("SELECT body FROM events WHERE id = ? /*account of ?1*/")?
            .query_row([event], |row| row.get(0))?;
        let body = unpack_text(&packed).ok().and_then(|json| EventBody::from_json(kind, &json).ok());
        // A damaged one must not keep everything else from going.
        let Some(EventBody::Batch(batch)) = body else { return Ok(()) };
        vendor_batch_rows::remove_end(db, source, &batch.batch_id, kind)?;
        let is_completed = kind == EventType::BatchCompleted;
        let told = BatchBook { completed: is_completed, failed: !is_completed };
        self.recording.bury(source, Of::Batch(&batch.batch_id), Received::of_batch(told))
    }
}

impl Removals {
    /// Counts a delivery.
    pub fn count(&mut self, endpoint: i64, state: DeliveryState) {
        *self.deliveries.entry(endpoint).or_default().of_mut(state) += 1;
    }

    /// Books it.
    fn write(self, db: &Connection, account: AccountKey) -> Result<(), StoreError> {
        self.calls.write(db, Table::Gone)?;
        let edges = Watermarks::of(db, account)?;
        for (&endpoint, gone) in &self.deliveries {
            endpoint_counters::count_purged(db, endpoint, [gone.delivered, gone.dead, gone.cancelled])?;
        }
        forget_shapes(db, self.deliveries.keys().copied(), &edges)?;
        if self.expired > 0 {
            let (account, expired) = (account.0, self.expired);
            warn!(
                account,
                expired, "deliveries were called off: their events are past the account's retention"
            );
        }
        Ok(())
    }
}

/// Removes the shapes of these endpoints that no delivery points to any more. A later delivery never has an earlier revision,
/// so the oldest one that is left says which those are.
fn forget_shapes(
    db: &Connection,
    endpoints: impl Iterator<Item = i64>,
    edges: &Watermarks,
) -> Result<(), StoreError> {
    let all: Vec<[i64; 1]> = endpoints.map(|endpoint| [endpoint]).collect();
    let second = "SELECT 1 FROM shapes WHERE endpoint = ? /*account of ?1*/ LIMIT 1 OFFSET 1";
    let have_several = db.query_each(second, &all, |_| Ok(()))?;
    let several = all.into_iter().zip(have_several).filter(|(_, rows)| !rows.is_empty());
    let several: Vec<i64> = several.map(|([endpoint], _)| endpoint).collect();
    let mut oldest: Vec<Option<(i64, i64)>> = vec![None; several.len()];
    // Each by the index that has its rows in order.
    let there = edges.before_deliveries();
    for (rows, after) in [
        ("open WHERE endpoint = ?", 0),
        (formatcp!("settled WHERE endpoint = ? AND state = {DELIVERED}"), there),
        (formatcp!("settled WHERE endpoint = ? AND state <> {DELIVERED} AND state = {DEAD}"), there),
        (formatcp!("settled WHERE endpoint = ? AND state <> {DELIVERED} AND state = {CANCELLED}"), there),
    ] {
        let sql = format!("SELECT id, revision FROM {rows} AND id > ? /*account of ?1*/ ORDER BY id LIMIT 1");
        let params: Vec<[i64; 2]> = several.iter().map(|&endpoint| [endpoint, after]).collect();
        let found = db.query_each(&sql, &params, |row| Ok((row.get(0)?, row.get(1)?)))?;
        for (oldest, found) in oldest.iter_mut().zip(found) {
            *oldest = oldest.iter().copied().chain(found).min();
        }
    }
    for (endpoint, oldest) in several.into_iter().zip(oldest) {
        let oldest = oldest.map_or(i64::MAX, |(_, revision)| revision);
        endpoint_rows::delete_shapes_before(db, endpoint, oldest)?;
    }
    Ok(())
}
