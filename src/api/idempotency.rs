//! `Idempotency-Key`: a POST that is sent twice under one key happens once, and both get the same answer.
//! One layer for every route; refuses to know what is made.

use std::panic::AssertUnwindSafe;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use ring::hmac;
use tracing::error;

use super::ApiState;
use super::auth::Caller;
use super::body;
use super::problem::Problem;
use crate::store::Idempotent;

/// The header by which a client names its request.
pub const KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Marks an answer that was given before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// The longest key in bytes.
const LONGEST: usize = 255;
/// The most of an answer that is kept; ours are far smaller.
const MOST_ANSWER: usize = 1 << 20;

/// Runs a POST once for each key.
pub async fn once(State(state): State<ApiState>, request: Request, next: Next) -> Result<Response, Problem> {
    if request.method() != Method::POST {
        return Ok(next.run(request).await);
    }
    let Some(key) = key_of(request.headers())? else { return Ok(next.run(request).await) };
    let Some(caller) = request.extensions().get::<Caller>() else { return Err(Problem::unauthorized()) };
    let account = caller.account;

    let (mut parts, body) = request.into_parts();
    let bytes = body::read_keyed(body, &state, account, parts.uri.path()).await?;
    parts.extensions.insert(body::InMemory);
    let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
    let fingerprint = fingerprint(state.store.link_key(), parts.method.as_str(), target, &bytes);
    let begun = state.store.begin_idempotent(account, key.clone(), fingerprint, state.clock.now()).await?;
    match begun {
        Idempotent::Fresh => {}
        Idempotent::Answered { status, body } => return Ok(replay(status, body)),
        Idempotent::InProgress => {
            let detail = "A request with this Idempotency-Key is under way. Send it again in a moment.";
            return Err(Problem::conflict("idempotency_in_progress", detail));
        }
        Idempotent::Mismatch => {
            let detail = "This Idempotency-Key was used for another request. Use a new key for each request.";
            return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency_mismatch", detail));
        }
    }

    let request = Request::from_parts(parts, Body::from(bytes));
    // A task of its own: a caller that hangs up must not leave the key "under way".
    let running = tokio::spawn(async move {
        let response = AssertUnwindSafe(next.run(request)).catch_unwind().await;
        let response = response.unwrap_or_else(|_| Problem::internal().into_response());
        let (response, answer) = kept(response).await;
        if let Err(error) = state.store.finish_idempotent(account, key, answer).await {
            error!(%error, "the answer to an Idempotency-Key was not kept");
        }
        response
    });
    Ok(running.await.unwrap_or_else(|_| Problem::internal().into_response()))
}

fn key_of(headers: &HeaderMap) -> Result<Option<Vec<u8>>, Problem> {
    let mut keys = headers.get_all(KEY).iter();
    let Some(key) = keys.next() else { return Ok(None) };
    if key.is_empty() || key.len() > LONGEST || keys.next().is_some() {
        let detail = format!("Send one Idempotency-Key of 1 to {LONGEST} characters, or none.");
        return Err(Problem::new(StatusCode::BAD_REQUEST, "bad_idempotency_key", detail));
    }
    Ok(Some(key.as_bytes().to_vec()))
}

/// Under a key of the store: the hash of a request that holds little more than a phone number would tell it.
fn fingerprint(key: &hmac::Key, method: &str, target: &str, body: &[u8]) -> [u8; 32] {
    let mut hash = hmac::Context::with_key(key);
    for part in [method.as_bytes(), target.as_bytes(), body] {
        hash.update(&(part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let hash = hash.sign();
    std::array::from_fn(|at| hash.as_ref()[at])
}

/// What is kept of a response: only success. A refused request made nothing, so its key is free again.
async fn kept(response: Response) -> (Response, Option<(u16, Vec<u8>)>) {
    if !response.status().is_success() {
        return (response, None);
    }
    let (parts, body) = response.into_parts();
    let bytes: Bytes = axum::body::to_bytes(body, MOST_ANSWER).await.unwrap_or_default();
    let answer = (parts.status.as_u16(), bytes.to_vec());
    (Response::from_parts(parts, Body::from(bytes)), Some(answer))
}

fn replay(status: u16, body: Vec<u8>) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    let kind = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    (status, [kind, (REPLAYED, HeaderValue::from_static("true"))], body).into_response()
}
