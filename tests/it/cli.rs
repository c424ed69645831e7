//! The commands beside `serve`, as people and scripts run them: the real binary, its output and its exit code.

use std::process::{Output, Stdio};
use std::time::Duration;

use postcall::app::App;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;

use crate::harness::{Client, hmac_hex};
use crate::home::Home;

const KEY: &str = "command-line-test-key";

/// Runs the binary to its end.
async fn run(arguments: &[&str], environment: &[(&str, &str)], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_postcall"))
        .args(arguments)
        .env_remove("POSTCALL_URL")
        .env_remove("POSTCALL_KEY")
        .env_remove("POSTCALL_ADMIN_KEY")
        .envs(environment.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the binary starts");
    let mut stdin = child.stdin.take().expect("it is piped");
    // A command that reads no input may be gone before it is written.
    let _ = stdin.write_all(input).await;
    drop(stdin);
    child.wait_with_output().await.expect("it ends")
}

#[track_caller]
fn expect(output: &Output, code: i32) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{out}\n{err}");
    if code == 2 { err.into_owned() } else { out.into_owned() }
}

async fn server(home: &Home) -> (App, Client) {
    let mut settings = home.settings();
    settings.admin_key = Some(KEY.to_owned());
    let app = App::start(settings).await.expect("it starts");
    let client = Client::new(app.address(), KEY);
    (app, client)
}

#[tokio::test]
async fn verify_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let body = r#"{"callData":{"id":"c1","duration":180}}"#;
    let digits = hmac_hex("s3cret", body.as_bytes());
    let headers = write("headers", &format!("POST / HTTP/1.1\r\nX-Dialgen-Signature: {digits}\r\n\r\n"));
    let verify = async |secret: &str, body: &str, more: &[&str]| {
        let arguments = ["verify", "--dialect", "dialgen", "--secret", secret, "--body", "-"];
        run(&[&arguments, more].concat(), &[], body.as_bytes()).await
    };

    let fine = verify("s3cret", body, &["--headers", &headers]).await;
    assert!(expect(&fine, 0).starts_with("ok: x-dialgen-signature fits"));

    let reserialised = verify("s3cret", &body.replace(':', ": "), &["--headers", &headers, "--json"]).await;
    let found: Value = serde_json::from_str(&expect(&reserialised, 1)).unwrap();
    assert_eq!((&found["ok"], &found["code"]), (&json!(false), &json!("reserialised")));

    let header = format!("x-dialgen-signature: sha256={digits}");
    let prefixed = verify("s3cret", body, &["--header", &header]).await;
    assert!(expect(&prefixed, 1).contains("none belongs"));

    assert!(expect(&verify("other", body, &["--headers", &headers]).await, 1).starts_with("NOT OK: "));
    assert!(expect(&verify("s3cret", body, &[]).await, 1).contains("x-dialgen-signature is missing"));

    let absent = run(&["verify", "--dialect", "cllr", "--body", "/no/such/file"], &[], b"").await;
    assert!(expect(&absent, 2).contains("cannot read /no/such/file"));
    // One in 64 of the tokens that postcall makes begins so.
    let token = "-token-of-air-0123456789";
    let header = format!("Authorization: Bearer {token}");
    let air = ["verify", "--dialect", "air", "--bearer", token, "--body", "-", "--header", &header];
    expect(&run(&air, &[], b"{}").await, 0);
    let unsaid = run(&["verify", "--dialect", "air", "--body", "-"], &[], b"{}").await;
    assert!(expect(&unsaid, 2).contains("give --secret"));
}

#[tokio::test]
async fn verify_knows_when_a_standard_webhook_came() {
    // The example of the Standard Webhooks libraries.
    let captured = "webhook-id: msg_p5jXN8AQM9LWM0D4loKWxJek\nwebhook-timestamp: 1614265330\n\
                    webhook-signature: v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=\n";
    let directory = tempfile::tempdir().unwrap();
    let headers = directory.path().join("headers");
    std::fs::write(&headers, captured).unwrap();
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let headers = headers.to_str().unwrap();
    let arguments =
        ["verify", "--dialect", "standard", "--secret", secret, "--headers", headers, "--body", "-"];
    let body = br#"{"test": 2432232314}"#;
    let then = run(&[&arguments[..], &["--now", "2021-02-25T15:02:10Z"]].concat(), &[], body).await;
    expect(&then, 0);
    let now = expect(&run(&arguments, &[], body).await, 1);
    assert!(now.contains("genuine") && now.contains("--now"), "{now}");
}

