//! The wire client: one HTTP request, and what came back as data.
//! Refuses to know deliveries, dialects, retries and the store.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::connect::{Connector, Sender};
use super::guard::Guard;
use super::idle::Idle;
use super::names::Names;
use super::resolver::SystemResolver;
use super::target::Parts as TargetParts;
use super::trouble::Limit;
use crate::metrics::Metrics;
use crate::model::AccountKey;

pub use super::bounds::{MOST_BEFORE_ANSWER, MOST_INFORMATIONAL};
pub use super::connect::BadRoots;
pub use super::target::Target;
pub use super::trouble::{Phase, Trouble};

/// How much of an answer's body is kept, in bytes.
pub const MOST_KEPT: usize = 64 * 1024;

const AGENT: HeaderValue = HeaderValue::from_static(concat!("postcall/", env!("CARGO_PKG_VERSION")));
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A request to make.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// Where to.
    pub target: Target,
    /// Headers beside the wire's own. They may replace `Content-Type` and `User-Agent`; of a name that comes
    /// twice the later one stands; those that [`check_header`] refuses are left out.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// What is sent, byte for byte.
    pub body: Bytes,
    /// When it was decided upon. Its time counts from here.
    pub start: Instant,
    /// For everything: resolving, connecting, TLS, the request, the answer with its body. Nothing is written after it.
    pub timeout: Duration,
    /// Whose look-up it is, should the target's name have to be looked up.
    pub account: AccountKey,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Answer {
    /// From the start to the end of the answer, or to the trouble.
    pub latency: Duration,
    /// The answer, or why there is none.
    pub result: Result<Response, Trouble>,
}

/// An HTTP answer of any status. Redirects are answers; they are not followed.
#[derive(Clone, Debug)]
pub struct Response {
    /// 100 to 999, as it came.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// The first [`MOST_KEPT`] bytes of its body.
    pub body: Vec<u8>,
    /// Whether the body went on.
    pub truncated: bool,
}

impl Response {
    /// Whether it is a 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// An answer whose body is still coming.
pub struct Opened {
    /// Its status.
    pub status: u16,
    body: Incoming,
    /// The connection is open for as long as this is there.
    _sender: Sender,
}

impl Opened {
    /// The next part of the body; `None` at its end.
    ///
    /// # Errors
    /// When it breaks off.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Trouble> {
        while let Some(frame) = self.body.frame().await {
            if let Ok(data) = frame.map_err(|error| Trouble::of_connection(&error))?.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }
}

/// Makes requests. Clones share their connections.
#[derive(Clone)]
pub struct Wire(Arc<Parts>);

struct Parts {
    connector: Connector,
    idle: Idle,
}

impl Wire {
    /// A wire that speaks to whom the guard lets through and trusts Mozilla's roots, beside them those in
    /// `extra_roots` (PEM, one or more certificates). Names are looked up as the system is configured.
    ///
    /// # Errors
    /// When `extra_roots` holds no certificate or one that cannot be used.
    pub fn new(guard: Guard, extra_roots: Option<&[u8]>) -> Result<Self, BadRoots> {
        let names = Names::new(SystemResolver::new(Vec::new()), Arc::new(Metrics::new()));
        Self::with_names(guard, names, extra_roots)
    }

    /// Like [`Self::new`], with names of the caller's.
    ///
    /// # Errors
    /// Likewise.
    pub fn with_names(guard: Guard, names: Names, extra_roots: Option<&[u8]>) -> Result<Self, BadRoots> {
        let connector = Connector::new(guard, names, extra_roots)?;
        Ok(Self(Arc::new(Parts { connector, idle: Idle::new() })))
    }

    /// Closes the connections that have waited too long for a request.
    pub fn tidy(&self) {
        self.0.idle.tidy();
    }

