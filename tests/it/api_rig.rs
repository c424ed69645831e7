//! A house for the API tests: the real store, group commit, router, server and wire on loopback. Only the dispatcher
//! is missing: deliveries stay where the store put them, and a bell notes who was woken.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use postcall::api::auth::new_api_key;
use postcall::api::{ApiState, Settings, router, server};
use postcall::app::WireCourier;
use postcall::clock::{Clock, System};
use postcall::delivery::guard::Guard;
use postcall::delivery::wire::Wire;
use postcall::metrics::Metrics;
use postcall::model::{AccountKey, Rights, Time};
use postcall::store::ingest::group::GroupWriter;
use postcall::store::vault::hash_api_key;
use postcall::store::{EndpointRef, NewKey, Owned, Place, Queues, Store};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};

use crate::home::Home;

/// For what must not hang; a test that needs it all has failed.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// What every link begins with.
pub const PUBLIC_URL: &str = "https://calls.example";

/// Notes who was woken, and what was settled.
pub struct Bell {
    woken: Mutex<Vec<EndpointRef>>,
    settled: Semaphore,
}

impl Queues for Bell {
    fn reserve(&self, _: EndpointRef, _: usize) -> Option<Place> {
        None
    }
    fn dispatch(&self, _: Vec<Owned>) {}
    fn wake(&self, endpoints: Vec<EndpointRef>) {
        self.woken.lock().unwrap().extend(endpoints);
    }
    fn wake_at(&self, _: EndpointRef, _: Time) {}
    fn settled(&self, done: Vec<(EndpointRef, Place)>) {
        self.settled.add_permits(done.len());
    }
}

impl Bell {
    /// Waits until one more delivery is settled.
    pub async fn settled(&self) {
        self.settled.acquire().await.unwrap().forget();
    }

    /// Who was woken since the last time.
    pub fn take(&self) -> Vec<EndpointRef> {
        std::mem::take(&mut self.woken.lock().unwrap())
    }
}

/// A key of the account `default` that is made behind the back of the API.
pub fn new_key(key: &str, name: &str, rights: Rights) -> NewKey {
    let (hash, created_at) = (hash_api_key(key), System.now());
    NewKey { account: AccountKey::DEFAULT, name: name.to_owned(), rights, expires_at: None, hash, created_at }
}

/// A clock that stands until it is set.
pub struct Still(Mutex<Time>);

impl Still {
    pub fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(System.now())))
    }

    pub fn pass(&self, time: Duration) {
        let mut now = self.0.lock().unwrap();
        *now = now.after(time);
    }
}

impl Clock for Still {
    fn now(&self) -> Time {
        *self.0.lock().unwrap()
    }

    fn dice(&self) -> f64 {
        0.5
    }
}

/// The house. It closes when it is dropped.
pub struct House {
    pub address: SocketAddr,
    pub store: Arc<dyn Store>,
    pub writer: GroupWriter,
    pub bell: Arc<Bell>,
    pub metrics: Arc<Metrics>,
    /// An admin key of account `default`.
    pub key: String,
    pub stop: Option<oneshot::Sender<()>>,
    pub served: tokio::task::JoinHandle<()>,
    _home: Home,
}

impl House {
    pub async fn open() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(set: impl FnOnce(&mut Settings)) -> Self {
        Self::with_quota(10_000, set).await
    }

    /// Of each source so many bodies may lie in quarantine. Lets through 127.0.0.0/8 and nothing else that is not
    /// public.
    pub async fn with_quota(quarantine_quota: i64, set: impl FnOnce(&mut Settings)) -> Self {
        let home = Home::new();
        Self::over(home.open(quarantine_quota), home, set).await
    }

    /// Over a store that has its place in a home.
    pub async fn over(store: Arc<dyn Store>, home: Home, set: impl FnOnce(&mut Settings)) -> Self {
        Self::by(System::shared(), store, home, set).await
    }

    /// By a clock that the test sets.
    pub async fn at(clock: Arc<dyn Clock>) -> Self {
        let home = Home::new();
        Self::by(clock, home.open(10_000), home, |_| {}).await
    }

