//! What each right of an API key opens, until when, and who may give it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use postcall::model::{Right, Rights};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::api_rig::{House, PATIENCE, Reply, Still, hmac_hex, new_key};

/// An operation of the document: method, path, and the right that it says it needs.
async fn operations(house: &House) -> Vec<(String, String, Option<Right>)> {
    let document = house.send("GET", "/openapi.json", &[], b"").await.json();
    let mut all = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let right = operation["x-required-right"].as_str();
            let right = right.map(|word| Right::parse(word).expect("a right that there is"));
            all.push((method.to_ascii_uppercase(), path.clone(), right));
        }
    }
    all
}

/// A key of the account `default` with these rights.
async fn key_with(house: &House, rights: Rights) -> String {
    let key = format!("by-hand-{}", rights.words().join("-"));
    house.store.create_key(new_key(&key, "by hand", rights)).await.unwrap();
    key
}

/// The status of an answer that may have no end.
async fn status(house: &House, method: &str, path: &str, key: &str) -> u16 {
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer {key}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    );
    let exchange = async {
        let mut stream = TcpStream::connect(house.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut line = [0; 12];
        stream.read_exact(&mut line).await.unwrap();
        std::str::from_utf8(&line[9..]).unwrap().parse().unwrap()
    };
    tokio::time::timeout(PATIENCE, exchange).await.expect("an answer in time")
}

#[tokio::test]
async fn every_operation_needs_the_right_that_its_documentation_names() {
    let house = House::open().await;
    let (mut open, mut counts) = (BTreeSet::new(), [0; 5]);
    for right in Right::ALL {
        let alone: Rights = [right].into_iter().collect();
        let (lacking, just) =
            (key_with(&house, Rights::ALL.without(alone)).await, key_with(&house, alone).await);
        for (method, path, needed) in operations(&house).await {
            if needed.is_none() {
                open.insert(format!("{method} {path}"));
            }
            if needed != Some(right) {
                continue;
            }
            let start = path.find('{').unwrap_or(path.len());
            let path = match path.find('}') {
                Some(end) => format!("{}nothing{}", &path[..start], &path[end + 1..]),
                None => path,
            };
            // A body that is promised and does not come, for a thing that is not there: neither is looked at.
            let request = format!(
                "{method} {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\nAuthorization: Bearer {lacking}\r\n\
                 Content-Type: application/json\r\nIdempotency-Key: k\r\nContent-Length: 1000000\r\n\r\n{{"
            );
            let refused = house.raw(request.as_bytes()).await;
            assert_eq!(refused.problem(), (403, "forbidden".to_owned(), vec![]), "{method} {path}");
            let detail = refused.json()["detail"].as_str().unwrap().to_owned();
            assert!(detail.contains(&format!("\"{right}\"")) && detail.contains("Use "), "{detail}");

            let passed = status(&house, &method, &path, &just).await;
            let is_door = path == "/aiDialerCallbackWithData";
            assert!(passed != 403 && (is_door || passed != 401), "{method} {path} with {right}: {passed}");
            counts[right as usize] += 1;
        }
    }
    let expected = [
        "GET /docs",
        "GET /healthz",
        "GET /metrics",
        "GET /openapi.json",
        "GET /readyz",
        "GET /t/{token}",
        "POST /in/{source}",
    ];
    assert_eq!(open.iter().map(String::as_str).collect::<Vec<_>>(), expected, "all others need a key");
    let [read, ingest, write, erase, admin] = counts;
    assert!(read >= 36 && write >= 28, "{read} {write}");
    assert_eq!((ingest, erase, admin), (1, 2, 3));
}

#[tokio::test]
async fn the_page_says_which_right_an_operation_needs() {
    let house = House::open().await;
    let page = house.send("GET", "/docs", &[], b"").await;
    let section = page.text().split("<section>").find(|part| part.contains("<code>/v1/erasures</code>"));
    assert!(section.unwrap().contains("right <code>read</code>"), "{section:?}");
    let all = operations(&house).await.into_iter().filter(|(_, _, right)| right.is_some()).count();
    assert_eq!(page.text().matches("Needs a key with the right <code>").count(), all);
}

