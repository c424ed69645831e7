//! What may hold a credential and is set once is not shown again: values of headers, values in the query of a URL.

use postcall::model::AccountKey;
use serde_json::{Value, json};

use crate::api_rig::House;

const URL: &str = "https://crm.example/hooks/7?token=s3cret-token&team=blue&s3cret-word#part";
const SHOWN: &str = "https://crm.example/hooks/7?token=***&team=***&***#part";

/// What is really set, headers in the order of their names.
fn kept(house: &House) -> (String, Vec<(String, String)>) {
    let config = house.store.config(AccountKey::DEFAULT).unwrap();
    let mut headers = config.endpoints[0].headers.clone();
    headers.sort();
    (config.endpoints[0].url.clone(), headers)
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut pairs: Vec<_> =
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    pairs.sort();
    pairs
}

#[tokio::test]
async fn header_values_are_write_only_unless_they_are_plain() {
    let house = House::open().await;
    let body = json!({
        "url": "https://crm.example/", "dialect": "standard",
        "headers": { "X-Crm": "s3cret words", "X-Team": { "value": "sales", "plain": true }, "Authorization": "Bearer s3cret" },
    });
    let made = house.post("/v1/endpoints", body).await;
    assert_eq!(made.status, 201, "{made:?}");
    let path = format!("/v1/endpoints/{}", made.json()["id"].as_str().unwrap());
    let shown = json!({ "X-Crm": "***", "X-Team": "sales", "Authorization": "***" });
    let set = pairs(&[("X-Crm", "s3cret words"), ("X-Team", "sales"), ("Authorization", "Bearer s3cret")]);
    for answer in [made, house.get(&path).await, house.post(&format!("{path}/disable"), Value::Null).await] {
        assert_eq!(answer.json()["headers"], shown);
        assert!(!answer.text().contains("s3cret"), "{answer:?}");
    }
    let list = house.get("/v1/endpoints").await;
    assert_eq!(list.json()["data"][0]["headers"], shown);

    // What was read is sent back as it is: nothing changes, neither the values nor which of them is shown.
    let again = house.patch(&path, json!({ "headers": shown })).await;
    assert_eq!(again.json()["headers"], shown);
    assert_eq!(kept(&house).1, set);
    // As an earlier version showed it.
    let before = json!({ "headers": { "X-Crm": "***", "X-Team": "sales", "Authorization": "Bearer ***" } });
    assert_eq!(house.patch(&path, before).await.json()["headers"], shown);
    assert_eq!(kept(&house).1, set);

    // A new value keeps the mark of its header, and the mark can be taken away.
    let change = json!({ "headers": { "x-team": "support", "X-Crm": "another" } });
    assert_eq!(
        house.patch(&path, change).await.json()["headers"],
        json!({ "x-team": "support", "X-Crm": "***" })
    );
    let change = json!({ "headers": { "x-team": { "value": "support", "plain": false }, "X-Crm": "***" } });
    assert_eq!(
        house.patch(&path, change).await.json()["headers"],
        json!({ "x-team": "***", "X-Crm": "***" })
    );
    assert_eq!(kept(&house).1, pairs(&[("x-team", "support"), ("X-Crm", "another")]));

    // Who cannot say a value does not get it shown; what is not there cannot be meant.
    for wrong in [
        json!({ "X-Crm": { "value": "***", "plain": true } }),
        json!({ "X-New": "***" }),
        json!({ "X-New": { "value": "***" } }),
    ] {
        let reply = house.patch(&path, json!({ "headers": wrong })).await;
        let (status, _, fields) = reply.problem();
        assert_eq!((status, fields.len()), (422, 1), "{reply:?}");
        assert!(fields[0].ends_with(" hidden_value"), "{fields:?}");
    }
    for wrong in [
        json!({ "X-A": { "plain": true } }),
        json!({ "X-A": { "value": "a", "color": 1 } }),
        json!({ "X-A": ["a"] }),
    ] {
        let reply = house.patch(&path, json!({ "headers": wrong })).await;
        assert_eq!(reply.problem().2, ["headers.X-A wrong_type"]);
    }
    assert_eq!(kept(&house).1, pairs(&[("x-team", "support"), ("X-Crm", "another")]));
}

#[tokio::test]
async fn values_in_the_query_of_a_url_are_shown_to_who_sets_them_alone() {
    let house = House::open().await;
    let made = house.post("/v1/endpoints", json!({ "url": URL, "dialect": "cllr" })).await.json();
    assert_eq!(made["url"], URL, "who has just set it sees what is set");
    let path = format!("/v1/endpoints/{}", made["id"].as_str().unwrap());
    for (name, answer) in [
        ("read", house.get(&path).await),
        ("list", house.get("/v1/endpoints").await),
        ("change of another field", house.patch(&path, json!({ "ordered": false })).await),
        ("sent back as shown", house.patch(&path, json!({ "url": SHOWN, "ordered": true })).await),
        ("disable", house.post(&format!("{path}/disable"), Value::Null).await),
        ("enable", house.post(&format!("{path}/enable"), Value::Null).await),
        ("rotate", house.post(&format!("{path}/test"), Value::Null).await),
        ("reconciliation", house.get("/v1/reconciliation").await),
    ] {
        assert_eq!(answer.status, 200, "{name}: {answer:?}");
        assert!(!answer.text().contains("s3cret") && !answer.text().contains("blue"), "{name}: {answer:?}");
    }
    assert_eq!(house.get(&path).await.json()["url"], SHOWN);
    assert_eq!(kept(&house).0, URL, "what was shown and came back is unchanged");

    let elsewhere = SHOWN.replace("crm.example", "other.example");
    let refused = house.patch(&path, json!({ "url": elsewhere })).await;
    assert_eq!(refused.problem(), (422, "invalid_request".to_owned(), vec!["url url_refused".to_owned()]));
    let moved = house.patch(&path, json!({ "url": "https://other.example/?k=v" })).await.json();
    assert_eq!(moved["url"], "https://other.example/?k=v");
}

#[tokio::test]
async fn an_agents_post_call_is_shown_like_the_endpoint_that_it_is() {
    let house = House::open().await;
    let made =
        house.post("/v1/agents", json!({ "agent_id": "ann", "webhooks": { "postCall": URL } })).await.json();
    assert_eq!(made["webhooks"]["postCall"], URL);
    for answer in
        [house.get("/v1/agents/ann").await.json(), house.get("/v1/agents").await.json()["data"][0].clone()]
    {
        assert_eq!(answer["webhooks"]["postCall"], SHOWN);
    }
    let back = house
        .patch("/v1/agents/ann", json!({ "webhooks": { "postCall": SHOWN }, "name": "Ann" }))
        .await
        .json();
    assert_eq!((&back["webhooks"]["postCall"], &back["name"]), (&json!(SHOWN), &json!("Ann")));
    assert_eq!(kept(&house).0, URL);
}
