//! A store that fails as it is told to, before or after the real one did its work, that has such a lease and such news of
//! other nodes as it is told, and queues that note what they are told. Refuses to know what is written.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use postcall::ledger::Tally;
use postcall::ledger::tally::Dimension;
use postcall::model::account::{Account, Limits};
use postcall::model::id::Tag;
use postcall::model::replay::{Replay, ReplayOrder};
use postcall::model::{AccountKey, ApiKey, Endpoint, Mention, Secret, Source, Text, Time};
use postcall::store::analytics::{Grain, Mentioned, Row, Setting, Span, Subject, TextPage};
use postcall::store::batches::{BatchView, Contact, ContactView, Ended, Failure, NewBatch, Opened};
use postcall::store::erasure::Erasure;
use postcall::store::export::{Cursor, Exported, Import, Imported, Secrets};
use postcall::store::feed::FeedPage;
use postcall::store::told::Told;
use postcall::store::{
    AccountConfig, AccountConfigs, Analytics, Answer, ApiKeys, Batches, CallFilter, CallView, Calls, Claimed,
    Claims, Committed, ConfigChanges, Deliveries, DeliveryFilter, DeliveryView, EndpointRef, Erasures, Feed,
    Group, Idempotency, Idempotent, Ingest, KeyUse, Maintenance, NewKey, Notification, Owned, Page, Place,
    Progress, Quarantine, Quarantined, Queues, Replays, Revoked, Store, StoreError, Sum, Transfer, Turned,
    What,
};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::sync::{Notify, Semaphore, watch};

use super::scene::Room;

/// A call or a response with this name cannot be stored.
pub const CULPRIT: &str = "culprit";
/// A call with this name lies where the database is damaged.
pub const SPOILT: &str = "spoilt";

/// What happens to a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The store is away.
    Unavailable,
    /// It was committed, and nobody heard of it.
    UnheardOf,
    /// The lease is over.
    Lapsed,
    /// It lost a deadlock.
    Conflict,
    /// There is no room for bodies.
    Full,
}

/// A store with faults.
pub struct Troubled {
    store: Arc<dyn Store>,
    faults: Mutex<VecDeque<Fault>>,
    gate: Semaphore,
    groups: Mutex<Vec<usize>>,
    /// So many kept answers are not written before one is.
    unfinished: Mutex<usize>,
    lease: Mutex<Duration>,
    lease_asked: Notify,
    news: Mutex<Option<UnboundedReceiver<Notification>>>,
    tell: UnboundedSender<Notification>,
    /// What this node remembers of the configuration while others go on changing it.
    remembered: Mutex<Option<Arc<AccountConfig>>>,
}

impl Troubled {
    /// Fails the next commits like this, one after the other.
    pub fn over(store: Arc<dyn Store>, faults: impl IntoIterator<Item = Fault>) -> Arc<Self> {
        let faults = Mutex::new(faults.into_iter().collect());
        let (tell, news) = mpsc::unbounded_channel();
        Arc::new(Self {
            store,
            faults,
            gate: Semaphore::new(0),
            groups: Mutex::default(),
            unfinished: Mutex::default(),
            lease: Mutex::new(Duration::MAX),
            lease_asked: Notify::new(),
            news: Mutex::new(Some(news)),
            tell,
            remembered: Mutex::default(),
        })
    }

    /// The lease lasts for attempts of this length at most.
    pub fn lasts_for(&self, attempt: Duration) {
        *self.lease.lock().unwrap() = attempt;
    }

    /// Ends when somebody asks from now on whether the lease lasts.
    pub fn asked_for_lease(&self) -> impl Future<Output = ()> {
        self.lease_asked.notified()
    }

    /// Knows of no change to an account from now on, until it is told to catch up.
    pub fn fall_behind(&self, account: AccountKey) {
        *self.remembered.lock().unwrap() = self.store.config(account);
    }

    /// Writes none of the next answers that are to be kept.
    pub fn keep_no_answer(&self, times: usize) {
        *self.unfinished.lock().unwrap() = times;
    }

    /// Tells news.
    pub fn tell(&self, news: Notification) {
        self.tell.send(news).expect("somebody listens");
    }

    /// Lets commits through from now on. Until then they wait.
    pub fn open(&self) {
        self.gate.close();
    }

    /// Members of each group that was tried, in order.
    pub fn groups(&self) -> Vec<usize> {
        self.groups.lock().unwrap().clone()
    }
}

fn tells_of(group: &Group, name: &str) -> bool {
    group.incoming.iter().any(|incoming| match &incoming.what {
        What::Heard(all) => {
            all.iter().any(|told| matches!(told, Told::Call(told) if *told.call_id() == *name))
        }
        What::Test(_) | What::Unreadable(_) => false,
    })
}

