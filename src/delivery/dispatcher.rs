//! The dispatcher: gives each endpoint a queue of its own, keeps its requests within their bounds, claims what is
//! due. Deliveries of a commit come straight from it; the rest is claimed from the store when due.
//! Refuses to know how a request is made (`attempt`) and what follows from it (`ledger::settle`).

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::warn;

use super::attempt::{Attempted, Attempter, kept_text};
use super::called_off::CalledOff;
use super::hosts::{Freed, HostPlace, Hosts};
use super::lane::{CLAIM, Lane, State};
use super::parallelism::Parallelism;
use super::recipient::Recipient;
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::model::endpoint::{DEFAULT_MAX_IN_FLIGHT, EndpointState};
use crate::model::{AccountKey, DialectName, Endpoint, Time};
use crate::store::ingest::group::GroupWriter;
use crate::store::outage::Outage;
use crate::store::{
    AccountConfigs, AccountMemory, Claimed, Claims, DeliveryMemory, EndpointRef, Notification, Owned, Place,
    Queues, StoreError,
};

pub use super::hosts::MOST_TO_HOST;

/// Bytes in all queues together: bounds memory however many endpoints there are and however large their events.
const MEMORY: usize = 64 << 20;
/// Bytes of answers that wait to be written, in all.
const ANSWERS: usize = 32 << 20;
/// What is kept of an answer for which there is no room, in bytes.
const CUT_ANSWER: usize = 512;
/// Requests that an endpoint may have under way whatever the others do.
const SURE: usize = 2;
/// Wait before the next claim after one that failed, and for a lease that is long enough.
const CLAIM_PAUSE: Duration = Duration::from_millis(500);
/// After this a queue looks again whatever it waits for.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// How often queues give memory back that they have no use for.
const REST: Duration = Duration::from_secs(10);

/// How the log calls what is asked of the store here.
const WORK: &str = "taking deliveries from the store";

/// Sends what is owed. Cheap to clone.
#[derive(Clone)]
pub struct Dispatcher(Arc<Inner>);

struct Inner {
    claims: Arc<dyn Claims>,
    configs: Arc<dyn AccountConfigs>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    attempter: Attempter,
    writer: OnceLock<GroupWriter>,
    runtime: tokio::runtime::Handle,
    lanes: RwLock<EndpointQueues>,
    memory: Arc<DeliveryMemory>,
    /// For what came back, until it is written.
    answers: Arc<DeliveryMemory>,
    /// Endpoints that found no room in memory and have nothing under way that would come by again, each once.
    starved: Mutex<VecDeque<EndpointRef>>,
    stopping: AtomicBool,
    called_off: CalledOff,
    outage: Outage,
    /// Requests under way to all endpoints together.
    parallelism: Parallelism,
    /// Those of each account to each host.
    hosts: Hosts,
    /// Deliveries between the start of their request and the end of their settlement.
    busy: AtomicUsize,
    /// Rung when there are none.
    idle: Notify,
    /// The task that hands on places at hosts, until somebody watches it.
    telling: Mutex<Option<JoinHandle<()>>>,
}

/// The queues, and the memory of each account that has any.
#[derive(Default)]
struct EndpointQueues {
    known: HashMap<EndpointRef, Arc<Lane>>,
    memory: HashMap<AccountKey, AccountParts>,
}

/// What an account has in memory.
struct AccountParts {
    deliveries: Arc<AccountMemory>,
    answers: Arc<AccountMemory>,
}

impl Dispatcher {
    /// A dispatcher of the current runtime, with [`MOST_TO_HOST`] requests to one host. It sends nothing before
    /// [`Self::start`].
    pub fn new(
        claims: Arc<dyn Claims>,
        configs: Arc<dyn AccountConfigs>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        attempter: Attempter,
    ) -> Self {
        Self::with_most_to_host(claims, configs, clock, metrics, attempter, MOST_TO_HOST)
    }

