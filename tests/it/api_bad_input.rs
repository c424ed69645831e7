//! Bad input: each gets a status, a code, and the name of every field that is wrong, in one answer.

use serde_json::{Value, json};

use crate::api_rig::House;

const OK_URL: &str = "https://receiver.example/hook";

fn endpoint(more: Value) -> Value {
    let mut body = json!({ "url": OK_URL, "dialect": "standard" });
    let fields = body.as_object_mut().unwrap();
    fields.extend(more.as_object().unwrap().clone());
    body
}

#[tokio::test]
async fn every_wrong_field_of_an_endpoint_is_named() {
    let house = House::open().await;
    let made = house.endpoint(&house.key, "standard").await;
    let path = format!("/v1/endpoints/{}", made["id"].as_str().unwrap());
    let long = "x".repeat(2049);
    for (body, expected) in [
        (json!({}), vec!["dialect missing", "url missing"]),
        (json!({ "url": null, "dialect": null }), vec!["dialect missing", "url missing"]),
        (endpoint(json!({ "dialect": "vapi" })), vec!["dialect unknown_dialect"]),
        (endpoint(json!({ "dialect": 7, "url": 7 })), vec!["dialect wrong_type", "url wrong_type"]),
        (endpoint(json!({ "url": "not a url" })), vec!["url url_refused"]),
        (endpoint(json!({ "url": "ftp://receiver.example" })), vec!["url url_refused"]),
        (endpoint(json!({ "url": "http://10.0.0.1/" })), vec!["url url_refused"]),
        (endpoint(json!({ "url": "http://169.254.169.254/latest" })), vec!["url url_refused"]),
        (endpoint(json!({ "url": "https://user:pass@receiver.example" })), vec!["url url_refused"]),
        (endpoint(json!({ "url": format!("https://receiver.example/{long}") })), vec!["url too_long"]),
        (endpoint(json!({ "secret": "" })), vec!["secret empty"]),
        (endpoint(json!({ "secret": "whpk_public" })), vec!["secret unfit"]),
        (endpoint(json!({ "bearer_token": "0123456789abcdef" })), vec!["bearer_token not_used"]),
        (endpoint(json!({ "dialect": "air", "bearer_token": "short" })), vec!["bearer_token unfit"]),
        (
            endpoint(json!({ "dialect": "air", "bearer_token": "has a space in it" })),
            vec!["bearer_token unfit"],
        ),
        (endpoint(json!({ "dialect": "air", "bearer_token": null })), vec!["bearer_token missing"]),
        (endpoint(json!({ "dialect": "air", "secret": "s" })), vec!["secret not_used"]),
        (endpoint(json!({ "dialect": "cllr", "secret": "s" })), vec!["secret not_used"]),
        (endpoint(json!({ "dialect": "aloro", "secret": "" })), vec!["secret empty"]),
        (endpoint(json!({ "events": [] })), vec!["events empty"]),
        (endpoint(json!({ "events": "call.ended" })), vec!["events wrong_type"]),
        (
            endpoint(json!({ "events": ["call.ended", "call.over", 3] })),
            vec!["events[1] unknown_event_type", "events[2] unknown_event_type"],
        ),
        (endpoint(json!({ "dialect": "cllr", "events": ["call.failed"] })), vec!["events event_not_said"]),
        (endpoint(json!({ "dialect": "air", "events": ["batch.completed"] })), vec!["events event_not_said"]),
        (endpoint(json!({ "agent_id": "" })), vec!["agent_id empty"]),
        (endpoint(json!({ "agent_id": 7 })), vec!["agent_id wrong_type"]),
        (endpoint(json!({ "completed_only": "yes" })), vec!["completed_only wrong_type"]),
        (endpoint(json!({ "timeout_seconds": -1 })), vec!["timeout_seconds out_of_range"]),
        (endpoint(json!({ "timeout_seconds": 0 })), vec!["timeout_seconds out_of_range"]),
        (endpoint(json!({ "timeout_seconds": 0.002 })), vec!["timeout_seconds out_of_range"]),
        (endpoint(json!({ "timeout_seconds": 0.999 })), vec!["timeout_seconds out_of_range"]),
        (endpoint(json!({ "timeout_seconds": 300.1 })), vec!["timeout_seconds out_of_range"]),
        (endpoint(json!({ "timeout_seconds": "20" })), vec!["timeout_seconds wrong_type"]),
        (endpoint(json!({ "retry_delays_seconds": 5 })), vec!["retry_delays_seconds wrong_type"]),
        (
            endpoint(json!({ "retry_delays_seconds": [1, -1, 604_801, "5"] })),
            vec![
                "retry_delays_seconds[1] out_of_range",
                "retry_delays_seconds[2] out_of_range",
                "retry_delays_seconds[3] out_of_range",
            ],
        ),
        (endpoint(json!({ "retry_delays_seconds": vec![1; 51] })), vec!["retry_delays_seconds too_many"]),
        (endpoint(json!({ "max_in_flight": 0 })), vec!["max_in_flight out_of_range"]),
        (endpoint(json!({ "max_in_flight": 1001 })), vec!["max_in_flight out_of_range"]),
        (endpoint(json!({ "max_in_flight": 1.5 })), vec!["max_in_flight out_of_range"]),
        (endpoint(json!({ "rate_limit_per_second": 0 })), vec!["rate_limit_per_second out_of_range"]),
        (endpoint(json!({ "headers": [] })), vec!["headers wrong_type"]),
        (
            endpoint(json!({ "headers": { "Host": "x", "a b": "x", "X-Ok": 1, "X-Nul": "a\u{0}" } })),
            vec![
                "headers.Host header_refused",
                "headers.a b header_refused",
                "headers.X-Ok wrong_type",
                "headers.X-Nul header_refused",
            ],
        ),
        (endpoint(json!({ "headers": { "X-A": "1", "x-a": "2" } })), vec!["headers.x-a repeated"]),
        (endpoint(json!({ "timeout_second": 3 })), vec!["timeout_second unknown_field"]),
        (
            json!({ "url": "http://127.1.1.1", "dialect": "x", "events": ["y"], "ordered": 1, "z": 1 }),
            vec![
                "dialect unknown_dialect",
                "events[0] unknown_event_type",
                "ordered wrong_type",
                "z unknown_field",
            ],
        ),
    ] {
        let refused = house.post("/v1/endpoints", body.clone()).await;
        let (status, code, mut fields) = refused.problem();
        let mut expected = expected;
        expected.sort_unstable();
        fields.sort_unstable();
        assert_eq!((status, code.as_str()), (422, "invalid_request"), "{body}");
        assert_eq!(fields, expected, "{body}");
        if body.get("url").is_some_and(Value::is_string)
            && expected.iter().all(|wrong| !wrong.contains("missing"))
        {
            let changed = house.call(&house.key, "PATCH", &path, &body).await;
            let mut fields = changed.problem().2;
            fields.sort_unstable();
            assert_eq!(fields, expected, "a change is held to the same rules: {body}");
        }
    }
    assert_eq!(house.get("/v1/endpoints").await.json()["data"].as_array().unwrap().len(), 1);
    assert_eq!(house.get(&path).await.json()["url"], OK_URL);
}