fn holds_culprit(group: &Group) -> bool {
    let in_bodies = tells_of(group, CULPRIT);
    let answered = |answer: &Option<String>| answer.as_deref() == Some(CULPRIT);
    in_bodies || group.settlements.iter().any(|settlement| answered(&settlement.attempt.response_body))
}

/// Methods that the real store answers.
macro_rules! pass_on {
    ($(fn $name:ident($($argument:ident: $kind:ty),*) -> $answer:ty;)+) => {
        $(fn $name(&self, $($argument: $kind),*) -> $answer {
            self.store.$name($($argument),*)
        })+
    };
}

impl Ingest for Troubled {
    fn commit<'a>(&'a self, group: Arc<Group>, queues: Arc<dyn Queues>) -> Answer<'a, Committed> {
        Box::pin(async move {
            // A closed gate of this kind is an open one.
            let _ = self.gate.acquire().await;
            self.groups.lock().unwrap().push(group.incoming.len() + group.settlements.len());
            let fault = self.faults.lock().unwrap().pop_front();
            if fault == Some(Fault::Unavailable) {
                return Err(StoreError::Unavailable("told to be".to_owned()));
            }
            if fault == Some(Fault::Full) && !group.incoming.is_empty() {
                return Err(StoreError::Full("told to be".to_owned()));
            }
            if fault == Some(Fault::Conflict) {
                return Err(StoreError::Conflict("told to lose".to_owned()));
            }
            if fault == Some(Fault::Lapsed) {
                return Err(StoreError::Lapsed("told to be".to_owned()));
            }
            if holds_culprit(&group) {
                return Err(StoreError::Data("told to refuse it".to_owned()));
            }
            if tells_of(&group, SPOILT) {
                return Err(StoreError::Damaged("told to be".to_owned()));
            }
            let committed = self.store.commit(group, queues).await;
            match fault {
                Some(Fault::UnheardOf) => Err(StoreError::Unknown("told to keep quiet".to_owned())),
                _ => committed,
            }
        })
    }
}

impl Claims for Troubled {
    fn outlasts(&self, attempt: Duration) -> bool {
        self.lease_asked.notify_waiters();
        attempt <= *self.lease.lock().unwrap()
    }

    fn notifications(&self) -> Option<UnboundedReceiver<Notification>> {
        self.news.lock().unwrap().take()
    }

    pass_on! {
        fn claim(endpoint: EndpointRef, now: Time, places: Vec<Place>) -> Answer<'_, Claimed>;
        fn release(account: AccountKey, deliveries: Vec<i64>) -> Answer<'_, ()>;
        fn next_due(endpoint: EndpointRef) -> Answer<'_, Option<Time>>;
    }
}

impl AccountConfigs for Troubled {
    fn config(&self, account: AccountKey) -> Option<Arc<AccountConfig>> {
        let remembered = self.remembered.lock().unwrap();
        let remembered = remembered.as_ref().filter(|config| config.account.key == account);
        remembered.cloned().or_else(|| self.store.config(account))
    }

    fn config_by_tag(&self, tag: Tag) -> Option<Arc<AccountConfig>> {
        self.store.config_by_tag(tag).and_then(|config| self.config(config.account.key))
    }

    fn link_key(&self) -> &ring::hmac::Key {
        self.store.link_key()
    }

    fn catch_up(&self) -> Answer<'_, ()> {
        *self.remembered.lock().unwrap() = None;
        self.store.catch_up()
    }

    pass_on! {
        fn accounts() -> Vec<Arc<AccountConfig>>;
    }
}

impl ConfigChanges for Troubled {
    pass_on! {
        fn create_account(name: String, now: Time) -> Answer<'_, Option<Account>>;
        fn set_retention(account: AccountKey, retention: Option<Duration>, now: Time) -> Answer<'_, Option<Account>>;
        fn set_transcript_retention(account: AccountKey, retention: Option<Duration>, now: Time) -> Answer<'_, Option<Account>>;
        fn set_limits(account: AccountKey, limits: Limits, made_from: Option<i64>) -> Answer<'_, Option<Account>>;
        fn set_repeat_memory(account: AccountKey, length: Duration, now: Time) -> Answer<'_, Option<Account>>;
        fn put_source(source: Source, made_from: Option<i64>) -> Answer<'_, Option<Arc<Source>>>;
        fn delete_source(account: AccountKey, number: i64, now: Time) -> Answer<'_, bool>;
        fn put_endpoint(endpoint: Endpoint, made_from: Option<i64>) -> Answer<'_, Option<Arc<Endpoint>>>;
        fn disable_endpoint(endpoint: EndpointRef, reason: String, now: Time) -> Answer<'_, Option<Vec<EndpointRef>>>;
        fn enable_endpoint(endpoint: EndpointRef) -> Answer<'_, bool>;
        fn delete_endpoint(account: AccountKey, number: i64, now: Time) -> Answer<'_, bool>;
    }
}

