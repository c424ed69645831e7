//! A whole store that knows of no change to an account until it is told to catch up, and that fails to keep answers, as a
//! test of the API sets it. Does not depend on what is kept.

use std::collections::BTreeMap;
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
use postcall::store::{
    AccountConfig, AccountConfigs, Analytics, Answer, ApiKeys, Batches, CallFilter, CallView, Calls, Claimed,
    Claims, Committed, ConfigChanges, Deliveries, DeliveryFilter, DeliveryView, EndpointRef, Erasures, Feed,
    Group, Idempotency, Idempotent, Ingest, KeyUse, Maintenance, ManualOutcome, NewKey, Page, Place,
    Progress, Quarantine, Quarantined, Queues, Replays, Revoked, Store, StoreError, Sum, Transfer,
};
use tokio::sync::watch;

/// A store in which that can be set.
pub struct ApiStore {
    store: Arc<dyn Store>,
    /// So many kept answers are not written before one is.
    unfinished: Mutex<usize>,
    /// What this node remembers of the configuration while others go on changing it.
    remembered: Mutex<Option<Arc<AccountConfig>>>,
}

impl ApiStore {
    pub fn over(store: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self { store, unfinished: Mutex::default(), remembered: Mutex::default() })
    }

    /// Knows of no change to an account from now on, until it is told to catch up.
    pub fn fall_behind(&self, account: AccountKey) {
        *self.remembered.lock().unwrap() = self.store.config(account);
    }

    /// Writes none of the next answers that are to be kept.
    pub fn keep_no_answer(&self, times: usize) {
        *self.unfinished.lock().unwrap() = times;
    }
}

/// Methods that the real store answers.
macro_rules! pass_on {
    ($(fn $name:ident($($argument:ident: $kind:ty),*) -> $answer:ty;)+) => {
        $(fn $name(&self, $($argument: $kind),*) -> $answer {
            self.store.$name($($argument),*)
        })+
    };
}

impl Ingest for ApiStore {
    fn commit<'a>(&'a self, group: Arc<Group>, queues: Arc<dyn Queues>) -> Answer<'a, Committed> {
        self.store.commit(group, queues)
    }
}

impl Claims for ApiStore {
    pass_on! {
        fn claim(endpoint: EndpointRef, now: Time, places: Vec<Place>) -> Answer<'_, Claimed>;
        fn release(account: AccountKey, deliveries: Vec<i64>) -> Answer<'_, ()>;
        fn next_due(endpoint: EndpointRef) -> Answer<'_, Option<Time>>;
    }
}

impl AccountConfigs for ApiStore {
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

impl ConfigChanges for ApiStore {
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

impl ApiKeys for ApiStore {
    pass_on! {
        fn create_key(key: NewKey) -> Answer<'_, ApiKey>;
        fn find_key(hash: [u8; 32]) -> Answer<'_, Option<ApiKey>>;
        fn note_key_uses(uses: Vec<KeyUse>) -> Answer<'_, ()>;
        fn keys(account: AccountKey) -> Answer<'_, Vec<ApiKey>>;
        fn revoke_key(account: AccountKey, number: i64, now: Time) -> Answer<'_, Revoked>;
    }
}

impl Calls for ApiStore {
    pass_on! {
        fn call(account: AccountKey, number: i64) -> Answer<'_, Option<CallView>>;
        fn calls(account: AccountKey, filter: CallFilter, page: Page) -> Answer<'_, Vec<CallView>>;
    }
}

impl Feed for ApiStore {
    pass_on! {
        fn events(account: AccountKey, page: Page) -> Answer<'_, Option<FeedPage>>;
        fn follow(account: AccountKey) -> Answer<'_, watch::Receiver<i64>>;
    }
}

impl Deliveries for ApiStore {
    pass_on! {
        fn deliveries(account: AccountKey, filter: DeliveryFilter, page: Page) -> Answer<'_, Vec<DeliveryView>>;
        fn delivery(account: AccountKey, number: i64) -> Answer<'_, Option<DeliveryView>>;
        fn sums(account: AccountKey, recount: bool) -> Answer<'_, Vec<Sum>>;
        fn retry(account: AccountKey, delivery: i64, now: Time) -> Answer<'_, ManualOutcome>;
        fn cancel(account: AccountKey, delivery: i64, now: Time) -> Answer<'_, ManualOutcome>;
    }
}

impl Quarantine for ApiStore {
    pass_on! {
        fn quarantine(account: AccountKey, page: Page) -> Answer<'_, Vec<Quarantined>>;
        fn quarantined(account: AccountKey, number: i64) -> Answer<'_, Option<Quarantined>>;
        fn quarantine_size(account: AccountKey) -> Answer<'_, i64>;
        fn discard(account: AccountKey, number: i64) -> Answer<'_, bool>;
    }
}

impl Replays for ApiStore {
    pass_on! {
        fn create_replay(account: AccountKey, order: ReplayOrder, now: Time) -> Answer<'_, Option<Replay>>;
        fn replay(account: AccountKey, number: i64) -> Answer<'_, Option<Replay>>;
        fn replays(account: AccountKey, page: Page) -> Answer<'_, Vec<Replay>>;
        fn cancel_replay(account: AccountKey, number: i64, now: Time) -> Answer<'_, bool>;
    }
}

impl Batches for ApiStore {
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

impl Analytics for ApiStore {
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

impl Idempotency for ApiStore {
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

impl Erasures for ApiStore {
    pass_on! {
        fn erase(account: AccountKey, person: Mention, now: Time) -> Answer<'_, Erasure>;
        fn erasure(account: AccountKey, number: i64) -> Answer<'_, Option<Erasure>>;
        fn erasures(account: AccountKey, page: Page) -> Answer<'_, Vec<Erasure>>;
    }
}

impl Transfer for ApiStore {
    pass_on! {
        fn export(account: AccountKey, secrets: Secrets, cursor: Option<Cursor>) -> Answer<'_, Exported>;
        fn import(account: AccountKey, import: Import) -> Answer<'_, Imported>;
    }
}

impl Maintenance for ApiStore {
    pass_on! {
        fn maintain(now: Time) -> Answer<'_, Progress>;
        fn ready() -> Answer<'_, ()>;
        fn close() -> Answer<'_, ()>;
    }
}
