//! Calls, events, deliveries, quarantine, transcripts and the sums, as they are read.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use insta::assert_snapshot;
use postcall::clock::{Clock, System};
use postcall::dialect;
use postcall::ledger::{decide, settle};
use postcall::model::{AccountKey, Attempt, Rights, Time};
use postcall::store::link::transcript_url;
use postcall::store::{DeliveryMemory, EndpointRef, Place, Revoked, Settlement};
use serde_json::{Value, json};

use crate::api_rig::{House, PUBLIC_URL, cllr_body, new_key};

/// Seed 003 "Full Payload Structure", shortened.
const ALORO: &str = r#"{"event":"call.ended","timestamp":"2024-03-15T14:30:00Z","data":{"call":{"id":"call_abc123","phone":"+1234567890","direction":"inbound","status":"completed","duration":180,"started_at":"2024-03-15T14:27:00Z","ended_at":"2024-03-15T14:30:00Z"},"assistant":{"id":"asst_xyz789","name":"Customer Support"},"variables":{"status":true,"summary":"Customer inquired about order status","order_id":"ORD-12345"},"transcript":{"formatted":"AI: Hello!\nCustomer: I need to check my order status...","timestamped":[{"speaker":"ai","text":"Hello!","timestamp":"00:00"},{"speaker":"customer","text":"I need to check my order status","timestamp":"00:03"}]},"recording":{"url":"https://storage.aloro.ai/recordings/call_abc123.mp3","duration":180},"cost":{"total":0.45,"breakdown":{"voice":0.30,"transcription":0.10,"recording":0.05}}}}"#;

fn at<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("no {name} in {value}"))
}

/// Makes one attempt of everything that the first endpoint is owed, by hand, with this outcome.
async fn attempt(house: &House, status: u16) {
    attempt_answered(house, status, "said so").await;
}

/// The same; the receiver says this.
pub async fn attempt_answered(house: &House, status: u16, said: &str) {
    let endpoint = EndpointRef { account: AccountKey::DEFAULT, number: 1 };
    let (taken, memory) = (Arc::new(AtomicUsize::new(0)), DeliveryMemory::new(1 << 20).part());
    let places = (0..8).map(|_| Place::take((&taken, 8), &memory, 0).unwrap()).take(4).collect();
    for owned in house.store.claim(endpoint, System.now(), places).await.unwrap().owned {
        let now = System.now();
        let attempt = Attempt {
            number: owned.attempt,
            at: now,
            latency_ms: 12.5,
            status: Some(status),
            error: None,
            response_body: Some(said.to_owned()),
            slow: false,
        };
        let outcome = settle::Outcome { number: owned.attempt, status: Some(status), retry_after: None };
        let decision = decide(outcome, &dialect::get(owned.dialect).policy(), now, 0.0);
        let settlement = Settlement {
            endpoint,
            delivery: owned.delivery,
            ordered_call: owned.ordered_call,
            event: owned.event.position,
            revision: owned.revision,
            attempt,
            decision,
            body: b"{}".as_slice().into(),
        };
        house.writer.settle(settlement, owned.place);
        house.bell.settled().await;
    }
}

