//! Errors for callers: RFC 9457 problem documents with a stable `code` and a sentence that says what to do.
//! Every wrong field is named in one answer. What only the operator may know goes to the log instead.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use tracing::{debug, error};
use utoipa::ToSchema;

use crate::model::Time;
use crate::store::StoreError;

/// The wrong fields that one answer lists. The rest is only counted: the answer to a large body of mistakes is no larger.
pub const MOST_LISTED: usize = 50;

/// When a request is worth another try that a person has to see to first, in seconds.
const LATER: u32 = 30;

/// Wrong fields of a request: the first ones, and how many more there are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WrongFields {
    listed: Vec<FieldError>,
    more: usize,
}

impl WrongFields {
    /// Adds one.
    pub fn push(&mut self, field: impl Into<String>, code: &'static str, detail: impl Into<String>) {
        if self.is_full() {
            self.more += 1;
        } else {
            self.listed.push(FieldError { field: field.into(), code, detail: detail.into() });
        }
    }

    /// Adds so many without a word about each.
    pub fn count(&mut self, more: usize) {
        self.more += more;
    }

    /// Whether those that come now are only counted.
    pub fn is_full(&self) -> bool {
        self.listed.len() >= MOST_LISTED
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.listed.is_empty() && self.more == 0
    }

    /// Whether this field is listed.
    pub fn lists(&self, field: &str) -> bool {
        self.listed.iter().any(|error| error.field == field)
    }
}

/// Why a request was refused.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
    errors: WrongFields,
    candidates: Vec<Candidate>,
    retry_after: Option<u32>,
    closes: bool,
}

/// One wrong field.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct FieldError {
    /// Which: `retry_delays_seconds[3]`.
    pub field: String,
    /// What is wrong with it, for programs.
    #[schema(value_type = String)]
    pub code: &'static str,
    /// What to do about it.
    pub detail: String,
}

/// One of the calls that an ambiguous id may mean.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Candidate {
    /// Our id of the call, which is never ambiguous.
    pub id: String,
    /// The source that reported it.
    pub source_id: String,
    /// When something was last reported of it.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Time,
}

/// A problem document (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct Document<'a> {
    /// Always `about:blank`: `code` tells problems apart.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The words of the status.
    title: &'static str,
    /// The status.
    status: u16,
    /// What to do about it.
    detail: &'a str,
    /// What happened, for programs; does not change between versions.
    code: &'static str,
    /// The wrong fields, the first 50 of them.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldError],
    /// With the code `ambiguous_call`: the calls that may be meant, newest first, at most twenty.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    candidates: &'a [Candidate],
    /// How many more are wrong.
    #[serde(skip_serializing_if = "is_zero")]
    #[schema(required = false)]
    more_errors: usize,
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