    async fn by(
        clock: Arc<dyn Clock>,
        store: Arc<dyn Store>,
        home: Home,
        set: impl FnOnce(&mut Settings),
    ) -> Self {
        let (bell, metrics) = (
            Arc::new(Bell { woken: Mutex::default(), settled: Semaphore::new(0) }),
            Arc::new(Metrics::new()),
        );
        let (writer, _) = GroupWriter::start(
            store.clone(),
            Arc::clone(&bell) as _,
            Arc::clone(&clock),
            Arc::clone(&metrics),
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut settings = Settings::new(Some(PUBLIC_URL), address);
        set(&mut settings);
        let guard = Guard::new(vec!["127.0.0.0/8".parse().unwrap()]);
        let wire = Wire::new(guard.clone(), None).unwrap();
        let courier = Arc::new(WireCourier { wire, guard });
        let queues = Arc::clone(&bell) as Arc<dyn Queues>;
        let (store_too, writer_too) = (Arc::clone(&store), writer.clone());
        let state =
            ApiState::new(store_too, writer_too, queues, clock, Arc::clone(&metrics), courier, settings);
        let (stop, stopped) = oneshot::channel::<()>();
        let streams = state.streams.clone();
        let served = tokio::spawn(async move {
            let stopped = async {
                let _ = stopped.await;
                streams.end();
            };
            server::serve(listener, router(state.clone()), &state, stopped).await;
        });
        let key = new_api_key();
        store.create_key(new_key(&key, "admin", Rights::ALL)).await.unwrap();
        Self { address, store, writer, bell, metrics, key, stop: Some(stop), served, _home: home }
    }

    /// Another account's key.
    pub async fn tenant(&self, name: &str) -> String {
        let made = self.post("/v1/accounts", json!({ "name": name })).await;
        assert_eq!(made.status, 201, "{made:?}");
        made.json()["key"].as_str().unwrap().to_owned()
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.call(&self.key, "GET", path, &Value::Null).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Reply {
        self.call(&self.key, "POST", path, &body).await
    }

    pub async fn patch(&self, path: &str, body: Value) -> Reply {
        self.call(&self.key, "PATCH", path, &body).await
    }

    pub async fn delete(&self, path: &str) -> Reply {
        self.call(&self.key, "DELETE", path, &Value::Null).await
    }

    /// A request under a key; `null` is no body.
    pub async fn call(&self, key: &str, method: &str, path: &str, body: &Value) -> Reply {
        let key = format!("Bearer {key}");
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let headers = [("Authorization", key.as_str()), ("Content-Type", "application/json")];
        self.send(method, path, &headers, body.as_bytes()).await
    }

    /// A request with nothing but these headers.
    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n");
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() || matches!(method, "POST" | "PATCH") {
            request.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        request.push_str("\r\n");
        self.raw(&[request.as_bytes(), body].concat()).await
    }

    /// Bytes as they are; reads what comes back until the server closes.
    pub async fn raw(&self, bytes: &[u8]) -> Reply {
        let exchange = async {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            // A server that has read enough may answer and close before it has read all.
            let _ = stream.write_all(bytes).await;
            Reply::read(&mut stream).await
        };
        tokio::time::timeout(PATIENCE, exchange).await.expect("an answer in time")
    }

    /// Waits until a line of the metrics is there.
    pub async fn counted(&self, line: &str) {
        let counts = async {
            while !self.metrics.text().lines().any(|known| known == line) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let counted = tokio::time::timeout(PATIENCE, counts).await;
        counted.unwrap_or_else(|_| panic!("{line} is not in:\n{}", self.metrics.text()));
    }

    /// Makes a source and gives what the API said of it.
    pub async fn source(&self, key: &str, dialect: &str) -> Value {
        let body = json!({ "name": dialect, "dialect": dialect });
        let made = self.call(key, "POST", "/v1/sources", &body).await;
        assert_eq!(made.status, 201, "{made:?}");
        made.json()
    }

    /// Makes an endpoint that nobody listens at, and gives what the API said of it.
    pub async fn endpoint(&self, key: &str, dialect: &str) -> Value {
        let body = json!({ "url": "https://receiver.example/hook", "dialect": dialect });
        let made = self.call(key, "POST", "/v1/endpoints", &body).await;
        assert_eq!(made.status, 201, "{made:?}");
        made.json()
    }

    /// Brings a body to a source, unsigned or signed as its dialect wants.
    pub async fn bring(&self, source: &Value, body: &[u8]) -> Reply {
        let path = source["url"].as_str().unwrap().strip_prefix(PUBLIC_URL).unwrap();
        let mut headers = vec![("Content-Type", "application/json".to_owned())];
        if let Some(secret) = source["secret"].as_str() {
            let header = match source["dialect"].as_str() {
                Some("voicegenie") => "X-Webhook-Signature",
                Some("dialgen") => "x-dialgen-signature",
                _ => "X-Aloro-Signature",
            };
            headers.push((header, hmac_hex(secret, body)));
        }
        if let Some(token) = source["bearer_token"].as_str() {
            headers.push(("Authorization", format!("Bearer {token}")));
        }
        let headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        self.send("POST", path, &headers, body).await
    }
}

/// HMAC-SHA256 in hex, by `ring`.
pub fn hmac_hex(secret: &str, body: &[u8]) -> String {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
    ring::hmac::sign(&key, body).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The body of seed 001's curl example with another id.
pub fn cllr_body(call_id: &str) -> Vec<u8> {
    json!({
        "callId": call_id,
        "recordingUri": "https://example.com/recording.ogg",
        "callerDetails": { "name": "Test User", "phoneNumber": "+1-555-000-0000" },
    })
    .to_string()
    .into_bytes()
}

/// What came back.
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// All of it, as it came.
    pub bytes: Vec<u8>,
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.bytes))
    }
}

