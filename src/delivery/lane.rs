//! One endpoint's queue in memory: what is owned and waits its turn, and what the queue knows of the store's
//! backlog. Bounded by places. Refuses to know HTTP.

use std::collections::VecDeque;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::breaker::Breaker;
use super::hosts::{Freed, HostPlace, Hosts, Share, Waits};
use super::pace::Pace;
use super::recipient::Recipient;
use crate::model::{Endpoint, Time};
use crate::store::{AccountMemory, EndpointRef, Owned, Place};

/// Places in one endpoint's queue: enough to ride out a commit at full speed.
pub const CAPACITY: usize = 1024;
/// Deliveries that one claim takes at most: a transaction of a millisecond or two.
pub const CLAIM: usize = 128;

/// What a body is taken to weigh before a claim has loaded it, in bytes.
const TYPICAL: usize = 4 << 10;

/// One endpoint's queue.
pub struct Lane {
    /// The endpoint.
    pub target: EndpointRef,
    /// The memory of its account, which all its endpoints share.
    memory: Arc<AccountMemory>,
    /// The memory of its account for what came back.
    pub answers: Arc<AccountMemory>,
    state: Mutex<State>,
}

/// What changes.
#[derive(Default)]
pub struct State {
    /// Owned deliveries that wait for a connection.
    pub queue: VecDeque<Owned>,
    /// How many places are taken. A count of its own for each tenure, by which a place shows of which it is.
    taken: Arc<AtomicUsize>,
    /// HTTP requests under way.
    pub in_flight: usize,
    /// Whether the store may hold due deliveries that nobody owns. New ones then join them there: the queue fills
    /// from claims only, which keeps order and fairness.
    pub backlog: bool,
    /// Whether a claim is under way.
    pub claiming: bool,
    /// How many times deliveries are being given back to the store just now. Nothing is claimed meanwhile: what was given
    /// back too late would be what was claimed anew.
    pub returning: usize,
    /// Whether more became due while a claim was under way.
    pub woken: bool,
    /// When an alarm is set for, and its timer.
    pub alarm: Option<(Time, AbortHandle)>,
    /// Whether it is in line for room in memory.
    pub is_starved: bool,
    /// Until when it waits for its rate limit, for its lease or for memory, and the timer of that.
    pub pausing: Option<(Instant, AbortHandle)>,
    /// The rate limit.
    pub pace: Pace,
    /// The endpoint's health.
    pub breaker: Breaker,
    /// What the endpoint waits for at its host.
    pub waits: Waits,
    /// The endpoint as it was when something was last sent to it.
    ready: Option<Ready>,
    /// Whether anything was sent since the last rest.
    is_used: bool,
}

/// An endpoint made ready, with its account's share of its host.
struct Ready {
    recipient: Arc<Recipient>,
    share: Arc<Share>,
}

impl State {
    /// The endpoint made ready, anew when its settings have changed, and the share of its host.
    pub fn recipient(&mut self, endpoint: &Arc<Endpoint>, hosts: &Hosts) -> (Arc<Recipient>, Arc<Share>) {
        self.is_used = true;
        let ready = match self.ready.take() {
            Some(ready) if Arc::ptr_eq(&ready.recipient.endpoint, endpoint) => ready,
            earlier => {
                let recipient = Arc::new(Recipient::of(Arc::clone(endpoint)));
                let share = hosts.share(endpoint.account, recipient.target.host());
                if !earlier.is_some_and(|earlier| Arc::ptr_eq(&earlier.share, &share)) {
                    self.waits = Waits::default();
                }
                Ready { recipient, share }
            }
        };
        let ready = self.ready.insert(ready);
        (Arc::clone(&ready.recipient), Arc::clone(&ready.share))
    }

    /// Takes note of what the endpoint was told that waited. Gives the place, if it is of the host that the endpoint has now;
    /// dropped, any other goes to who is next there.
    pub fn told(&mut self, freed: Freed) -> Option<HostPlace> {
        let share = self.ready.as_ref().map(|ready| &ready.share)?;
        match freed {
            Freed::Place(_, place) if place.is_of(share) => {
                self.waits.first = false;
                Some(place)
            }
            Freed::Room(_, of) if Arc::ptr_eq(&of, share) => {
                self.waits.more = false;
                None
            }
            _ => None,
        }
    }

    /// Gives memory back that the queue has no use for now: room for deliveries that are gone, and what was made ready for
    /// an endpoint to which nothing was sent since the last time. Called now and then.
    pub fn rest(&mut self) {
        if self.queue.is_empty() {
            self.queue.shrink_to_fit();
        }
        let is_idle = self.queue.is_empty() && self.in_flight == 0 && self.waits == Waits::default();
        if is_idle && !std::mem::take(&mut self.is_used) {
            self.ready = None;
        }
    }

