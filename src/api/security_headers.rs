//! Headers that keep a browser from doing more with an answer than to show it to whoever asked: on every answer, errors and
//! ingest answers included. Does not know what an answer says.

use axum::response::Response;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderMap, HeaderValue};

/// For everything that is no page: nothing is loaded, nothing runs, nobody frames it.
const CLOSED: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
/// Answers are about people's calls, and some hold a secret: no cache keeps them.
const NOT_STORED: HeaderValue = HeaderValue::from_static("no-store");
/// For what is the same for everybody and nobody's.
pub const SHARED: HeaderValue = HeaderValue::from_static("public, no-cache");

/// Puts them on an answer. A page brings a policy of its own, and what is [`SHARED`] says so itself.
pub fn put(mut response: Response) -> Response {
    let headers: &mut HeaderMap = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.entry(CONTENT_SECURITY_POLICY).or_insert(CLOSED);
    if headers.get(CACHE_CONTROL) != Some(&SHARED) {
        headers.insert(CACHE_CONTROL, NOT_STORED);
    }
    response
}
