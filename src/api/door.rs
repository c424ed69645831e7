//! The doors: where dialers bring their events. A 200 from here means that it is on disk; a 401 looks the same
//! whoever asked and whatever was wrong. Refuses to know any system's way of writing: that is its dialect's.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use ring::hmac;
use serde::Serialize;
use tracing::{debug, error, warn};
use utoipa::ToSchema;

use super::ApiState;
use super::auth;
use super::body;
use super::budget::{Held, Share};
use super::peer::Peer;
use super::problem::Problem;
use crate::dialect::{self, Arrived, Dialect, Reading, Receipt, ReceiptKind};
use crate::metrics::Arrival;
use crate::model::event::Heard;
use crate::model::id::{self, Kind};
use crate::model::{AccountKey, DialectName, Source, Text, Time};
use crate::store::{Booked, Incoming, Recorded, StoreError, What};

/// The whole body of a 401.
const REFUSED: &str = r#"{"error":"Invalid signature"}"#;

/// What a door says after it has recorded something, in every dialect but voicegenie.
#[derive(Serialize, ToSchema)]
pub struct DoorAnswer {
    /// Always true.
    received: bool,
    /// The same was recorded before.
    #[schema(required = false)]
    duplicate: bool,
    /// Kept as it came, because no dialect could read it.
    #[schema(required = false)]
    quarantined: bool,
}

/// Bring events
///
/// The door of one source, at the `url` that the source shows. Takes any body that the source's dialect proves. A 200
/// means that it is recorded, or kept in quarantine if it could not be read.
#[utoipa::path(
    post, path = "/in/{source}", tag = "Doors",
    params(("source" = String, Path, description = "The last part of the source's `url`")),
    request_body(content = Object, description = "As the source's dialect writes it"),
    responses(
        (status = 200, description = "It is on disk", body = DoorAnswer),
        (status = 401, description = "No such source, or not proven: always `{\"error\":\"Invalid signature\"}`"),
        (status = 413, description = "The body is too large"),
        (status = 503, description = "Nothing was written: send it again in a moment"),
        (status = 507, description = "The source's quarantine is full"),
    ),
)]
pub async fn source(State(state): State<ApiState>, request: Request) -> Response {
    let start = Instant::now();
    let look = |uri: &Uri| uri.path().strip_prefix("/in/").and_then(|last| find(&state, last));
    answer(&state, look, request, start).await
}

/// Bring events to the voicegenie source
///
/// The door of the first voicegenie source of account `default`, or of the account whose API key is in `x-api-key`.
#[utoipa::path(
    post, path = "/aiDialerCallbackWithData", tag = "Doors",
    params(("x-api-key" = Option<String>, Header, description = "Whose source; account `default` without one")),
    request_body(content = Object, description = "A voicegenie callback, signed in `X-Webhook-Signature`"),
    responses(
        (status = 200, description = "It is on disk", body = Object),
        (status = 401, description = "Not proven: always `{\"error\":\"Invalid signature\"}`"),
        (status = 413, description = "The body is too large"),
        (status = 503, description = "Nothing was written: send it again in a moment"),
        (status = 507, description = "The source's quarantine is full"),
    ),
)]
pub async fn ai_dialer_callback(State(state): State<ApiState>, request: Request) -> Response {
    let start = Instant::now();
    let key = auth::seed_key(request.headers());
    // Without a signature the proof would be a URL, and this one can be guessed; then only a key will do.
    let needs_secret = key.is_none();
    let account = match key {
        None => Some(AccountKey::DEFAULT),
        Some(key) => match auth::find(&state, key).await {
            Ok(found) => found.map(|key| key.account),
            Err(error) => return Problem::from(error).into_response(),
        },
    };
    let look = |_: &Uri| {
        let config = account.and_then(|account| state.store.config(account));
        let is_voicegenie = |source: &&Arc<Source>| source.dialect == DialectName::Voicegenie;
        let source = config.and_then(|config| config.sources.iter().find(is_voicegenie).cloned());
        source.filter(|source| !needs_secret || !source.credential.secrets.is_empty())
    };
    answer(&state, look, request, start).await
}

