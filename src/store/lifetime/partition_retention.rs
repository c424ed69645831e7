//! Retention where rows go with their partition: events and settled deliveries that are past their age stay where they lie,
//! and the edges of the account move over them in the transaction that counts them. What hangs on them is removed as
//! everywhere: open deliveries, kept bodies, calls, what replays planned. Refuses to know when a partition is dropped.
//!
//! It stops in front of an event of which something is under way, so whatever settles is beyond the edges and is counted
//! once. It comes back soon: an attempt ends by itself. But an endpoint that takes little may have much waiting in the memory
//! of nodes, the oldest first, so it is not waited for longer than any attempt takes.

use std::collections::BTreeSet;
use std::time::Duration;

use tracing::debug;

use super::retention::{Purge, Row};
use crate::store::StoreError;
use crate::store::analytics::rollups;
use crate::store::calls::{call_rows, spans};
use crate::store::config::account_row;
use crate::store::deliveries::states::{CLAIMED, state_of};
use crate::store::deliveries::{body_rows, deferral_rows, settled_rows};
use crate::store::layout::codec::length;
use crate::store::layout::keys::{pack, unpack};
use crate::store::sql::OptionalExtension;
use crate::store::tx::slots::first_after;
use crate::store::tx::step_budget::{Budget, STEP};
use crate::store::tx::watermarks::Watermarks;

/// How long what is under way is waited for, past the retention: an attempt takes minutes at the most.
const PATIENCE: Duration = Duration::from_secs(3600);

impl Purge<'_, '_> {
    /// Moves the edges over some of the oldest events of the feed, up to the first young one. True when there may be more.
    pub fn retire(&mut self, young: i64) -> Result<bool, StoreError> {
        let young = self.until_late(self.until_silent(young)?)?;
        let edges = Watermarks::of(self.recording.tx.db, self.account)?;
        let Some(events) = self.first_idle(young, &edges)? else {
            self.waits = true;
            return Ok(false);
        };
        let (Some(oldest), Some(newest)) = (events.first(), events.last()) else {
            account_row::set_purged(self.recording.tx.db, self.account, young - 1)?;
            return Ok(true);
        };
        let begin = edges.before_deliveries() + 1;
        let end = newest.first_delivery.saturating_add(newest.deliveries);
        let range = spans::of_events(self.recording.tx.db, newest.id, unpack(begin).1, end)?;
        let Some(under_way) = self.expire(range)? else { return Ok(true) };
        // Those of replays are numbered among others, and go at once: behind the edge they would be counted again.
        let mut held = BTreeSet::new();
        let events_of = [oldest.id, newest.id];
        let is_done = self.remove_replayed(events_of, &mut held)?
            && body_rows::remove_range(self.recording.tx.db, range, |id| under_way.contains_key(&id))?
            && self.pass_settled(range, events_of)?;
        if is_done {
            self.forget_calls(&events)?;
            events.iter().try_for_each(|event| self.forget_batch(event))?;
            let (position, count) = (unpack(newest.id).1, events.len());
            account_row::set_purged(self.recording.tx.db, self.account, position)?;
            debug!(account = self.account.0, position, count, "events are past their retention");
        }
        Ok(true)
    }

    /// What is past its age for so long that nothing is waited for any more goes by itself.
    fn until_late(&mut self, young: i64) -> Result<i64, StoreError> {
        let long_ago = self.since.saturating_sub(i64::try_from(PATIENCE.as_micros()).unwrap_or(i64::MAX));
        let waited_for = first_after(self.recording.tx.db, self.account, long_ago)?.unwrap_or(young);
        self.is_late = self.purged + 1 < waited_for;
        Ok(if self.is_late { young.min(waited_for) } else { young })
    }