/// Makes a key and gives what the API said.
async fn make(house: &House, by: &str, body: Value) -> Reply {
    house.call(by, "POST", "/v1/keys", &body).await
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap()
}

#[tokio::test]
async fn a_key_gives_no_right_that_it_lacks() {
    let house = House::open().await;
    let tenant = house.tenant("tenant").await;
    let rights = async |by: &str, body: Value| make(&house, by, body).await.json()["rights"].clone();
    let plain = json!(["read", "ingest", "write", "erase"]);
    let all = json!(["read", "ingest", "write", "erase", "admin"]);
    assert_eq!(rights(&tenant, json!({ "name": "k" })).await, plain);
    assert_eq!(rights(&tenant, json!({ "name": "k", "admin": false })).await, plain);
    assert_eq!(rights(&house.key, json!({ "name": "k" })).await, plain);
    assert_eq!(rights(&house.key, json!({ "name": "k", "admin": true })).await, all);
    let named = json!({ "name": "k", "rights": ["write", "read", "read"] });
    assert_eq!(rights(&tenant, named).await, json!(["read", "write"]), "in their order, each once");
    let admin = json!({ "name": "k", "rights": ["admin"], "admin": true });
    let made = make(&house, &house.key, admin).await.json();
    assert_eq!((&made["rights"], &made["admin"]), (&json!(["admin"]), &json!(true)));

    let writer = make(&house, &tenant, json!({ "name": "writer", "rights": ["write"] })).await.json();
    let writer = text(&writer, "key");
    assert_eq!(rights(writer, json!({ "name": "k" })).await, json!(["write"]), "what it has itself");
    let wrong = async |by: &str, body: Value| make(&house, by, body).await.problem().2;
    for (by, body, expected) in [
        (writer, json!({ "name": "k", "rights": ["write", "erase"] }), vec!["rights[1] not_allowed"]),
        (writer, json!({ "name": "k", "admin": true }), vec!["admin not_allowed"]),
        (&tenant, json!({ "name": "k", "rights": ["admin"] }), vec!["rights[0] not_allowed"]),
        (&tenant, json!({ "name": "k", "rights": [] }), vec!["rights empty"]),
        (&tenant, json!({ "name": "k", "rights": "read" }), vec!["rights wrong_type"]),
        (
            &tenant,
            json!({ "name": "k", "rights": ["Read", 7] }),
            vec!["rights[0] unknown_value", "rights[1] unknown_value"],
        ),
        (&tenant, json!({ "name": "k", "rights": vec!["read"; 11] }), vec!["rights too_many"]),
        (&house.key, json!({ "name": "k", "rights": ["read"], "admin": true }), vec!["admin contradiction"]),
        (
            &house.key,
            json!({ "name": "k", "rights": ["admin"], "admin": false }),
            vec!["admin contradiction"],
        ),
    ] {
        assert_eq!(wrong(by, body.clone()).await, expected, "{body}");
    }
    let elsewhere = house.get("/v1/accounts").await.json()["data"][1]["id"].clone();
    let body = json!({ "name": "k", "rights": ["read", "admin"], "account_id": elsewhere });
    assert_eq!(wrong(&house.key, body).await, ["rights not_allowed"], "tenants have no admin keys");
}

#[tokio::test]
async fn a_key_revokes_no_key_with_a_right_that_it_lacks() {
    let house = House::open().await;
    let tenant = house.tenant("tenant").await;
    let writer = make(&house, &tenant, json!({ "name": "w", "rights": ["write"] })).await.json();
    let reader = make(&house, &tenant, json!({ "name": "r", "rights": ["read"] })).await.json();
    let revoke = async |by: &str, key: &Value| {
        house.call(by, "DELETE", &format!("/v1/keys/{}", text(key, "id")), &Value::Null).await
    };
    let refused = revoke(text(&writer, "key"), &reader).await;
    assert_eq!(refused.problem().1, "forbidden");
    assert!(text(&refused.json(), "detail").contains("read"), "{refused:?}");
    assert_eq!(revoke(&tenant, &reader).await.status, 204);
    assert_eq!(revoke(text(&writer, "key"), &writer).await.status, 204, "itself");
}