#[tokio::test]
async fn a_call_is_read_by_our_id_and_by_the_vendors() {
    let house = House::open().await;
    let source = house.source(&house.key, "aloro").await;
    assert_eq!(house.bring(&source, ALORO.as_bytes()).await.status, 200);
    assert_snapshot!("calls", house.get("/v1/calls").await.tidy());
    let ours = house.get("/v1/calls?call_id=call_abc123&outcome=completed").await.json();
    let id = at(&ours["data"][0], "id").to_owned();
    let record = house.get(&format!("/v1/calls/{id}")).await;
    assert_eq!(record.json(), house.get("/v1/calls/call_abc123").await.json());
    assert!(
        record.text().contains(r#""total":0.45,"breakdown":{"voice":0.30,"#),
        "digits as sent: {record:?}"
    );
    assert_eq!(house.get("/v1/calls?outcome=busy").await.json(), json!({ "data": [], "next_cursor": null }));
    assert_snapshot!("transcript", house.get("/v1/calls/call_abc123/transcript").await.tidy());
    assert_snapshot!("recording", house.get("/v1/calls/call_abc123/recording").await.tidy());

    let config = house.store.config(AccountKey::DEFAULT).unwrap();
    let link_at = |at| transcript_url(PUBLIC_URL, house.store.link_key(), config.account.tag, 1, at);
    let link = link_at(System.now());
    let path = link.strip_prefix(PUBLIC_URL).unwrap();
    let linked = house.send("GET", path, &[], b"").await;
    assert_eq!(linked.json(), house.get("/v1/calls/call_abc123/transcript").await.json());
    let last = if path.ends_with('A') { 'B' } else { 'A' };
    for path in [format!("{}{last}", &path[..path.len() - 1]), format!("/t/{id}"), "/t/x".to_owned()] {
        assert_eq!(house.send("GET", &path, &[], b"").await.problem().0, 404, "{path}");
    }

    let old = link_at(Time::parse("2025-01-01T00:00:00Z").unwrap());
    let old = house.send("GET", old.strip_prefix(PUBLIC_URL).unwrap(), &[], b"").await;
    assert_eq!(old.problem().1, "link_expired");

    let bare = house.source(&house.key, "aloro").await;
    let body = br#"{"event":"call.ended","data":{"call":{"id":"bare","status":"busy"}}}"#;
    assert_eq!(house.bring(&bare, body).await.status, 200);
    assert_eq!(house.get("/v1/calls/bare/transcript").await.problem().0, 404);
    assert_eq!(house.get("/v1/calls/bare/recording").await.problem().0, 404);
    assert_eq!(house.get("/v1/calls/nobody").await.problem().0, 404);
}

#[tokio::test]
async fn the_feed_is_followed_by_cursor_or_by_the_last_id() {
    let house = House::open().await;
    let source = house.source(&house.key, "cllr").await;
    for number in 0..5 {
        house.bring(&source, &cllr_body(&format!("c{number}"))).await;
    }
    let all = house.get("/v1/events").await;
    assert_snapshot!("events", house.get("/v1/events?limit=1").await.tidy());
    let ids = |page: &Value| -> Vec<String> {
        page["data"].as_array().unwrap().iter().map(|event| at(event, "id").to_owned()).collect()
    };
    let all = ids(&all.json());
    let first = house.get("/v1/events?limit=2").await.json();
    assert_eq!(ids(&first), all[..2]);
    let second = house.get(&format!("/v1/events?limit=2&after={}", at(&first, "next_cursor"))).await.json();
    assert_eq!(ids(&second), all[2..4]);
    let last = house.get(&format!("/v1/events?after={}", all[3])).await.json();
    assert_eq!((ids(&last), &last["next_cursor"]), (all[4..].to_vec(), &Value::Null));
    let nothing = house.get(&format!("/v1/events?after={}", all[4])).await.json();
    assert_eq!(nothing, json!({ "data": [], "next_cursor": null }));
}

#[tokio::test]
async fn deliveries_show_every_attempt_and_turn_by_hand() {
    let house = House::open().await;
    let source = house.source(&house.key, "cllr").await;
    house.endpoint(&house.key, "cllr").await;
    house.endpoint(&house.key, "standard").await;
    assert_eq!(house.bring(&source, &cllr_body("c1")).await.status, 200);
    attempt(&house, 500).await;
    assert_snapshot!("deliveries", house.get("/v1/deliveries").await.tidy());
    let sums = house.get("/v1/reconciliation").await;
    assert_snapshot!("reconciliation", sums.tidy());
    assert_eq!(house.get("/v1/reconciliation?recount=true").await.json(), sums.json());

    let dead = house.get("/v1/deliveries?state=dead").await.json()["data"][0].clone();
    let pending = house.get("/v1/deliveries?state=pending").await.json()["data"][0].clone();
    let ours = at(&house.get("/v1/calls/c1").await.json(), "id").to_owned();
    for (query, expected) in [
        ("call_id=c1".to_owned(), 2),
        (format!("call_id={ours}"), 2),
        ("call_id=c2".to_owned(), 0),
        (format!("endpoint_id={}", at(&dead, "endpoint_id")), 1),
        (format!("event_id={}&state=pending", at(&dead, "event_id")), 1),
        (format!("event_id={}&endpoint_id={}", at(&dead, "event_id"), at(&dead, "endpoint_id")), 1),
        ("state=delivered".to_owned(), 0),
    ] {
        let found = house.get(&format!("/v1/deliveries?{query}")).await.json();
        assert_eq!(found["data"].as_array().unwrap().len(), expected, "{query}");
    }
    let page = house.get("/v1/deliveries?limit=1&call_id=c1").await.json();
    let next =
        house.get(&format!("/v1/deliveries?limit=1&call_id=c1&cursor={}", at(&page, "next_cursor"))).await;
    assert_ne!(next.json()["data"][0]["id"], page["data"][0]["id"]);
    assert_eq!(next.json()["next_cursor"], Value::Null);

    let path = |delivery: &Value| format!("/v1/deliveries/{}", at(delivery, "id"));
    assert_eq!(house.get(&path(&dead)).await.json(), dead);
    house.bell.take();
    let retried = house.post(&format!("{}/retry", path(&dead)), Value::Null).await.json();
    assert_eq!((at(&retried, "state"), retried["next_attempt_at"].is_string()), ("pending", true));
    assert_eq!(house.bell.take(), [EndpointRef { account: AccountKey::DEFAULT, number: 1 }]);
    attempt(&house, 200).await;
    let delivered = house.get(&path(&dead)).await.json();
    assert_eq!((at(&delivered, "state"), delivered["attempts"].as_array().unwrap().len()), ("delivered", 2));
    for (turn, code) in [("retry", "wrong_state"), ("cancel", "wrong_state")] {
        let refused = house.post(&format!("{}/{turn}", path(&dead)), Value::Null).await;
        assert_eq!((refused.problem().0, refused.problem().1.as_str()), (409, code));
    }
    let cancelled = house.post(&format!("{}/cancel", path(&pending)), Value::Null).await.json();
    assert_eq!(at(&cancelled, "state"), "cancelled");
    for sum in house.get("/v1/reconciliation").await.json()["endpoints"].as_array().unwrap() {
        let count = |name: &str| sum[name].as_i64().unwrap();
        let parts = count("delivered") + count("pending") + count("dead") + count("cancelled");
        assert_eq!(count("owed"), parts, "{sum}");
    }
}

#[tokio::test]
async fn deliveries_of_one_vendors_id_are_found_over_all_its_calls() {
    let house = House::open().await;
    house.endpoint(&house.key, "standard").await;
    for _ in 0..2 {
        let source = house.source(&house.key, "cllr").await;
        assert_eq!(house.bring(&source, &cllr_body("same")).await.status, 200);
    }
    assert_eq!(house.get("/v1/calls?call_id=same").await.json()["data"].as_array().unwrap().len(), 2);
    let found = house.get("/v1/deliveries?call_id=same").await.json();
    assert_eq!(found["data"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn quarantine_is_read_reprocessed_and_discarded() {
    let house = House::open().await;
    let source = house.source(&house.key, "cllr").await;
    let aloro = br#"{"event":"call.ended","data":{"call":{"id":"late","status":"completed"}}}"#;
    for body in [aloro.as_slice(), b"nonsense", b"\xff\xfe"] {
        house.bring(&source, body).await;
    }
    assert_snapshot!("quarantine", house.get("/v1/quarantine").await.tidy());
    let kept = house.get("/v1/quarantine").await.json()["data"].clone();
    let path = |at_place: usize| format!("/v1/quarantine/{}", at(&kept[at_place], "id"));
    let read = async |place: usize| {
        let body = house.get(&path(place)).await.json();
        (at(&body, "encoding").to_owned(), at(&body, "body").to_owned())
    };
    assert_eq!(read(0).await, ("base64".to_owned(), "//4=".to_owned()));
    assert_eq!(read(1).await, ("text".to_owned(), "nonsense".to_owned()));
    assert_eq!(read(2).await.1, String::from_utf8_lossy(aloro));

    let reprocess = async |place: usize| house.post(&format!("{}/reprocess", path(place)), Value::Null).await;
    assert_eq!(reprocess(2).await.problem().1, "still_unreadable");
    let change = json!({ "dialect": "aloro", "secret": null });
    house.patch(&format!("/v1/sources/{}", at(&source, "id")), change).await;
    house.endpoint(&house.key, "standard").await;
    let done = reprocess(2).await.json();
    assert_eq!(done, json!({ "result": "recorded", "deliveries_planned": 1 }));
    assert_eq!(reprocess(2).await.problem().0, 404, "it has left");
    assert_eq!(at(&house.get("/v1/calls/late").await.json(), "outcome"), "completed");
    let event = house.get("/v1/events").await.json()["data"][0].clone();
    assert_eq!(event["timestamp"], kept[2]["received_at"], "it is as old as it is");

    assert_eq!(reprocess(1).await.problem().1, "still_unreadable");
    assert_eq!(house.delete(&path(1)).await.status, 204);
    assert_eq!(house.delete(&path(1)).await.problem().0, 404);
    house.delete(&format!("/v1/sources/{}", at(&source, "id"))).await;
    assert_eq!(reprocess(0).await.problem().1, "source_deleted");
    assert_eq!(house.get("/v1/reconciliation").await.json()["quarantined"], 1);
}

#[tokio::test]
async fn keys_and_accounts_are_made_shown_and_revoked() {
    let house = House::open().await;
    let made = house.post("/v1/accounts", json!({ "name": "acme" })).await;
    assert_snapshot!("account", made.tidy());
    let tenant = at(&made.json(), "key").to_owned();
    let again = house.post("/v1/accounts", json!({ "name": "acme" })).await;
    assert_eq!((again.problem().0, again.problem().1.as_str()), (409, "name_taken"));
    let all = house.get("/v1/accounts").await;
    assert_eq!(all.json()["data"].as_array().unwrap().len(), 2);
    assert!(!all.text().contains(&tenant));

    let key = house.post("/v1/keys", json!({ "name": "ci", "account_id": made.json()["id"] })).await;
    assert_snapshot!("key", key.tidy());
    let second = at(&key.json(), "key").to_owned();
    let keys = house.call(&second, "GET", "/v1/keys", &Value::Null).await;
    assert_snapshot!("keys", keys.tidy());

    for (body, wrong) in [
        (json!({ "name": "k", "admin": true }), "admin not_allowed"),
        (json!({ "name": "k", "account_id": all.json()["data"][0]["id"] }), "account_id unknown_account"),
        (json!({ "admin": false }), "name missing"),
    ] {
        assert_eq!(house.call(&tenant, "POST", "/v1/keys", &body).await.problem().2, [wrong]);
    }
    let refused =
        house.post("/v1/keys", json!({ "name": "k", "admin": true, "account_id": made.json()["id"] })).await;
    assert_eq!(refused.problem().2, ["admin not_allowed"]);
    for (method, path) in [("GET", "/v1/accounts"), ("POST", "/v1/accounts")] {
        let body = if method == "POST" { json!({ "name": "x" }) } else { Value::Null };
        let refused = house.call(&tenant, method, path, &body).await;
        assert_eq!((refused.problem().0, refused.problem().1.as_str()), (403, "forbidden"));
    }

    let revoke = format!("/v1/keys/{}", at(&key.json(), "id"));
    assert_eq!(house.delete(&revoke).await.problem().0, 404, "a key is revoked by its own account");
    assert_eq!(house.call(&tenant, "DELETE", &revoke, &Value::Null).await.status, 204);
    assert_eq!(house.call(&second, "GET", "/v1/keys", &Value::Null).await.problem().0, 401, "at once");
    assert_eq!(house.call(&tenant, "DELETE", &revoke, &Value::Null).await.problem().0, 404);

    let by_hand = "set-by-the-operator-16-or-more";
    let made = house.store.create_key(new_key(by_hand, "by hand", Rights::PLAIN)).await.unwrap();
    assert_eq!(house.call(by_hand, "GET", "/v1/sources", &Value::Null).await.status, 200, "in any form");
    let revoked = house.store.revoke_key(AccountKey::DEFAULT, made.number, System.now()).await;
    assert_eq!(revoked, Ok(Revoked::Done));

    let mine = house.get("/v1/keys").await.json();
    let mine = format!("/v1/keys/{}", at(&mine["data"][0], "id"));
    assert_eq!(house.delete(&mine).await.problem().1, "last_admin_key");
    let other = house.post("/v1/keys", json!({ "name": "second", "admin": true })).await.json();
    assert_eq!(house.delete(&mine).await.status, 204);
    assert_eq!(house.get("/v1/keys").await.status, 401);
    assert_eq!(house.call(at(&other, "key"), "GET", "/v1/accounts", &Value::Null).await.status, 200);
}

#[tokio::test]
async fn operations_need_no_key() {
    let house = House::open().await;
    for path in ["/healthz", "/readyz"] {
        let reply = house.send("GET", path, &[], b"").await;
        assert_eq!((reply.status, reply.text()), (200, r#"{"status":"ok"}"#));
    }
    let metrics = house.send("GET", "/metrics", &[], b"").await;
    assert!(metrics.header("content-type").unwrap().starts_with("application/openmetrics-text"));
    assert!(
        metrics
            .text()
            .contains(r#"postcall_api_requests_total{method="GET",route="/healthz",status="200"} 1"#)
    );
    let page = house.send("GET", "/docs", &[], b"").await;
    assert!(page.header("content-type").unwrap().starts_with("text/html"));
    assert!(page.text().contains("/v1/reconciliation"));
    house.store.close().await.unwrap();
    let reply = tokio::time::timeout(Duration::from_secs(10), house.send("GET", "/readyz", &[], b"")).await;
    let reply = reply.unwrap();
    assert_eq!((reply.problem().0, reply.header("retry-after")), (503, Some("1")));
}

#[tokio::test]
async fn the_document_is_the_one_that_was_agreed_on() {
    let house = House::open().await;
    let document = house.send("GET", "/openapi.json", &[], b"").await;
    assert_snapshot!("openapi", document.text());
}
