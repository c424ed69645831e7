//! `Idempotency-Key`: sent twice, done once; and what is kept of the answer is for nobody else, and nothing secret.

use std::sync::Arc;
use std::time::{Duration, Instant};

use postcall::clock::{Clock, System};
use postcall::model::{AccountKey, Right, Rights};
use postcall::store::Idempotent;
use serde_json::{Value, json};

use crate::api_reading::attempt_answered;
use crate::api_rig::{House, PATIENCE, Reply, cllr_body, new_key};
use crate::api_store::ApiStore;
use crate::home::Home;

async fn post(house: &House, key: &str, idempotency_key: &str, path: &str, body: &Value) -> Reply {
    let key = format!("Bearer {key}");
    let headers = [
        ("Authorization", key.as_str()),
        ("Content-Type", "application/json"),
        ("Idempotency-Key", idempotency_key),
    ];
    house.send("POST", path, &headers, body.to_string().as_bytes()).await
}

async fn make(house: &House, key: &str, idempotency_key: &str, name: &str) -> Reply {
    post(house, key, idempotency_key, "/v1/sources", &json!({ "name": name, "dialect": "standard" })).await
}

async fn sources(house: &House) -> usize {
    house.get("/v1/sources").await.json()["data"].as_array().unwrap().len()
}

#[tokio::test]
async fn the_same_request_gets_the_same_answer() {
    let house = House::open().await;
    let first = make(&house, &house.key, "k1", "n").await;
    assert_eq!((first.status, first.header("idempotency-replayed")), (201, None));
    let second = make(&house, &house.key, "k1", "n").await;
    assert_eq!((second.status, second.header("idempotency-replayed")), (201, Some("true")));
    let (mut shown, mut repeat) = (first.json(), second.json());
    let fields = (shown["secret"].take(), repeat["repeat"].take());
    assert!(fields.0.is_string() && fields.1.as_str().unwrap().contains("left out"), "{fields:?}");
    let strip = |json: &mut Value, field: &str| json.as_object_mut().unwrap().remove(field);
    strip(&mut shown, "secret");
    strip(&mut repeat, "repeat");
    assert_eq!(repeat, shown, "all but the secret, which the first answer showed");
    assert_eq!(second.header("content-type"), Some("application/json"));
    assert_eq!(sources(&house).await, 1);

    let other = make(&house, &house.key, "k1", "m").await;
    assert_eq!(other.problem(), (422, "idempotency_mismatch".to_owned(), vec![]));
    assert_eq!(make(&house, &house.key, "k2", "n").await.status, 201);
    let tenant = house.tenant("tenant").await;
    let theirs = make(&house, &tenant, "k1", "n").await;
    assert_eq!(
        (theirs.status, theirs.header("idempotency-replayed")),
        (201, None),
        "an account's keys are its own"
    );
    assert_eq!(sources(&house).await, 2);
}

#[tokio::test]
async fn a_refused_request_leaves_its_key_free() {
    let house = House::open().await;
    assert_eq!(make(&house, &house.key, "k", "").await.status, 422);
    assert_eq!(make(&house, &house.key, "k", "n").await.status, 201);
    for bad in ["", &"k".repeat(256)] {
        let refused = make(&house, &house.key, bad, "n").await;
        assert_eq!(refused.problem(), (400, "bad_idempotency_key".to_owned(), vec![]));
    }
    assert_eq!(make(&house, &house.key, &"k".repeat(255), "n").await.status, 201);
}

#[tokio::test]
async fn many_at_once_make_one() {
    let house = House::open().await;
    let replies = futures_util::future::join_all((0..16).map(|_| make(&house, &house.key, "k", "n"))).await;
    let mut made = Vec::new();
    for reply in replies {
        match reply.status {
            201 => made.push(reply.text().to_owned()),
            _ => assert_eq!(reply.problem(), (409, "idempotency_in_progress".to_owned(), vec![])),
        }
    }
    let shown: Vec<&String> = made.iter().filter(|body| body.contains("whsec_")).collect();
    assert_eq!(shown.len(), 1, "one answer has the secret");
    let repeats: Vec<&String> = made.iter().filter(|body| !body.contains("whsec_")).collect();
    assert!(repeats.iter().all(|body| *body == repeats[0]));
    assert_eq!(sources(&house).await, 1);
}

#[tokio::test]
async fn what_one_key_made_is_repeated_to_no_other() {
    let house = House::open().await;
    let plain = "a-plain-key-of-the-same-account";
    house.store.create_key(new_key(plain, "plain", Rights::PLAIN)).await.unwrap();
    let body = json!({ "name": "second admin", "admin": true });
    let made = post(&house, &house.key, "k", "/v1/keys", &body).await;
    assert_eq!(made.status, 201);
    let theirs = post(&house, plain, "k", "/v1/keys", &body).await;
    assert_eq!(theirs.problem().2, ["admin not_allowed"]);
    assert!(!theirs.text().contains(made.json()["key"].as_str().unwrap()));

    let reader = "a-reading-key-of-the-same-account";
    house.store.create_key(new_key(reader, "reader", [Right::Read].into_iter().collect())).await.unwrap();
    let refused = post(&house, reader, "k", "/v1/keys", &body).await;
    assert_eq!(refused.problem().1, "forbidden", "rights come first");
}

/// The secrets in an answer: fields that show one, and the token in a URL.
fn secrets(answer: &Value) -> Vec<String> {
    let fields = ["key", "secret", "bearer_token"].iter().filter_map(|field| answer[*field].as_str());
    let token = answer["url"].as_str().and_then(|url| url.split_once("/in/")?.1.split_once('.'));
    fields.chain(token.map(|(_, token)| token)).map(str::to_owned).collect()
}

