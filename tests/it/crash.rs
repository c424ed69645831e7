//! kill -9 at any moment: nothing that was answered 200 is lost, and everything owed arrives.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{Mutex, watch};

use crate::harness::{Client, Receiver, hmac_hex};
use crate::home::Home;

const ROUNDS: usize = 10;
const SENDERS: usize = 8;
const SECRET: &str = "crash-test-secret";
const KEY: &str = "crash-test-admin-key";

/// A server in a process of its own, which a signal can end without warning.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    async fn start(home: &Home, listen: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_postcall"))
            .args(["serve", "--listen", listen, "--allow-network", "127.0.0.0/8"])
            .args(home.arguments())
            .env("POSTCALL_ADMIN_KEY", KEY)
            .env("POSTCALL_LOG", "warn")
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the binary starts");
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let address = loop {
            let line =
                lines.next_line().await.expect("its output is text").expect("it says where it listens");
            if let Some(address) = line.strip_prefix("listening on http://") {
                break address.parse().expect("an address");
            }
        };
        Self { child, address }
    }

    async fn kill(mut self) {
        self.child.kill().await.expect("SIGKILL is sent");
    }
}

fn body(call: usize, event: &str) -> Vec<u8> {
    let body = json!({
        "call_uuid": format!("crash-{call}"),
        "event": event,
        "phone_number": "+919876543210",
        "call_data": {"duration": 245, "outcome": "completed", "sentiment": {"overall": "positive", "confidence": 0.87}},
        "timestamp": "2024-01-16T10:35:00Z",
    });
    serde_json::to_vec(&body).expect("it is JSON")
}