    /// Like [`Self::new`], with so many requests of one account to one host at a time.
    pub fn with_most_to_host(
        claims: Arc<dyn Claims>,
        configs: Arc<dyn AccountConfigs>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        attempter: Attempter,
        most_to_host: usize,
    ) -> Self {
        let (freed, mut told) = unbounded_channel();
        let dispatcher = Self(Arc::new(Inner {
            claims,
            configs,
            clock,
            metrics,
            attempter,
            writer: OnceLock::new(),
            runtime: tokio::runtime::Handle::current(),
            lanes: RwLock::default(),
            memory: DeliveryMemory::new(MEMORY),
            answers: DeliveryMemory::new(ANSWERS),
            starved: Mutex::default(),
            stopping: AtomicBool::new(false),
            called_off: CalledOff::default(),
            outage: Outage::default(),
            parallelism: Parallelism::default(),
            hosts: Hosts::new(most_to_host, freed),
            busy: AtomicUsize::new(0),
            idle: Notify::new(),
            telling: Mutex::default(),
        }));
        let inner = Arc::downgrade(&dispatcher.0);
        let telling = dispatcher.0.runtime.spawn(async move {
            while let Some(freed) = told.recv().await {
                inner.upgrade().inspect(|inner| inner.told(freed));
            }
        });
        *dispatcher.0.telling.lock().unwrap_or_else(PoisonError::into_inner) = Some(telling);
        dispatcher
    }

    /// Takes the way to settle, and wakes every endpoint for what an earlier run left open. Gives its tasks, to be watched.
    pub fn start(&self, writer: GroupWriter) -> Vec<JoinHandle<()>> {
        let _ = self.0.writer.set(writer);
        let mut tasks: Vec<_> =
            self.0.telling.lock().unwrap_or_else(PoisonError::into_inner).take().into_iter().collect();
        if let Some(notifications) = self.0.claims.notifications() {
            tasks.push(self.0.runtime.spawn(self.clone().listen(notifications)));
        }
        tasks.push(self.0.runtime.spawn(rest(Arc::downgrade(&self.0))));
        self.wake_all();
        tasks
    }

    /// Acts on what other nodes did, for as long as notifications may come.
    async fn listen(self, mut notifications: UnboundedReceiver<Notification>) {
        while let Some(notification) = notifications.recv().await {
            match notification {
                Notification::Lapsed => self.lapse(),
                Notification::Wake(endpoints) => self.wake(endpoints),
                Notification::WakeAll => self.wake_all(),
                Notification::CalledOff(deliveries) => self.call_off(&deliveries),
            }
        }
    }

    fn wake_all(&self) {
        let accounts = self.0.configs.accounts();
        let endpoints = accounts.iter().flat_map(|account| &account.endpoints);
        self.wake(endpoints.map(|endpoint| target(endpoint)).collect());
    }

    /// The lease lapsed: what is in memory may be another node's by now. What is on the wire ends, and the store does not
    /// take what it came to. Should a new tenure own some of it already, that is given back, to be claimed again.
    fn lapse(&self) {
        warn!("the lease of this node lapsed: other nodes take over what it had to deliver");
        for lane in self.0.all_lanes() {
            {
                let mut state = lane.state();
                let queue = state.lapse();
                self.0.metrics.unqueued(queue.len());
                self.0.give_back(&lane, &mut state, queue);
            }
        }
        self.0.claims.queues_emptied();
        for lane in self.0.all_lanes() {
            self.0.pump(&lane);
        }
    }

    /// Starts no more requests and waits until those under way are settled, for `patience` at most. Says whether
    /// all were.
    pub async fn stop(&self, patience: Duration) -> bool {
        self.0.stopping.store(true, Ordering::Release);
        let idle = tokio::time::timeout(patience, self.0.idle()).await;
        for lane in self.0.all_lanes() {
            // What is still queued is owned by nobody after the next start.
            lane.state().queue.clear();
        }
        idle.is_ok()
    }
}

/// Has queues give memory back that they have no use for, for as long as there is a dispatcher.
async fn rest(dispatcher: Weak<Inner>) {
    loop {
        tokio::time::sleep(REST).await;
        let Some(inner) = dispatcher.upgrade() else { return };
        inner.rest();
    }
}

fn target(endpoint: &Endpoint) -> EndpointRef {
    EndpointRef { account: endpoint.account, number: endpoint.number }
}

