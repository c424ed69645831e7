//! A store of postcall's in this very process, used through its public trait as the group writer uses it: groups of
//! incoming events with the settlements of the group before, on a real directory, every commit on disk.
//! Refuses to know which store it is beyond opening it.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use bytes::{Buf, Bytes};
use postcall::clock::{Clock, System};
use postcall::dialect;
use postcall::dialect::Reading;
use postcall::ledger::{Decision, Next};
use postcall::model::endpoint::{Delivering, EndpointState, Scope, Shape};
use postcall::model::secret::Credential;
use postcall::model::{AccountKey, Attempt, DialectName, Endpoint, Secret, Source, Text, Time};
use postcall::store::postgres::{self, PostgresStore};
use postcall::store::sqlite::{self, SqliteStore};
use postcall::store::{
    AccountMemory, Committed, DeliveryMemory, EndpointRef, Group, Incoming, Maintenance, Owned, Parsed,
    Place, Progress, Queues, Settlement, Store,
};
use tokio::task::JoinHandle;

use crate::bodies::Bodies;
use crate::postcall::Data;

/// Events in a group: about what a full load makes of it.
pub const GROUP: usize = 128;

/// Queues with a place for everything, or for nothing.
struct Room {
    has_places: bool,
    taken: Arc<AtomicUsize>,
    memory: Arc<AccountMemory>,
}

impl Room {
    fn place(&self) -> Option<Place> {
        Place::take((&self.taken, usize::MAX), &self.memory, 0)
    }
}

impl Queues for Room {
    fn reserve(&self, _: EndpointRef, _: usize) -> Option<Place> {
        if self.has_places { self.place() } else { None }
    }
    fn dispatch(&self, _: Vec<Owned>) {}
    fn wake(&self, _: Vec<EndpointRef>) {}
    fn wake_at(&self, _: EndpointRef, _: Time) {}
    fn settled(&self, _: Vec<(EndpointRef, Place)>) {}
}

/// An open store with one source and one endpoint of one campaign.
pub struct Embedded {
    store: Arc<dyn Store>,
    source: i64,
    endpoint: EndpointRef,
    chores: JoinHandle<()>,
}

/// A node's lease, as in postcall.
const LEASE: Duration = Duration::from_secs(60);
/// How long chores rest when there are none, as in postcall.
const CHORE_PAUSE: Duration = Duration::from_secs(1);

/// What postcall does beside the doors goes on here, too.
async fn chores(store: Arc<dyn Maintenance>) {
    loop {
        match store.maintain(now()).await {
            Ok(Progress { more: true, .. }) => tokio::task::yield_now().await,
            _ => tokio::time::sleep(CHORE_PAUSE).await,
        }
    }
}

fn now() -> Time {
    System.now()
}

fn text<E: std::fmt::Display>(error: E) -> String {
    error.to_string()
}

impl Embedded {
    /// Opens the store that holds the data, and makes a source and an endpoint for a campaign in it.
    pub async fn open(data: &Data, campaign: &str) -> Result<Self, String> {
        let store: Arc<dyn Store> = match data.database() {
            None => Arc::new(SqliteStore::open(&data.path(), now(), sqlite::Options::default())?),
            Some(database) => Arc::new(PostgresStore::open(
                &database.url(),
                &data.path(),
                postgres::Options {
                    quarantine_quota: sqlite::Options::default().quarantine_quota,
                    lease: LEASE,
                    name: "bench".to_owned(),
                    roots: None,
                },
            )?),
        };
        let account = AccountKey::DEFAULT;
        let credential = || Credential::of_secret(Secret::new(crate::bodies::SECRET));
        let source = Source {
            account,
            number: 0,
            id: String::new(),
            name: "bench".to_owned(),
            dialect: DialectName::Voicegenie,
            credential: credential(),
            url_token: None,
            lost_after: None,
            created_at: now(),
        };
        let endpoint = Endpoint {
            account,
            number: 0,
            id: String::new(),
            revision: 0,
            url: "https://crm.example/hook".to_owned(),
            dialect: DialectName::Voicegenie,
            shape: Shape::default(),
            events: None,
            scope: Scope { campaign_id: Some(Text::from(campaign)), ..Scope::default() },
            completed_only: false,
            ordered: true,
            headers: Vec::new(),
            plain_headers: <_>::default(),
            delivering: Delivering::default(),
            credential: credential(),
            state: EndpointState::Active,
            of_batch: false,
            created_at: now(),
        };
        let source = store.put_source(source, None).await.map_err(text)?.ok_or("no account")?.number;
        let number = store.put_endpoint(endpoint, None).await.map_err(text)?.ok_or("no account")?.number;
        let chores = tokio::spawn(chores(store.clone()));
        Ok(Self { store, source, endpoint: EndpointRef { account, number }, chores })
    }

    /// A group's worth of events, read as the door reads them.
    pub fn incoming(&self, bodies: &Bodies, count: usize) -> Result<Vec<Incoming>, String> {
        let dialect = dialect::get(DialectName::Voicegenie);
        let one = |_| {
            let mut body = bodies.next().body;
            let raw = body.copy_to_bytes(body.remaining());
            let Reading::Events(heard) = dialect.read(&raw) else {
                return Err("a body of the benchmark cannot be read".to_owned());
            };
            Ok(Incoming {
                account: self.endpoint.account,
                source: self.source,
                received_at: now(),
                raw,
                content_type: Some("application/json".to_owned()),
                parsed: Parsed::events(heard),
            })
        };
        (0..count).map(one).collect()
    }

    /// Commits a group. With `places` its deliveries are born owned; without, they wait to be claimed.
    pub async fn commit(
        &self,
        incoming: Vec<Incoming>,
        settlements: Vec<Settlement>,
        places: bool,
    ) -> Result<Committed, String> {
        let room = Arc::new(Room {
            has_places: places,
            taken: Arc::default(),
            memory: DeliveryMemory::new(usize::MAX).part(),
        });
        let group = Arc::new(Group { now: now(), incoming, settlements });
        self.store.commit(group, room).await.map_err(text)
    }

    /// Claims what is due, so many at most.
    pub async fn claim(&self, count: usize) -> Result<Vec<Owned>, String> {
        let room =
            Room { has_places: true, taken: Arc::default(), memory: DeliveryMemory::new(usize::MAX).part() };
        let places = (0..count).filter_map(|_| room.place()).collect();
        Ok(self.store.claim(self.endpoint, now(), places).await.map_err(text)?.owned)
    }

    /// Finishes and closes it.
    pub async fn close(self) -> Result<(), String> {
        self.chores.abort();
        self.store.close().await.map_err(text)
    }
}

/// That a delivery was delivered.
pub fn delivered(owned: &Owned) -> Settlement {
    Settlement {
        endpoint: owned.endpoint,
        delivery: owned.delivery,
        ordered_call: owned.ordered_call,
        event: owned.event.position,
        revision: owned.revision,
        attempt: Attempt {
            number: owned.attempt,
            at: now(),
            latency_ms: 1.5,
            status: Some(200),
            error: None,
            response_body: None,
            slow: false,
        },
        decision: Decision { next: Next::Delivered, disable_endpoint: false },
        body: Bytes::new(),
    }
}
