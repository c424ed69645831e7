//! Numbers about an event's way, in OpenMetrics text. Counters of the hot path are laid out in arrays at the start:
//! counting is one atomic addition, no look-up and no allocation. Refuses to know who counts, and where it is shown.

use std::array;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::model::{DeliveryState, DialectName};

/// The `Content-Type` of [`Metrics::text`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Bounds of the latency buckets in seconds: from 250 microseconds, below one fsync, to the longest timeout.
const LATENCIES: [f64; 17] = [
    0.000_25, 0.000_5, 0.001, 0.002, 0.003, 0.005, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 20.0,
    30.0,
];
/// Bounds of the group sizes.
const SIZES: [f64; 10] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

/// An enum whose every value is known, as the place in an array and as the value of a label.
macro_rules! labels {
    ($(#[$doc:meta])* $name:ident { $($(#[$value_doc:meta])* $value:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$value_doc])* $value,)*
        }

        impl $name {
            /// Every one of them.
            pub const ALL: [Self; [$($text),*].len()] = [$(Self::$value),*];

            fn as_str(self) -> &'static str {
                match self {
                    $(Self::$value => $text,)*
                }
            }
        }
    };
}

labels! {
    /// What became of a body at the door.
    Arrival {
        /// Recorded.
        Recorded = "recorded",
        /// Brought nothing new.
        Duplicate = "duplicate",
        /// Kept raw.
        Quarantined = "quarantined",
        /// A kind that is known and not about calls' results.
        Ignored = "ignored",
        /// Marked as a test.
        Test = "test",
        /// Not from who it should be: 401.
        Unauthorized = "unauthorized",
        /// Nothing was written: 503.
        Unavailable = "unavailable",
        /// The source's quarantine is full: 507.
        QuotaExceeded = "quota_exceeded",
    }
}

labels! {
    /// What an attempt came to.
    AttemptResult {
        /// A 2xx.
        Success = "2xx",
        /// A redirect, which is not followed.
        Redirect = "3xx",
        /// A 4xx.
        ClientError = "4xx",
        /// A 5xx.
        ServerError = "5xx",
        /// No answer in time.
        Timeout = "timeout",
        /// No connection: name, address, TLS.
        Connect = "connect",
        /// The address is not allowed.
        Refused = "refused",
        /// The connection broke, or no HTTP came back.
        Broken = "broken",
    }
}

impl AttemptResult {
    /// The class of a status.
    pub fn of_status(status: u16) -> Self {
        match status {
            200..=299 => Self::Success,
            300..=399 => Self::Redirect,
            400..=499 => Self::ClientError,
            500..=599 => Self::ServerError,
            _ => Self::Broken,
        }
    }
}

labels! {
    /// Whose inbound bodies are held in memory.
    BodyShare {
        /// Ingest, of senders that have not proven themselves lately.
        Unproven = "unproven",
        /// Ingest, of senders that have.
        Proven = "proven",
        /// Requests with an API key.
        Account = "account",
    }
}

labels! {
    /// Why an inbound body was not read to its end.
    BodyRefusal {
        /// It was slower than the minimum speed: 408.
        Slow = "slow",
        /// It lost its place to another body: 503.
        Displaced = "displaced",
        /// There was no room for it: 503.
        Full = "full",
    }
}

labels! {
    /// Why a new connection was served the health of the node alone.
    Refusal {
        /// All slots are taken.
        Full = "full",
        /// Its address has as many connections as one may have.
        Address = "address",
    }
}

