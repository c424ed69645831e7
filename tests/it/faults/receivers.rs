//! Receivers that remember every request: what it told, when it came and how it was answered, as moments of one row.
//! Refuses to know what should have come.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::{Fact, PATIENCE};

/// How long a receiver works on a request, so that some are always under way.
const WORK: Duration = Duration::from_millis(15);
/// One first request in so many is refused, so that retries are always pending.
const REFUSED: usize = 8;

/// One request that came.
#[derive(Clone, Debug)]
pub struct Hearing {
    /// The endpoint, by the path of its URL.
    pub endpoint: String,
    /// What it told.
    pub fact: Fact,
    /// `webhook-id`, where its dialect has one.
    pub id: Option<String>,
    /// The moment at which it came. Moments are numbers that go up.
    pub came: usize,
    /// The moment at which it was answered, and how. `None` while it is under way, and for ever when its sender went away.
    pub answered: Option<(usize, u16)>,
}

/// All receivers of a test: one server, and a path for each endpoint.
#[derive(Clone)]
pub struct Receivers {
    address: SocketAddr,
    book: Arc<Mutex<Book>>,
    under_way: watch::Sender<usize>,
}

#[derive(Default)]
struct Book {
    moment: usize,
    hearings: Vec<Hearing>,
    /// What each endpoint has heard of at least once.
    known: HashMap<String, HashSet<Fact>>,
}

impl Book {
    fn next(&mut self) -> usize {
        self.moment += 1;
        self.moment
    }
}

/// A request that is worked on; it is over when this is dropped.
struct UnderWay<'a>(&'a watch::Sender<usize>);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

impl Receivers {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let address = listener.local_addr().expect("it is bound");
        let receivers = Self { address, book: Arc::default(), under_way: watch::Sender::new(0) };
        let app = Router::new().fallback(receive).with_state(receivers.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        receivers
    }

    /// The URL of an endpoint.
    pub fn url(&self, endpoint: &str) -> String {
        format!("http://{}/{endpoint}", self.address)
    }

    /// Everything that came so far.
    pub fn hearings(&self) -> Vec<Hearing> {
        self.book().hearings.clone()
    }

    /// The last moment that has passed.
    pub fn now(&self) -> usize {
        self.book().moment
    }

    /// Waits until so many requests are worked on.
    pub async fn wait_for_work(&self, count: usize) {
        let mut under_way = self.under_way.subscribe();
        let busy = tokio::time::timeout(PATIENCE, under_way.wait_for(|now| *now >= count)).await;
        busy.expect("requests come").expect("the receivers live as long as their handle");
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().expect("no receiver panics with the book in its hands")
    }
}

async fn receive(State(receivers): State<Receivers>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
    let body: Value = serde_json::from_slice(&body).expect("deliveries are JSON");
    let id = head.headers.get("webhook-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
    let endpoint = head.uri.path().trim_start_matches('/').to_owned();
    let fact = told(&body).unwrap_or_else(|| panic!("{endpoint} does not know what this is: {body}"));
    let (at, status) = {
        let mut book = receivers.book();
        let known = book.known.entry(endpoint.clone()).or_default();
        let status = if known.insert(fact.clone()) && known.len() % REFUSED == 0 { 500 } else { 200 };
        let came = book.next();
        book.hearings.push(Hearing { endpoint, fact, id, came, answered: None });
        (book.hearings.len() - 1, status)
    };
    receivers.under_way.send_modify(|count| *count += 1);
    let under_way = UnderWay(&receivers.under_way);
    tokio::time::sleep(WORK).await;
    let mut book = receivers.book();
    let now = book.next();
    book.hearings[at].answered = Some((now, status));
    drop(under_way);
    let answer = Response::builder().status(status).body(Body::from(r#"{"received":true}"#));
    answer.expect("a plain answer")
}

/// What a body tells, whichever dialect it is in.
fn told(body: &Value) -> Option<Fact> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let end = |status: &Value| match status.as_str() {
        Some("completed" | "COMPLETED") => "call.ended",
        _ => "call.failed",
    };
    if let Some(kind) = text(&body["type"]) {
        let about = text(&body["data"]["call_id"]).or_else(|| text(&body["data"]["batch_id"]))?;
        return Some(Fact::new(about, kind));
    }
    if let Some(call) = text(&body["call_uuid"]) {
        return Some(Fact::new(call, text(&body["event"])?.replace('_', ".")));
    }
    if let Some(call) = text(&body["callData"]["id"]) {
        return Some(Fact::new(call, end(&body["callData"]["status"])));
    }
    if let Some(call) = text(&body["data"]["call"]["id"]) {
        return Some(Fact::new(call, end(&body["data"]["call"]["status"])));
    }
    Some(Fact::new(text(&body["batchId"])?, text(&body["event"])?))
}