impl ApiKeys for Troubled {
    pass_on! {
        fn create_key(key: NewKey) -> Answer<'_, ApiKey>;
        fn find_key(hash: [u8; 32]) -> Answer<'_, Option<ApiKey>>;
        fn note_key_uses(uses: Vec<KeyUse>) -> Answer<'_, ()>;
        fn keys(account: AccountKey) -> Answer<'_, Vec<ApiKey>>;
        fn revoke_key(account: AccountKey, number: i64, now: Time) -> Answer<'_, Revoked>;
    }
}

impl Calls for Troubled {
    pass_on! {
        fn call(account: AccountKey, number: i64) -> Answer<'_, Option<CallView>>;
        fn calls(account: AccountKey, filter: CallFilter, page: Page) -> Answer<'_, Vec<CallView>>;
    }
}

impl Feed for Troubled {
    pass_on! {
        fn events(account: AccountKey, page: Page) -> Answer<'_, Option<FeedPage>>;
        fn follow(account: AccountKey) -> Answer<'_, watch::Receiver<i64>>;
    }
}

impl Deliveries for Troubled {
    pass_on! {
        fn deliveries(account: AccountKey, filter: DeliveryFilter, page: Page) -> Answer<'_, Vec<DeliveryView>>;
        fn delivery(account: AccountKey, number: i64) -> Answer<'_, Option<DeliveryView>>;
        fn sums(account: AccountKey, recount: bool) -> Answer<'_, Vec<Sum>>;
        fn retry(account: AccountKey, delivery: i64, now: Time) -> Answer<'_, Turned>;
        fn cancel(account: AccountKey, delivery: i64, now: Time) -> Answer<'_, Turned>;
    }
}

impl Quarantine for Troubled {
    pass_on! {
        fn quarantine(account: AccountKey, page: Page) -> Answer<'_, Vec<Quarantined>>;
        fn quarantined(account: AccountKey, number: i64) -> Answer<'_, Option<Quarantined>>;
        fn quarantine_size(account: AccountKey) -> Answer<'_, i64>;
        fn discard(account: AccountKey, number: i64) -> Answer<'_, bool>;
    }
}

impl Replays for Troubled {
    pass_on! {
        fn create_replay(account: AccountKey, order: ReplayOrder, now: Time) -> Answer<'_, Option<Replay>>;
        fn replay(account: AccountKey, number: i64) -> Answer<'_, Option<Replay>>;
        fn replays(account: AccountKey, page: Page) -> Answer<'_, Vec<Replay>>;
        fn cancel_replay(account: AccountKey, number: i64, now: Time) -> Answer<'_, bool>;
    }
}

impl Batches for Troubled {
    pass_on! {
        fn open_batch(new: NewBatch) -> Answer<'_, Opened>;
        fn add_contacts(account: AccountKey, batch: i64, first: usize, parts: Vec<Vec<Contact>>) -> Answer<'_, ()>;
        fn begin_batch(account: AccountKey, batch: i64, endpoints: Vec<Endpoint>, fresh: Secret) -> Answer<'_, Option<Secret>>;
        fn renew_batch_secret(account: AccountKey, secret: Secret) -> Answer<'_, ()>;
        fn end_batch(account: AccountKey, batch: i64, failure: Failure, now: Time) -> Answer<'_, (Ended, Vec<EndpointRef>)>;
        fn batch(account: AccountKey, batch: i64) -> Answer<'_, Option<BatchView>>;
        fn batches(account: AccountKey, page: Page) -> Answer<'_, Vec<BatchView>>;
        fn contacts(account: AccountKey, batch: i64, only_open: bool, page: Page) -> Answer<'_, Vec<ContactView>>;
        fn batch_calls(account: AccountKey, batch: i64, page: Page) -> Answer<'_, Vec<CallView>>;
        fn credit(account: AccountKey) -> Answer<'_, Option<i64>>;
        fn set_credit(account: AccountKey, millis: Option<i64>) -> Answer<'_, ()>;
    }
}