#[tokio::test]
async fn one_key_with_every_right_and_no_end_is_left() {
    let house = House::open().await;
    let mine = text(&house.get("/v1/keys").await.json()["data"][0], "id").to_owned();
    let revoke = async |id: &str| house.delete(&format!("/v1/keys/{id}")).await;
    let made = async |body: Value| text(&make(&house, &house.key, body).await.json(), "id").to_owned();
    let passing = made(json!({ "name": "passing", "admin": true, "expires_in_days": 1 })).await;
    let partial = made(json!({ "name": "partial", "rights": ["read", "admin"] })).await;
    assert_eq!(revoke(&mine).await.problem().1, "last_admin_key", "neither can do everything for ever");
    assert_eq!(revoke(&passing).await.status, 204);
    assert_eq!(revoke(&partial).await.status, 204);
    made(json!({ "name": "second", "admin": true })).await;
    assert_eq!(revoke(&mine).await.status, 204);
}

#[tokio::test]
async fn an_expired_key_is_a_key_that_never_was_at_its_moment() {
    let clock = Still::new();
    let house = House::at(clock.clone()).await;
    let body = json!({ "name": "k", "expires_in_days": 30.0 / 86_400.0 });
    let made = make(&house, &house.key, body).await.json();
    let key = text(&made, "key");
    let unknown = house.call("pck_none", "GET", "/v1/sources", &Value::Null).await;
    let ask = async || house.call(key, "GET", "/v1/sources", &Value::Null).await;
    clock.pass(Duration::from_millis(29_999));
    assert_eq!(ask().await.status, 200, "and it is remembered from here on");
    clock.pass(Duration::from_millis(1));
    let (refused, then) = (ask().await, ask().await);
    assert_eq!((refused.status, refused.body, then.status), (401, unknown.body, 401));
    let door = house.send("POST", "/aiDialerCallbackWithData", &[("x-api-key", key)], b"{}").await;
    assert_eq!(door.status, 401);
    let seed = house.send("GET", "/callRecordings", &[("x-api-key", key)], b"").await;
    assert_eq!(
        (seed.status, seed.json()["success"].clone()),
        (401, json!(false)),
        "in the shape of that path"
    );
    let listed = house.get("/v1/keys").await.json();
    assert_eq!(listed["data"][1]["expires_at"], made["expires_at"], "it is shown until it is revoked");
    assert_eq!(house.delete(&format!("/v1/keys/{}", text(&made, "id"))).await.status, 204);
}

