//! What is owed arrives: retries, order, limits, isolation and restarts, through the public door.

use std::collections::BTreeMap;

use data_encoding::BASE64;
use postcall::delivery::dispatcher::MOST_TO_HOST;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::harness::{Client, Got, House, Receiver, hmac_hex};

const SECRET: &str = "a secret of the tests";

/// A voicegenie source that signs with [`SECRET`].
async fn dialer(api: &Client) -> String {
    let source = api.source(json!({"name": "dialer", "dialect": "voicegenie", "secret": SECRET})).await;
    format!("/in/{}", source["id"].as_str().expect("an id"))
}

/// Sends one step of a call through the door; gives the answer's JSON.
async fn tell(api: &Client, door: &str, call: &str, event: &str) -> Value {
    tell_more(api, door, call, event, "").await
}

/// The same with this much to say.
async fn tell_more(api: &Client, door: &str, call: &str, event: &str, summary: &str) -> Value {
    let outcome = if event == "call_failed" { "busy" } else { "completed" };
    let body = json!({
        "call_uuid": call, "event": event, "phone_number": "+1-555-123-4567", "campaign_id": "camp-1",
        "call_data": {"duration": 245, "outcome": outcome, "recording_url": "https://r.example/1.mp3",
                      "custom_data": {"lead_score": 85, "summary": summary}},
        "timestamp": "2024-01-16T10:35:00Z",
    })
    .to_string();
    let signature = hmac_hex(SECRET, body.as_bytes());
    let headers = [("x-webhook-signature", signature.as_str())];
    api.send(http::Method::POST, door, &headers, body).await.expect("an answer").expect(200).json()
}

/// Makes another account that has an endpoint at `/other` of this receiver, and waits until an event of it is there.
async fn another_account_is_heard(api: &Client, receiver: &Receiver) {
    let made = api.post("/v1/accounts", json!({"name": "other"})).await.expect(201).json();
    let mut other = api.clone();
    other.key = made["key"].as_str().unwrap().to_owned();
    other.endpoint(json!({"url": receiver.url("/other"), "dialect": "standard"})).await;
    let door = dialer(&other).await;
    tell(&other, &door, "call-1", "call_ended").await;
    receiver.wait_until(|got| got.iter().any(|got| got.path == "/other")).await;
}

fn all_delivered(count: usize) -> impl FnMut(&[Value]) -> bool {
    move |all| all.len() == count && all.iter().all(|delivery| delivery["state"] == "delivered")
}