/// The source of the last part of a path: its id, and for an unsigned one its token after a dot.
fn find(state: &ApiState, last: &str) -> Option<Arc<Source>> {
    let (id, token) = last.split_once('.').map_or((last, None), |(id, token)| (id, Some(token)));
    let (tag, number) = id::parse(Kind::Source, id)?;
    let source = Arc::clone(state.store.config_by_tag(tag)?.source(number)?);
    let is_its = match (&source.url_token, token) {
        (None, None) => true,
        (Some(expected), Some(given)) => is_same(state.store.link_key(), expected.expose(), given.as_bytes()),
        _ => false,
    };
    is_its.then_some(source)
}

/// Compares in a time that says nothing about where two tokens differ.
fn is_same(key: &hmac::Key, expected: &[u8], given: &[u8]) -> bool {
    hmac::verify(key, given, hmac::sign(key, expected).as_ref()).is_ok()
}

/// Also for a door that is not there the body is read first: the answer tells nobody which doors exist.
async fn answer(
    state: &ApiState,
    look: impl Fn(&Uri) -> Option<Arc<Source>>,
    request: Request,
    start: Instant,
) -> Response {
    let (parts, body) = request.into_parts();
    let peer = Peer::of(&parts.extensions);
    // Until a body is verified, only its sender's past speaks for it.
    let share = if state.peers.is_proven(peer) { Share::Proven } else { Share::Unproven };
    let read = body::read(body, state, share, state.settings.max_body).await;
    let Held { bytes: body, mut permit } = match read {
        Ok(held) => held,
        Err(problem) => return problem.into_response(),
    };
    let now = state.clock.now();
    let arrived = Arrived { headers: &parts.headers, body: &body };
    let mut source = look(&parts.uri);
    let mut is_proven = source.as_ref().is_some_and(|source| proves(source, &arrived, now));
    if !is_proven {
        // It may have been made, or have got another secret, through another node.
        if let Err(error) = state.store.catch_up().await {
            return Problem::from(error).into_response();
        }
        let current = look(&parts.uri);
        let is_known = match (&source, &current) {
            (Some(known), Some(current)) => Arc::ptr_eq(known, current),
            (_, current) => current.is_none(),
        };
        if !is_known {
            is_proven = current.as_ref().is_some_and(|source| proves(source, &arrived, now));
        }
        source = current;
    }
    let Some(source) = source else {
        state.metrics.stranger();
        return refused();
    };
    let (arrival, response) = match is_proven {
        true => {
            state.peers.proved(peer);
            permit.prove();
            // Before it is parsed: what one account brings must not stand before all of another's.
            let _pass = state.writer.enter(source.account).await;
            take_in(state, &source, &parts.headers, body, now).await
        }
        false => (Arrival::Unauthorized, refused()),
    };
    drop(permit);
    state.metrics.arrived(source.dialect, arrival, start.elapsed());
    response
}

fn proves(source: &Source, arrived: &Arrived<'_>, now: Time) -> bool {
    let proven = dialect::get(source.dialect).authenticate(arrived, &source.credential, now);
    if let Err(mismatch) = &proven {
        debug!(source = %source.id, %mismatch, "refused at the door");
    }
    proven.is_ok()
}