#[tokio::test]
async fn no_answer_that_shows_a_secret_is_kept_with_it() {
    let house = House::open().await;
    let endpoint = |dialect: &str| json!({ "url": "https://receiver.example/hook", "dialect": dialect });
    let source = |dialect: &str| json!({ "name": dialect, "dialect": dialect });
    let contacts = json!({ "contacts": [{ "phone": "+15550100" }], "options": {}, "webhooks": { "on_batch_complete": "https://receiver.example/hook" } });
    let seeds = json!({ "agentId": "a", "userId": "u", "contacts": [{ "phoneNumber": "+15550100" }],
        "options": { "webhooks": { "onBatchComplete": "https://receiver.example/hook" } } });
    let tenant = house.tenant("seeds").await;
    let (signed, unsigned, air) = (
        house.source(&house.key, "dialgen").await,
        house.source(&house.key, "cllr").await,
        house.endpoint(&house.key, "air").await,
    );
    let rotate = |kind: &str, of: &Value| format!("/v1/{kind}/{}/rotate-secret", of["id"].as_str().unwrap());
    let (key, admin) = (house.key.as_str(), json!({ "name": "k", "admin": true }));
    let cases = [
        (key, "/v1/accounts".to_owned(), json!({ "name": "acme" })),
        (key, "/v1/keys".to_owned(), admin),
        (key, "/v1/sources".to_owned(), source("standard")),
        (key, "/v1/sources".to_owned(), source("air")),
        (key, "/v1/sources".to_owned(), source("cllr")),
        (key, "/v1/endpoints".to_owned(), endpoint("standard")),
        (key, "/v1/endpoints".to_owned(), endpoint("air")),
        (key, rotate("sources", &signed), json!({})),
        (key, rotate("sources", &unsigned), json!({})),
        (key, rotate("endpoints", &air), json!({})),
        (key, "/v1/batches".to_owned(), contacts),
        (&tenant, "/api/v1/batch".to_owned(), seeds),
        (key, "/v1/account/rotate-batch-secret".to_owned(), json!({})),
    ];
    for (at, (key, path, body)) in cases.iter().enumerate() {
        let name = format!("case-{at}");
        let first = post(&house, key, &name, path, body).await;
        let shown = secrets(&first.json());
        assert!(!shown.is_empty(), "{path} {body}: {first:?}");
        let again = post(&house, key, &name, path, body).await;
        let replayed = again.header("idempotency-replayed");
        assert_eq!((again.status, replayed), (first.status, Some("true")), "{path}");
        assert!(shown.iter().all(|secret| !again.text().contains(secret)), "{path}: {again:?}");
        let (first, again) = (first.json(), again.json());
        assert!(again["repeat"].as_str().unwrap().contains("rotate"), "{path}: it says so");
        for field in ["id", "name", "batchId", "created_at", "rights", "dialect"] {
            assert_eq!(again[field], first[field], "{path} {field}");
        }
    }
}

#[tokio::test]
async fn what_an_older_version_kept_by_account_is_answered_to_nobody() {
    let house = House::open().await;
    let (account, now) = (AccountKey::DEFAULT, System.now());
    let begun = house.store.begin_idempotent(account, b"k".to_vec(), [0; 32], now).await;
    assert_eq!(begun, Ok(Idempotent::Fresh));
    let kept = br#"{"key":"pck_of_an_admin"}"#.to_vec();
    house.store.finish_idempotent(account, b"k".to_vec(), Some((201, kept))).await.unwrap();
    let made = make(&house, &house.key, "k", "n").await;
    assert_eq!((made.status, made.header("idempotency-replayed")), (201, None));
    assert!(!made.text().contains("pck_of_an_admin"));
}

#[tokio::test]
async fn an_answer_that_is_too_large_to_be_kept_reaches_its_caller() {
    let house = House::open().await;
    let source = house.source(&house.key, "cllr").await;
    house.endpoint(&house.key, "cllr").await;
    assert_eq!(house.bring(&source, &cllr_body("c1")).await.status, 200);
    let long = "x".repeat(2 << 20);
    attempt_answered(&house, 500, &long).await;
    let dead = house.get("/v1/deliveries").await.json()["data"][0].clone();
    let path = format!("/v1/deliveries/{}/retry", dead["id"].as_str().unwrap());
    let first = post(&house, &house.key, "k", &path, &json!({})).await;
    assert_eq!(first.status, 200);
    let shown = first.json()["attempts"][0]["response_body"] == *long;
    assert!(shown, "{} bytes", first.body.len());
    let again = post(&house, &house.key, "k", &path, &json!({})).await;
    assert_eq!((again.status, again.header("idempotency-replayed")), (200, Some("true")));
    assert!(again.json()["repeat"].as_str().unwrap().contains("too large"), "{} bytes", again.body.len());
}

#[tokio::test]
async fn an_answer_that_could_not_be_kept_is_kept_when_the_store_is_back() {
    let home = Home::new();
    let store = ApiStore::over(home.open(10));
    let house = House::over(Arc::clone(&store) as _, home, |_| {}).await;
    store.keep_no_answer(1);
    assert_eq!(make(&house, &house.key, "k", "n").await.status, 201, "the caller has its answer");
    let start = Instant::now();
    let replayed = loop {
        let again = make(&house, &house.key, "k", "n").await;
        if again.status != 409 {
            break again;
        }
        assert!(start.elapsed() < PATIENCE, "it is under way for ever");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!((replayed.status, replayed.header("idempotency-replayed")), (201, Some("true")));
    assert_eq!(sources(&house).await, 1);
}
