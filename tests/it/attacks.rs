//! The attacks of `cargo xtask attack` in a short form, against a server in a process of its own. While each goes on the
//! server has to answer others, and what it holds is counted: memory, threads, its own counters. Nothing is timed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::api_rig::{Reply, cllr_body, hmac_hex};
use crate::home::Home;

const KEY: &str = "attack-test-admin-key";
const SECRET: &str = "attack-test-secret";
/// For what must not hang; a test that needs it all has failed.
const PATIENCE: Duration = Duration::from_secs(60);
/// What an attack may add to the memory of the server, in MiB: the budget of bodies, what they were read into, and what the
/// allocator keeps. Each attack that holds something sends twice as much.
const MOST_MEMORY: u64 = 128;
/// Threads that an attack may add: those that read from the store are started when they are first needed.
const MOST_THREADS: usize = 8;
/// Honest requests in a row during which an attack gets nowhere: then it has come as far as it is let.
const STILL: usize = 5;

/// A running server.
struct Server {
    child: Child,
    address: SocketAddr,
    honest: String,
    target: Target,
    _home: Home,
}

/// What an attacker knows and has.
struct Target {
    /// The path of a signed source of somebody else.
    foreign: String,
    /// A key of an account of its own.
    key: String,
    /// The path of a source of this account.
    own: String,
}

/// What becomes of a connection once its request is sent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    /// The answer is read to its end.
    Read,
    /// It stays as it is: the request is not whole, or nothing is read.
    Hold,
}

struct Attack {
    name: &'static str,
    connections: usize,
    request: fn(&Target) -> Vec<u8>,
    then: Then,
    /// An honest request that has to succeed meanwhile, beside ingest and `/healthz`.
    beside: Option<(&'static str, &'static str)>,
    /// The most bytes of one answer.
    longest_answer: usize,
    /// What counters of the server may grow by meanwhile, all labels together.
    counted: &'static [(&'static str, u64)],
    /// What its gauges may show when the attack gets no further, all labels together.
    held: &'static [(&'static str, u64)],
}

const ORDINARY: Attack = Attack {
    name: "",
    connections: 1,
    request: |_| Vec::new(),
    then: Then::Read,
    beside: None,
    longest_answer: 64 << 10,
    counted: &[],
    held: &[("postcall_body_bytes", 1 << 20)],
};

const MIB: usize = 1 << 20;