async fn take_in(
    state: &ApiState,
    source: &Source,
    headers: &HeaderMap,
    body: Bytes,
    now: Time,
) -> (Arrival, Response) {
    let dialect = dialect::get(source.dialect);
    let (what, call_id) = match read(dialect, source, &body) {
        Reading::Ignored(kind) => {
            debug!(source = %source.id, %kind, "nothing to keep");
            return (Arrival::Ignored, receipt(state, dialect, ReceiptKind::Ignored, None, Vec::new()));
        }
        Reading::Events(heard) => {
            let call_id = heard.iter().find_map(call_id);
            (What::heard(heard), call_id)
        }
        Reading::Test(heard) => {
            let call_id = Some(heard.call.call_id.clone());
            (What::Test(heard), call_id)
        }
        Reading::Unreadable(why) => {
            // The reason may quote the body; it is kept beside it and stays out of the log.
            warn!(source = %source.id, "a body goes to quarantine");
            (What::Unreadable(why), None)
        }
    };
    let is_test = matches!(what, What::Test(_));
    let content_type = headers.get(header::CONTENT_TYPE);
    let content_type = content_type.map(|kind| String::from_utf8_lossy(kind.as_bytes()).into_owned());
    let (account, source) = (source.account, source.number);
    let incoming = Incoming { account, source, received_at: now, raw: body, content_type, what };
    match state.writer.record(incoming).await {
        Ok(Recorded::Done { kind, planned, booked }) => {
            state.metrics.planned(planned);
            (arrival(kind, is_test), receipt(state, dialect, kind, call_id, actions(booked, planned)))
        }
        Ok(Recorded::QuotaExceeded) => (Arrival::QuotaExceeded, full().into_response()),
        Err(StoreError::Data(why)) => {
            error!(%why, "a body could not be stored at all");
            (Arrival::Unavailable, Problem::unavailable().into_response())
        }
        Err(StoreError::Unavailable(_) | StoreError::Unknown(_) | StoreError::Lapsed(_)) => {
            (Arrival::Unavailable, Problem::unavailable().into_response())
        }
    }
}

/// Reads a body. Even a bug in a reader must not lose what a vendor may never send again.
fn read(dialect: &dyn Dialect, source: &Source, body: &[u8]) -> Reading {
    catch_unwind(AssertUnwindSafe(|| dialect.read(body))).unwrap_or_else(|_| {
        error!(source = %source.id, dialect = %source.dialect, "the reader of this dialect failed");
        Reading::Unreadable("the reader of this dialect failed on it".to_owned())
    })
}

fn call_id(heard: &Heard) -> Option<Text> {
    match heard {
        Heard::Call(heard) => Some(heard.call.call_id.clone()),
        Heard::Batch(_) => None,
    }
}

fn arrival(kind: ReceiptKind, is_test: bool) -> Arrival {
    match kind {
        ReceiptKind::Recorded if is_test => Arrival::Test,
        ReceiptKind::Recorded => Arrival::Recorded,
        ReceiptKind::Duplicate => Arrival::Duplicate,
        ReceiptKind::Quarantined => Arrival::Quarantined,
        ReceiptKind::Ignored => Arrival::Ignored,
    }
}

/// What really happened, in the words of seed 000 `actions_taken`.
fn actions(booked: Booked, planned: usize) -> Vec<&'static str> {
    let all = [
        (booked.campaign, "campaign_record_updated"),
        (booked.analytics, "analytics_recorded"),
        (planned > 0, "webhook_triggered"),
    ];
    all.into_iter().filter_map(|(has_happened, action)| has_happened.then_some(action)).collect()
}

fn receipt(
    state: &ApiState,
    dialect: &dyn Dialect,
    kind: ReceiptKind,
    call_id: Option<Text>,
    actions: Vec<&'static str>,
) -> Response {
    let receipt = Receipt { kind, call_id, processed_at: state.clock.now(), actions };
    json(StatusCode::OK, dialect.answer(&receipt))
}

fn refused() -> Response {
    json(StatusCode::UNAUTHORIZED, REFUSED)
}

fn full() -> Problem {
    let detail =
        "The quarantine of this source is full. Reprocess or discard what is in it, then send again.";
    Problem::new(StatusCode::INSUFFICIENT_STORAGE, "quarantine_full", detail)
}

fn json(status: StatusCode, body: impl Into<axum::body::Body>) -> Response {
    let kind = HeaderValue::from_static("application/json");
    (status, [(header::CONTENT_TYPE, kind)], body.into()).into_response()
}