impl Reply {
    pub async fn read(stream: &mut TcpStream) -> Self {
        let mut bytes = Vec::new();
        let mut buffer = [0; 16 * 1024];
        // A reset after the answer is the end of it, too.
        while let Ok(read @ 1..) = stream.read(&mut buffer).await {
            bytes.extend_from_slice(&buffer[..read]);
        }
        Self::parse(bytes)
    }

    fn parse(bytes: Vec<u8>) -> Self {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("no answer: {:?}", String::from_utf8_lossy(&bytes)));
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        Self { status, headers, body: bytes[end + 4..].to_vec(), bytes }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Status, code and the fields that are wrong, of a problem document.
    #[track_caller]
    pub fn problem(&self) -> (u16, String, Vec<String>) {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let json = self.json();
        assert_eq!(json["status"], self.status);
        let detail = json["detail"].as_str().unwrap();
        assert!(detail.ends_with(['.', '?']), "a sentence: {detail}");
        let errors = json["errors"].as_array().cloned().unwrap_or_default();
        let fields = errors
            .iter()
            .map(|error| format!("{} {}", error["field"].as_str().unwrap(), error["code"].as_str().unwrap()));
        (self.status, json["code"].as_str().unwrap().to_owned(), fields.collect())
    }

    /// For snapshots: pretty, without what differs from run to run.
    pub fn tidy(&self) -> String {
        let mut json = self.json();
        tidy("", &mut json);
        format!("{} {}", self.status, serde_json::to_string_pretty(&json).unwrap())
    }
}

fn tidy(name: &str, value: &mut Value) {
    match value {
        Value::Object(fields) => fields.iter_mut().for_each(|(name, value)| tidy(name, value)),
        Value::Array(all) => all.iter_mut().for_each(|value| tidy(name, value)),
        Value::String(text) => {
            let is_ours = name.ends_with("_at") || matches!(name, "at" | "timestamp");
            *text = match name {
                "secret" | "bearer_token" | "key" => "[secret]".to_owned(),
                "next_cursor" => "[cursor]".to_owned(),
                _ if is_ours => "[time]".to_owned(),
                _ => without_ids(text),
            };
        }
        Value::Number(_) if name == "latency_ms" => *value = json!("[latency]"),
        _ => {}
    }
}

/// Ids have 17 letters after their prefix, tokens 43; what vendors call their calls is shorter.
fn without_ids(text: &str) -> String {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(is_part) {
        let (before, from) = rest.split_at(start);
        let end = from.find(|c| !is_part(c)).unwrap_or(from.len());
        let (word, after) = from.split_at(end);
        out.push_str(before);
        match word.split_once('_') {
            _ if word.len() >= 43 => out.push_str("[token]"),
            Some((prefix, letters)) if letters.len() == 17 => out.push_str(&format!("{prefix}_[id]")),
            _ => out.push_str(word),
        }
        rest = after;
    }
    out + rest
}
