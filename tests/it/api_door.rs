//! The doors: what each body and each stranger gets.

use std::sync::Arc;

use postcall::clock::{Clock, System};
use postcall::model::secret::Credential;
use postcall::model::{AccountKey, Secret, Source};
use postcall::store::Store;
use serde_json::{Value, json};

use crate::api_rig::{House, cllr_body, hmac_hex};
use crate::api_store::ApiStore;
use crate::home::Home;

/// Seed 000, the example of the body.
const VOICEGENIE: &str = r#"{"call_uuid":"call-uuid-abc123","event":"call_ended","campaign_id":"507f1f77bcf86cd799439013","phone_number":"+919876543210","call_data":{"duration":245,"outcome":"completed"},"timestamp":"2024-01-16T10:35:00Z"}"#;

#[tokio::test]
async fn a_recorded_event_is_answered_in_the_dialects_own_words() {
    let house = House::open().await;
    let cllr = house.source(&house.key, "cllr").await;
    let first = house.bring(&cllr, &cllr_body("c1")).await;
    assert_eq!((first.status, first.text()), (200, r#"{"received":true}"#));
    assert_eq!(first.header("content-type"), Some("application/json"));
    let again = house.bring(&cllr, &cllr_body("c1")).await;
    assert_eq!((again.status, again.text()), (200, r#"{"received":true,"duplicate":true}"#));

    let voicegenie = house.source(&house.key, "voicegenie").await;
    house.endpoint(&house.key, "standard").await;
    let mut answer = house.bring(&voicegenie, VOICEGENIE.as_bytes()).await.json();
    assert!(answer["data"]["processed_at"].take().is_string());
    assert_eq!(
        answer,
        json!({ "success": true, "message": "Callback processed successfully",
                "data": { "call_uuid": "call-uuid-abc123", "processed_at": null,
                          "actions_taken": ["campaign_record_updated", "analytics_recorded", "webhook_triggered"] } })
    );
    let again = house.bring(&voicegenie, VOICEGENIE.as_bytes()).await.json();
    assert_eq!(again["data"]["actions_taken"], json!([]), "nothing happened");
}

#[tokio::test]
async fn seed_000_has_a_path_of_its_own() {
    let house = House::open().await;
    let path = "/aiDialerCallbackWithData";
    let mine = house.source(&house.key, "voicegenie").await;
    house.source(&house.key, "voicegenie").await;
    let tenant = house.tenant("tenant").await;
    let theirs = house.source(&tenant, "voicegenie").await;
    let sign = |source: &Value| hmac_hex(source["secret"].as_str().unwrap(), VOICEGENIE.as_bytes());
    let (mine, theirs) = (sign(&mine), sign(&theirs));
    for (signature, key, expected) in [
        (&mine, None, 200),
        (&theirs, None, 401),
        (&theirs, Some(("x-api-key", tenant.clone())), 200),
        (&theirs, Some(("authorization", format!("Bearer {tenant}"))), 200),
        (&mine, Some(("x-api-key", tenant.clone())), 401),
        (&mine, Some(("x-api-key", "pck_none".to_owned())), 401),
    ] {
        let mut headers = vec![("X-Webhook-Signature", signature.as_str())];
        headers.extend(key.as_ref().map(|(name, key)| (*name, key.as_str())));
        let reply = house.send("POST", path, &headers, VOICEGENIE.as_bytes()).await;
        assert_eq!(reply.status, expected, "{key:?}: {reply:?}");
    }
}

#[tokio::test]
async fn a_401_says_the_same_whatever_was_wrong() {
    let house = House::open().await;
    let signed = house.source(&house.key, "aloro").await;
    let unsigned = house.source(&house.key, "cllr").await;
    let bearer = house.source(&house.key, "air").await;
    let deleted = house.source(&house.key, "cllr").await;
    assert_eq!(house.delete(&format!("/v1/sources/{}", deleted["id"].as_str().unwrap())).await.status, 204);
    let path = |source: &Value| source["url"].as_str().unwrap()["https://calls.example".len()..].to_owned();
    let id = |source: &Value| format!("/in/{}", source["id"].as_str().unwrap());
    let wrong = hmac_hex("another secret", b"{}");
    let mut seen = Vec::new();
    for (path, headers) in [
        (path(&signed), vec![]),
        (path(&signed), vec![("X-Aloro-Signature", wrong.as_str())]),
        (path(&signed), vec![("X-Aloro-Signature", "sha256=short")]),
        (format!("{}.token", path(&signed)), vec![]),
        (id(&unsigned), vec![]),
        (format!("{}.wrong", id(&unsigned)), vec![]),
        (path(&bearer), vec![]),
        (path(&bearer), vec![("Authorization", "Bearer 0123456789abcdef")]),
        (path(&deleted), vec![]),
        ("/in/src_00000000000000001".to_owned(), vec![]),
        ("/in/x".to_owned(), vec![]),
        ("/in/%F0%9F".to_owned(), vec![]),
        ("/aiDialerCallbackWithData".to_owned(), vec![]),
    ] {
        let reply = house.send("POST", &path, &headers, b"{}").await;
        let is_date = |line: &&str| line.to_ascii_lowercase().starts_with("date:");
        let text = String::from_utf8(reply.bytes).unwrap();
        seen.push((path, text.split("\r\n").filter(|line| !is_date(line)).collect::<Vec<_>>().join("\n")));
    }
    for (path, reply) in &seen {
        assert!(reply.starts_with("HTTP/1.1 401 "), "{path}: {reply}");
        assert!(reply.ends_with("\n{\"error\":\"Invalid signature\"}"), "{path}: {reply}");
        assert_eq!(*reply, seen[0].1, "{path}");
    }
    assert_eq!(house.get("/v1/events").await.json()["data"], json!([]));
    assert_eq!(house.get("/v1/quarantine").await.json()["data"], json!([]));
    let metrics = house.send("GET", "/metrics", &[], b"").await;
    let metrics = metrics.text();
    assert!(metrics.contains("postcall_door_strangers_total 8\n"), "{metrics}");
    let refused = "postcall_events_received_total{dialect=\"aloro\",result=\"unauthorized\"} 3\n";
    assert!(metrics.contains(refused), "{metrics}");
}

#[tokio::test]
async fn what_cannot_be_read_is_kept_with_a_200() {
    let house = House::open().await;
    let source = house.source(&house.key, "cllr").await;
    let deep = format!("{{\"callId\":\"c\",\"a\":{}{}}}", "[".repeat(400), "]".repeat(400));
    let bodies: [&[u8]; 8] = [
        b"",
        b"not json",
        b"[]",
        b"{\"callId\":",
        b"{\"callId\":\"\xff\xfe\"}",
        b"{\"event\":\"something.new\"}",
        b"\x1f\x8b\x08\x00",
        deep.as_bytes(),
    ];
    for body in bodies {
        let reply = house.bring(&source, body).await;
        assert_eq!(
            reply.text(),
            r#"{"received":true,"quarantined":true}"#,
            "{:?}",
            String::from_utf8_lossy(body)
        );
        assert_eq!(reply.status, 200);
    }
    let path = &source["url"].as_str().unwrap()["https://calls.example".len()..];
    for kind in [None, Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("\u{e9}")] {
        let headers: Vec<_> = kind.map(|kind| ("Content-Type", kind)).into_iter().collect();
        let id = format!("with {kind:?}");
        let reply = house.send("POST", path, &headers, &cllr_body(&id)).await;
        assert_eq!(reply.text(), r#"{"received":true}"#, "what says it is no JSON may be JSON: {kind:?}");
    }
    let kept = house.get("/v1/quarantine").await.json();
    assert_eq!(kept["data"].as_array().unwrap().len(), bodies.len());
}

#[tokio::test]
async fn an_identifier_that_no_database_can_find_is_kept_with_a_200_too() {
    let house = House::open().await;
    let source = house.source(&house.key, "cllr").await;
    for (length, expected) in [
        (512_u64, r#"{"received":true}"#),
        (513, r#"{"received":true,"quarantined":true}"#),
        (100_000, r#"{"received":true,"quarantined":true}"#),
    ] {
        // Letters that no packing makes shorter.
        let id: String = (0..length).map(|at| char::from(b'a' + (at * at % 25) as u8)).collect();
        assert_eq!(house.bring(&source, &cllr_body(&id)).await.text(), expected, "{length}");
    }
    let kept = house.get("/v1/quarantine").await.json();
    assert_eq!(kept["data"][0]["reason"], "its call_id has more than 512 bytes");
}

#[tokio::test]
async fn half_an_emoji_and_long_numbers_are_ordinary() {
    let house = House::open().await;
    let source = house.source(&house.key, "cllr").await;
    let body = br#"{"callId":"c\ud83d","callerDetails":{"name":"cut \ud83d off","age":12345678901234567890123},"more":1e400}"#;
    let reply = house.bring(&source, body).await;
    assert_eq!(reply.text(), r#"{"received":true}"#);
    let events = house.get("/v1/events").await;
    assert!(events.text().contains(r#""call_id":"c\ud83d""#), "{}", events.text());
    assert!(events.text().contains("12345678901234567890123"), "{}", events.text());
}

#[tokio::test]
async fn a_test_is_recorded_and_shown_and_not_booked() {
    let house = House::open().await;
    let source = house.source(&house.key, "aloro").await;
    house.endpoint(&house.key, "standard").await;
    let body = br#"{"event":"call.ended","test":true,"data":{"call":{"id":"t1","status":"completed"}}}"#;
    for _ in 0..2 {
        assert_eq!(house.bring(&source, body).await.text(), r#"{"received":true}"#);
    }
    let events = house.get("/v1/events").await.json();
    assert_eq!(events["data"].as_array().unwrap().len(), 2);
    assert_eq!(events["data"][0]["test"], true);
    assert_eq!(house.get("/v1/calls").await.json()["data"], json!([]));
    assert_eq!(house.get("/v1/deliveries").await.json()["data"], json!([]));
}

#[tokio::test]
async fn too_large_is_refused_and_a_full_quarantine_never_lies() {
    let house = House::with_quota(1, |settings| settings.max_body = 1000).await;
    let source = house.source(&house.key, "cllr").await;
    let large = house.bring(&source, &[b'x'; 1001]).await;
    assert_eq!(large.problem(), (413, "body_too_large".to_owned(), vec![]));
    let path = &source["url"].as_str().unwrap()["https://calls.example".len()..];
    assert_eq!(
        house.bring(&source, &vec![b'x'; 8 << 20]).await.status,
        413,
        "the sender hears it to the end"
    );
    let chunked = format!(
        "POST {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n400\r\n{}\r\n0\r\n\r\n",
        "x".repeat(0x400)
    );
    assert_eq!(house.raw(chunked.as_bytes()).await.status, 413);
    assert_eq!(house.bring(&source, b"nope").await.status, 200);
    let full = house.bring(&source, b"nope").await;
    assert_eq!(full.problem(), (507, "quarantine_full".to_owned(), vec![]));
    assert_eq!(house.bring(&source, &cllr_body("c")).await.status, 200, "what can be read still comes in");
}

#[tokio::test]
async fn a_store_that_is_away_is_a_503_and_never_a_200() {
    let house = House::open().await;
    let source = house.source(&house.key, "cllr").await;
    house.store.close().await.unwrap();
    let reply = house.bring(&source, &cllr_body("c")).await;
    assert_eq!(reply.problem(), (503, "unavailable".to_owned(), vec![]));
    assert_eq!(reply.header("retry-after"), Some("1"));
    let strange = house.send("POST", "/in/nobody", &[], b"{}").await;
    // A node of many cannot know alone that nobody made this door.
    assert!(matches!(strange.status, 401 | 503), "{strange:?}");
}

#[tokio::test]
async fn a_large_limit_is_meant() {
    let house = House::with(|settings| settings.max_body = 18 << 20).await;
    let source = house.source(&house.key, "cllr").await;
    let body = |bytes: usize| format!(r#"{{"callId":"large","notes":"{}"}}"#, "x".repeat(bytes)).into_bytes();
    let kept = house.bring(&source, &body(17 << 20)).await;
    assert_eq!(kept.text(), r#"{"received":true}"#);
    assert_eq!(house.bring(&source, &body(19 << 20)).await.status, 413);
}

/// What another node made or changed a moment ago counts here too, before the news of it comes.
#[tokio::test]
async fn a_door_that_was_made_through_another_node_is_open() {
    let home = Home::new();
    let there = home.open(10);
    let here = ApiStore::over(Arc::clone(&there));
    let house = House::over(Arc::clone(&here) as Arc<dyn Store>, home, |_| {}).await;
    let known = house.source(&house.key, "aloro").await;
    let account = AccountKey::DEFAULT;
    let config = there.config(account).unwrap();

    let secret = "changed through another node";
    let changed = Source {
        credential: Credential::of_secret(Secret::new(secret)),
        ..Source::clone(&config.sources[0])
    };
    let made = Source { number: 0, ..changed.clone() };
    there.put_source(changed, None).await.unwrap();
    let made = there.put_source(made, None).await.unwrap().unwrap();
    let body = json!({ "event": "call.completed", "data": { "call_id": "c-1" } }).to_string();
    for door in [known["id"].as_str().unwrap(), made.id.as_str()] {
        here.fall_behind(account);
        let signature = format!("sha256={}", hmac_hex(secret, body.as_bytes()));
        let headers = [("X-Aloro-Signature", signature.as_str())];
        let reply = house.send("POST", &format!("/in/{door}"), &headers, body.as_bytes()).await;
        assert_eq!(reply.status, 200, "{reply:?}");
    }

    here.fall_behind(account);
    there.delete_source(account, made.number, System.now()).await.unwrap();
    let shown = house.get(&format!("/v1/sources/{}", made.id)).await;
    assert_eq!(shown.problem().0, 404, "the API is behind no more than the doors");
}
