//! Sources and endpoints: what is shown when they are made, read, changed, rotated, tested and deleted.

use std::sync::{Arc, Mutex};

use insta::assert_snapshot;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::api_rig::{House, Reply, cllr_body, hmac_hex};

fn at<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("no {name} in {value}"))
}

#[tokio::test]
async fn making_a_source_shows_its_credential_once() {
    let house = House::open().await;
    for (dialect, body) in [
        ("standard", json!({ "name": "ours", "dialect": "standard" })),
        ("aloro", json!({ "name": "sales", "dialect": "aloro" })),
        ("air", json!({ "name": "air", "dialect": "air" })),
        ("cllr", json!({ "name": "cllr", "dialect": "cllr" })),
        ("unsigned_aloro", json!({ "name": "open", "dialect": "aloro", "secret": null })),
        ("own_secret", json!({ "name": "own", "dialect": "dialgen", "secret": "hunter2" })),
    ] {
        let made = house.post("/v1/sources", body).await;
        assert_snapshot!(format!("source_{dialect}"), made.tidy());
        let id = made.json()["id"].as_str().unwrap().to_owned();
        let read = house.get(&format!("/v1/sources/{id}")).await.json();
        assert_eq!((&read["secret"], &read["bearer_token"]), (&Value::Null, &Value::Null));
        assert_eq!(read["url"], made.json()["url"]);
    }
    let all = house.get("/v1/sources").await;
    assert_eq!(all.json()["data"].as_array().unwrap().len(), 6);
    assert!(!all.text().contains("hunter2") && !all.text().contains("whsec_"));
}

#[tokio::test]
async fn generated_credentials_have_their_form() {
    let house = House::open().await;
    for resource in ["sources", "endpoints"] {
        for (dialect, field, prefix, length) in [
            ("standard", "secret", "whsec_", 6 + 44),
            ("voicegenie", "secret", "", 64),
            ("dialgen", "secret", "", 64),
            ("aloro", "secret", "", 64),
            ("air", "bearer_token", "", 43),
        ] {
            let body = match resource {
                "sources" => json!({ "name": "n", "dialect": dialect }),
                _ => json!({ "url": "https://receiver.example", "dialect": dialect }),
            };
            let made = house.post(&format!("/v1/{resource}"), body).await.json();
            let secret = at(&made, field);
            assert!(secret.starts_with(prefix) && secret.len() == length, "{resource} {dialect}: {secret}");
            assert_eq!(made["has_secret"], true);
        }
    }
}

#[tokio::test]
async fn an_endpoint_shows_every_option_as_it_takes_effect() {
    let house = House::open().await;
    for dialect in ["voicegenie", "cllr", "dialgen", "aloro", "air", "standard"] {
        let body = json!({ "url": "http://receiver.example/hook", "dialect": dialect });
        let made = house.post("/v1/endpoints", body).await;
        assert_snapshot!(format!("endpoint_{dialect}"), made.tidy());
        // The next one has the same URL, which would be warned about.
        house.delete(&format!("/v1/endpoints/{}", at(&made.json(), "id"))).await;
    }
    let everything = json!({
        "url": "https://receiver.example/hook", "dialect": "standard",
        "events": ["call.ended", "call.failed", "call.ended"],
        "agent_id": "agent-7", "campaign_id": "c", "batch_id": "b\u{1F600}",
        "completed_only": true, "include_recording": false, "ordered": false,
        "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "headers": { "X-Team": "sales", "Authorization": "Basic abc" },
        "timeout_seconds": 2.5, "retry_delays_seconds": [0, 0.5, 604_800],
        "max_in_flight": 3, "rate_limit_per_second": 1.5,
    });
    let made = house.post("/v1/endpoints", everything).await;
    assert_snapshot!("endpoint_everything", made.tidy());
    let id = at(&made.json(), "id").to_owned();
    let read = house.get(&format!("/v1/endpoints/{id}")).await;
    assert_eq!(read.json(), made.json(), "its own secret is not shown even once");
    assert!(!read.text().contains("abc"), "{}", read.text());

    let defaults = json!({
        "events": null, "agent_id": null, "campaign_id": null, "batch_id": null, "completed_only": null,
        "include_recording": null, "ordered": null, "timeout_seconds": null,
        "retry_delays_seconds": null, "max_in_flight": null, "rate_limit_per_second": null,
    });
    let back = house.patch(&format!("/v1/endpoints/{id}"), defaults).await;
    assert_snapshot!("endpoint_back_to_defaults", back.tidy());
}

