//! Secrets that an answer shows once: the answer that made them has them, and no repeat of it under an `Idempotency-Key`.
//! A view can hold a secret only as a [`Revealed`], and only [`once`] makes these, so no route can show one and have it kept.
//! Does not know what the secrets are for.

use std::cell::Cell;
use std::fmt;

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

use crate::model::Secret;

/// What stands in a repeat beside what it leaves out.
const LEFT_OUT: &str = "This is the repeat of an answer that was given before. What that showed once (a key, a secret, a \
    token, a URL with one) is left out here and was not kept. If it was lost, rotate it, or revoke it and make another.";

/// A secret in an answer. `Debug` prints nothing of it.
#[derive(Serialize)]
#[serde(transparent)]
pub struct Revealed(String);

impl fmt::Debug for Revealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Revealed(..)")
    }
}

/// Whether an answer that is being written may show secrets.
#[derive(Debug)]
pub struct Reveal {
    may_show: bool,
    has_withheld: Cell<bool>,
}

impl Reveal {
    fn new(may_show: bool) -> Self {
        Self { may_show, has_withheld: Cell::new(false) }
    }

    /// Whether something secret may be shown. The answer counts as one that shows it.
    pub fn may_show(&self) -> bool {
        if !self.may_show {
            self.has_withheld.set(true);
        }
        self.may_show
    }

    /// The secret, where it may be shown.
    pub fn secret(&self, secret: &Secret) -> Option<Revealed> {
        self.may_show().then(|| Revealed(String::from_utf8_lossy(secret.expose()).into_owned()))
    }
}

/// What is kept of an answer in its place, for its repeats: the same without its secrets.
#[derive(Clone, Debug)]
pub struct Repeat(pub Bytes);

#[derive(Serialize)]
struct Repeated<T> {
    #[serde(flatten)]
    of: T,
    repeat: &'static str,
}

/// The answer that a view makes. It is written twice: with its secrets for the caller, and without for repeats.
pub fn once<T: Serialize>(status: StatusCode, view: impl Fn(&Reveal) -> T) -> Response {
    let mut response = (status, [JSON], json(&view(&Reveal::new(true)))).into_response();
    let reveal = Reveal::new(false);
    let of = view(&reveal);
    if reveal.has_withheld.get() {
        response.extensions_mut().insert(Repeat(json(&Repeated { of, repeat: LEFT_OUT }).into()));
    }
    response
}

const JSON: (header::HeaderName, HeaderValue) =
    (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));

fn json<T: Serialize>(view: &T) -> Vec<u8> {
    // Views have texts for keys, and nothing in them can fail.
    serde_json::to_vec(view).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct View {
        id: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        secret: Option<Revealed>,
    }

    #[tokio::test]
    async fn what_is_kept_of_an_answer_has_none_of_its_secrets() {
        let made = Secret::new("s3cret");
        let response = once(StatusCode::CREATED, |reveal| View { id: "a", secret: reveal.secret(&made) });
        let Repeat(kept) = response.extensions().get::<Repeat>().unwrap().clone();
        let first = axum::body::to_bytes(response.into_body(), 1000).await.unwrap();
        assert_eq!(first, r#"{"id":"a","secret":"s3cret"}"#);
        let kept: serde_json::Value = serde_json::from_slice(&kept).unwrap();
        assert_eq!(kept, serde_json::json!({ "id": "a", "repeat": LEFT_OUT }));
    }

    #[test]
    fn an_answer_without_secrets_is_kept_as_it_is() {
        let response = once(StatusCode::CREATED, |_| View { id: "a", secret: None });
        assert!(response.extensions().get::<Repeat>().is_none());
    }
}
