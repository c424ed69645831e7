//! The parts that the API works with, and what it remembers from one request to the next. Does not depend on what a request
//! asks for.

use std::sync::Arc;

use super::budget::{self, Budget};
use super::courier::Courier;
use super::decoy::Decoys;
use super::kept_answers::Allowances;
use super::key_uses::KeyUses;
use super::known_keys::Remembered;
use super::open_streams::Streams;
use super::peer::Peers;
use super::settings::Settings;
use super::tests_under_way::UnderWay;
use super::turns::{self, Turns};
use super::wrong_keys::WrongKeys;
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::store::ingest::group::GroupWriter;
use crate::store::outage::Outage;
use crate::store::{Queues, Store};

/// Batches that are read and written at once, of one account each: in memory one is larger than its body, 20 MiB for the
/// contacts alone.
const MOST_INTAKES: usize = 2;

/// The parts that the API works with. Cheap to clone.
#[derive(Clone)]
pub struct ApiState(Arc<Parts>);

/// See [`ApiState`].
pub struct Parts {
    /// Where everything is kept.
    pub store: Arc<dyn Store>,
    /// The way into the group commit.
    pub writer: GroupWriter,
    /// The memory queues, to be woken after a change.
    pub queues: Arc<dyn Queues>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The numbers.
    pub metrics: Arc<Metrics>,
    /// The wire.
    pub courier: Arc<dyn Courier>,
    /// What can be set.
    pub settings: Settings,
    /// The streams that are open.
    pub streams: Streams,
    /// What is remembered of clients by their addresses.
    pub peers: Arc<Peers>,
    /// Test sends that are under way.
    pub(super) tests: UnderWay,
    pub(super) keys: Remembered,
    /// The memory for bodies.
    pub(super) budget: Arc<Budget>,
    /// Whose batch of contacts is read and written: in memory it is larger than its body.
    pub(super) intakes: Turns,
    /// Whose import is under way.
    pub(super) imports: Turns,
    pub(super) wrong_keys: WrongKeys,
    pub(super) key_uses: Arc<KeyUses>,
    pub(super) kept_answers: Allowances,
    /// What is checked where there is no source.
    pub(super) decoys: Decoys,
    /// What the log was told of whether this node is ready.
    pub(super) readiness: Outage,
}

impl ApiState {
    /// Puts the parts together.
    pub fn new(
        store: Arc<dyn Store>,
        writer: GroupWriter,
        queues: Arc<dyn Queues>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        courier: Arc<dyn Courier>,
        settings: Settings,
    ) -> Self {
        let (streams, keys, key_uses, kept_answers, tests) = <_>::default();
        let (readiness, peers) = (Outage::default(), Arc::<Peers>::default());
        let wrong_keys = WrongKeys::new(Arc::clone(&peers), Arc::clone(&metrics));
        let limits = budget::Limits::of(settings.max_load, settings.max_body);
        let budget = Budget::new(limits, Arc::clone(&metrics));
        let decoys = Decoys::new(store.link_key());
        Self(Arc::new(Parts {
            store,
            writer,
            queues,
            clock,
            metrics,
            courier,
            settings,
            streams,
            peers,
            tests,
            keys,
            wrong_keys,
            budget,
            intakes: Turns::new(MOST_INTAKES),
            imports: Turns::new(turns::ANY),
            key_uses,
            kept_answers,
            decoys,
            readiness,
        }))
    }
}

impl std::ops::Deref for ApiState {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}
