//! A group commit that fails as it is told to, before or after the real one did its work, and queues that note what they are
//! told. Refuses to know what is written.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use postcall::model::Time;
use postcall::store::ingest::prepared::PreparedEvent;
use postcall::store::{
    Answer, Committed, EndpointRef, Group, Ingest, Owned, Parsed, Place, Queues, StoreError,
};
use tokio::sync::Semaphore;

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

/// Group commits with faults.
pub struct Troubled {
    store: Arc<dyn Ingest>,
    faults: Mutex<VecDeque<Fault>>,
    gate: Semaphore,
    groups: Mutex<Vec<usize>>,
}

impl Troubled {
    /// Fails the next commits like this, one after the other.
    pub fn over(store: Arc<dyn Ingest>, faults: impl IntoIterator<Item = Fault>) -> Arc<Self> {
        let faults = Mutex::new(faults.into_iter().collect());
        Arc::new(Self { store, faults, gate: Semaphore::new(0), groups: Mutex::default() })
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
    group.incoming.iter().any(|incoming| match &incoming.parsed {
        Parsed::Events(all) => {
            all.iter().any(|told| matches!(told, PreparedEvent::Call(told) if *told.call_id() == *name))
        }
        Parsed::Test(_) | Parsed::Unreadable(_) => false,
    })
}

fn holds_culprit(group: &Group) -> bool {
    let in_bodies = tells_of(group, CULPRIT);
    let answered = |answer: &Option<String>| answer.as_deref() == Some(CULPRIT);
    in_bodies || group.settlements.iter().any(|settlement| answered(&settlement.attempt.response_body))
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
