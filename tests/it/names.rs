//! Names of endpoints, against a name server of the test's own: one that hangs is waited for by nobody else, and what it
//! answers is judged each time.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use postcall::delivery::guard::Guard;
use postcall::delivery::names::{MOST_LOOKUPS_OF_ACCOUNT, Names};
use postcall::delivery::resolver::SystemResolver;
use postcall::delivery::wire::{Exchange, Target, Wire};
use postcall::metrics::Metrics;
use postcall::model::AccountKey;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, UdpSocket};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::harness::{Client, PATIENCE, Receiver, hmac_hex};
use crate::home::Home;

/// A name server on loopback. It says what it was told, of all else that there is no such name, and of `hang...` nothing.
struct NameServer {
    address: SocketAddr,
    told: Arc<Mutex<HashMap<String, (Ipv4Addr, u32)>>>,
    asked: Arc<Mutex<HashMap<String, usize>>>,
}

impl NameServer {
    async fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let (told, asked) = (Arc::default(), Arc::default());
        let server = Self { address, told: Arc::clone(&told), asked: Arc::clone(&asked) };
        tokio::spawn(async move {
            let mut buffer = [0; 1500];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                if let Some(answer) = answer(&buffer[..length], &told, &asked) {
                    let _ = socket.send_to(&answer, from).await;
                }
            }
        });
        server
    }

    fn tell(&self, name: &str, address: [u8; 4], ttl: u32) {
        self.told.lock().unwrap().insert(name.to_owned(), (address.into(), ttl));
    }

    /// How often the IPv4 addresses of a name were asked for.
    fn asked(&self, name: &str) -> usize {
        self.asked.lock().unwrap().get(name).copied().unwrap_or_default()
    }

    fn wire(&self, networks: &[&str]) -> Wire {
        let names = Names::new(SystemResolver::new(vec![self.address]), Arc::new(Metrics::new()));
        let guard = Guard::new(networks.iter().map(|network| network.parse().unwrap()).collect());
        Wire::with_names(guard, names, None).unwrap()
    }
}

/// RFC 1035, section 4: a header, the question as it came, at most one answer that points to it.
fn answer(
    query: &[u8],
    told: &Mutex<HashMap<String, (Ipv4Addr, u32)>>,
    asked: &Mutex<HashMap<String, usize>>,
) -> Option<Vec<u8>> {
    const IPV4: u16 = 1;
    let (mut labels, mut at) = (Vec::new(), 12);
    while *query.get(at)? != 0 {
        let end = at + 1 + usize::from(query[at]);
        labels.push(String::from_utf8_lossy(query.get(at + 1..end)?).to_ascii_lowercase());
        at = end;
    }
    let (name, question) = (labels.join("."), query.get(12..at + 5)?);
    let kind = u16::from_be_bytes([query[at + 1], query[at + 2]]);
    if kind == IPV4 {
        *asked.lock().unwrap().entry(name.clone()).or_default() += 1;
    }
    if name.starts_with("hang") {
        return None;
    }
    let known = told.lock().unwrap().get(&name).copied();
    let found = known.filter(|_| kind == IPV4);
    let code = if known.is_some() { 0 } else { 3 };
    let mut answer =
        [&query[..2], &[0x81, 0x80 | code, 0, 1, 0, u8::from(found.is_some()), 0, 0, 0, 0]].concat();
    answer.extend_from_slice(question);
    if let Some((address, ttl)) = found {
        answer.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1]);
        answer.extend_from_slice(&ttl.to_be_bytes());
        answer.extend_from_slice(&[0, 4]);
        answer.extend_from_slice(&address.octets());
    }
    Some(answer)
}

/// Answers one request on each connection, so that each request needs a new one.
async fn closing(address: &str) -> SocketAddr {
    let listener = TcpListener::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 1024]).await;
            let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").await;
        }
    });
    address
}

async fn post(wire: &Wire, url: &str, account: i64) -> Result<u16, &'static str> {
    let body = Bytes::from_static(b"{}");
    let (target, account) = (Target::of(url), AccountKey(account));
    let (start, timeout) = (Instant::now(), PATIENCE);
    let answer = wire.post(Exchange { target, headers: Vec::new(), body, start, timeout, account }).await;
    answer.result.map(|response| response.status).map_err(|trouble| trouble.code())
}

#[tokio::test]
async fn a_name_is_asked_for_once_for_all_who_need_it() {
    let (names, receiver) = (NameServer::start().await, closing("127.0.0.1:0").await);
    names.tell("crm.names.test", [127, 0, 0, 1], 60);
    let wire = names.wire(&["127.0.0.0/8"]);
    let url = format!("http://crm.names.test:{}/", receiver.port());
    let mut posts = JoinSet::new();
    for account in 0..100 {
        let (wire, url) = (wire.clone(), url.clone());
        posts.spawn(async move { post(&wire, &url, 1 + account % 3).await });
    }
    while let Some(answer) = posts.join_next().await {
        assert_eq!(answer.unwrap(), Ok(204));
    }
    assert_eq!(post(&wire, &url, 1).await, Ok(204));
    assert_eq!(names.asked("crm.names.test"), 1);
    for _ in 0..10 {
        assert_eq!(post(&wire, "http://nobody.names.test/", 1).await, Err("resolve"));
    }
    assert_eq!(names.asked("nobody.names.test"), 1, "also what is not there is remembered");
}