    /// Puts a delivery into the queue. Gives it back when its place is of an earlier tenure: it was on its way when that
    /// ended.
    pub fn enqueue(&mut self, owned: Owned) -> Option<Owned> {
        if !owned.place.is_in(&self.taken) {
            return Some(owned);
        }
        self.queue.push_back(owned);
        None
    }

    /// The node's tenure ended: empties the queue, whose content may be somebody else's now.
    pub fn lapse(&mut self) -> VecDeque<Owned> {
        self.taken = Arc::default();
        self.backlog = true;
        self.woken = self.claiming;
        std::mem::take(&mut self.queue)
    }
}

impl Lane {
    /// An empty queue.
    pub fn new(target: EndpointRef, memory: Arc<AccountMemory>, answers: Arc<AccountMemory>) -> Self {
        Self { target, memory, answers, state: Mutex::default() }
    }

    /// The state, locked.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Places for a claim: as many as there are free, up to `most`, for bodies of a typical size. The state is this queue's.
    pub fn places(&self, state: &State, most: usize) -> Vec<Place> {
        let places = (0..most).map_while(|_| Place::take((&state.taken, CAPACITY), &self.memory, TYPICAL));
        places.collect()
    }

    /// A place for a fresh delivery, unless it has to join a backlog in the store.
    pub fn reserve(&self, bytes: usize) -> Option<Place> {
        let mut state = self.state();
        let place =
            if state.backlog { None } else { Place::take((&state.taken, CAPACITY), &self.memory, bytes) };
        if place.is_none() {
            state.backlog = true;
        }
        place
    }
}

#[cfg(test)]
mod tests {
    use std::mem::size_of;
    use std::sync::Arc;

    use tokio::sync::mpsc::unbounded_channel;

    use super::*;
    use crate::model::endpoint::EndpointState;
    use crate::model::{AccountKey, DialectName, Event, EventBody, EventType};
    use crate::store::DeliveryMemory;

    fn endpoint() -> Arc<Endpoint> {
        Arc::new(Endpoint {
            account: AccountKey::DEFAULT,
            number: 1,
            id: String::new(),
            revision: 1,
            url: "https://crm.example/hook".to_owned(),
            dialect: DialectName::Standard,
            shape: <_>::default(),
            events: None,
            scope: <_>::default(),
            completed_only: false,
            ordered: true,
            headers: Vec::new(),
            plain_headers: <_>::default(),
            delivering: <_>::default(),
            credential: <_>::default(),
            state: EndpointState::Active,
            of_batch: false,
            created_at: Time::from_micros(0),
        })
    }

    fn owned(lane: &Lane) -> Owned {
        let disabled =
            crate::model::event::EndpointDisabled { endpoint_id: String::new(), reason: String::new() };
        let event = Event {
            id: String::new(),
            position: 1,
            kind: EventType::EndpointDisabled,
            at: Time::from_micros(0),
            test: false,
            source_id: None,
            body: EventBody::Endpoint(disabled),
        };
        Owned {
            endpoint: lane.target,
            delivery: 1,
            ordered_call: None,
            attempt: 1,
            event: Arc::new(event),
            dialect: DialectName::Standard,
            shape: <_>::default(),
            revision: 1,
            call: None,
            body: <_>::default(),
            place: lane.reserve(0).unwrap(),
        }
    }

    /// Bytes that a queue holds by itself: what stays for each endpoint when nothing is to be sent to it.
    fn held(lane: &Lane) -> usize {
        let state = lane.state();
        let ready = state.ready.as_ref().map_or(0, |_| size_of::<Recipient>() + size_of::<Share>());
        size_of::<Lane>() + state.queue.capacity() * size_of::<Owned>() + ready
    }

    #[test]
    fn an_idle_queue_holds_little() {
        let (freed, _told) = unbounded_channel();
        let (hosts, memory, endpoint) = (Hosts::new(8, freed), DeliveryMemory::new(1 << 20), endpoint());
        let lane =
            Lane::new(EndpointRef { account: AccountKey::DEFAULT, number: 1 }, memory.part(), memory.part());
        for _ in 0..100 {
            let delivery = owned(&lane);
            assert!(lane.state().enqueue(delivery).is_none());
        }
        lane.state().recipient(&endpoint, &hosts);
        lane.state().rest();
        assert_eq!(lane.state().queue.len(), 100, "what waits stays");
        lane.state().queue.clear();
        let after_a_burst = held(&lane);
        assert!(after_a_burst > 100 * size_of::<Owned>(), "{after_a_burst}");

        lane.state().rest();
        assert!(lane.state().ready.is_some(), "it was used since the last time");
        lane.state().rest();
        assert!(lane.state().ready.is_none());
        assert!(held(&lane) < 512, "{after_a_burst} bytes before, {} now", held(&lane));
        assert_eq!(memory.taken(), 0);
    }
}
