//! Real receivers against real deliveries: what the seeds tell people to write must verify whatever vendors send.
//! Everything goes through the public door. Refuses to know how vendors write.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use http::Method;
use postcall::app::App;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::harness::{Client, Receiver};
use crate::home::Home;
use crate::programs::{Program, SECRET, STANDARD_SECRET, TOKEN};
use crate::vendors::{Doors, NASTY, Sent, sent};

const KEY: &str = "receivers-test-admin-key";

/// For what must happen soon; a test that needs it all has failed.
const PATIENCE: Duration = Duration::from_secs(120);

/// A postcall with a store of its own.
struct House {
    app: App,
    api: Client,
    _home: Home,
}

impl House {
    async fn start() -> Self {
        let home = Home::new();
        let mut settings = home.settings();
        settings.allow_networks = vec!["127.0.0.0/8".parse().expect("a network")];
        settings.admin_key = Some(KEY.to_owned());
        let app = App::start(settings).await.expect("postcall starts");
        let api = Client::new(app.address(), KEY);
        Self { app, api, _home: home }
    }

    /// Waits until every endpoint's sum is one of delivered, dead or cancelled; gives the sums by endpoint.
    async fn settled(&self) -> BTreeMap<String, Value> {
        until("every delivery is settled", async || {
            let sums = self.api.get("/v1/reconciliation").await.expect(200).json();
            sums["endpoints"].as_array()?.iter().all(|sum| sum["pending"] == 0).then_some(())
        })
        .await;
        let sums = self.api.check_sums().await;
        let sums = sums["endpoints"].as_array().expect("a list");
        sums.iter().map(|sum| (text(sum, "endpoint_id"), sum.clone())).collect()
    }

    /// The ids of everything in the feed. Only they are read: half an emoji is more than `Value` takes.
    async fn event_ids(&self) -> BTreeSet<String> {
        #[derive(Deserialize)]
        struct Feed {
            data: Vec<Id>,
        }
        #[derive(Deserialize)]
        struct Id {
            id: String,
        }
        let answer = self.api.get("/v1/events?limit=100").await.expect(200);
        let feed: Feed = serde_json::from_slice(&answer.body).expect("a list of events");
        feed.data.into_iter().map(|event| event.id).collect()
    }

    /// All deliveries of an endpoint.
    async fn deliveries(&self, endpoint: &str) -> Vec<Value> {
        let path = format!("/v1/deliveries?limit=100&endpoint_id={endpoint}");
        let page = self.api.get(&path).await.expect(200).json();
        assert!(page["next_cursor"].is_null(), "these tests plan less than a page");
        page["data"].as_array().expect("a list").clone()
    }
}

async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let watch = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, watch).await.unwrap_or_else(|_| panic!("not in {PATIENCE:?}: {what}"))
}

fn text(object: &Value, name: &str) -> String {
    object[name].as_str().unwrap_or_else(|| panic!("no {name} in {object}")).to_owned()
}

/// A route of a receiver, and what it must hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Route {
    Voicegenie,
    DialgenCalls,
    DialgenBatches,
    DialgenFailedBatches,
    Aloro,
    Air,
    Cllr,
    Standard,
}

/// The routes of every example.
const OF_EXAMPLES: [(Route, &str); 7] = [
    (Route::Voicegenie, "/webhooks/voicegenie"),
    (Route::DialgenCalls, "/webhooks/dialgen/call-complete"),
    (Route::DialgenBatches, "/webhooks/dialgen/batch-complete"),
    (Route::Aloro, "/webhooks/aloro"),
    (Route::Air, "/webhooks/air"),
    (Route::Cllr, "/webhooks/cllr/{token}"),
    (Route::Standard, "/webhooks/standard"),
];

