//! A disk that others fill to the last byte. What was taken in is delivered and can be read, over restarts too; a person can be
//! erased and what is old let go, and with the room that this makes the node goes on by itself.

use std::time::Instant;

use http::Method;
use serde_json::{Value, json};

use super::dialer::Dialer;
use super::nodes::Node;
use super::volume::Volume;
use super::{PATIENCE, TURN};
use crate::harness::{Answer, Receiver};

const MIB: u64 = 1 << 20;
/// The smallest that may be set.
const RESERVE: u64 = 16 * MIB;
const PHONE: &str = "+15551234567";

/// Tells of a call with a transcript of some hundred thousand bytes that do not compress.
async fn bring(dialer: &Dialer, node: &Node, number: u64) -> Answer {
    let mut random = noise(number + 1);
    let words: Vec<u8> = (0..200_000).map(|_| random()).collect();
    let said = data_encoding::BASE64.encode(&words);
    let phone = if number == 3 { PHONE } else { "+15559999999" };
    let data = json!({"outcome": "completed", "transcript": [{"role": "user", "content": said}]});
    dialer.tell(node, &format!("c-{number}"), phone, data).await
}

/// The same bytes for the same seed in every run.
fn noise(seed: u64) -> impl FnMut() -> u8 {
    let mut state = seed;
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    }
}

/// Asks until the answer is the one that is waited for.
async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    let start = Instant::now();
    while !is_so().await {
        assert!(start.elapsed() < PATIENCE, "{what}: not in time");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

/// Nothing new is taken in, and everybody is told so; what is there can be read.
async fn is_full_and_reads(dialer: &Dialer, node: &Node, calls: u64) {
    let refused = bring(dialer, node, 1000).await.expect(503);
    assert!(refused.headers.contains_key("retry-after"), "{refused:?}");
    assert!(refused.json()["detail"].as_str().is_some_and(|it| it.contains("disk is full")), "{refused:?}");
    let named = json!({"name": "dialer", "dialect": "aloro"});
    node.api().post("/v1/sources", named).await.expect(503);
    let ready = node.api().get("/readyz").await.expect(503).json();
    assert!(ready["detail"].as_str().is_some_and(|it| it.contains("disk is full")), "{ready}");
    let metrics = node.api().get("/metrics").await.expect(200);
    assert!(String::from_utf8_lossy(&metrics.body).contains("\npostcall_store_full 1\n"));

    let last = calls - 1;
    let shown = node.api().get(&format!("/v1/calls/c-{last}")).await.expect(200).json();
    assert_eq!(shown["call_id"], json!(format!("c-{last}")));
    for list in ["calls", "events", "deliveries", "quarantine", "erasures", "endpoints"] {
        node.api().get(&format!("/v1/{list}")).await.expect(200);
    }
    node.api().get(&format!("/v1/calls/c-{last}/transcript")).await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_read_erased_and_retired_until_there_is_room() {
    let _turn = TURN.lock().await;
    let volume = Volume::of(112 * MIB).await;
    let receiver = Receiver::start().await;
    let options = ["--disk-reserve", &RESERVE.to_string()].map(str::to_owned);
    let data = volume.path().join("data");
    let mut node = Node::start_through(volume.runner(), "the node", &data, &options).await;
    let dialer = Dialer::of(&node).await;
    assert!(volume.available() <= (112 - 16) * MIB, "the reserve takes its room from the beginning");
    node.api()
        .endpoint(json!({"url": receiver.url("/hook"), "dialect": "standard", "events": ["call.ended"]}))
        .await;

    // Somebody else takes most of the disk, and calls the rest, while what they owe waits.
    volume.fill(40 * MIB);
    receiver.shut();
    let mut calls = 0;
    while bring(&dialer, &node, calls).await.status == 200 {
        calls += 1;
        assert!(calls < 1000, "it must be full at some time");
    }
    assert!(calls > 20, "{calls}");
    volume.fill(0);
    assert_eq!(volume.available(), 0);
    is_full_and_reads(&dialer, &node, calls).await;

    // What was taken in is delivered, and that is written down.
    receiver.open();
    let (api, all) = (node.api(), usize::try_from(calls).expect("a few"));
    api.deliveries_when("state=pending", <[Value]>::is_empty).await;
    assert!(receiver.got().len() >= all);
    volume.fill(0);
    is_full_and_reads(&dialer, &node, calls).await;

    // It starts again, whichever way it ended, and whoever takes what it leaves.
    node.stop().await;
    volume.fill(0);
    node.start_again().await;
    is_full_and_reads(&dialer, &node, calls).await;
    node.kill().await;
    volume.fill(0);
    node.start_again().await;
    is_full_and_reads(&dialer, &node, calls).await;
    assert_eq!(node.has_logged("the disk is full: nothing new"), 3, "once for each process");

    volume.fill(0);
    let begun = node.api().post("/v1/erasures", json!({"phone": PHONE})).await.expect(202).json();
    let job = format!("/v1/erasures/{}", begun["id"].as_str().expect("an id"));
    until("a person is erased", async || node.api().get(&job).await.json()["state"] == "finished").await;
    let receipt = node.api().get(&job).await.json();
    assert_eq!((&receipt["erased"]["calls"], &receipt["erased"]["events"]), (&json!(1), &json!(1)));
    let erased = node.api().get("/v1/calls/c-3").await.expect(200).json();
    assert_eq!(erased["erased"], json!("person"));
    is_full_and_reads(&dialer, &node, calls).await;

    volume.fill(0);
    node.api().api(Method::PATCH, "/v1/account", Some(json!({"retention_days": 0.000_01}))).await.expect(200);
    until("there is room", async || node.api().get("/readyz").await.status == 200).await;
    assert_eq!(bring(&dialer, &node, 2000).await.status, 200);
    until("it is delivered", async || {
        receiver.got().iter().any(|got| String::from_utf8_lossy(&got.body).contains("c-2000"))
    })
    .await;
    assert_eq!(node.has_logged("the disk is full: nothing new"), 3);
    assert_eq!(node.has_logged("the disk has room again"), 1);
    let metrics = node.api().get("/metrics").await.expect(200);
    assert!(String::from_utf8_lossy(&metrics.body).contains("\npostcall_store_full 0\n"));
    node.api().check_sums().await;
    node.stop().await;
}
