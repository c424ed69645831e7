//! The test button: the dialect's sample, signed like a real event and sent at once. Never retried, never in the
//! books. Refuses to know how sending works.

use std::collections::BTreeMap;
use std::fmt::Write;

use axum::Json as Answer;
use axum::extract::State;
use bytes::Bytes;
use data_encoding::BASE32_NOPAD;
use http::{HeaderName, HeaderValue};
use serde::Serialize;
use utoipa::ToSchema;

use super::auth::Caller;
use super::body::{Id, Json};
use super::courier::Sent;
use super::endpoints;
use super::form::{Form, Given};
use super::problem::Problem;
use super::redact;
use super::state::ApiState;
use crate::clock::random_bytes;
use crate::dialect::{self, Outgoing};
use crate::model::{DialectName, Endpoint, EventType};

/// What a test may say. The body may be left out.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the form of a request in the documentation; `read_form` is what reads it")]
pub struct TestForm {
    /// Of which event type the sample is; `standard` only.
    event_type: Option<String>,
}

/// What came of a test.
#[derive(Debug, Serialize, ToSchema)]
pub struct Tested {
    /// Whether a 2xx came back.
    ok: bool,
    status: Option<u16>,
    latency_ms: f64,
    /// What went wrong, in a sentence.
    error: Option<String>,
    request: Message,
    response: Message,
}

/// Headers and body of one direction.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct Message {
    /// Of a request, the values of the endpoint's own headers are hidden, unless they were given as plain.
    headers: BTreeMap<String, String>,
    body: String,
}

/// Test an endpoint
///
/// Sends the dialect's sample, signed like a real event, at once and only once. It is in no books.
#[utoipa::path(
    post, path = "/v1/endpoints/{id}/test", tag = "Endpoints", params(("id" = String, Path)),
    request_body = Option<TestForm>,
    responses(
        (status = 200, description = "What was sent and what came back", body = Tested),
        (status = 429, description = "`too_many_tests`: eight are under way"),
    ),
)]
pub async fn test(
    State(state): State<ApiState>,
    caller: Caller,
    Id(id): Id,
    Json(body): Json,
) -> Result<Answer<Tested>, Problem> {
    let endpoint = endpoints::find(&*state.store, &caller, &id)?;
    let kind = read_form(&body, endpoint.dialect)?;
    let _turn = state.tests.begin(caller.account)?;
    let (dialect, now) = (dialect::get(endpoint.dialect), state.clock.now());
    let body = Bytes::from(dialect.sample(kind, now));
    // Unguessable, so that no test can be taken for, or stand in the way of, a real event.
    let event_id = format!("evt_test_{}", BASE32_NOPAD.encode(&random_bytes::<15>()).to_ascii_lowercase());
    let outgoing = Outgoing { event_id: &event_id, at: now, body: &body };
    let mut headers = custom_headers(&endpoint);
    headers.extend(dialect.sign(&outgoing, &endpoint.credential));
    let timeout = endpoint.delivering.timeout_or(dialect.policy().timeout);
    let request =
        Message { headers: shown(&endpoint, &headers), body: String::from_utf8_lossy(&body).into_owned() };
    let credentials = credentials(&endpoint, &headers);
    let sent = state.courier.send(caller.account, &endpoint.url, headers, body, timeout).await;
    Ok(Answer(tested(sent, request, &credentials)))
}

/// What was sent that must not come back: some receivers answer with the request.
fn credentials(endpoint: &Endpoint, headers: &[(HeaderName, HeaderValue)]) -> Vec<String> {
    let hidden = headers.iter().filter(|(name, value)| is_hidden(endpoint, name, value));
    let values = hidden.map(|(_, value)| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let words = values.flat_map(|value| value.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
    let token = endpoint.credential.bearer_token.iter();
    words.chain(token.map(|token| String::from_utf8_lossy(token.expose()).into_owned())).collect()
}

/// Whether a header's value is a credential, or may be one.
fn is_hidden(endpoint: &Endpoint, name: &HeaderName, value: &HeaderValue) -> bool {
    let is_own = endpoint.headers.iter().any(|(own, _)| own.eq_ignore_ascii_case(name.as_str()));
    value.is_sensitive() || is_own && !endpoint.shows_header(name.as_str())
}

fn read_form(body: &[u8], dialect: DialectName) -> Result<Option<EventType>, Problem> {
    let mut form = Form::read(body)?;
    let kind = match form.string("event_type") {
        Given::Value(_) if dialect != DialectName::Standard => {
            form.wrong(
                "event_type",
                "not_used",
                format!("The dialect {dialect} has one sample; leave it out."),
            );
            None
        }
        Given::Value(name) => {
            let kind = EventType::parse(&name);
            if kind.is_none() {
                let names = EventType::ALL.map(EventType::as_str).join(", ");
                form.wrong("event_type", "unknown_event_type", format!("Give one of: {names}."));
            }
            kind
        }
        Given::Null | Given::Absent => None,
    };
    form.finish()?;
    Ok(kind)
}

/// The endpoint's own headers. They were checked when they were set.
fn custom_headers(endpoint: &Endpoint) -> Vec<(HeaderName, HeaderValue)> {
    let parse = |(name, value): &(String, String)| {
        Some((HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_str(value).ok()?))
    };
    endpoint.headers.iter().filter_map(parse).collect()
}

/// The headers as they went out, the endpoint's own with their values hidden: of a name that comes twice the later one
/// stands.
fn shown(endpoint: &Endpoint, headers: &[(HeaderName, HeaderValue)]) -> BTreeMap<String, String> {
    let kind = ("content-type".to_owned(), "application/json".to_owned());
    let given = headers.iter().map(|(name, value)| {
        let is_hidden = is_hidden(endpoint, name, value);
        let value = if is_hidden { redact::HIDDEN.into() } else { String::from_utf8_lossy(value.as_bytes()) };
        (name.to_string(), value.into_owned())
    });
    std::iter::once(kind).chain(given).collect()
}

fn tested(sent: Sent, request: Message, credentials: &[String]) -> Tested {
    let ok = sent.error.is_none() && sent.status.is_some_and(|status| (200..300).contains(&status));
    let error = match sent.status {
        Some(status) if !ok && sent.error.is_none() => {
            let mut why = format!("The endpoint answered {status}; only a 2xx counts as received.");
            if (300..400).contains(&status) {
                let _ = write!(why, " Redirects are not followed: set the URL that this one leads to.");
            }
            Some(why)
        }
        _ => sent.error,
    };
    let mut headers: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in sent.headers {
        let all = headers.entry(name).or_default();
        if !all.is_empty() {
            all.push_str(", ");
        }
        all.push_str(&value);
    }
    for (name, value) in &mut headers {
        *value = match name.as_str() {
            // The receiver's own session, which is no concern of who presses the button.
            "set-cookie" => redact::HIDDEN.to_owned(),
            _ => redact::echo(std::mem::take(value), credentials),
        };
    }
    let body = redact::echo(String::from_utf8_lossy(&sent.body).into_owned(), credentials);
    let response = Message { headers, body };
    let latency_ms = sent.latency.as_secs_f64() * 1000.0;
    Tested { ok, status: sent.status, latency_ms, error, request, response }
}
