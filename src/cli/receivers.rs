//! Built-in receivers, one a dialect: they check, dedupe and acknowledge as the sample code that each seed prints for
//! its customers. Written from those samples: refuses to use postcall's own signing and checking, which it tests.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use data_encoding::{BASE64, HEXLOWER};
use hdrhistogram::Histogram;
use http::{HeaderMap, StatusCode};
use ring::hmac;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::dialer::sending::{micros, note};
use super::dialer::{Moment, Said};
use crate::clock::{Clock, System};
use crate::dialect::js_json::stringify_parse;
use crate::model::mac::{self, Mac};
use crate::model::{DialectName, Raw};

/// The largest body that is read: Express takes 100 KiB unless told otherwise, and so do we, with room to spare.
const LARGEST: usize = 1 << 20;

/// When each event first set out for a door: what the way from door to endpoint is measured from.
#[derive(Default)]
pub struct Departures(Mutex<HashMap<(String, Moment), Instant>>);

impl Departures {
    /// A body sets out now. A later part of a call may come first and then is its end.
    pub fn note(&self, said: &Said) {
        let moment = if said.moment == Moment::Updated { Moment::Ended } else { said.moment };
        lock(&self.0).entry((said.call_id.clone(), moment)).or_insert_with(Instant::now);
    }

