//! An inbound request as far as a dialect looks at it, and what checking it costs. Whatever is computed over its body is
//! computed by a method of [`Arrived`], which counts it; so the count cannot miss any. Does not know any signature's form.

use std::cell::Cell;

use http::HeaderMap;
use ring::hmac;
use ring::signature::{ED25519, UnparsedPublicKey};

use super::js_json::stringify_parse;
use crate::model::Mac;

/// The largest body that is tried in its re-serialised form, in bytes: the largest that an ingest URL takes by default.
pub const LARGEST_RESERIALISED: usize = 1 << 20;

/// What the check of a request has cost: how often something was computed over its body.
#[derive(Debug, Default)]
pub struct Work {
    hmacs: Cell<u32>,
    ed25519: Cell<u32>,
    rewrites: Cell<u32>,
}

impl Work {
    /// HMACs over the body or over its re-serialised form.
    pub fn hmacs(&self) -> u32 {
        self.hmacs.get()
    }

    /// Ed25519 signatures that were verified over the body.
    pub fn ed25519(&self) -> u32 {
        self.ed25519.get()
    }

    /// How often the body was written again as JavaScript does.
    pub fn rewrites(&self) -> u32 {
        self.rewrites.get()
    }
}

/// An inbound request, as far as a dialect looks at it.
#[derive(Clone, Copy, Debug)]
pub struct Arrived<'a> {
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// Its body, byte for byte.
    pub body: &'a [u8],
    /// What checking it has cost so far.
    pub work: &'a Work,
}

impl<'a> Arrived<'a> {
    /// A request whose checks are counted in `work`.
    pub fn new(headers: &'a HeaderMap, body: &'a [u8], work: &'a Work) -> Self {
        Self { headers, body, work }
    }

    /// An HMAC over a message that holds the body.
    pub(super) fn mac(&self, key: &hmac::Key, message: &[&[u8]]) -> Mac {
        count(&self.work.hmacs);
        Mac::over(key, message)
    }

    /// Whether an Ed25519 signature of a message that holds the body is genuine.
    pub(super) fn is_signed(&self, public_key: &[u8], message: &[u8], signature: &[u8]) -> bool {
        count(&self.work.ed25519);
        UnparsedPublicKey::new(&ED25519, public_key).verify(message, signature).is_ok()
    }

    /// The body as JavaScript writes it again, when that differs and the body is neither too large nor no JSON.
    pub(super) fn reserialised(&self) -> Option<Vec<u8>> {
        if self.body.len() > LARGEST_RESERIALISED {
            return None;
        }
        count(&self.work.rewrites);
        stringify_parse(self.body).ok().filter(|bytes| bytes != self.body)
    }
}

fn count(counter: &Cell<u32>) {
    counter.set(counter.get().saturating_add(1));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_body_is_not_written_again() {
        let (headers, work) = (HeaderMap::new(), Work::default());
        let reserialised = |body: &[u8]| Arrived::new(&headers, body, &work).reserialised();
        let body = |length: usize| format!("[{}1]", " ".repeat(length)).into_bytes();
        assert_eq!(reserialised(&body(9)), Some(b"[1]".to_vec()));
        assert_eq!(reserialised(b"[1]"), None);
        assert_eq!(work.rewrites(), 2);
        assert_eq!(reserialised(&body(LARGEST_RESERIALISED)), None);
        assert_eq!(work.rewrites(), 2);
    }
}
