//! What every test of a store needs: an account with a source, queues that take what they are told to take, and
//! short ways to say what is heard and what attempts came to.
//! Knows the store by its trait alone; refuses to know which one it is.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use postcall::dialect::ReceiptKind;
use postcall::ledger::{Decision, Next};
use postcall::model::endpoint::{Delivering, EndpointState, Scope, Shape};
use postcall::model::event::{Heard, HeardCall};
use postcall::model::secret::Credential;
use postcall::model::{
    AccountKey, Attempt, Call, DeliveryState, DialectName, Endpoint, Event, Rights, Secret, Source, Step,
    Text, Time,
};
use postcall::store::{
    AccountMemory, Booked, CallFilter, CallView, Committed, DeliveryFilter, DeliveryMemory, DeliveryView,
    EndpointRef, Group, Incoming, ManualOutcome, NewKey, Owned, Page, Parsed, Place, Queues, Recorded,
    Settlement, Store, StoreError, Sum,
};

/// A place where a store lives.
pub trait Fixture: Sized {
    /// Whether what a crash left owned is given back by a chore, which does others beside, and not by opening.
    const GIVES_BACK_BY_A_CHORE: bool;
    /// Whether retention passes over events of which something is under way, and does not wait in front of them.
    const PASSES_OVER: bool;
    /// One of so many cases of a property is tried: where each costs many round trips.
    const CASES_OF: u32;

    /// A new place with nothing in it.
    async fn new() -> Self;
    /// Opens its store for the first time.
    async fn open(&mut self) -> Arc<dyn Store>;
    /// Opens it as after a crash: whoever had it open has not closed it and never will touch it again.
    async fn reopen(&mut self) -> Arc<dyn Store>;
    /// Runs a statement behind the back of the store.
    fn sql(&self, statement: &str);
    /// Whether these bytes can be found where the store keeps what it knows.
    fn holds(&self, needle: &[u8]) -> bool;
    /// What must hold at the end of every test, when the store is closed.
    fn check(&self) {}
}

/// Queues that only count: so many places for each endpoint, taken until they are dropped.
#[derive(Debug)]
pub struct Room {
    capacity: AtomicUsize,
    queues: Mutex<BTreeMap<EndpointRef, Arc<AtomicUsize>>>,
    claimed: Arc<AtomicUsize>,
    memory: Arc<AccountMemory>,
}

impl Room {
    /// Queues with so many places for each endpoint.
    pub fn of(places: usize) -> Arc<Self> {
        let (queues, claimed) = <_>::default();
        let memory = DeliveryMemory::new(usize::MAX).part();
        Arc::new(Self { capacity: AtomicUsize::new(places), queues, claimed, memory })
    }

    /// From now on there are so many places for each endpoint.
    pub fn set(&self, places: usize) {
        self.capacity.store(places, Ordering::SeqCst);
    }

    /// Places that are taken now, of all endpoints.
    pub fn taken(&self) -> usize {
        let queues = self.queues.lock().unwrap();
        let reserved: usize = queues.values().map(|queue| queue.load(Ordering::SeqCst)).sum();
        reserved + self.claimed.load(Ordering::SeqCst)
    }

    /// Places for a claim, whatever the capacity.
    pub fn places(&self, count: usize) -> Vec<Place> {
        let one = || Place::take((&self.claimed, usize::MAX), &self.memory, 0);
        (0..count).map(|_| one().expect("there is always room")).collect()
    }
}

impl Queues for Room {
    fn reserve(&self, endpoint: EndpointRef, bytes: usize) -> Option<Place> {
        let mut queues = self.queues.lock().unwrap();
        let queue = queues.entry(endpoint).or_default();
        Place::take((queue, self.capacity.load(Ordering::SeqCst)), &self.memory, bytes)
    }
    fn dispatch(&self, _: Vec<Owned>) {}
    fn wake(&self, _: Vec<EndpointRef>) {}
    fn wake_at(&self, _: EndpointRef, _: Time) {}
    fn settled(&self, _: Vec<(EndpointRef, Place)>) {}
}

