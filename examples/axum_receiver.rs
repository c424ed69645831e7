//! Receives post-call webhooks from postcall, in each of its dialects. Keep the routes that you need.
//!
//! ```sh
//! PORT=3000 ALORO_SECRET=keep-this-one cargo run --example axum_receiver
//! ```
//!
//! Every route does the same four things, in this order: prove who sends, know what came before, answer at once, and
//! only then work. A sender waits a few seconds for the answer and sends again when none comes. A route is open when
//! its secret is set; `GET /seen` shows what came.
#![expect(clippy::disallowed_methods, reason = "a program of its own, with its own environment and clock")]

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::body::Bytes;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use data_encoding::{BASE64, HEXLOWER};
use ring::hmac;
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let seen = Arc::new(Seen::default());
    let open = |dialect, path, variable, read| route(Arc::clone(&seen), dialect, path, variable, read);
    let app = Router::new()
        .merge(open("voicegenie", "/webhooks/voicegenie", "VOICEGENIE_SECRET", voicegenie))
        .merge(open("dialgen", "/webhooks/dialgen/call-complete", "DIALGEN_SECRET", dialgen_call))
        .merge(open("dialgen", "/webhooks/dialgen/batch-complete", "DIALGEN_SECRET", dialgen_batch))
        .merge(open("aloro", "/webhooks/aloro", "ALORO_SECRET", aloro))
        .merge(open("air", "/webhooks/air", "AIR_TOKEN", air))
        .merge(open("cllr", "/webhooks/cllr/{token}", "CLLR_TOKEN", cllr))
        .merge(open("standard", "/webhooks/standard", "STANDARD_SECRET", standard))
        .route("/seen", get(async move || Json(seen.list())))
        .layer(DefaultBodyLimit::max(5 << 20));

    let port = std::env::var("PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(3000);
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("listening on {}", listener.local_addr()?);
    axum::serve(listener, app).await
}

// The dialects: the proof, then what makes two events the same, then the news for the work to do.
//
// A type names only the fields that are needed. Free text is a `RawValue`, because a transcript may hold half an emoji,
// which JSON can write and `String` and `serde_json::Value` refuse.

fn voicegenie(request: &Request<'_>) -> Result<Event, Refusal> {
    #[derive(Deserialize)]
    struct Body {
        call_uuid: String,
        event: String,
    }
    request.check_hex_signature("x-webhook-signature")?;
    let body: Body = request.json()?;
    Ok(Event { id: format!("{} {}", body.call_uuid, body.event), news: body.event })
}

fn dialgen_call(request: &Request<'_>) -> Result<Event, Refusal> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Body {
        call_data: CallData,
    }
    #[derive(Deserialize)]
    struct CallData {
        id: String,
        summary: Option<Box<RawValue>>,
    }
    request.check_hex_signature("x-dialgen-signature")?;
    let call = request.json::<Body>()?.call_data;
    Ok(Event { id: call.id, news: written(call.summary) })
}

fn dialgen_batch(request: &Request<'_>) -> Result<Event, Refusal> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Body {
        batch_id: String,
        event: String,
        statistics: Option<Box<RawValue>>,
    }
    request.check_hex_signature("x-dialgen-signature")?;
    let body: Body = request.json()?;
    Ok(Event { id: format!("{} {}", body.batch_id, body.event), news: written(body.statistics) })
}

fn aloro(request: &Request<'_>) -> Result<Event, Refusal> {
    #[derive(Deserialize)]
    struct Body {
        data: Data,
    }
    #[derive(Deserialize)]
    struct Data {
        call: Call,
        variables: Option<Box<RawValue>>,
    }
    #[derive(Deserialize)]
    struct Call {
        id: String,
    }
    request.check_hex_signature("x-aloro-signature")?;
    let data = request.json::<Body>()?.data;
    Ok(Event { id: data.call.id, news: written(data.variables) })
}

