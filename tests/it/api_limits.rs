//! How much an account may have: set by admins alone, kept to whoever asks at the same time and by whatever way.

use serde_json::{Value, json};

use crate::api_rig::House;

fn endpoint(number: usize) -> Value {
    json!({"url": format!("https://crm.example/{number}"), "dialect": "standard"})
}

/// The id of the account that a key opens.
async fn account(house: &House, key: &str) -> String {
    house.call(key, "GET", "/v1/account", &Value::Null).await.json()["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn limits_are_set_by_admins_alone() {
    let house = House::open().await;
    let key = house.tenant("acme").await;
    let path = format!("/v1/accounts/{}", account(&house, &key).await);
    let shown = house.call(&key, "GET", "/v1/account", &Value::Null).await.json();
    for (name, usual) in [("endpoint_limit", 1000), ("source_limit", 1000), ("key_limit", 1000)] {
        assert_eq!(shown[name], usual, "{name}");
        let wish = json!({ name: 5000 });
        assert_eq!(house.call(&key, "PATCH", &path, &wish).await.problem().0, 403);
        assert_eq!(house.call(&key, "PATCH", "/v1/account", &wish).await.problem().0, 422);
        let set = house.patch(&path, json!({ name: 7 })).await;
        assert_eq!((set.status, &set.json()[name]), (200, &json!(7)));
        let own = house.call(&key, "GET", "/v1/account", &Value::Null).await.json();
        assert_eq!(own[name], 7);
        let back = house.patch(&path, json!({ name: null })).await.json();
        assert_eq!(back[name], usual);
        for wrong in [json!(-1), json!(1.5), json!(1_000_001), json!("7")] {
            assert_eq!(house.patch(&path, json!({ name: wrong })).await.problem().0, 422);
        }
    }
    assert_eq!(house.patch("/v1/accounts/acc_nobody", json!({})).await.problem().0, 404);
}

#[tokio::test]
async fn an_account_has_as_many_of_each_as_it_may() {
    let house = House::open().await;
    let key = house.tenant("acme").await;
    let path = format!("/v1/accounts/{}", account(&house, &key).await);
    let limits = json!({"endpoint_limit": 5, "source_limit": 2, "key_limit": 3});
    assert_eq!(house.patch(&path, limits).await.status, 200);

    // Twenty at a time: none slips through.
    let (house, key) = (&house, &key);
    let asked = (0..20)
        .map(|number| async move { house.call(key, "POST", "/v1/endpoints", &endpoint(number)).await });
    let answers = futures_util::future::join_all(asked).await;
    let made: Vec<Value> = answers.iter().filter(|answer| answer.status == 201).map(|it| it.json()).collect();
    assert_eq!(made.len(), 5);
    for refused in answers.iter().filter(|answer| answer.status != 201) {
        assert_eq!(refused.problem().0, 409);
        let problem = refused.json();
        assert_eq!(problem["code"], "endpoint_limit_reached");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("may have 5 endpoints") && detail.contains("endpoint_limit"), "{detail}");
    }
    // What a batch brings along is not counted, and an endpoint may be changed however many there are.
    let batch = json!({"webhooks": {"on_batch_complete": "https://crm.example/1"}, "contacts": [{"phone": "+15551234567"}]});
    let batch = house.call(key, "POST", "/v1/batches", &batch).await;
    assert!(batch.status < 300, "{batch:?}");
    let first = format!("/v1/endpoints/{}", made[0]["id"].as_str().unwrap());
    assert_eq!(house.call(key, "PATCH", &first, &json!({"completed_only": true})).await.status, 200);
    // An agent's webhook is an endpoint too.
    let agent = json!({"webhooks": {"postCall": "https://crm.example/agent"}});
    assert_eq!(house.call(key, "PUT", "/agents/a-1", &agent).await.problem().0, 409);
    // One goes, one comes.
    assert_eq!(house.call(key, "DELETE", &first, &Value::Null).await.status, 204);
    assert_eq!(house.call(key, "POST", "/v1/endpoints", &endpoint(77)).await.status, 201);
    assert_eq!(house.call(key, "POST", "/v1/endpoints", &endpoint(78)).await.status, 409);

    let source = json!({"name": "dialer", "dialect": "cllr"});
    for expected in [201, 201, 409] {
        assert_eq!(house.call(key, "POST", "/v1/sources", &source).await.status, expected);
    }
    let another = json!({"name": "another"});
    for expected in [201, 201, 409] {
        assert_eq!(house.call(key, "POST", "/v1/keys", &another).await.status, expected);
    }
    // Nobody else is concerned.
    assert_eq!(house.post("/v1/endpoints", endpoint(1)).await.status, 201);
}

#[tokio::test]
async fn a_second_endpoint_of_the_same_url_is_warned_about() {
    let house = House::open().await;
    let first = house.post("/v1/endpoints", endpoint(1)).await.json();
    assert_eq!(first.get("warning"), None);
    let second = house.post("/v1/endpoints", endpoint(1)).await;
    assert_eq!(second.status, 201, "it is allowed");
    let second = second.json();
    let warning = second["warning"].as_str().unwrap();
    assert!(warning.contains(first["id"].as_str().unwrap()) && warning.contains("twice"), "{warning}");
    let path = format!("/v1/endpoints/{}", second["id"].as_str().unwrap());
    let changed = house.patch(&path, json!({"url": "http://crm.example/2"})).await.json();
    assert!(changed["warning"].as_str().unwrap().contains("This URL is http"), "{changed}");
    let changed = house.patch(&path, json!({"url": "https://crm.example/1"})).await.json();
    assert!(changed["warning"].as_str().unwrap().contains("the same URL"), "{changed}");
    // What a batch brings along is neither warned about nor a reason to warn.
    let batch = json!({"webhooks": {"on_batch_complete": "https://crm.example/3"}, "contacts": [{"phone": "+15551234567"}]});
    assert!(house.post("/v1/batches", batch).await.status < 300);
    assert_eq!(house.post("/v1/endpoints", endpoint(3)).await.json().get("warning"), None);
}

#[tokio::test]
async fn an_import_brings_no_more_than_an_account_may_have() {
    let house = House::open().await;
    for number in 0..3 {
        assert_eq!(house.post("/v1/endpoints", endpoint(number)).await.status, 201);
    }
    let exported = house.get("/v1/export?secrets=clear").await;
    let key = house.tenant("acme").await;
    let path = format!("/v1/accounts/{}", account(&house, &key).await);
    assert_eq!(house.patch(&path, json!({"endpoint_limit": 2})).await.status, 200);
    let bearer = format!("Bearer {key}");
    let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/x-ndjson")];
    let import = async || house.send("POST", "/v1/import", &headers, &exported.body).await;
    let imported = String::from_utf8(import().await.body).unwrap();
    assert!(imported.contains("endpoint_limit_reached"), "{imported}");
    let count = || async {
        let listed = house.call(&key, "GET", "/v1/endpoints", &Value::Null).await.json();
        listed["data"].as_array().unwrap().len()
    };
    assert_eq!(count().await, 2);
    // Once an admin lets it have more, the same lines bring the rest.
    assert_eq!(house.patch(&path, json!({"endpoint_limit": null})).await.status, 200);
    let imported = String::from_utf8(import().await.body).unwrap();
    assert!(!imported.contains("endpoint_limit_reached"), "{imported}");
    assert_eq!(count().await, 3);
}