/// A store with one account, one source and room for everything.
pub struct Scene<F> {
    /// The store.
    pub store: Arc<dyn Store>,
    /// The queues.
    pub room: Arc<Room>,
    /// The account that is used unless said otherwise.
    pub account: AccountKey,
    /// Its source.
    pub source: i64,
    /// The time.
    pub now: Time,
    /// Where the store lives: longer than the store.
    pub place: F,
}

/// A step of a call.
pub fn heard(call_id: &str, step: Step) -> HeardCall {
    HeardCall { step, at: None, call: Call { call_id: Text::from(call_id), ..Call::default() } }
}

/// The same, as what a body says.
pub fn says(call_id: &str, step: Step) -> Parsed {
    Parsed::events(vec![Heard::Call(Box::new(heard(call_id, step)))])
}

/// What a call that is new changes in the books beside it. Tests of those books look themselves.
fn as_usual(kind: ReceiptKind) -> Booked {
    Booked { analytics: kind == ReceiptKind::Recorded, campaign: false }
}

/// What became of something that was recorded.
pub fn done(kind: ReceiptKind, planned: usize) -> Recorded {
    Recorded::Done { kind, planned, booked: as_usual(kind) }
}

/// The numbers of deliveries.
pub fn numbers(owned: &[Owned]) -> Vec<i64> {
    owned.iter().map(|owned| owned.delivery).collect()
}

/// A key that is to be made, without an end.
pub fn new_key(account: AccountKey, name: &str, rights: Rights, hash: [u8; 32]) -> NewKey {
    NewKey { account, name: name.to_owned(), rights, expires_at: None, hash, created_at: some_time() }
}

/// A point in time that means nothing.
pub fn some_time() -> Time {
    Time::parse("2026-03-01T12:00:00Z").unwrap()
}

/// A new endpoint with everything at its default; `ConfigChanges::put_endpoint` gives it a number.
pub fn endpoint(account: AccountKey) -> Endpoint {
    Endpoint {
        account,
        number: 0,
        id: String::new(),
        revision: 0,
        url: "https://crm.example/hook".to_owned(),
        dialect: DialectName::Standard,
        shape: Shape::default(),
        events: None,
        scope: Scope::default(),
        completed_only: false,
        ordered: true,
        headers: Vec::new(),
        plain_headers: <_>::default(),
        delivering: Delivering::default(),
        credential: Credential::of_secret(Secret::new("whsec")),
        state: EndpointState::Active,
        of_batch: false,
        created_at: some_time(),
    }
}

/// A new source; `ConfigChanges::put_source` gives it a number.
pub fn source(account: AccountKey) -> Source {
    Source {
        account,
        number: 0,
        id: String::new(),
        name: "dialer".to_owned(),
        dialect: DialectName::Standard,
        credential: Credential::of_secret(Secret::new("shared")),
        url_token: None,
        lost_after: None,
        created_at: some_time(),
    }
}

/// What an attempt of an owned delivery came to, with a body that tells which attempt made it.
pub fn attempted(owned: &Owned, now: Time, next: Next) -> Settlement {
    let status = match next {
        Next::Delivered => 200,
        Next::RetryAt(_) | Next::Dead => 500,
    };
    let body = owned.body.get();
    Settlement {
        endpoint: owned.endpoint,
        delivery: owned.delivery,
        ordered_call: owned.ordered_call,
        event: owned.event.position,
        revision: owned.revision,
        attempt: Attempt {
            number: owned.attempt,
            at: now,
            latency_ms: 1.5,
            status: Some(status),
            error: (status != 200).then(|| "status 500".to_owned()),
            response_body: None,
            slow: false,
        },
        decision: Decision { next, disable_endpoint: false },
        body: body.unwrap_or_else(|| Bytes::from(format!("body of attempt {}", owned.attempt))),
    }
}