impl Queues for Dispatcher {
    fn reserve(&self, endpoint: EndpointRef, bytes: usize) -> Option<Place> {
        let inner = &self.0;
        if inner.stopping.load(Ordering::Acquire) || !inner.is_active(endpoint) {
            return None;
        }
        inner.lane(endpoint).reserve(bytes)
    }

    fn dispatch(&self, owned: Vec<Owned>) {
        let mut touched: BTreeSet<EndpointRef> = BTreeSet::new();
        self.0.metrics.queued(owned.len());
        for delivery in owned {
            let endpoint = delivery.endpoint;
            let lane = self.0.lane(endpoint);
            {
                let mut state = lane.state();
                if let Some(stray) = state.enqueue(delivery) {
                    self.0.metrics.unqueued(1);
                    self.0.give_back(&lane, &mut state, [stray]);
                }
            }
            touched.insert(endpoint);
        }
        for endpoint in touched {
            self.0.pump(&self.0.lane(endpoint));
        }
    }

    fn wake(&self, endpoints: Vec<EndpointRef>) {
        for endpoint in endpoints {
            let lane = self.0.lane(endpoint);
            {
                let mut state = lane.state();
                state.backlog = true;
                state.woken = state.claiming;
            }
            self.0.pump(&lane);
        }
    }

    fn wake_at(&self, endpoint: EndpointRef, due: Time) {
        self.0.set_alarm(&self.0.lane(endpoint), due);
    }

    fn settled(&self, done: Vec<(EndpointRef, Place)>) {
        let count = done.len();
        let mut touched: Vec<EndpointRef> = Vec::new();
        for (endpoint, place) in done {
            drop(place);
            if touched.last() != Some(&endpoint) {
                touched.push(endpoint);
            }
        }
        touched.extend(self.0.first_starved(count));
        touched.sort_unstable();
        touched.dedup();
        // Places are free again; only who waits for one has a use for it. An endpoint that was deleted has no queue any more.
        for lane in touched.into_iter().filter_map(|endpoint| self.0.known_lane(endpoint)) {
            let is_waiting = lane.state().backlog;
            if is_waiting {
                self.0.pump(&lane);
            }
        }
        if self.0.busy.fetch_sub(count, Ordering::AcqRel) == count {
            self.0.idle.notify_waiters();
        }
    }

    fn call_off(&self, deliveries: &[(EndpointRef, i64)]) {
        if deliveries.is_empty() {
            return;
        }
        self.0.called_off.add(deliveries, self.0.clock.now());
        let endpoints: BTreeSet<EndpointRef> = deliveries.iter().map(|&(endpoint, _)| endpoint).collect();
        for lane in endpoints.into_iter().filter_map(|endpoint| self.0.known_lane(endpoint)) {
            let mut state = lane.state();
            let (gone, kept): (Vec<Owned>, Vec<Owned>) = std::mem::take(&mut state.queue)
                .into_iter()
                .partition(|owned| self.0.called_off.has(owned.endpoint, owned.delivery));
            state.queue = kept.into();
            drop(state);
            self.0.metrics.unqueued(gone.len());
            drop(gone);
            self.0.pump(&lane);
        }
    }
}

impl Inner {
    /// Waits until no delivery is under way.
    async fn idle(&self) {
        loop {
            let rung = self.idle.notified();
            if self.busy.load(Ordering::Acquire) == 0 {
                return;
            }
            rung.await;
        }
    }

    fn starved(&self) -> MutexGuard<'_, VecDeque<EndpointRef>> {
        self.starved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those whose turn it is when so many places are free again: no more than may find one, however many wait.
    fn first_starved(&self, places: usize) -> Vec<EndpointRef> {
        let first: Vec<EndpointRef> = {
            let mut starved = self.starved();
            let many = places.min(starved.len());
            starved.drain(..many).collect()
        };
        first.iter().filter_map(|&endpoint| self.known_lane(endpoint)).for_each(|lane| {
            lane.state().is_starved = false;
        });
        first
    }

