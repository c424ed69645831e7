//! The store: the trait that every database implements, and what goes in and out of it.
//! Each method is one whole transaction, named for its use and batch-first on the hot path; no transaction type
//! leaks out and time is an argument. Refuses to know HTTP.

mod account_turns;
mod api_keys;
pub mod batches;
pub mod books;
pub mod condition;
pub mod erasure;
pub mod export;
pub mod feed;
pub mod gate;
pub mod group;
mod group_size;
mod inbox;
pub mod link;
pub mod moving;
pub mod news;
pub mod outage;
pub mod packed;
mod place;
pub mod postgres;
pub mod private_files;
mod progress;
mod rooms;
mod shares;
mod sql;
pub mod sqlite;
pub mod told;
pub mod vault;
mod weight;

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};

pub use self::api_keys::{KeyUse, NewKey, Revoked};
use self::condition::Trouble;
use self::erasure::Erasure;
use self::export::{Cursor, Exported, Import, Imported, Secrets};
use self::feed::FeedPage;
pub use self::news::News;
pub use self::place::{AccountMemory, DeliveryMemory, Place, SharedBody};
pub use self::progress::{JobStep, Progress};
use self::told::Told;
use crate::dialect::ReceiptKind;
use crate::model::account::{Account, Limited, Limits};
use crate::model::endpoint::Shape;
use crate::model::event::Heard;
use crate::model::replay::{Replay, ReplayOrder};
use crate::model::{
    AccountKey, ApiKey, Attempt, Call, DeliveryState, DialectName, Endpoint, Event, EventType, Mention,
    Outcome, Source, Text, Time,
};

/// What every method gives back: boxed, because the store is used as `Arc<dyn Store>`.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// Why a transaction did not happen. Two texts: these are for the operator; callers see a 503 or a problem document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The data itself cannot be stored; the same group without the culprit can.
    #[error("data that cannot be stored: {0}")]
    Data(String),
    /// The database is away, locked or in trouble; nothing was written.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// There is no room for it on the disk, and nothing was written. It goes on by itself when there is.
    #[error("the disk is full: {0}")]
    Full(String),
    /// The database's own pages or tables are not what they were, as a broken disk or a foreign hand leaves them. Nothing
    /// was written.
    #[error("the database is damaged, restore a backup: {0}")]
    Damaged(String),
    /// Another transaction stood in the way, and nothing was written; the same once more finds its way.
    #[error("another transaction stood in the way: {0}")]
    Conflict(String),
    /// Nobody knows whether it was committed. The caller gets 503, nothing is dispatched, dedupe meets the retry.
    #[error("the outcome of a commit is unknown: {0}")]
    Unknown(String),
    /// This node's lease lapsed: nothing was written, and what it owned is no longer its own. Not to be tried again.
    #[error("the lease of this node is over: {0}")]
    Lapsed(String),
    /// The configuration is not the one any more that a change was made from; nothing was written. To be made again from
    /// what is there now.
    #[error("the configuration of the account was changed meanwhile")]
    Stale,
    /// The account has as many of a kind as it may have.
    #[error("the account has {1} {name} and may have no more", name = .0.name())]
    LimitReached(Limited, u32),
}

/// An endpoint of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointRef {
    /// The account.
    pub account: AccountKey,
    /// The endpoint's number in it.
    pub number: i64,
}

/// The memory queues, as far as the store needs them: delivery implements it, the store calls it.
pub trait Queues: Send + Sync {
    /// A place for a fresh delivery with a snapshot of so many bytes, or none: then it is born unowned and claimed
    /// later. Called inside the transaction.
    fn reserve(&self, endpoint: EndpointRef, bytes: usize) -> Option<Place>;
    /// Deliveries that this node owns, after the commit that made them so.
    fn dispatch(&self, owned: Vec<Owned>);
    /// Endpoints that have unowned deliveries due at once, after the commit.
    fn wake(&self, endpoints: Vec<EndpointRef>);
    /// An unowned delivery of this endpoint falls due then.
    fn wake_at(&self, endpoint: EndpointRef, due: Time);
    /// Deliveries that were dispatched and whose attempts are on disk, with the places that they gave back.
    fn settled(&self, done: Vec<(EndpointRef, Place)>);
    /// Deliveries that shall not be attempted, wherever in memory they are; what is on the wire already is.
    fn call_off(&self, _: &[(EndpointRef, i64)]) {}
}

