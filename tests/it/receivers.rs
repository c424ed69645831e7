//! Real receivers against real deliveries: what the seeds tell people to write must verify whatever vendors send.
//! Everything goes through the public door. Refuses to know how bodies are made.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use data_encoding::BASE64;
use http::Method;
use postcall::app::{App, Settings};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Client, Receiver, hmac_hex};
use crate::programs::{Program, SECRET, STANDARD_SECRET, TOKEN};

const KEY: &str = "receivers-test-admin-key";

/// For what must happen soon; a test that needs it all has failed.
const PATIENCE: Duration = Duration::from_secs(120);

/// Values that vendors send and that printers of JSON disagree about. Two characters of it, U+2028 and U+2029, stand
/// for themselves in one place and escaped in another.
const NASTY: &str = r#"{"10":"ten","2":"two","b":0.30,"a":1e21,"tiny":1e-7,"z":-0,"one":1.0,"E":1.5E3,
    "long":9007199254740993,"longer":123456789012345678901234567890,"huge":1e400,"twice":1,"\u0074wice":2,
    "half":"\ud83d","other half":"\ude00!","whole":"\ud83d\ude00 😀 नमस्ते","half \ud83d":true,
    "lines":"  \u2028\u2029","esc\/aped":"\/\u0001\u007f\"\\","":"no key","__proto__":{"constructor":{}},
    "deep":[[{"1":[],"0":{}}],null,true], "4294967294":1,"4294967295":0,"01":0}"#;

/// A postcall with a store of its own.
struct House {
    app: App,
    api: Client,
    _data: TempDir,
}

impl House {
    async fn start() -> Self {
        let data = tempfile::tempdir().expect("a temporary directory");
        let mut settings = Settings::new(([127, 0, 0, 1], 0).into(), data.path());
        settings.allow_networks = vec!["127.0.0.0/8".parse().expect("a network")];
        settings.admin_key = Some(KEY.to_owned());
        let app = App::start(settings).await.expect("postcall starts");
        let api = Client::new(app.address(), KEY);
        Self { app, api, _data: data }
    }