#[tokio::test]
async fn openapi_prints_the_document() {
    let document: Value = serde_json::from_str(&expect(&run(&["openapi"], &[], b"").await, 0)).unwrap();
    assert!(document["openapi"].as_str().unwrap().starts_with("3."));
    assert!(document["paths"]["/v1/keys"]["post"].is_object());
}

#[tokio::test]
async fn keys_are_made_listed_and_revoked() {
    let home = Home::new();
    let (app, admin) = server(&home).await;
    let environment = [("POSTCALL_URL", admin.base.as_str()), ("POSTCALL_ADMIN_KEY", KEY)];
    let keys = async |arguments: &[&str]| run(&[&["keys"], arguments].concat(), &environment, b"").await;

    let made = expect(&keys(&["create", "--name", "billing", "--json"]).await, 0);
    let made: Value = serde_json::from_str(&made).unwrap();
    let (id, key) = (made["id"].as_str().unwrap(), made["key"].as_str().unwrap());
    assert_eq!(made["admin"], false);
    let client = Client::new(app.address(), key);
    client.get("/v1/keys").await.expect(200);

    let listed = expect(&keys(&["list"]).await, 0);
    let line = listed.lines().find(|line| line.contains(id)).expect("it is in the list");
    assert!(line.contains("billing") && line.contains("read, ingest, write, erase  "), "{line}");
    assert!(line.contains("never"), "without an end: {line}");
    assert!(!listed.contains(key), "a key is shown once");

    assert!(expect(&keys(&["revoke", id]).await, 0).contains(id));
    client.get("/v1/keys").await.expect(401);
    assert!(expect(&keys(&["revoke", id]).await, 2).contains("no such API key"));

    let arguments =
        ["create", "--name", "dialer", "--right", "ingest", "--right", "read", "--expires-in", "12h"];
    let dialer = expect(&keys(&arguments).await, 0);
    assert!(dialer.contains("may read, ingest, until 20"), "{dialer}");
    let client = Client::new(app.address(), dialer.lines().nth(1).unwrap().trim());
    client.get("/v1/calls").await.expect(200);
    client.post("/v1/sources", json!({"name": "n", "dialect": "cllr"})).await.expect(403);
    let owner = expect(
        &keys(&["create", "--name", "owner", "--admin", "--expires-at", "2099-01-01T00:00:00Z"]).await,
        0,
    );
    assert!(owner.contains("may read, ingest, write, erase, admin, until 2099-01-01T00:00:00Z"), "{owner}");
    for (wrong, remedy) in [
        (&["--right", "root"][..], "possible values: read, ingest, write, erase, admin"),
        (&["--expires-in", "soon"][..], "such as 90d"),
        (&["--expires-in", "90d", "--expires-at", "2099-01-01T00:00:00Z"][..], "cannot be used with"),
        (&["--expires-at", "2001-01-01T00:00:00Z"][..], "Give a time to come"),
        (&["--right", "admin", "--account", "acc_nothing"][..], "Give the id of an account"),
    ] {
        let refused = expect(&keys(&[&["create", "--name", "k"][..], wrong].concat()).await, 2);
        assert!(refused.contains(remedy), "{refused}");
    }

    let account = admin.post("/v1/accounts", json!({"name": "acme"})).await.expect(201).json();
    let account = account["id"].as_str().unwrap();
    let theirs = expect(&keys(&["create", "--name", "theirs", "--account", account]).await, 0);
    assert!(theirs.starts_with("key_") && theirs.contains("pck_"), "{theirs}");

    let stranger = run(&["keys", "list", "--key", "pck_wrong"], &environment[..1], b"").await;
    assert!(expect(&stranger, 2).contains("Send a valid API key"));
    assert!(expect(&run(&["keys", "list"], &environment[..1], b"").await, 2).contains("--key"));
    app.stop().await;
    assert!(expect(&keys(&["list"]).await, 2).contains("Is postcall running there?"));
}

