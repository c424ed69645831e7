//! One account sees nothing of another, on any route: an id of somebody else's is as absent as one that never was.

use postcall::model::AccountKey;
use postcall::model::id::{self, Kind};
use serde_json::{Value, json};

use crate::api_rig::{House, cllr_body};

/// The operations that the OpenAPI document knows.
async fn operations(house: &House) -> Vec<(String, String)> {
    let document = house.send("GET", "/openapi.json", &[], b"").await.json();
    let mut all = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        all.extend(
            item.as_object().unwrap().keys().map(|method| (method.to_ascii_uppercase(), path.clone())),
        );
    }
    all
}

fn kind_of(path: &str) -> Kind {
    match path.split('/').nth(2).unwrap() {
        "sources" => Kind::Source,
        "endpoints" => Kind::Endpoint,
        "calls" => Kind::Call,
        "deliveries" => Kind::Delivery,
        "quarantine" => Kind::Quarantined,
        "keys" => Kind::ApiKey,
        "erasures" => Kind::Erasure,
        "batches" => Kind::Batch,
        "replays" => Kind::Replay,
        other => panic!("whose ids does {other} have?"),
    }
}

/// Bodies that would be fine on something of one's own.
fn body_of(method: &str, path: &str) -> Value {
    match method {
        "PATCH" if path.contains("sources") => json!({ "name": "stolen" }),
        "PATCH" => json!({ "url": "https://thief.example" }),
        "POST" => json!({}),
        _ => Value::Null,
    }
}

/// Gives a batch; its id.
async fn give(house: &House, key: &str) -> String {
    let body = json!({ "contacts": [{ "phone": "+15550100", "name": "private person" }] });
    let made = house.call(key, "POST", "/v1/batches", &body).await;
    assert_eq!(made.status, 202, "{made:?}");
    made.json()["id"].as_str().unwrap().to_owned()
}

/// Fills an account with one of everything, number 1 each.
async fn furnish(house: &House, key: &str) {
    let source = house.source(key, "cllr").await;
    house.endpoint(key, "standard").await;
    give(house, key).await;
    assert_eq!(house.bring(&source, &cllr_body("private-call")).await.status, 200);
    assert_eq!(house.bring(&source, b"private nonsense").await.status, 200);
    let nobody = json!({ "phone": "+1 555 999 9999" });
    assert_eq!(house.call(key, "POST", "/v1/erasures", &nobody).await.status, 202);
    let replay = json!({ "call_id": "private-call" });
    assert_eq!(house.call(key, "POST", "/v1/replays", &replay).await.status, 202);
}

/// All that an account can see of itself.
async fn everything(house: &House, key: &str) -> String {
    let mut all = String::new();
    for path in [
        "account",
        "sources",
        "endpoints",
        "calls",
        "events",
        "deliveries",
        "replays",
        "quarantine",
        "erasures",
        "batches",
        "reconciliation",
        "analytics",
        "campaigns",
        "agents",
    ] {
        let reply = house.call(key, "GET", &format!("/v1/{path}"), &Value::Null).await;
        assert_eq!(reply.status, 200);
        all.push_str(reply.text());
    }
    // When a key was last used is written down behind the requests that used it.
    let mut keys = house.call(key, "GET", "/v1/keys", &Value::Null).await.json();
    for key in keys["data"].as_array_mut().unwrap() {
        key["last_used_at"].take();
    }
    all + &keys.to_string()
}

#[tokio::test]
async fn every_route_hides_what_is_anothers() {
    let house = House::open().await;
    furnish(&house, &house.key).await;
    let thief = house.tenant("thief").await;
    let victim = house.tenant("victim").await;
    furnish(&house, &victim).await;
    let tag = |number| house.store.config(AccountKey(number)).unwrap().account.tag;
    let (thiefs, victims) = (tag(2), tag(3));
    let before = (everything(&house, &house.key).await, everything(&house, &victim).await);
    let own = everything(&house, &thief).await;

    let mut tried = 0;
    for (method, path) in operations(&house).await {
        // Campaigns and agents go by the vendor's ids, which say nothing of whose they are: see `api_books`.
        let is_vendors = path.starts_with("/v1/campaigns") || path.starts_with("/v1/agents");
        // Accounts are for admin keys alone: see `api_limits` and `api_rights`.
        let is_admins = path.starts_with("/v1/accounts");
        if !path.starts_with("/v1/") || !path.contains("{id}") || is_vendors || is_admins {
            continue;
        }
        let kind = kind_of(&path);
        let body = body_of(&method, &path);
        let ask = async |id: String| house.call(&thief, &method, &path.replace("{id}", &id), &body).await;
        let absent = ask(id::format(kind, thiefs, 999)).await;
        assert_eq!(absent.problem().0, 404, "{method} {path}: {absent:?}");
        let mut others = vec![
            id::format(kind, tag(1), 1),
            id::format(kind, victims, 1),
            // The thief's own mark with a number that reaches into the next account's keys.
            id::format(kind, thiefs, (1 << 40) | 1),
        ];
        if kind == Kind::Call {
            others.push("private-call".to_owned());
        }
        for other in others {
            let reply = ask(other.clone()).await;
            assert_eq!(reply.text(), absent.text(), "{method} {path} {other}");
        }
        tried += 1;
    }
    assert!(tried >= 20, "{tried} routes with ids");

    for query in [
        format!("/v1/deliveries?endpoint_id={}", id::format(Kind::Endpoint, victims, 1)),
        format!("/v1/deliveries?event_id={}", id::format(Kind::Event, victims, 1)),
        format!("/v1/deliveries?event_id={}", id::format(Kind::Event, thiefs, 1)),
        format!("/v1/deliveries?call_id={}", id::format(Kind::Call, victims, 1)),
        "/v1/deliveries?call_id=private-call".to_owned(),
        "/v1/calls?call_id=private-call".to_owned(),
    ] {
        let reply = house.call(&thief, "GET", &query, &Value::Null).await;
        assert_eq!(reply.json(), json!({ "data": [], "next_cursor": null }), "{query}");
    }
    let after = format!("/v1/events?after={}", id::format(Kind::Event, victims, 1));
    assert_eq!(house.call(&thief, "GET", &after, &Value::Null).await.problem().1, "bad_cursor");

    assert_eq!(
        (everything(&house, &house.key).await, everything(&house, &victim).await),
        before,
        "nothing moved"
    );
    assert_eq!(everything(&house, &thief).await, own);
    for private in ["private-call", "private nonsense", "private person"] {
        assert!(!own.contains(private));
    }
}

