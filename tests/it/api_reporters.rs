//! Who may report on a batch: what any other source of the account says of it counts for nothing there, whatever it
//! guesses. It is recorded and delivered all the same.

use std::time::Duration;

use postcall::clock::{Clock, System};
use serde_json::{Value, json};

use crate::api_rig::{House, Reply};

async fn chores(house: &House) {
    while house.store.maintain(System.now()).await.unwrap().more {}
}

async fn post(house: &House, path: &str, body: Value) -> Value {
    let made = house.post(path, body).await;
    assert!((200..300).contains(&made.status), "{made:?}");
    made.json()
}

async fn standard_source(house: &House, name: &str) -> Value {
    post(house, "/v1/sources", json!({ "name": name, "dialect": "standard", "secret": null })).await
}

fn contacts() -> Value {
    json!([{ "phone": "+15550100", "id": "c-1" }, { "phone": "+15550101", "id": "c-2" }])
}

/// What a Dialgen dialer says of a call.
async fn dialgen_call(house: &House, source: &Value, call: &str, more: Value) -> Reply {
    let mut data = json!({ "id": call, "status": "COMPLETED", "duration": 600 });
    data.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let answer = house.bring(source, json!({ "callData": data }).to_string().as_bytes()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer
}

/// An event in our own dialect, which has a place for everything.
async fn tell(house: &House, source: &Value, kind: &str, data: Value) -> Reply {
    let body = json!({ "type": kind, "timestamp": "2026-01-01T00:00:00Z", "data": data }).to_string();
    let answer = house.bring(source, body.as_bytes()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer
}

async fn list(house: &House, path: &str) -> Vec<Value> {
    let listed = house.get(path).await;
    assert_eq!(listed.status, 200, "{listed:?}");
    listed.json()["data"].as_array().unwrap().clone()
}

/// The counts that the API shows of a batch, of what was heard of it, and of what the account has used up.
async fn standing(house: &House, batch: &str) -> Value {
    let shown = house.get(&format!("/v1/batches/{batch}")).await.json();
    let numbers = house.get(&format!("/v1/analytics?batch_id={batch}")).await.json();
    let account = house.get("/v1/account").await.json();
    json!({
        "status": shown["status"], "started_at": shown["started_at"], "processed": shown["statistics"]["processed"],
        "calls": list(house, &format!("/v1/batches/{batch}/calls")).await.len(),
        "analytics": numbers["total"]["calls"], "minutes": account["call_minutes"],
    })
}

#[tokio::test]
async fn a_source_that_a_batch_does_not_name_counts_for_nothing_of_it() {
    let house = House::open().await;
    let [mine, stranger] =
        [house.source(&house.key, "dialgen").await, house.source(&house.key, "dialgen").await];
    let other = standard_source(&house, "another stranger").await;
    house.patch("/v1/account", json!({ "call_minutes": 500 })).await;
    let asked = json!({
        "contacts": contacts(), "source_ids": [mine["id"], mine["id"]], "lost_after_minutes": 60,
        "webhooks": { "on_call_complete": "https://crm.example/call", "on_batch_failed": "https://crm.example/failed" },
    });
    let batch = post(&house, "/v1/batches", asked).await;
    let id = batch["id"].as_str().unwrap();
    assert_eq!((&batch["source_ids"], &batch["source_dialect"]), (&json!([mine["id"]]), &Value::Null));
    let scoped = json!({ "url": "https://crm.example/all", "dialect": "standard", "batch_id": id, "events": ["call.ended", "batch.failed"] });
    let scoped = post(&house, "/v1/endpoints", scoped).await;
    let everything = house.endpoint(&house.key, "standard").await;

    // Before the contacts are taken in, and after.
    dialgen_call(&house, &stranger, "s-0", json!({ "batchId": id, "phoneNumber": "+15550100" })).await;
    chores(&house).await;
    let contact = list(&house, &format!("/v1/batches/{id}/contacts")).await.remove(1);
    let untouched = standing(&house, id).await;
    for (call, says) in [
        ("s-1", json!({ "batchId": id, "phoneNumber": "+15550100" })),
        ("s-2", json!({ "batchId": id, "contactId": "c-2" })),
        ("s-3", json!({ "contactId": contact["id"], "phoneNumber": "+15550101" })),
        (contact["id"].as_str().unwrap(), json!({ "phoneNumber": "+15550101" })),
    ] {
        dialgen_call(&house, &stranger, call, says).await;
    }
    let of_campaign = json!({ "call_id": "s-4", "outcome": "completed", "campaign": { "id": id },
                              "claimed_batch_id": "bat_of_another_postcall",
                              "contact": { "phone": "+15550100" }, "duration_seconds": 600 });
    tell(&house, &other, "call.ended", of_campaign).await;
    for (kind, source) in [("batch.failed", &other), ("batch.completed", &other)] {
        let answer =
            tell(&house, source, kind, json!({ "batch_id": id, "error": "gone", "code": "GONE" })).await;
        assert_eq!(answer.json()["duplicate"], true, "{answer:?}");
    }
    chores(&house).await;
    let now = standing(&house, id).await;
    assert_eq!(now, untouched);
    assert_eq!(
        now,
        json!({ "status": "pending", "started_at": null, "processed": 0, "calls": 0, "analytics": 0, "minutes": 500 })
    );
    let open = list(&house, &format!("/v1/batches/{id}/contacts?state=open")).await;
    assert_eq!(open.iter().map(|contact| contact["calls"].as_i64().unwrap()).collect::<Vec<_>>(), [0, 0]);

    // All of it is recorded and delivered, with the batch as what it claimed.
    for call in ["s-0", "s-1", "s-2", "s-3", contact["id"].as_str().unwrap(), "s-4"] {
        let shown = house.get(&format!("/v1/calls/{call}")).await.json();
        assert_eq!((&shown["claimed_batch_id"], &shown["batch_id"]), (&json!(id), &Value::Null), "{shown}");
        assert_eq!(shown["campaign"]["id"], Value::Null, "{shown}");
    }
    let chained = house.get("/v1/calls/s-4").await.json();
    assert_eq!(chained["metadata"]["data.claimed_batch_id"], "bat_of_another_postcall", "its word, not ours");
    let deliveries = async |endpoint: &Value| {
        list(&house, &format!("/v1/deliveries?endpoint_id={}&limit=100", endpoint.as_str().unwrap())).await
    };
    let of_calls =
        deliveries(&everything["id"]).await.into_iter().filter(|one| one["event_type"] == "call.ended");
    assert_eq!(of_calls.count(), 6);
    for endpoint in batch["endpoint_ids"].as_array().unwrap().iter().chain([&scoped["id"]]) {
        assert_eq!(deliveries(endpoint).await, Vec::<Value>::new());
    }

    // The one that is named goes on as ever, with no more than the batch and a number.
    for (call, phone) in [("m-1", "+15550100"), ("m-2", "+15550101")] {
        dialgen_call(&house, &mine, call, json!({ "batchId": id, "phoneNumber": phone })).await;
    }
    let done = standing(&house, id).await;
    assert_eq!(
        (&done["status"], &done["processed"], &done["analytics"]),
        (&json!("completed"), &json!(2), &json!(2))
    );
    assert_eq!((deliveries(&scoped["id"]).await.len(), &done["minutes"]), (2, &json!(480)));

    // What is said of a call later changes nothing either.
    let before = standing(&house, id).await;
    let update = json!({ "batchId": id, "phoneNumber": "+15550100", "summary": "More of it." });
    dialgen_call(&house, &stranger, "s-1", update).await;
    assert_eq!(standing(&house, id).await, before);
    assert_eq!(deliveries(&scoped["id"]).await.len(), 2);
}

#[tokio::test]
async fn a_batch_in_dialgens_shape_hears_dialgen_sources_whenever_they_were_made() {
    let house = House::open().await;
    let other = standard_source(&house, "something else").await;
    let body = json!({ "contacts": [{ "phoneNumber": "+15550100" }, { "phoneNumber": "+15550101" }],
                       "options": { "retryStrategy": { "maxAttempts": 1 } } });
    let made = post(&house, "/api/v1/batch", body).await;
    let id = made["batchId"].as_str().unwrap();
    chores(&house).await;
    let says = |call: &str| json!({ "call_id": call, "outcome": "completed", "batch_id": id, "contact": { "phone": "+15550100" } });
    tell(&house, &other, "call.ended", says("x-1")).await;
    assert_eq!(standing(&house, id).await["processed"], 0);
    let later = house.source(&house.key, "dialgen").await;
    dialgen_call(&house, &later, "d-1", json!({ "batchId": id, "phoneNumber": "+15550100" })).await;
    assert_eq!(standing(&house, id).await["processed"], 1);
    let check = house.get(&format!("/api/v1/batch/check-status?batchId={id}")).await.json();
    assert_eq!((&check["sourceDialect"], check.get("sourceIds")), (&json!("dialgen"), None));

    // Named, it may be of any dialect, under both spellings.
    for name in ["sourceIds", "source_ids"] {
        let body = json!({ "contacts": [{ "phoneNumber": "+15550100" }], name: [other["id"]] });
        let made = post(&house, "/api/v1/batch", body).await;
        let id = made["batchId"].as_str().unwrap();
        chores(&house).await;
        dialgen_call(&house, &later, name, json!({ "batchId": id, "phoneNumber": "+15550100" })).await;
        assert_eq!(standing(&house, id).await["processed"], 0);
        let data = json!({ "call_id": name, "outcome": "completed", "batch_id": id, "contact": { "phone": "+15550100" } });
        tell(&house, &other, "call.ended", data).await;
        assert_eq!(standing(&house, id).await["processed"], 1);
        let check = house.get(&format!("/api/v1/batch/check-status?batchId={id}")).await.json();
        assert_eq!(check["sourceIds"], json!([other["id"]]));
    }
    // In our shape every source may, unless it says otherwise.
    let batch = post(&house, "/v1/batches", json!({ "contacts": contacts() })).await;
    assert_eq!((&batch["source_ids"], &batch["source_dialect"]), (&Value::Null, &Value::Null));
}

/// Numbers of batches are handed out in a row, so the next one can be named before there is such a batch.
#[tokio::test]
async fn a_batch_that_is_yet_to_come_is_a_claim_too() {
    let house = House::open().await;
    let [mine, stranger] =
        [house.source(&house.key, "dialgen").await, house.source(&house.key, "dialgen").await];
    let first = post(&house, "/v1/batches", json!({ "contacts": contacts() })).await;
    let first = first["id"].as_str().unwrap();
    assert!(first.ends_with('1'), "the first of the account: {first}");
    let next = format!("{}2", first.strip_suffix('1').unwrap());
    dialgen_call(&house, &stranger, "s-1", json!({ "batchId": next, "phoneNumber": "+15550100" })).await;
    let failed =
        json!({ "event": "batch.failed", "batchId": next, "error": "gone", "code": "GONE" }).to_string();
    assert_eq!(house.bring(&stranger, failed.as_bytes()).await.status, 200);
    let events = list(&house, "/v1/events?limit=100").await;
    assert!(events.iter().all(|event| event["type"] != "batch.failed"), "{events:?}");

    let asked = json!({ "contacts": contacts(), "source_ids": [mine["id"]],
                        "webhooks": { "on_call_complete": "https://crm.example/call" } });
    let batch = post(&house, "/v1/batches", asked).await;
    assert_eq!(batch["id"], next.as_str());
    chores(&house).await;
    let late = json!({ "phoneNumber": "+15550100", "summary": "It goes on." });
    dialgen_call(&house, &stranger, "s-1", late).await;
    let now = standing(&house, &next).await;
    assert_eq!((&now["processed"], &now["calls"], &now["analytics"]), (&json!(0), &json!(0), &json!(0)));
    let endpoint = batch["endpoint_ids"][0].as_str().unwrap();
    assert_eq!(list(&house, &format!("/v1/deliveries?endpoint_id={endpoint}")).await, Vec::<Value>::new());
}

#[tokio::test]
async fn sources_that_a_batch_cannot_name_are_refused_one_by_one() {
    let house = House::open().await;
    let mine = house.source(&house.key, "dialgen").await;
    let gone = house.source(&house.key, "dialgen").await;
    let theirs = house.source(&house.tenant("other").await, "dialgen").await;
    let path = format!("/v1/sources/{}", gone["id"].as_str().unwrap());
    assert_eq!(house.delete(&path).await.status, 204);
    let too_many = vec![mine["id"].clone(); 101];
    for (given, wrong) in [
        (json!([]), vec!["source_ids out_of_range"]),
        (json!(too_many), vec!["source_ids too_many"]),
        (json!("src_1"), vec!["source_ids wrong_type"]),
        (
            json!([mine["id"], theirs["id"], gone["id"], 7, "ep_x"]),
            vec![
                "source_ids[1] no_such_source",
                "source_ids[2] no_such_source",
                "source_ids[3] no_such_source",
                "source_ids[4] no_such_source",
            ],
        ),
    ] {
        let body = json!({ "contacts": contacts(), "source_ids": given });
        let (status, _, fields) = house.post("/v1/batches", body).await.problem();
        assert_eq!((status, fields), (422, wrong.into_iter().map(str::to_owned).collect::<Vec<_>>()));
    }
    assert_eq!(list(&house, "/v1/batches").await, Vec::<Value>::new(), "nothing is made");
}

/// An account that moves takes along who may report, under the ids that its sources have there.
#[tokio::test]
async fn who_may_report_moves_with_the_batch() {
    let house = House::open().await;
    let [mine, _stranger] =
        [house.source(&house.key, "dialgen").await, house.source(&house.key, "dialgen").await];
    let listed =
        post(&house, "/v1/batches", json!({ "contacts": contacts(), "source_ids": [mine["id"]] })).await;
    let body = json!({ "contacts": [{ "phoneNumber": "+15550100" }] });
    let of_dialect = post(&house, "/api/v1/batch", body).await;
    chores(&house).await;
    let export = house.get("/v1/export?secrets=clear").await;
    assert_eq!(export.status, 200);
    let lines = String::from_utf8(dechunked(&export.body)).unwrap();
    assert!(lines.contains(&format!(r#""source_ids":["{}"]"#, mine["id"].as_str().unwrap())), "{lines}");

    let tenant = house.tenant("new house").await;
    let bearer = format!("Bearer {tenant}");
    let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/x-ndjson")];
    let taken = house.send("POST", "/v1/import", &headers, lines.as_bytes()).await;
    assert_eq!(taken.status, 200, "{taken:?}");
    let sources = house.call(&tenant, "GET", "/v1/sources", &Value::Null).await.json();
    let ids: Vec<&str> =
        sources["data"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect();
    assert!(!ids.contains(&mine["id"].as_str().unwrap()), "the mark is another one");
    let number = |id: &Value| id.as_str().unwrap()[12..].to_owned();
    let there = house.call(&tenant, "GET", "/v1/batches", &Value::Null).await.json();
    let there = |old: &Value| {
        let all = there["data"].as_array().unwrap().iter();
        all.clone().find(|one| number(&one["id"]) == number(old)).unwrap().clone()
    };
    let moved = there(&listed["id"]);
    let mine_there = moved["source_ids"][0].as_str().unwrap();
    assert!(
        ids.contains(&mine_there) && mine_there.ends_with(&mine["id"].as_str().unwrap()[12..]),
        "{moved}"
    );
    assert_eq!(there(&of_dialect["batchId"])["source_dialect"], "dialgen");
    // The exported stranger, by its secret in the new house, with the id that the batch had in the old one.
    let url = |id: &str| json!({ "url": format!("https://calls.example/in/{id}"), "dialect": "dialgen" });
    for (id, processed) in [(ids.iter().find(|id| **id != mine_there).unwrap(), 0), (&mine_there, 1)] {
        let rotated =
            house.call(&tenant, "POST", &format!("/v1/sources/{id}/rotate-secret"), &json!({})).await.json();
        let mut source = url(id);
        source["secret"] = rotated["secret"].clone();
        dialgen_call(
            &house,
            &source,
            "moved",
            json!({ "batchId": listed["id"], "phoneNumber": "+15550100" }),
        )
        .await;
        let path = format!("/v1/batches/{}", moved["id"].as_str().unwrap());
        let shown = house.call(&tenant, "GET", &path, &Value::Null).await.json();
        assert_eq!(shown["statistics"]["processed"], processed, "{id}");
    }
}

/// The bytes of a body that came in chunks.
fn dechunked(body: &[u8]) -> Vec<u8> {
    let (mut rest, mut out) = (body, Vec::new());
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n").expect("the length of a chunk");
        let length = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap().trim(), 16).unwrap();
        if length == 0 {
            return out;
        }
        out.extend_from_slice(&rest[end + 2..end + 2 + length]);
        rest = &rest[end + 2 + length + 2..];
    }
}

/// Nobody waits for the end of a stranger's call longer than its own source says.
#[tokio::test]
async fn the_watchdog_of_a_batch_does_not_look_after_a_strangers_call() {
    let house = House::open().await;
    let [mine, stranger] =
        [house.source(&house.key, "dialgen").await, house.source(&house.key, "dialgen").await];
    let asked = json!({ "contacts": contacts(), "source_ids": [mine["id"]], "lost_after_minutes": 30 });
    let batch = post(&house, "/v1/batches", asked).await;
    let id = batch["id"].as_str().unwrap();
    chores(&house).await;
    for (source, call) in [(&stranger, "s-1"), (&mine, "m-1")] {
        let data = json!({ "id": call, "status": "ONGOING", "batchId": id, "phoneNumber": "+15550100" });
        house.bring(source, json!({ "callData": data }).to_string().as_bytes()).await;
    }
    let then = System.now().after(Duration::from_secs(31 * 60));
    while house.store.maintain(then).await.unwrap().more {}
    let outcome = async |call: &str| house.get(&format!("/v1/calls/{call}")).await.json()["outcome"].clone();
    assert_eq!((outcome("m-1").await, outcome("s-1").await), (json!("lost"), Value::Null));
}
