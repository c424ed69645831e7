//! One endpoint's queue in memory: what is owned and waits its turn, and what the queue knows of the store's
//! backlog. Bounded by places. Refuses to know HTTP.

use std::collections::VecDeque;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::AbortHandle;

use super::breaker::Breaker;
use super::pace::Pace;
use super::recipient::Recipient;
use crate::model::{Endpoint, Time};
use crate::store::{EndpointRef, Owned, Place};

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
    /// Whether a timer of the rate limit is running.
    pub pausing: bool,
    /// The rate limit.
    pub pace: Pace,
    /// The endpoint's health.
    pub breaker: Breaker,
    /// The endpoint as it was when something was last sent to it.
    recipient: Option<Arc<Recipient>>,
}

impl State {
    /// The endpoint made ready, anew when its settings have changed.
    pub fn recipient(&mut self, endpoint: &Arc<Endpoint>) -> Arc<Recipient> {
        match &self.recipient {
            Some(ready) if Arc::ptr_eq(&ready.endpoint, endpoint) => Arc::clone(ready),
            _ => Arc::clone(self.recipient.insert(Arc::new(Recipient::of(Arc::clone(endpoint))))),
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

    /// Places for a claim: as many as there are free, up to `most`, for bodies of a typical size.
    pub fn places(&self, house: (&Arc<AtomicUsize>, usize), most: usize) -> Vec<Place> {
        let places = (0..most).map_while(|_| Place::take((&self.taken, CAPACITY), house, TYPICAL));
        places.collect()
    }
}

impl Lane {
    /// An empty queue.
    pub fn new(target: EndpointRef) -> Self {
        Self { target, state: Mutex::default() }
    }

    /// The state, locked.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a fresh delivery, unless it has to join a backlog in the store.
    pub fn reserve(&self, house: (&Arc<AtomicUsize>, usize), bytes: usize) -> Option<Place> {
        let mut state = self.state();
        let place = if state.backlog { None } else { Place::take((&state.taken, CAPACITY), house, bytes) };
        if place.is_none() {
            state.backlog = true;
        }
        place
    }
}
