//! What the API asks of the wire: may this address be sent to, and send this one test now. The house gives it the
//! wire that deliveries use; the API itself refuses to know sockets, TLS and which networks are allowed.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};

use crate::model::AccountKey;
use crate::store::export::WireRules;

/// Sends at once, and checks settings by the rules that sending keeps.
pub trait Courier: WireRules {
    /// POSTs once, by the rules of every attempt, for an account.
    fn send<'a>(
        &'a self,
        account: AccountKey,
        url: &'a str,
        headers: Vec<(HeaderName, HeaderValue)>,
        body: Bytes,
        timeout: Duration,
    ) -> Pin<Box<dyn Future<Output = Sent> + Send + 'a>>;
}

/// What came back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// The status, when one came.
    pub status: Option<u16>,
    /// How long the whole exchange took.
    pub latency: Duration,
    /// What went wrong, in a sentence.
    pub error: Option<String>,
    /// The headers of the answer.
    pub headers: Vec<(String, String)>,
    /// The first part of its body.
    pub body: Vec<u8>,
}