/// A delivery that this node owns and has to attempt.
#[derive(Debug)]
pub struct Owned {
    /// The endpoint.
    pub endpoint: EndpointRef,
    /// The delivery's number in its account.
    pub delivery: i64,
    /// The call whose order it keeps; `None` when it keeps none.
    pub ordered_call: Option<i64>,
    /// The number of the attempt that comes next.
    pub attempt: u32,
    /// What is said.
    pub event: Arc<Event>,
    /// In which dialect, pinned.
    pub dialect: DialectName,
    /// In which shape, pinned.
    pub shape: Shape,
    /// The revision of dialect and shape.
    pub revision: i64,
    /// The number of the call in the books, for links.
    pub call: Option<i64>,
    /// The bytes to send.
    pub body: Body,
    /// The place in the queue; given back when this is dropped.
    pub place: Place,
}

/// The bytes that a delivery sends: those of its first attempt, or yet to be made. Deliveries of one event in one dialect
/// and shape share them, so they are made once however many endpoints are told.
#[derive(Clone, Debug, Default)]
pub struct Body(Arc<OnceLock<Bytes>>);

impl Body {
    /// As they were first sent.
    pub fn sent(bytes: Bytes) -> Self {
        Self(Arc::new(OnceLock::from(bytes)))
    }

    /// The bytes, unless nobody has made them yet.
    pub fn get(&self) -> Option<Bytes> {
        self.0.get().cloned()
    }

    /// The bytes, made now unless they are there.
    pub fn get_or_make(&self, make: impl FnOnce() -> Bytes) -> Bytes {
        self.0.get_or_init(make).clone()
    }
}

/// Something that came through a door and has to be kept.
#[derive(Clone, Debug)]
pub struct Incoming {
    /// Whose door.
    pub account: AccountKey,
    /// The source's number.
    pub source: i64,
    /// When it came.
    pub received_at: Time,
    /// The body as it came.
    pub raw: Bytes,
    /// Its `Content-Type`, for quarantine.
    pub content_type: Option<String>,
    /// What the dialect made of it.
    pub what: What,
}

/// What the dialect made of a body.
#[derive(Clone, Debug)]
pub enum What {
    /// Events.
    Heard(Vec<Told>),
    /// A test: recorded and shown, nothing else.
    Test(Box<crate::model::event::HeardCall>),
    /// Nothing that could be read, and why.
    Unreadable(String),
}

impl What {
    /// What was heard, made ready for the transaction.
    pub fn heard(all: impl IntoIterator<Item = Heard>) -> Self {
        Self::Heard(all.into_iter().map(Told::from).collect())
    }
}

/// What became of one [`Incoming`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// Kept, duplicate or quarantined; with the number of deliveries planned.
    Done {
        /// Which of them.
        kind: ReceiptKind,
        /// Deliveries planned.
        planned: usize,
        /// What changed in the books beside calls and deliveries.
        booked: Booked,
    },
    /// The source's quarantine is full; answered 507, never a false 200.
    QuotaExceeded,
}

/// What a body changed in the books beside calls and deliveries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Booked {
    /// The numbers of the account.
    pub analytics: bool,
    /// Those of a campaign.
    pub campaign: bool,
}

/// The result of an attempt, to be written.
#[derive(Clone, Debug)]
pub struct Settlement {
    /// The endpoint.
    pub endpoint: EndpointRef,
    /// The delivery.
    pub delivery: i64,
    /// The call whose order it kept.
    pub ordered_call: Option<i64>,
    /// The event.
    pub event: i64,
    /// The revision it was encoded with.
    pub revision: i64,
    /// The attempt.
    pub attempt: Attempt,
    /// What follows from it.
    pub decision: crate::ledger::Decision,
    /// The body that was sent, to be kept when it is tried again.
    pub body: Bytes,
}

/// One group commit.
#[derive(Clone, Debug)]
pub struct Group {
    /// When.
    pub now: Time,
    /// What came through the doors.
    pub incoming: Vec<Incoming>,
    /// What attempts came to.
    pub settlements: Vec<Settlement>,
}

