//! The public API: the doors for events, and `/v1` for everything that an account can see and set.
//! Turns HTTP into calls of the store and back; refuses to know databases and delivery. It meets the latter only
//! through `store::Queues` and the [`Courier`].

pub mod account;
mod account_limits;
pub mod agents;
pub mod analytics;
pub mod auth;
mod batch_form;
pub mod batches;
mod body;
mod budget;
pub mod calls;
pub mod campaigns;
pub mod changes;
pub mod conversation_logs;
pub mod courier;
pub mod credential;
mod cursor;
mod decoy;
pub mod deliveries;
pub mod dialgen_batches;
pub mod docs;
pub mod door;
pub mod endpoint_form;
pub mod endpoints;
pub mod erasures;
pub mod events;
pub mod export;
mod form;
pub mod health;
mod idempotency;
mod kept_answers;
mod key_uses;
pub mod keys;
mod lines;
pub mod minutes;
pub mod openapi;
pub mod pace;
pub mod peer;
pub mod problem;
pub mod quarantine;
mod query;
mod read_rate;
pub mod reconciliation;
mod redact;
pub mod replays;
pub mod rotate;
mod security_headers;
pub mod server;
mod shown_once;
pub mod sources;
pub mod stream;
pub mod test_send;
pub mod transcripts;
mod turns;
mod wrong_keys;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{Next, from_fn_with_state, map_response};
use axum::response::Response;
use http::StatusCode;
use ipnet::IpNet;
use tower::util::MapResponseLayer;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use courier::{Courier, Sent};

use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::model::Right;
use crate::store::group::GroupWriter;
use crate::store::outage::Outage;
use crate::store::{Queues, Store};
use pace::Speed;
use problem::Problem;

/// The memory that the bodies of all requests together may take unless set, in bytes.
pub const BODY_MEMORY: usize = 128 << 20;

/// What can be set about the API.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What every link that leaves the house begins with, without a slash at the end.
    pub public_url: String,
    /// The largest body in bytes.
    pub max_body: usize,
    /// The memory that the bodies of all requests together may take, in bytes; past that 503.
    pub max_load: usize,
    /// How fast a body has to come.
    pub body_speed: Speed,
    /// How often a stream says that it is there when there is nothing else to say.
    pub heartbeat: Duration,
    /// What clients are allowed.
    pub limits: server::Limits,
    /// Networks of the proxies whose word counts for whom a request comes from.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether the numbers are served elsewhere, and not here.
    pub hides_metrics: bool,
}

impl Settings {
    /// The defaults: bodies of 1 MiB, 128 MiB together. Without a public URL, links lead to where we listen.
    pub fn new(public_url: Option<&str>, listen: SocketAddr) -> Self {
        let host = if listen.ip().is_unspecified() { "localhost".to_owned() } else { host_of(listen) };
        let public_url = match public_url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => format!("http://{host}:{}", listen.port()),
        };
        Self {
            public_url,
            max_body: 1 << 20,
            max_load: BODY_MEMORY,
            body_speed: Speed::default(),
            heartbeat: Duration::from_secs(15),
            limits: server::Limits::default(),
            trusted_proxies: Vec::new(),
            hides_metrics: false,
        }
    }
}

fn host_of(address: SocketAddr) -> String {
    match address {
        SocketAddr::V4(address) => address.ip().to_string(),
        SocketAddr::V6(address) => format!("[{}]", address.ip()),
    }
}

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
    pub streams: stream::Streams,
    /// What is remembered of clients by their addresses.
    pub peers: Arc<peer::Peers>,
    /// Test sends that are under way.
    tests: test_send::UnderWay,
    keys: auth::Remembered,
    /// The memory for bodies.
    budget: Arc<budget::Budget>,
    /// Whose batch of contacts is read and written: in memory it is larger than its body.
    intakes: turns::Turns,
    /// Whose import is under way.
    imports: turns::Turns,
    wrong_keys: wrong_keys::WrongKeys,
    key_uses: key_uses::KeyUses,
    kept_answers: kept_answers::Allowances,
    /// What is checked where there is no source.
    decoys: decoy::Decoys,
    /// What the log was told of whether this node is ready.
    readiness: Outage,
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
        let (streams, peers, keys, wrong_keys, key_uses, kept_answers, tests) = <_>::default();
        let readiness = Outage::default();
        let limits = budget::Limits::of(settings.max_load, settings.max_body);
        let budget = budget::Budget::new(limits, Arc::clone(&metrics));
        let decoys = decoy::Decoys::new(store.link_key());
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
            intakes: turns::Turns::new(batches::MOST_INTAKES),
            imports: turns::Turns::new(turns::ANY),
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

/// Where events come in. No layers: this is the hot path.
fn doors() -> OpenApiRouter<ApiState> {
    OpenApiRouter::default().routes(routes!(door::source)).routes(routes!(door::ai_dialer_callback))
}

/// What needs no key.
fn open() -> OpenApiRouter<ApiState> {
    OpenApiRouter::default()
        .routes(routes!(health::alive))
        .routes(routes!(health::ready))
        .routes(routes!(docs::document))
        .routes(routes!(docs::page))
        .routes(routes!(transcripts::linked))
}

/// The numbers, for whom the operator lets at them.
fn measured() -> OpenApiRouter<ApiState> {
    OpenApiRouter::default().routes(routes!(health::metrics))
}

/// What a key with this right opens. A route is reached only through one of these lists, so each has a right.
fn keyed(right: Right) -> Option<OpenApiRouter<ApiState>> {
    match right {
        Right::Read => Some(reading()),
        // By the key alone events come in through a door, which has no layers: it judges the right itself.
        Right::Ingest => None,
        Right::Write => Some(writing()),
        Right::Erase => Some(erasing()),
        Right::Admin => Some(administering()),
    }
}