const ATTACKS: &[Attack] = &[
    Attack {
        name: "thousands of signatures beside a body",
        connections: 4,
        request: |target| {
            let signatures = "v1, ".repeat(7_500);
            let more = format!(
                "webhook-id: msg_1\r\nwebhook-timestamp: 1\r\nwebhook-signature: {signatures}\r\n{CLOSE}"
            );
            request("POST", &target.foreign, &more, 16 << 10, &vec![b'a'; 16 << 10])
        },
        // One for each request, and one for each honest event meanwhile: not one for each signature.
        counted: &[("postcall_ingest_hmacs_total", 200)],
        ..ORDINARY
    },
    Attack {
        name: "answers that are never read",
        connections: 64,
        request: |_| request("GET", "/docs", "", 0, b"").repeat(60),
        then: Then::Hold,
        ..ORDINARY
    },
    Attack {
        name: "heads that do not end",
        connections: 64,
        request: |_| b"GET /docs HTTP/1.1\r\nhost: here\r\nx-slow: ".to_vec(),
        then: Then::Hold,
        ..ORDINARY
    },
    Attack {
        name: "bodies without a key that lack a byte",
        connections: 256,
        request: |_| request("PUT", "/agents/x", JSON, MIB, &vec![b' '; MIB - 1]),
        then: Then::Hold,
        ..ORDINARY
    },
    Attack {
        name: "bodies for a source that is not there and that lack a byte",
        connections: 256,
        request: |_| request("POST", "/in/nobody", JSON, MIB, &vec![b' '; MIB - 1]),
        then: Then::Hold,
        // The part of unproven senders.
        held: &[("postcall_body_bytes", 16 << 20)],
        ..ORDINARY
    },
    Attack {
        name: "a tenant's batches that lack a byte",
        connections: 16,
        request: |target| {
            let more = format!("{JSON}authorization: Bearer {}\r\n", target.key);
            request("POST", "/v1/batches", &more, 1000, &[b' '; 999])
        },
        then: Then::Hold,
        beside: Some(("/v1/batches", r#"{"name":"honest","contacts":[{"phone":"+15550001111"}]}"#)),
        ..ORDINARY
    },
    Attack {
        name: "a tenant's lines of an import that do not end",
        connections: 8,
        request: |target| {
            let more = format!("{JSON}authorization: Bearer {}\r\n", target.key);
            request("POST", "/v1/import", &more, 64 * MIB, &vec![b'a'; 32 * MIB])
        },
        then: Then::Hold,
        // The part of requests with a key.
        held: &[("postcall_body_bytes", 80 << 20)],
        ..ORDINARY
    },
    Attack {
        name: "an endpoint with twenty thousand headers",
        request: |target| {
            let headers = (0..20_000).fold(String::new(), |mut all, number| {
                let _ = write!(all, r#""h{number}":"","#);
                all
            });
            let body = format!(
                r#"{{"url":"http://127.0.0.1:9/","dialect":"standard","headers":{{{headers}"x":""}}}}"#
            );
            keyed(target, "/v1/endpoints", body.as_bytes())
        },
        ..ORDINARY
    },
    Attack {
        name: "fields that nobody knows",
        connections: 2,
        request: |target| {
            let fields = (0..20_000).fold(String::new(), |mut all, number| {
                let _ = write!(all, r#""{number:x}":1,"#);
                all
            });
            keyed(target, "/v1/endpoints", format!(r#"{{{fields}"url":1}}"#).as_bytes())
        },
        ..ORDINARY
    },
    Attack {
        name: "a tenant's own events",
        connections: 64,
        request: |target| {
            let body = cllr_body("the same for all");
            request("POST", &target.own, &format!("{JSON}{CLOSE}"), body.len(), &body)
        },
        ..ORDINARY
    },
    Attack {
        name: "keys that are none",
        connections: 64,
        request: |_| {
            request("GET", "/v1/events", &format!("authorization: Bearer pk_none\r\n{CLOSE}"), 0, b"")
        },
        ..ORDINARY
    },
    Attack {
        name: "the beginning of TLS",
        connections: 32,
        request: |_| b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec(),
        ..ORDINARY
    },
    Attack {
        name: "a line of a header that is longer than any head",
        connections: 32,
        request: |_| format!("GET / HTTP/1.1\r\nhost: here\r\nx: {}", "a".repeat(MIB / 4)).into_bytes(),
        ..ORDINARY
    },
];

const JSON: &str = "content-type: application/json\r\n";
const CLOSE: &str = "connection: close\r\n";

/// A request; `more` are lines of headers, each with its end.
fn request(method: &str, path: &str, more: &str, length: usize, body: &[u8]) -> Vec<u8> {
    let head = format!("{method} {path} HTTP/1.1\r\nhost: here\r\n{more}content-length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

/// A request of a tenant, whole.
fn keyed(target: &Target, path: &str, body: &[u8]) -> Vec<u8> {
    let more = format!("{JSON}{CLOSE}authorization: Bearer {}\r\n", target.key);
    request("POST", path, &more, body.len(), body)
}

impl Server {
    async fn start() -> Self {
        let home = Home::new();
        let mut child = Command::new(env!("CARGO_BIN_EXE_postcall"))
            .args(["serve", "--listen", "127.0.0.1:0", "--allow-network", "127.0.0.0/8"])
            .args(home.arguments())
            .env("POSTCALL_ADMIN_KEY", KEY)
            .env("POSTCALL_LOG", "error")
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = loop {
            let line = lines.next_line().await.unwrap().expect("it says where it listens");
            if let Some(address) = line.strip_prefix("listening on http://") {
                break address.parse().unwrap();
            }
        };
        let target = Target { foreign: String::new(), key: KEY.to_owned(), own: String::new() };
        let mut server = Self { child, address, honest: String::new(), target, _home: home };
        let voicegenie = json!({"name": "honest", "dialect": "voicegenie", "secret": SECRET});
        server.honest = server.source(KEY, voicegenie).await;
        let secret = "whsec_YSBzb3VyY2Ugb2Ygc29tZWJvZHkgZWxzZSBpbiB0ZXN0cw==";
        let standard = json!({"name": "foreign", "dialect": "standard", "secret": secret});
        server.target.foreign = server.source(KEY, standard).await;
        let account = server.post(KEY, "/v1/accounts", &json!({"name": "attacker"}).to_string()).await;
        let key = account.json()["key"].as_str().unwrap().to_owned();
        server.target.own = server.source(&key, json!({"name": "own", "dialect": "cllr"})).await;
        server.target.key = key;
        server
    }

    /// Sends a request of an honest user, from the first address of loopback.
    async fn ask(&self, request: &[u8]) -> Reply {
        let asked = async {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            stream.write_all(request).await.unwrap();
            Reply::read(&mut stream).await
        };
        timeout(PATIENCE, asked).await.expect("an honest request is answered")
    }

    async fn post(&self, key: &str, path: &str, body: &str) -> Reply {
        let more = format!("{JSON}{CLOSE}authorization: Bearer {key}\r\n");
        self.ask(&request("POST", path, &more, body.len(), body.as_bytes())).await
    }

    /// Makes a source; gives the path of its ingest URL.
    async fn source(&self, key: &str, form: Value) -> String {
        let made = self.post(key, "/v1/sources", &form.to_string()).await.json();
        let url = made["url"].as_str().unwrap_or_else(|| panic!("{made}"));
        format!("/{}", url.splitn(4, '/').nth(3).unwrap())
    }

    /// Brings a signed event of a call.
    async fn bring(&self, call: usize) -> Reply {
        let body = json!({
            "call_uuid": format!("honest-{call}"), "event": "call_ended", "phone_number": "+919876543210",
            "call_data": {"duration": 245, "outcome": "completed"}, "timestamp": "2024-01-16T10:35:00Z",
        });
        let body = body.to_string();
        let signature = hmac_hex(SECRET, body.as_bytes());
        let more = format!("{JSON}{CLOSE}x-webhook-signature: {signature}\r\n");
        self.ask(&request("POST", &self.honest, &more, body.len(), body.as_bytes())).await
    }

    /// Its counters, all labels of each together.
    async fn counters(&self) -> BTreeMap<String, u64> {
        let text = self.ask(&request("GET", "/metrics", CLOSE, 0, b"")).await;
        let mut sums = BTreeMap::new();
        for (name, value) in text.text().lines().filter_map(|line| line.rsplit_once(' ')) {
            let name = name.split('{').next().unwrap_or_default();
            if let Ok(value) = value.parse::<u64>() {
                *sums.entry(name.to_owned()).or_default() += value;
            }
        }
        sums
    }

    /// Its memory in MiB and its threads, as the kernel counts them.
    fn held(&self) -> (u64, usize) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id().unwrap())).unwrap();
        let field = |name: &str| -> u64 {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.split_ascii_whitespace().next().unwrap().parse().unwrap()
        };
        (field("VmRSS:") / 1024, usize::try_from(field("Threads:")).unwrap())
    }
}

/// Sends a request from another address than the honest users'; gives how many bytes of an answer there were.
async fn attack(server: SocketAddr, request: Arc<Vec<u8>>, then: Then, sent: Arc<AtomicU64>) -> usize {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let Ok(mut stream) = socket.connect(server).await else { return 0 };
    // Piece by piece, so that it shows how far it is. A server that has had enough closes: that is its right.
    for piece in request.chunks(16 << 10) {
        if stream.write_all(piece).await.is_err() {
            break;
        }
        sent.fetch_add(1, Ordering::Relaxed);
    }
    match then {
        Then::Read => {
            let mut answer = Vec::new();
            // What comes before a reset counts.
            let _ = stream.read_to_end(&mut answer).await;
            answer.len()
        }
        Then::Hold => std::future::pending().await,
    }
}

/// Makes an attack and looks what becomes of everybody else.
async fn withstand(server: &Server, number: usize, attack_of: &Attack) {
    let Attack { name, connections, request, then, beside, longest_answer, counted, held } = attack_of;
    let (memory, threads) = server.held();
    let before = server.counters().await;
    let (request, sent) = (Arc::new(request(&server.target)), Arc::new(AtomicU64::new(0)));
    let mut all = JoinSet::new();
    for _ in 0..*connections {
        all.spawn(attack(server.address, Arc::clone(&request), *then, Arc::clone(&sent)));
    }
    // Honest users come all the while, until the attack gets no further.
    let (mut call, mut still, mut last) = (0, 0, 0);
    while still < STILL {
        call += 1;
        let reply = server.bring(number * 1_000_000 + call).await;
        assert_eq!(reply.status, 200, "{name}: an honest event: {}", reply.text());
        let reply = server.ask(&self::request("GET", "/healthz", CLOSE, 0, b"")).await;
        assert_eq!(reply.status, 200, "{name}: /healthz: {}", reply.text());
        if let Some((path, body)) = beside {
            let reply = server.post(KEY, path, body).await;
            assert!(reply.status < 300, "{name}: {path}: {} {}", reply.status, reply.text());
        }
        let now = sent.load(Ordering::Relaxed) + u64::try_from(all.len()).unwrap();
        (still, last) = if now == last { (still + 1, last) } else { (0, now) };
    }
    let shown = server.counters().await;
    for (gauge, most) in *held {
        let value = shown.get(*gauge).unwrap_or_else(|| panic!("no {gauge}"));
        assert!(value <= most, "{name}: {gauge} is {value}, at most {most}");
    }
    let (memory_now, threads_now) = server.held();
    assert!(memory_now < memory + MOST_MEMORY, "{name}: {memory} MiB became {memory_now} MiB");
    assert!(threads_now <= threads + MOST_THREADS, "{name}: {threads} threads became {threads_now}");
    if *then == Then::Read {
        while let Some(answer) = timeout(PATIENCE, all.join_next()).await.expect("each is answered or closed")
        {
            let length = answer.unwrap();
            assert!(length <= *longest_answer, "{name}: an answer of {length} bytes");
        }
    }
    let after = server.counters().await;
    for (counter, most) in *counted {
        let value =
            |all: &BTreeMap<String, u64>| *all.get(*counter).unwrap_or_else(|| panic!("no {counter}"));
        let grown = value(&after) - value(&before);
        assert!(grown <= *most, "{name}: {counter} grew by {grown}, at most {most}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_attack_in_its_short_form_leaves_the_server_bounded_and_answering() {
    for (number, attack) in ATTACKS.iter().enumerate() {
        // Each begins with a server to which nothing was done.
        let server = Server::start().await;
        withstand(&server, number, attack).await;
    }
}