    /// Posts once. Never fails: trouble is part of the answer.
    ///
    /// An answer is complete when its body has ended or [`MOST_KEPT`] bytes of it were read; what follows is not
    /// waited for. A 2xx whose body stops before that is trouble (it breaks off, or the time is up): the receiver
    /// did not finish saying yes. Of any other status the head decides, so it is an answer, with what came of
    /// its body.
    pub async fn post(&self, exchange: Exchange) -> Answer {
        self.send(Method::POST, exchange).await
    }

    /// Sends a request whose answer is long: its body is read as it comes, however long that takes. The time of the exchange
    /// is for the answer's head.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn open(&self, method: Method, exchange: Exchange) -> Result<Opened, Trouble> {
        let limit = Limit::from(exchange.start, exchange.timeout);
        let target = exchange.target.parts()?;
        let mut sender = self.0.connector.open(&target.url, exchange.account, limit).await?;
        let (head, body) = ask(&mut sender, request(target, &method, &exchange), limit).await?.into_parts();
        Ok(Opened { status: head.status.as_u16(), body, _sender: sender })
    }

    /// Like [`Self::post`], with any method.
    pub async fn send(&self, method: Method, exchange: Exchange) -> Answer {
        let start = Instant::now();
        let limit = Limit::from(exchange.start, exchange.timeout);
        let target = match exchange.target.parts() {
            Ok(target) => target,
            Err(trouble) => return Answer { latency: start.elapsed(), result: Err(trouble) },
        };
        let outcome = self.0.exchange(target, &method, &exchange, limit).await;
        let latency = start.elapsed();
        let result = match outcome {
            Ok((response, reusable)) => {
                if let Some(sender) = reusable {
                    self.0.idle.keep(target.origin(), sender).await;
                }
                Ok(response)
            }
            Err(trouble) => Err(trouble),
        };
        Answer { latency, result }
    }
}

impl Parts {
    /// The answer, and its connection if that can carry another request.
    async fn exchange(
        &self,
        target: &TargetParts,
        method: &Method,
        exchange: &Exchange,
        limit: Limit,
    ) -> Result<(Response, Option<Sender>), Trouble> {
        let kept_open = self.idle.take(target.origin());
        let was_idle = kept_open.is_some();
        let mut sender = match kept_open {
            Some(sender) => sender,
            None => self.connector.open(&target.url, exchange.account, limit).await?,
        };
        let head = match ask(&mut sender, request(target, method, exchange), limit).await {
            // The server closed an idle connection while the request was on its way. That says nothing about the
            // endpoint and must not cost it an attempt; a receiver that had begun to work is told twice, which at
            // least once allows.
            Err(Trouble::Reset(_)) if was_idle => {
                sender = self.connector.open(&target.url, exchange.account, limit).await?;
                ask(&mut sender, request(target, method, exchange), limit).await?
            }
            outcome => outcome?,
        };
        let (head, mut incoming) = head.into_parts();
        let mut body = Vec::new();
        let reading = limit.hold(Phase::Body, read(&mut incoming, &mut body)).await;
        let (whole, trouble) = match reading {
            Ok(Ok(whole)) => (whole, None),
            Ok(Err(error)) => (false, Some(Trouble::of_connection(&error))),
            Err(timeout) => (false, Some(timeout)),
        };
        let response =
            Response { status: head.status.as_u16(), headers: head.headers, body, truncated: !whole };
        match trouble {
            Some(trouble) if response.is_success() => Err(trouble),
            _ => Ok((response, whole.then_some(sender))),
        }
    }
}

/// Sends a request and waits for the answer's head.
async fn ask(
    sender: &mut Sender,
    request: Request<Full<Bytes>>,
    limit: Limit,
) -> Result<http::Response<Incoming>, Trouble> {
    limit.hold(Phase::Answer, sender.send(request, limit)).await?
}

/// Reads into `kept` until the body ends or no more is kept; says whether it ended.
async fn read(incoming: &mut Incoming, kept: &mut Vec<u8>) -> Result<bool, hyper::Error> {
    while let Some(frame) = incoming.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        let room = MOST_KEPT - kept.len();
        if data.len() > room {
            kept.extend_from_slice(&data[..room]);
            return Ok(false);
        }
        kept.extend_from_slice(&data);
    }
    Ok(true)
}