/// A name may point elsewhere from one answer to the next: each answer is judged, also one that is remembered.
#[tokio::test]
async fn a_name_that_turns_to_loopback_is_refused() {
    let names = NameServer::start().await;
    let receiver = closing("127.0.0.2:0").await;
    let wire = names.wire(&["127.0.0.2/32"]);
    let url = format!("http://turning.names.test:{}/", receiver.port());
    names.tell("turning.names.test", [127, 0, 0, 2], 0);
    assert_eq!(post(&wire, &url, 1).await, Ok(204));
    names.tell("turning.names.test", [127, 0, 0, 1], 60);
    for _ in 0..3 {
        assert_eq!(post(&wire, &url, 1).await, Err("address_refused"));
    }
    assert_eq!(
        names.asked("turning.names.test"),
        2,
        "the answer that holds for no time, and the one that is remembered"
    );
}

const ADMIN_KEY: &str = "admin-key-of-the-tests";
const SECRET: &str = "a secret of the tests";

/// A server in a process of its own, so that its threads can be counted.
struct Server {
    child: Child,
    api: Client,
}

impl Server {
    async fn start(home: &Home, names: &NameServer) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_postcall"))
            .args(["serve", "--listen", "127.0.0.1:0", "--allow-network", "127.0.0.0/8", "--name-server"])
            .arg(names.address.to_string())
            .args(home.arguments())
            .env("POSTCALL_ADMIN_KEY", ADMIN_KEY)
            .env("POSTCALL_LOG", "warn")
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the binary starts");
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let address = loop {
            let line = lines.next_line().await.unwrap().expect("it says where it listens");
            if let Some(address) = line.strip_prefix("listening on http://") {
                break address.parse().unwrap();
            }
        };
        Self { child, api: Client::new(address, ADMIN_KEY) }
    }

    fn threads(&self) -> usize {
        let tasks = format!("/proc/{}/task", self.child.id().expect("it runs"));
        std::fs::read_dir(tasks).unwrap().count()
    }

    async fn number(&self, metric: &str) -> i64 {
        let text = self.api.get("/metrics").await.expect(200).body;
        let text = String::from_utf8(text.to_vec()).unwrap();
        let value = text.lines().find_map(|line| line.strip_prefix(metric)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("{metric} is not in:\n{text}")).parse().unwrap()
    }
}

/// Ends a call at a new source of an account, so many times.
async fn calls(api: &Client, count: usize) {
    let source = api.source(json!({"name": "dialer", "dialect": "voicegenie", "secret": SECRET})).await;
    let door = format!("/in/{}", source["id"].as_str().unwrap());
    for call in 0..count {
        let body = json!({
            "call_uuid": format!("call-{call}"), "event": "call_ended", "phone_number": "+1-555-123-4567",
            "call_data": {"duration": 245, "outcome": "completed"}, "timestamp": "2024-01-16T10:35:00Z",
        });
        let body = body.to_string();
        let signature = hmac_hex(SECRET, body.as_bytes());
        let headers = [("x-webhook-signature", signature.as_str())];
        api.send(http::Method::POST, &door, &headers, body).await.unwrap().expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_server_that_hangs_costs_nobody_else_anything() {
    let (home, names, receiver) = (Home::new(), NameServer::start().await, Receiver::start().await);
    names.tell("good.names.test", [127, 0, 0, 1], 60);
    let server = Server::start(&home, &names).await;
    let made = server.api.post("/v1/accounts", json!({"name": "quick"})).await.expect(201).json();
    let mut quick = server.api.clone();
    quick.key = made["key"].as_str().unwrap().to_owned();
    let slow = &server.api;
    let endpoint = |url: String| json!({"url": url, "dialect": "standard", "retry_delays_seconds": []});
    for number in 0..20 {
        slow.endpoint(endpoint(format!("http://hang{number}.names.test/"))).await;
    }
    let by_name = format!("http://good.names.test:{}/by-name", receiver.address.port());
    for url in [by_name, receiver.url("/by-address")] {
        quick.endpoint(endpoint(url)).await;
    }
    quick.get("/v1/deliveries").await.expect(200);
    let threads = server.threads();

    calls(slow, 10).await;
    let begun = || async { server.number("postcall_name_lookups_under_way").await };
    let start = std::time::Instant::now();
    while begun().await == 0 {
        assert!(start.elapsed() < PATIENCE, "nothing is looked up");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    calls(&quick, 10).await;
    receiver.wait_for(20).await;
    let all_there = |all: &[Value]| all.len() == 20 && all.iter().all(|it| it["state"] == "delivered");
    quick.deliveries_when("", all_there).await;
    // The name servers have not said a word meanwhile, and two hundred deliveries wait for them.
    assert!(begun().await <= i64::try_from(MOST_LOOKUPS_OF_ACCOUNT).unwrap());
    let waiting = slow.get("/v1/reconciliation").await.expect(200).json();
    let owed: i64 =
        waiting["endpoints"].as_array().unwrap().iter().map(|sum| sum["owed"].as_i64().unwrap()).sum();
    assert_eq!(owed, 200);
    // Reads have at most four threads of their own; every look-up used to have one.
    assert!(server.threads() <= threads + 6, "{threads} threads before, {} now", server.threads());
    assert_eq!(names.asked("good.names.test"), 1);
}