    fn lane(&self, endpoint: EndpointRef) -> Arc<Lane> {
        if let Some(lane) = self.known_lane(endpoint) {
            return lane;
        }
        let mut lanes = self.lanes.write().unwrap_or_else(PoisonError::into_inner);
        let EndpointQueues { known, memory } = &mut *lanes;
        let parts = memory
            .entry(endpoint.account)
            .or_insert_with(|| AccountParts { deliveries: self.memory.part(), answers: self.answers.part() });
        let lane = known.entry(endpoint).or_insert_with(|| {
            Arc::new(Lane::new(endpoint, Arc::clone(&parts.deliveries), Arc::clone(&parts.answers)))
        });
        Arc::clone(lane)
    }

    fn known_lane(&self, endpoint: EndpointRef) -> Option<Arc<Lane>> {
        self.lanes.read().unwrap_or_else(PoisonError::into_inner).known.get(&endpoint).cloned()
    }

    fn all_lanes(&self) -> Vec<Arc<Lane>> {
        self.lanes.read().unwrap_or_else(PoisonError::into_inner).known.values().cloned().collect()
    }

    fn endpoint(&self, endpoint: EndpointRef) -> Option<Arc<Endpoint>> {
        self.configs.config(endpoint.account)?.endpoint(endpoint.number).cloned()
    }

    fn is_active(&self, endpoint: EndpointRef) -> bool {
        self.endpoint(endpoint).is_some_and(|endpoint| endpoint.state == EndpointState::Active)
    }

    /// Starts whatever may start now: requests, a claim, the timer of the rate limit.
    fn pump(self: &Arc<Self>, lane: &Arc<Lane>) {
        self.pump_with(lane, None);
    }

    /// The same for an endpoint that waited for a request to its host to end. A place that is not used goes to who is next.
    fn told(self: &Arc<Self>, freed: Freed) {
        let Some(lane) = self.known_lane(freed.endpoint()) else { return };
        let place = lane.state().told(freed);
        self.pump_with(&lane, place);
    }

    fn pump_with(self: &Arc<Self>, lane: &Arc<Lane>, place: Option<HostPlace>) {
        if self.stopping.load(Ordering::Acquire) {
            return;
        }
        let endpoint = match self.endpoint(lane.target) {
            Some(endpoint) if endpoint.state == EndpointState::Active => endpoint,
            Some(_) => return self.release(lane),
            None => return self.forget(lane),
        };
        let mut state = lane.state();
        self.start_requests(lane, &mut state, &endpoint, place);
        let most = state.breaker.claim(CLAIM);
        let is_low = state.queue.len() < most / 2;
        if state.backlog && !state.claiming && state.returning == 0 && is_low {
            if !self.outlasts(&state.recipient(&endpoint, &self.hosts).0, endpoint.dialect) {
                return self.pump_later(lane, &mut state, CLAIM_PAUSE);
            }
            let places = lane.places(&state, most);
            if !places.is_empty() {
                state.claiming = true;
                self.runtime.spawn(Arc::clone(self).claim(Arc::clone(lane), places));
            } else if state.in_flight == 0 && state.queue.is_empty() {
                // Memory is full of other endpoints' deliveries. Should none of them be settled soon, one may be called
                // off.
                if !std::mem::replace(&mut state.is_starved, true) {
                    self.starved().push_back(lane.target);
                }
                self.pump_later(lane, &mut state, CLAIM_PAUSE);
            }
        }
    }

