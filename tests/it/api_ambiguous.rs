//! Two sources with a call of the same vendor's id: none is shown for the other, and what may be meant is said.

use serde_json::{Value, json};

use crate::api_rig::{House, Reply, cllr_body};

/// Makes sources that have a call `c-1` each, and gives them oldest call first.
async fn sources(house: &House, dialects: [&str; 2]) -> [Value; 2] {
    let mut made = Vec::new();
    for (number, dialect) in dialects.into_iter().enumerate() {
        let source = house.source(&house.key, dialect).await;
        let body = match dialect {
            "cllr" => {
                String::from_utf8(cllr_body("c-1")).unwrap().replace("Test User", &format!("User {number}"))
            }
            _ => json!({ "call_uuid": "c-1", "event": "call_ended", "phone_number": "+919876543210",
                "call_data": { "recording_url": "https://r.example/1.mp3",
                    "transcript": [{ "role": "user", "content": "hello" }] },
                "timestamp": "2024-01-16T10:35:00Z" })
            .to_string(),
        };
        assert_eq!(house.bring(&source, body.as_bytes()).await.status, 200);
        made.push(source);
    }
    made.try_into().unwrap()
}

fn id(source: &Value) -> &str {
    source["id"].as_str().unwrap()
}

async fn list(house: &House, path: &str) -> Vec<Value> {
    let listed = house.get(path).await;
    assert_eq!(listed.status, 200, "{listed:?}");
    listed.json()["data"].as_array().unwrap().clone()
}

/// The sources that an answer of 409 names, newest call first.
#[track_caller]
fn candidates(reply: &Reply) -> Vec<Value> {
    assert_eq!((reply.problem().0, reply.problem().1.as_str()), (409, "ambiguous_call"), "{reply:?}");
    let all = reply.json()["candidates"].as_array().unwrap().clone();
    assert!(all.iter().all(|one| one["updated_at"].is_string()), "{reply:?}");
    all
}

#[tokio::test]
async fn a_vendors_id_that_two_sources_use_is_ambiguous() {
    let house = House::open().await;
    let endpoint = house.endpoint(&house.key, "standard").await;
    let [first, second] = sources(&house, ["cllr", "cllr"]).await;
    for path in ["/v1/calls/c-1", "/v1/calls/c-1/recording", "/v1/calls/c-1/transcript"] {
        let found = candidates(&house.get(path).await);
        let named: Vec<&Value> = found.iter().map(|one| &one["source_id"]).collect();
        assert_eq!(named, [&second["id"], &first["id"]], "{path}");
    }
    let found = candidates(&house.get("/v1/calls/c-1").await);
    for (source, ours, name) in [(&first, &found[1]["id"], "User 0"), (&second, &found[0]["id"], "User 1")] {
        let by_source = house.get(&format!("/v1/calls/c-1?source_id={}", id(source))).await.json();
        assert_eq!((&by_source["id"], &by_source["contact"]["name"]), (ours, &json!(name)));
        let by_id = house.get(&format!("/v1/calls/{}", ours.as_str().unwrap())).await.json();
        assert_eq!(by_id, by_source, "ours is never ambiguous");
        let recording = house.get(&format!("/v1/calls/c-1/recording?source_id={}", id(source))).await;
        assert_eq!(recording.status, 200, "{recording:?}");
    }

    // Lists hold both, or one.
    assert_eq!(list(&house, "/v1/calls?call_id=c-1").await.len(), 2);
    assert_eq!(list(&house, "/v1/deliveries?call_id=c-1").await.len(), 2);
    let one = format!("?call_id=c-1&source_id={}", id(&first));
    let calls = list(&house, &format!("/v1/calls{one}")).await;
    assert_eq!((calls.len(), &calls[0]["source_id"]), (1, &first["id"]));
    let deliveries = list(&house, &format!("/v1/deliveries{one}")).await;
    let feed = list(&house, "/v1/events").await;
    let told = feed.iter().find(|event| event["id"] == deliveries[0]["event_id"]).unwrap();
    assert_eq!((deliveries.len(), &told["data"]["contact"]["name"]), (1, &json!("User 0")));

    // A replay goes to the calls of one.
    let asked = json!({ "call_id": "c-1", "endpoint_id": endpoint["id"], "dry_run": true });
    assert_eq!(candidates(&house.post("/v1/replays", asked.clone()).await).len(), 2);
    let mut named = asked;
    named["source_id"] = first["id"].clone();
    let made = house.post("/v1/replays", named).await;
    assert_eq!((made.status, &made.json()["selection"]["call_id"]), (202, &found[1]["id"]));

    // What cannot be meant.
    let theirs = house.source(&house.tenant("other").await, "cllr").await;
    let third = house.source(&house.key, "cllr").await;
    for source in [&theirs, &third] {
        let path = format!("/v1/calls/c-1?source_id={}", id(source));
        assert_eq!(house.get(&path).await.problem().0, 404);
        assert_eq!(list(&house, &format!("/v1/calls?call_id=c-1&source_id={}", id(source))).await.len(), 0);
        assert_eq!(
            list(&house, &format!("/v1/deliveries?call_id=c-1&source_id={}", id(source))).await.len(),
            0
        );
    }
    assert_eq!(house.get("/v1/calls/c-1?source_id=ep_1").await.problem().2, ["source_id bad_id"]);
    for path in ["/v1/calls", "/v1/deliveries"] {
        let alone = house.get(&format!("{path}?source_id={}", id(&first))).await;
        assert_eq!(alone.problem().2, ["source_id needs_call_id"]);
    }
    let alone = house.post("/v1/replays", json!({ "source_id": first["id"] })).await;
    assert_eq!(alone.problem().2, ["source_id needs_call_id"]);
}

