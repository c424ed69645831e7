//! Whatever happens in whatever order: a tiny model beside the store knows what is owed, who owns it, and what may
//! go before what. It knows no rows, no indexes and no states but open and closed.

use std::collections::BTreeMap;
use std::time::Duration;

use postcall::ledger::{Decision, Next};
use postcall::model::{DeliveryState, Endpoint, Event, Outcome, Step, Text, Time};
use postcall::store::{Committed, Owned, Page, Settlement, Sum, Turned};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::scene::{Fixture, Scene, attempted, says};

#[derive(Clone, Debug)]
enum Action {
    /// So many places for each endpoint from now on.
    Room(usize),
    /// A group: steps of calls that are heard, and owned deliveries (by their place among them) with their outcome.
    Commit(Vec<(u8, u8)>, Vec<(usize, u8)>),
    Claim(usize, usize),
    Retry(usize),
    Cancel(usize),
    MakeEndpoint(bool),
    Change(usize, bool),
    Delete(usize),
    /// For so many seconds what is recorded is kept from now on; zero is for ever.
    Keep(u64),
    Chores,
    Wait(u64),
    Crash,
}

fn action() -> impl Strategy<Value = Action> {
    let heard = || prop::collection::vec((0..4u8, 0..6u8), 0..4);
    let settled = || prop::collection::vec((any::<usize>(), 0..9u8), 0..3);
    prop_oneof![
        2 => prop_oneof![Just(0), Just(1), Just(usize::MAX)].prop_map(Action::Room),
        12 => (heard(), settled()).prop_map(|(heard, settled)| Action::Commit(heard, settled)),
        6 => (any::<usize>(), 0..5usize).prop_map(|(endpoint, places)| Action::Claim(endpoint, places)),
        2 => any::<usize>().prop_map(Action::Retry),
        2 => any::<usize>().prop_map(Action::Cancel),
        1 => any::<bool>().prop_map(Action::MakeEndpoint),
        1 => (any::<usize>(), any::<bool>()).prop_map(|(endpoint, ordered)| Action::Change(endpoint, ordered)),
        1 => any::<usize>().prop_map(Action::Delete),
        1 => (0..5u64).prop_map(Action::Keep),
        2 => Just(Action::Chores),
        2 => (0..3u64).prop_map(Action::Wait),
        1 => Just(Action::Crash),
    ]
}

/// A delivery as the model knows it.
#[derive(Clone, Debug)]
struct Known {
    endpoint: i64,
    event: i64,
    /// The life of the call whose order it keeps, by its first event.
    line: Option<i64>,
    state: DeliveryState,
    is_owned: bool,
    not_before: Time,
    attempts: u32,
    /// Removed by its age.
    is_gone: bool,
}

impl Known {
    fn is_under_way(&self) -> bool {
        self.is_owned && self.state == DeliveryState::Pending
    }
}

/// An event as the model knows it.
struct Told {
    recorded_at: Time,
    /// What the store may take it for: as long as everything is kept for ever, it need not know so well.
    seems_recorded_at: Option<Time>,
    call: Option<Text>,
    /// The first event of its call. A call that is gone by its age and heard of again begins another life.
    life: i64,
    is_gone: bool,
}

struct Model {
    /// Those that are there, with whether they are ordered.
    endpoints: BTreeMap<i64, bool>,
    /// Every endpoint that ever was.
    all_endpoints: Vec<i64>,
    /// Every delivery, by number from 1 on.
    deliveries: Vec<Known>,
    /// Every event, by position from 1 on.
    events: Vec<Told>,
    retention: Option<Duration>,
    /// The last position that the feed does not show any more.
    purged: i64,
    /// What this process holds in memory.
    owned: Vec<Owned>,
}

/// One of them, if there are any.
fn pick<T: Copy>(of: &[T], at: usize) -> Option<T> {
    (!of.is_empty()).then(|| of[at % of.len()])
}

impl Model {
    fn known(&mut self, number: i64) -> &mut Known {
        &mut self.deliveries[usize::try_from(number - 1).unwrap()]
    }

    /// An event that was recorded just now. Gives the life of its call.
    fn tell(&mut self, event: &Event, now: Time) -> Option<i64> {
        let call = event.call_id().cloned();
        let earlier = self.events.iter().rev().find(|told| call.is_some() && told.call == call);
        let life = earlier.filter(|told| !told.is_gone).map_or(event.position, |told| told.life);
        let is_call = call.is_some();
        self.events.push(Told {
            recorded_at: now,
            seems_recorded_at: self.retention.map(|_| now),
            call,
            life,
            is_gone: false,
        });
        is_call.then_some(life)
    }