#[tokio::test]
async fn a_key_makes_none_that_outlives_it() {
    let house = House::open().await;
    let body = json!({ "name": "k", "expires_at": "2099-01-01T00:00:00Z" });
    let made = make(&house, &house.key, body).await.json();
    assert_eq!(made["expires_at"], "2099-01-01T00:00:00Z");
    let key = text(&made, "key");
    let end = async |body: Value| make(&house, key, body).await.json()["expires_at"].clone();
    assert_eq!(end(json!({ "name": "k" })).await, "2099-01-01T00:00:00Z", "its own end");
    let earlier = json!({ "name": "k", "expires_at": "2098-12-31T23:00:00-01:00" });
    assert_eq!(end(earlier).await, "2099-01-01T00:00:00Z", "the same moment in another zone");
    for (body, wrong) in [
        (json!({ "expires_at": "2099-01-01T00:00:01Z" }), "expires_at not_allowed"),
        (json!({ "expires_at": null }), "expires_at not_allowed"),
        (json!({ "expires_in_days": null }), "expires_in_days not_allowed"),
        (json!({ "expires_in_days": 36_500 }), "expires_in_days not_allowed"),
    ] {
        let mut body = body;
        body["name"] = json!("k");
        assert_eq!(make(&house, key, body.clone()).await.problem().2, [wrong], "{body}");
    }
    for (body, wrong) in [
        (json!({ "expires_at": "2020-01-01T00:00:00Z" }), "expires_at out_of_range"),
        (json!({ "expires_at": "9999-01-01T00:00:00Z" }), "expires_at out_of_range"),
        (json!({ "expires_at": "soon" }), "expires_at out_of_range"),
        (json!({ "expires_at": 7 }), "expires_at wrong_type"),
        (json!({ "expires_in_days": 0 }), "expires_in_days out_of_range"),
        (json!({ "expires_in_days": -1 }), "expires_in_days out_of_range"),
        (json!({ "expires_in_days": 1e300 }), "expires_in_days out_of_range"),
        (json!({ "expires_in_days": "9" }), "expires_in_days wrong_type"),
        (
            json!({ "expires_in_days": 9, "expires_at": "2099-01-01T00:00:00Z" }),
            "expires_in_days contradiction",
        ),
    ] {
        let mut body = body;
        body["name"] = json!("k");
        assert_eq!(make(&house, &house.key, body.clone()).await.problem().2, [wrong], "{body}");
    }
    let never = make(&house, &house.key, json!({ "name": "k", "expires_at": null })).await.json();
    assert_eq!(never["expires_at"], Value::Null);
}

