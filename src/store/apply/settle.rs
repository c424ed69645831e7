//! Settling: what attempts came to, written in the caller's transaction; the next delivery of the same call is
//! promoted in the same one, so nothing is sent before its turn is on disk. Also changes by hand.
//! Refuses to decide: the ledger has decided before.

use super::append::EventContext;
use super::recording::Recording;
use crate::ledger::Next;
use crate::model::event::EndpointDisabled;
use crate::model::id::{self, Kind};
use crate::model::{AccountKey, DeliveryState, Erased, EventBody, EventType, Time};
use crate::store::config::endpoint_rows;
use crate::store::deliveries::claiming::TYPICAL;
use crate::store::deliveries::open_rows::{self, Closed, PlannedDelivery};
use crate::store::deliveries::states::{BLOCKED, CLAIMABLE, CLAIMED, DEFERRED, state_of};
use crate::store::deliveries::{body_rows, deferral_rows, replayed_rows, settled_rows};
use crate::store::layout::codec::{pack_attempt, unpack_attempts};
use crate::store::layout::keys::{endpoint_ref, pack, unpack};
use crate::store::reads::erased;
use crate::store::sql::OptionalExtension;
use crate::store::tx::watermarks::Watermarks;
use crate::store::{EndpointRef, ManualOutcome, Settlement, StoreError};