    /// The feed up to this position is gone. Nothing young is, nothing old is not, and with the events went all that
    /// nobody has in hand.
    fn purge(&mut self, purged: i64, now: Time, passes_over: bool) {
        // Ages are known to the second.
        let slack = Duration::from_secs(1);
        let mut waits = false;
        for (position, told) in (1..).zip(&mut self.events) {
            let age = now.since(told.recorded_at);
            if position > purged {
                let seeming = told.seems_recorded_at.map(|at| now.since(at));
                let is_old = self.retention.zip(seeming).is_some_and(|(kept, age)| age >= kept + slack);
                let mut of_event = self.deliveries.iter().filter(|known| known.event == position);
                waits |= !passes_over && of_event.any(Known::is_under_way);
                assert!(!is_old || waits, "event {position} should be gone at {age:?}");
                continue;
            }
            let mut of_event = self.deliveries.iter().filter(|known| known.event == position);
            told.is_gone |= self.retention.is_some() && !of_event.any(Known::is_under_way);
            // Once it was old it stays so, whatever the retention is now.
            let is_young = position > self.purged && self.retention.is_none_or(|kept| age < kept);
            assert!(!is_young, "event {position} is gone at {age:?}");
        }
        self.purged = purged;
        let has_chores = self.retention.is_some();
        for known in self.deliveries.iter_mut().filter(|known| has_chores && known.event <= purged) {
            if !known.is_under_way() {
                known.is_gone = true;
                if known.state == DeliveryState::Pending {
                    known.state = DeliveryState::Cancelled;
                }
            }
        }
    }

    /// Something is given to this process to be attempted.
    fn take(&mut self, owned: Owned, now: Time) {
        let number = owned.delivery;
        let at = usize::try_from(number - 1).unwrap();
        let known = self.deliveries[at].clone();
        assert_eq!(known.state, DeliveryState::Pending, "{number} is over");
        assert!(!known.is_owned, "{number} was given twice");
        assert!(known.not_before <= now, "{number} came before its time");
        assert_eq!(owned.attempt, known.attempts + 1);
        let first = (known.attempts > 0).then_some(&b"body of attempt 1"[..]);
        assert_eq!(owned.body.get().as_deref(), first, "{number}: the bytes of the first attempt");
        assert_eq!(
            (owned.endpoint.number, owned.ordered_call.is_some()),
            (known.endpoint, known.line.is_some())
        );
        if known.line.is_some() {
            let is_before =
                |earlier: &&Known| earlier.endpoint == known.endpoint && earlier.line == known.line;
            let earlier = self.deliveries[..at].iter().filter(is_before);
            let open = earlier.filter(|earlier| earlier.state == DeliveryState::Pending).count();
            assert_eq!(open, 0, "{number} passed an earlier one of its call");
        }
        self.known(number).is_owned = true;
        self.owned.push(owned);
    }

    /// An attempt came to this.
    fn settle(&mut self, owned: &Owned, decision: Decision) {
        let known = self.known(owned.delivery);
        known.is_owned = false;
        if known.state != DeliveryState::Pending {
            return;
        }
        known.attempts += 1;
        match decision.next {
            Next::Delivered => known.state = DeliveryState::Delivered,
            Next::Dead => known.state = DeliveryState::Dead,
            Next::RetryAt(due) => known.not_before = due,
        }
    }

    /// Call off what deleted endpoints are owed.
    fn sweep(&mut self) {
        let there = &self.endpoints;
        for known in &mut self.deliveries {
            if known.state == DeliveryState::Pending && !there.contains_key(&known.endpoint) {
                known.state = DeliveryState::Cancelled;
            }
        }
    }

    fn sums(&self) -> Vec<Sum> {
        let sum = |&endpoint: &i64| {
            let mut sum = Sum { endpoint, ..Sum::default() };
            for known in self.deliveries.iter().filter(|known| known.endpoint == endpoint) {
                sum.owed += 1;
                *sum.of_mut(known.state) += 1;
            }
            sum
        };
        self.all_endpoints.iter().map(sum).collect()
    }
}

/// The store and the model beside it.
struct Both<F> {
    scene: Scene<F>,
    model: Model,
}

impl<F: Fixture> Both<F> {
    async fn new() -> Self {
        let scene = Scene::<F>::new().await;
        let model = Model {
            endpoints: BTreeMap::new(),
            all_endpoints: Vec::new(),
            deliveries: Vec::new(),
            events: Vec::new(),
            retention: None,
            purged: 0,
            owned: Vec::new(),
        };
        let mut both = Self { scene, model };
        both.make_endpoint(true).await;
        both
    }

