//! What vendors and callers have written is printed, and never obeyed, by the terminal of whoever looks at it: the real
//! binary against a real server, byte by byte.

use std::process::{Output, Stdio};

use postcall::app::App;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::harness::{Client, Receiver};
use crate::home::Home;

const KEY: &str = "key-of-the-terminal-test";
/// Clears the screen, sets its title, turns the line around, in C0, in C1 and in Unicode; and makes up a line.
const NASTY: &str = "id\u{1b}[2J\u{1b}]0;mine\u{7}\u{9b}31m\u{7f}\u{8}\u{202e}\u{2066}gnp.exe\rAB\nCD\tE";

#[track_caller]
fn is_printable(what: &str, bytes: &[u8]) -> String {
    let text = String::from_utf8(bytes.to_vec()).unwrap_or_else(|error| panic!("{what}: {error}"));
    let obeyed = |c: char| {
        c != '\n' && c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let found: Vec<char> = text.chars().filter(|&c| obeyed(c)).collect();
    assert!(found.is_empty(), "{what}: {found:?} in {text:?}");
    assert!(!text.contains("\nCD"), "{what} makes up a line: {text}");
    text
}

#[tokio::test]
async fn what_vendors_write_is_never_obeyed_by_a_terminal() {
    let home = Home::new();
    let mut settings = home.settings();
    settings.admin_key = Some(KEY.to_owned());
    settings.allow_networks = vec!["127.0.0.0/8".parse().unwrap()];
    let app = App::start(settings).await.expect("it starts");
    let (client, receiver) = (Client::new(app.address(), KEY), Receiver::start().await);
    let name = |kind: &str| format!("{kind} {NASTY}");

    let source = client.source(json!({ "name": name("source"), "dialect": "dialgen", "secret": null })).await;
    receiver.answer_with([500; 8]);
    client
        .endpoint(json!({ "url": receiver.url("/hook"), "dialect": "standard", "retry_delays_seconds": [],
                          "headers": { "X-Team": { "value": "blue", "plain": true } } }))
        .await;
    let batch = json!({ "name": name("batch"), "contacts": [{ "phone": "+15551234567", "name": name("contact"), "id": NASTY }] });
    let batch = client.post("/v1/batches", batch).await.expect(202).json();
    client.post("/v1/keys", json!({ "name": name("key") })).await.expect(201);
    client.post("/v1/campaigns", json!({ "campaign_id": NASTY, "name": name("campaign") })).await.expect(201);
    client.post("/v1/agents", json!({ "agent_id": NASTY, "name": name("agent") })).await.expect(201);
    let body = json!({ "success": true, "callData": {
        "id": NASTY, "agentId": NASTY, "contactId": NASTY, "batchId": batch["id"], "status": "FAILED", "error": name("reason"),
        "phoneNumber": "+15551234567", "contactName": name("contact") } });
    let url = source["url"].as_str().unwrap();
    let path = url[url.find("/in/").unwrap()..].to_owned();
    client.send(http::Method::POST, &path, &[], body.to_string()).await.expect("an answer").expect(200);
    client.deliveries_when("state=dead", |found| !found.is_empty()).await;

    let run = async |arguments: &[&str]| -> Output {
        Command::new(env!("CARGO_BIN_EXE_postcall"))
            .args(arguments)
            .env("POSTCALL_URL", &client.base)
            .env("POSTCALL_KEY", KEY)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .expect("it runs")
    };
    let delivery = client.get("/v1/deliveries").await.json()["data"][0]["id"].as_str().unwrap().to_owned();
    let batch = batch["id"].as_str().unwrap();
    let mut shown = String::new();
    for arguments in [
        &["calls"][..],
        &["calls", NASTY],
        &["events"],
        &["deliveries", "list"],
        &["deliveries", "show", &delivery],
        &["batches", "list"],
        &["batches", "show", batch],
        &["keys", "list"],
        &["campaigns"],
        &["agents"],
        &["analytics", "--by", "agent"],
    ] {
        let output = run(arguments).await;
        let out = is_printable(&format!("{arguments:?}"), &output.stdout);
        let err = is_printable(&format!("{arguments:?}"), &output.stderr);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {err}");
        shown.push_str(&out);
    }
    assert!(shown.contains("id\\u001b[2J\\u001b]0;mine\\u0007\\u009b31m\\u007f"), "{shown}");

    // JSON stays JSON: what it says is what was written.
    for (arguments, at) in [
        (&["calls", "--json"][..], "/data/0/call_id"),
        (&["calls", NASTY, "--json"], "/call_id"),
        (&["events", "--json"], "/data/0/data/call_id"),
    ] {
        let output = run(arguments).await;
        let text = is_printable(&format!("{arguments:?}"), &output.stdout);
        let document: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        // A contact of the batch may have been taken in before the call came: its request is an event too.
        let one_of = |at: &str| {
            let all = document.get("data").and_then(Value::as_array);
            all.is_some_and(|all| all.iter().any(|one| one.pointer(at) == Some(&json!(NASTY))))
        };
        let is_said = match at.strip_prefix("/data/0") {
            Some(at) => one_of(at),
            None => document.pointer(at) == Some(&json!(NASTY)),
        };
        assert!(is_said, "{text}");
    }

    // What is refused is repeated on standard error.
    for arguments in [
        &["calls", "none\u{1b}[2J\u{202e}"][..],
        &["deliveries", "show", "dlv\u{1b}]0;x\u{7}"],
        &["keys", "revoke", "k\u{9b}1m"],
    ] {
        let output = run(arguments).await;
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        is_printable(&format!("{arguments:?}"), &output.stdout);
        assert!(!is_printable(&format!("{arguments:?}"), &output.stderr).is_empty());
    }
}
