//! The bare relay: takes a POST, posts its body to the sink, answers. No storage, no signature, no books: the limit
//! that postcall is measured against. Written as a server is: axum at the door, hyper-util's pooled client behind it,
//! on tokio's threads as `#[tokio::main]` gives them. Refuses to know what it passes on.

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::CONTENT_TYPE;
use hyper::{Request, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use crate::wire;

/// What each request needs.
#[derive(Clone)]
struct Relay {
    client: Client<HttpConnector, Full<Bytes>>,
    target: Uri,
}

/// Relays to the sink until it is killed.
pub async fn run(target: &str) -> Result<(), String> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let relay = Relay {
        client: Client::builder(TokioExecutor::new()).build(connector),
        target: target.parse().map_err(|error| format!("{target} is not a URL: {error}"))?,
    };
    let router = Router::new().route("/", post(pass_on)).with_state(relay);
    let listener = axum::serve::ListenerExt::tap_io(wire::listen().await?, |stream| {
        // Without it small answers wait for company.
        let _ = stream.set_nodelay(true);
    });
    axum::serve(listener, router).await.map_err(|error| error.to_string())
}

async fn pass_on(State(relay): State<Relay>, body: Bytes) -> Response {
    let status = send(&relay, body).await.unwrap_or(StatusCode::BAD_GATEWAY);
    (status, [(CONTENT_TYPE, "application/json")], "{\"received\":true}").into_response()
}

async fn send(relay: &Relay, body: Bytes) -> Option<StatusCode> {
    let onward = Request::post(&relay.target).header(CONTENT_TYPE, "application/json");
    let answer = relay.client.request(onward.body(Full::new(body)).ok()?).await.ok()?;
    let status = answer.status();
    // The connection goes back to the pool only when the answer was read.
    answer.into_body().collect().await.ok()?;
    Some(status)
}