impl<F: Fixture> Scene<F> {
    /// A new place with a store in it.
    pub async fn new() -> Self {
        let mut place = F::new().await;
        let store = place.open().await;
        let account = AccountKey::DEFAULT;
        let made = store.put_source(source(account), None).await.unwrap().expect("the account is there");
        Self { place, store, room: Room::of(usize::MAX), account, source: made.number, now: some_time() }
    }

    /// Opens the store again as after a crash. What was in memory is gone, the places with it.
    pub async fn crash(&mut self) {
        self.store = self.place.reopen().await;
        self.room = Room::of(self.room.capacity.load(Ordering::SeqCst));
    }

    /// Time goes by.
    pub fn wait(&mut self, seconds: u64) {
        self.now = self.now.after(Duration::from_secs(seconds));
    }

    /// So many seconds from now.
    pub fn later(&self, seconds: u64) -> Time {
        self.now.after(Duration::from_secs(seconds))
    }

    /// One of the account's endpoints.
    pub fn target(&self, number: i64) -> EndpointRef {
        EndpointRef { account: self.account, number }
    }

    /// Makes an endpoint; `change` sets what is not at its default.
    pub async fn endpoint(&self, change: impl FnOnce(&mut Endpoint)) -> i64 {
        let mut made = endpoint(self.account);
        change(&mut made);
        self.store.put_endpoint(made, None).await.unwrap().expect("the account is there").number
    }

    /// Changes an endpoint.
    pub async fn change(&self, number: i64, change: impl FnOnce(&mut Endpoint)) -> Arc<Endpoint> {
        let mut changed = Endpoint::clone(&self.configured(number));
        change(&mut changed);
        self.store.put_endpoint(changed, None).await.unwrap().expect("the endpoint is there")
    }

    /// An endpoint as it is configured now.
    pub fn configured(&self, number: i64) -> Arc<Endpoint> {
        let config = self.store.config(self.account).expect("the account is there");
        Arc::clone(config.endpoint(number).expect("the endpoint is there"))
    }

    /// Another account.
    pub async fn other_account(&self, name: &str) -> AccountKey {
        self.store.create_account(name.to_owned(), self.now).await.unwrap().expect("the name is free").key
    }

    /// Something that comes through the source.
    pub fn incoming(&self, parsed: Parsed) -> Incoming {
        Incoming {
            account: self.account,
            source: self.source,
            received_at: self.now,
            raw: Bytes::from_static(b"{\"raw\":true}"),
            content_type: Some("application/json".to_owned()),
            parsed,
        }
    }

    /// Commits a group; an error is given back.
    pub async fn try_commit(
        &self,
        incoming: Vec<Incoming>,
        settlements: Vec<Settlement>,
    ) -> Result<Committed, StoreError> {
        let group = Arc::new(Group { now: self.now, incoming, settlements });
        let mut committed = self.store.commit(group, Arc::clone(&self.room) as Arc<dyn Queues>).await?;
        for recorded in &mut committed.recorded {
            if let Recorded::Done { kind, booked, .. } = recorded {
                *booked = as_usual(*kind);
            }
        }
        Ok(committed)
    }

    /// Commits a group.
    pub async fn commit(&self, incoming: Vec<Incoming>, settlements: Vec<Settlement>) -> Committed {
        self.try_commit(incoming, settlements).await.unwrap()
    }

    /// Hears these bodies in one group.
    pub async fn hear(&self, bodies: impl IntoIterator<Item = Parsed>) -> Committed {
        self.commit(bodies.into_iter().map(|what| self.incoming(what)).collect(), Vec::new()).await
    }

    /// Hears one step of a call and gives back the deliveries to attempt now.
    pub async fn step(&self, call_id: &str, step: Step) -> Vec<Owned> {
        self.hear([says(call_id, step)]).await.owned
    }

    /// Settles one delivery.
    pub async fn settle(&self, owned: &Owned, next: Next) -> Committed {
        self.commit(Vec::new(), vec![attempted(owned, self.now, next)]).await
    }

