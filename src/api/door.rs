//! The doors: where dialers bring their events. A 200 from here means that it is on disk; a 401 looks the same
//! whoever asked and whatever was wrong. Refuses to know any system's way of writing: that is its dialect's.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use serde::Serialize;
use tracing::{debug, error, warn};
use utoipa::ToSchema;

use super::auth;
use super::body;
use super::budget::{Held, Share};
use super::credential;
use super::decoy::Decoy;
use super::peer::Peer;
use super::problem::Problem;
use super::state::ApiState;
use crate::dialect::{self, Arrived, Dialect, Reading, Receipt, ReceiptKind, Work};
use crate::metrics::{Arrival, Metrics};
use crate::model::event::{Heard, LONGEST_IDENTIFIER};
use crate::model::id::{self, Kind};
use crate::model::{AccountKey, DialectName, Right, Source, Text, Time};
use crate::store::{Booked, Incoming, Parsed, Recorded, StoreError};

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
    let look = |uri: &Uri| find(&state, uri.path().strip_prefix("/in/").unwrap_or_default());
    answer(&state, look, request, start).await
}

/// Bring events to the voicegenie source
///
/// The door of the first voicegenie source of account `default`, or of the account whose API key is in `x-api-key`. Such a
/// key needs the right `ingest`.
#[utoipa::path(
    post, path = "/aiDialerCallbackWithData", tag = "Doors",
    params(("x-api-key" = Option<String>, Header, description = "Whose source; account `default` without one")),
    request_body(content = Object, description = "A voicegenie callback, signed in `X-Webhook-Signature`"),
    responses(
        (status = 200, description = "It is on disk", body = Object),
        (status = 401, description = "Not proven: always `{\"error\":\"Invalid signature\"}`"),
        (status = 403, description = "The API key is valid and does not have the right `ingest`"),
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
        Some(key) => match auth::find(&state, Peer::of(request.extensions()), key).await {
            Ok(Some(key)) if !key.rights.has(Right::Ingest) => {
                return auth::lacking(Right::Ingest).into_response();
            }
            Ok(found) => found.map(|key| key.account),
            Err(problem) => return problem.into_response(),
        },
    };
    let look = |_: &Uri| {
        let config = account.and_then(|account| state.store.config(account));
        let is_voicegenie = |source: &&Arc<Source>| source.dialect == DialectName::Voicegenie;
        let source = config.and_then(|config| config.sources.iter().find(is_voicegenie).cloned());
        let is_at_its_url =
            source.as_ref().is_some_and(|source| !needs_secret || !source.credential.secrets.is_empty());
        let decoy = (!is_at_its_url).then(|| state.decoys.of_dialect(DialectName::Voicegenie));
        Named { source, is_at_its_url, decoy }
    };
    answer(&state, look, request, start).await
}

/// What the URL of a request names.
struct Named<'a> {
    /// The source of that id.
    source: Option<Arc<Source>>,
    /// Whether the URL is the source's own, its token included.
    is_at_its_url: bool,
    /// What is checked in place of a source: where there is none, and where nothing but its URL would prove it.
    decoy: Option<&'a Decoy>,
}

impl Named<'_> {
    /// The source, for a request at its own URL.
    fn source(&self) -> Option<&Arc<Source>> {
        self.source.as_ref().filter(|_| self.is_at_its_url)
    }

    /// Whether a request comes from who may bring events here.
    fn proves(&self, metrics: &Metrics, headers: &HeaderMap, body: &[u8], now: Time) -> bool {
        let (name, credential) = match (self.decoy, &self.source) {
            (Some(decoy), _) => (decoy.dialect, &decoy.credential),
            (None, Some(source)) => (source.dialect, &source.credential),
            (None, None) => return false,
        };
        let work = Work::default();
        let proven = dialect::get(name).authenticate(&Arrived::new(headers, body, &work), credential, now);
        metrics.checked(work.hmacs(), work.ed25519());
        let source = self.source().map(|source| source.id.as_str());
        if let Err(mismatch) = &proven {
            debug!(source, %mismatch, "refused at the door");
        }
        proven.is_ok() && self.decoy.is_none() && source.is_some()
    }
}

/// The source of the last part of a path: its id, and for an unsigned one its token after a dot.
fn find<'a>(state: &'a ApiState, last: &str) -> Named<'a> {
    let (id, token) = last.split_once('.').map_or((last, None), |(id, token)| (id, Some(token)));
    let known = |(tag, number)| state.store.config_by_tag(tag)?.source(number).cloned();
    let source: Option<Arc<Source>> = id::parse(Kind::Source, id).and_then(known);
    let is_at_its_url = source.as_ref().is_some_and(|source| match (&source.url_token, token) {
        (None, None) => true,
        (Some(expected), Some(given)) => expected.fits(given.as_bytes()),
        _ => false,
    });
    let is_checked =
        source.as_ref().is_some_and(|source| is_at_its_url || !credential::is_empty(&source.credential));
    let decoy = (!is_checked).then(|| state.decoys.of(state.store.link_key(), id.as_bytes()));
    Named { source, is_at_its_url, decoy }
}

