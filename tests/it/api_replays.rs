//! Replays and waiting endpoints through the API: what is asked for, what is refused, and what is shown of it.

use postcall::model::Time;
use serde_json::{Value, json};

use crate::api_rig::{House, cllr_body};

/// Lets the background work go on until there is none.
async fn tidy(house: &House) {
    let now = Time::parse("2100-01-01T00:00:00Z").unwrap();
    while house.store.maintain(now).await.unwrap().more {}
}

#[tokio::test]
async fn a_replay_is_counted_run_listed_and_cancelled() {
    let house = House::open().await;
    let source = house.source(&house.key, "cllr").await;
    let endpoint = house.endpoint(&house.key, "standard").await;
    let id = endpoint["id"].as_str().unwrap();
    for call in ["a", "b", "c"] {
        house.bring(&source, &cllr_body(call)).await;
    }
    let pending = house.get("/v1/deliveries").await.json();
    for delivery in pending["data"].as_array().unwrap() {
        let path = format!("/v1/deliveries/{}/cancel", delivery["id"].as_str().unwrap());
        assert_eq!(house.post(&path, json!({})).await.status, 200);
    }
    let asked = json!({"endpoint_id": id, "state": "cancelled", "dry_run": true});
    let made = house.post("/v1/replays", asked).await;
    assert_eq!(made.status, 202, "{made:?}");
    tidy(&house).await;
    let path = format!("/v1/replays/{}", made.json()["id"].as_str().unwrap());
    let counted = house.get(&path).await.json();
    assert_eq!(
        (&counted["state"], &counted["deliveries"], &counted["total"]),
        (&json!("done"), &json!(3), &json!(3))
    );
    assert_eq!(counted["selection"], json!({"endpoint_id": id, "state": "cancelled"}));
    assert_eq!(house.post(&format!("{path}/cancel"), json!({})).await.problem().1, "wrong_state");

    let made = house.post("/v1/replays", json!({"call_id": "b"})).await.json();
    let path = format!("/v1/replays/{}", made["id"].as_str().unwrap());
    tidy(&house).await;
    let run = house.get(&path).await.json();
    assert_eq!((&run["deliveries"], &run["pending"], &run["total"]), (&json!(1), &json!(1), &Value::Null));
    let deliveries = house.get("/v1/deliveries?call_id=b").await.json();
    assert_eq!(deliveries["data"][0]["replay_id"], made["id"]);
    assert_eq!(deliveries["data"].as_array().unwrap().len(), 2);
    assert_eq!(house.post(&format!("{path}/cancel"), json!({})).await.json()["state"], "cancelled");
    tidy(&house).await;
    assert_eq!(house.get(&path).await.json()["pending"], 0);
    let listed = house.get("/v1/replays?limit=1").await.json();
    assert_eq!(listed["data"][0]["id"], made["id"]);
    let cursor = listed["next_cursor"].as_str().unwrap();
    let rest = house.get(&format!("/v1/replays?cursor={cursor}")).await.json();
    assert_eq!((rest["data"].as_array().unwrap().len(), &rest["next_cursor"]), (1, &Value::Null));
}

#[tokio::test]
async fn a_replay_of_nothing_or_of_somebody_else_is_refused() {
    let house = House::open().await;
    let source = house.source(&house.key, "cllr").await;
    let endpoint = house.endpoint(&house.key, "standard").await;
    let other = house.tenant("other").await;
    house.bring(&source, &cllr_body("a")).await;
    let delivery = house.get("/v1/deliveries").await.json()["data"][0].clone();
    let refused = async |key: &str, body: Value| {
        let (status, code, fields) = house.call(key, "POST", "/v1/replays", &body).await.problem();
        (status, code, fields.join(", "))
    };
    let invalid = |fields: &str| (422, "invalid_request".to_owned(), fields.to_owned());
    let mine = &house.key;
    assert_eq!(refused(mine, json!({})).await, invalid("selection empty"));
    assert_eq!(refused(mine, json!({"dry_run": true})).await, invalid("selection empty"));
    assert_eq!(refused(mine, json!({"state": "pending"})).await, invalid("state comes_anyway"));
    assert_eq!(
        refused(
            mine,
            json!({"outcome": "great", "from": "soon", "event_types": ["call"], "rate_per_second": 0})
        )
        .await,
        invalid(
            "event_types[0] unknown_event_type, outcome unknown_value, from wrong_type, rate_per_second out_of_range"
        )
    );
    for rate in [json!(1e-20), json!(-1), json!(0.000_011), json!(1000.5), json!(1e300)] {
        let asked = refused(mine, json!({"outcome": "busy", "rate_per_second": rate})).await;
        assert_eq!(asked, invalid("rate_per_second out_of_range"), "{rate}");
    }
    assert_eq!(refused(mine, json!({"delivery_id": delivery["id"]})).await.1, "wrong_state");
    assert_eq!(refused(mine, json!({"call_id": "nobody"})).await.0, 404);
    for (name, id) in [
        ("delivery_id", &delivery["id"]),
        ("event_id", &delivery["event_id"]),
        ("endpoint_id", &endpoint["id"]),
    ] {
        let expected = invalid(&format!("{name} not_found"));
        assert_eq!(refused(&other, json!({name: id})).await, expected, "another account's is none");
    }
    assert_eq!(refused(&other, json!({"call_id": "a"})).await.0, 404);
    let to = json!({"outcome": "busy", "to_endpoint_id": endpoint["id"]});
    assert_eq!(refused(&other, to).await, invalid("to_endpoint_id not_found"));
    let made = house.post("/v1/replays", json!({"outcome": "busy"})).await.json();
    let path = format!("/v1/replays/{}", made["id"].as_str().unwrap());
    assert_eq!(house.call(&other, "GET", &path, &Value::Null).await.status, 404);
    assert_eq!(house.call(&other, "POST", &format!("{path}/cancel"), &json!({})).await.status, 404);
}

#[tokio::test]
async fn what_an_endpoint_waits_for_can_be_set_and_taken_back() {
    let house = House::open().await;
    let asked = json!({"url": "https://receiver.example/hook", "dialect": "standard",
        "wait_for": ["recording", "transcript", "recording"], "up_to_minutes": 2.5});
    let made = house.post("/v1/endpoints", asked).await.json();
    let shown = |endpoint: &Value| (endpoint["wait_for"].clone(), endpoint["up_to_minutes"].clone());
    assert_eq!(shown(&made), (json!(["recording", "transcript"]), json!(2.5)));
    let path = format!("/v1/endpoints/{}", made["id"].as_str().unwrap());
    for (change, expected) in [
        (json!({"ordered": false}), (json!(["recording", "transcript"]), json!(2.5))),
        (json!({"wait_for": ["analysis"]}), (json!(["analysis"]), json!(2.5))),
        (json!({"up_to_minutes": null}), (json!(["analysis"]), json!(10.0))),
        (json!({"wait_for": null}), (json!([]), Value::Null)),
    ] {
        assert_eq!(shown(&house.patch(&path, change.clone()).await.json()), expected, "{change}");
        assert_eq!(shown(&house.get(&path).await.json()), expected, "{change}");
    }
    for (wrong, field) in [
        (json!({"wait_for": ["video"]}), "wait_for[0] unknown_value"),
        (json!({"wait_for": ["recording"], "up_to_minutes": 1441}), "up_to_minutes out_of_range"),
        (json!({"up_to_minutes": 5}), "up_to_minutes nothing_to_wait_for"),
    ] {
        assert_eq!(house.patch(&path, wrong).await.problem().2, [field]);
    }
}