fn air(request: &Request<'_>) -> Result<Event, Refusal> {
    #[derive(Deserialize)]
    struct Body {
        call: Call,
    }
    #[derive(Deserialize)]
    struct Call {
        sid: String,
        transcript: Option<Box<RawValue>>,
    }
    let is_ours =
        request.header("authorization")?.strip_prefix("Bearer ").is_some_and(|it| request.is_secret(it));
    ensure(is_ours, "Authorization is not our bearer token")?;
    let call = request.json::<Body>()?.call;
    Ok(Event { id: call.sid, news: written(call.transcript) })
}

/// cllr signs nothing and sends once: the proof is a URL that nobody can guess.
fn cllr(request: &Request<'_>) -> Result<Event, Refusal> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Body {
        call_id: String,
        call_analysis: Option<Box<RawValue>>,
    }
    let token = request.path.rsplit('/').next().unwrap_or_default();
    ensure(request.is_secret(token), "the URL does not end with our token")?;
    let body: Body = request.json()?;
    Ok(Event { id: body.call_id, news: written(body.call_analysis) })
}

fn standard(request: &Request<'_>) -> Result<Event, Refusal> {
    #[derive(Deserialize)]
    struct Body {
        r#type: String,
    }
    request.check_standard_webhooks()?;
    let id = request.header("webhook-id")?.to_owned();
    Ok(Event { id, news: request.json::<Body>()?.r#type })
}

fn written(value: Option<Box<RawValue>>) -> String {
    value.map_or_else(String::new, |value| value.get().to_owned())
}

/// What the work is about.
struct Event {
    id: String,
    news: String,
}

/// In a real system this writes to the CRM. What goes wrong in here is ours to notice: the sender has its answer, and
/// sending again would not help.
async fn work(dialect: &'static str, event: Event) {
    println!("{dialect} {}: {}", event.id, event.news);
}

// The four steps.

fn route(
    seen: Arc<Seen>,
    dialect: &'static str,
    path: &'static str,
    variable: &str,
    read: fn(&Request<'_>) -> Result<Event, Refusal>,
) -> Router {
    // Without a secret the route stays closed: an empty one would let everybody in.
    let Some(secret) = std::env::var(variable).ok().filter(|secret| !secret.is_empty()) else {
        return Router::new();
    };
    let handler = async move |uri: Uri, headers: HeaderMap, body: Bytes| {
        let request = Request { path: uri.path(), headers: &headers, body: &body, secret: &secret };
        let event = match read(&request) {
            Ok(event) => event,
            Err(refusal) => {
                if matches!(refusal, Refusal::Unproven(_)) {
                    seen.refused(dialect);
                }
                return refusal.into_response();
            }
        };
        let duplicate = seen.accepted(dialect, path, &event.id);
        if duplicate {
            return Json(json!({ "received": true, "duplicate": true })).into_response();
        }
        if !request.is_test() {
            tokio::spawn(work(dialect, event));
        }
        Json(json!({ "received": true })).into_response()
    };
    Router::new().route(path, post(handler))
}

/// What came. In a real system this is a table with the key (dialect, id): insert the body before you answer, and a
/// conflict is a duplicate. Memory forgets with every restart, also the work that was not done yet.
#[derive(Default)]
struct Seen(Mutex<(HashSet<String>, VecDeque<Entry>)>);

#[derive(Clone, Serialize)]
struct Entry {
    dialect: &'static str,
    id: Option<String>,
    verified: bool,
    duplicate: bool,
}

impl Seen {
    /// Remembers an event; says whether it was here before.
    fn accepted(&self, dialect: &'static str, path: &str, id: &str) -> bool {
        let mut inside = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let duplicate = !inside.0.insert(format!("{path} {id}"));
        remember(&mut inside.1, Entry { dialect, id: Some(id.to_owned()), verified: true, duplicate });
        duplicate
    }

    fn refused(&self, dialect: &'static str) {
        let mut inside = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        remember(&mut inside.1, Entry { dialect, id: None, verified: false, duplicate: false });
    }

    fn list(&self) -> VecDeque<Entry> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1.clone()
    }
}

fn remember(entries: &mut VecDeque<Entry>, entry: Entry) {
    entries.push_back(entry);
    if entries.len() > 1000 {
        entries.pop_front();
    }
}

// Proofs, all on the raw bytes: what postcall signs is exactly the bytes that it sends.

struct Request<'a> {
    path: &'a str,
    headers: &'a HeaderMap,
    body: &'a [u8],
    secret: &'a str,
}

impl Request<'_> {
    /// HMAC-SHA256 of the body in hex, with or without `sha256=` before it.
    fn check_hex_signature(&self, header: &str) -> Result<(), Refusal> {
        let given = self.header(header)?;
        let digits = given.strip_prefix("sha256=").unwrap_or(given);
        let signature = HEXLOWER.decode(digits.as_bytes()).unwrap_or_default();
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.secret.as_bytes());
        let fits = hmac::verify(&key, self.body, &signature).is_ok();
        ensure(fits, format!("{header} does not fit this body and our secret"))
    }

    /// Standard Webhooks: one of the signatures must fit (there are two while a secret is being rotated), and it must
    /// not be old.
    fn check_standard_webhooks(&self) -> Result<(), Refusal> {
        let (id, timestamp) = (self.header("webhook-id")?, self.header("webhook-timestamp")?);
        let secret = self.secret.strip_prefix("whsec_").unwrap_or(self.secret);
        let key = hmac::Key::new(hmac::HMAC_SHA256, &BASE64.decode(secret.as_bytes()).unwrap_or_default());
        let content = [id.as_bytes(), timestamp.as_bytes(), self.body].join(&b'.');
        let fits = self.header("webhook-signature")?.split(' ').any(|signature| {
            let encoded = signature.strip_prefix("v1,").unwrap_or_default();
            BASE64.decode(encoded.as_bytes()).is_ok_and(|it| hmac::verify(&key, &content, &it).is_ok())
        });
        ensure(fits, "webhook-signature does not fit this body and our secret")?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let is_fresh = timestamp.parse().is_ok_and(|sent_at: u64| now.abs_diff(sent_at) <= 5 * 60);
        ensure(is_fresh, "webhook-timestamp is more than five minutes away")
    }

    /// Compares the HMACs of two strings, so that the time taken does not tell where they differ.
    fn is_secret(&self, given: &str) -> bool {
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"compare");
        hmac::verify(&key, given.as_bytes(), hmac::sign(&key, self.secret.as_bytes()).as_ref()).is_ok()
    }

    fn header(&self, name: &str) -> Result<&str, Refusal> {
        let value = self.headers.get(name).and_then(|value| value.to_str().ok());
        value.ok_or_else(|| Refusal::Unproven(format!("the header {name} is missing")))
    }

    fn json<'a, T: Deserialize<'a>>(&'a self) -> Result<T, Refusal> {
        serde_json::from_slice(self.body).map_err(|error| Refusal::Unexpected(error.to_string()))
    }

    /// Aloro and standard mark what the test button sends.
    fn is_test(&self) -> bool {
        #[derive(Deserialize)]
        struct Mark {
            test: bool,
        }
        self.json().is_ok_and(|mark: Mark| mark.test)
    }
}

fn ensure(is_proven: bool, otherwise: impl Into<String>) -> Result<(), Refusal> {
    if is_proven { Ok(()) } else { Err(Refusal::Unproven(otherwise.into())) }
}

enum Refusal {
    /// The request is not from whom it should be.
    Unproven(String),
    /// It is, and does not look like an event of this dialect.
    Unexpected(String),
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, error, detail) = match self {
            Self::Unproven(detail) => (StatusCode::UNAUTHORIZED, "Invalid signature", detail),
            Self::Unexpected(detail) => (StatusCode::UNPROCESSABLE_ENTITY, "Unexpected body", detail),
        };
        (status, Json(json!({ "error": error, "detail": detail }))).into_response()
    }
}