impl Recording<'_> {
    /// Writes what one attempt came to.
    pub fn settle(&mut self, settlement: &Settlement) -> Result<(), StoreError> {
        self.enter(settlement.endpoint.account)?;
        let id = pack(settlement.endpoint.account, settlement.delivery);
        let attempt = pack_attempt(&settlement.attempt);
        match settlement.decision.next {
            Next::RetryAt(due) => self.postpone(id, settlement, &attempt, due)?,
            Next::Delivered => self.close(id, settlement, &attempt, DeliveryState::Delivered)?,
            Next::Dead => self.close(id, settlement, &attempt, DeliveryState::Dead)?,
        }
        if settlement.decision.disable_endpoint {
            self.disable(settlement.endpoint, "the endpoint answered 410 Gone")?;
        }
        Ok(())
    }

    fn postpone(
        &mut self,
        id: i64,
        settlement: &Settlement,
        attempt: &[u8],
        due: Time,
    ) -> Result<(), StoreError> {
        let number = settlement.attempt.number;
        if !self.deliveries.postpone(&self.tx, id, number, due, attempt)? {
            return self.add_stray_attempt(id, number, attempt);
        }
        self.postponed(id, settlement, due)
    }

    fn postponed(&mut self, id: i64, settlement: &Settlement, due: Time) -> Result<(), StoreError> {
        if settlement.attempt.number == 1 {
            self.keep_body(id, settlement)?;
        }
        self.committed.wake_at.push((settlement.endpoint, due));
        Ok(())
    }

    /// A retry sends the same bytes, also one by hand after the last attempt failed. Nothing was sent when there are none.
    fn keep_body(&mut self, id: i64, settlement: &Settlement) -> Result<(), StoreError> {
        if settlement.body.is_empty() {
            return Ok(());
        }
        // What was said may have gone by its age while the attempt was under way; then the next one encodes anew, also
        // when transcripts are kept for ever by now.
        let account = settlement.endpoint.account;
        if settlement.event <= self.head(account)?.transcripts_gone {
            // It may have said what a later event did.
            let said = [Some(settlement.event), deferral_rows::rendered(self.tx.db, id)?];
            let is_gone = |at| erased::erased(self.tx.db, account, at).is_ok_and(|it| it.is_some());
            if said.into_iter().flatten().any(is_gone) {
                return Ok(());
            }
        }
        body_rows::keep(self.tx.db, id, &settlement.body)
    }

    fn close(
        &mut self,
        id: i64,
        settlement: &Settlement,
        attempt: &[u8],
        state: DeliveryState,
    ) -> Result<(), StoreError> {
        let number = settlement.attempt.number;
        let Some(mut attempts) = self.deliveries.take_out(&self.tx, id, number)? else {
            return self.add_stray_attempt(id, number, attempt);
        };
        if let Some(call) = settlement.ordered_call {
            let account = settlement.endpoint.account;
            self.deliveries.leave(pack(account, call), pack(account, settlement.endpoint.number), id);
        }
        match state {
            DeliveryState::Delivered if number > 1 => {
                body_rows::remove_delivered(self.tx.db, id)?;
            }
            DeliveryState::Dead if number == 1 => self.keep_body(id, settlement)?,
            _ => {}
        }
        attempts.extend_from_slice(attempt);
        let endpoint = settlement.endpoint;
        let delivery = PlannedDelivery {
            id,
            endpoint: pack(endpoint.account, endpoint.number),
            event: settlement.event,
            revision: settlement.revision,
        };
        settled_rows::insert(self.tx.db, delivery, state, &attempts)?;
        let sum = self.sum(endpoint);
        sum.pending -= 1;
        *sum.of_mut(state) += 1;
        if let Some(call) = settlement.ordered_call {
            self.promote(endpoint, call)?;
        }
        Ok(())
    }

    /// The delivery is no longer open: it was called off while its attempt was under way, and the attempt goes on
    /// record all the same. Or this very attempt was written before, by a commit that nobody heard the end of.
    fn add_stray_attempt(&self, id: i64, number: u32, attempt: &[u8]) -> Result<(), StoreError> {
        let earlier: Option<(Option<Vec<u8>>, i64)> = self
            .tx
            .db
            .prepare_cached("SELECT attempts, event FROM settled WHERE id = ? /*account of ?1*/")?
            .query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let Some((earlier, event)) = earlier else { return Ok(()) };
        if !Watermarks::of(self.tx.db, unpack(id).0)?.has_delivery(id) {
            return Ok(());
        }
        let mut attempts = earlier.unwrap_or_default();
        if unpack_attempts(Some(&attempts)).iter().any(|known| known.number == number) {
            return Ok(());
        }
        // It may have been under way while its person was erased; what came back may quote what was sent.
        match erased::erased(self.tx.db, unpack(id).0, event) {
            Ok(Some(Erased::Person)) => attempts.extend(erased::without_answers(attempt)),
            _ => attempts.extend_from_slice(attempt),
        }
        settled_rows::set_attempts(self.tx.db, id, &attempts)
    }

    /// The next delivery of the call to this endpoint may go.
    fn promote(&mut self, endpoint: EndpointRef, call: i64) -> Result<(), StoreError> {
        let (account, number) = (endpoint.account, endpoint.number);
        let line = [pack(account, call), pack(account, number)];
        let next = self.deliveries.first_in_line(&self.tx, line[0], line[1])?;
        let Some((id, BLOCKED)) = next else { return Ok(()) };
        self.deliveries.line_up(line[0], line[1], id, CLAIMABLE);
        // The body is not loaded yet; it is weighed when it is.
        if let Some(place) = self.tx.queues.reserve(endpoint, TYPICAL) {
            return self.take(endpoint, id, place).map(drop);
        }
        open_rows::set_state(self.tx.db, id, CLAIMABLE, self.tx.now)?;
        self.wake(endpoint);
        Ok(())
    }

    /// Disables an endpoint and records the event, unless it is disabled already.
    pub fn disable(&mut self, endpoint: EndpointRef, reason: &str) -> Result<(), StoreError> {
        self.enter(endpoint.account)?;
        if !endpoint_rows::disable(self.tx.db, pack(endpoint.account, endpoint.number), reason)? {
            return Ok(());
        }
        self.committed.disabled.push(endpoint);
        let tag = self.config(endpoint.account)?.account.tag;
        let body = EventBody::Endpoint(EndpointDisabled {
            endpoint_id: id::format(Kind::Endpoint, tag, endpoint.number),
            reason: reason.to_owned(),
        });
        self.append(
            endpoint.account,
            EventType::EndpointDisabled,
            self.tx.now,
            EventContext::default(),
            body,
            None,
        )?;
        Ok(())
    }

    /// Puts a dead or pending delivery up for an attempt now. It keeps no order and blocks nobody. One that is under
    /// way is left alone: that is its attempt.
    pub fn retry_by_hand(&mut self, account: AccountKey, delivery: i64) -> Result<ManualOutcome, StoreError> {
        self.enter(account)?;
        let id = pack(account, delivery);
        let open: Option<(i64, Option<i64>, i64)> = self
            .tx
            .db
            .prepare_cached("SELECT endpoint, call, state FROM open WHERE id = ? /*account of ?1*/")?
            .query_row([id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .optional()?;
        if let Some((endpoint, call, state)) = open {
            if state != CLAIMED {
                if state == DEFERRED {
                    self.end_hold(id)?;
                }
                open_rows::put_out_of_order(self.tx.db, id, self.tx.now)?;
                self.wake(endpoint_ref(endpoint));
                if let Some(call) = call {
                    self.promote(endpoint_ref(endpoint), unpack(call).1)?;
                }
            }
            return Ok(ManualOutcome::Done);
        }
        let Some((endpoint, event, revision, state, attempts)) = self.settled_row(id)? else {
            return Ok(ManualOutcome::Missing);
        };
        let target = endpoint_ref(endpoint);
        // What a deleted endpoint was owed has been called off; nobody would ever look at this one again.
        let is_there = self.config(account)?.endpoint(target.number).is_some();
        if state != DeliveryState::Dead || !is_there {
            return Ok(ManualOutcome::WrongState(state));
        }
        let tries = unpack_attempts(attempts.as_deref()).last().map_or(0, |last| last.number);
        settled_rows::remove(self.tx.db, id)?;
        let delivery = PlannedDelivery { id, endpoint, event, revision };
        let snapshot = deferral_rows::rendered(self.tx.db, id)?;
        let replay = replayed_rows::replay_of_delivery(self.tx.db, account, event, unpack(id).1)?;
        let replay = replay.map(|number| pack(account, number));
        let tried = (tries, attempts.as_deref());
        open_rows::insert_retry(self.tx.db, delivery, tried, replay, snapshot, self.tx.now)?;
        let sum = self.sum(target);
        sum.dead -= 1;
        sum.pending += 1;
        self.wake(target);
        Ok(ManualOutcome::Done)
    }

    /// Calls a pending delivery off.
    pub fn cancel(&mut self, account: AccountKey, delivery: i64) -> Result<ManualOutcome, StoreError> {
        let id = pack(account, delivery);
        if !self.cancel_open(id)? {
            return Ok(match self.settled_row(id)? {
                Some((_, _, _, state, _)) => ManualOutcome::WrongState(state),
                None => ManualOutcome::Missing,
            });
        }
        Ok(ManualOutcome::Done)
    }

    /// Moves an open delivery to the cancelled ones; false if it is not open.
    pub fn cancel_open(&mut self, id: i64) -> Result<bool, StoreError> {
        Ok(!self.cancel_all(&[id])?.is_empty())
    }

    /// Moves deliveries of one account to the cancelled ones, as far as they are open, and gives their endpoints. Those behind
    /// them in their calls' order may go. Where the database is far away, many take as many round trips as one.
    pub fn cancel_all(&mut self, ids: &[i64]) -> Result<Vec<(i64, i64)>, StoreError> {
        let closed = self.close_open(ids)?;
        for row in &closed {
            settled_rows::insert(self.tx.db, row.delivery, DeliveryState::Cancelled, &row.attempts)?;
        }
        Ok(closed.into_iter().map(|row| (row.delivery.id, row.delivery.endpoint)).collect())
    }

    /// The same, and nothing is left of them but in the sums.
    pub fn close_open(&mut self, ids: &[i64]) -> Result<Vec<Closed>, StoreError> {
        let Some(&first) = ids.first() else { return Ok(Vec::new()) };
        self.enter(unpack(first).0)?;
        let db = self.tx.db;
        let closed = open_rows::close(db, ids)?;
        self.line_up_calls(closed.iter().filter_map(|row| row.call))?;
        for row in &closed {
            let PlannedDelivery { id, endpoint, .. } = row.delivery;
            if row.state == DEFERRED {
                deferral_rows::forget_deferral(db, id)?;
            }
            body_rows::remove(db, id)?;
            if let Some(call) = row.call {
                self.deliveries.leave(call, endpoint, id);
            }
            let sum = self.sum(endpoint_ref(endpoint));
            sum.pending -= 1;
            sum.cancelled += 1;
        }
        // Only now, when none of them is in line any more.
        for row in &closed {
            if let Some(call) = row.call {
                self.promote(endpoint_ref(row.delivery.endpoint), unpack(call).1)?;
            }
        }
        Ok(closed)
    }

    #[expect(clippy::type_complexity, reason = "one row")]
    fn settled_row(
        &self,
        id: i64,
    ) -> Result<Option<(i64, i64, i64, DeliveryState, Option<Vec<u8>>)>, StoreError> {
        if !Watermarks::of(self.tx.db, unpack(id).0)?.has_delivery(id) {
            return Ok(None);
        }
        Ok(self
            .tx
            .db
            .prepare_cached(
                "SELECT endpoint, event, revision, state, attempts FROM settled
                 WHERE id = ? /*account of ?1*/",
            )?
            .query_row([id], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, state_of(row.get(3)?), row.get(4)?))
            })
            .optional()?)
    }
}
