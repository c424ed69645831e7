//! Reads bodies: never more than the limit, never longer than the patience. Refuses to know what is in them.

use std::error::Error;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, StatusCode, header};
use http_body_util::LengthLimitError;

use super::problem::Problem;
use super::{ApiState, Settings};

/// Reads a body whole.
///
/// # Errors
/// 413 when it is too large, 408 when it takes too long, 400 when it breaks off.
pub async fn read(headers: &HeaderMap, body: Body, settings: &Settings) -> Result<Bytes, Problem> {
    let most = settings.max_body;
    let too_large = || {
        let detail = format!("The body is larger than {most} bytes. Send less at once.");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail)
    };
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if announced.is_some_and(|length: u64| length > most as u64) {
        return Err(too_large());
    }
    let reading = tokio::time::timeout(settings.body_patience, axum::body::to_bytes(body, most));
    match reading.await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) if error.source().is_some_and(|source| source.is::<LengthLimitError>()) => {
            Err(too_large())
        }
        Ok(Err(_)) => {
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

/// A JSON body as it came, empty when none did.
#[derive(Debug)]
pub struct Json(pub Bytes);

impl FromRequest<ApiState> for Json {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &ApiState) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let bytes = read(&parts.headers, body, &state.settings).await?;
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
