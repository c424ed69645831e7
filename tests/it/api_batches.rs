//! Batches through the public door: given in both shapes, taken in in steps, called, completed once, failed, cancelled,
//! out of call minutes, given up by the watchdog. Bad input is answered with what is wrong and makes nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use postcall::clock::{Clock, System};
use postcall::model::{AccountKey, Time};
use serde_json::{Value, json};

use crate::api_rig::{House, Reply};
use crate::harness;

const MINUTE: Duration = Duration::from_secs(60);

/// Does all chores as if it were then.
async fn chores(house: &House, then: Time) {
    while house.store.maintain(then).await.unwrap().more {}
}

fn phone(number: usize) -> String {
    format!("+1555{number:07}")
}

fn contacts(count: usize) -> Value {
    (0..count).map(|number| json!({ "phone": phone(number), "id": format!("c{number}") })).collect()
}

/// Gives a batch and takes it in.
async fn batch(house: &House, mut body: Value) -> Value {
    if body["contacts"].is_null() {
        body["contacts"] = contacts(2);
    }
    let made = house.post("/v1/batches", body).await;
    assert_eq!(made.status, 202, "{made:?}");
    chores(house, System.now()).await;
    show(house, made.json()["id"].as_str().unwrap()).await
}

async fn show(house: &House, id: &str) -> Value {
    let shown = house.get(&format!("/v1/batches/{id}")).await;
    assert_eq!(shown.status, 200, "{shown:?}");
    shown.json()
}