#[tokio::test]
async fn every_keyed_route_wants_a_key() {
    let house = House::open().await;
    // Wrong keys are not limited where a right one came from.
    assert_eq!(house.get("/v1/account").await.status, 200);
    let mut tried = 0;
    for (method, path) in operations(&house).await.into_iter().filter(|(_, path)| path.starts_with("/v1/")) {
        let path = path.replace("{id}", "call_1");
        for headers in [vec![], vec![("Authorization", "Bearer pck_none")], vec![("Cookie", "session=1")]] {
            let reply = house.send(&method, &path, &headers, b"").await;
            assert_eq!(reply.problem(), (401, "unauthorized".to_owned(), vec![]), "{method} {path}");
            assert_eq!(reply.header("www-authenticate"), Some("Bearer"));
        }
        tried += 1;
    }
    assert!(tried >= 30, "{tried} routes");
}

#[tokio::test]
async fn the_document_and_the_reader_know_the_same_fields() {
    let house = House::open().await;
    let document = house.send("GET", "/openapi.json", &[], b"").await.json();
    let source = house.source(&house.key, "standard").await;
    let endpoint = house.endpoint(&house.key, "standard").await;
    let batch = give(&house, &house.key).await;
    // Of the form itself; what stands in an object of it has a dot.
    let is_unknown = |wrong: &str| wrong.ends_with("unknown_field") && !wrong.contains('.');
    let account = house.get("/v1/account").await.json();
    house.post("/v1/agents", json!({ "agent_id": "ann" })).await;
    house.post("/v1/campaigns", json!({ "campaign_id": "march" })).await;
    let mut tried = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        let path = match path.split('/').nth(2) {
            Some("agents") => path.replace("{id}", "ann"),
            Some("campaigns") => path.replace("{id}", "march"),
            Some("sources") => path.replace("{id}", source["id"].as_str().unwrap()),
            Some("batches") => path.replace("{id}", &batch),
            Some("accounts") => path.replace("{id}", account["id"].as_str().unwrap()),
            _ => path.replace("{id}", endpoint["id"].as_str().unwrap()),
        };
        for (method, operation) in item.as_object().unwrap() {
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"].to_string();
            let Some((_, name)) = schema.split_once("#/components/schemas/") else { continue };
            let name = name.split('"').next().unwrap();
            let fields = document["components"]["schemas"][name]["properties"].as_object().unwrap();
            // A value that no field takes, so that nothing happens but an answer that names every field.
            let body: Value = fields.keys().map(|field| (field.clone(), json!({ "x": {} }))).collect();
            let mut body = body;
            body["surely_unknown"] = json!(1);
            let reply = house.call(&house.key, &method.to_ascii_uppercase(), &path, &body).await;
            let unknown: Vec<String> =
                reply.problem().2.into_iter().filter(|wrong| is_unknown(wrong)).collect();
            assert_eq!(unknown, ["surely_unknown unknown_field"], "{method} {path}");
            let known = reply.json()["errors"].to_string();
            if let Some((_, list)) = known.split_once("known are: ") {
                let mut read: Vec<&str> = list.split('.').next().unwrap().split(", ").collect();
                let mut documented: Vec<&str> = fields.keys().map(String::as_str).collect();
                read.sort_unstable();
                documented.sort_unstable();
                assert_eq!(read, documented, "{method} {path}");
            }
            tried += 1;
        }
    }
    assert!(tried >= 9, "{tried} forms");
}
