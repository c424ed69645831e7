//! What is logged never tells what was said, to whom, or with which secret. Even when everything is logged.

use std::process::Stdio;

use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Command;

use crate::harness::{Client, Receiver, hmac_hex};
use crate::home::Home;

const KEY: &str = "admin-key-of-the-log-test";
const SECRET: &str = "secret-of-the-log-test";

#[tokio::test(flavor = "multi_thread")]
async fn bodies_numbers_and_secrets_are_never_logged() {
    let home = Home::new();
    let mut child = Command::new(env!("CARGO_BIN_EXE_postcall"))
        .args(["serve", "--listen", "127.0.0.1:0", "--allow-network", "127.0.0.0/8"])
        .args(home.arguments())
        .env("POSTCALL_ADMIN_KEY", KEY)
        .env("POSTCALL_LOG", "trace")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the binary starts");
    let mut log = child.stderr.take().expect("it is piped");
    let reading = tokio::spawn(async move {
        let mut all = String::new();
        log.read_to_string(&mut all).await.map(|_| all)
    });
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let address = loop {
        let line = lines.next_line().await.expect("its output is text").expect("it says where it listens");
        if let Some(address) = line.strip_prefix("listening on http://") {
            break address.parse().expect("an address");
        }
    };

    let (api, receiver) = (Client::new(address, KEY), Receiver::start().await);
    let source = api.source(json!({"name": "dialer", "dialect": "voicegenie", "secret": SECRET})).await;
    let door = format!("/in/{}", source["id"].as_str().expect("an id"));
    receiver.answer_with([500]);
    let endpoint = json!({"url": receiver.url("/hook?token=url-token"), "dialect": "standard",
                          "headers": {"x-api-key": "header-secret"}, "retry_delays_seconds": [0.05]});
    let endpoint = api.endpoint(endpoint).await;
    let body = json!({"call_uuid": "c-1", "event": "call_ended", "phone_number": "+15551234567",
                      "call_data": {"transcript": [{"role": "user", "content": "whispered words"}]}})
    .to_string();
    let signature = hmac_hex(SECRET, body.as_bytes());
    for signature in [signature.as_str(), "0000"] {
        let headers = [("x-webhook-signature", signature)];
        api.send(http::Method::POST, &door, &headers, body.clone()).await.expect("an answer");
    }
    let broken = "not json, but whispered words to +15551234567";
    let signature = hmac_hex(SECRET, broken.as_bytes());
    let headers = [("x-webhook-signature", signature.as_str())];
    api.send(http::Method::POST, &door, &headers, broken).await.expect("an answer").expect(200);
    api.post("/v1/endpoints", json!({"url": "nope", "dialect": "air", "bearer_token": "short-secret"})).await;
    receiver.wait_for(2).await;

    // SIGTERM ends the server in good order, and with it its log.
    let id = child.id().expect("it runs").to_string();
    Command::new("kill").args(["-TERM", &id]).status().await.expect("kill is there");
    child.wait().await.expect("it ends");
    let log = reading.await.expect("no panic").expect("the log is text");
    assert!(log.lines().count() > 3, "something was logged");
    assert!(
        log.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()),
        "JSON when piped"
    );
    let generated = endpoint["secret"].as_str().expect("shown once");
    for told in [
        "whispered",
        "5551234567",
        SECRET,
        KEY,
        generated,
        "header-secret",
        "url-token",
        "short-secret",
        signature.as_str(),
    ] {
        let line = log.lines().find(|line| line.contains(told));
        assert!(line.is_none(), "{told} is in the log: {}", line.unwrap_or_default());
    }
}

#[tokio::test]
async fn the_password_of_a_database_is_never_told() {
    for url in ["postgres://me:hush@127.0.0.1:1/postcall", "mysql://me:hush@127.0.0.1:1/postcall"] {
        for (argument, variable) in [(Some(url), ""), (None, url)] {
            let data = tempfile::tempdir().expect("a temporary directory");
            let mut command = Command::new(env!("CARGO_BIN_EXE_postcall"));
            command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(data.path());
            command.args(argument.map(|url| format!("--database-url={url}")));
            command.env("POSTCALL_DATABASE_URL", variable).env("POSTCALL_LOG", "trace").kill_on_drop(true);
            let output = tokio::time::timeout(crate::harness::PATIENCE, command.output()).await;
            let output = output.expect("it gives up").expect("the binary starts");
            assert!(!output.status.success(), "nobody listens there");
            for told in [output.stdout, output.stderr] {
                let told = String::from_utf8_lossy(&told).into_owned();
                assert!(!told.contains("hush"), "{told}");
            }
        }
    }
}
