//! The account of a key and how long it keeps what it recorded, and what callers are told about what is gone.

use std::time::Duration;

use postcall::clock::{Clock, System};
use serde_json::{Value, json};

use crate::api_rig::{House, cllr_body};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Does the chores as if so many days had gone by.
async fn days_later(house: &House, days: f64) {
    let then = System.now().after(postcall::model::time::duration(DAY.as_secs_f64() * days));
    while house.store.maintain(then).await.unwrap().more {}
}

#[tokio::test]
async fn any_key_reads_and_changes_its_own_account() {
    let house = House::open().await;
    let key = house.tenant("acme").await;
    let account = |key: String| {
        let house = &house;
        async move { house.call(&key, "GET", "/v1/account", &Value::Null).await.json() }
    };
    let acme = account(key.clone()).await;
    assert_eq!((&acme["name"], &acme["retention_days"]), (&json!("acme"), &Value::Null), "kept for ever");
    for days in [json!(30), json!(0.5), json!(36_500), json!(0.000_1), Value::Null, json!(7)] {
        let body = json!({ "retention_days": days });
        let changed = house.call(&key, "PATCH", "/v1/account", &body).await;
        assert_eq!((changed.status, &changed.json()["retention_days"]), (200, &days));
        assert_eq!(account(key.clone()).await, changed.json());
    }
    let unchanged = house.call(&key, "PATCH", "/v1/account", &json!({})).await;
    assert_eq!((unchanged.status, &unchanged.json()["retention_days"]), (200, &json!(7)));
    assert_eq!(account(house.key.clone()).await["retention_days"], Value::Null, "nobody else's");
    let listed = house.get("/v1/accounts").await.json();
    let kept: Vec<&Value> =
        listed["data"].as_array().unwrap().iter().map(|account| &account["retention_days"]).collect();
    assert_eq!(kept, [&Value::Null, &json!(7)]);
    assert_eq!(house.call("pck_nobody", "GET", "/v1/account", &Value::Null).await.problem().0, 401);
}

#[tokio::test]
async fn what_is_no_length_of_time_is_refused() {
    let house = House::open().await;
    for (days, wrong) in [
        (json!(0), "out_of_range"),
        (json!(-1), "out_of_range"),
        (json!(-0.5), "out_of_range"),
        (json!(1e-13), "out_of_range"),
        (json!(36_501), "out_of_range"),
        (json!(1e300), "out_of_range"),
        (json!("30"), "wrong_type"),
        (json!("for ever"), "wrong_type"),
        (json!(true), "wrong_type"),
        (json!([30]), "wrong_type"),
        (json!({ "days": 30 }), "wrong_type"),
    ] {
        let refused = house.patch("/v1/account", json!({ "retention_days": days })).await;
        let (status, code, fields) = refused.problem();
        assert_eq!((status, code.as_str()), (422, "invalid_request"), "{days}");
        assert_eq!(fields, [format!("retention_days {wrong}")], "{days}");
        assert!(refused.json()["detail"].as_str().unwrap().contains("Give a number"), "{refused:?}");
    }
    let refused = house.patch("/v1/account", json!({ "retention_day": 3, "name": "mine" })).await;
    assert_eq!(refused.problem().2, ["name unknown_field", "retention_day unknown_field"]);
    assert!(refused.text().contains("did you mean \\\"retention_days\\\""), "{refused:?}");
    assert_eq!(house.get("/v1/account").await.json()["retention_days"], Value::Null);
}

#[tokio::test]
async fn an_account_says_how_long_repeats_are_known() {
    let house = House::open().await;
    let memory = async || house.get("/v1/account").await.json()["repeat_memory_days"].clone();
    assert_eq!(memory().await, json!(30), "unless it says otherwise");
    for (given, shown) in
        [(json!(0), json!(0)), (json!(0.5), json!(0.5)), (json!(366), json!(366)), (Value::Null, json!(30))]
    {
        let changed = house.patch("/v1/account", json!({ "repeat_memory_days": given })).await;
        assert_eq!((changed.status, &changed.json()["repeat_memory_days"]), (200, &shown));
        assert_eq!(memory().await, shown);
    }
    for (days, wrong) in [
        (json!(-1), "out_of_range"),
        (json!(366.1), "out_of_range"),
        (json!(1e300), "out_of_range"),
        (json!("30"), "wrong_type"),
    ] {
        let refused = house.patch("/v1/account", json!({ "repeat_memory_days": days })).await;
        let (status, _, fields) = refused.problem();
        assert_eq!((status, fields), (422, vec![format!("repeat_memory_days {wrong}")]), "{days}");
    }
    assert_eq!(memory().await, json!(30));
}