#[tokio::test]
async fn every_wrong_field_of_a_source_is_named() {
    let house = House::open().await;
    for (body, expected) in [
        (json!({}), vec!["name missing", "dialect missing"]),
        (json!({ "name": "", "dialect": "Air" }), vec!["name empty", "dialect unknown_dialect"]),
        (json!({ "name": "n", "dialect": "air", "bearer_token": "short" }), vec!["bearer_token unfit"]),
        (json!({ "name": "n", "dialect": "aloro", "secret": "" }), vec!["secret empty"]),
        (json!({ "name": "n", "dialect": "aloro", "secret": ["s"] }), vec!["secret wrong_type"]),
        (json!({ "name": "n", "dialect": "standard", "secret": "whsec_%%%" }), vec!["secret unfit"]),
        (json!({ "name": "n", "dialect": "cllr", "secret": "s" }), vec!["secret not_used"]),
        (json!({ "name": "n", "dialect": "cllr", "secrets": "s" }), vec!["secrets unknown_field"]),
        (
            json!({ "name": "cut \u{1F600}", "dialects": "cllr" }),
            vec!["dialect missing", "dialects unknown_field"],
        ),
    ] {
        let refused = house.post("/v1/sources", body.clone()).await;
        assert_eq!(
            refused.problem(),
            (422, "invalid_request".to_owned(), expected.iter().map(|&e| e.to_owned()).collect()),
            "{body}"
        );
    }
}

#[tokio::test]
async fn every_wrong_parameter_is_named() {
    let house = House::open().await;
    let calls = house.source(&house.key, "cllr").await;
    for number in 0..3 {
        house.bring(&calls, &crate::api_rig::cllr_body(&format!("c{number}"))).await;
    }
    let cursor = house.get("/v1/calls?limit=1").await.json()["next_cursor"].as_str().unwrap().to_owned();
    let tenant = house.tenant("other").await;
    for (path, code, expected) in [
        ("/v1/calls?limit=0", "invalid_request", vec!["limit out_of_range"]),
        (
            "/v1/calls?limit=101&outcome=great",
            "invalid_request",
            vec!["limit out_of_range", "outcome unknown_value"],
        ),
        ("/v1/calls?limit=1&limit=2", "invalid_request", vec!["limit unknown_field"]),
        ("/v1/calls?callid=1", "invalid_request", vec!["callid unknown_field"]),
        ("/v1/calls?cursor=x", "bad_cursor", vec!["cursor bad_cursor"]),
        (&format!("/v1/deliveries?cursor={cursor}"), "bad_cursor", vec!["cursor bad_cursor"]),
        ("/v1/events?limit=1001", "invalid_request", vec!["limit out_of_range"]),
        ("/v1/events?after=evt_1", "bad_cursor", vec!["after bad_cursor"]),
        ("/v1/deliveries?state=lost", "invalid_request", vec!["state unknown_value"]),
        (
            "/v1/deliveries?endpoint_id=1&event_id=x",
            "invalid_request",
            vec!["endpoint_id bad_id", "event_id bad_id"],
        ),
        ("/v1/reconciliation?recount=yes", "invalid_request", vec!["recount wrong_type"]),
        ("/v1/quarantine?limit=-1", "invalid_request", vec!["limit out_of_range"]),
    ] {
        let refused = house.get(path).await;
        assert_eq!(
            refused.problem(),
            (400, code.to_owned(), expected.iter().map(|&e| e.to_owned()).collect()),
            "{path}"
        );
    }
    let stolen = house.call(&tenant, "GET", &format!("/v1/calls?cursor={cursor}"), &Value::Null).await;
    assert_eq!(stolen.problem().1, "bad_cursor");
}