#[tokio::test]
async fn no_vendor_takes_our_own_id_of_a_call_away() {
    let house = House::open().await;
    house.endpoint(&house.key, "standard").await;
    let [mine, other] = [house.source(&house.key, "cllr").await, house.source(&house.key, "cllr").await];
    house.bring(&mine, &cllr_body("mine")).await;
    let ours = house.get("/v1/calls/mine").await.json()["id"].as_str().unwrap().to_owned();
    house.bring(&other, &cllr_body(&ours)).await;
    assert_eq!(house.get(&format!("/v1/calls/{ours}")).await.json()["call_id"], "mine");
    let deliveries = list(&house, &format!("/v1/deliveries?call_id={ours}")).await;
    assert_eq!(deliveries.iter().map(|one| &one["call_id"]).collect::<Vec<_>>(), ["mine"]);
}

/// VoiceGenie's own addresses mean VoiceGenie's calls, and say so where that is not enough.
#[tokio::test]
async fn voicegenies_own_addresses_mean_its_own_call() {
    let house = House::open().await;
    let key = house.key.clone();
    let ask = async |path: String| house.send("GET", &path, &[("x-api-key", key.as_str())], b"").await;
    let [own, other] = sources(&house, ["voicegenie", "cllr"]).await;
    let log = ask("/getConversationLogs/c-1".to_owned()).await.json();
    assert_eq!((&log["success"], &log["data"]["summary"]["total_turns"]), (&json!(true), &json!(1)));
    let log = ask(format!("/getConversationLogs/c-1?source_id={}", id(&other))).await.json();
    assert_eq!(log["data"]["summary"]["total_turns"], 0);

    let [second, _] = sources(&house, ["voicegenie", "cllr"]).await;
    let refused = ask("/getConversationLogs/c-1".to_owned()).await;
    assert_eq!((refused.status, &refused.json()["success"]), (409, &json!(false)));
    for source in [&own, &second] {
        assert!(refused.json()["message"].as_str().unwrap().contains(id(source)), "{refused:?}");
        let log = ask(format!("/getConversationLogs/c-1?source_id={}", id(source))).await;
        assert_eq!(log.status, 200, "{log:?}");
    }
    let total = async |query: String| {
        ask(format!("/callRecordings?call_uuid=c-1{query}")).await.json()["data"]["pagination"]["total"]
            .clone()
    };
    assert_eq!(total(String::new()).await, 4);
    assert_eq!(total(format!("&source_id={}", id(&own))).await, 1);
}