labels! {
    /// Why a connection was closed that kept the server waiting.
    Cut {
        /// Its slot was needed for a new one.
        Evicted = "evicted",
        /// Too much was held for clients that do not read or do not go on.
        Held = "held",
        /// It did not read its answers.
        SlowReader = "slow_reader",
        /// The head of a request did not end.
        SlowHead = "slow_head",
        /// The node was stopping.
        Stop = "stop",
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Share {
    share: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ShareReason {
    share: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DialectResult {
    dialect: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Dialect {
    dialect: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Job {
    job: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct State {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ApiRequest {
    method: String,
    route: String,
    status: u16,
}

const DIALECTS: usize = DialectName::ALL.len();

/// Every number, and the registry that writes them.
pub struct Metrics {
    registry: Registry,
    arrivals: [[Counter; Arrival::ALL.len()]; DIALECTS],
    strangers: Counter,
    checks: [Counter; 2],
    door: Histogram,
    group_size: Histogram,
    group_latency: Histogram,
    groups_failed: Counter,
    planned: Counter,
    attempts: [[Counter; AttemptResult::ALL.len()]; DIALECTS],
    attempt_latency: [Histogram; DIALECTS],
    settled: [Counter; DeliveryState::ALL.len()],
    retries: Counter,
    in_flight: Gauge,
    queued: Gauge,
    body_bytes: [Gauge; BodyShare::ALL.len()],
    bodies_refused: [[Counter; BodyRefusal::ALL.len()]; BodyShare::ALL.len()],
    connections: Gauge,
    connections_refused: [Counter; Refusal::ALL.len()],
    connections_cut: [Counter; Cut::ALL.len()],
    keys_limited: Counter,
    lookups: Counter,
    lookups_failed: Counter,
    lookups_under_way: Gauge,
    floods: Counter,
    host_waits: Counter,
    store_full: Gauge,
    store_damaged: Gauge,
    maintenance_failures: Family<Job, Counter>,
    maintenance_longest: Family<Job, Gauge<f64, AtomicU64>>,
    api_requests: Family<ApiRequest, Counter>,
    api_latency: Histogram,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics(..)")
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All at zero.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("postcall");
        let received = Family::<DialectResult, Counter>::default();
        let arrivals = array::from_fn(|dialect| {
            array::from_fn(|result| {
                let (dialect, result) = (DialectName::ALL[dialect].as_str(), Arrival::ALL[result].as_str());
                received.get_or_create_owned(&DialectResult { dialect, result })
            })
        });
        registry.register("events_received", "Bodies at the doors by what became of them", received);

        let attempted = Family::<DialectResult, Counter>::default();
        let attempts = array::from_fn(|dialect| {
            array::from_fn(|result| {
                let (dialect, result) =
                    (DialectName::ALL[dialect].as_str(), AttemptResult::ALL[result].as_str());
                attempted.get_or_create_owned(&DialectResult { dialect, result })
            })
        });
        registry.register("attempts", "Attempts by what they came to", attempted);

        let latency: fn() -> Histogram = || Histogram::new(LATENCIES);
        let exchanges = Family::<Dialect, Histogram>::new_with_constructor(latency);
        let attempt_latency = array::from_fn(|dialect| {
            exchanges.get_or_create_owned(&Dialect { dialect: DialectName::ALL[dialect].as_str() })
        });
        registry.register_with_unit(
            "attempt",
            "Time of one attempt, body included",
            Unit::Seconds,
            exchanges,
        );

        let states = Family::<State, Counter>::default();
        let settled = array::from_fn(|state| match DeliveryState::ALL[state] {
            // No attempt leaves a delivery cancelled.
            DeliveryState::Cancelled => Counter::default(),
            state => states.get_or_create_owned(&State { state: state.as_str() }),
        });
        registry.register(
            "deliveries_settled",
            "Attempts written, by the delivery's state after them",
            states,
        );

        let bytes = Family::<Share, Gauge>::default();
        let body_bytes =
            BodyShare::ALL.map(|share| bytes.get_or_create_owned(&Share { share: share.as_str() }));
        registry.register("body_bytes", "Bytes of inbound bodies that are held in memory, by share", bytes);
        let refused = Family::<ShareReason, Counter>::default();
        let bodies_refused = BodyShare::ALL.map(|share| {
            BodyRefusal::ALL.map(|reason| {
                let (share, reason) = (share.as_str(), reason.as_str());
                refused.get_or_create_owned(&ShareReason { share, reason })
            })
        });
        registry.register(
            "bodies_refused",
            "Inbound bodies that were not read to their end, by share and reason",
            refused,
        );

        let api_requests = Family::<ApiRequest, Counter>::default();
        registry.register("api_requests", "API requests by route and status", api_requests.clone());

        let maintenance_failures = Family::<Job, Counter>::default();
        registry.register(
            "maintenance_failures",
            "Steps of maintenance that failed and are tried again, by job",
            maintenance_failures.clone(),
        );
        let maintenance_longest = Family::<Job, Gauge<f64, AtomicU64>>::default();
        registry.register_with_unit(
            "maintenance_longest_step",
            "The longest step of maintenance since the start, by job",
            Unit::Seconds,
            maintenance_longest.clone(),
        );

        let reasons = Family::<Reason, Counter>::default();
        let connections_refused =
            Refusal::ALL.map(|refusal| reasons.get_or_create_owned(&Reason { reason: refusal.as_str() }));
        registry.register(
            "connections_refused",
            "Connections that were served the node's health alone, by the bound that was reached",
            reasons,
        );
        let reasons = Family::<Reason, Counter>::default();
        let connections_cut =
            Cut::ALL.map(|cut| reasons.get_or_create_owned(&Reason { reason: cut.as_str() }));
        registry.register(
            "connections_cut",
            "Connections that were closed because they kept the server waiting, by why",
            reasons,
        );

        let mut count = |name: &str, help: &str| {
            let counter = Counter::default();
            registry.register(name, help, counter.clone());
            counter
        };
        let strangers = count("door_strangers", "Requests to doors that do not exist");
        let checks = [
            count("ingest_hmacs", "HMACs computed over bodies to see who sent them"),
            count("ingest_ed25519_checks", "Ed25519 signatures verified over bodies to see who sent them"),
        ];
        let groups_failed = count("groups_failed", "Group commits that were not written");
        let keys_limited =
            count("keys_limited", "Requests refused because their address sent too many wrong API keys");
        let planned = count("deliveries_planned", "Deliveries that recorded events owe");
        let retries = count("retries_scheduled", "Attempts that will be made again");
        let lookups = count("name_lookups", "Names that name servers were asked for");
        let lookups_failed = count("name_lookups_failed", "Look-ups of names that got no answer");
        let floods =
            count("attempts_flooded", "Attempts that ended for too many informational answers (1xx)");
        let host_waits = count(
            "host_waits",
            "Times that an endpoint waited because its account had enough requests under way to one host",
        );

        let mut measure = |name: &str, help: &str, unit: Option<Unit>, bounds: &[f64]| {
            let histogram = Histogram::new(bounds.iter().copied());
            match unit {
                Some(unit) => registry.register_with_unit(name, help, unit, histogram.clone()),
                None => registry.register(name, help, histogram.clone()),
            }
            histogram
        };
        let door = measure("door", "From headers to answer at the doors", Some(Unit::Seconds), &LATENCIES);
        let group_size = measure("group_size", "Members of a group commit", None, &SIZES);
        let group_latency =
            measure("group_commit", "Time of a group commit", Some(Unit::Seconds), &LATENCIES);
        let api_latency = measure("api_request", "Time of an API request", Some(Unit::Seconds), &LATENCIES);

        let mut gauge = |name: &str, help: &str| {
            let gauge = Gauge::default();
            registry.register(name, help, gauge.clone());
            gauge
        };
        let in_flight = gauge("attempts_in_flight", "Attempts under way");
        let queued = gauge("deliveries_queued", "Deliveries in memory that wait for their attempt");
        let connections = gauge("connections", "Connections that are open");
        let store_full =
            gauge("store_full", "1 while nothing new is taken in because the disk is full, otherwise 0");
        let store_damaged = gauge("store_damaged", "1 since damage was met in the database, otherwise 0");
        let lookups_under_way = gauge("name_lookups_under_way", "Look-ups of names under way");

        Self {
            registry,
            arrivals,
            strangers,
            checks,
            door,
            group_size,
            group_latency,
            groups_failed,
            planned,
            attempts,
            attempt_latency,
            settled,
            retries,
            in_flight,
            queued,
            body_bytes,
            bodies_refused,
            connections,
            connections_refused,
            connections_cut,
            keys_limited,
            lookups,
            lookups_failed,
            lookups_under_way,
            floods,
            host_waits,
            store_full,
            store_damaged,
            maintenance_failures,
            maintenance_longest,
            api_requests,
            api_latency,
        }
    }

    /// A body came through a source's door.
    pub fn arrived(&self, dialect: DialectName, arrival: Arrival, latency: Duration) {
        self.arrivals[dialect as usize][arrival as usize].inc();
        self.door.observe(latency.as_secs_f64());
    }

    /// A request came to a source that does not exist.
    pub fn stranger(&self, latency: Duration) {
        self.strangers.inc();
        self.door.observe(latency.as_secs_f64());
    }

    /// It was checked who sent a body, at the price of so many HMACs and Ed25519 verifications over it.
    pub fn checked(&self, hmacs: u32, ed25519: u32) {
        let [all_hmacs, all_ed25519] = &self.checks;
        all_hmacs.inc_by(hmacs.into());
        all_ed25519.inc_by(ed25519.into());
    }

    /// A step of a job of maintenance was done or tried.
    pub fn maintained(&self, job: &'static str, took: Duration, has_failed: bool) {
        let longest = self.maintenance_longest.get_or_create_owned(&Job { job });
        longest.set(longest.get().max(took.as_secs_f64()));
        if has_failed {
            self.maintenance_failures.get_or_create(&Job { job }).inc();
        }
    }

    /// A group was committed.
    pub fn group_committed(&self, members: usize, latency: Duration) {
        #[expect(clippy::cast_precision_loss, reason = "a group has at most hundreds of members")]
        self.group_size.observe(members as f64);
        self.group_latency.observe(latency.as_secs_f64());
    }

    /// A group was not written.
    pub fn group_failed(&self) {
        self.groups_failed.inc();
    }

    /// Deliveries were planned.
    pub fn planned(&self, deliveries: usize) {
        self.planned.inc_by(deliveries as u64);
    }

    /// An attempt ended.
    pub fn attempted(&self, dialect: DialectName, result: AttemptResult, latency: Duration) {
        self.attempts[dialect as usize][result as usize].inc();
        self.attempt_latency[dialect as usize].observe(latency.as_secs_f64());
    }

    /// An attempt was written; the delivery is in this state now.
    pub fn settled(&self, state: DeliveryState) {
        self.settled[state as usize].inc();
    }

    /// A failed attempt will be made again.
    pub fn retry_scheduled(&self) {
        self.retries.inc();
    }

    /// Attempts under way.
    pub fn in_flight(&self) -> &Gauge {
        &self.in_flight
    }

    /// Connections that are open.
    pub fn connections(&self) -> &Gauge {
        &self.connections
    }

    /// A new connection got no slot.
    pub fn connection_refused(&self, refusal: Refusal) {
        self.connections_refused[refusal as usize].inc();
    }

    /// A connection was closed that kept the server waiting.
    pub fn connection_cut(&self, cut: Cut) {
        self.connections_cut[cut as usize].inc();
    }

    /// A request with an API key was refused because its address sent too many wrong ones.
    pub fn key_limited(&self) {
        self.keys_limited.inc();
    }

    /// Deliveries joined the memory queues.
    pub fn queued(&self, deliveries: usize) {
        self.queued.inc_by(i64::try_from(deliveries).unwrap_or(i64::MAX));
    }

    /// Deliveries left the memory queues.
    pub fn unqueued(&self, deliveries: usize) {
        self.queued.dec_by(i64::try_from(deliveries).unwrap_or(i64::MAX));
    }

    /// Bytes of inbound bodies that are held. The memory budget counts in it.
    pub fn body_bytes(&self, share: BodyShare) -> &Gauge {
        &self.body_bytes[share as usize]
    }

    /// An inbound body was not read to its end.
    pub fn body_refused(&self, share: BodyShare, why: BodyRefusal) {
        self.bodies_refused[share as usize][why as usize].inc();
    }

    /// A name is looked up.
    pub fn lookup_began(&self) {
        self.lookups.inc();
        self.lookups_under_way.inc();
    }

    /// Its look-up ended; a failure says nothing about the name.
    pub fn lookup_ended(&self, is_failure: bool) {
        self.lookups_under_way.dec();
        self.lookups_failed.inc_by(u64::from(is_failure));
    }

    /// An attempt ended for too many informational answers.
    pub fn flooded(&self) {
        self.floods.inc();
    }

    /// An endpoint waits for a request to its host to end.
    pub fn host_waited(&self) {
        self.host_waits.inc();
    }

    /// What is wrong with the store as a whole.
    pub fn store_is(&self, is_full: bool, is_damaged: bool) {
        self.store_full.set(is_full.into());
        self.store_damaged.set(is_damaged.into());
    }

    /// An API request was answered. `route` is the template, never the path: ids would make a series each.
    pub fn api_answered(&self, method: &str, route: &str, status: u16, latency: Duration) {
        let request = ApiRequest { method: method.to_owned(), route: route.to_owned(), status };
        self.api_requests.get_or_create(&request).inc();
        self.api_latency.observe(latency.as_secs_f64());
    }

    /// Everything, as a scraper reads it.
    pub fn text(&self) -> String {
        let mut text = String::new();
        match prometheus_client::encoding::text::encode(&mut text, &self.registry) {
            Ok(()) => text,
            Err(std::fmt::Error) => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_shows_under_its_labels() {
        let metrics = Metrics::new();
        let second = Duration::from_secs(1);
        metrics.arrived(DialectName::Aloro, Arrival::Duplicate, second);
        metrics.attempted(DialectName::Air, AttemptResult::of_status(503), second);
        metrics.settled(DeliveryState::Dead);
        metrics.planned(3);
        metrics.group_committed(64, second);
        metrics.api_answered("GET", "/v1/sources/{id}", 404, second);
        metrics.in_flight().inc();
        metrics.queued(5);
        metrics.unqueued(2);
        metrics.lookup_began();
        metrics.lookup_began();
        metrics.lookup_ended(true);
        metrics.flooded();
        metrics.host_waited();
        metrics.store_is(true, false);
        let text = metrics.text();
        for line in [
            "postcall_events_received_total{dialect=\"aloro\",result=\"duplicate\"} 1",
            "postcall_events_received_total{dialect=\"aloro\",result=\"recorded\"} 0",
            "postcall_attempts_total{dialect=\"air\",result=\"5xx\"} 1",
            "postcall_attempt_seconds_count{dialect=\"air\"} 1",
            "postcall_deliveries_settled_total{state=\"dead\"} 1",
            "postcall_deliveries_planned_total 3",
            "postcall_group_size_bucket{le=\"64.0\"} 1",
            "postcall_door_seconds_sum 1.0",
            "postcall_api_requests_total{method=\"GET\",route=\"/v1/sources/{id}\",status=\"404\"} 1",
            "postcall_attempts_in_flight 1",
            "postcall_deliveries_queued 3",
            "postcall_name_lookups_total 2",
            "postcall_name_lookups_failed_total 1",
            "postcall_name_lookups_under_way 1",
            "postcall_attempts_flooded_total 1",
            "postcall_host_waits_total 1",
            "postcall_store_full 1",
            "postcall_store_damaged 0",
            "# UNIT postcall_door_seconds seconds",
        ] {
            assert!(text.lines().any(|known| known == line), "{line} is not in:\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }
}