#[tokio::test]
async fn the_last_use_of_a_key_is_shown() {
    let clock = Still::new();
    let house = House::at(clock.clone()).await;
    let made = make(&house, &house.key, json!({ "name": "k" })).await.json();
    assert_eq!(made["last_used_at"], Value::Null);
    let key = text(&made, "key");
    let shown = async || house.get("/v1/keys").await.json()["data"][1]["last_used_at"].clone();
    assert_eq!(shown().await, Value::Null, "it was not used yet");
    for _ in 0..2 {
        let now = serde_json::to_value(postcall::clock::Clock::now(clock.as_ref())).unwrap();
        assert_eq!(house.call(key, "GET", "/v1/sources", &Value::Null).await.status, 200);
        let start = Instant::now();
        while shown().await != now {
            assert!(start.elapsed() < PATIENCE, "{now} is not shown");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        clock.pass(Duration::from_secs(60));
    }
}

#[tokio::test]
async fn a_dialers_key_brings_events_and_opens_nothing_else() {
    let house = House::open().await;
    let tenant = house.tenant("tenant").await;
    let body = json!({ "name": "dialer", "dialect": "voicegenie", "secret": null });
    assert_eq!(house.call(&tenant, "POST", "/v1/sources", &body).await.status, 201);
    let dialer = make(&house, &tenant, json!({ "name": "d", "rights": ["ingest"] })).await.json();
    let reader = make(&house, &tenant, json!({ "name": "r", "rights": ["read"] })).await.json();
    let bring = async |key: &Value| {
        let headers = [("x-api-key", text(key, "key")), ("Content-Type", "application/json")];
        let event = br#"{"eventType":"call_ended","callUuid":"c1","status":"completed"}"#;
        house.send("POST", "/aiDialerCallbackWithData", &headers, event).await
    };
    assert_eq!(bring(&dialer).await.status, 200);
    assert_eq!(bring(&reader).await.problem().1, "forbidden");
    for path in ["/v1/calls", "/v1/sources", "/v1/account", "/v1/batches", "/callRecordings"] {
        let refused = house.call(text(&dialer, "key"), "GET", path, &Value::Null).await;
        assert_eq!(refused.problem().1, "forbidden", "{path}");
    }
    // Without a key the door goes by the signature alone, as before.
    let unsigned = house.send("POST", "/aiDialerCallbackWithData", &[], b"{}").await;
    assert_eq!((unsigned.status, unsigned.text()), (401, r#"{"error":"Invalid signature"}"#));
    let source = house.source(&house.key, "voicegenie").await;
    let signature = hmac_hex(text(&source, "secret"), b"{}");
    let signed = [("X-Webhook-Signature", signature.as_str())];
    assert_eq!(house.send("POST", "/aiDialerCallbackWithData", &signed, b"{}").await.status, 200);
}

#[tokio::test]
async fn to_keep_less_needs_the_right_to_erase() {
    let house = House::open().await;
    let tenant = house.tenant("tenant").await;
    let writer = make(&house, &tenant, json!({ "name": "w", "rights": ["read", "write"] })).await.json();
    let writer = text(&writer, "key");
    let change = async |by: &str, body: Value| house.call(by, "PATCH", "/v1/account", &body).await;
    for field in ["retention_days", "transcript_retention_days"] {
        let refused = change(writer, json!({ "call_minutes": 5, field: 30 })).await;
        assert_eq!(refused.problem().1, "forbidden", "{field}: for ever is longer");
        let account = house.call(&tenant, "GET", "/v1/account", &Value::Null).await.json();
        assert_eq!(account["call_minutes"], Value::Null, "nothing of a refused change is made");
        assert_eq!(change(&tenant, json!({ field: 30 })).await.status, 200);
        assert_eq!(change(writer, json!({ field: 29.9 })).await.problem().1, "forbidden");
        for days in [json!(30), json!(31), Value::Null] {
            assert_eq!(change(writer, json!({ field: days })).await.status, 200, "{field}: {days}");
        }
    }
    assert_eq!(change(writer, json!({ "call_minutes": 5 })).await.status, 200);
}

#[tokio::test]
async fn a_body_that_is_taken_out_unread_needs_the_right_to_erase() {
    let house = House::open().await;
    let source = house.source(&house.key, "cllr").await;
    assert_eq!(house.bring(&source, br#"{"type":"invoice.paid"}"#).await.status, 200);
    let ids = house.get("/v1/quarantine").await.json();
    let path = format!("/v1/quarantine/{}", text(&ids["data"][0], "id"));
    let writer = key_with(&house, [Right::Read, Right::Write].into_iter().collect()).await;
    assert_eq!(house.call(&writer, "DELETE", &path, &Value::Null).await.problem().1, "forbidden");
    assert_eq!(house.get(&path).await.status, 200, "it is there");
    assert_eq!(house.delete(&path).await.status, 204);
}

#[tokio::test]
async fn the_token_in_a_url_is_shown_to_those_who_could_set_it() {
    let house = House::open().await;
    let source = house.source(&house.key, "cllr").await;
    let (url, id) = (text(&source, "url"), text(&source, "id"));
    let token = url.rsplit_once('.').unwrap().1;
    let reader = key_with(&house, [Right::Read].into_iter().collect()).await;
    for path in ["/v1/sources".to_owned(), format!("/v1/sources/{id}")] {
        assert!(house.get(&path).await.text().contains(token));
        let seen = house.call(&reader, "GET", &path, &Value::Null).await;
        assert!(seen.text().contains(&format!("/in/{id}.***")) && !seen.text().contains(token), "{seen:?}");
    }
}

#[tokio::test]
async fn an_account_has_so_many_keys_and_no_more() {
    let house = House::open().await;
    for number in 1..1000 {
        house.store.create_key(new_key(&format!("key-number-{number}"), "k", Rights::PLAIN)).await.unwrap();
    }
    let refused = make(&house, &house.key, json!({ "name": "one more" })).await;
    assert_eq!(refused.problem().1, "key_limit_reached");
    let id = text(&house.get("/v1/keys").await.json()["data"][7], "id").to_owned();
    assert_eq!(house.delete(&format!("/v1/keys/{id}")).await.status, 204);
    assert_eq!(make(&house, &house.key, json!({ "name": "one more" })).await.status, 201);
}