    /// Where transcripts go earlier they go first: rows that are behind the edges are rewritten for nobody any more.
    fn until_silent(&self, young: i64) -> Result<i64, StoreError> {
        let (kept, silent): (Option<i64>, i64) = self
            .recording
            .tx
            .db
            .prepare_cached("SELECT transcript_retention, transcripts_gone FROM accounts WHERE account = ?")?
            .query_row([self.account.0], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let is_earlier = kept.is_some_and(|kept| length(kept) <= self.retention);
        Ok(if is_earlier { young.min(silent + 1) } else { young })
    }

    /// As many of the oldest events as a step allows, up to the first one of which something is under way. Nothing when
    /// that, or one that is still to be silenced, is the oldest.
    fn first_idle(&self, young: i64, edges: &Watermarks) -> Result<Option<Vec<Row>>, StoreError> {
        let first = self.purged + 1;
        if young <= first {
            return Ok(None);
        }
        let db = self.recording.tx.db;
        let mut events = self.events(first, young)?;
        let Some(newest) = events.last().filter(|_| !self.is_late) else { return Ok(Some(events)) };
        let end = newest.first_delivery.saturating_add(newest.deliveries);
        let [_, end] = spans::of_events(db, newest.id, 0, end)?;
        let own: Option<i64> = db
            .prepare_cached(
                "SELECT MIN(event) FROM open WHERE id > ? AND id < ? /*account of ?1*/ AND state = ?",
            )?
            .query_row([edges.before_deliveries(), end, CLAIMED], |row| row.get(0))?;
        let again: Option<i64> = db
            .prepare_cached(
                "SELECT r.event FROM replayed r JOIN open o ON o.id = r.delivery /*! AND o.account = r.account AND r.account = @1 */
                 WHERE r.event > ? AND r.event <= ? AND o.state = ? ORDER BY r.event LIMIT 1",
            )?
            .query_row([pack(self.account, self.purged), newest.id, CLAIMED], |row| row.get(0))
            .optional()?;
        if let Some(held) = own.into_iter().chain(again.map(|id| unpack(id).1)).min() {
            events.retain(|event| unpack(event.id).1 < held);
            if events.is_empty() {
                return Ok(None);
            }
        }
        Ok(Some(events))
    }

    /// Removes the calls whose last events these are: one statement for all of them, and their numbers go on counting.
    fn forget_calls(&mut self, events: &[Row]) -> Result<(), StoreError> {
        let of_calls = events.iter().filter_map(|event| Some((pack(self.account, event.call?), event.id)));
        let (calls, last): (Vec<i64>, Vec<i64>) = of_calls.unzip();
        for gone in call_rows::delete_by_last_events(self.recording.tx.db, &calls, &last)? {
            // A damaged one must not keep everything else from going.
            let adds = rollups::of_row(&gone.marks, &gone.record, gone.counted).unwrap_or_default();
            self.book_gone(adds);
            self.bury_call(gone.source, gone.vendor_id, &gone.marks)?;
        }
        Ok(())
    }

    /// Counts these deliveries, and moves the edge to where the count stopped. True when it is behind all of them.
    fn pass_settled(&mut self, [first, end]: [i64; 2], events: [i64; 2]) -> Result<bool, StoreError> {
        let db = self.recording.tx.db;
        let mut statement = db.prepare_cached(
            "SELECT id, endpoint, state FROM settled WHERE id >= ? AND id < ? /*account of ?1*/ ORDER BY id LIMIT ?",
        )?;
        let mut rows = statement.query([first, end, STEP + 1])?;
        let (mut budget, mut rest) = (Budget::new(), end);
        while let Some(row) = rows.next()? {
            if !budget.take(0) {
                rest = row.get(0)?;
                break;
            }
            self.removals.count(row.get(1)?, state_of(row.get(2)?));
        }
        deferral_rows::remove_rendered(db, [first, rest])?;
        // The few that were settled in a later week than their event was recorded in: who erases a person finds deliveries by
        // their events.
        settled_rows::remove_later_weeks(db, [first, rest], events)?;
        account_row::set_purged_deliveries(db, self.account, unpack(rest).1 - 1)?;
        Ok(rest == end)
    }
}
