//! `Idempotency-Key`: a POST that is sent twice under one key happens once, and both get the same answer but for secrets,
//! which only the first one shows. What is kept belongs to the API key that asked: no other key of the account, with other
//! rights, is answered by it, and the rights of a key never change. One layer for every route, behind the judgement of
//! rights; does not know what is made.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use hyper::body::Body as _;
use ring::hmac;
use tracing::warn;

use super::auth::Caller;
use super::body;
use super::kept_answers::{ALLOWANCE, OVERHEAD};
use super::problem::Problem;
use super::shown_once::Repeat;
use super::state::ApiState;
use crate::model::AccountKey;
use crate::store::{Idempotency, Idempotent, StoreError};

/// The header by which a client names its request.
pub const KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Marks an answer that was given before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// The longest key in bytes.
const LONGEST: usize = 255;
/// The largest answer in bytes that is kept; most are far smaller.
const MOST_ANSWER: usize = 1 << 20;
/// What is kept in place of an answer that is too large, or that is past what the account may have kept.
const NOT_KEPT: &[u8] = br#"{"repeat":"This request was made before, and its answer was too large to be kept. Lists show what there is."}"#;
/// Waits between tries to write an answer down while the store is away: until then the request counts as under way. They do
/// not end and are not long, so that it counts so for seconds once the store is back.
fn finish_again() -> impl Iterator<Item = Duration> {
    [1, 1, 2].into_iter().chain(std::iter::repeat(4)).map(Duration::from_secs)
}

/// Runs a POST once for each key.
pub async fn once(State(state): State<ApiState>, request: Request, next: Next) -> Result<Response, Problem> {
    if request.method() != Method::POST {
        return Ok(next.run(request).await);
    }
    let Some(key) = key_of(request.headers())? else { return Ok(next.run(request).await) };
    let Some(caller) = request.extensions().get::<Caller>() else { return Err(Problem::unauthorized()) };
    let (account, key) = (caller.account, scoped(caller.key, &key));

    let (mut parts, body) = request.into_parts();
    let bytes = body::read_keyed(body, &state, account, parts.uri.path()).await?;
    parts.extensions.insert(body::InMemory);
    let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
    let fingerprint = fingerprint(state.store.link_key(), parts.method.as_str(), target, &bytes);
    let begun = state.store.begin_idempotent(account, key.clone(), fingerprint, state.clock.now()).await?;
    match begun {
        Idempotent::Fresh if !state.kept_answers.has(account, OVERHEAD, state.clock.now()) => {
            finish(state.store.clone(), account, key, None).await;
            return Err(used_up());
        }
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
        let (response, answer) = kept(&state, account, response).await;
        finish(state.store.clone(), account, key, answer).await;
        response
    });
    Ok(running.await.unwrap_or_else(|_| Problem::internal().into_response()))
}

/// Writes down how a request ended. The caller does not wait for a store that is away: it is tried again behind them.
async fn finish(
    requests: Arc<dyn Idempotency>,
    account: AccountKey,
    key: Vec<u8>,
    answer: Option<(u16, Vec<u8>)>,
) {
    let Err(error) = requests.finish_idempotent(account, key.clone(), answer.clone()).await else {
        return;
    };
    warn!(%error, "the answer to an Idempotency-Key is not kept yet");
    tokio::spawn(async move {
        for wait in finish_again() {
            tokio::time::sleep(wait).await;
            match requests.finish_idempotent(account, key.clone(), answer.clone()).await {
                // Another lease has begun, and what was under way in the one before is forgotten.
                Ok(()) | Err(StoreError::Lapsed(_)) => return,
                Err(_) => {}
            }
        }
    });
}

/// The name of a request in the store. No header holds the bytes that it begins with, so it is no name of an older version,
/// which kept answers by account.
fn scoped(api_key: i64, key: &[u8]) -> Vec<u8> {
    [&api_key.to_be_bytes(), key].concat()
}

fn used_up() -> Problem {
    let most = ALLOWANCE >> 20;
    let detail = format!(
        "The answers that are kept for this account's Idempotency-Keys have come to {most} MiB in a day. Send the request \
         without one, or later."
    );
    Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_kept_answers", detail)
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

/// What is kept of a response: only success, and nothing secret. A refused request made nothing, so its key is free again.
async fn kept(
    state: &ApiState,
    account: AccountKey,
    response: Response,
) -> (Response, Option<(u16, Vec<u8>)>) {
    if !response.status().is_success() {
        return (response, None);
    }
    let (mut parts, body) = response.into_parts();
    let (body, whole) = match (parts.extensions.remove::<Repeat>(), body.size_hint().exact()) {
        (Some(Repeat(without_secrets)), _) => (body, Some(without_secrets)),
        (None, Some(size)) if size <= MOST_ANSWER as u64 => {
            let bytes = axum::body::to_bytes(body, MOST_ANSWER).await.unwrap_or_default();
            (Body::from(bytes.clone()), Some(bytes))
        }
        (None, _) => (body, None),
    };
    let now = state.clock.now();
    let is_allowed = |answer: &Bytes| {
        answer.len() <= MOST_ANSWER && state.kept_answers.has(account, OVERHEAD + answer.len(), now)
    };
    let answer = whole.filter(is_allowed).unwrap_or(Bytes::from_static(NOT_KEPT));
    state.kept_answers.take(account, OVERHEAD + answer.len(), now);
    let status = parts.status.as_u16();
    (Response::from_parts(parts, body), Some((status, answer.to_vec())))
}

fn replay(status: u16, body: Vec<u8>) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    let kind = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    (status, [kind, (REPLAYED, HeaderValue::from_static("true"))], body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_long_the_store_was_away_a_kept_answer_is_seconds_late() {
        assert!(finish_again().take(100_000).all(|wait| wait <= Duration::from_secs(5)));
    }
}
