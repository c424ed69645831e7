//! What every integration test needs: a client, a receiver that remembers what it got, signatures made by hand.
//! Knows HTTP; refuses to know what is being tested.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use postcall::app::App;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::home::Home;

/// How long a test waits for something that must happen. Only a failing test ever waits so long.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A server in this process, in a home of its own, with a client that holds its admin key.
pub struct House {
    pub app: App,
    pub api: Client,
    pub home: Home,
}

impl House {
    pub async fn start() -> Self {
        Self::on(Home::new()).await
    }

    /// Starts on what an earlier house left.
    pub async fn on(home: Home) -> Self {
        const ADMIN_KEY: &str = "admin-key-of-the-tests";
        let mut settings = home.settings();
        settings.allow_networks = vec!["127.0.0.0/8".parse().expect("a network")];
        settings.admin_key = Some(ADMIN_KEY.to_owned());
        let app = App::start(settings).await.expect("the server starts");
        let api = Client::new(app.address(), ADMIN_KEY);
        Self { app, api, home }
    }

    /// Stops in good order; gives the books back.
    pub async fn stop(self) -> Home {
        self.app.stop().await;
        self.home
    }
}

/// HMAC-SHA256 in hex, as the seeds' sample code computes it.
pub fn hmac_hex(secret: &str, body: &[u8]) -> String {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
    data_encoding::HEXLOWER.encode(ring::hmac::sign(&key, body).as_ref())
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("no JSON ({error}): {}", String::from_utf8_lossy(&self.body)))
    }

    /// The same, when the status is the expected one.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", String::from_utf8_lossy(&self.body));
        self
    }
}

/// An HTTP client for one server, with an API key once it has one.
#[derive(Clone)]
pub struct Client {
    http: HyperClient<HttpConnector, Full<Bytes>>,
    pub base: String,
    pub key: String,
}

impl Client {
    pub fn new(address: SocketAddr, key: &str) -> Self {
        let http = HyperClient::builder(TokioExecutor::new()).build_http();
        Self { http, base: format!("http://{address}"), key: key.to_owned() }
    }

    /// Sends anything; `Err` when no answer came.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Answer, String> {
        let uri = if path.starts_with("http") { path.to_owned() } else { format!("{}{path}", self.base) };
        let mut request = http::Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).expect("the test's request is well formed");
        let response = self.http.request(request).await.map_err(|error| format!("{error:?}"))?;
        let (head, body) = response.into_parts();
        let body = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
        Ok(Answer { status: head.status, headers: head.headers, body })
    }

    /// A request to the API with the key.
    pub async fn api(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let bearer = format!("Bearer {}", self.key);
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        self.send(method, path, &headers, body).await.expect("the server answers")
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.api(Method::GET, path, None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.api(Method::POST, path, Some(body)).await
    }

    /// Makes a source; gives its JSON with the credential.
    pub async fn source(&self, body: Value) -> Value {
        self.post("/v1/sources", body).await.expect(201).json()
    }

    /// Makes an endpoint; gives its JSON with the credential.
    pub async fn endpoint(&self, body: Value) -> Value {
        self.post("/v1/endpoints", body).await.expect(201).json()
    }

    /// The sum over all endpoints must hold, and agree with a recount of the rows.
    pub async fn check_sums(&self) -> Value {
        let sums =
            async |query: &str| self.get(&format!("/v1/reconciliation{query}")).await.expect(200).json();
        let mut counted = sums("").await;
        let recounted = loop {
            let recounted = sums("?recount=true").await;
            let again = sums("").await;
            // The receiver hears of a delivery before the books do: what is compared is what nothing was settled between.
            if again == std::mem::replace(&mut counted, again.clone()) {
                break recounted;
            }
        };
        assert_eq!(counted["endpoints"], recounted["endpoints"], "counters and rows disagree");
        for sum in counted["endpoints"].as_array().expect("a list") {
            let of = |name: &str| sum[name].as_i64().unwrap_or_else(|| panic!("{name} is missing in {sum}"));
            assert_eq!(of("owed"), of("delivered") + of("pending") + of("dead") + of("cancelled"), "{sum}");
        }
        counted
    }
}