#[tokio::test]
async fn the_books_are_shown_as_tables_and_as_json() {
    let home = Home::new();
    let (app, admin) = server(&home).await;
    let environment = [("POSTCALL_URL", admin.base.as_str()), ("POSTCALL_KEY", KEY)];
    let ask = async |arguments: &[&str]| expect(&run(arguments, &environment, b"").await, 0);
    admin
        .post("/v1/campaigns", json!({"campaign_id": "a b/c?", "name": "March", "expected_calls": 4}))
        .await
        .expect(201);
    let source = admin.source(json!({"name": "calls", "dialect": "aloro", "secret": null})).await;
    let body = json!({"event": "call.ended", "data": {"call": {"id": "c-1", "status": "completed", "duration": 180},
        "assistant": {"id": "ann"}, "campaign": {"id": "a b/c?"}, "cost": {"total": 0.45}}});
    let path = source["url"].as_str().unwrap().strip_prefix(admin.base.as_str()).unwrap();
    admin.post(path, body).await.expect(200);

    let campaigns = ask(&["campaigns"]).await;
    let line = campaigns.lines().find(|line| line.contains("a b/c?")).expect("it is in the list");
    for cell in ["March", "25", "100", "0.45"] {
        assert!(line.contains(cell), "{cell} in {line}");
    }
    let one: Value = serde_json::from_str(&ask(&["campaigns", "a b/c?", "--json"]).await).unwrap();
    assert_eq!(one["progress"]["ended"], 1);
    assert!(ask(&["agents"]).await.contains("ann"));
    let calls = ask(&["calls", "--outcome", "completed"]).await;
    assert!(calls.contains("c-1") && calls.contains("180"), "{calls}");
    let call: Value = serde_json::from_str(&ask(&["calls", "c-1"]).await).unwrap();
    assert_eq!(call["call_id"], "c-1");
    let analytics = ask(&["analytics", "--by", "agent"]).await;
    assert!(analytics.lines().any(|line| line.contains("ann") && line.contains("180")), "{analytics}");
    assert!(analytics.lines().any(|line| line.contains("total")), "{analytics}");
    let numbers: Value = serde_json::from_str(&ask(&["analytics", "--json"]).await).unwrap();
    assert_eq!(numbers["total"]["calls"], 1);
    let wrong = run(&["analytics", "--by", "year"], &environment, b"").await;
    assert!(expect(&wrong, 2).contains("Give one of: hour, day, campaign, batch, agent"));
    assert!(expect(&run(&["campaigns", "nobody"], &environment, b"").await, 2).contains("no such campaign"));
    app.stop().await;
}

/// The first line that a command prints which goes on by itself, after `then` was done.
async fn first_line(
    arguments: &[&str],
    environment: &[(&str, &str)],
    then: impl Future<Output = ()>,
) -> String {
    let mut child = Command::new(env!("CARGO_BIN_EXE_postcall"))
        .args(arguments)
        .envs(environment.iter().copied())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the binary starts");
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    then.await;
    let line = tokio::time::timeout(Duration::from_secs(30), lines.next_line()).await;
    line.expect("it prints").unwrap().expect("a line")
}