impl Route {
    fn dialect(self) -> &'static str {
        match self {
            Self::Voicegenie => "voicegenie",
            Self::DialgenCalls | Self::DialgenBatches | Self::DialgenFailedBatches => "dialgen",
            Self::Aloro => "aloro",
            Self::Air => "air",
            Self::Cllr => "cllr",
            Self::Standard => "standard",
        }
    }

    /// Dialgen has one URL for each of its three hooks.
    fn events(self) -> Value {
        match self {
            Self::DialgenCalls => json!(["call.ended", "call.failed"]),
            Self::DialgenBatches => json!(["batch.completed"]),
            Self::DialgenFailedBatches => json!(["batch.failed"]),
            _ => Value::Null,
        }
    }

    /// How the receiver knows us, or a stranger with the wrong credential.
    fn endpoint(self, base: &str, path: &str, is_stranger: bool) -> Value {
        let wrong = |right: &str, wrong: &str| if is_stranger { wrong.to_owned() } else { right.to_owned() };
        let token = wrong(TOKEN, "another-token-of-more-than-16");
        let url = format!("{base}{}", path.replace("{token}", &token));
        let mut endpoint = json!({"url": url, "dialect": self.dialect(), "events": self.events()});
        match self {
            Self::Cllr => {}
            Self::Air => endpoint["bearer_token"] = json!(token),
            Self::Standard => {
                endpoint["secret"] = json!(wrong(STANDARD_SECRET, "whsec_c29tZWJvZHkgZWxzZSdzIHNlY3JldA=="));
            }
            _ => endpoint["secret"] = json!(wrong(SECRET, "somebody else's secret")),
        }
        endpoint
    }
}

/// What a route must have heard of all that, by the rules of its seed.
fn expected(route: Route) -> BTreeSet<String> {
    let is_call = |sent: &&Sent| sent.step.starts_with("call_");
    let is_terminal = |sent: &&Sent| matches!(sent.step, "call_ended" | "call_failed");
    let named = |sent: &Sent| format!("{} {}", sent.about, sent.step);
    let sent = sent();
    let sent = sent.iter();
    match route {
        Route::Voicegenie => sent.filter(is_call).map(named).collect(),
        Route::DialgenCalls | Route::Aloro => {
            sent.filter(is_terminal).map(|sent| sent.about.to_owned()).collect()
        }
        Route::DialgenBatches => sent.filter(|sent| sent.step == "batch.completed").map(named).collect(),
        Route::DialgenFailedBatches => sent.filter(|sent| sent.step == "batch.failed").map(named).collect(),
        Route::Air | Route::Cllr => {
            sent.filter(|sent| sent.step == "call_ended").map(|sent| sent.about.to_owned()).collect()
        }
        // What is said is all of it; the ids are ours, so the caller compares them with the feed.
        Route::Standard => sent.map(named).collect(),
    }
}

/// `JSON.stringify(JSON.parse(document))`, by Node.
fn as_node_writes(document: &str) -> String {
    const PROGRAM: &str =
        "process.stdout.write(JSON.stringify(JSON.parse(require('fs').readFileSync(0, 'utf8'))))";
    let mut node = Command::new("node")
        .args(["-e", PROGRAM])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("this test needs Node: `cargo xtask test` installs it");
    node.stdin.take().expect("piped").write_all(document.as_bytes()).expect("Node reads");
    String::from_utf8(node.wait_with_output().expect("Node ends").stdout).expect("UTF-8")
}

async fn examples() -> [Program; 3] {
    let (express, flask, axum) = tokio::join!(Program::express(), Program::flask(), Program::axum());
    [express, flask, axum]
}

