//! An event joins the feed, and what it owes is planned: the rules are those of `ledger::plan` and `ledger::hold`. Does not
//! depend on what an event is about.

use std::sync::Arc;
use std::time::Duration;

use super::recording::Recording;
use crate::ledger;
use crate::ledger::hold::Beside;
use crate::model::id::{self, Kind};
use crate::model::{AccountKey, Event, EventBody, EventType, Time};
use crate::store::calls::event_rows::INSERT_EVENT;
use crate::store::deliveries::open_rows::{self, PlannedDelivery};
use crate::store::deliveries::shared_bodies::Bodies;
use crate::store::deliveries::states::{BLOCKED, CLAIMABLE, CLAIMED, DEFERRED};
use crate::store::ingest::prepared::Snapshot;
use crate::store::layout::keys::pack;
use crate::store::sql::params;
use crate::store::tx::slots;
use crate::store::{EndpointRef, Owned, StoreError};

/// What an event stands beside.
#[derive(Clone, Copy, Debug, Default)]
pub struct EventContext {
    /// The source that told.
    pub source: Option<i64>,
    /// The call.
    pub call: Option<i64>,
    /// The call's event before this one.
    pub previous: Option<i64>,
    /// An inbound test.
    pub test: bool,
}

impl Recording<'_> {
    /// Writes an event at the head of the feed and plans what it owes. Gives its position and the number of
    /// deliveries.
    pub fn append(
        &mut self,
        account: AccountKey,
        kind: EventType,
        at: Time,
        about: EventContext,
        body: EventBody,
        ready: Option<&Snapshot>,
    ) -> Result<(i64, usize), StoreError> {
        let config = self.config(account)?;
        let (position, first_delivery) = self.next_event(account, config.account.shortest_retention())?;
        let tag = config.account.tag;
        let event = Arc::new(Event {
            position,
            id: id::format(Kind::Event, tag, position),
            kind,
            at,
            test: about.test,
            source_id: about.source.map(|number| id::format(Kind::Source, tag, number)),
            body,
        });

        let made;
        let snapshot = match ready {
            Some(ready) => ready,
            None => {
                made = Snapshot::of(&event.body)?;
                &made
            }
        };
        let mut planned = 0;
        let mut bodies = Bodies::default();
        let (beside, mut completed) = (ledger::hold::beside(&event), Vec::new());
        for endpoint in &config.endpoints {
            if let (Some(wait), Some(call)) = (&endpoint.delivering.wait, about.call)
                && beside != Beside::Nothing
                && let Some(held) = self.held(EndpointRef { account, number: endpoint.number }, call)?
            {
                completed.push((held, endpoint.number, wait));
                if beside == Beside::Part {
                    continue;
                }
            }
            if ledger::hears(endpoint, &event) {
                let delivery = first_delivery + planned;
                self.plan(endpoint, &event, snapshot.size, delivery, &about, &mut bodies)?;
                planned += 1;
            }
        }
        self.head(account)?.deliveries += planned;
        self.tx.db.bulk(
            &INSERT_EVENT,
            params![
                pack(account, position),
                kind.code(),
                at.as_micros(),
                about.source,
                about.call,
                about.previous,
                about.test,
                first_delivery,
                planned,
                snapshot.packed
            ],
        )?;
        for (held, number, wait) in completed {
            if matches!(&event.body, EventBody::Call { call, .. } if !ledger::hold::misses(wait, call)) {
                self.release_deferred(held, EndpointRef { account, number }, position)?;
            }
        }
        Ok((position, usize::try_from(planned).unwrap_or(0)))
    }

    /// The position of one more event in the feed, and the number of the first delivery that it may owe. Begins a slot where
    /// the last one is over.
    fn next_event(&mut self, account: AccountKey, kept: Option<Duration>) -> Result<(i64, i64), StoreError> {
        let (db, now) = (self.tx.db, self.tx.now);
        let head = self.head(account)?;
        head.position += 1;
        if now.as_micros() >= head.slot_ends {
            head.slot_ends = slots::begin_slot(db, account, kept, head.position, now)?;
        }
        Ok((head.position, head.deliveries + 1))
    }

    fn plan(
        &mut self,
        endpoint: &Arc<crate::model::Endpoint>,
        event: &Arc<Event>,
        bytes: usize,
        delivery: i64,
        about: &EventContext,
        bodies: &mut Bodies,
    ) -> Result<(), StoreError> {
        let account = endpoint.account;
        let target = EndpointRef { account, number: endpoint.number };
        let ordered_call = about.call.filter(|_| endpoint.ordered);
        // A call's first event cannot stand behind another one.
        let waits = match ordered_call {
            Some(call) if about.previous.is_some() => self
                .deliveries
                .first_in_line(&self.tx, pack(account, call), pack(account, endpoint.number))?
                .is_some(),
            _ => false,
        };
        let hold = about.call.zip(ledger::hold::holds(endpoint, event));
        let place = if waits || hold.is_some() {
            None
        } else {
            bodies.place(|bytes| self.tx.queues.reserve(target, bytes), bytes)
        };
        let (state, due) = match (&place, waits, hold) {
            (_, _, Some((_, wait))) => (DEFERRED, self.tx.now.after(wait.up_to)),
            (_, true, None) => (BLOCKED, self.tx.now),
            (Some(_), false, None) => (CLAIMED, self.tx.now),
            (None, false, None) => (CLAIMABLE, self.tx.now),
        };
        let id = pack(account, delivery);
        let line = ordered_call.map(|call| pack(account, call));
        let planned = PlannedDelivery {
            id,
            endpoint: pack(account, endpoint.number),
            event: event.position,
            revision: endpoint.revision,
        };
        open_rows::insert(self.tx.db, planned, line, state, due, self.tx.epoch)?;
        if let Some(call) = line {
            self.deliveries.line_up(call, pack(account, endpoint.number), id, state);
        }
        if let Some((call, _)) = hold {
            self.hold(pack(account, delivery), target, call, due.as_micros())?;
        }
        let sum = self.sum(target);
        sum.owed += 1;
        sum.pending += 1;
        match place {
            Some(place) => self.committed.owned.push(Owned {
                endpoint: target,
                delivery,
                ordered_call,
                attempt: 1,
                event: Arc::clone(event),
                dialect: endpoint.dialect,
                shape: endpoint.shape.clone(),
                revision: endpoint.revision,
                call: about.call,
                body: bodies.of(endpoint.dialect, &endpoint.shape),
                place,
            }),
            None if state == CLAIMABLE => self.wake(target),
            None => {}
        }
        Ok(())
    }
}