fn reading() -> OpenApiRouter<ApiState> {
    OpenApiRouter::default()
        .routes(routes!(account::read))
        .routes(routes!(keys::list))
        .routes(routes!(sources::list))
        .routes(routes!(sources::read))
        .routes(routes!(endpoints::list))
        .routes(routes!(endpoints::read))
        .routes(routes!(calls::list))
        .routes(routes!(calls::read))
        .routes(routes!(calls::transcript))
        .routes(routes!(calls::recording))
        .routes(routes!(events::list))
        .routes(routes!(stream::follow))
        .routes(routes!(deliveries::list))
        .routes(routes!(deliveries::read))
        .routes(routes!(replays::list))
        .routes(routes!(replays::read_one))
        .routes(routes!(quarantine::list))
        .routes(routes!(quarantine::read))
        .routes(routes!(reconciliation::read))
        .routes(routes!(erasures::list))
        .routes(routes!(erasures::read))
        .routes(routes!(export::export))
        .routes(routes!(batches::list))
        .routes(routes!(batches::read))
        .routes(routes!(batches::contacts))
        .routes(routes!(batches::calls))
        .routes(routes!(dialgen_batches::list))
        .routes(routes!(dialgen_batches::check))
        .routes(routes!(dialgen_batches::status))
        .routes(routes!(analytics::read))
        .routes(routes!(campaigns::list))
        .routes(routes!(campaigns::read))
        .routes(routes!(agents::list))
        .routes(routes!(agents::read))
}

fn writing() -> OpenApiRouter<ApiState> {
    OpenApiRouter::default()
        .routes(routes!(account::change))
        .routes(routes!(keys::create))
        .routes(routes!(keys::revoke))
        .routes(routes!(sources::create))
        .routes(routes!(sources::change, sources::delete))
        .routes(routes!(rotate::source))
        .routes(routes!(endpoints::create))
        .routes(routes!(endpoints::change, endpoints::delete))
        .routes(routes!(endpoints::enable))
        .routes(routes!(endpoints::disable))
        .routes(routes!(rotate::endpoint))
        .routes(routes!(test_send::test))
        .routes(routes!(deliveries::retry))
        .routes(routes!(deliveries::cancel))
        .routes(routes!(replays::create))
        .routes(routes!(replays::cancel))
        .routes(routes!(quarantine::reprocess))
        .routes(routes!(export::import))
        .routes(routes!(batches::create))
        .routes(routes!(batches::fail))
        .routes(routes!(batches::cancel))
        .routes(routes!(batches::renew_secret))
        .routes(routes!(dialgen_batches::create))
        .routes(routes!(campaigns::create))
        .routes(routes!(campaigns::change))
        .routes(routes!(agents::create))
        .routes(routes!(agents::change))
        .routes(routes!(agents::put_seed))
}

/// What destroys something that is recorded.
fn erasing() -> OpenApiRouter<ApiState> {
    OpenApiRouter::default().routes(routes!(quarantine::discard)).routes(routes!(erasures::create))
}

fn administering() -> OpenApiRouter<ApiState> {
    OpenApiRouter::default()
        .routes(routes!(keys::accounts, keys::create_account))
        .routes(routes!(account_limits::change))
}

/// Seed 000's own paths, whose refusals have a shape of their own.
fn seed_reading() -> OpenApiRouter<ApiState> {
    OpenApiRouter::default()
        .routes(routes!(conversation_logs::read))
        .routes(routes!(conversation_logs::recordings))
}

/// Everything under one roof.
pub fn router(state: ApiState) -> Router {
    let guard = |routes: Router<ApiState>, right| {
        routes.route_layer(from_fn_with_state((state.clone(), right), auth::guard))
    };
    let opened_by = |right| {
        let routes = Router::from(keyed(right)?);
        Some(guard(routes.route_layer(from_fn_with_state(state.clone(), idempotency::once)), right))
    };
    let seed = guard(Router::from(seed_reading()), Right::Read);
    let seed = seed.route_layer(map_response(conversation_logs::in_its_shape));
    let keyed = Right::ALL.into_iter().filter_map(opened_by).fold(seed, Router::merge);
    let mut counted = keyed.merge(Router::from(open()));
    if !state.settings.hides_metrics {
        counted = counted.merge(Router::from(measured()));
    }
    let counted = counted.route_layer(from_fn_with_state(state.clone(), count));
    finish(counted.merge(Router::from(doors())), state)
}

/// What is served where the metrics have an address of their own: they, and the node's health.
pub fn metrics_router(state: ApiState) -> Router {
    let health = OpenApiRouter::default().routes(routes!(health::alive)).routes(routes!(health::ready));
    finish(Router::from(health).merge(Router::from(measured())), state)
}

fn finish(router: Router<ApiState>, state: ApiState) -> Router {
    router
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(CatchPanicLayer::custom(|_| axum::response::IntoResponse::into_response(Problem::internal())))
        .layer(MapResponseLayer::new(security_headers::put))
        .with_state(state)
}

async fn count(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    let (start, method) = (Instant::now(), request.method().clone());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let response = next.run(request).await;
    let route = route.as_ref().map_or("", MatchedPath::as_str);
    state.metrics.api_answered(method.as_str(), route, response.status().as_u16(), start.elapsed());
    response
}

async fn no_route() -> Problem {
    let detail = "There is nothing at this address. /docs lists what there is.";
    Problem::new(StatusCode::NOT_FOUND, "no_route", detail)
}

async fn no_method() -> Problem {
    let detail = "This address takes other methods; the header \"Allow\" lists them.";
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
}
