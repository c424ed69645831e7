//! `Idempotency-Key`: sent twice, done once.

use serde_json::json;

use crate::api_rig::{House, Reply};

async fn make(house: &House, key: &str, idempotency_key: &str, name: &str) -> Reply {
    let body = json!({ "name": name, "dialect": "standard" }).to_string();
    let key = format!("Bearer {key}");
    let headers = [
        ("Authorization", key.as_str()),
        ("Content-Type", "application/json"),
        ("Idempotency-Key", idempotency_key),
    ];
    house.send("POST", "/v1/sources", &headers, body.as_bytes()).await
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
    assert_eq!(second.text(), first.text(), "also the secret, which is shown once: to this request");
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
        "keys are an account's own"
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
    assert!(!made.is_empty());
    assert!(made.iter().all(|body| *body == made[0]));
    assert_eq!(sources(&house).await, 1);
}