/// What a group commit did.
#[derive(Debug, Default)]
pub struct Committed {
    /// One for each incoming, in order.
    pub recorded: Vec<Recorded>,
    /// Deliveries to attempt now.
    pub owned: Vec<Owned>,
    /// Endpoints with unowned deliveries that are due.
    pub wake: Vec<EndpointRef>,
    /// Endpoints with deliveries due later.
    pub wake_at: Vec<(EndpointRef, Time)>,
    /// Endpoints that this group disabled.
    pub disabled: Vec<EndpointRef>,
    /// How long the commit waited for the disk.
    pub waited: Duration,
    /// Deliveries that were in memory and shall not be attempted.
    pub called_off: Vec<(EndpointRef, i64)>,
    /// Feeds that moved on, with their last positions.
    pub feeds: Vec<(AccountKey, i64)>,
    /// As in [`Progress`].
    pub has_leisure: bool,
}

/// What a claim came to.
#[derive(Debug)]
pub struct Claimed {
    /// The deliveries, oldest first.
    pub owned: Vec<Owned>,
    /// Whether more may be due: the claim ended for lack of places, or because the bodies were large.
    pub more: bool,
}

/// An account with all that is configured in it: sources and endpoints, secrets opened. A snapshot.
#[derive(Debug)]
pub struct AccountConfig {
    /// The account.
    pub account: Account,
    /// Which one of the account's configurations, counted on with each change.
    pub revision: i64,
    /// Its sources, by number.
    pub sources: Vec<Arc<Source>>,
    /// Its endpoints, by number.
    pub endpoints: Vec<Arc<Endpoint>>,
}

impl AccountConfig {
    /// The source of that number.
    pub fn source(&self, number: i64) -> Option<&Arc<Source>> {
        let at = self.sources.binary_search_by_key(&number, |source| source.number).ok()?;
        self.sources.get(at)
    }

    /// The endpoint of that number.
    pub fn endpoint(&self, number: i64) -> Option<&Arc<Endpoint>> {
        let at = self.endpoints.binary_search_by_key(&number, |endpoint| endpoint.number).ok()?;
        self.endpoints.get(at)
    }
}

/// A page of a list: what comes after `after`, at most `limit`.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// The number of the last record that was seen.
    pub after: Option<i64>,
    /// How many.
    pub limit: usize,
}

/// Which calls to list, newest first.
#[derive(Clone, Debug, Default)]
pub struct CallFilter {
    /// By the vendor's id.
    pub call_id: Option<Text>,
    /// Of this source; with `call_id` only, as sources have no lists of their calls.
    pub source: Option<i64>,
    /// By outcome.
    pub outcome: Option<Outcome>,
}

/// A call in the books, as it is shown.
#[derive(Clone, Debug)]
pub struct CallView {
    /// Its number.
    pub number: i64,
    /// Its source.
    pub source: i64,
    /// When something was last heard of it.
    pub updated_at: Time,
    /// The record.
    pub call: Call,
}

/// Which deliveries to list, newest first.
#[derive(Clone, Debug, Default)]
pub struct DeliveryFilter {
    /// Of one endpoint.
    pub endpoint: Option<i64>,
    /// Of one call, by its number.
    pub call: Option<i64>,
    /// Of one event.
    pub event: Option<i64>,
    /// In one state.
    pub state: Option<DeliveryState>,
}

/// A delivery, as it is shown.
#[derive(Clone, Debug)]
pub struct DeliveryView {
    /// Its number.
    pub number: i64,
    /// Its endpoint.
    pub endpoint: i64,
    /// Its event.
    pub event: i64,
    /// The type of the event.
    pub kind: EventType,
    /// The vendor's id of the call, if it is about one.
    pub call_id: Option<Text>,
    /// The replay that planned it, if one did.
    pub replay: Option<i64>,
    /// Its state.
    pub state: DeliveryState,
    /// When it is tried next, while pending. `None` while an earlier one of the same call goes first, or while an
    /// attempt is under way.
    pub next_attempt_at: Option<Time>,
    /// Every attempt.
    pub attempts: Vec<Attempt>,
}

/// The sum of an endpoint: `owed = delivered + pending + dead + cancelled`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// The endpoint's number; deleted ones stay.
    pub endpoint: i64,
    /// All deliveries ever planned.
    pub owed: i64,
    /// Of them proven delivered.
    pub delivered: i64,
    /// Still to be tried.
    pub pending: i64,
    /// Given up by policy.
    pub dead: i64,
    /// Called off.
    pub cancelled: i64,
}