/// What the seed's dialer says of one call.
async fn call(house: &House, door: &Value, batch: &Value, number: usize, name: &str, status: &str) -> Reply {
    let body = json!({ "callData": {
        "id": name, "batchId": batch["id"], "phoneNumber": phone(number), "status": status, "duration": 60,
    } });
    let answer = house.bring(door, body.to_string().as_bytes()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer
}

async fn events(house: &House, kind: &str) -> Vec<Value> {
    let (mut found, mut after) = (Vec::new(), String::new());
    loop {
        let page = house.get(&format!("/v1/events?limit=100{after}")).await.json();
        let all = page["data"].as_array().unwrap();
        found.extend(all.iter().filter(|event| event["type"] == kind).cloned());
        match page["next_cursor"].as_str() {
            Some(cursor) if !all.is_empty() => after = format!("&after={cursor}"),
            _ => return found,
        }
    }
}

fn numbers(batch: &Value) -> [i64; 4] {
    ["total", "processed", "succeeded", "failed"].map(|name| batch["statistics"][name].as_i64().unwrap())
}

#[tokio::test]
async fn a_batch_is_taken_in_called_and_completed_once() {
    let house = House::open().await;
    let door = house.source(&house.key.clone(), "dialgen").await;
    let asked = json!({
        "contacts": contacts(250), "agent_id": "a1", "user_id": "u1", "name": "November",
        "metric_schema": { "intent": "string" }, "options": { "timezone": "UTC" },
        "webhooks": { "on_batch_complete": "https://crm.example/done", "on_call_complete": "https://crm.example/call" },
    });
    let made = house.post("/v1/batches", asked).await;
    assert_eq!(made.status, 202, "{made:?}");
    let made = made.json();
    assert_eq!((&made["status"], &made["contacts_taken_in"]), (&json!("ingesting"), &json!(0)));
    assert_eq!(made["secret"].as_str().unwrap().len(), 64, "made with the first batch");
    let id = made["id"].as_str().unwrap().to_owned();
    let endpoint =
        house.get(&format!("/v1/endpoints/{}", made["endpoint_ids"][1].as_str().unwrap())).await.json();
    assert_eq!(
        (&endpoint["dialect"], &endpoint["batch_id"], &endpoint["events"]),
        (&json!("dialgen"), &json!(id), &json!(["call.ended", "call.failed"]))
    );

    // It shows how far it is, and is sealed at the end.
    let mut seen = Vec::new();
    loop {
        let more = house.store.maintain(System.now()).await.unwrap().more;
        let shown = show(&house, &id).await;
        seen.push(shown["contacts_taken_in"].as_i64().unwrap());
        if shown["sealed"] == true {
            break;
        }
        assert!(more, "{shown}");
    }
    assert_eq!(seen[..3], [25, 50, 75]);
    chores(&house, System.now()).await;
    assert_eq!(show(&house, &id).await["status"], "pending");
    let requested = events(&house, "call.requested").await;
    assert_eq!(requested.len(), 250);
    let data = &requested[7]["data"];
    assert_eq!(
        (&data["batch_id"], &data["contact"]["phone"], &data["contact"]["id"], &data["agent"]["id"]),
        (&json!(id), &json!(phone(7)), &json!("c7"), &json!("a1"))
    );

    // The contacts, page by page.
    let page = house.get(&format!("/v1/batches/{id}/contacts?state=open&limit=200")).await.json();
    assert_eq!(page["data"].as_array().unwrap().len(), 200);
    assert_eq!(page["data"][7]["id"], data["call_id"], "what asks for a call names the contact");
    let next = page["next_cursor"].as_str().unwrap();
    let page =
        house.get(&format!("/v1/batches/{id}/contacts?state=open&cursor={next}&limit=200")).await.json();
    assert_eq!((page["data"].as_array().unwrap().len(), &page["next_cursor"]), (50, &Value::Null));

    let batch = show(&house, &id).await;
    for number in 0..250 {
        let status = if number < 200 { "COMPLETED" } else { "MISSED" };
        call(&house, &door, &batch, number, &format!("call-{number}"), status).await;
        call(&house, &door, &batch, number, &format!("call-{number}"), status).await;
    }
    let done = show(&house, &id).await;
    assert_eq!((&done["status"], numbers(&done)), (&json!("completed"), [250, 250, 200, 50]));
    let told = events(&house, "batch.completed").await;
    assert_eq!(told.len(), 1);
    let data = &told[0]["data"];
    assert_eq!(
        data["statistics"],
        json!({ "total": 250, "processed": 250, "succeeded": 200, "failed": 50, "percent_complete": 100, "success_rate": 80 })
    );
    assert_eq!(
        (&data["batch_id"], &data["agent_id"], &data["user_id"]),
        (&json!(id), &json!("a1"), &json!("u1"))
    );
    assert_eq!(data["created_at"], done["created_at"]);
    assert_eq!(data["completed_at"], done["ended_at"]);

    // What the batch knows goes along with each call.
    let call = house.get("/v1/calls/call-3").await.json();
    assert_eq!(
        (&call["contact"]["id"], &call["agent"]["id"], &call["metric_schema"]),
        (&json!("c3"), &json!("a1"), &json!({ "intent": "string" }))
    );
    let calls = house.get(&format!("/v1/batches/{id}/calls?limit=1")).await.json();
    assert_eq!(calls["data"][0]["call_id"], "call-249");
    let owed: BTreeMap<String, i64> = house.get("/v1/reconciliation").await.json()["endpoints"]
        .as_array()
        .unwrap()
        .iter()
        .map(|sum| (sum["endpoint_id"].as_str().unwrap().to_owned(), sum["owed"].as_i64().unwrap()))
        .collect();
    let ids: Vec<&str> =
        done["endpoint_ids"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
    assert_eq!((owed[ids[0]], owed[ids[1]]), (1, 250));

    // What comes after the end counts and ends nothing again.
    let answer = self::call(&house, &door, &batch, 240, "late", "COMPLETED").await;
    assert_eq!(answer.json(), json!({ "received": true }));
    assert_eq!(numbers(&show(&house, &id).await), [250, 250, 201, 49]);
    assert_eq!(events(&house, "batch.completed").await.len(), 1);

    // A week later its endpoints are gone.
    chores(&house, System.now().after(8 * 24 * 60 * MINUTE)).await;
    assert_eq!(house.get(&format!("/v1/endpoints/{}", ids[0])).await.status, 404);
}

#[tokio::test]
async fn a_contact_has_as_many_attempts_as_were_given() {
    let house = House::open().await;
    let door = house.source(&house.key.clone(), "dialgen").await;
    let batch = batch(&house, json!({ "max_attempts": 2 })).await;
    for (number, name, status, expected) in [
        (0, "a", "ONGOING", [2, 0, 0, 0]),
        (0, "a", "MISSED", [2, 0, 0, 0]),
        (0, "b", "COMPLETED", [2, 1, 1, 0]),
        (0, "c", "FAILED", [2, 1, 1, 0]),
        (1, "d", "FAILED", [2, 1, 1, 0]),
        (7, "nobody", "COMPLETED", [2, 1, 1, 0]),
        (1, "e", "FAILED", [2, 2, 1, 1]),
    ] {
        call(&house, &door, &batch, number, name, status).await;
        let shown = show(&house, batch["id"].as_str().unwrap()).await;
        assert_eq!(numbers(&shown), expected, "{name}");
    }
    assert_eq!(events(&house, "batch.completed").await.len(), 1);
}

#[tokio::test]
async fn a_call_finds_its_contact_by_each_name_and_in_each_dialect() {
    let house = House::open().await;
    let key = house.key.clone();
    let batch = batch(&house, json!({ "contacts": contacts(5) })).await;
    let id = batch["id"].as_str().unwrap();
    let page = house.get(&format!("/v1/batches/{id}/contacts")).await.json();
    let ours = |at: usize| page["data"][at]["id"].clone();
    let (dialgen, cllr, voicegenie) = (
        house.source(&key, "dialgen").await,
        house.source(&key, "cllr").await,
        house.source(&key, "voicegenie").await,
    );
    let says = |door: &Value, body: Value| {
        let (house, door) = (&house, door.clone());
        async move { assert_eq!(house.bring(&door, body.to_string().as_bytes()).await.status, 200) }
    };
    // By the giver's id, by ours, by a number without its plus, by the campaign, by the call's own id.
    says(
        &dialgen,
        json!({ "callData": { "id": "1", "batchId": id, "contactId": "c0", "status": "COMPLETED" } }),
    )
    .await;
    says(&dialgen, json!({ "callData": { "id": "2", "contactId": ours(1), "status": "COMPLETED" } })).await;
    let bare = phone(2).trim_start_matches('+').to_owned();
    says(
        &dialgen,
        json!({ "callData": { "id": "3", "batchId": id, "phoneNumber": bare, "status": "COMPLETED" } }),
    )
    .await;
    says(
        &voicegenie,
        json!({ "event": "call_ended", "call_uuid": "4", "campaign_id": id, "phone_number": phone(3),
            "timestamp": "2026-01-01T00:00:00Z", "call_data": { "outcome": "completed" } }),
    )
    .await;
    assert_eq!(show(&house, id).await["status"], "processing");
    says(&cllr, json!({ "callId": ours(4), "callerDetails": {} })).await;
    assert_eq!(numbers(&show(&house, id).await), [5, 5, 5, 0]);
    let call = house.get("/v1/calls/2").await.json();
    assert_eq!(
        (&call["batch_id"], &call["contact"]["phone"]),
        (&json!(id), &json!(phone(1))),
        "the batch adds both"
    );
}

#[tokio::test]
async fn calls_that_come_before_their_contacts_count() {
    let house = House::open().await;
    let door = house.source(&house.key.clone(), "dialgen").await;
    let made = house.post("/v1/batches", json!({ "contacts": contacts(150) })).await.json();
    for number in [0, 149, 500] {
        call(&house, &door, &made, number, &format!("early-{number}"), "COMPLETED").await;
    }
    chores(&house, System.now()).await;
    let shown = show(&house, made["id"].as_str().unwrap()).await;
    assert_eq!(numbers(&shown), [150, 2, 2, 0]);
    call(&house, &door, &made, 0, "early-0", "COMPLETED").await;
    assert_eq!(numbers(&show(&house, made["id"].as_str().unwrap()).await), [150, 2, 2, 0]);
}

#[tokio::test]
async fn a_batch_of_another_account_is_as_absent_as_none() {
    let house = House::open().await;
    let theirs = house.tenant("them").await;
    let batch = batch(&house, json!({})).await;
    let id = batch["id"].as_str().unwrap();
    for path in ["", "/contacts", "/calls"] {
        let refused = house.call(&theirs, "GET", &format!("/v1/batches/{id}{path}"), &Value::Null).await;
        assert_eq!(refused.problem(), (404, "not_found".to_owned(), vec![]));
    }
    for path in ["/cancel", "/fail"] {
        let refused = house.call(&theirs, "POST", &format!("/v1/batches/{id}{path}"), &json!({})).await;
        assert_eq!(refused.problem().0, 404);
    }
    let page = house.get(&format!("/v1/batches/{id}/contacts")).await.json();
    // Their calls name our batch and our contact: they are their calls, and nothing else.
    let door = house.source(&theirs, "dialgen").await;
    let door_of_ours = house.source(&house.key.clone(), "dialgen").await;
    let answer = call(&house, &door, &batch, 0, "x", "COMPLETED").await;
    let body =
        json!({ "callData": { "id": "y", "contactId": page["data"][0]["id"], "status": "COMPLETED" } });
    assert_eq!(house.bring(&door, body.to_string().as_bytes()).await.status, 200);
    let failed = json!({ "event": "batch.failed", "batchId": id, "error": "no" });
    assert_eq!(house.bring(&door, failed.to_string().as_bytes()).await.status, 200);
    assert_eq!(numbers(&show(&house, id).await), [2, 0, 0, 0]);
    assert_eq!(show(&house, id).await["status"], "pending");
    let unknown = json!({ "id": "bat_00000000000000001" });
    assert_eq!(call(&house, &door_of_ours, &unknown, 0, "z", "COMPLETED").await.json(), answer.json());
    let listed = house.call(&theirs, "GET", "/v1/batches", &Value::Null).await.json();
    assert_eq!(listed["data"], json!([]));
}

#[tokio::test]
async fn a_batch_is_stopped_once_and_says_why() {
    let house = House::open().await;
    let door = house.source(&house.key.clone(), "dialgen").await;
    let one = batch(&house, json!({ "webhooks": { "on_batch_failed": "https://crm.example/failed" } })).await;
    let id = one["id"].as_str().unwrap();
    let why = json!({ "error": "The line is down", "code": "LINE_DOWN" });
    let failed = house.post(&format!("/v1/batches/{id}/fail"), why.clone()).await.json();
    assert_eq!(
        (&failed["status"], &failed["error"], &failed["code"]),
        (&json!("failed"), &why["error"], &why["code"])
    );
    for (path, body) in [("/fail", why.clone()), ("/cancel", json!({}))] {
        let again = house.post(&format!("/v1/batches/{id}{path}"), body).await;
        assert_eq!(again.problem(), (409, "batch_over".to_owned(), vec![]));
    }
    // Events for a batch that has ended are calls like any other; its numbers go on, its state does not.
    for number in 0..2 {
        call(&house, &door, &one, number, &format!("late-{number}"), "COMPLETED").await;
    }
    let shown = show(&house, id).await;
    assert_eq!((&shown["status"], numbers(&shown)), (&json!("failed"), [2, 2, 2, 0]));
    assert_eq!(events(&house, "batch.completed").await.len(), 0);
    assert_eq!(events(&house, "batch.failed").await.len(), 1);

    let two = batch(&house, json!({})).await;
    let cancelled =
        house.post(&format!("/v1/batches/{}/cancel", two["id"].as_str().unwrap()), json!({})).await.json();
    assert_eq!((&cancelled["status"], &cancelled["code"]), (&json!("cancelled"), &json!("CANCELLED")));

    // A dialer's own word: its failure counts, its completion is for our books to say.
    let three = batch(&house, json!({})).await;
    let completed = json!({ "event": "batch.completed", "batchId": three["id"] });
    let answer = house.bring(&door, completed.to_string().as_bytes()).await.json();
    assert_eq!(answer, json!({ "received": true, "duplicate": true }));
    let failed =
        json!({ "event": "batch.failed", "batchId": three["id"], "error": "No lines", "code": "NO_LINES" });
    house.bring(&door, failed.to_string().as_bytes()).await;
    let shown = show(&house, three["id"].as_str().unwrap()).await;
    assert_eq!((&shown["status"], &shown["code"]), (&json!("failed"), &json!("NO_LINES")));
    assert_eq!(events(&house, "batch.failed").await.len(), 3);

    // One that is stopped while it is taken in takes no more in.
    let made = house.post("/v1/batches", json!({ "contacts": contacts(300) })).await.json();
    let id = made["id"].as_str().unwrap();
    house.store.maintain(System.now()).await.unwrap();
    house.post(&format!("/v1/batches/{id}/cancel"), json!({})).await;
    chores(&house, System.now()).await;
    let shown = show(&house, id).await;
    assert_eq!((&shown["contacts_taken_in"], &shown["sealed"]), (&json!(25), &json!(false)));
}

#[tokio::test]
async fn without_call_minutes_batches_fail() {
    let house = House::open().await;
    let door = house.source(&house.key.clone(), "dialgen").await;
    assert_eq!(house.get("/v1/account").await.json()["call_minutes"], Value::Null, "unlimited");
    for minutes in [json!(-1), json!(1e10), json!("many")] {
        assert_eq!(house.patch("/v1/account", json!({ "call_minutes": minutes })).await.status, 422);
    }
    assert_eq!(
        house.patch("/v1/account", json!({ "call_minutes": 2.5 })).await.json()["call_minutes"],
        json!(2.5)
    );
    let one = batch(&house, json!({ "contacts": contacts(5) })).await;
    let id = one["id"].as_str().unwrap();
    for number in 0..3 {
        assert_eq!(show(&house, id).await["status"], if number == 0 { "pending" } else { "processing" });
        call(&house, &door, &one, number, &format!("call-{number}"), "COMPLETED").await;
        call(&house, &door, &one, number, &format!("call-{number}"), "COMPLETED").await;
        chores(&house, System.now()).await;
    }
    let shown = show(&house, id).await;
    assert_eq!(
        (&shown["status"], &shown["error"], &shown["code"]),
        (&json!("failed"), &json!("Insufficient call minutes"), &json!("INSUFFICIENT_CREDITS"))
    );
    assert_eq!(house.get("/v1/account").await.json()["call_minutes"], json!(0), "never below zero");
    let refused = house.post("/v1/batches", json!({ "contacts": contacts(1) })).await;
    assert_eq!(refused.problem(), (402, "insufficient_credits".to_owned(), vec![]));
    house.patch("/v1/account", json!({ "call_minutes": null })).await;
    assert_eq!(house.post("/v1/batches", json!({ "contacts": contacts(1) })).await.status, 202);
}

#[tokio::test]
async fn what_is_lost_is_given_up_and_corrected() {
    let house = House::open().await;
    let asked = json!({ "name": "d", "dialect": "dialgen", "lost_after_minutes": 10 });
    let door = house.post("/v1/sources", asked).await.json();
    assert_eq!(door["lost_after_minutes"], json!(10));
    let nobody = json!({ "id": "of-a-vendor" });
    call(&house, &door, &nobody, 1, "open", "ONGOING").await;
    call(&house, &door, &nobody, 2, "over", "ONGOING").await;
    call(&house, &door, &nobody, 2, "over", "COMPLETED").await;
    chores(&house, System.now().after(9 * MINUTE)).await;
    assert_eq!(events(&house, "call.failed").await.len(), 0);
    chores(&house, System.now().after(10 * MINUTE)).await;
    let told = events(&house, "call.failed").await;
    assert_eq!(
        (told.len(), &told[0]["data"]["call_id"], &told[0]["data"]["outcome"]),
        (1, &json!("open"), &json!("lost"))
    );
    // The real end comes after all, says that it corrects, and stays.
    call(&house, &door, &nobody, 1, "open", "COMPLETED").await;
    let ended = events(&house, "call.ended").await;
    assert_eq!((ended.len(), &ended[1]["data"]["changed"]), (2, &json!(["outcome"])));
    assert!(ended[0]["data"].get("changed").is_none());
    assert_eq!(house.get("/v1/calls/open").await.json()["outcome"], "completed");
    let source = format!("/v1/sources/{}", door["id"].as_str().unwrap());
    assert_eq!(
        house.patch(&source, json!({ "lost_after_minutes": null })).await.json()["lost_after_minutes"],
        Value::Null
    );
}

#[tokio::test]
async fn no_batch_with_a_deadline_waits_for_ever() {
    let house = House::open().await;
    let door = house.source(&house.key.clone(), "dialgen").await;
    let one = batch(&house, json!({ "lost_after_minutes": 5, "max_attempts": 2 })).await;
    let id = one["id"].as_str().unwrap();
    // One call never ends, nobody calls the other contact.
    call(&house, &door, &one, 0, "hangs", "ONGOING").await;
    chores(&house, System.now().after(6 * MINUTE)).await;
    assert_eq!(numbers(&show(&house, id).await), [2, 0, 0, 0], "one attempt each is left");
    chores(&house, System.now().after(12 * MINUTE)).await;
    let shown = show(&house, id).await;
    assert_eq!((&shown["status"], numbers(&shown)), (&json!("completed"), [2, 2, 0, 2]));
    let lost = events(&house, "call.failed").await;
    assert_eq!(lost.len(), 4, "the call, and three requests that nobody answered");
    // The real end corrects the numbers, not the event that was sent.
    call(&house, &door, &one, 0, "hangs", "COMPLETED").await;
    assert_eq!(numbers(&show(&house, id).await), [2, 2, 1, 1]);
    let told = events(&house, "batch.completed").await;
    assert_eq!((told.len(), &told[0]["data"]["statistics"]["succeeded"]), (1, &json!(0)));
}

#[tokio::test]
async fn everything_wrong_with_a_batch_is_named_and_nothing_made() {
    let house = House::open().await;
    let wrong = json!({
        "contacts": [
            { "phone": "+15550100" }, { "name": "no number" }, { "phone": "" }, { "phone": "1 (555) 0100" },
            { "phone": "call me" }, { "phone": "+15550101", "id": "x" }, { "phone": "+15550102", "id": "x" }, 7,
            { "phone": "+15550103", "nmae": "Jo" }, { "phone": "+15550104", "metadata": [] }, { "phone": {} },
        ],
        "max_attempts": 6, "lost_after_minutes": 0, "metric_schema": 1, "scheduled_at": "soon",
        "webhooks": { "on_batch_complete": "http://10.0.0.1/", "onBatchFailed": "x" }, "agentId": "a",
    });
    let (status, code, mut fields) = house.post("/v1/batches", wrong).await.problem();
    fields.sort();
    let mut expected = [
        "contacts[1].phone missing",
        "contacts[2].phone missing",
        "contacts[3].phone repeated",
        "contacts[4].phone no_number",
        "contacts[6].id repeated",
        "contacts[7] wrong_type",
        "contacts[8].nmae unknown_field",
        "contacts[9].metadata wrong_type",
        "contacts[10].phone wrong_type",
        "max_attempts out_of_range",
        "lost_after_minutes out_of_range",
        "metric_schema wrong_type",
        "scheduled_at out_of_range",
        "webhooks.on_batch_complete url_refused",
        "webhooks.onBatchFailed unknown_field",
        "agentId unknown_field",
    ]
    .map(str::to_owned);
    expected.sort();
    assert_eq!((status, code.as_str(), fields), (422, "invalid_request", expected.to_vec()));

    for (contacts, code) in
        [(contacts(0), "empty"), (contacts(100_001), "too_many"), (json!("all"), "wrong_type")]
    {
        let refused = house.post("/v1/batches", json!({ "contacts": contacts })).await.problem();
        assert_eq!(refused.2, [format!("contacts {code}")]);
    }
    assert_eq!(house.post("/v1/batches", json!({})).await.problem().2, ["contacts missing"]);
    let same: Value = (0..100).map(|_| json!({ "phone": "+15550100" })).collect();
    assert_eq!(
        house.post("/v1/batches", json!({ "contacts": same })).await.problem().2.len(),
        21,
        "a few are enough"
    );
    assert_eq!(house.get("/v1/batches").await.json()["data"], json!([]), "nothing was made");
    for path in [
        "/v1/batches/bat_none",
        "/v1/batches/bat_none/contacts",
        "/api/v1/batch/check-status?batchId=bat_none",
    ] {
        assert_eq!(house.get(path).await.problem().0, 404);
    }
    assert_eq!(house.get("/api/v1/status/batch").await.problem().2, ["batchId missing"]);
}

#[tokio::test]
async fn the_seeds_own_shape_works_with_its_own_header() {
    let house = House::open().await;
    let body = json!({
        "agentId": "agent_123", "userId": "user_456", "somethingNew": 1,
        "contacts": [{ "id": 17, "phoneNumber": "+1 555 0100", "name": "John Doe", "metadata": { "plan": "gold" } },
            { "phoneNumber": "+15550101", "timezone": "CET" }],
        "options": { "priority": 5, "maxCallsPerSecond": 10, "retryStrategy": { "maxAttempts": 1, "busyDelay": 300_000 },
            "webhooks": { "onBatchComplete": "https://api.yourcompany.com/webhooks/batch-complete",
                "onCallComplete": "https://api.yourcompany.com/webhooks/call-complete",
                "onBatchFailed": "https://api.yourcompany.com/webhooks/batch-failed" } },
    })
    .to_string();
    let headers =
        [("x-api-key", house.key.as_str()), ("Content-Type", "application/json"), ("Idempotency-Key", "k")];
    let made = house.send("POST", "/api/v1/batch", &headers, body.as_bytes()).await;
    assert_eq!(made.status, 202, "{made:?}");
    let again = house.send("POST", "/api/v1/batch", &headers, body.as_bytes()).await;
    let (made, again) = (made.json(), again.json());
    assert_eq!(again["batchId"], made["batchId"], "sent twice, made once");
    assert!(made["secret"].is_string() && again.get("secret").is_none(), "{again}");
    let id = made["batchId"].as_str().unwrap();
    assert_eq!((&made["success"], &made["status"]), (&json!(true), &json!("ingesting")));
    assert!(made["links"]["status"].as_str().unwrap().ends_with(id));
    chores(&house, System.now()).await;
    let ours = show(&house, id).await;
    assert_eq!(ours["max_attempts"], 1);
    assert!(
        ours["options"].get("webhooks").is_none() && ours["options"]["retryStrategy"]["busyDelay"] == 300_000
    );
    let door = house.source(&house.key.clone(), "dialgen").await;
    let says = |id: &str, phone: &str, status: &str| {
        json!({ "callData": { "id": id, "batchId": ours["id"], "phoneNumber": phone, "status": status } })
            .to_string()
    };
    house.bring(&door, says("c1", "+15550100", "COMPLETED").as_bytes()).await;
    let check =
        house.get(&format!("/api/v1/batch/check-status?batchId={id}&userId=user_456&limit=1")).await.json();
    assert_eq!(
        check["statistics"],
        json!({ "total": 2, "processed": 1, "succeeded": 1, "failed": 0, "percentComplete": 50, "successRate": 100 })
    );
    assert_eq!((&check["status"], check["webhooks"].as_array().unwrap().len()), (&json!("processing"), 3));
    assert_eq!(check["recentCalls"][0]["callId"], "c1");
    let status = house.get(&format!("/api/v1/status/batch?batchId={id}")).await.json();
    assert_eq!(
        (&status["calls"][0]["status"], &status["calls"][0]["phoneNumber"]),
        (&json!("COMPLETED"), &json!("+15550100"))
    );
    let list = house.get("/api/v1/batch/list?userId=user_456").await.json();
    assert_eq!(list["batches"][0]["batchId"], id);
    let call = house.get("/v1/calls/c1").await.json();
    assert_eq!((&call["contact"]["id"], &call["contact"]["name"]), (&json!("17"), &json!("John Doe")));
    // The secret is shown once, and made anew on request.
    let second = house.send("POST", "/api/v1/batch", &headers[..2], body.as_bytes()).await.json();
    assert!(made["secret"].is_string() && second.get("secret").is_none());
    let renewed = house.post("/v1/account/rotate-batch-secret", json!({})).await.json();
    assert_ne!(renewed["secret"], made["secret"]);

    for (path, wrong) in [
        ("options.priority", json!({ "priority": 11 })),
        ("options.maxCallsPerSecond", json!({ "maxCallsPerSecond": 0 })),
        ("options.retryStrategy.maxAttempts", json!({ "retryStrategy": { "maxAttempts": 9 } })),
    ] {
        let body = json!({ "contacts": [{ "phoneNumber": "+15550100" }], "options": wrong });
        assert_eq!(house.post("/api/v1/batch", body).await.problem().2, [format!("{path} out_of_range")]);
    }
}

#[tokio::test]
async fn a_large_batch_fits_and_old_ones_go() {
    let house = House::open().await;
    let made = house.post("/v1/batches", json!({ "contacts": contacts(100_000) })).await;
    assert_eq!(made.status, 202, "{made:?}");
    let id = made.json()["id"].as_str().unwrap().to_owned();
    for _ in 0..3 {
        house.store.maintain(System.now()).await.unwrap();
    }
    assert_eq!(show(&house, &id).await["contacts_taken_in"], 75);
    house.post(&format!("/v1/batches/{id}/cancel"), json!({})).await;
    house.patch("/v1/account", json!({ "retention_days": 1 })).await;
    chores(&house, System.now()).await;
    assert_eq!(show(&house, &id).await["contacts_taken_in"], 75, "young");
    chores(&house, System.now().after(26 * 60 * MINUTE)).await;
    assert_eq!(house.get(&format!("/v1/batches/{id}")).await.status, 404);
    let left =
        house.store.contacts(AccountKey::DEFAULT, 1, false, postcall::store::Page { after: None, limit: 9 });
    assert!(left.await.unwrap().is_empty());
}

/// Seed 002, to the letter, as a receiver gets it.
#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_hears_of_each_call_and_once_of_the_batch() {
    let house = harness::House::start().await;
    let (api, receiver) = (&house.api, harness::Receiver::start().await);
    let door = api.source(json!({ "name": "d", "dialect": "dialgen", "secret": null })).await;
    let body = json!({
        "agentId": "agent_456", "userId": "user_789", "metricSchema": { "intent": { "type": "string" } },
        "contacts": [{ "id": "contact_1", "phoneNumber": "+15550100", "name": "John Doe" }, { "phoneNumber": "+15550101" }],
        "options": { "retryStrategy": { "maxAttempts": 1 }, "webhooks": {
            "onBatchComplete": receiver.url("/batch"), "onCallComplete": receiver.url("/call") } },
    });
    let made = api.post("/api/v1/batch", body).await.expect(202).json();
    let (id, secret) = (made["batchId"].clone(), made["secret"].as_str().unwrap().to_owned());
    let path =
        door["url"].as_str().unwrap().split_once("/in/").map(|(_, rest)| format!("/in/{rest}")).unwrap();
    // Some of it before the contacts are taken in, perhaps; each twice.
    for (name, phone, status) in [("c1", "+15550100", "COMPLETED"), ("c2", "+15550101", "MISSED")] {
        for _ in 0..2 {
            let said =
                json!({ "callData": { "id": name, "batchId": id, "phoneNumber": phone, "status": status } });
            api.post(&path, said).await.expect(200);
        }
    }
    let got = receiver.wait_for(3).await;
    for one in &got {
        assert_eq!(one.header("x-dialgen-signature"), harness::hmac_hex(&secret, &one.body));
    }
    let of = |path: &str| -> Vec<Value> {
        got.iter().filter(|one| one.path == path).map(|one| one.json()).collect()
    };
    let calls = of("/call");
    assert_eq!(calls.len(), 2);
    assert!(
        calls.iter().all(|call| call["metricSchema"] == json!({ "intent": { "type": "string" } })),
        "{calls:?}"
    );
    assert!(
        calls
            .iter()
            .all(|call| call["callData"]["batchId"] == id && call["callData"]["agentId"] == "agent_456")
    );
    let mut batch = of("/batch");
    assert_eq!(batch.len(), 1);
    let mut batch = batch.remove(0);
    let times = batch["timestamps"].take();
    assert_eq!(
        batch,
        json!({ "event": "batch.completed", "batchId": id, "agentId": "agent_456", "userId": "user_789",
            "statistics": { "total": 2, "processed": 2, "succeeded": 1, "failed": 1, "percentComplete": 100,
                "successRate": 50 }, "timestamps": null })
    );
    let at = |name: &str| Time::parse(times[name].as_str().unwrap()).unwrap();
    assert!(at("createdAt") <= at("startedAt") && at("startedAt") <= at("completedAt"), "{times}");
    api.check_sums().await;
}

#[tokio::test]
async fn nobody_is_asked_to_call_before_the_time() {
    let house = House::open().await;
    let door = house.source(&house.key.clone(), "dialgen").await;
    let start = System.now().after(60 * MINUTE);
    let batch = batch(
        &house,
        json!({ "contacts": contacts(250), "scheduled_at": start.rfc3339_millis(), "lost_after_minutes": 30 }),
    )
    .await;
    let id = batch["id"].as_str().unwrap();
    assert_eq!((&batch["status"], &batch["sealed"]), (&json!("scheduled"), &json!(true)));
    assert!(events(&house, "call.requested").await.is_empty());
    // A dialer that looks may begin; two contacts are called already, one of them to the end.
    call(&house, &door, &batch, 7, "early", "COMPLETED").await;
    call(&house, &door, &batch, 8, "under way", "ONGOING").await;
    chores(&house, System.now().after(59 * MINUTE)).await;
    assert!(events(&house, "call.requested").await.is_empty());
    assert_eq!(
        numbers(&show(&house, id).await),
        [250, 2, 1, 1],
        "the call under way was lost, no other contact"
    );

    chores(&house, start).await;
    let requested = events(&house, "call.requested").await;
    let phones: Vec<&Value> = requested.iter().map(|event| &event["data"]["contact"]["phone"]).collect();
    let expected: Vec<Value> =
        (0..250).filter(|number| ![7, 8].contains(number)).map(|number| json!(phone(number))).collect();
    assert_eq!(phones, expected.iter().collect::<Vec<_>>(), "each once, in the order given");
    chores(&house, start.after(29 * MINUTE)).await;
    assert_eq!(events(&house, "call.requested").await.len(), 248, "not again");
    assert_eq!(numbers(&show(&house, id).await), [250, 2, 1, 1]);
    chores(&house, start.after(31 * MINUTE)).await;
    assert_eq!(numbers(&show(&house, id).await), [250, 250, 1, 249], "its patience begins with its time");
}

#[tokio::test]
async fn a_batch_that_ended_before_its_time_asks_for_nobody() {
    let house = House::open().await;
    let start = System.now().after(60 * MINUTE);
    let batch = batch(&house, json!({ "scheduled_at": start.rfc3339_millis() })).await;
    let id = batch["id"].as_str().unwrap();
    assert_eq!(house.post(&format!("/v1/batches/{id}/cancel"), json!({})).await.status, 200);
    chores(&house, start.after(MINUTE)).await;
    assert!(events(&house, "call.requested").await.is_empty());
}