#[tokio::test]
async fn deliveries_are_listed_retried_and_replayed_and_the_feed_is_followed() {
    let home = Home::new();
    let (app, admin) = server(&home).await;
    let url = format!("http://{}", app.address());
    let environment = [("POSTCALL_URL", url.as_str()), ("POSTCALL_KEY", KEY)];
    let command = async |arguments: &[&str]| run(arguments, &environment, b"").await;
    // Nobody is there and nothing is tried twice: every delivery is dead at once.
    let endpoint =
        json!({"url": "https://receiver.invalid/hook", "dialect": "standard", "retry_delays_seconds": []});
    admin.post("/v1/endpoints", endpoint).await.expect(201);
    let source = admin.source(json!({"name": "calls", "dialect": "cllr"})).await;
    let door = source["url"].as_str().unwrap();
    let door = &door[door.find("/in/").unwrap()..];
    admin.post(door, json!({"callId": "c-1"})).await.expect(200);

    // Nothing tells of a settlement from outside, so it is asked for; bounded, as a broken one must not hang.
    let dead = async |count: usize| {
        for _ in 0..500 {
            let found = expect(&command(&["deliveries", "list", "--state", "dead", "--json"]).await, 0);
            let found: Value = serde_json::from_str(&found).unwrap();
            if found["data"].as_array().unwrap().len() == count {
                return found["data"][0].clone();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{count} deliveries never died")
    };
    let first = dead(1).await;
    let id = first["id"].as_str().unwrap();
    let listed = expect(&command(&["deliveries", "list", "--call", "c-1"]).await, 0);
    assert!(listed.contains(id) && listed.contains("call.ended") && listed.contains("dead"), "{listed}");
    let shown = expect(&command(&["deliveries", "show", id]).await, 0);
    assert!(shown.contains(id) && shown.contains("receiver.invalid"), "{shown}");
    assert!(expect(&command(&["deliveries", "retry", id]).await, 0).contains("is tried now"));
    assert!(expect(&command(&["deliveries", "show", "a/b"]).await, 2).contains("no id"));
    dead(1).await;
    assert!(expect(&command(&["deliveries", "cancel", id]).await, 2).contains("Only a pending delivery"));

    let counted = expect(&command(&["replay", "--state", "dead", "--dry-run", "--json"]).await, 0);
    let counted: Value = serde_json::from_str(&counted).unwrap();
    assert_eq!((&counted["state"], &counted["deliveries"]), (&json!("done"), &json!(1)));
    let replayed = expect(&command(&["replay", "--call", "c-1", "--type", "call.ended"]).await, 0);
    assert!(replayed.contains("rpl_") && replayed.contains("done"), "{replayed}");
    dead(2).await;
    assert_eq!(expect(&command(&["replay", "list"]).await, 0).matches("rpl_").count(), 2);
    assert!(expect(&command(&["replay"]).await, 2).contains("Say what to replay"));

    let feed = expect(&command(&["events"]).await, 0);
    assert!(feed.contains("call.ended") && feed.contains("c-1"), "{feed}");
    let oldest = first["event_id"].as_str().unwrap();
    let more = async { drop(admin.post(door, json!({"callId": "c-2"})).await.expect(200)) };
    let line = first_line(&["events", "--follow", "--json", "--after", oldest], &environment, more).await;
    let event: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(event["data"]["call_id"], "c-2", "{line}");
    app.stop().await;
}

/// Plays a vendor three times: new, again, and without its credential.
async fn play(admin: &Client, dialect: &str) {
    let source = admin.source(json!({"name": dialect, "dialect": dialect})).await;
    let url = source["url"].as_str().unwrap();
    let secret = source["secret"].as_str().or(source["bearer_token"].as_str());
    let simulate = async |secret: Option<&str>| {
        let mut arguments = vec!["simulate", "--url", url, "--dialect", dialect, "--json"];
        arguments.extend(["--calls", "30", "--rate", "300", "--duplicates", "30", "--disorder", "30"]);
        arguments.extend(
            secret.iter().flat_map(|secret| [if dialect == "air" { "--bearer" } else { "--secret" }, secret]),
        );
        run(&arguments, &[], b"").await
    };
    let count = |tally: &Value, field: &str| tally[field].as_u64().unwrap();

    let first: Value = serde_json::from_str(&expect(&simulate(secret).await, 0)).unwrap();
    assert!(count(&first, "sent") > 10, "{dialect}: {first}");
    assert_eq!(count(&first, "accepted"), count(&first, "sent"), "{dialect}: {first}");
    assert_eq!(count(&first, "quarantined"), 0, "{dialect}: {first}");
    assert!(count(&first, "duplicates") > 0, "{dialect}: {first}");

    let again: Value = serde_json::from_str(&expect(&simulate(secret).await, 0)).unwrap();
    assert_eq!(count(&again, "duplicates"), count(&first, "sent"), "{dialect}: {again}");

    if secret.is_some() {
        let stranger: Value = serde_json::from_str(&expect(&simulate(None).await, 1)).unwrap();
        assert_eq!(stranger["other"]["401"], first["sent"], "{dialect}: {stranger}");
    }
}

#[tokio::test]
async fn a_simulated_vendor_is_heard_and_a_stranger_is_not() {
    let home = Home::new();
    let (app, admin) = server(&home).await;
    let dialects = ["voicegenie", "cllr", "dialgen", "aloro", "air", "standard"];
    futures_util::future::join_all(dialects.map(|dialect| play(&admin, dialect))).await;
    app.stop().await;
    let nonsense = ["simulate", "--url", "ftp://x", "--dialect", "air"];
    assert!(expect(&run(&nonsense, &[], b"").await, 2).contains("https:"));
}

#[tokio::test]
async fn the_demo_proves_that_everything_arrived() {
    let arguments = ["demo", "--exit", "--calls", "5", "--listen", "127.0.0.1:0"];
    let shown = expect(&run(&arguments, &[], b"").await, 0);
    assert!(shown.contains("Everything that was owed was delivered, and every signature verified."));
    assert_eq!(shown.lines().filter(|line| line.trim_end().ends_with("holds")).count(), 7, "{shown}");
    let flaky = shown.lines().find(|line| line.contains("(flaky)")).expect("a line for it");
    let retried = flaky.split_whitespace().nth(6).expect("a number");
    assert_ne!(retried, "0", "{flaky}");
    assert!(shown.is_ascii(), "plain when piped");
}

#[tokio::test]
async fn a_person_is_erased_and_an_account_moves() {
    let homes = [Home::new(), Home::new()];
    let (app, admin) = server(&homes[0]).await;
    let (other, new) = server(&homes[1]).await;
    let environment =
        |client: &Client| [("POSTCALL_URL", client.base.clone()), ("POSTCALL_ADMIN_KEY", KEY.to_owned())];
    let postcall = async |client: &Client, arguments: &[&str], input: &[u8]| {
        let environment = environment(client);
        let environment: Vec<(&str, &str)> =
            environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
        run(arguments, &environment, input).await
    };
    let source = admin.source(json!({"name": "calls", "dialect": "cllr"})).await;
    let url = source["url"].as_str().unwrap();
    expect(
        &run(&["simulate", "--url", url, "--dialect", "cllr", "--calls", "40", "--rate", "400"], &[], b"")
            .await,
        0,
    );
    let calls = admin.get("/v1/calls?limit=1").await.expect(200).json();
    let phone = calls["data"][0]["contact"]["phone"].as_str().unwrap();

    let receipt = expect(&postcall(&admin, &["erase", phone, "--json"], b"").await, 0);
    let receipt: Value = serde_json::from_str(&receipt).unwrap();
    assert_eq!(receipt["state"], "finished");
    assert!(receipt["erased"]["calls"].as_u64() >= Some(1), "{receipt}");
    let id = receipt["id"].as_str().unwrap();
    let shown = expect(&postcall(&admin, &["erase", "--receipt", id], b"").await, 0);
    assert!(shown.contains("overwritten") && shown.contains("calls") && !shown.contains(phone), "{shown}");
    assert!(expect(&postcall(&admin, &["erase", "112"], b"").await, 2).contains("at least seven digits"));

    let file = homes[0].beside().join("account.jsonl");
    let path = file.to_str().unwrap();
    let written = expect(
        &postcall(&admin, &["export", "--output", path, "--secrets", "clear", "--json"], b"").await,
        0,
    );
    let written: Value = serde_json::from_str(&written).unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(written["lines"], text.lines().count());
    assert_eq!(expect(&postcall(&admin, &["export", "--secrets", "clear"], b"").await, 0), text);

    let broken = text.replace("\"type\":\"call.ended\"", "\"type\":\"call.sung\"");
    let wrong = expect(&postcall(&new, &["import", "-"], broken.as_bytes()).await, 1);
    assert!(wrong.contains("does not know its type") && wrong.contains("send the file again"), "{wrong}");
    let done = expect(&postcall(&new, &["import", path, "--json"], b"").await, 0);
    let done: Value = serde_json::from_str(&done).unwrap();
    assert_eq!((&done["ended"], &done["wrong"]), (&json!(true), &json!([])));
    let again = expect(&postcall(&new, &["export", "--secrets", "clear"], b"").await, 0);
    assert_eq!(again, text, "the same lines");
    assert!(
        expect(&postcall(&admin, &["import", path], b"").await, 2).contains("recorded something already")
    );
    app.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn batches_are_made_watched_and_stopped() {
    let home = Home::new();
    let (app, client) = server(&home).await;
    let url = format!("http://{}", app.address());
    let environment = [("POSTCALL_URL", url.as_str()), ("POSTCALL_KEY", KEY)];
    let file = |name: &str, content: &str| {
        let path = home.beside().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let table = file("people.csv", "Phone;Name;Plan\n+1 555 0100;Jo;gold\n+15550101;;\n");
    let create =
        ["batches", "create", &table, "--name", "November", "--max-attempts", "2", "--lost-after", "30"];
    let made = run(&[&create[..], &["--json"]].concat(), &environment, b"").await;
    let batch: Value = serde_json::from_str(&expect(&made, 0)).unwrap();
    assert_eq!((&batch["status"], &batch["contacts_taken_in"]), (&json!("pending"), &json!(2)));
    assert_eq!((&batch["max_attempts"], &batch["lost_after_minutes"]), (&json!(2), &json!(30)));
    let id = batch["id"].as_str().unwrap();
    let contacts = client.get(&format!("/v1/batches/{id}/contacts")).await.expect(200).json();
    assert_eq!(
        (&contacts["data"][0]["phone"], &contacts["data"][0]["metadata"]),
        (&json!("+15550100"), &json!({ "Plan": "gold" }))
    );

    let list = expect(&run(&["batches", "list"], &environment, b"").await, 0);
    assert!(list.contains(id) && list.contains("November") && list.contains("pending"), "{list}");
    let shown = expect(&run(&["batches", "show", id], &environment, b"").await, 0);
    assert!(shown.contains("0 (0 %)") && shown.contains("2"), "{shown}");
    let cancelled = expect(&run(&["batches", "cancel", id], &environment, b"").await, 0);
    assert!(cancelled.contains("cancelled") && cancelled.contains("CANCELLED"), "{cancelled}");
    let again = expect(&run(&["batches", "fail", id, "--error", "x"], &environment, b"").await, 2);
    assert!(again.contains("This batch has ended"), "{again}");

    // A batch may name who may report on it; the simulator does not play what would count for nothing.
    let sources = [
        client.source(json!({"name": "a", "dialect": "cllr"})).await,
        client.source(json!({"name": "b", "dialect": "cllr"})).await,
    ];
    let [mine, other] = [0, 1].map(|at| sources[at]["id"].as_str().unwrap());
    let made =
        run(&["batches", "create", &table, "--source", mine, "--source", other, "--json"], &environment, b"")
            .await;
    let both: Value = serde_json::from_str(&expect(&made, 0)).unwrap();
    assert_eq!(both["source_ids"], json!([mine, other]));
    let made = expect(&run(&["batches", "create", &table, "--source", mine], &environment, b"").await, 0);
    assert!(made.contains(mine) && !made.contains(other), "{made}");
    let id = made.split_whitespace().find(|word| word.starts_with("bat_")).unwrap();
    let door = sources[1]["url"].as_str().unwrap();
    let simulate = ["simulate", "--url", door, "--dialect", "cllr", "--batch", id];
    let refused = expect(&run(&simulate, &environment, b"").await, 2);
    assert!(refused.contains(mine) && refused.contains(other), "{refused}");

    // A vendor's id that two sources use is shown with both, and by one of them.
    for source in &sources {
        let path = source["url"].as_str().unwrap().strip_prefix(&url).unwrap();
        client.post(path, json!({"callId": "c-1"})).await.expect(200);
    }
    let refused = expect(&run(&["calls", "c-1"], &environment, b"").await, 2);
    assert!(refused.contains(mine) && refused.contains(other), "{refused}");
    let shown = expect(&run(&["calls", "c-1", "--source", other], &environment, b"").await, 0);
    assert!(shown.contains(other) && !shown.contains(mine), "{shown}");
    let listed = run(&["deliveries", "list", "--call", "c-1", "--source", other], &environment, b"").await;
    assert_eq!(listed.status.code(), Some(0));

    let wrong = file("wrong.json", r#"[{"phone":"+15550100"},{"name":"no number"}]"#);
    let refused = expect(&run(&["batches", "create", &wrong], &environment, b"").await, 2);
    assert!(refused.contains("contacts[1].phone"), "{refused}");
    let missing = expect(&run(&["batches", "create", "/nowhere.csv"], &environment, b"").await, 2);
    assert!(missing.contains("cannot read /nowhere.csv"), "{missing}");
    let unknown = expect(&run(&["batches", "show", "bat_none"], &environment, b"").await, 2);
    assert!(unknown.contains("no such batch"), "{unknown}");
    app.stop().await;
}

/// Plays a batch of 300 through the door of a dialect; gives what `simulate` says in JSON.
async fn play_batch(admin: &Client, dialect: &str, max_attempts: u32) -> Value {
    let source = admin.source(json!({"name": dialect, "dialect": dialect})).await;
    let contacts: Vec<Value> = (0..300)
        .map(|number| match number % 3 {
            0 => json!({"phone": format!("+1555{number:07}")}),
            1 => json!({"phone": format!("+1555{number:07}"), "id": format!("lead \"{number}\"")}),
            _ => json!({"phone": format!("+1555{number:07}"), "name": "Zoë", "email": "zoe@example.com"}),
        })
        .collect();
    let asked = json!({"name": dialect, "contacts": contacts, "max_attempts": max_attempts});
    let batch = admin.post("/v1/batches", asked).await.expect(202).json();
    let (url, id) = (source["url"].as_str().unwrap(), batch["id"].as_str().unwrap());
    let secret = source["secret"].as_str().or(source["bearer_token"].as_str());
    let mut arguments = vec!["simulate", "--url", url, "--dialect", dialect, "--batch", id, "--json"];
    arguments.extend(["--rate", "600", "--duplicates", "20", "--disorder", "20"]);
    arguments.extend(
        secret.iter().flat_map(|secret| [if dialect == "air" { "--bearer" } else { "--secret" }, secret]),
    );
    let played = run(&arguments, &[("POSTCALL_KEY", KEY)], b"").await;
    let played: Value = serde_json::from_str(&expect(&played, 0)).unwrap();
    let shown = admin.get(&format!("/v1/batches/{id}")).await.expect(200).json();
    assert_eq!(played["batch"]["statistics"], shown["statistics"], "{dialect}");
    assert_eq!(played["batch"]["differences"], json!([]), "{dialect}");
    let over = run(&arguments, &[("POSTCALL_KEY", KEY)], b"").await;
    match shown["status"].as_str().unwrap() {
        "completed" => assert!(expect(&over, 2).contains("is over: completed since"), "{dialect}"),
        _ => assert_eq!(over.status.code(), Some(0), "the same calls again change nothing: {dialect}"),
    }
    let again = admin.get(&format!("/v1/batches/{id}")).await.expect(200).json();
    assert_eq!(again["statistics"], shown["statistics"], "{dialect}");
    played
}

#[tokio::test]
async fn a_simulated_vendor_calls_a_batch_until_each_contact_has_closed() {
    let home = Home::new();
    let (app, admin) = server(&home).await;
    let plays = [("voicegenie", 1), ("cllr", 1), ("dialgen", 3), ("aloro", 1), ("air", 1), ("standard", 2)];
    let played = futures_util::future::join_all(
        plays.map(|(dialect, max_attempts)| play_batch(&admin, dialect, max_attempts)),
    )
    .await;
    for ((dialect, max_attempts), played) in plays.into_iter().zip(played) {
        let batch = &played["batch"];
        let count = |field: &str| batch[field].as_u64().unwrap();
        let [total, processed, succeeded, failed] = ["total", "processed", "succeeded", "failed"]
            .map(|field| batch["statistics"][field].as_u64().unwrap());
        assert_eq!((total, processed, succeeded), (300, succeeded + failed, count("calls_completed")));
        // Sixty-two of a hundred calls reach somebody.
        assert!((150..300).contains(&succeeded), "{dialect}: {batch}");
        if matches!(dialect, "cllr" | "air") {
            assert_eq!((failed, &batch["status"]), (0, &json!("processing")), "{dialect}");
            assert_eq!(count("calls_not_told"), 300 - succeeded, "{dialect}");
        } else {
            assert_eq!((processed, &batch["status"]), (300, &json!("completed")), "{dialect}");
            assert_eq!((count("calls") > 300, failed > 0), (max_attempts > 1, true), "{dialect}");
        }
    }
    let (mut told, mut after) = (0, String::new());
    loop {
        // Summaries that a vendor cut within an emoji are no text for serde.
        let page = admin.get(&format!("/v1/events?limit=100{after}")).await.expect(200);
        let page = String::from_utf8_lossy(&page.body);
        told += page.matches(r#""type":"batch.completed""#).count();
        let Some((_, cursor)) = page.rsplit_once(r#""next_cursor":""#) else { break };
        if page.starts_with(r#"{"data":[]"#) {
            break;
        }
        after = format!("&after={}", cursor.trim_end_matches(r#""}"#));
    }
    assert_eq!(told, 4, "each batch that completed, once");
    app.stop().await;
}

#[tokio::test]
async fn a_batch_that_cannot_be_called_says_why() {
    let home = Home::new();
    let (app, admin) = server(&home).await;
    let source = admin.source(json!({"name": "calls", "dialect": "dialgen"})).await;
    let url = source["url"].as_str().unwrap();
    let contacts = json!([{"phone": "+15550100"}, {"phone": "+15550101"}]);
    let batch = admin.post("/v1/batches", json!({"contacts": contacts})).await.expect(202).json();
    let id = batch["id"].as_str().unwrap();
    let simulate = async |id: &str, more: &[&str], environment: &[(&str, &str)]| {
        let arguments = ["simulate", "--url", url, "--dialect", "dialgen", "--batch", id];
        run(&[&arguments, more].concat(), environment, b"").await
    };
    let key = [("POSTCALL_ADMIN_KEY", KEY)];
    assert!(expect(&simulate(id, &[], &[]).await, 2).contains("no API key: give --key"));
    let missing = id.replace("bat_", "bat_x");
    assert!(expect(&simulate(&missing, &["--key", KEY], &[]).await, 2).contains("no such batch"));
    assert!(expect(&simulate("a/b", &[], &key).await, 2).contains("is no id"));
    let both = expect(&simulate(id, &["--calls", "3"], &key).await, 2);
    assert!(both.contains("--batch") && both.contains("--calls"), "{both}");
    let elsewhere = expect(&simulate(id, &["--server", "http://127.0.0.1:1"], &key).await, 2);
    assert!(elsewhere.contains("does not answer"), "{elsewhere}");
    assert!(elsewhere.contains("--server says where it is"), "{elsewhere}");

    // A door that takes nothing: the numbers are not those that were played.
    let shown = expect(&simulate(id, &["--secret", "another"], &key).await, 1);
    assert!(shown.contains("NOT count") && shown.contains("processed is 0 and should be 2"), "{shown}");

    let secret = ["--secret", source["secret"].as_str().unwrap()];
    let shown = expect(&simulate(id, &secret, &key).await, 0);
    assert!(shown.contains("counted what was played") && shown.contains("completed"), "{shown}");
    assert!(expect(&simulate(id, &secret, &key).await, 2).contains("is over: completed since"));
    app.stop().await;
}