#[tokio::test]
async fn a_change_touches_what_it_names_and_wakes_the_queue() {
    let house = House::open().await;
    let made = house.endpoint(&house.key, "aloro").await;
    let path = format!("/v1/endpoints/{}", at(&made, "id"));
    let headers = json!({ "headers": { "X-Api-Key": "k1", "X-Team": "a" } });
    assert_eq!(
        house.patch(&path, headers).await.json()["headers"],
        json!({ "X-Api-Key": "***", "X-Team": "***" })
    );
    house.bell.take();
    let again = json!({ "headers": { "X-Api-Key": "***", "X-Team": "b" }, "url": "https://new.example" });
    let changed = house.patch(&path, again).await.json();
    assert_eq!(changed["url"], "https://new.example");
    assert_eq!(changed["timeout_seconds"], made["timeout_seconds"]);
    assert_eq!(house.bell.take().len(), 1);
    let account = postcall::model::AccountKey::DEFAULT;
    let kept = house.store.config(account).unwrap().endpoints[0].headers.clone();
    assert!(
        kept.contains(&("X-Api-Key".to_owned(), "k1".to_owned())),
        "shown as ***, kept as it was: {kept:?}"
    );

    let other = house.patch(&path, json!({ "dialect": "dialgen" })).await.json();
    assert_eq!(
        (&other["dialect"], &other["secret"]),
        (&json!("dialgen"), &Value::Null),
        "the same kind of secret"
    );
    let other = house.patch(&path, json!({ "dialect": "standard" })).await.json();
    assert!(at(&other, "secret").starts_with("whsec_"), "another kind of secret is made");
    let other = house.patch(&path, json!({ "dialect": "cllr" })).await.json();
    assert_eq!(other["has_secret"], false);

    for (turn, state) in [("disable", "disabled"), ("disable", "disabled"), ("enable", "active")] {
        let turned = house.post(&format!("{path}/{turn}"), Value::Null).await;
        assert_eq!((turned.status, at(&turned.json(), "state")), (200, state));
        assert_eq!(turned.json()["disabled_reason"].is_string(), state == "disabled");
    }
    assert!(!house.bell.take().is_empty());
    assert_eq!(house.delete(&path).await.status, 204);
    for reply in [house.get(&path).await, house.delete(&path).await, house.patch(&path, json!({})).await] {
        assert_eq!(reply.problem().0, 404);
    }
}

#[tokio::test]
async fn an_unsigned_source_keeps_its_url_when_it_becomes_a_signed_one() {
    let house = House::open().await;
    let made =
        house.post("/v1/sources", json!({ "name": "n", "dialect": "aloro", "secret": null })).await.json();
    let path = format!("/v1/sources/{}", at(&made, "id"));
    let signed = house.patch(&path, json!({ "secret": "s3cret", "name": "m" })).await.json();
    assert_eq!((&signed["url"], &signed["name"]), (&made["url"], &json!("m")));
    let door = &at(&made, "url")["https://calls.example".len()..];
    assert_eq!(house.send("POST", door, &[], b"{}").await.status, 401);
    let signature = hmac_hex("s3cret", b"{}");
    assert_eq!(house.send("POST", door, &[("X-Aloro-Signature", &signature)], b"{}").await.status, 200);
}

#[tokio::test]
async fn a_source_accepts_the_old_secret_until_it_ends() {
    let house = House::open().await;
    let made = house.source(&house.key, "dialgen").await;
    let path = format!("/v1/sources/{}/rotate-secret", at(&made, "id"));
    let rotated = house.post(&path, json!({ "secret": "the new one" })).await;
    assert_snapshot!("rotated_source", rotated.tidy());
    let door = &at(&made, "url")["https://calls.example".len()..];
    let knock = async |secret: &str| {
        let signature = hmac_hex(secret, b"{}");
        house.send("POST", door, &[("x-dialgen-signature", &signature)], b"{}").await.status
    };
    assert_eq!((knock(at(&made, "secret")).await, knock("the new one").await), (200, 200));
    let third = house.post(&path, json!({ "grace_seconds": 0 })).await.json();
    assert_eq!((knock(at(&made, "secret")).await, knock("the new one").await), (401, 401));
    assert_eq!(knock(at(&third, "secret")).await, 200);

    let cllr = house.source(&house.key, "cllr").await;
    let path = format!("/v1/sources/{}/rotate-secret", at(&cllr, "id"));
    let renewed = house.post(&path, Value::Null).await.json();
    assert_ne!(renewed["url"], cllr["url"]);
    assert_eq!(house.bring(&cllr, &cllr_body("c")).await.status, 401);
    assert_eq!(house.bring(&renewed, &cllr_body("c")).await.status, 200);

    let air = house.source(&house.key, "air").await;
    let path = format!("/v1/sources/{}/rotate-secret", at(&air, "id"));
    let renewed = house.post(&path, json!({})).await.json();
    assert_eq!(house.bring(&air, b"{}").await.status, 401);
    assert_eq!(house.bring(&renewed, b"{}").await.status, 200);
}