    /// Waits until every endpoint's sum is one of delivered, dead or cancelled; gives the sums by endpoint.
    async fn settled(&self) -> BTreeMap<String, Value> {
        until("every delivery is settled", async || {
            let sums = self.api.check_sums().await;
            let sums = sums["endpoints"].as_array().expect("a list");
            let by_id = |sum: &Value| (text(sum, "endpoint_id"), sum.clone());
            sums.iter().all(|sum| sum["pending"] == 0).then(|| sums.iter().map(by_id).collect())
        })
        .await
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

/// What a vendor sends: to the door of its dialect, about which call or batch, which step of it.
struct Sent {
    dialect: &'static str,
    about: &'static str,
    step: &'static str,
    body: String,
}

/// One of everything, each with the nasty values wherever its dialect has room for free values.
fn sent() -> Vec<Sent> {
    let sent = |dialect, about, step, body| Sent { dialect, about, step, body };
    let free = NASTY.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).expect("an object");
    let voicegenie = |about, step, outcome: &str| {
        let body = format!(
            r#"{{"call_uuid":"{about}","event":"{step}","campaign_id":"507f1f77bcf86cd799439013","phone_number":"+919876543210",
            "call_data":{{"duration":245.0,"recording_url":"https:\/\/example.com\/r.mp3?a=1&b=\u00fc","transcript":[
            {{"timestamp":"2024-01-16T10:30:15Z","role":"assistant","content":"Hi \ud83d"}},
            {{"timestamp":"2024-01-16T10:30:22Z","role":"user","content":"नमस्ते   \u2029"}}],{outcome}
            "sentiment":{{"overall":"positive","confidence":0.870}},"custom_data":{{{free},"nasty":{NASTY}}}}},
            "timestamp":"2024-01-16T10:35:00Z"}}"#
        );
        sent("voicegenie", about, step, body)
    };
    let dialgen = |about, status: &'static str, step| {
        let body = format!(
            r#"{{"success":true,"callData":{{"id":"{about}","contactId":"c-1","agentId":"ag-1","batchId":"","status":"{status}",
            "startTime":"2025-11-15T14:30:00.000Z","endTime":"2025-11-15T14:33:00.000Z","duration":180.50,
            "phoneNumber":"+1234567890","contactName":"Zo\u00eb \ud83d","transcription":[{{"role":"user","content":"\ude00"}}],
            "summary":"one\u2028two three","metricJson":{{"intent":"SALES","confidence":0.950,{free},"nasty":{NASTY}}}}},
            "metricSchema":{NASTY}}}"#
        );
        sent("dialgen", about, step, body)
    };
    vec![
        voicegenie("vg-1", "call_initiated", ""),
        voicegenie("vg-1", "call_ringing", ""),
        voicegenie("vg-1", "call_answered", ""),
        voicegenie("vg-1", "call_ended", r#""outcome":"completed","#),
        voicegenie("vg-2", "call_failed", r#""outcome":"no_answer","#),
        dialgen("dg-1", "COMPLETED", "call_ended"),
        dialgen("dg-2", "FAILED", "call_failed"),
        sent(
            "dialgen",
            "batch-1",
            "batch.completed",
            r#"{"event":"batch.completed","batchId":"batch-1","agentId":"ag-1","userId":"u-1","statistics":{"total":1e3,
            "processed":1000.0,"succeeded":850,"failed":150,"percentComplete":100.00,"successRate":85.10},
            "timestamps":{"createdAt":"2025-11-15T14:00:00.000Z","completedAt":"2025-11-15T16:30:00.000Z"}}"#
                .to_owned(),
        ),
        sent(
            "dialgen",
            "batch-2",
            "batch.failed",
            r#"{"event":"batch.failed","batchId":"batch-2","agentId":"ag-1","error":"Insufficient call minutes \ud83d",
            "code":"INSUFFICIENT_CREDITS","timestamp":"2025-11-15T14:05:00.000Z"}"#
                .to_owned(),
        ),
        sent(
            "aloro",
            "al-1",
            "call_ended",
            format!(
                r#"{{"event":"call.ended","timestamp":"2024-03-15T14:30:00Z","data":{{"call":{{"id":"al-1","phone":"+1234567890",
                "direction":"inbound","status":"completed","duration":180,"started_at":"2024-03-15T14:27:00Z"}},
                "variables":{{"status":true,"summary":"half an emoji: \ud83d",{free},"nasty":{NASTY}}},
                "transcript":{{"formatted":"AI: Hello \ude00\nCustomer: ok","timestamped":[{{"speaker":"ai",
                "text":"Hello \ude00","timestamp":"00:00"}}]}},"recording":{{"url":"https://example.com/r","duration":180.0}},
                "cost":{{"total":0.450,"breakdown":{{"voice":0.30,"2":1,"1":1e-7}}}}}}}}"#
            ),
        ),
        sent(
            "aloro",
            "al-2",
            "call_ended",
            format!(
                r#"{{"call_id":"al-2","phone":"+1234567890","duration":180,"status":"completed",
                "variables":{{"nasty":{NASTY}}},"transcript":"AI: \ud83d\nCustomer: yes","recording_url":"https://example.com/r"}}"#
            ),
        ),
        sent(
            "air",
            "CA1",
            "call_ended",
            format!(
                r#"{{"call":{{"sid":"CA1","llmAnsweredBy":"human","promptId":25673,"fromNumber":"+15550100001",
                "toNumber":"+15550100002","direction":"outbound-api","duration":44,"campaignId":null,
                "cachedLeadName":"Tyler \ud83d","transcript":"BOT: ~ \"Hey\" \ud83d\nHUMAN:  how's it  going",
                "createdAt":"2023-12-31 23:12:05.62705+00","leadData":{{{free},"nasty":{NASTY}}}}},"headers":{{}}}}"#
            ),
        ),
        sent(
            "cllr",
            "cl-1",
            "call_ended",
            format!(
                r#"{{"callId":"cl-1","recordingUri":"https://example.com/r.ogg","callerDetails":{{"name":"John \ud83d",
                "phoneNumber":"+1-555-123-4567","nasty":{NASTY}}},"callAnalysis":{{"summary":"\u2028 ","score":85.50,
                "interestsAndNeeds":{NASTY},"actionItems":{NASTY},"sentiment":{{"overall":"positive","detail":{NASTY}}}}}}}"#
            ),
        ),
        sent(
            "standard",
            "st-1",
            "call_ended",
            format!(
                r#"{{"type":"call.ended","timestamp":"2024-01-16T10:35:00Z","data":{{"call_id":"st-1","outcome":"completed",
                "analysis":{{"score":85.50,"summary":"\ud83d"}},"variables":{{{free},"nasty":{NASTY}}}}}}}"#
            ),
        ),
    ]
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

