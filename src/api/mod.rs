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
mod days;
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
mod known_keys;
mod lines;
pub mod minutes;
mod open_streams;
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
mod settings;
mod shown_once;
pub mod sources;
mod state;
pub mod stream;
pub mod test_send;
mod tests_under_way;
pub mod transcripts;
mod turns;
mod wrong_keys;

use std::sync::LazyLock;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{Next, from_fn_with_state, map_response};
use axum::response::Response;
use axum::{Extension, Router};
use http::StatusCode;
use tower::util::MapResponseLayer;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use courier::{Courier, Sent};
pub use settings::{BODY_MEMORY, Settings};
pub use state::{ApiState, Parts};

use crate::model::Right;
use problem::Problem;

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

/// The OpenAPI document of all routes as JSON.
pub static OPENAPI: LazyLock<String> = LazyLock::new(|| {
    let keyed = Right::ALL.into_iter().map(|right| {
        let seed = (right == Right::Read).then(seed_reading);
        let routes = keyed(right).into_iter().chain(seed);
        (right, routes.fold(OpenApiRouter::default(), OpenApiRouter::merge).into_openapi())
    });
    openapi::json(open().merge(measured()).into_openapi(), doors().into_openapi(), keyed)
});

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
    let open = Router::from(open()).route_layer(Extension(docs::ApiDocument(&OPENAPI)));
    let mut counted = keyed.merge(open);
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
