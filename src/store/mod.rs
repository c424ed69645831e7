//! The store: the trait that every database implements, and what goes in and out of it.
//! Each method is one whole transaction, named for its use and batch-first on the hot path; no transaction type
//! leaks out and time is an argument. Refuses to know HTTP.

mod account_config;
mod account_turns;
pub mod analytics;
mod api_keys;
pub mod batches;
mod commit;
pub mod condition;
pub mod erasure;
mod error;
pub mod export;
pub mod feed;
pub mod gate;
pub mod group;
mod group_size;
mod inbox;
pub mod link;
pub mod moving;
mod notification;
pub mod outage;
pub mod packed;
mod place;
pub mod postgres;
pub mod private_files;
mod progress;
mod queues;
mod rooms;
mod shares;
mod sql;
pub mod sqlite;
pub mod told;
pub mod vault;
mod views;
mod weight;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

pub use self::account_config::AccountConfig;
pub use self::api_keys::{KeyUse, NewKey, Revoked};
pub use self::commit::{Booked, Committed, Group, Incoming, Recorded, Settlement, What};
use self::condition::Trouble;
use self::erasure::Erasure;
pub use self::error::{Answer, StoreError};
use self::export::{Cursor, Exported, Import, Imported, Secrets};
use self::feed::FeedPage;
pub use self::notification::Notification;
pub use self::place::{AccountMemory, DeliveryMemory, Place, SharedBody};
pub use self::progress::{JobStep, Progress};
pub use self::queues::{Body, Claimed, EndpointRef, Owned, Queues};
pub use self::views::{CallFilter, CallView, DeliveryFilter, DeliveryView, Page, Quarantined, Sum};
use crate::model::account::{Account, Limits};
use crate::model::replay::{Replay, ReplayOrder};
use crate::model::{AccountKey, ApiKey, DeliveryState, Endpoint, Mention, Source, Time};

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
pub trait Store: batches::Batches + analytics::Analytics + Send + Sync {
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
    /// with their deliveries in steps of [`Self::maintain`]. Gives the account, or `None` if there is none.
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
    /// Begins a replay; [`Self::maintain`] goes on with it. `None` when the account has as many running as it may.
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

    /// Begins to erase a person from an account, in steps of [`Self::maintain`].
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
    fn notifications(&self) -> Option<mpsc::UnboundedReceiver<Notification>> {
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
    /// What was in memory when the lease lapsed is no longer there. Said once for each [`Notification::Lapsed`]; until then no
    /// lease outlasts an attempt.
    fn queues_emptied(&self) {}

    // Upkeep.

    /// One round of maintenance: a small step of each job, as far as anything is due, and one for the database itself. A job
    /// that fails rests for its account, and all else goes on. The caller wakes the endpoints and tells what was called off.
    fn maintain(&self, now: Time) -> Answer<'_, Progress>;
    /// Whether the store can be written, and nothing damaged was met in it.
    fn ready(&self) -> Answer<'_, ()>;
    /// What is known to be wrong with it as a whole.
    fn trouble(&self) -> Trouble {
        Trouble::default()
    }
    /// Finishes what is queued, checkpoints, closes.
    fn close(&self) -> Answer<'_, ()>;
}