/// A receiver that answers everything so, and notes what it was sent.
async fn receiver(answer: &'static str) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = String::new();
            let mut buffer = [0; 4096];
            loop {
                let read = stream.read(&mut buffer).await.unwrap();
                request.push_str(&String::from_utf8_lossy(&buffer[..read]));
                let Some((head, body)) = request.split_once("\r\n\r\n") else { continue };
                let length = head.to_ascii_lowercase();
                let length = length.split("content-length: ").nth(1).unwrap().split("\r\n").next().unwrap();
                if read == 0 || body.len() >= length.parse().unwrap() {
                    break;
                }
            }
            notes.lock().unwrap().push(request);
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (url, seen)
}

/// Tests go out at once, so an account has a small number of them under way, to whatever endpoints.
#[tokio::test]
async fn an_account_has_few_tests_under_way() {
    let house = House::open().await;
    let hanging = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", hanging.local_addr().unwrap());
    let made =
        house.post("/v1/endpoints", json!({ "url": url, "dialect": "cllr", "timeout_seconds": 300 })).await;
    let path = format!("/v1/endpoints/{}/test", at(&made.json(), "id"));
    let mut tests = Box::pin(futures_util::future::join_all((0..8).map(|_| house.post(&path, Value::Null))));
    let mut held = Vec::new();
    while held.len() < 8 {
        tokio::select! {
            _ = &mut tests => panic!("nobody answers them"),
            taken = hanging.accept() => held.push(taken.unwrap().0),
        }
    }
    let refused = house.post(&path, Value::Null).await;
    assert_eq!((refused.problem().0, refused.json()["code"].clone()), (429, json!("too_many_tests")));
    // Another account's are its own; once these have ended there is room again.
    let other = house.tenant("acme").await;
    let theirs = house.call(&other, "POST", "/v1/endpoints", &json!({ "url": url, "dialect": "cllr" })).await;
    let theirs = format!("/v1/endpoints/{}/test", at(&theirs.json(), "id"));
    let hang_up = async || drop(hanging.accept().await.unwrap());
    let (tested, ()) = tokio::join!(house.call(&other, "POST", &theirs, &Value::Null), hang_up());
    assert_eq!(tested.status, 200);
    drop(held);
    assert!(tests.await.iter().all(|tested| tested.status == 200));
    let (tested, ()) = tokio::join!(house.post(&path, Value::Null), hang_up());
    assert_eq!(tested.status, 200);
}

#[tokio::test]
async fn the_test_button_sends_once_and_tells_all() {
    let house = House::open().await;
    let (url, seen) = receiver(
        "HTTP/1.1 202 Accepted\r\nX-Receiver: mine\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
    )
    .await;
    let body = json!({ "url": url, "dialect": "aloro", "headers": { "Authorization": "Bearer abc", "X-Team": { "value": "a", "plain": true } } });
    let made = house.post("/v1/endpoints", body).await.json();
    let tested = house.post(&format!("/v1/endpoints/{}/test", at(&made, "id")), Value::Null).await.json();
    let fields: Vec<&String> = tested.as_object().unwrap().keys().collect();
    assert_eq!(fields, ["error", "latency_ms", "ok", "request", "response", "status"]);
    assert_eq!(
        (&tested["ok"], &tested["status"], &tested["error"]),
        (&json!(true), &json!(202), &Value::Null)
    );
    assert!(tested["latency_ms"].as_f64().unwrap() > 0.0);
    assert_eq!(tested["response"]["body"], "hello");
    assert_eq!(tested["response"]["headers"]["x-receiver"], "mine");
    assert_eq!(tested["request"]["headers"]["authorization"], "***");
    assert_eq!(tested["request"]["headers"]["x-team"], "a", "it was given as plain");
    let sent = at(&tested["request"], "body");
    let expected = format!("sha256={}", hmac_hex(at(&made, "secret"), sent.as_bytes()));
    assert_eq!(tested["request"]["headers"]["x-aloro-signature"], expected);
    let seen = seen.lock().unwrap().clone();
    assert_eq!(seen.len(), 1);
    assert!(seen[0].ends_with(sent) && seen[0].contains(&expected), "{seen:?}");
    assert!(seen[0].contains("authorization: Bearer abc"), "{seen:?}");
    let sums = house.get("/v1/reconciliation").await.json();
    assert_eq!(sums["endpoints"][0]["owed"], 0, "a test is in no books");
}