    fn start_requests(
        self: &Arc<Self>,
        lane: &Arc<Lane>,
        state: &mut State,
        endpoint: &Arc<Endpoint>,
        mut freed: Option<HostPlace>,
    ) {
        let wanted = endpoint.delivering.max_in_flight.unwrap_or(DEFAULT_MAX_IN_FLIGHT);
        let limit = state.breaker.limit(usize::try_from(wanted).unwrap_or(usize::MAX));
        while state.in_flight < limit && !state.queue.is_empty() {
            let Some(dialect) = state.queue.front().map(|owned| owned.dialect) else { return };
            let (recipient, share) = state.recipient(endpoint, &self.hosts);
            // Another request of this endpoint comes by when one of its own is done.
            if state.in_flight >= SURE && !self.parallelism.has_room(share.of_account()) {
                return;
            }
            let start = Instant::now();
            if !self.outlasts(&recipient, dialect) {
                return self.pump_later(lane, state, CLAIM_PAUSE);
            }
            let place = match freed.take().filter(|place| place.is_of(&share)) {
                Some(place) => place,
                None => {
                    let before = state.waits;
                    match share.ask(lane.target, state.in_flight, &mut state.waits) {
                        Some(place) => place,
                        None => {
                            if state.waits != before {
                                self.metrics.host_waited();
                            }
                            return;
                        }
                    }
                }
            };
            let rate = state.breaker.rate(endpoint.delivering.rate_limit);
            if let Err(wait) = state.pace.admit(self.clock.now(), rate) {
                self.pump_later(lane, state, wait);
                return;
            }
            let Some(owned) = state.queue.pop_front() else { return };
            self.metrics.unqueued(1);
            if self.called_off.has(owned.endpoint, owned.delivery) {
                freed = Some(place);
                continue;
            }
            state.in_flight += 1;
            self.parallelism.begin();
            self.busy.fetch_add(1, Ordering::AcqRel);
            self.runtime.spawn(Arc::clone(self).deliver(Arc::clone(lane), recipient, owned, place, start));
        }
    }

    /// Whether the lease of this node lasts for an attempt that starts now: once it is over, another node may make the
    /// same attempt.
    fn outlasts(&self, recipient: &Recipient, dialect: DialectName) -> bool {
        self.claims.outlasts(recipient.policy(dialect).timeout)
    }

    fn pump_later(self: &Arc<Self>, lane: &Arc<Lane>, state: &mut State, wait: Duration) {
        // A wait may be for ever, which no clock can show.
        let at = Instant::now() + wait.min(LONGEST_PAUSE);
        if state.pausing.as_ref().is_some_and(|(until, _)| *until <= at) {
            return;
        }
        let (inner, theirs) = (Arc::clone(self), Arc::clone(lane));
        let timer = self.runtime.spawn(async move {
            tokio::time::sleep_until(at).await;
            {
                let mut state = theirs.state();
                if state.pausing.as_ref().is_none_or(|(until, _)| *until != at) {
                    return;
                }
                state.pausing = None;
            }
            inner.pump(&theirs);
        });
        if let Some((_, later)) = state.pausing.replace((at, timer.abort_handle())) {
            later.abort();
        }
    }

    /// One delivery's attempt. The connection is free for the next one before the settlement is on disk; the place is
    /// not.
    async fn deliver(
        self: Arc<Self>,
        lane: Arc<Lane>,
        recipient: Arc<Recipient>,
        owned: Owned,
        place: HostPlace,
        start: Instant,
    ) {
        self.metrics.in_flight().inc();
        let Attempted { mut settlement, answered, latency } =
            self.attempter.attempt(&recipient, &owned, start).await;
        self.metrics.in_flight().dec();
        self.parallelism.end(answered.then_some(latency));
        {
            let mut state = lane.state();
            state.in_flight -= 1;
            state.breaker.note(answered);
        }
        // Who waits at the host goes first; this endpoint asks again behind it.
        if let Some(freed) = place.give_up() {
            self.told(freed);
        }
        self.pump(&lane);
        if let Some(writer) = self.writer.get() {
            let mut place = owned.place;
            if let Some(text) = &mut settlement.attempt.response_body
                && !place.keep_answer(&lane.answers, text.len())
            {
                *text = kept_text(text.as_bytes(), CUT_ANSWER);
            }
            writer.settle(settlement, place);
        }
    }