#[tokio::test]
async fn what_is_gone_is_as_absent_as_what_never_was() {
    let house = House::open().await;
    let endpoint = house.endpoint(&house.key, "standard").await;
    let source = house.source(&house.key, "cllr").await;
    for call in ["a", "b", "c"] {
        house.bring(&source, &cllr_body(call)).await;
    }
    house.bring(&source, b"nonsense").await;
    let listed = async |path: &str| {
        let reply = house.get(path).await.json();
        let id = |record: &Value| record["id"].as_str().unwrap().to_owned();
        reply["data"].as_array().unwrap().iter().map(id).collect::<Vec<String>>()
    };
    let page = house.get("/v1/events?limit=1").await.json();
    let cursor = page["next_cursor"].as_str().unwrap();
    let (events, calls) = (listed("/v1/events").await, listed("/v1/calls").await);
    let (deliveries, bodies) = (listed("/v1/deliveries").await, listed("/v1/quarantine").await);

    assert_eq!(house.patch("/v1/account", json!({ "retention_days": 30 })).await.status, 200);
    days_later(&house, 29.0).await;
    assert_eq!(listed("/v1/events").await, events);
    days_later(&house, 31.0).await;

    for path in [
        format!("/v1/deliveries/{}", deliveries[0]),
        format!("/v1/calls/{}", calls[0]),
        "/v1/calls/a".to_owned(),
        "/v1/calls/a/transcript".to_owned(),
        "/v1/calls/a/recording".to_owned(),
        format!("/v1/quarantine/{}", bodies[0]),
    ] {
        let (status, code, _) = house.get(&path).await.problem();
        assert_eq!((status, code.as_str()), (404, "not_found"), "{path}");
    }
    for action in ["retry", "cancel"] {
        let path = format!("/v1/deliveries/{}/{action}", deliveries[0]);
        assert_eq!(house.post(&path, json!({})).await.problem().0, 404, "{action}");
    }
    for path in ["calls", "deliveries", "quarantine", "events"] {
        assert!(listed(&format!("/v1/{path}")).await.is_empty(), "{path}");
    }
    let of_event = format!("/v1/deliveries?event_id={}", events[0]);
    assert!(listed(&of_event).await.is_empty());

    for recount in [false, true] {
        let sums = house.get(&format!("/v1/reconciliation?recount={recount}")).await.json();
        let expected = json!({ "endpoint_id": endpoint["id"], "owed": 3, "delivered": 0, "pending": 0, "dead": 0,
            "cancelled": 3 });
        assert_eq!(sums, json!({ "endpoints": [expected], "quarantined": 0 }), "recount={recount}");
    }

    // Who has read all that is gone has missed nothing; everybody else has to be told.
    for after in [cursor, &events[0], &events[1]] {
        let refused = house.get(&format!("/v1/events?after={after}")).await;
        let (status, code, _) = refused.problem();
        assert_eq!((status, code.as_str()), (410, "cursor_expired"), "{after}");
        assert!(refused.json()["detail"].as_str().unwrap().contains("Leave \"after\" out"), "{refused:?}");
    }
    assert_eq!(house.get(&format!("/v1/events?after={}", events[2])).await.status, 200);
    // What was removed is remembered: only another call is new.
    for call in ["a", "d"] {
        house.bring(&source, &cllr_body(call)).await;
    }
    let after = listed(&format!("/v1/events?after={}", events[2])).await;
    assert_eq!((after.len(), &after), (1, &listed("/v1/events").await));
}