    /// Claims at most so many deliveries of an endpoint.
    pub async fn claim(&self, endpoint: i64, most: usize) -> Vec<Owned> {
        self.store.claim(self.target(endpoint), self.now, self.room.places(most)).await.unwrap().owned
    }

    /// Retries a delivery by hand.
    pub async fn retry(&self, delivery: i64) -> ManualOutcome {
        self.store.retry(self.account, delivery, self.now).await.unwrap()
    }

    /// Cancels a delivery.
    pub async fn cancel(&self, delivery: i64) -> ManualOutcome {
        self.store.cancel(self.account, delivery, self.now).await.unwrap()
    }

    /// The whole feed.
    pub async fn feed(&self) -> Vec<Event> {
        let (mut feed, mut more): (Vec<Event>, bool) = (Vec::new(), true);
        while more {
            let after = feed.last().map(|event| event.position);
            let page = self.store.events(self.account, Page { after, limit: usize::MAX }).await;
            let page = page.unwrap().unwrap();
            feed.extend(page.events);
            more = page.more;
        }
        feed
    }

    /// A delivery as it is shown.
    pub async fn delivery(&self, number: i64) -> DeliveryView {
        self.store.delivery(self.account, number).await.unwrap().expect("the delivery is there")
    }

    /// The state of a delivery.
    pub async fn state(&self, number: i64) -> DeliveryState {
        self.delivery(number).await.state
    }

    /// The call of a vendor's id.
    pub async fn call(&self, call_id: &str) -> CallView {
        let filter = CallFilter { call_id: Some(Text::from(call_id)), ..CallFilter::default() };
        let mut found =
            self.store.calls(self.account, filter, Page { after: None, limit: 10 }).await.unwrap();
        assert_eq!(found.len(), 1, "one call of that id");
        found.remove(0)
    }

    /// All deliveries that fit, newest first.
    pub async fn deliveries(&self, filter: DeliveryFilter) -> Vec<DeliveryView> {
        let page = Page { after: None, limit: 10_000 };
        self.store.deliveries(self.account, filter, page).await.unwrap()
    }

    /// The sum of an endpoint.
    pub async fn sum(&self, number: i64) -> Sum {
        let sums = self.store.sums(self.account, false).await.unwrap();
        sums.into_iter().find(|sum| sum.endpoint == number).expect("the endpoint was there once")
    }

    /// Keeps what is recorded for so many seconds from now on.
    pub async fn keep(&self, seconds: u64) {
        let kept = Some(Duration::from_secs(seconds));
        let changed = self.store.set_retention(self.account, kept, self.now).await.unwrap();
        assert_eq!(changed.expect("the account is there").retention, kept);
    }

    /// Does chores until there is nothing more to do.
    pub async fn tidy_up(&self) {
        while self.store.maintain(self.now).await.unwrap().more {}
    }

    /// The end of every test: what was counted at each transition is what lies in the rows, and no sum has a hole.
    pub async fn finish(self) {
        for config in self.store.accounts() {
            let account = config.account.key;
            let counted = self.store.sums(account, false).await.unwrap();
            assert_eq!(counted, self.store.sums(account, true).await.unwrap(), "counted, and from the rows");
            for sum in counted {
                let Sum { owed, delivered, pending, dead, cancelled, .. } = sum;
                assert_eq!(owed, delivered + pending + dead + cancelled, "{sum:?}");
                assert!([delivered, pending, dead, cancelled].iter().all(|&part| part >= 0), "{sum:?}");
            }
            let kept = self.store.rows(account, false).await.unwrap();
            assert_eq!(kept, self.store.rows(account, true).await.unwrap(), "kept, and from the calls");
            let numbers = kept.values().flat_map(|tally| tally.numbers());
            assert!(numbers.into_iter().all(|&number| number >= 0), "{kept:?}");
        }
        self.store.close().await.unwrap();
        self.place.check();
    }
}