    async fn claim(self: Arc<Self>, lane: Arc<Lane>, places: Vec<Place>) {
        let claimed = self.claims.claim(lane.target, self.clock.now(), places).await;
        let is_exhausted = {
            let mut state = lane.state();
            state.claiming = false;
            let woken = std::mem::take(&mut state.woken);
            match claimed {
                Ok(Claimed { owned, more }) => {
                    self.outage.worked(WORK);
                    let is_exhausted = !more && !woken;
                    state.backlog = !is_exhausted;
                    let count = owned.len();
                    let strays: Vec<Owned> =
                        owned.into_iter().filter_map(|owned| state.enqueue(owned)).collect();
                    self.metrics.queued(count - strays.len());
                    self.give_back(&lane, &mut state, strays);
                    is_exhausted
                }
                Err(error) => {
                    self.outage.failed(WORK, &error);
                    self.pump_later(&lane, &mut state, CLAIM_PAUSE);
                    return;
                }
            }
        };
        if is_exhausted {
            match self.claims.next_due(lane.target).await {
                Ok(Some(due)) => self.set_alarm(&lane, due),
                Ok(None) => {}
                Err(error) => {
                    self.outage.failed(WORK, &error);
                    let mut state = lane.state();
                    state.backlog = true;
                    self.pump_later(&lane, &mut state, CLAIM_PAUSE);
                    return;
                }
            }
        }
        self.pump(&lane);
    }

    /// Wakes the lane when its next delivery falls due. One alarm a lane: an earlier one takes the place of a later one,
    /// which would otherwise sleep on for as long as a day.
    fn set_alarm(self: &Arc<Self>, lane: &Arc<Lane>, due: Time) {
        let mut state = lane.state();
        if state.alarm.as_ref().is_some_and(|(set, _)| *set <= due) {
            return;
        }
        let (inner, theirs) = (Arc::clone(self), Arc::clone(lane));
        let timer = self.runtime.spawn(async move {
            // A claim asks for what is due by the same clock; a millisecond more saves one that comes too early.
            tokio::time::sleep(due.since(inner.clock.now()) + Duration::from_millis(1)).await;
            {
                let mut state = theirs.state();
                if state.alarm.as_ref().is_none_or(|(set, _)| *set != due) {
                    return;
                }
                state.alarm = None;
                state.backlog = true;
                state.woken = state.claiming;
            }
            inner.pump(&theirs);
        });
        if let Some((_, later)) = state.alarm.replace((due, timer.abort_handle())) {
            later.abort();
        }
    }

    /// The endpoint was disabled: what waits in memory goes back to the store, where it stays pending.
    fn release(self: &Arc<Self>, lane: &Arc<Lane>) {
        let mut state = lane.state();
        state.backlog = true;
        let queue = std::mem::take(&mut state.queue);
        self.metrics.unqueued(queue.len());
        self.give_back(lane, &mut state, queue);
    }

    /// Gives deliveries up that will not be attempted from memory.
    fn give_back(
        self: &Arc<Self>,
        lane: &Arc<Lane>,
        state: &mut State,
        owned: impl IntoIterator<Item = Owned>,
    ) {
        let deliveries: Vec<i64> = owned.into_iter().map(|owned| owned.delivery).collect();
        if deliveries.is_empty() {
            return;
        }
        state.returning += 1;
        let (inner, lane) = (Arc::clone(self), Arc::clone(lane));
        self.runtime.spawn(async move {
            loop {
                match inner.claims.release(lane.target.account, deliveries.clone()).await {
                    // Without a lease nothing is this node's that it could give back.
                    Ok(()) | Err(StoreError::Lapsed(_)) => break,
                    Err(error) => inner.outage.failed(WORK, &error),
                }
                tokio::time::sleep(CLAIM_PAUSE).await;
            }
            lane.state().returning -= 1;
            // It may have been claimed for before these were there to be claimed.
            Dispatcher(inner).wake(vec![lane.target]);
        });
    }

    /// Gives memory back that queues have no use for, and those of endpoints that are gone.
    fn rest(&self) {
        self.attempter.wire.tidy();
        for lane in self.all_lanes() {
            match self.endpoint(lane.target) {
                Some(_) => lane.state().rest(),
                None => self.forget(&lane),
            }
        }
    }

    /// The endpoint was deleted: maintenance calls its deliveries off.
    fn forget(&self, lane: &Arc<Lane>) {
        let queue = std::mem::take(&mut lane.state().queue);
        self.metrics.unqueued(queue.len());
        self.lanes.write().unwrap_or_else(PoisonError::into_inner).known.remove(&lane.target);
    }
}