    fn of(&self, call_id: &str, moment: Moment) -> Option<Instant> {
        lock(&self.0).get(&(call_id.to_owned(), moment)).copied()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a receiver has counted.
#[derive(Clone, Debug)]
pub struct Count {
    /// Requests that came.
    pub requests: u64,
    /// Deliveries that verified, each counted once.
    pub verified: u64,
    /// Requests that did not verify.
    pub refused: u64,
    /// From a door to here, in microseconds.
    pub latency: Histogram<u64>,
}

/// A receiver on loopback.
pub struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

struct Shared {
    dialect: DialectName,
    /// Deliveries whose first request is turned away with 503.
    turned_away: usize,
    secret: OnceLock<String>,
    departures: Arc<Departures>,
    heard: Mutex<Heard>,
}

struct Heard {
    count: Count,
    processed: HashSet<String>,
    turned_away: HashSet<String>,
}

impl Receiver {
    /// Starts one on a free port of loopback. It turns away the first request of its first `turned_away` deliveries,
    /// as a receiver does that is being deployed.
    ///
    /// # Errors
    /// When loopback has no port to give.
    pub async fn start(
        dialect: DialectName,
        turned_away: usize,
        departures: Arc<Departures>,
    ) -> Result<Self, String> {
        let unbound = |error: std::io::Error| format!("a receiver cannot listen on loopback: {error}");
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(unbound)?;
        let address = listener.local_addr().map_err(unbound)?;
        let count = Count { requests: 0, verified: 0, refused: 0, latency: micros() };
        let heard = Heard { count, processed: HashSet::new(), turned_away: HashSet::new() };
        let (secret, heard) = (OnceLock::new(), Mutex::new(heard));
        let shared = Arc::new(Shared { dialect, turned_away, secret, departures, heard });
        let app = Router::new().fallback(receive).with_state(Arc::clone(&shared));
        let server = tokio::spawn(async move { drop(axum::serve(listener, app).await) });
        Ok(Self { address, shared, server })
    }

    /// Where it is to be sent to.
    pub fn url(&self) -> String {
        format!("http://{}/webhook/{}", self.address, self.shared.dialect)
    }

    /// Tells it the endpoint's secret or bearer token. Until then nothing verifies.
    pub fn learn(&self, secret: &str) {
        let _ = self.shared.secret.set(secret.to_owned());
    }

    /// What it has counted so far.
    pub fn count(&self) -> Count {
        lock(&self.shared.heard).count.clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn receive(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let arrived = Instant::now();
    let Ok(body) = to_bytes(Body::new(body), LARGEST).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let secret = shared.secret.get().map_or("", String::as_str);
    let is_genuine = verify(shared.dialect, secret, &head.headers, &body, System.now().as_seconds());
    let delivery = identify(shared.dialect, &head.headers, &body);
    let mut heard = lock(&shared.heard);
    heard.count.requests += 1;
    let Some(delivery) = delivery.filter(|_| is_genuine) else {
        heard.count.refused += 1;
        return (StatusCode::UNAUTHORIZED, r#"{"error":"Invalid signature"}"#).into_response();
    };
    if heard.turned_away.len() < shared.turned_away && heard.turned_away.insert(delivery.id.clone()) {
        return (StatusCode::SERVICE_UNAVAILABLE, "being deployed").into_response();
    }
    if !heard.processed.insert(delivery.id) {
        return (StatusCode::OK, r#"{"received":true,"duplicate":true}"#).into_response();
    }
    heard.count.verified += 1;
    let departed = delivery.moment.and_then(|moment| shared.departures.of(&delivery.call_id, moment));
    if let Some(departed) = departed {
        note(&mut heard.count.latency, arrived.saturating_duration_since(departed));
    }
    (StatusCode::OK, r#"{"received":true}"#).into_response()
}

/// The check of each seed's sample; cllr's has none.
fn verify(dialect: DialectName, secret: &str, headers: &HeaderMap, body: &[u8], now: i64) -> bool {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match dialect {
        DialectName::Voicegenie => is_same(header("x-webhook-signature"), secret, body),
        DialectName::Dialgen => is_same(header("x-dialgen-signature"), secret, body),
        // The sample compares the bare digits with the whole header, which never fits; its prefix has to go first.
        DialectName::Aloro => {
            header("x-aloro-signature").strip_prefix("sha256=").is_some_and(|hex| is_same(hex, secret, body))
        }
        DialectName::Air => has(header("authorization"), &format!("Bearer {secret}")),
        DialectName::Cllr => true,
        DialectName::Standard => {
            let (id, timestamp) = (header("webhook-id"), header("webhook-timestamp"));
            let is_fresh = timestamp.parse().is_ok_and(|sent: i64| now.abs_diff(sent) <= 300);
            let key = BASE64.decode(secret.trim_start_matches("whsec_").as_bytes()).unwrap_or_default();
            let content = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body].concat();
            let expected = format!("v1,{}", BASE64.encode(&hmac_sha256(&key, &content)));
            is_fresh && header("webhook-signature").split(' ').any(|signature| has(signature, &expected))
        }
    }
}

/// `signature === hmac(JSON.stringify(req.body))`, where Express has parsed `req.body`.
fn is_same(signature: &str, secret: &str, body: &[u8]) -> bool {
    stringify_parse(body)
        .is_ok_and(|payload| has(signature, &HEXLOWER.encode(&hmac_sha256(secret.as_bytes(), &payload))))
}

fn has(given: &str, expected: &str) -> bool {
    mac::is_same(expected.as_bytes(), given.as_bytes())
}

fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    *Mac::over(&hmac::Key::new(hmac::HMAC_SHA256, key), &[message]).as_bytes()
}

/// One delivery, as its receiver tells it from others.
struct Delivery {
    /// What it dedupes by.
    id: String,
    call_id: String,
    /// What of the call; `None` for an update, which no single departure led to.
    moment: Option<Moment>,
}

fn identify(dialect: DialectName, headers: &HeaderMap, body: &[u8]) -> Option<Delivery> {
    let body = Raw::parse(std::str::from_utf8(body).ok()?)?;
    let ended = |path: &[&str]| {
        let call_id = at(&body, path)?;
        Some(Delivery { id: call_id.clone(), call_id, moment: Some(Moment::Ended) })
    };
    match dialect {
        DialectName::Voicegenie => {
            let (call_id, event) = (at(&body, &["call_uuid"])?, at(&body, &["event"])?);
            let moment = moment(&event.replace('_', "."));
            Some(Delivery { id: format!("{call_id} {event}"), call_id, moment })
        }
        DialectName::Cllr => ended(&["callId"]),
        DialectName::Dialgen => ended(&["callData", "id"]).or_else(|| {
            let (call_id, event) = (at(&body, &["batchId"])?, at(&body, &["event"])?);
            Some(Delivery { id: format!("{call_id} {event}"), call_id, moment: moment(&event) })
        }),
        DialectName::Aloro => ended(&["data", "call", "id"]),
        DialectName::Air => ended(&["call", "sid"]),
        DialectName::Standard => {
            let id = headers.get("webhook-id")?.to_str().ok()?.to_owned();
            let call_id = at(&body, &["data", "call_id"]).or_else(|| at(&body, &["data", "batch_id"]))?;
            Some(Delivery { id, call_id, moment: moment(&at(&body, &["type"])?) })
        }
    }
}

fn moment(event: &str) -> Option<Moment> {
    match event {
        "call.initiated" => Some(Moment::Initiated),
        "call.ringing" => Some(Moment::Ringing),
        "call.answered" => Some(Moment::Answered),
        "call.ended" | "call.failed" => Some(Moment::Ended),
        "batch.completed" => Some(Moment::Batch),
        _ => None,
    }
}

/// The text at a path of keys.
fn at(body: &Raw, path: &[&str]) -> Option<String> {
    let mut value = body.clone();
    for key in path {
        let inner = Raw::of(value.as_object()?.peek(key)?);
        value = inner;
    }
    value.as_text().map(|text| text.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};

    fn verifies(dialect: DialectName, secret: &str, header: (&str, &str), body: &str) -> bool {
        let name = HeaderName::from_bytes(header.0.as_bytes()).unwrap();
        let headers = HeaderMap::from_iter([(name, HeaderValue::from_str(header.1).unwrap())]);
        verify(dialect, secret, &headers, body.as_bytes(), 0)
    }

    /// Digits: Python's hmac.
    #[test]
    fn receivers_check_as_the_samples_do() {
        let aloro = r#"{"event":"call.ended","test":true,"data":{"call":{"id":"test_call_123"}}}"#;
        let digits = "c6362a2b5a13bec3ddc64da87c06962ef2e0f6cd55cc5346166a8aa22f5c450b";
        let prefixed = format!("sha256={digits}");
        let check = |value: &str, body: &str| {
            verifies(DialectName::Aloro, "aloro_test", ("x-aloro-signature", value), body)
        };
        assert!(check(&prefixed, aloro));
        assert!(!check(digits, aloro), "without its prefix");
        assert!(
            check(&prefixed, &aloro.replace(':', ": ")),
            "Express has parsed it, so blanks are no matter"
        );
        assert!(!check(&prefixed, &aloro.replace("123", "124")));

        let voicegenie = r#"{"call_uuid":"call-uuid-abc123","event":"call_ended"}"#;
        let digits = "ca79585bbd7078a46f5c265b503929b01006b298085e26ef83c6506b78e7fc42";
        let header = ("x-webhook-signature", digits);
        assert!(verifies(DialectName::Voicegenie, "vg_test", header, voicegenie));
        assert!(!verifies(DialectName::Voicegenie, "", header, voicegenie));
        assert!(!verifies(DialectName::Air, "sixteen-letters-1", ("authorization", "Bearer other"), "{}"));
    }

    #[test]
    fn deliveries_are_told_apart_by_what_each_seed_names() {
        let none = HeaderMap::new();
        for (dialect, body, id) in [
            (
                DialectName::Voicegenie,
                r#"{"call_uuid":"c","event":"call_ended","x":"\ud83d"}"#,
                "c call_ended",
            ),
            (DialectName::Cllr, r#"{"callId":"c"}"#, "c"),
            (DialectName::Dialgen, r#"{"success":true,"callData":{"id":"c"}}"#, "c"),
            (DialectName::Dialgen, r#"{"event":"batch.completed","batchId":"b"}"#, "b batch.completed"),
            (DialectName::Aloro, r#"{"data":{"call":{"id":"c"}}}"#, "c"),
            (DialectName::Air, r#"{"call":{"sid":"c"}}"#, "c"),
        ] {
            assert_eq!(identify(dialect, &none, body.as_bytes()).unwrap().id, id);
        }
        assert!(identify(DialectName::Air, &none, b"{}").is_none());
    }
}