    async fn make_endpoint(&mut self, ordered: bool) {
        if self.model.endpoints.len() < 3 {
            let number = self.scene.endpoint(|endpoint| endpoint.ordered = ordered).await;
            self.model.endpoints.insert(number, ordered);
            self.model.all_endpoints.push(number);
        }
    }

    /// Every event that is new in the feed is owed to every endpoint that is there, in order.
    async fn learn(&mut self) {
        let known = i64::try_from(self.model.events.len()).unwrap();
        let page = Page { after: Some(known), limit: usize::MAX };
        let news = self.scene.store.events(self.scene.account, page).await.unwrap();
        for (event, position) in news.expect("nobody waits so long").events.into_iter().zip(known + 1..) {
            assert_eq!(event.position, position);
            let life = self.model.tell(&event, self.scene.now);
            for (&endpoint, &ordered) in &self.model.endpoints {
                let number = i64::try_from(self.model.deliveries.len() + 1).unwrap();
                let view = self.scene.delivery(number).await;
                assert_eq!((view.endpoint, view.event), (endpoint, event.position));
                self.model.deliveries.push(Known {
                    endpoint,
                    event: position,
                    line: life.filter(|_| ordered),
                    state: DeliveryState::Pending,
                    is_owned: false,
                    not_before: self.scene.now,
                    attempts: 0,
                    is_gone: false,
                });
            }
        }
    }

    async fn commit(&mut self, heard: &[(u8, u8)], settled: &[(usize, u8)]) {
        let steps = [
            Step::Initiated,
            Step::Ringing,
            Step::Answered,
            Step::Ended(Outcome::Completed),
            Step::Ended(Outcome::Failed),
            Step::Ended(Outcome::Lost),
        ];
        let incoming = heard
            .iter()
            .map(|&(call, step)| self.scene.incoming(says(&format!("call {call}"), steps[usize::from(step)])))
            .collect();
        let mut settlements = Vec::new();
        for &(at, outcome) in settled {
            if self.model.owned.is_empty() {
                break;
            }
            let owned = self.model.owned.swap_remove(at % self.model.owned.len());
            let next = match outcome {
                0..4 => Next::Delivered,
                4..7 => Next::RetryAt(self.scene.later(u64::from(outcome - 4))),
                _ => Next::Dead,
            };
            let decision = Decision { next, disable_endpoint: outcome == 8 };
            settlements.push(Settlement { decision, ..attempted(&owned, self.scene.now, next) });
            self.model.settle(&owned, decision);
        }
        let Committed { owned, .. } = self.scene.commit(incoming, settlements).await;
        self.learn().await;
        for owned in owned {
            self.model.take(owned, self.scene.now);
        }
    }

    async fn claim(&mut self, endpoint: i64, places: usize) -> usize {
        let claimed = self.scene.claim(endpoint, places).await;
        assert!(claimed.len() <= places);
        let count = claimed.len();
        for owned in claimed {
            self.model.take(owned, self.scene.now);
        }
        count
    }

    async fn retry(&mut self, number: i64) {
        let now = self.scene.now;
        let turned = self.scene.retry(number).await;
        let endpoint = self.model.known(number).endpoint;
        let is_there = self.model.endpoints.contains_key(&endpoint);
        let known = self.model.known(number);
        match known.state {
            _ if known.is_gone => assert_eq!(turned, Turned::Missing),
            DeliveryState::Pending => {
                assert_eq!(turned, Turned::Done);
                if !known.is_owned {
                    (known.line, known.not_before) = (None, now);
                }
            }
            DeliveryState::Dead if is_there => {
                assert_eq!(turned, Turned::Done);
                known.state = DeliveryState::Pending;
                (known.line, known.not_before) = (None, now);
            }
            state => assert_eq!(turned, Turned::WrongState(state)),
        }
    }

    async fn cancel(&mut self, number: i64) {
        let turned = self.scene.cancel(number).await;
        let known = self.model.known(number);
        match known.state {
            _ if known.is_gone => assert_eq!(turned, Turned::Missing),
            DeliveryState::Pending => {
                assert_eq!(turned, Turned::Done);
                known.state = DeliveryState::Cancelled;
            }
            state => assert_eq!(turned, Turned::WrongState(state)),
        }
    }

    async fn keep(&mut self, retention: Option<Duration>) {
        let (store, account) = (&self.scene.store, self.scene.account);
        store.set_retention(account, retention, self.scene.now).await.unwrap().unwrap();
        self.model.retention = retention;
        for told in &mut self.model.events {
            told.seems_recorded_at.get_or_insert(self.scene.now);
        }
    }