/// Sends calls, two events each, until told to stop; remembers what was answered 200.
async fn send(
    address: watch::Receiver<SocketAddr>,
    source: String,
    next: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    accepted: Arc<Mutex<Vec<(usize, &'static str)>>>,
    heard: watch::Sender<usize>,
) {
    while !stop.load(Ordering::Relaxed) {
        let call = next.fetch_add(1, Ordering::Relaxed);
        for event in ["call_answered", "call_ended"] {
            let body = body(call, event);
            let signature = hmac_hex(SECRET, &body);
            let client = Client::new(*address.borrow(), KEY);
            let answer = client
                .send(http::Method::POST, &source, &[("x-webhook-signature", signature.as_str())], body)
                .await;
            // No answer, or 503 while shutting down: the sender knows that nothing was promised.
            if answer.is_ok_and(|answer| answer.status == 200) {
                accepted.lock().await.push((call, event));
                heard.send_modify(|count| *count += 1);
            } else if stop.load(Ordering::Relaxed) {
                return;
            } else {
                let mut address = address.clone();
                address.mark_unchanged();
                // The server is away: go on when the next one is up.
                let _ = tokio::time::timeout(Duration::from_secs(1), address.changed()).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_answered_200_is_lost_and_everything_owed_arrives() {
    let home = Home::new();
    let receiver = Receiver::start().await;
    // One in five attempts fails, so that retries are pending whenever the process dies.
    receiver.answer_with((0..20_000).map(|n| if n % 5 == 0 { 500 } else { 200 }));

    let mut server = Server::start(&home, "127.0.0.1:0").await;
    let listen = server.address.to_string();
    let api = Client::new(server.address, KEY);
    let source = api.source(json!({"name": "dialer", "dialect": "voicegenie", "secret": SECRET})).await;
    let path = format!("/in/{}", source["id"].as_str().expect("an id"));
    for dialect in ["standard", "voicegenie"] {
        let retry_delays = vec![0.05; 30];
        let url = receiver.url(&format!("/{dialect}"));
        api.endpoint(json!({"url": url, "dialect": dialect, "retry_delays_seconds": retry_delays})).await;
    }

    let (address, _) = watch::channel(server.address);
    let (heard, mut hearing) = watch::channel(0usize);
    let (stop, next) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let accepted = Arc::new(Mutex::new(Vec::new()));
    let senders: Vec<_> = (0..SENDERS)
        .map(|_| {
            let (next, stop, accepted) = (Arc::clone(&next), Arc::clone(&stop), Arc::clone(&accepted));
            tokio::spawn(send(address.subscribe(), path.clone(), next, stop, accepted, heard.clone()))
        })
        .collect();

    for round in 0..ROUNDS {
        // A moment that depends on progress, not on the clock: somewhere within the next 150 events.
        let goal = *hearing.borrow() + 20 + usize::try_from(fastrand::u32(0..130)).expect("small");
        hearing.wait_for(|count| *count >= goal).await.expect("the senders live");
        if round == ROUNDS - 1 {
            stop.store(true, Ordering::Relaxed);
        }
        server.kill().await;
        server = Server::start(&home, &listen).await;
        address.send_replace(server.address);
    }
    for sender in senders {
        sender.await.expect("a sender does not panic");
    }

    let accepted = accepted.lock().await.clone();
    assert!(accepted.len() >= ROUNDS * 20);
    let api = Client::new(server.address, KEY);

    // The receiver saw each accepted event at least once, through both endpoints.
    let key_of = |path: &str, body: &Value| -> (String, String, String) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        match path {
            "/standard" => (path.to_owned(), text(&body["data"]["call_id"]), text(&body["type"])),
            _ => (path.to_owned(), text(&body["call_uuid"]), text(&body["event"])),
        }
    };
    let wanted: HashSet<(String, String, String)> = accepted
        .iter()
        .flat_map(|(call, event)| {
            let id = format!("crash-{call}");
            let canonical = event.replace('_', ".");
            [
                ("/standard".to_owned(), id.clone(), canonical),
                ("/voicegenie".to_owned(), id, (*event).to_owned()),
            ]
        })
        .collect();
    receiver
        .wait_until(|got| {
            let seen: HashSet<_> = got.iter().map(|got| key_of(&got.path, &got.json())).collect();
            wanted.is_subset(&seen)
        })
        .await;

    // Every accepted event is in the feed, once, and the feed has no gap.
    let mut feed = HashMap::new();
    let mut after = String::new();
    loop {
        let page = api.get(&format!("/v1/events?limit=500&after={after}")).await.expect(200).json();
        let events = page["data"].as_array().expect("a list");
        for event in events {
            let key =
                (event["data"]["call_id"].as_str().expect("an id").to_owned(), event["type"].to_string());
            *feed.entry(key).or_insert(0) += 1;
        }
        match page["next_cursor"].as_str() {
            Some(cursor) => cursor.clone_into(&mut after),
            None => break,
        }
    }
    for (call, event) in &accepted {
        let key = (format!("crash-{call}"), format!("\"{}\"", event.replace('_', ".")));
        assert_eq!(feed.get(&key), Some(&1), "{key:?} was answered 200");
    }

    // The books balance: what is pending is delivered in the end, nothing died, and the rows agree.
    let sums = settle(&api).await;
    for sum in sums["endpoints"].as_array().expect("a list") {
        assert_eq!(sum["pending"], 0, "{sum}");
        assert_eq!(sum["dead"], 0, "{sum}");
        assert_eq!(sum["owed"], sum["delivered"], "{sum}");
    }
    let duplicates = receiver.got().len() - wanted.len();
    println!("{} events accepted, {} attempts beyond one each", accepted.len(), duplicates);
    server.kill().await;
}

/// Waits for the last settlements: the receiver hears of a delivery before the books do.
async fn settle(api: &Client) -> Value {
    for _ in 0..600 {
        let sums = api.get("/v1/reconciliation").await.expect(200).json();
        let is_done = |sum: &Value| sum["pending"].as_i64() == Some(0);
        if sums["endpoints"].as_array().expect("a list").iter().all(is_done) {
            // Only now, with nothing under way, must two requests for the sums agree.
            return api.check_sums().await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("deliveries stay pending: {}", api.get("/v1/reconciliation").await.json());
}