#[tokio::test]
async fn what_is_no_request_gets_a_problem_too() {
    let house = House::open().await;
    let key = format!("Bearer {}", house.key);
    let json = ("Content-Type", "application/json");
    let auth = ("Authorization", key.as_str());
    let post = async |headers: &[(&str, &str)], body: &[u8]| {
        let reply = house.send("POST", "/v1/sources", headers, body).await;
        let (status, code, _) = reply.problem();
        (status, code)
    };
    let is = |status, code: &str| (status, code.to_owned());
    assert_eq!(post(&[auth, json], b"{\"name\":").await, is(400, "malformed_json"));
    assert_eq!(post(&[auth, json], b"[]").await, is(400, "malformed_json"));
    assert_eq!(post(&[auth, json], b"{\"name\":\"\xff\"}").await, is(400, "malformed_json"));
    assert_eq!(post(&[auth, json], b"").await, is(422, "invalid_request"));
    assert_eq!(
        post(&[auth, json], b"{\"name\":\"cut \\ud83d\",\"dialect\":\"cllr\"}").await,
        is(422, "invalid_request")
    );
    let deep = [b"{\"name\":".as_slice(), &[b'['; 100_000]].concat();
    assert_eq!(post(&[auth, json], &deep).await, is(400, "malformed_json"));
    assert_eq!(post(&[auth], b"{}").await, is(415, "not_json"));
    assert_eq!(post(&[auth, ("Content-Type", "text/plain")], b"{}").await, is(415, "not_json"));
    let large = vec![b' '; (1 << 20) + 1];
    assert_eq!(post(&[auth, json], &large).await, is(413, "body_too_large"));
    assert_eq!(post(&[json], b"{}").await, is(401, "unauthorized"));
    for wrong in ["Bearer", "Bearer ", "Bearer pck_x", "Basic abc", "pck_x", "Bearer \u{e9}"] {
        assert_eq!(post(&[("Authorization", wrong), json], b"{}").await, is(401, "unauthorized"), "{wrong}");
    }
    assert_eq!(
        post(&[("x-api-key", &house.key), json], b"{}").await,
        is(401, "unauthorized"),
        "not a seed's path"
    );

    for (method, path, status, code, allow) in [
        ("GET", "/v1/nothing", 404, "no_route", None),
        ("GET", "/", 404, "no_route", None),
        ("POST", "/v1/sources/x/y/z", 404, "no_route", None),
        ("GET", "/v1/sources/src_1", 404, "not_found", None),
        ("GET", "/v1/sources/%FF%FE", 404, "not_found", None),
        ("PUT", "/v1/sources", 405, "method_not_allowed", Some("GET,HEAD,POST")),
        ("GET", "/in/src_1", 405, "method_not_allowed", Some("POST")),
        ("DELETE", "/healthz", 405, "method_not_allowed", Some("GET,HEAD")),
    ] {
        let reply = house.send(method, path, &[auth], b"").await;
        assert_eq!((reply.problem().0, reply.problem().1.as_str()), (status, code), "{method} {path}");
        assert_eq!(reply.header("allow"), allow, "{method} {path}");
    }
}

#[tokio::test]
async fn a_problem_never_repeats_what_may_be_secret() {
    let house = House::open().await;
    for body in [
        json!({ "url": OK_URL, "dialect": "air", "bearer_token": "hunter2" }),
        json!({ "url": OK_URL, "dialect": "standard", "secret": "whsec_%hunter2" }),
        json!({ "url": OK_URL, "dialect": "standard", "secret": ["hunter2"] }),
        json!({ "url": OK_URL, "dialect": "cllr", "secret": "hunter2" }),
        json!({ "url": OK_URL, "dialect": "cllr", "headers": { "X-A": "hunter2\u{7}" } }),
        json!("hunter2"),
    ] {
        let refused = house.post("/v1/endpoints", body).await;
        refused.problem();
        assert!(!refused.text().contains("hunter2"), "{}", refused.text());
    }
}