#[tokio::test(flavor = "multi_thread")]
async fn one_call_goes_out_in_every_dialect_with_its_signature() {
    let house = House::start().await;
    let (api, receiver) = (&house.api, Receiver::start().await);
    let door = dialer(api).await;
    let standard_secret = format!("whsec_{}", BASE64.encode(b"thirty-two bytes of secret here!"));
    for (dialect, credential) in [
        ("voicegenie", json!({"secret": SECRET})),
        ("cllr", json!({})),
        ("dialgen", json!({"secret": SECRET})),
        ("aloro", json!({"secret": SECRET})),
        ("air", json!({"bearer_token": "sixteen-or-more-characters"})),
        ("standard", json!({"secret": standard_secret})),
    ] {
        let mut endpoint = json!({"url": receiver.url(&format!("/{dialect}")), "dialect": dialect,
                                  "headers": {"x-team": "blue"}});
        endpoint.as_object_mut().unwrap().extend(credential.as_object().unwrap().clone());
        api.endpoint(endpoint).await;
    }
    let answer = tell(api, &door, "call-1", "call_ended").await;
    assert_eq!(answer["success"], true);
    assert_eq!(answer["data"]["call_uuid"], "call-1");
    assert_eq!(
        answer["data"]["actions_taken"],
        json!(["campaign_record_updated", "analytics_recorded", "webhook_triggered"])
    );

    let got: BTreeMap<String, Got> =
        receiver.wait_for(6).await.into_iter().map(|got| (got.path.clone(), got)).collect();
    assert_eq!(got.len(), 6);
    for request in got.values() {
        assert_eq!(request.header("content-type"), "application/json");
        assert_eq!(request.header("x-team"), "blue");
    }
    let hmac = |path: &str| hmac_hex(SECRET, &got[path].body);
    assert_eq!(got["/voicegenie"].header("x-webhook-signature"), hmac("/voicegenie"));
    assert_eq!(got["/dialgen"].header("x-dialgen-signature"), hmac("/dialgen"));
    assert_eq!(got["/aloro"].header("x-aloro-signature"), format!("sha256={}", hmac("/aloro")));
    assert_eq!(got["/air"].header("authorization"), "Bearer sixteen-or-more-characters");
    let standard = &got["/standard"];
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"thirty-two bytes of secret here!");
    let (id, at) = (standard.header("webhook-id"), standard.header("webhook-timestamp"));
    let signed = [format!("{id}.{at}.").as_bytes(), &standard.body].concat();
    let expected = format!("v1,{}", BASE64.encode(ring::hmac::sign(&key, &signed).as_ref()));
    assert_eq!(standard.header("webhook-signature"), expected);

    // The same number, however it was written, and each in its own place.
    assert_eq!(got["/cllr"].json()["callerDetails"]["phoneNumber"], "+15551234567");
    assert_eq!(got["/air"].json()["call"]["toNumber"], "+15551234567");
    assert_eq!(got["/dialgen"].json()["callData"]["metricJson"]["lead_score"], 85);
    assert_eq!(got["/aloro"].json()["data"]["variables"]["lead_score"], 85);
    api.deliveries_when("", all_delivered(6)).await;
    api.check_sums().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_repeats_body_and_event_id_and_every_attempt_is_on_record() {
    let house = House::start().await;
    let (api, receiver) = (&house.api, Receiver::start().await);
    let door = dialer(api).await;
    receiver.answer_with([500, 302]);
    let endpoint =
        json!({"url": receiver.url("/"), "dialect": "standard", "retry_delays_seconds": [0.05, 0.05]});
    let endpoint = api.endpoint(endpoint).await;
    tell(api, &door, "call-1", "call_ended").await;
    let got = receiver.wait_for(3).await;
    for retry in &got[1..] {
        assert_eq!(retry.body, got[0].body);
        assert_eq!(retry.header("webhook-id"), got[0].header("webhook-id"));
    }
    // What is said is pinned: an edited shape changes nothing of what was planned before.
    let query = format!("endpoint_id={}", endpoint["id"].as_str().unwrap());
    let delivery = api.deliveries_when(&query, all_delivered(1)).await.remove(0);
    let attempts = delivery["attempts"].as_array().unwrap();
    let statuses: Vec<_> = attempts.iter().map(|attempt| attempt["status"].as_i64().unwrap()).collect();
    let numbers: Vec<_> = attempts.iter().map(|attempt| attempt["number"].as_i64().unwrap()).collect();
    assert_eq!((statuses, numbers), (vec![500, 302, 200], vec![1, 2, 3]));
    assert_eq!(attempts[0]["response_body"], r#"{"received":true}"#);
    assert_eq!(delivery["event_id"], got[0].header("webhook-id"));
    assert_eq!(delivery["call_id"], "call-1");
}

#[tokio::test(flavor = "multi_thread")]
async fn cllr_is_tried_once_and_never_again() {
    let house = House::start().await;
    let (api, receiver) = (&house.api, Receiver::start().await);
    let door = dialer(api).await;
    receiver.answer_with([503]);
    api.endpoint(json!({"url": receiver.url("/"), "dialect": "cllr"})).await;
    tell(api, &door, "call-1", "call_ended").await;
    let delivery = api.deliveries_when("state=dead", |all| all.len() == 1).await.remove(0);
    assert_eq!(delivery["attempts"].as_array().unwrap().len(), 1);
    assert_eq!(receiver.got().len(), 1);

    // A person may send it again.
    let id = delivery["id"].as_str().unwrap();
    api.post(&format!("/v1/deliveries/{id}/retry"), json!({})).await.expect(200);
    receiver.wait_for(2).await;
    api.deliveries_when("", all_delivered(1)).await;
    api.check_sums().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gone_disables_the_endpoint_and_what_it_is_owed_waits() {
    let house = House::start().await;
    let (api, receiver, watcher) = (&house.api, Receiver::start().await, Receiver::start().await);
    let door = dialer(api).await;
    receiver.answer_with([410]);
    let endpoint = api.endpoint(json!({"url": receiver.url("/"), "dialect": "voicegenie"})).await;
    let id = endpoint["id"].as_str().unwrap();
    let watching = json!({"url": watcher.url("/"), "dialect": "standard", "events": ["endpoint.disabled"]});
    api.endpoint(watching).await;
    tell(api, &door, "call-1", "call_ended").await;

    let told = watcher.wait_for(1).await.remove(0).json();
    assert_eq!((&told["type"], &told["data"]["endpoint_id"]), (&json!("endpoint.disabled"), &json!(id)));
    let shown = api.get(&format!("/v1/endpoints/{id}")).await.expect(200).json();
    assert_eq!(shown["state"], "disabled");
    let query = format!("endpoint_id={id}");
    api.deliveries_when(&query, |all| all.len() == 1 && all[0]["state"] == "dead").await;

    tell(api, &door, "call-2", "call_ended").await;
    api.deliveries_when(&query, |all| all.len() == 2 && all[0]["state"] == "pending").await;
    assert_eq!(receiver.got().len(), 1);
    api.post(&format!("/v1/endpoints/{id}/enable"), json!({})).await.expect(200);
    receiver.wait_for(2).await;
    api.deliveries_when(&query, |all| all[0]["state"] == "delivered").await;

    // By hand it is told just the same, and once.
    for _ in 0..2 {
        api.post(&format!("/v1/endpoints/{id}/disable"), json!({})).await.expect(200);
    }
    let told = watcher.wait_for(2).await;
    assert_eq!(told[1].json()["data"]["endpoint_id"], id);
    api.deliveries_when("state=delivered", |all| all.len() == 3).await;
    assert_eq!(watcher.got().len(), 2);
    api.check_sums().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_after_is_honoured_up_to_the_next_step() {
    let house = House::start().await;
    let (api, receiver) = (&house.api, Receiver::start().await);
    let door = dialer(api).await;
    receiver.answer_later(429, "3600");
    let delays = json!([0.05, 0.4]);
    api.endpoint(json!({"url": receiver.url("/"), "dialect": "standard", "retry_delays_seconds": delays}))
        .await;
    tell(api, &door, "call-1", "call_ended").await;
    let delivery = api.deliveries_when("", all_delivered(1)).await.remove(0);
    let at =
        |n: usize| -> jiff::Timestamp { delivery["attempts"][n]["at"].as_str().unwrap().parse().unwrap() };
    assert!(at(1).duration_since(at(0)).as_millis() >= 400, "{delivery}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_calls_events_arrive_in_their_order_and_calls_do_not_wait_for_each_other() {
    let house = House::start().await;
    let (api, receiver) = (&house.api, Receiver::start().await);
    let door = dialer(api).await;
    receiver.answer_with([500, 500]);
    let delays = vec![0.1; 5];
    api.endpoint(json!({"url": receiver.url("/"), "dialect": "voicegenie", "retry_delays_seconds": delays}))
        .await;
    tell(api, &door, "slow", "call_initiated").await;
    let first = receiver.wait_for(1).await;
    assert_eq!(first[0].json()["call_uuid"], "slow");
    for event in ["call_ringing", "call_answered", "call_ended"] {
        tell(api, &door, "slow", event).await;
    }
    for event in ["call_initiated", "call_ended"] {
        tell(api, &door, "quick", event).await;
    }
    let got = receiver.wait_for(8).await;
    let of = |call: &str| -> Vec<String> {
        let bodies = got.iter().map(Got::json).filter(|body| body["call_uuid"] == call);
        bodies.map(|body| body["event"].as_str().unwrap().to_owned()).collect()
    };
    let initiated = "call_initiated";
    // Two of the eight answers were 500, whoever they hit; without their repeats each call is in order.
    let in_order = |mut events: Vec<String>| {
        events.dedup();
        events
    };
    assert_eq!(in_order(of("slow")), [initiated, "call_ringing", "call_answered", "call_ended"]);
    assert_eq!(in_order(of("quick")), [initiated, "call_ended"]);
    api.deliveries_when("", all_delivered(6)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_hangs_costs_the_others_nothing_and_its_timeout_is_on_record() {
    let house = House::start().await;
    let (api, receiver) = (&house.api, Receiver::start().await);
    let door = dialer(api).await;
    // It takes connections and never says a word.
    let hanging = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", hanging.local_addr().unwrap());
    let silent = json!({"url": url, "dialect": "standard", "timeout_seconds": 1, "retry_delays_seconds": []});
    let silent = api.endpoint(silent).await;
    let healthy = api.endpoint(json!({"url": receiver.url("/"), "dialect": "standard"})).await;
    let calls = 60;
    for call in 0..calls {
        tell(api, &door, &format!("call-{call}"), "call_ended").await;
    }
    receiver.wait_for(calls).await;
    let query = format!("endpoint_id={}", healthy["id"].as_str().unwrap());
    api.deliveries_when(&query, all_delivered(calls)).await;
    let query = format!("endpoint_id={}&state=dead", silent["id"].as_str().unwrap());
    let dead = api.deliveries_when(&query, |all| !all.is_empty()).await;
    let error = dead[0]["attempts"][0]["error"].as_str().unwrap();
    assert!(error.contains("within 1s"), "{error}");
    assert!(dead[0]["attempts"][0]["status"].is_null(), "no answer, no status");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limit_of_requests_in_flight_holds() {
    let house = House::start().await;
    let (api, receiver) = (&house.api, Receiver::start().await);
    let door = dialer(api).await;
    receiver.shut();
    api.endpoint(json!({"url": receiver.url("/"), "dialect": "standard", "max_in_flight": 2})).await;
    for call in 0..10 {
        tell(api, &door, &format!("call-{call}"), "call_ended").await;
    }
    receiver.wait_for_held(2).await;
    assert_eq!((receiver.held(), receiver.got().len()), (2, 2));
    receiver.open();
    receiver.wait_for(10).await;
    api.deliveries_when("", all_delivered(10)).await;
}

/// The number of a metric of this process.
async fn number(api: &Client, metric: &str) -> i64 {
    let text = String::from_utf8(api.get("/metrics").await.expect(200).body.to_vec()).unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix(metric)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("{metric} is not in:\n{text}")).parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_event_to_many_endpoints_of_a_host_is_a_bounded_number_of_requests_at_a_time() {
    let house = House::start().await;
    let (api, receiver) = (&house.api, Receiver::start().await);
    let door = dialer(api).await;
    receiver.shut();
    let (endpoints, most) = (100, i64::try_from(MOST_TO_HOST).unwrap());
    for number in 0..endpoints {
        api.endpoint(json!({"url": receiver.url(&format!("/{number}")), "dialect": "standard"})).await;
    }
    tell(api, &door, "call-1", "call_ended").await;
    receiver.wait_for_held(MOST_TO_HOST).await;
    while number(api, "postcall_host_waits_total").await < endpoints - most {
        tokio::task::yield_now().await;
    }
    assert_eq!(number(api, "postcall_attempts_in_flight").await, most);
    assert_eq!(receiver.held(), MOST_TO_HOST);
    // Another account has a share of its own at the same host.
    another_account_is_heard(api, &receiver).await;

    receiver.open();
    let got = receiver.wait_for(usize::try_from(endpoints).unwrap() + 1).await;
    let paths: std::collections::BTreeSet<&str> = got.iter().map(|got| got.path.as_str()).collect();
    assert_eq!(paths.len(), got.len(), "each endpoint heard it once");
    api.deliveries_when("state=delivered", |all| all.len() == 100).await;
    api.check_sums().await;
}

/// Bodies of one account take all of the memory that it may have, and none of them is settled: what another account has to
/// send goes out, and what the first one has beside it when there is room again.
#[tokio::test(flavor = "multi_thread")]
async fn an_account_whose_receiver_hangs_leaves_others_their_place_in_memory() {
    let house = House::start().await;
    let (api, hanging, receiver) = (&house.api, Receiver::start().await, Receiver::start().await);
    let door = dialer(api).await;
    hanging.shut();
    api.endpoint(json!({"url": hanging.url("/"), "dialect": "standard", "max_in_flight": 1})).await;
    let long = "word ".repeat(180_000);
    for call in 0..30 {
        tell_more(api, &door, &format!("call-{call}"), "call_ended", &long).await;
    }
    api.endpoint(json!({"url": receiver.url("/beside"), "dialect": "standard"})).await;
    tell(api, &door, "call-beside", "call_ended").await;

    another_account_is_heard(api, &receiver).await;
    assert!(receiver.got().iter().all(|got| got.path != "/beside"), "its account has no room");
    assert_eq!(hanging.held(), 1);

    hanging.open();
    receiver.wait_until(|got| got.iter().any(|got| got.path == "/beside")).await;
    api.deliveries_when("state=delivered", |all| all.len() == 32).await;
    api.check_sums().await;
}

/// Of twelve calls two are on the wire and ten wait in memory when the person of all of them is erased.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_in_memory_is_not_sent_once_its_person_is_erased() {
    let house = House::start().await;
    let (api, receiver) = (&house.api, Receiver::start().await);
    let door = dialer(api).await;
    receiver.shut();
    api.endpoint(json!({"url": receiver.url("/"), "dialect": "standard", "max_in_flight": 2})).await;
    for call in 0..12 {
        tell(api, &door, &format!("call-{call}"), "call_ended").await;
    }
    receiver.wait_for_held(2).await;
    let begun = api.post("/v1/erasures", json!({"phone": "+15551234567"})).await.expect(202).json();
    let path = format!("/v1/erasures/{}", begun["id"].as_str().unwrap());
    let start = std::time::Instant::now();
    let receipt = loop {
        let receipt = api.get(&path).await.expect(200).json();
        if receipt["state"] == "finished" {
            break receipt;
        }
        assert!(start.elapsed().as_secs() < 30, "it never ends: {receipt}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    assert_eq!(receipt["erased"]["deliveries_in_memory"], 12);
    // Something of which nobody asked to be erased comes through the same queue, behind them.
    let cllr = api.source(json!({"name": "other", "dialect": "cllr"})).await;
    let other = json!({"callId": "other", "callerDetails": {"name": "Zoe"}}).to_string();
    let url = cllr["url"].as_str().unwrap();
    let other_door = &url[url.find("/in/").unwrap()..];
    api.send(http::Method::POST, other_door, &[], other).await.unwrap().expect(200);
    receiver.open();
    let got = receiver.wait_for(3).await;
    assert_eq!(got.len(), 3, "two were on the wire already");
    assert_eq!(got[2].json()["data"]["call_id"], "other");
    let delivered = api.deliveries_when("state=delivered", |all| all.len() == 1).await;
    assert_eq!(delivered[0]["call_id"], "other");
    let cancelled = api
        .deliveries_when("state=cancelled", |all| {
            all.iter().filter(|delivery| delivery["attempts"][0].is_object()).count() == 2
        })
        .await;
    assert_eq!(cancelled.len(), 12);
    assert_eq!(receiver.got().len(), 3);
    api.check_sums().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rate_limit_keeps_its_distance() {
    let house = House::start().await;
    let (api, receiver) = (&house.api, Receiver::start().await);
    let door = dialer(api).await;
    api.endpoint(json!({"url": receiver.url("/"), "dialect": "standard", "rate_limit_per_second": 20})).await;
    for call in 0..6 {
        tell(api, &door, &format!("call-{call}"), "call_ended").await;
    }
    let deliveries = api.deliveries_when("", all_delivered(6)).await;
    let mut starts: Vec<jiff::Timestamp> = deliveries
        .iter()
        .map(|delivery| delivery["attempts"][0]["at"].as_str().unwrap().parse().unwrap())
        .collect();
    starts.sort_unstable();
    let whole = starts[5].duration_since(starts[0]);
    assert!(whole.as_millis() >= 5 * 50 - 10, "six attempts at 20/s take a quarter of a second: {whole:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_survive_a_restart_and_a_stop_finishes_what_is_in_flight() {
    let house = House::start().await;
    let receiver = Receiver::start().await;
    let door = dialer(&house.api).await;
    receiver.answer_with([500]);
    receiver.shut();
    let endpoint =
        json!({"url": receiver.url("/"), "dialect": "standard", "retry_delays_seconds": [0.05, 0.05]});
    house.api.endpoint(endpoint).await;
    tell(&house.api, &door, "call-1", "call_ended").await;
    receiver.wait_for_held(1).await;
    let opener = receiver.clone();
    let (data, ()) = tokio::join!(house.stop(), async { opener.open() });

    let house = House::on(data).await;
    let got = receiver.wait_for(2).await;
    assert_eq!(got[0].body, got[1].body);
    let delivery = house.api.deliveries_when("", all_delivered(1)).await.remove(0);
    assert_eq!(
        delivery["attempts"].as_array().unwrap().len(),
        2,
        "the one in flight was settled: {delivery}"
    );
    house.api.check_sums().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn duplicates_are_told_and_updates_are_heard_by_who_asked() {
    let house = House::start().await;
    let (api, receiver) = (&house.api, Receiver::start().await);
    let door = dialer(api).await;
    api.endpoint(json!({"url": receiver.url("/standard"), "dialect": "standard"})).await;
    api.endpoint(json!({"url": receiver.url("/voicegenie"), "dialect": "voicegenie"})).await;
    assert_eq!(tell(api, &door, "call-1", "call_ended").await.get("duplicate"), None);
    let again = tell(api, &door, "call-1", "call_ended").await;
    assert_eq!((&again["duplicate"], &again["data"]["actions_taken"]), (&json!(true), &json!([])));

    let late = json!({"call_uuid": "call-1", "event": "call_ended",
                      "call_data": {"sentiment": {"overall": "positive", "confidence": 0.87}}})
    .to_string();
    let signature = hmac_hex(SECRET, late.as_bytes());
    let headers = [("x-webhook-signature", signature.as_str())];
    api.send(http::Method::POST, &door, &headers, late).await.unwrap().expect(200);
    let got = receiver.wait_for(3).await;
    let standard: Vec<Value> = got.iter().filter(|got| got.path == "/standard").map(Got::json).collect();
    assert_eq!(standard[0]["type"], "call.ended");
    assert_eq!(standard[1]["type"], "call.updated");
    let changed = json!(["analysis.sentiment", "analysis.sentiment_confidence"]);
    assert_eq!(standard[1]["data"]["changed"], changed);
    assert_eq!(standard[1]["data"]["duration_seconds"], 245, "an update carries the whole record");
    api.deliveries_when("", all_delivered(3)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inbound_test_is_shown_and_goes_nowhere() {
    let house = House::start().await;
    let (api, receiver) = (&house.api, Receiver::start().await);
    let source = api.source(json!({"name": "a", "dialect": "aloro", "secret": null})).await;
    let path = source["url"].as_str().unwrap().to_owned();
    api.endpoint(json!({"url": receiver.url("/"), "dialect": "standard"})).await;
    // The test payload that seed 003 prints, twice: tests are not deduped either.
    let body = r#"{"event":"call.ended","test":true,"data":{"call":{"id":"test_call_123","phone":"+15555555555","status":"completed","duration":120},"variables":{"status":true,"summary":"This is a test webhook"}}}"#;
    for _ in 0..2 {
        let answer = api.send(http::Method::POST, &path, &[], body).await.unwrap().expect(200);
        assert_eq!(answer.json(), json!({"received": true}));
    }
    let feed = api.get("/v1/events").await.expect(200).json();
    assert_eq!(feed["data"].as_array().unwrap().len(), 2);
    assert_eq!(feed["data"][0]["test"], true);
    assert_eq!(api.get("/v1/calls").await.expect(200).json()["data"], json!([]));
    assert_eq!(api.get("/v1/deliveries").await.expect(200).json()["data"], json!([]));
    assert!(receiver.got().is_empty());
}

/// Memory holds a thousand deliveries of one endpoint; the rest lies in the store until there is room.
#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_larger_than_memory_arrives_complete_and_each_call_in_its_order() {
    let house = House::start().await;
    let (api, receiver) = (&house.api, Receiver::start().await);
    let door = dialer(api).await;
    receiver.shut();
    api.endpoint(json!({"url": receiver.url("/"), "dialect": "voicegenie", "timeout_seconds": 60})).await;
    let calls = 1600;
    let mut telling = tokio::task::JoinSet::new();
    for worker in 0..20 {
        let (api, door) = (api.clone(), door.clone());
        telling.spawn(async move {
            for call in (worker..calls).step_by(20) {
                for event in ["call_initiated", "call_ended"] {
                    tell(&api, &door, &format!("call-{call}"), event).await;
                }
            }
        });
    }
    telling.join_all().await;
    receiver.open();
    let got = receiver.wait_for(2 * calls).await;
    let mut events: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for request in &got {
        let body = request.json();
        let call = body["call_uuid"].as_str().unwrap().to_owned();
        events.entry(call).or_default().push(body["event"].as_str().unwrap().to_owned());
    }
    assert_eq!((got.len(), events.len()), (2 * calls, calls), "each once");
    for (call, events) in &events {
        assert_eq!(events, &["call_initiated", "call_ended"], "{call}");
    }
    api.deliveries_when("state=pending", <[Value]>::is_empty).await;
    api.check_sums().await;
}

/// The seed's own path can be guessed, so an unsigned source behind it opens to an API key alone.
#[tokio::test(flavor = "multi_thread")]
async fn the_dialers_path_is_never_open_to_strangers() {
    let house = House::start().await;
    let api = &house.api;
    let first = api.get("/v1/sources").await.expect(200).json()["data"][0]["id"].as_str().unwrap().to_owned();
    api.api(http::Method::DELETE, &format!("/v1/sources/{first}"), None).await.expect(204);
    api.source(json!({"name": "open", "dialect": "voicegenie", "secret": null})).await;
    let body = json!({"call_uuid": "c-1", "event": "call_ended"}).to_string();
    let post = |headers: Vec<(&'static str, String)>| {
        let body = body.clone();
        async move {
            let headers: Vec<(&str, &str)> =
                headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let path = "/aiDialerCallbackWithData";
            api.send(http::Method::POST, path, &headers, body).await.expect("an answer")
        }
    };
    let refused = post(Vec::new()).await.expect(401);
    assert_eq!(refused.json(), json!({"error": "Invalid signature"}));
    post(vec![("x-api-key", "pck_of-nobody".to_owned())]).await.expect(401);
    post(vec![("x-api-key", api.key.clone())]).await.expect(200);
}