/// Also for a door that is not there the body is read first: the answer tells nobody which doors exist.
async fn answer<'a>(
    state: &'a ApiState,
    look: impl Fn(&Uri) -> Named<'a>,
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
    let mut named = look(&parts.uri);
    let mut is_proven = named.proves(&state.metrics, &parts.headers, &body, now);
    if !is_proven {
        // It may have been made, or have got another secret, through another node.
        if let Err(error) = state.store.catch_up().await {
            return Problem::from(error).into_response();
        }
        let current = look(&parts.uri);
        let is_known = match (&named.source, &current.source) {
            (Some(known), Some(current)) => Arc::ptr_eq(known, current),
            (_, current) => current.is_none(),
        };
        if !is_known {
            is_proven = current.proves(&state.metrics, &parts.headers, &body, now);
        }
        named = current;
    }
    let Some(source) = named.source() else {
        state.metrics.stranger(start.elapsed());
        return refused();
    };
    let (arrival, response) = match is_proven {
        true => {
            state.peers.proved(peer);
            permit.prove();
            // Before it is parsed: what one account brings must not stand before all of another's.
            let _pass = state.writer.enter(source.account).await;
            take_in(state, source, &parts.headers, body, now).await
        }
        false => (Arrival::Unauthorized, refused()),
    };
    drop(permit);
    state.metrics.arrived(source.dialect, arrival, start.elapsed());
    response
}

async fn take_in(
    state: &ApiState,
    source: &Source,
    headers: &HeaderMap,
    body: Bytes,
    now: Time,
) -> (Arrival, Response) {
    let dialect = dialect::get(source.dialect);
    let (parsed, call_id) = match read(dialect, source, &body) {
        Reading::Ignored(kind) => {
            debug!(source = %source.id, %kind, "nothing to keep");
            return (Arrival::Ignored, receipt(state, dialect, ReceiptKind::Ignored, None, Vec::new()));
        }
        Reading::Events(heard) => {
            let call_id = heard.iter().find_map(call_id);
            (Parsed::events(heard), call_id)
        }
        Reading::Test(heard) => {
            let call_id = Some(heard.call.call_id.clone());
            (Parsed::Test(heard), call_id)
        }
        Reading::Unreadable(why) => {
            // The reason may quote the body; it is kept beside it and stays out of the log.
            warn!(source = %source.id, "a body goes to quarantine");
            (Parsed::Unreadable(why), None)
        }
    };
    let is_test = matches!(parsed, Parsed::Test(_));
    let content_type = headers.get(header::CONTENT_TYPE);
    let content_type = content_type.map(|kind| String::from_utf8_lossy(kind.as_bytes()).into_owned());
    let (account, source) = (source.account, source.number);
    let incoming = Incoming { account, source, received_at: now, raw: body, content_type, parsed };
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
        Err(error @ (StoreError::Full(_) | StoreError::Damaged(_))) => {
            (Arrival::Unavailable, Problem::from(error).into_response())
        }
        Err(
            StoreError::Unavailable(_)
            | StoreError::Conflict(_)
            | StoreError::Unknown(_)
            | StoreError::Lapsed(_)
            | StoreError::Stale
            | StoreError::LimitReached(..),
        ) => (Arrival::Unavailable, Problem::unavailable().into_response()),
    }
}

/// Reads a body. Even a bug in a reader must not lose what a vendor may never send again.
fn read(dialect: &dyn Dialect, source: &Source, body: &[u8]) -> Reading {
    let reading = catch_unwind(AssertUnwindSafe(|| dialect.read(body))).unwrap_or_else(|_| {
        error!(source = %source.id, dialect = %source.dialect, "the reader of this dialect failed");
        Reading::Unreadable("the reader of this dialect failed on it".to_owned())
    });
    let long = match &reading {
        Reading::Events(heard) => heard.iter().find_map(Heard::long_identifier),
        Reading::Test(heard) => heard.long_identifier(),
        Reading::Ignored(_) | Reading::Unreadable(_) => None,
    };
    match long {
        Some(name) => Reading::Unreadable(format!("its {name} has more than {LONGEST_IDENTIFIER} bytes")),
        None => reading,
    }
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