    async fn chores(&mut self) {
        // The store looks once a second for what is old.
        self.scene.wait(1);
        self.scene.tidy_up().await;
        self.model.sweep();
        let oldest = self.scene.feed().await.first().map(|event| event.position);
        let all = i64::try_from(self.model.events.len()).unwrap();
        self.model.purge(oldest.map_or(all, |oldest| oldest - 1), self.scene.now, F::PASSES_OVER);
        for (number, known) in (1..).zip(&self.model.deliveries) {
            let view = self.scene.store.delivery(self.scene.account, number).await.unwrap();
            assert_eq!(view.is_none(), known.is_gone, "{number}");
            assert!(view.is_none_or(|view| view.state == known.state), "{number}");
        }
    }

    async fn act(&mut self, action: &Action) {
        let there: Vec<i64> = self.model.endpoints.keys().copied().collect();
        let numbers: Vec<i64> = (1..).take(self.model.deliveries.len()).collect();
        match *action {
            Action::Room(places) => self.scene.room.set(places),
            Action::Commit(ref heard, ref settled) => self.commit(heard, settled).await,
            Action::Claim(at, places) => {
                if let Some(endpoint) = pick(&self.model.all_endpoints, at) {
                    self.claim(endpoint, places).await;
                }
            }
            Action::Retry(at) => {
                if let Some(number) = pick(&numbers, at) {
                    self.retry(number).await;
                }
            }
            Action::Cancel(at) => {
                if let Some(number) = pick(&numbers, at) {
                    self.cancel(number).await;
                }
            }
            Action::MakeEndpoint(ordered) => self.make_endpoint(ordered).await,
            Action::Change(at, ordered) => {
                if let Some(number) = pick(&there, at) {
                    let turn = |endpoint: &mut Endpoint| {
                        endpoint.ordered = ordered;
                        endpoint.shape.include_recording = !endpoint.shape.include_recording;
                    };
                    self.scene.change(number, turn).await;
                    self.model.endpoints.insert(number, ordered);
                }
            }
            Action::Delete(at) => {
                if let Some(number) = pick(&there, at) {
                    self.scene
                        .store
                        .delete_endpoint(self.scene.account, number, self.scene.now)
                        .await
                        .unwrap();
                    self.model.endpoints.remove(&number);
                }
            }
            Action::Keep(seconds) => {
                self.keep((seconds > 0).then(|| Duration::from_secs(seconds))).await;
            }
            Action::Chores => self.chores().await,
            Action::Wait(seconds) => self.scene.wait(seconds),
            Action::Crash => {
                self.scene.crash().await;
                self.model.owned.clear();
                self.model.deliveries.iter_mut().for_each(|known| known.is_owned = false);
                if F::GIVES_BACK_BY_A_CHORE {
                    self.chores().await;
                }
            }
        }
    }

    async fn check(&self) {
        let counted = self.scene.store.sums(self.scene.account, false).await.unwrap();
        assert_eq!(counted, self.model.sums(), "the sums, at all times");
        let recounted = self.scene.store.sums(self.scene.account, true).await.unwrap();
        assert_eq!(recounted, counted, "and in the rows");
    }

    /// Nothing owed is lost: everything that is open comes up sooner or later.
    async fn drain(mut self) {
        self.keep(None).await;
        self.scene.wait(1_000_000);
        self.scene.tidy_up().await;
        self.model.sweep();
        loop {
            let settled: Vec<(usize, u8)> = self.model.owned.iter().map(|_| (0, 0)).collect();
            self.commit(&[], &settled).await;
            let mut claimed = 0;
            for endpoint in self.model.all_endpoints.clone() {
                claimed += self.claim(endpoint, 3).await;
            }
            if claimed == 0 && self.model.owned.is_empty() {
                break;
            }
        }
        self.check().await;
        let open = self.model.deliveries.iter().filter(|known| known.state == DeliveryState::Pending);
        assert_eq!(open.count(), 0, "something owed never came up: {:#?}", self.model.deliveries);
        self.scene.finish().await;
    }
}

/// Records, claims, settlements, retries and cancels by hand, changes of endpoints and of the retention, removals by
/// age and crashes, in any order.
pub fn whatever_happens_in_whatever_order<F: Fixture>() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let config = Config { cases: 40 / F::CASES_OF, failure_persistence: None, ..Config::default() };
    let actions = prop::collection::vec(action(), 1..50);
    let run = TestRunner::new(config).run(&actions, |actions| {
        runtime.block_on(async {
            let mut both = Both::<F>::new().await;
            for action in &actions {
                both.act(action).await;
                both.check().await;
            }
            both.drain().await;
        });
        Ok(())
    });
    if let Err(failure) = run {
        panic!("{failure}");
    }
}