/// The doors of all dialects.
struct Doors(BTreeMap<&'static str, String>);

impl Doors {
    async fn open(api: &Client) -> Self {
        let mut doors = BTreeMap::new();
        for dialect in ["voicegenie", "cllr", "dialgen", "aloro", "air", "standard"] {
            let mut source = json!({"name": format!("a dialer that speaks {dialect}"), "dialect": dialect});
            match dialect {
                "cllr" => {}
                "air" => source["bearer_token"] = json!(TOKEN),
                "standard" => source["secret"] = json!(STANDARD_SECRET),
                _ => source["secret"] = json!(SECRET),
            }
            doors.insert(dialect, text(&api.source(source).await, "url"));
        }
        Self(doors)
    }

    /// Brings one body, proven as its vendor proves it.
    async fn bring(&self, api: &Client, sent: &Sent) {
        let body = sent.body.as_bytes();
        let proof = match sent.dialect {
            "voicegenie" => vec![("x-webhook-signature", hmac_hex(SECRET, body))],
            "dialgen" => vec![("x-dialgen-signature", hmac_hex(SECRET, body))],
            "aloro" => vec![("x-aloro-signature", format!("sha256={}", hmac_hex(SECRET, body)))],
            "air" => vec![("authorization", format!("Bearer {TOKEN}"))],
            "standard" => standard_proof(sent.about, body),
            _ => Vec::new(),
        };
        let mut headers: Vec<(&str, &str)> =
            proof.iter().map(|(name, value)| (*name, value.as_str())).collect();
        headers.push(("content-type", "application/json"));
        let answer = api.send(Method::POST, &self.0[sent.dialect], &headers, sent.body.clone()).await;
        let answer = answer.expect("the door answers").expect(200).json();
        assert!(answer.get("quarantined").is_none(), "{} {} was not read", sent.dialect, sent.about);
        assert!(answer.get("duplicate").is_none(), "{} {} was not new", sent.dialect, sent.about);
    }
}

/// The headers of Standard Webhooks, by its specification.
fn standard_proof(id: &str, body: &[u8]) -> Vec<(&'static str, String)> {
    #[expect(clippy::disallowed_methods, reason = "a vendor has a clock of its own")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs().to_string();
    let secret = STANDARD_SECRET.trim_start_matches("whsec_");
    let secret = BASE64.decode(secret.as_bytes()).expect("base64");
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &secret);
    let content = [id.as_bytes(), now.as_bytes(), body].join(&b'.');
    let signature = format!("v1,{}", BASE64.encode(ring::hmac::sign(&key, &content).as_ref()));
    vec![("webhook-id", id.to_owned()), ("webhook-timestamp", now), ("webhook-signature", signature)]
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
            let endpoint = house.api.endpoint(route.endpoint(&program.base, path, false)).await;
            endpoints.insert(text(&endpoint, "id"), (program.name, route));
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
        let sum = &sums[id];
        let owed = json!(expected(*route).len());
        assert_eq!((&sum["owed"], &sum["delivered"]), (&owed, &owed), "{program} {route:?}: {sum}");
        for delivery in house.deliveries(id).await {
            let attempts = delivery["attempts"].as_array().expect("a list");
            assert_eq!(attempts.len(), 1, "{program} {route:?} verified at once: {delivery}");
        }
    }
    let events = house.api.get("/v1/events?limit=100").await.expect(200).json();
    let event_ids: BTreeSet<String> =
        events["data"].as_array().expect("a list").iter().map(|event| text(event, "id")).collect();
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
                if is_stranger {
                    let answer = text(&tested["response"], "body");
                    assert!(answer.contains("Invalid signature"), "{answer}");
                }
            }
        }
    }
    house.app.stop().await;
}