#[tokio::test]
async fn a_failed_test_says_why() {
    let house = House::open().await;
    let (url, _) =
        receiver("HTTP/1.1 307 Go\r\nLocation: /else\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            .await;
    let made = house.post("/v1/endpoints", json!({ "url": url, "dialect": "standard" })).await.json();
    let test = format!("/v1/endpoints/{}/test", at(&made, "id"));
    let tested = house.post(&test, json!({ "event_type": "call.failed" })).await.json();
    assert_eq!((&tested["ok"], &tested["status"]), (&json!(false), &json!(307)));
    assert!(at(&tested, "error").contains("not followed"), "{tested}");
    assert!(at(&tested["request"], "body").contains(r#""type":"call.failed""#));
    assert!(at(&tested["request"]["headers"], "webhook-id").starts_with("evt_test_"));

    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let url = json!({ "url": format!("http://{nobody}/") });
    house.patch(&format!("/v1/endpoints/{}", at(&made, "id")), url).await;
    let tested = house.post(&test, Value::Null).await.json();
    assert_eq!((&tested["ok"], &tested["status"]), (&json!(false), &Value::Null));
    assert!(!at(&tested, "error").is_empty());
    assert_eq!(tested["response"], json!({ "headers": {}, "body": "" }));
}

#[tokio::test]
async fn endpoints_rotate_by_the_rule_of_their_dialect() {
    let house = House::open().await;
    let (url, seen) = receiver("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").await;
    let signature = async |endpoint: &Value, header: &str| {
        let test = format!("/v1/endpoints/{}/test", at(endpoint, "id"));
        let tested = house.post(&test, Value::Null).await.json();
        assert_eq!(tested["ok"], true, "{tested}");
        let body = at(&tested["request"], "body").to_owned();
        (tested["request"]["headers"][header].as_str().unwrap_or_default().to_owned(), body)
    };
    let standard = house.post("/v1/endpoints", json!({ "url": url, "dialect": "standard" })).await.json();
    let rotate = format!("/v1/endpoints/{}/rotate-secret", at(&standard, "id"));
    let rotated = house.post(&rotate, Value::Null).await;
    assert_snapshot!("rotated_endpoint", rotated.tidy().replace(&url, "http://receiver"));
    assert_eq!(
        signature(&standard, "webhook-signature").await.0.split(' ').count(),
        2,
        "old and new together"
    );

    let dialgen = house.post("/v1/endpoints", json!({ "url": url, "dialect": "dialgen" })).await.json();
    let rotate = format!("/v1/endpoints/{}/rotate-secret", at(&dialgen, "id"));
    let later = json!({ "secret": "later", "activate_at": "2999-01-01T00:00:00Z" });
    assert_eq!(house.post(&rotate, later).await.problem().2, ["activate_at out_of_range"]);
    let soon =
        postcall::clock::Clock::now(&postcall::clock::System).after(std::time::Duration::from_secs(3600));
    house.post(&rotate, json!({ "secret": "later", "activate_at": soon.to_string() })).await;
    let (given, body) = signature(&dialgen, "x-dialgen-signature").await;
    assert_eq!(given, hmac_hex(at(&dialgen, "secret"), body.as_bytes()), "not yet");
    house.post(&rotate, json!({ "secret": "now" })).await;
    let (given, body) = signature(&dialgen, "x-dialgen-signature").await;
    assert_eq!(given, hmac_hex("now", body.as_bytes()));

    let air = house.post("/v1/endpoints", json!({ "url": url, "dialect": "air" })).await.json();
    let rotate = format!("/v1/endpoints/{}/rotate-secret", at(&air, "id"));
    let refused = house.post(&rotate, json!({ "grace_seconds": 60, "secret": "s" })).await;
    assert_eq!(refused.problem().2, ["secret not_used", "grace_seconds not_used"]);
    let token = "a token of enough letters".replace(' ', "-");
    assert_eq!(house.post(&rotate, json!({ "bearer_token": token })).await.status, 200);
    signature(&air, "").await;
    assert!(seen.lock().unwrap().last().unwrap().contains(&format!("authorization: Bearer {token}")));

    let cllr = house.endpoint(&house.key, "cllr").await;
    let refused = house.post(&format!("/v1/endpoints/{}/rotate-secret", at(&cllr, "id")), Value::Null).await;
    assert_eq!((refused.problem().0, refused.problem().1), (409, "no_secret".to_owned()));
}

#[tokio::test]
async fn lists_go_on_where_the_cursor_says() {
    let house = House::open().await;
    let mut made = Vec::new();
    for _ in 0..5 {
        made.push(at(&house.endpoint(&house.key, "standard").await, "id").to_owned());
    }
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page: Reply = house.get(&format!("/v1/endpoints?limit=2&cursor={cursor}")).await;
        let page = page.json();
        seen.extend(page["data"].as_array().unwrap().iter().map(|endpoint| at(endpoint, "id").to_owned()));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(seen, made);
}

#[tokio::test]
async fn a_short_secret_of_ones_own_is_taken_with_a_warning() {
    let house = House::open().await;
    let warned = |answer: &Value| {
        let warnings = answer["warnings"].as_array().cloned().unwrap_or_default();
        warnings.iter().any(|warning| warning.as_str().unwrap().contains("fewer than 16 characters"))
    };
    for (path, new) in [
        ("/v1/sources", json!({ "name": "n", "dialect": "dialgen" })),
        ("/v1/endpoints", json!({ "url": "https://receiver.example/hook", "dialect": "voicegenie" })),
    ] {
        let with = |secret: &str| {
            let mut body = new.clone();
            body["secret"] = json!(secret);
            body
        };
        let short = house.post(path, with("s3cret")).await;
        assert_eq!((short.status, warned(&short.json())), (201, true), "{path}");
        assert!(!short.text().contains("s3cret"), "and is not repeated");
        assert!(!warned(&house.post(path, with("sixteen-letters!")).await.json()), "{path}");
        assert!(!warned(&house.post(path, new.clone()).await.json()), "one that is made is long");
        let one = format!("{path}/{}", at(&short.json(), "id"));
        assert!(!warned(&house.get(&one).await.json()), "who reads learns nothing of its length");
        assert!(warned(&house.patch(&one, json!({ "secret": "tiny" })).await.json()), "{path}");
        assert!(!warned(&house.patch(&one, json!({})).await.json()), "{path}");
        let rotated =
            house.post(&format!("{one}/rotate-secret"), json!({ "secret": "fifteen-letters" })).await;
        assert!(warned(&rotated.json()), "{rotated:?}");
    }
    let air = json!({ "name": "n", "dialect": "air", "bearer_token": "fifteen-letters" });
    assert_eq!(house.post("/v1/sources", air).await.problem().2, ["bearer_token unfit"]);
}

#[tokio::test]
async fn a_test_shows_no_credential_that_the_receiver_repeats() {
    let house = House::open().await;
    let (url, _) = receiver(
        "HTTP/1.1 200 OK\r\nSet-Cookie: session=of-the-receiver\r\nX-Echo: token-of-the-endpoint\r\n\
         Connection: close\r\nContent-Length: 60\r\n\r\n{\"saw\":\"Bearer token-of-the-endpoint\",\"and\":\"key-in-header\"}",
    )
    .await;
    let body = json!({ "url": url, "dialect": "air", "bearer_token": "token-of-the-endpoint", "headers": { "X-Api-Key": "key-in-header" } });
    let made = house.post("/v1/endpoints", body).await.json();
    let tested = house.post(&format!("/v1/endpoints/{}/test", at(&made, "id")), Value::Null).await;
    let shown = tested.json();
    assert_eq!(
        (&shown["ok"], &shown["response"]["body"]),
        (&json!(true), &json!("{\"saw\":\"Bearer ***\",\"and\":\"***\"}"))
    );
    for secret in ["token-of-the-endpoint", "key-in-header", "of-the-receiver"] {
        assert!(!tested.text().contains(secret), "{secret}: {tested:?}");
    }
}
