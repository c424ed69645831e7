//! The public API: the doors for events, and `/v1` for everything that an account can see and set.
//! Turns HTTP into calls of the store and back; refuses to know databases and delivery. It meets the latter only
//! through `store::Queues` and the [`Courier`].

pub mod account;
pub mod agents;
pub mod analytics;
pub mod auth;
mod batch_form;
pub mod batches;
mod body;
mod budget;
pub mod calls;
pub mod campaigns;
pub mod conversation_logs;
pub mod courier;
pub mod credential;
mod cursor;
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
pub mod keys;
mod lines;
pub mod minutes;
pub mod openapi;
pub mod pace;
pub mod peer;
pub mod problem;
pub mod quarantine;
mod query;
pub mod reconciliation;
mod redact;
pub mod replays;
pub mod rotate;
pub mod server;
pub mod sources;
pub mod stream;
pub mod test_send;
pub mod transcripts;
mod turns;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use http::StatusCode;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use courier::{Courier, Sent};

use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::store::group::GroupWriter;
use crate::store::{Queues, Store};
use pace::Speed;
use problem::Problem;

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
            max_load: 128 << 20,
            body_speed: Speed::default(),
            heartbeat: Duration::from_secs(15),
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
    keys: auth::Remembered,
    /// The memory for bodies.
    budget: Arc<budget::Budget>,
    /// Whose batch of contacts is read and written: in memory it is larger than its body.
    intakes: turns::Turns,
    /// Whose import is under way.
    imports: turns::Turns,
    /// Held while settings are read, changed and written back: no change is lost to another one.
    changing: tokio::sync::Mutex<()>,
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
        let (streams, peers, keys, changing) = <_>::default();
        let limits = budget::Limits::of(settings.max_load, settings.max_body);
        let budget = budget::Budget::new(limits, Arc::clone(&metrics));
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
            keys,
            budget,
            intakes: turns::Turns::new(batches::MOST_INTAKES),
            imports: turns::Turns::new(turns::ANY),
            changing,
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
        .routes(routes!(health::metrics))
        .routes(routes!(docs::document))
        .routes(routes!(docs::page))
        .routes(routes!(transcripts::linked))
        .routes(routes!(conversation_logs::read))
        .routes(routes!(conversation_logs::recordings))
}

/// What an API key opens.
fn keyed() -> OpenApiRouter<ApiState> {
    OpenApiRouter::default()
        .routes(routes!(keys::accounts, keys::create_account))
        .routes(routes!(account::read, account::change))
        .routes(routes!(keys::list, keys::create))
        .routes(routes!(keys::revoke))
        .routes(routes!(sources::list, sources::create))
        .routes(routes!(sources::read, sources::change, sources::delete))
        .routes(routes!(rotate::source))
        .routes(routes!(endpoints::list, endpoints::create))
        .routes(routes!(endpoints::read, endpoints::change, endpoints::delete))
        .routes(routes!(endpoints::enable))
        .routes(routes!(endpoints::disable))
        .routes(routes!(rotate::endpoint))
        .routes(routes!(test_send::test))
        .routes(routes!(calls::list))
        .routes(routes!(calls::read))
        .routes(routes!(calls::transcript))
        .routes(routes!(calls::recording))
        .routes(routes!(events::list))
        .routes(routes!(stream::follow))
        .routes(routes!(deliveries::list))
        .routes(routes!(deliveries::read))
        .routes(routes!(deliveries::retry))
        .routes(routes!(deliveries::cancel))
        .routes(routes!(replays::list, replays::create))
        .routes(routes!(replays::read_one))
        .routes(routes!(replays::cancel))
        .routes(routes!(quarantine::list))
        .routes(routes!(quarantine::read, quarantine::discard))
        .routes(routes!(quarantine::reprocess))
        .routes(routes!(reconciliation::read))
        .routes(routes!(erasures::list, erasures::create))
        .routes(routes!(erasures::read))
        .routes(routes!(export::export))
        .routes(routes!(export::import))
        .routes(routes!(batches::list, batches::create))
        .routes(routes!(batches::read))
        .routes(routes!(batches::contacts))
        .routes(routes!(batches::calls))
        .routes(routes!(batches::fail))
        .routes(routes!(batches::cancel))
        .routes(routes!(batches::renew_secret))
        .routes(routes!(dialgen_batches::create))
        .routes(routes!(dialgen_batches::list))
        .routes(routes!(dialgen_batches::check))
        .routes(routes!(dialgen_batches::status))
        .routes(routes!(analytics::read))
        .routes(routes!(campaigns::list, campaigns::create))
        .routes(routes!(campaigns::read, campaigns::change))
        .routes(routes!(agents::list, agents::create))
        .routes(routes!(agents::read, agents::change))
        .routes(routes!(agents::put_seed))
}

/// Everything under one roof.
pub fn router(state: ApiState) -> Router {
    let keyed = Router::from(keyed())
        .route_layer(from_fn_with_state(state.clone(), idempotency::once))
        .route_layer(from_fn_with_state(state.clone(), auth::guard));
    let counted = keyed.merge(Router::from(open())).route_layer(from_fn_with_state(state.clone(), count));
    counted
        .merge(Router::from(doors()))
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(CatchPanicLayer::custom(|_| axum::response::IntoResponse::into_response(Problem::internal())))
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