impl Problem {
    /// A problem of this status and code; `detail` tells the caller what to do.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        let (errors, candidates) = Default::default();
        Self { status, code, detail: detail.into(), errors, candidates, retry_after: None, closes: false }
    }

    /// A problem that goes away by itself: worth another try after so many seconds.
    pub fn retry_after(
        status: StatusCode,
        code: &'static str,
        detail: impl Into<String>,
        seconds: u32,
    ) -> Self {
        Self { retry_after: Some(seconds), ..Self::new(status, code, detail) }
    }

    /// Wrong fields: 422 in a body, 400 in a query.
    pub fn of_fields(status: StatusCode, errors: WrongFields) -> Self {
        let fields: Vec<&str> = errors.listed.iter().map(|error| error.field.as_str()).collect();
        let fields = fields.join(", ");
        let detail = match (errors.listed.as_slice(), errors.more) {
            ([only], 0) => format!("{}: {}", only.field, only.detail),
            (_, 0) => format!("Correct these fields: {fields}. \"errors\" says what is wrong with each."),
            (_, more) => format!(
                "Correct these fields: {fields}, and {more} more. \"errors\" says what is wrong with the first \
                 {MOST_LISTED}."
            ),
        };
        let code = match errors.listed.as_slice() {
            [only] if only.code == BAD_CURSOR => BAD_CURSOR,
            _ => "invalid_request",
        };
        Self { errors, ..Self::new(status, code, detail) }
    }

    /// Nothing of that id in this account; the same for what never was and for what is another account's.
    pub fn not_found(what: &str) -> Self {
        let detail = format!("This account has no such {what}. Check the id; lists show what there is.");
        Self::new(StatusCode::NOT_FOUND, "not_found", detail)
    }

    /// It is there, but not in a state for this.
    pub fn conflict(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, detail)
    }

    /// Several calls have the vendor's id that was given.
    pub fn ambiguous_call(candidates: Vec<Candidate>) -> Self {
        let detail = "Several sources have a call of this id, see \"candidates\". Say which with ?source_id=src_..., or \
                      give our own id of the call, call_....";
        Self { candidates, ..Self::conflict("ambiguous_call", detail) }
    }

    /// No valid API key.
    pub fn unauthorized() -> Self {
        let detail = "Send a valid API key as \"Authorization: Bearer pck_...\".";
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
    }

    /// The store cannot be used now.
    pub fn unavailable() -> Self {
        Self::unavailable_because(
            "Nothing was written or the outcome is unknown. Send the same request again in a moment.",
        )
    }

    /// The disk is full.
    pub fn no_room() -> Self {
        let detail = "This server has no room for more: its disk is full, and nothing was written. Reading, erasing and \
                      keeping less go on. Send the same request again later.";
        Self::retry_after(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail, LATER)
    }

    /// The database does not hold what was written into it.
    pub fn damaged() -> Self {
        let detail = "This server's store is damaged where this request needs it, and nothing was written. Its operator has \
                      to repair it. Send the same request again later.";
        Self::retry_after(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail, LATER)
    }

    /// The same, said of the node: damage was met somewhere, at some time.
    pub fn damaged_at_all() -> Self {
        let detail = "The database is damaged: restore a backup. The log says what was met.";
        Self::retry_after(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail, LATER)
    }

    /// This cannot be done now, and can in a moment.
    pub fn unavailable_because(detail: impl Into<String>) -> Self {
        Self { retry_after: Some(1), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail) }
    }

    /// The same, and the connection closes: the rest of the request's body is not read.
    #[must_use]
    pub fn closing(self) -> Self {
        Self { closes: true, ..self }
    }

    /// A bug of ours.
    pub fn internal() -> Self {
        let detail = "postcall failed on this request; its log says why. Sending it again may work.";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The document.
    pub fn json(&self) -> String {
        let document = Document {
            kind: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            detail: &self.detail,
            code: self.code,
            errors: &self.errors.listed,
            candidates: &self.candidates,
            more_errors: self.errors.more,
        };
        serde_json::to_string(&document).unwrap_or_default()
    }
}

/// A remark of an inner part as a sentence of its own.
pub fn sentence(remark: &str) -> String {
    let mut letters = remark.chars();
    let first = letters.next().into_iter().flat_map(char::to_uppercase);
    let end = if remark.ends_with(['.', '!', '?']) { "" } else { "." };
    first.chain(letters.as_str().chars()).chain(end.chars()).collect()
}

/// The code of a cursor that no list of ours gave out.
pub const BAD_CURSOR: &str = "bad_cursor";

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        if let StoreError::LimitReached(kind, most) = error {
            return Self::conflict(kind.code(), kind.refusal(most));
        }
        match error {
            // The store tells of these, once for all requests.
            StoreError::Full(_) | StoreError::Damaged(_) => debug!(%error, "the store failed on a request"),
            _ => error!(%error, "the store failed on an API request"),
        }
        match error {
            StoreError::Full(_) => Self::no_room(),
            StoreError::Damaged(_) => Self::damaged(),
            StoreError::Data(_) => {
                let detail =
                    "A value in this request cannot be stored. Remove control characters and try again.";
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_request", detail)
            }
            StoreError::Unavailable(_)
            | StoreError::Conflict(_)
            | StoreError::Unknown(_)
            | StoreError::Lapsed(_)
            | StoreError::Stale
            | StoreError::LimitReached(..) => Self::unavailable(),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let kind = HeaderValue::from_static("application/problem+json");
        let mut response = (self.status, [(header::CONTENT_TYPE, kind)], self.json()).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.closes {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