impl Sum {
    /// The part of it that is in a state.
    pub fn of(&self, state: DeliveryState) -> i64 {
        match state {
            DeliveryState::Pending => self.pending,
            DeliveryState::Delivered => self.delivered,
            DeliveryState::Dead => self.dead,
            DeliveryState::Cancelled => self.cancelled,
        }
    }

    /// The same, to be changed.
    pub fn of_mut(&mut self, state: DeliveryState) -> &mut i64 {
        match state {
            DeliveryState::Pending => &mut self.pending,
            DeliveryState::Delivered => &mut self.delivered,
            DeliveryState::Dead => &mut self.dead,
            DeliveryState::Cancelled => &mut self.cancelled,
        }
    }
}

/// A body in quarantine.
#[derive(Clone, Debug)]
pub struct Quarantined {
    /// Its number.
    pub number: i64,
    /// The source that it came through.
    pub source: i64,
    /// When.
    pub received_at: Time,
    /// Why it could not be read.
    pub reason: String,
    /// Its content type.
    pub content_type: Option<String>,
    /// The body, byte for byte.
    pub body: Bytes,
}

/// What a manual change to a delivery came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turned {
    /// Done.
    Done,
    /// No such delivery.
    Missing,
    /// It is not in a state for that.
    WrongState(DeliveryState),
}

/// The beginning of a request with an `Idempotency-Key`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Idempotent {
    /// Nobody used the key before: go on, and call [`Store::finish_idempotent`].
    Fresh,
    /// The same request was answered before: this is the answer.
    Answered {
        /// Its status.
        status: u16,
        /// Its body.
        body: Vec<u8>,
    },
    /// The same request is under way.
    InProgress,
    /// The key was used for another request.
    Mismatch,
}

/// All that postcall keeps. One suite of tests runs over every implementation (`tests/it/store`).
pub trait Store: batches::Batches + books::Books + Send + Sync {
    // Configuration, cached: always current on a single node, and after [`Self::catch_up`].

    /// The configuration of an account.
    fn config(&self, account: AccountKey) -> Option<Arc<AccountConfig>>;
    /// The account of a tag, as ids carry it.
    fn config_by_tag(&self, tag: crate::model::id::Tag) -> Option<Arc<AccountConfig>>;
    /// Every account.
    fn accounts(&self) -> Vec<Arc<AccountConfig>>;
    /// The key that signs links and cursors of this store.
    fn link_key(&self) -> &ring::hmac::Key;

    // The hot path.