/// All receivers: the examples with all their routes, and those that were written after the seeds.
async fn everybody() -> Vec<(Program, Vec<(Route, &'static str)>)> {
    let mut everybody: Vec<_> =
        examples().await.into_iter().map(|program| (program, OF_EXAMPLES.to_vec())).collect();
    let (voicegenie, dialgen, aloro, standard) = tokio::join!(
        Program::of_a_seed("voicegenie"),
        Program::of_a_seed("dialgen"),
        Program::of_a_seed("aloro"),
        Program::of_a_seed("standard"),
    );
    everybody.push((voicegenie, vec![(Route::Voicegenie, "/")]));
    let hooks = vec![
        (Route::DialgenCalls, "/webhooks/call-complete"),
        (Route::DialgenBatches, "/webhooks/batch-complete"),
        (Route::DialgenFailedBatches, "/webhooks/batch-failed"),
    ];
    everybody.push((dialgen, hooks));
    everybody.push((aloro, vec![(Route::Aloro, "/")]));
    everybody.push((standard, vec![(Route::Standard, "/")]));
    everybody
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_receiver_verifies_every_delivery() {
    let (house, everybody) = tokio::join!(House::start(), everybody());
    let doors = Doors::open(&house.api).await;
    let mut endpoints: BTreeMap<String, (&str, Route)> = BTreeMap::new();
    for (program, routes) in &everybody {
        for &(route, path) in routes {
            let mut endpoint = route.endpoint(&program.base, path, false);
            // Once, so that what is not verified at once is dead.
            endpoint["retry_delays_seconds"] = json!([]);
            endpoints.insert(text(&house.api.endpoint(endpoint).await, "id"), (program.name, route));
        }
    }
    // One more that keeps the bytes, to see that the nasty values are in them.
    let keeper = Receiver::start().await;
    house.api.endpoint(Route::DialgenCalls.endpoint(&keeper.url(""), "/", false)).await;

    for sent in sent() {
        doors.bring(&house.api, &sent).await;
    }

    let sums = house.settled().await;
    for (id, (program, route)) in &endpoints {
        let who = format!("{program} {route:?}");
        for delivery in house.deliveries(id).await {
            assert_eq!(delivery["state"], "delivered", "{who}: {delivery}");
        }
        let (sum, owed) = (&sums[id], json!(expected(*route).len()));
        assert_eq!((&sum["owed"], &sum["delivered"]), (&owed, &owed), "{who}");
    }
    let event_ids = house.event_ids().await;
    for (program, routes) in &everybody {
        let mut heard: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for entry in program.seen().await {
            assert_eq!((&entry["verified"], &entry["duplicate"]), (&json!(true), &json!(false)), "{entry}");
            heard.entry(text(&entry, "dialect")).or_default().insert(text(&entry, "id"));
        }
        let mut due: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for &(route, _) in routes {
            let ids = if route == Route::Standard { event_ids.clone() } else { expected(route) };
            due.entry(route.dialect().to_owned()).or_default().extend(ids);
        }
        assert_eq!(heard, due, "{}", program.name);
    }

    let nasty = as_node_writes(NASTY);
    let kept = keeper.wait_for(expected(Route::DialgenCalls).len()).await;
    for delivery in kept {
        let body = std::str::from_utf8(&delivery.body).expect("UTF-8");
        assert!(body.contains(&nasty), "the nasty values are not in it as Node writes them: {body}");
        assert_eq!(as_node_writes(body), body, "Node writes another body");
    }
    house.app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_is_refused_and_tries_again_until_the_secret_is_right() {
    let (house, everybody) = tokio::join!(House::start(), everybody());
    let doors = Doors::open(&house.api).await;
    let mut endpoints: BTreeMap<String, (&Program, Route, Value)> = BTreeMap::new();
    for (program, routes) in &everybody {
        for &(route, path) in routes {
            let mut endpoint = route.endpoint(&program.base, path, true);
            if route != Route::Cllr {
                // The first retry is made by itself; the second waits until we ask for it.
                endpoint["retry_delays_seconds"] = json!([0.05, 3600]);
            }
            let id = text(&house.api.endpoint(endpoint).await, "id");
            endpoints.insert(id, (program, route, route.endpoint(&program.base, path, false)));
        }
    }

    let completed = ["dg-1", "batch-1", "batch-2"];
    for sent in sent().iter().filter(|sent| completed.contains(&sent.about)) {
        doors.bring(&house.api, sent).await;
    }

    for (id, (program, route, right)) in &endpoints {
        let who = format!("{} {route:?}", program.name);
        let tries = if *route == Route::Cllr { 1 } else { 2 };
        let delivery = until(&format!("{who} was tried {tries} times"), async || {
            let of_calls = |delivery: &Value| {
                let attempts = delivery["attempts"].as_array().expect("a list");
                attempts.len() == tries && (delivery["next_attempt_at"].is_string() || tries == 1)
            };
            house.deliveries(id).await.into_iter().find(of_calls)
        })
        .await;
        for attempt in delivery["attempts"].as_array().expect("a list") {
            assert_eq!(attempt["status"], 401, "{who}: {delivery}");
        }
        if *route == Route::Cllr {
            assert_eq!(delivery["state"], "dead", "{who} is tried once: {delivery}");
        } else {
            assert_eq!(delivery["state"], "pending", "{who} is tried again: {delivery}");
        }

        let mut change = json!({"url": right["url"]});
        for credential in ["secret", "bearer_token"] {
            if let Some(value) = right.get(credential) {
                change[credential] = value.clone();
            }
        }
        house.api.api(Method::PATCH, &format!("/v1/endpoints/{id}"), Some(change)).await.expect(200);
        let path = format!("/v1/deliveries/{}/retry", text(&delivery, "id"));
        house.api.post(&path, json!({})).await.expect(200);
        let delivery = until(&format!("{who} got it"), async || {
            let path = format!("/v1/deliveries/{}", text(&delivery, "id"));
            let delivery = house.api.get(&path).await.expect(200).json();
            (delivery["state"] == "delivered").then_some(delivery)
        })
        .await;
        let attempts = delivery["attempts"].as_array().expect("a list");
        assert_eq!(attempts.len(), tries + 1, "{who}: {delivery}");
    }
    for (program, routes) in &everybody {
        let seen = program.seen().await;
        for &(route, _) in routes {
            let of_dialect = |entry: &&Value| entry["dialect"] == route.dialect();
            assert!(seen.iter().filter(of_dialect).any(|entry| entry["verified"] == false), "{route:?}");
            assert!(seen.iter().filter(of_dialect).any(|entry| entry["verified"] == true), "{route:?}");
        }
    }
    house.app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_test_button_is_green_where_the_secret_is_right() {
    let (house, examples) = tokio::join!(House::start(), examples());
    for program in &examples {
        // What dialgen tests with is a call.
        for (route, path) in OF_EXAMPLES.into_iter().filter(|(route, _)| *route != Route::DialgenBatches) {
            for is_stranger in [false, true] {
                let endpoint = house.api.endpoint(route.endpoint(&program.base, path, is_stranger)).await;
                let path = format!("/v1/endpoints/{}/test", text(&endpoint, "id"));
                let tested = house.api.post(&path, json!({})).await.expect(200).json();
                let expected =
                    if is_stranger { (json!(false), json!(401)) } else { (json!(true), json!(200)) };
                assert_eq!((tested["ok"].clone(), tested["status"].clone()), expected, "{tested}");
                let answer = text(&tested["response"], "body");
                if is_stranger {
                    assert!(answer.contains("Invalid signature"), "{answer}");
                    continue;
                }
                // Samples are always about the same call, and only `standard` has an id for each send.
                let again = house.api.post(&path, json!({})).await.expect(200).json();
                let answer: Value = serde_json::from_str(&text(&again["response"], "body")).expect("JSON");
                let is_duplicate = answer.get("duplicate").is_some_and(|mark| mark == true);
                assert_eq!((&again["ok"], is_duplicate), (&json!(true), route != Route::Standard), "{again}");
            }
        }
    }
    house.app.stop().await;
}
