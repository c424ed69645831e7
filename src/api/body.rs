//! Reads bodies: never more than the limit, never longer than the patience. Refuses to know what is in them.

use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use bytes::{Bytes, BytesMut};
use http::request::Parts;
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Body as _;

use super::problem::Problem;
use super::{ApiState, Settings, batches};

/// What is read and thrown away of a body that is too large, so that its sender hears why: a server that closes
/// on unread bytes resets the connection, and the answer is lost with it.
const MOST_DRAINED: usize = 16 << 20;

/// Why a body was not read.
enum Unread {
    TooLarge,
    TooMany,
    Broken,
}

/// What bodies weigh that came through doors and are not yet on disk: anybody may send them, so it is bounded.
#[derive(Debug, Default)]
pub struct Load(AtomicUsize);

impl Load {
    /// An empty part of the load, that of one body.
    pub fn begin<'a>(&'a self, settings: &Settings) -> Share<'a> {
        Share { load: self, bytes: 0, most: settings.max_load }
    }
}

/// One body's part of the load, given back when this is dropped.
#[derive(Debug)]
pub struct Share<'a> {
    load: &'a Load,
    bytes: usize,
    most: usize,
}

impl Share<'_> {
    /// Adds to it; false when that is too much for all together.
    fn add(&mut self, bytes: usize) -> bool {
        let before = self.load.0.fetch_add(bytes, Ordering::AcqRel);
        self.bytes += bytes;
        before.saturating_add(bytes) <= self.most
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.load.0.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

/// Reads a body whole. What comes through a door weighs on its share of the load.
///
/// # Errors
/// 413 when it is too large, 503 when all together are, 408 when it takes too long, 400 when it breaks off.
pub async fn read(body: Body, settings: &Settings, share: Option<&mut Share<'_>>) -> Result<Bytes, Problem> {
    read_up_to(body, settings, settings.max_body, share).await
}

/// Reads the whole body of a request that an API key opens.
///
/// # Errors
/// As for [`read`].
pub async fn read_keyed(body: Body, settings: &Settings, path: &str) -> Result<Bytes, Problem> {
    let most = if batches::takes_contacts(path) { batches::MOST_BODY } else { settings.max_body };
    read_up_to(body, settings, most, None).await
}

async fn read_up_to(
    body: Body,
    settings: &Settings,
    most: usize,
    share: Option<&mut Share<'_>>,
) -> Result<Bytes, Problem> {
    match tokio::time::timeout(settings.body_patience, gather(body, most, share)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(Unread::TooMany)) => Err(Problem::unavailable()),
        Ok(Err(Unread::TooLarge)) => {
            let detail = format!("The body is larger than {most} bytes. Send less at once.");
            Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail))
        }
        Ok(Err(Unread::Broken)) => {
            let detail = "The body broke off. Send the request again, whole.";
            Err(Problem::new(StatusCode::BAD_REQUEST, "incomplete_body", detail))
        }
        Err(_) => {
            let seconds = settings.body_patience.as_secs_f64();
            let detail = format!("The body did not come within {seconds} seconds. Send the request again.");
            Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "body_too_slow", detail))
        }
    }
}

/// Most bodies come in one piece, which is passed on as it is.
async fn gather(mut body: Body, most: usize, mut share: Option<&mut Share<'_>>) -> Result<Bytes, Unread> {
    let most_read = MOST_DRAINED.max(most);
    let announced = body.size_hint().lower();
    if announced > most_read as u64 {
        return Err(Unread::TooLarge);
    }
    let (mut first, mut all, mut read) = (Bytes::new(), BytesMut::new(), 0);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Unread::Broken)?.into_data() else { continue };
        read += data.len();
        if read > most_read {
            return Err(Unread::TooLarge);
        } else if read > most {
            (first, all) = <_>::default();
        } else if share.as_deref_mut().is_some_and(|share| !share.add(data.len())) {
            return Err(Unread::TooMany);
        } else if first.is_empty() {
            first = data;
        } else {
            if all.is_empty() {
                all.extend_from_slice(&first);
            }
            all.extend_from_slice(&data);
        }
    }
    match read > most {
        true => Err(Unread::TooLarge),
        false if all.is_empty() => Ok(first),
        false => Ok(all.freeze()),
    }
}

/// A JSON body as it came, empty when none did.
#[derive(Debug)]
pub struct Json(pub Bytes);

impl FromRequest<ApiState> for Json {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &ApiState) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let bytes = read_keyed(body, &state.settings, parts.uri.path()).await?;
        if !bytes.is_empty() && !is_json(&parts.headers) {
            let detail = "Send JSON, and say so: \"Content-Type: application/json\".";
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_json", detail));
        }
        Ok(Self(bytes))
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

/// The id in a path; what cannot be one is as absent as any other unknown id.
#[derive(Debug)]
pub struct Id(pub String);

impl FromRequestParts<ApiState> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Problem> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        path.map(|Path(id)| Self(id)).map_err(|_| Problem::not_found("id"))
    }
}