fn request(target: &TargetParts, method: &Method, exchange: &Exchange) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(exchange.body.clone()));
    *request.method_mut() = method.clone();
    *request.uri_mut() = target.uri.clone();
    let headers = request.headers_mut();
    headers.insert(HOST, target.host.clone());
    headers.insert(CONTENT_TYPE, JSON);
    headers.insert(USER_AGENT, AGENT);
    for (name, value) in &exchange.headers {
        if !belongs_to_wire(name) {
            headers.insert(name.clone(), value.clone());
        }
    }
    request
}

/// Headers that say where a request goes, where it ends and what becomes of its connection (RFC 9110, 7.6.1).
fn belongs_to_wire(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "host"
            | "content-length"
            | "transfer-encoding"
            | "connection"
            | "keep-alive"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "upgrade"
            | "expect"
    )
}

/// Checks a header that an endpoint's owner wants to be sent.
///
/// # Errors
/// A sentence for the owner: it belongs to the wire, or it has characters that no header may have.
pub fn check_header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), String> {
    let header = HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| format!("{name:?} is no header name; use letters, digits and hyphens"))?;
    if belongs_to_wire(&header) {
        return Err(format!("the header {name} follows from the URL and the body; leave it out"));
    }
    // Beyond ASCII, receivers disagree about what the bytes mean (RFC 9110, 5.5).
    let value = HeaderValue::from_str(value).ok().filter(|_| value.is_ascii()).ok_or_else(|| {
        format!("the value of the header {name} may only have visible ASCII characters and spaces")
    })?;
    Ok((header, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_the_wire_and_invalid_bytes_are_refused() {
        for (name, value, expected, why) in [
            ("X-Api-Key", "k 1", None, "an ordinary one"),
            ("User-Agent", "acme", None, "may be replaced"),
            ("Content-Type", "application/webhook+json", None, "may be replaced"),
            ("Host", "internal", Some("leave it out"), "the URL says it"),
            ("HOST", "internal", Some("leave it out"), "in any case"),
            ("Content-Length", "1", Some("leave it out"), "framing"),
            ("Transfer-Encoding", "chunked", Some("leave it out"), "framing"),
            ("Connection", "close", Some("leave it out"), "hop by hop"),
            ("Expect", "100-continue", Some("leave it out"), "changes the exchange"),
            ("", "x", Some("no header name"), "no name"),
            ("a b", "x", Some("no header name"), "a space"),
            ("a:b", "x", Some("no header name"), "a colon"),
            ("X-A", "a\r\nHost: b", Some("visible ASCII"), "a line break would begin another header"),
            ("X-A", "a\0", Some("visible ASCII"), "NUL"),
            ("X-A", "é", Some("visible ASCII"), "receivers disagree about its bytes"),
        ] {
            match (expected, check_header(name, value)) {
                (None, Ok(_)) => {}
                (Some(part), Err(sentence)) => assert!(sentence.contains(part), "{name}: {sentence}"),
                (_, verdict) => panic!("{name}: {why}: {verdict:?}"),
            }
        }
    }

    #[test]
    fn what_the_url_says_cannot_be_replaced() {
        let exchange = Exchange {
            target: Target::of("https://Example.com:8443/a b?c={d}|é#e"),
            headers: vec![
                (HOST, HeaderValue::from_static("internal")),
                (USER_AGENT, HeaderValue::from_static("acme")),
            ],
            body: Bytes::new(),
            start: Instant::now(),
            timeout: Duration::ZERO,
            account: AccountKey::DEFAULT,
        };
        let request = request(exchange.target.parts().unwrap(), &Method::POST, &exchange);
        assert_eq!(request.headers()[HOST], "example.com:8443");
        assert_eq!(request.headers()[USER_AGENT], "acme");
        assert_eq!(request.headers()[CONTENT_TYPE], "application/json");
    }
}