impl Analytics for Troubled {
    pass_on! {
        fn tallies(account: AccountKey, subject: Subject, span: Span, by: Option<Grain>) -> Answer<'_, Vec<(i64, Tally)>>;
        fn tallies_by(account: AccountKey, dimension: Dimension, span: Span, page: TextPage) -> Answer<'_, (Vec<(Text, Tally)>, Option<Text>)>;
        fn rows(account: AccountKey, recount: bool) -> Answer<'_, BTreeMap<Row, Tally>>;
        fn mentioned(account: AccountKey, what: Dimension, id: Text) -> Answer<'_, Option<Mentioned>>;
        fn all_mentioned(account: AccountKey, what: Dimension, page: TextPage) -> Answer<'_, Vec<Mentioned>>;
        fn make_mentioned(account: AccountKey, what: Dimension, setting: Setting, now: Time) -> Answer<'_, bool>;
        fn put_mentioned(account: AccountKey, what: Dimension, setting: Setting, now: Time) -> Answer<'_, bool>;
    }
}

impl Idempotency for Troubled {
    fn finish_idempotent(
        &self,
        account: AccountKey,
        key: Vec<u8>,
        answer: Option<(u16, Vec<u8>)>,
    ) -> Answer<'_, ()> {
        let mut unfinished = self.unfinished.lock().unwrap();
        if *unfinished > 0 {
            *unfinished -= 1;
            return Box::pin(async { Err(StoreError::Unavailable("told to be".to_owned())) });
        }
        self.store.finish_idempotent(account, key, answer)
    }

    pass_on! {
        fn begin_idempotent(account: AccountKey, key: Vec<u8>, fingerprint: [u8; 32], now: Time) -> Answer<'_, Idempotent>;
    }
}

impl Erasures for Troubled {
    pass_on! {
        fn erase(account: AccountKey, person: Mention, now: Time) -> Answer<'_, Erasure>;
        fn erasure(account: AccountKey, number: i64) -> Answer<'_, Option<Erasure>>;
        fn erasures(account: AccountKey, page: Page) -> Answer<'_, Vec<Erasure>>;
    }
}

impl Transfer for Troubled {
    pass_on! {
        fn export(account: AccountKey, secrets: Secrets, cursor: Option<Cursor>) -> Answer<'_, Exported>;
        fn import(account: AccountKey, import: Import) -> Answer<'_, Imported>;
    }
}

impl Maintenance for Troubled {
    pass_on! {
        fn maintain(now: Time) -> Answer<'_, Progress>;
        fn ready() -> Answer<'_, ()>;
        fn close() -> Answer<'_, ()>;
    }
}

/// Queues that note what they are told.
pub struct Notes {
    room: Arc<Room>,
    dispatched: Mutex<Vec<Owned>>,
    woken: Mutex<Vec<EndpointRef>>,
    alarms: Mutex<Vec<(EndpointRef, Time)>>,
    written: Mutex<Vec<EndpointRef>>,
    settled: Semaphore,
}

impl Notes {
    /// Queues with this room.
    pub fn with(room: &Arc<Room>) -> Arc<Self> {
        let room = Arc::clone(room);
        Arc::new(Self {
            room,
            dispatched: Mutex::default(),
            woken: Mutex::default(),
            alarms: Mutex::default(),
            written: Mutex::default(),
            settled: Semaphore::new(0),
        })
    }

    /// Waits until one more delivery is settled.
    pub async fn settled(&self) {
        self.settled.acquire().await.unwrap().forget();
    }

    /// Endpoints of which a delivery was settled since the last time, in order.
    pub fn written(&self) -> Vec<EndpointRef> {
        std::mem::take(&mut self.written.lock().unwrap())
    }

    /// What was dispatched since the last time.
    pub fn dispatched(&self) -> Vec<Owned> {
        std::mem::take(&mut self.dispatched.lock().unwrap())
    }

    /// Who was woken since the last time.
    pub fn woken(&self) -> Vec<EndpointRef> {
        std::mem::take(&mut self.woken.lock().unwrap())
    }

    /// Who is to be woken when, since the last time.
    pub fn alarms(&self) -> Vec<(EndpointRef, Time)> {
        std::mem::take(&mut self.alarms.lock().unwrap())
    }
}

impl Queues for Notes {
    fn reserve(&self, endpoint: EndpointRef, bytes: usize) -> Option<Place> {
        self.room.reserve(endpoint, bytes)
    }
    fn dispatch(&self, owned: Vec<Owned>) {
        self.dispatched.lock().unwrap().extend(owned);
    }
    fn wake(&self, endpoints: Vec<EndpointRef>) {
        self.woken.lock().unwrap().extend(endpoints);
    }
    fn wake_at(&self, endpoint: EndpointRef, due: Time) {
        self.alarms.lock().unwrap().push((endpoint, due));
    }
    fn settled(&self, done: Vec<(EndpointRef, Place)>) {
        self.written.lock().unwrap().extend(done.iter().map(|(endpoint, _)| *endpoint));
        self.settled.add_permits(done.len());
    }
}
