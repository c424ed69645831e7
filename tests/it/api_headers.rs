//! What every answer says to a browser, whatever was asked and whatever came of it.

use serde_json::json;

use crate::api_rig::{House, Reply, cllr_body};

/// Checks an answer; returns its policy.
#[track_caller]
fn policy(name: &str, reply: &Reply) -> String {
    let header =
        |header: &str| reply.header(header).unwrap_or_else(|| panic!("{name}: no {header}: {reply:?}"));
    assert_eq!(header("x-content-type-options"), "nosniff", "{name}");
    assert_eq!(header("x-frame-options"), "DENY", "{name}");
    assert_eq!(header("referrer-policy"), "no-referrer", "{name}");
    header("content-security-policy").to_owned()
}

#[tokio::test]
async fn every_answer_keeps_a_browser_from_more_than_showing_it() {
    let house = House::open().await;
    let source = house.source(&house.key, "cllr").await;
    let signed = house.source(&house.key, "aloro").await;
    let mut answers = vec![
        ("200 at ingest", house.bring(&source, &cllr_body("c1")).await),
        (
            "401 at ingest",
            house.send("POST", &format!("/in/{}", signed["id"].as_str().unwrap()), &[], b"{}").await,
        ),
        ("413 at ingest", house.bring(&source, &vec![b' '; 2 << 20]).await),
        ("list", house.get("/v1/endpoints").await),
        ("201 with a secret", house.post("/v1/sources", json!({ "name": "a", "dialect": "air" })).await),
        ("422", house.post("/v1/sources", json!({})).await),
        ("404", house.get("/v1/calls/none").await),
        ("no route", house.send("GET", "/nothing", &[], b"").await),
        ("no method", house.send("DELETE", "/healthz", &[], b"").await),
        ("no key", house.send("GET", "/v1/calls", &[], b"").await),
        ("transcript", house.send("GET", "/t/none", &[], b"").await),
        ("seed", house.send("PUT", "/agents/a", &[], b"{}").await),
        ("alive", house.send("GET", "/healthz", &[], b"").await),
        ("metrics", house.send("GET", "/metrics", &[], b"").await),
    ];
    for (name, reply) in answers.drain(..) {
        assert_eq!(policy(name, &reply), "default-src 'none'; frame-ancestors 'none'", "{name}");
        assert_eq!(reply.header("cache-control"), Some("no-store"), "{name}");
    }
    for (name, path) in [("docs", "/docs"), ("document", "/openapi.json")] {
        let reply = house.send("GET", path, &[], b"").await;
        let policy = policy(name, &reply);
        assert!(
            policy.starts_with("default-src 'none'; ") && policy.ends_with("frame-ancestors 'none'"),
            "{policy}"
        );
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(reply.header("cache-control"), Some("public, no-cache"), "{name}");
    }
}

/// The policy names the very style that is in the page. Expected value: SHA-256 by `ring`, over what the page holds.
#[tokio::test]
async fn the_page_of_the_documentation_keeps_to_its_policy() {
    let house = House::open().await;
    let reply = house.send("GET", "/docs", &[], b"").await;
    let page = reply.text();
    let (_, rest) = page.split_once("<style>").unwrap();
    let (style, rest) = rest.split_once("</style>").unwrap();
    let hash = ring::digest::digest(&ring::digest::SHA256, style.as_bytes());
    let allowed = format!("style-src 'sha256-{}'", data_encoding::BASE64.encode(hash.as_ref()));
    assert!(policy("docs", &reply).contains(&allowed), "{reply:?}");
    assert!(!rest.contains("<style") && !page.contains(" style=") && !page.contains("<script"));
}

#[tokio::test]
async fn an_answer_lists_fifty_mistakes_and_counts_the_others() {
    let house = House::open().await;
    let fields: Vec<String> = (0..15_000).map(|at| format!("\"urm{at}\":1")).collect();
    let body = format!("{{{}}}", fields.join(","));
    let key = format!("Bearer {}", house.key);
    let headers = [("Authorization", key.as_str()), ("Content-Type", "application/json")];
    for path in
        ["/v1/endpoints", "/v1/sources", "/v1/replays", "/v1/batches", "/v1/campaigns", "/v1/erasures"]
    {
        let reply = house.send("POST", path, &headers, body.as_bytes()).await;
        assert_eq!(reply.status, 422, "{path}: {}", reply.text().len());
        assert!(reply.body.len() < 64 << 10, "{path}: {} bytes", reply.body.len());
        let problem = reply.json();
        let listed = problem["errors"].as_array().unwrap().len();
        assert_eq!(listed, 50, "{path}");
        assert!(problem["more_errors"].as_u64().unwrap() >= 14_950, "{path}: {}", problem["more_errors"]);
    }
    let query: Vec<String> = (0..2_000).map(|at| format!("nolimit{at}=1")).collect();
    let reply = house.get(&format!("/v1/calls?{}", query.join("&"))).await;
    assert_eq!((reply.status, reply.json()["more_errors"].as_u64()), (400, Some(1_950)));
    assert!(reply.body.len() < 64 << 10, "{} bytes", reply.body.len());
}

#[tokio::test]
async fn lists_of_a_request_are_counted_before_they_are_looked_at() {
    let house = House::open().await;
    let endpoint = |field: &str, value: String| {
        format!(r#"{{"url":"https://a.example/","dialect":"standard","{field}":{value}}}"#)
    };
    let headers: Vec<String> = (0..15_000).map(|at| format!("\"X-{at}\":\"\"")).collect();
    let kinds = |times: usize| format!("[{}]", vec!["\"call.ended\""; times].join(","));
    let key = format!("Bearer {}", house.key);
    let given = [("Authorization", key.as_str()), ("Content-Type", "application/json")];
    for (path, body, field) in [
        ("/v1/endpoints", endpoint("headers", format!("{{{}}}", headers.join(","))), "headers"),
        ("/v1/endpoints", endpoint("events", kinds(51)), "events"),
        ("/v1/endpoints", endpoint("events", format!("[{}]", vec!["7"; 100_000].join(","))), "events"),
        ("/v1/endpoints", endpoint("wait_for", kinds(15_000)), "wait_for"),
        (
            "/v1/endpoints",
            endpoint("retry_delays_seconds", format!("[{}]", vec!["-1"; 51].join(","))),
            "retry_delays_seconds",
        ),
        ("/v1/replays", format!(r#"{{"event_types":{}}}"#, kinds(51)), "event_types"),
    ] {
        let reply = house.send("POST", path, &given, body.as_bytes()).await;
        // Nothing is said of any element: none was looked at.
        assert_eq!(reply.problem(), (422, "invalid_request".to_owned(), vec![format!("{field} too_many")]));
    }
    let made = house
        .post("/v1/replays", json!({ "event_types": ["call.ended", "call.ended"], "dry_run": true }))
        .await;
    assert_eq!(made.json()["selection"]["event_types"], json!(["call.ended"]), "{made:?}");
}