    /// Records what came in and settles what was attempted, in one transaction on disk when it returns. Places
    /// in queues are reserved through `queues`. Settling the same attempt again changes nothing.
    fn commit<'a>(&'a self, group: Arc<Group>, queues: Arc<dyn Queues>) -> Answer<'a, Committed>;
    /// Takes ownership of deliveries of one endpoint that are due, oldest first; one for each place at most.
    fn claim(&self, endpoint: EndpointRef, now: Time, places: Vec<Place>) -> Answer<'_, Claimed>;
    /// Gives up ownership of deliveries that will not be attempted now. Those that this node does not own stay as they
    /// are.
    fn release(&self, account: AccountKey, deliveries: Vec<i64>) -> Answer<'_, ()>;
    /// When the endpoint's next unowned delivery falls due.
    fn next_due(&self, endpoint: EndpointRef) -> Answer<'_, Option<Time>>;

    // Configuration. What is set over what was read names the revision of the account's configuration that it was made from
    // ([`AccountConfig::revision`]): written is what nobody, on any node, came before; else it is [`StoreError::Stale`].

    /// Makes an account.
    fn create_account(&self, name: String, now: Time) -> Answer<'_, Option<Account>>;
    /// Sets for how long an account keeps what is recorded, from its recording on; `None` is for ever. Older events go
    /// with their deliveries in steps of [`Self::chore`]. Gives the account, or `None` if there is none.
    fn set_retention(
        &self,
        account: AccountKey,
        retention: Option<Duration>,
        now: Time,
    ) -> Answer<'_, Option<Account>>;
    /// The same for what was said in calls, where that may go earlier than the rest; records keep everything else.
    fn set_transcript_retention(
        &self,
        account: AccountKey,
        retention: Option<Duration>,
        now: Time,
    ) -> Answer<'_, Option<Account>>;
    /// Sets how much an account may have. Gives the account, or `None` if there is none.
    fn set_limits(
        &self,
        account: AccountKey,
        limits: Limits,
        made_from: Option<i64>,
    ) -> Answer<'_, Option<Account>>;
    /// Sets for how long a repeat is known as one after the record that it belongs to was removed; zero is not at all.
    /// Counts from the removal, also of what was removed before. Gives the account, or `None` if there is none.
    fn set_repeat_memory(
        &self,
        account: AccountKey,
        length: Duration,
        now: Time,
    ) -> Answer<'_, Option<Account>>;
    /// Makes a key from its hash.
    fn create_key(&self, key: NewKey) -> Answer<'_, ApiKey>;
    /// The key of a hash, unless revoked. Whether its time is over is for the caller to judge.
    fn find_key(&self, hash: [u8; 32]) -> Answer<'_, Option<ApiKey>>;
    /// Writes down when keys were last used. A later time that is on record stays.
    fn note_key_uses(&self, uses: Vec<KeyUse>) -> Answer<'_, ()>;
    /// The account's keys that are not revoked, expired ones among them.
    fn keys(&self, account: AccountKey) -> Answer<'_, Vec<ApiKey>>;
    /// Revokes a key, unless it is the last one that opens everything.
    fn revoke_key(&self, account: AccountKey, number: i64, now: Time) -> Answer<'_, Revoked>;
    /// Makes a source (number 0) or changes one. Gives it back with number and id.
    fn put_source(&self, source: Source, made_from: Option<i64>) -> Answer<'_, Option<Arc<Source>>>;
    /// Deletes a source; false if there is none.
    fn delete_source(&self, account: AccountKey, number: i64, now: Time) -> Answer<'_, bool>;
    /// Makes an endpoint (number 0) or changes one, all but whether it is disabled. A change of dialect or shape makes
    /// a new revision.
    fn put_endpoint(&self, endpoint: Endpoint, made_from: Option<i64>) -> Answer<'_, Option<Arc<Endpoint>>>;
    /// Stops sending to an endpoint and records `endpoint.disabled`; what it is owed stays pending. One that is disabled
    /// keeps its reason. Gives the endpoints that have something due by that, or `None` if there is no such endpoint.
    fn disable_endpoint(
        &self,
        endpoint: EndpointRef,
        reason: String,
        now: Time,
    ) -> Answer<'_, Option<Vec<EndpointRef>>>;
    /// Sends to an endpoint again; false if there is none.
    fn enable_endpoint(&self, endpoint: EndpointRef) -> Answer<'_, bool>;
    /// Deletes an endpoint: what it is owed becomes cancelled, in steps; false if there is none.
    fn delete_endpoint(&self, account: AccountKey, number: i64, now: Time) -> Answer<'_, bool>;

    // Reading.

    /// A call by number.
    fn call(&self, account: AccountKey, number: i64) -> Answer<'_, Option<CallView>>;
    /// Calls, newest first.
    fn calls(&self, account: AccountKey, filter: CallFilter, page: Page) -> Answer<'_, Vec<CallView>>;
    /// The feed, oldest first, from after a position; `None` when something that came after it is gone by its age.
    fn events(&self, account: AccountKey, page: Page) -> Answer<'_, Option<FeedPage>>;
    /// The feed's last position now, and a signal whenever a commit moved it on.
    fn follow(&self, account: AccountKey) -> Answer<'_, watch::Receiver<i64>>;
    /// Deliveries, newest first.
    fn deliveries(
        &self,
        account: AccountKey,
        filter: DeliveryFilter,
        page: Page,
    ) -> Answer<'_, Vec<DeliveryView>>;
    /// A delivery by number.
    fn delivery(&self, account: AccountKey, number: i64) -> Answer<'_, Option<DeliveryView>>;
    /// The sums of every endpoint that ever was; counted anew from the rows when `recount`.
    fn sums(&self, account: AccountKey, recount: bool) -> Answer<'_, Vec<Sum>>;
    /// Quarantined bodies, newest first.
    fn quarantine(&self, account: AccountKey, page: Page) -> Answer<'_, Vec<Quarantined>>;
    /// One quarantined body.
    fn quarantined(&self, account: AccountKey, number: i64) -> Answer<'_, Option<Quarantined>>;
    /// How many bodies are in quarantine.
    fn quarantine_size(&self, account: AccountKey) -> Answer<'_, i64>;

    // By hand.

    /// Puts a dead or pending delivery up for an attempt now, out of its call's order; one under way is left alone. A
    /// dead one of a deleted endpoint is not in a state for that. The caller wakes the endpoint.
    fn retry(&self, account: AccountKey, delivery: i64, now: Time) -> Answer<'_, Turned>;
    /// Calls a pending delivery off. The caller wakes the endpoint: the next one of the call may go.
    fn cancel(&self, account: AccountKey, delivery: i64, now: Time) -> Answer<'_, Turned>;
    /// Begins a replay; [`Self::chore`] goes on with it. `None` when the account has as many running as it may.
    fn create_replay(&self, account: AccountKey, order: ReplayOrder, now: Time)
    -> Answer<'_, Option<Replay>>;
    /// A replay by number.
    fn replay(&self, account: AccountKey, number: i64) -> Answer<'_, Option<Replay>>;
    /// Replays, newest first.
    fn replays(&self, account: AccountKey, page: Page) -> Answer<'_, Vec<Replay>>;
    /// Calls a replay off, with what it planned and is still open; false if it is over or not there.
    fn cancel_replay(&self, account: AccountKey, number: i64, now: Time) -> Answer<'_, bool>;
    /// Takes a body out of quarantine; false if it is not there.
    fn discard(&self, account: AccountKey, number: i64) -> Answer<'_, bool>;
    /// Begins a request with an `Idempotency-Key`; the fingerprint is of the whole request.
    fn begin_idempotent(
        &self,
        account: AccountKey,
        key: Vec<u8>,
        fingerprint: [u8; 32],
        now: Time,
    ) -> Answer<'_, Idempotent>;
    /// Keeps the answer of such a request, or forgets the key when there is none to keep.
    fn finish_idempotent(
        &self,
        account: AccountKey,
        key: Vec<u8>,
        answer: Option<(u16, Vec<u8>)>,
    ) -> Answer<'_, ()>;

    /// Begins to erase a person from an account, in steps of [`Self::chore`].
    fn erase(&self, account: AccountKey, person: Mention, now: Time) -> Answer<'_, Erasure>;
    /// An erasure by number.
    fn erasure(&self, account: AccountKey, number: i64) -> Answer<'_, Option<Erasure>>;
    /// Erasures, newest first.
    fn erasures(&self, account: AccountKey, page: Page) -> Answer<'_, Vec<Erasure>>;

    /// The next page of an account as lines, from its beginning without a cursor.
    fn export(&self, account: AccountKey, secrets: Secrets, cursor: Option<Cursor>) -> Answer<'_, Exported>;
    /// Takes lines of an export into an account that has recorded nothing else. Lines that are there change nothing.
    fn import(&self, account: AccountKey, import: Import) -> Answer<'_, Imported>;

    // Many nodes.

    /// What other nodes did that this one has to act on; given once. `None` on a store with a single node.
    fn news(&self) -> Option<mpsc::UnboundedReceiver<News>> {
        None
    }
    /// Brings the configuration up to what was committed through any node before this was called. Whoever asks at the same
    /// time shares one look: strangers at the doors can make it happen. Nothing to do on a single node.
    fn catch_up(&self) -> Answer<'_, ()> {
        Box::pin(std::future::ready(Ok(())))
    }
    /// Whether an attempt of at most this length may start now: on a store of many nodes, whether the lease outlasts
    /// it. An attempt of more than half a lease counts as half of one: otherwise no lease would ever be enough for it.
    fn outlasts(&self, _attempt: Duration) -> bool {
        true
    }
    /// What was in memory when the lease lapsed is no longer there. Said once for each [`News::Lapsed`]; until then no
    /// lease outlasts an attempt.
    fn queues_emptied(&self) {}

    // Upkeep.

    /// One round of maintenance: a small step of each job, as far as anything is due, and one for the database itself. A job
    /// that fails rests for its account, and all else goes on. The caller wakes the endpoints and tells what was called off.
    fn chore(&self, now: Time) -> Answer<'_, Progress>;
    /// Whether the store can be written, and nothing damaged was met in it.
    fn ready(&self) -> Answer<'_, ()>;
    /// What is known to be wrong with it as a whole.
    fn trouble(&self) -> Trouble {
        Trouble::default()
    }
    /// Finishes what is queued, checkpoints, closes.
    fn close(&self) -> Answer<'_, ()>;
}