impl Client {
    /// The deliveries of a filter, once they satisfy a condition: the receiver hears of a delivery before the
    /// books do.
    pub async fn deliveries_when(
        &self,
        query: &str,
        mut is_enough: impl FnMut(&[Value]) -> bool,
    ) -> Vec<Value> {
        let start = std::time::Instant::now();
        loop {
            let page = self.get(&format!("/v1/deliveries?limit=100&{query}")).await.expect(200).json();
            let deliveries = page["data"].as_array().expect("a list").clone();
            if is_enough(&deliveries) {
                return deliveries;
            }
            assert!(start.elapsed() < PATIENCE, "the deliveries never got there: {deliveries:#?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// A request that a receiver got.
#[derive(Clone, Debug)]
pub struct Got {
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Got {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("deliveries are JSON")
    }
}

struct Shared {
    got: Mutex<Vec<Got>>,
    count: watch::Sender<usize>,
    answers: Mutex<VecDeque<(u16, Option<&'static str>)>>,
    open: watch::Sender<bool>,
    under_way: watch::Sender<usize>,
}

/// A receiver on loopback that remembers every request and answers 200, or what it was told to.
#[derive(Clone)]
pub struct Receiver {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

impl Receiver {
    pub async fn start() -> Self {
        let shared = Arc::new(Shared {
            got: Mutex::default(),
            count: watch::Sender::new(0),
            answers: Mutex::default(),
            open: watch::Sender::new(true),
            under_way: watch::Sender::new(0),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let address = listener.local_addr().expect("it is bound");
        let app = Router::new().fallback(receive).with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { address, shared }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Answers the next requests with these statuses, then 200 again.
    pub fn answer_with(&self, statuses: impl IntoIterator<Item = u16>) {
        self.shared.answers.lock().unwrap().extend(statuses.into_iter().map(|status| (status, None)));
    }

    /// Answers the next request with a status and a `Retry-After`.
    pub fn answer_later(&self, status: u16, retry_after: &'static str) {
        self.shared.answers.lock().unwrap().push_back((status, Some(retry_after)));
    }

    /// Holds every answer back until [`Self::open`].
    pub fn shut(&self) {
        self.shared.open.send_replace(false);
    }

    /// Lets the answers go.
    pub fn open(&self) {
        self.shared.open.send_replace(true);
    }

    /// Waits until that many requests are held.
    pub async fn wait_for_held(&self, count: usize) {
        let mut under_way = self.shared.under_way.subscribe();
        let held = tokio::time::timeout(PATIENCE, under_way.wait_for(|held| *held >= count)).await;
        held.expect("requests come").expect("the receiver lives as long as its handle");
    }

    /// Requests that are held now.
    pub fn held(&self) -> usize {
        *self.shared.under_way.borrow()
    }

    /// Everything that came so far.
    pub fn got(&self) -> Vec<Got> {
        self.shared.got.lock().unwrap().clone()
    }

    /// Waits until that many requests came; gives them all. The test's own time limit ends a wait in vain.
    pub async fn wait_for(&self, count: usize) -> Vec<Got> {
        self.wait_until(|got| got.len() >= count).await
    }

    /// Waits until what came satisfies a condition.
    pub async fn wait_until(&self, mut is_enough: impl FnMut(&[Got]) -> bool) -> Vec<Got> {
        let mut count = self.shared.count.subscribe();
        loop {
            count.borrow_and_update();
            let got = self.got();
            if is_enough(&got) {
                return got;
            }
            let more = tokio::time::timeout(PATIENCE, count.changed()).await;
            more.unwrap_or_else(|_| panic!("nothing more came after {} requests", got.len()))
                .expect("the receiver lives as long as its handle");
        }
    }
}

async fn receive(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
    let path = head.uri.path().to_owned();
    shared.got.lock().unwrap().push(Got { path, headers: head.headers, body });
    shared.count.send_modify(|count| *count += 1);
    shared.under_way.send_modify(|held| *held += 1);
    let _ = shared.open.subscribe().wait_for(|open| *open).await;
    shared.under_way.send_modify(|held| *held -= 1);
    let (status, retry_after) = shared.answers.lock().unwrap().pop_front().unwrap_or((200, None));
    let mut response = Response::builder().status(status);
    if let Some(retry_after) = retry_after {
        response = response.header("retry-after", retry_after);
    }
    response.body(Body::from(r#"{"received":true}"#)).expect("a plain answer")
}
