//! Erasing a person, letting transcripts go, and carrying an account away, as callers see it.

use postcall::clock::{Clock, System};
use serde_json::{Value, json};

use crate::api_rig::{House, PUBLIC_URL, Reply};

/// Does the chores as if so many days had gone by.
async fn days_later(house: &House, days: f64) {
    let then = System.now().after(postcall::model::time::duration(24.0 * 3600.0 * days));
    while house.store.maintain(then).await.unwrap().more {}
}

/// A call of the other shape of seed 003, with a transcript in it.
fn spoken(call_id: &str, phone: &str) -> Vec<u8> {
    json!({
        "event": "call.ended", "call_id": call_id, "status": "completed", "phone": phone,
        "transcript": "Agent: hello\nAnn: hello yourself", "variables": { "name": "Ann Example" },
    })
    .to_string()
    .into_bytes()
}

async fn ask(house: &House, path: &str) -> Reply {
    house.send("GET", path, &[], b"").await
}

#[tokio::test]
async fn a_person_is_erased_and_there_is_a_receipt() {
    let house = House::open().await;
    let source = house.source(&house.key, "aloro").await;
    house.endpoint(&house.key, "standard").await;
    for (call, phone) in [("a", "+1 555 123 4567"), ("b", "+1 555 999 9999")] {
        assert_eq!(house.bring(&source, &spoken(call, phone)).await.status, 200);
    }
    let begun = house.post("/v1/erasures", json!({ "phone": "+1 (555) 123-4567" })).await;
    assert_eq!(begun.status, 202);
    let id = begun.json()["id"].as_str().unwrap().to_owned();
    assert!(id.starts_with("ers_") && !begun.text().contains("5551234567"), "{begun:?}");
    assert_eq!((&begun.json()["state"], &begun.json()["overwritten_at"]), (&json!("running"), &Value::Null));
    days_later(&house, 0.0).await;
    let receipt = house.get(&format!("/v1/erasures/{id}")).await.json();
    assert_eq!((&receipt["state"], &receipt["doing"]), (&json!("finished"), &Value::Null));
    assert_eq!(receipt["phone_digest"], begun.json()["phone_digest"]);
    assert!(receipt["phone_digest"].as_str().unwrap().starts_with("hmac-sha256:"));
    assert_eq!(receipt["erased"], json!({ "calls": 1, "events": 1, "deliveries_cancelled": 1 }));
    assert!(receipt["erased_at"].is_string() && receipt["overwritten_at"].is_string());
    assert_eq!(house.get("/v1/erasures").await.json()["data"], json!([receipt]));

    let erased = house.get("/v1/calls/a").await;
    assert_eq!(
        (&erased.json()["erased"], &erased.json()["outcome"]),
        (&json!("person"), &json!("completed"))
    );
    assert!(!erased.text().contains("Ann") && !erased.text().contains("5551234567"), "{erased:?}");
    assert!(house.get("/v1/calls/b").await.text().contains("Ann"));
    assert_eq!(house.get("/v1/calls/a/transcript").await.problem().1, "transcript_gone");
    assert_eq!(house.get("/v1/events").await.json()["data"].as_array().unwrap().len(), 2);

    for (body, wrong) in [
        (json!({}), "phone missing"),
        (json!({ "phone": "112" }), "phone not_a_number"),
        (json!({ "phone": "anonymous" }), "phone not_a_number"),
        (json!({ "phone": 15_551_234_567_u64 }), "phone wrong_type"),
        (json!({ "phone": "+15551234567", "dry_run": true }), "dry_run unknown_field"),
    ] {
        let (status, _, fields) = house.post("/v1/erasures", body).await.problem();
        assert_eq!((status, fields), (422, vec![wrong.to_owned()]));
    }
}

#[tokio::test]
async fn a_link_to_a_transcript_past_its_age_says_so() {
    let house = House::open().await;
    let source = house.source(&house.key, "aloro").await;
    house.bring(&source, &spoken("a", "+15551234567")).await;
    let call = house.store.calls(postcall::model::AccountKey::DEFAULT, <_>::default(), page()).await.unwrap();
    let tag = house.store.accounts()[0].account.tag;
    let url = postcall::store::link::transcript_url(
        PUBLIC_URL,
        house.store.link_key(),
        tag,
        call[0].number,
        System.now(),
    );
    let path = url.strip_prefix(PUBLIC_URL).unwrap();
    assert_eq!(ask(&house, path).await.status, 200);
    let changed = house.patch("/v1/account", json!({ "transcript_retention_days": 7 })).await.json();
    assert_eq!(
        (&changed["transcript_retention_days"], &changed["retention_days"]),
        (&json!(7), &Value::Null)
    );
    days_later(&house, 6.0).await;
    assert_eq!(ask(&house, path).await.status, 200);
    days_later(&house, 8.0).await;
    let (status, code, _) = ask(&house, path).await.problem();
    assert_eq!((status, code.as_str()), (410, "transcript_gone"));
    let left = house.get("/v1/calls/a").await.json();
    assert_eq!((&left["erased"], &left["contact"]["phone"]), (&json!("transcript"), &json!("+15551234567")));
    let refused = house.patch("/v1/account", json!({ "transcript_retention_days": 0 })).await;
    assert_eq!(refused.problem().2, ["transcript_retention_days out_of_range"]);
    let both = json!({ "transcript_retention_days": null, "retention_days": 30 });
    let changed = house.patch("/v1/account", both).await.json();
    assert_eq!(
        (&changed["transcript_retention_days"], &changed["retention_days"]),
        (&Value::Null, &json!(30))
    );
}

/// The printed example of a system, from the conformance cases.
fn example(dialect: &str) -> Vec<u8> {
    let path = format!("{}/vectors/{dialect}/in_example.json", env!("CARGO_MANIFEST_DIR"));
    let case: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    case["body"].as_str().unwrap().as_bytes().to_vec()
}

/// Bodies whose systems sign no time, or nothing: whoever has captured one can bring it once more with the same signature.
#[tokio::test]
async fn a_captured_body_is_a_duplicate_after_its_call_is_gone() {
    let house = House::open().await;
    house.endpoint(&house.key, "standard").await;
    let mut captured = Vec::new();
    for dialect in ["voicegenie", "cllr", "dialgen", "air"] {
        captured.push((house.source(&house.key, dialect).await, example(dialect)));
    }
    let aloro = house.source(&house.key, "aloro").await;
    captured.push((aloro.clone(), spoken("a", "+15551234567")));
    // One whose id is replaced when its person is erased.
    captured.push((aloro, spoken("call-15557654321", "+15557654321")));
    let bring_all = async |is_repeat: bool| {
        for (source, body) in &captured {
            let reply = house.bring(source, body).await;
            let duplicate = reply.json().get("duplicate").cloned();
            assert_eq!((reply.status, duplicate), (200, is_repeat.then_some(json!(true))), "{reply:?}");
        }
    };
    let counts = async || {
        let sums = house.get("/v1/reconciliation").await.json()["endpoints"].clone();
        let calls = house.get("/v1/calls").await.json()["data"].as_array().unwrap().len();
        let ended = house.get("/v1/analytics").await.json()["totals"].clone();
        (sums, calls, ended)
    };
    bring_all(false).await;
    let erased = house.post("/v1/erasures", json!({ "phone": "+15557654321" })).await;
    assert_eq!(erased.status, 202);
    days_later(&house, 0.0).await;
    let before = counts().await;
    bring_all(true).await;
    assert_eq!(counts().await, before, "after an erasure");

    house.patch("/v1/account", json!({ "retention_days": 0.5 })).await;
    days_later(&house, 1.0).await;
    let before = counts().await;
    assert_eq!((before.1, &before.0[0]["owed"]), (0, &json!(captured.len())));
    bring_all(true).await;
    assert_eq!(counts().await, before, "after they were too old");
    assert_eq!(house.get("/v1/events").await.json()["data"], json!([]));

    // Who says that nothing is remembered gets what was so before.
    house.patch("/v1/account", json!({ "repeat_memory_days": 0 })).await;
    bring_all(false).await;
}

fn page() -> postcall::store::Page {
    postcall::store::Page { after: None, limit: 10 }
}

/// The lines of a body that came in chunks.
fn lines(reply: &Reply) -> Vec<Value> {
    assert_eq!(
        (reply.status, reply.header("content-type")),
        (200, Some("application/x-ndjson")),
        "{reply:?}"
    );
    let text = String::from_utf8(unchunked(&reply.body)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn unchunked(mut body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let end = body.windows(2).position(|two| two == b"\r\n").expect("the size of a chunk");
        let size = usize::from_str_radix(std::str::from_utf8(&body[..end]).unwrap(), 16).unwrap();
        if size == 0 {
            return out;
        }
        out.extend_from_slice(&body[end + 2..end + 2 + size]);
        body = &body[end + 4 + size..];
    }
}

async fn bring(house: &House, key: &str, query: &str, body: &str) -> Reply {
    let key = format!("Bearer {key}");
    let headers = [("Authorization", key.as_str()), ("Content-Type", "application/x-ndjson")];
    house.send("POST", &format!("/v1/import{query}"), &headers, body.as_bytes()).await
}

#[tokio::test]
async fn an_account_moves_house() {
    let house = House::open().await;
    let source = house.source(&house.key, "aloro").await;
    house.endpoint(&house.key, "standard").await;
    for call in 0..250 {
        house.bring(&source, &spoken(&format!("c-{call}"), "+15551234567")).await;
    }
    let all = lines(&house.get("/v1/export").await);
    let kinds = |all: &[Value], kind: &str| all.iter().filter(|line| line["kind"] == kind).count();
    assert_eq!([kinds(&all, "account"), kinds(&all, "source"), kinds(&all, "endpoint")], [1, 1, 1]);
    assert_eq!([kinds(&all, "event"), kinds(&all, "call"), kinds(&all, "delivery")], [250; 3]);
    assert_eq!((&all[0]["kind"], &all[all.len() - 1]["kind"]), (&json!("account"), &json!("end")));
    // From any cursor on the rest follows.
    let cursors: Vec<usize> = (0..all.len()).filter(|&at| all[at]["kind"] == "cursor").collect();
    assert!(cursors.len() >= 6, "{cursors:?}");
    for at in [cursors[0], cursors[3], cursors[cursors.len() - 1]] {
        let path = format!("/v1/export?cursor={}", all[at]["cursor"].as_str().unwrap());
        assert_eq!(lines(&house.get(&path).await), all[at + 1..]);
    }
    let text = all.iter().map(|line| format!("{line}\n")).collect::<String>();

    let new = House::open().await;
    let done = bring(&new, &new.key, "", &text).await;
    assert_eq!(done.status, 200, "{done:?}");
    let added =
        json!({ "account": 1, "source": 1, "endpoint": 1, "event": 250, "call": 250, "delivery": 250 });
    assert_eq!((&done.json()["added"], &done.json()["ended"]), (&added, &json!(true)));
    assert!(!new.bell.take().is_empty(), "what is pending may go");
    for path in ["/v1/events?limit=1000", "/v1/calls", "/v1/deliveries", "/v1/reconciliation"] {
        assert_eq!(new.get(path).await.json()["data"], house.get(path).await.json()["data"], "{path}");
    }
    let again = bring(&new, &new.key, "", &text).await.json();
    assert_eq!((&again["added"], &again["ended"]), (&json!({}), &json!(true)));

    let secret = house.get("/v1/export?secrets=clear").await;
    assert!(lines(&secret).iter().any(|line| line["secrets"]["credential"].is_object()));
    let tenant = house.tenant("acme").await;
    let refused = house.call(&tenant, "GET", "/v1/export?secrets=sealed", &Value::Null).await;
    assert_eq!(refused.problem().0, 403);
    let theirs = house.call(&tenant, "GET", "/v1/export", &Value::Null).await;
    assert_eq!(lines(&theirs).len(), 2, "the account and the end");
    let acme = lines(&theirs)[0]["id"].as_str().unwrap().to_owned();
    let by_admin = house.get(&format!("/v1/export?account_id={acme}&secrets=clear")).await;
    assert_eq!(lines(&by_admin), lines(&theirs));
    let mine = all[0]["id"].as_str().unwrap();
    let stolen = house.call(&tenant, "GET", &format!("/v1/export?account_id={mine}"), &Value::Null).await;
    assert_eq!(stolen.problem().2, ["account_id unknown_account"]);
    let cursor = all[cursors[0]]["cursor"].as_str().unwrap();
    let stolen = house.call(&tenant, "GET", &format!("/v1/export?cursor={cursor}"), &Value::Null).await;
    assert_eq!(stolen.problem().1, "bad_cursor");
}

/// Receivers tell records by their ids: only whoever may act on every account brings ids along.
#[tokio::test]
async fn a_tenant_does_not_choose_its_ids() {
    let house = House::open().await;
    let source = house.source(&house.key, "aloro").await;
    house.bring(&source, &spoken("c-1", "+15551234567")).await;
    let all = lines(&house.get("/v1/export").await);
    let text = all.iter().map(|line| format!("{line}\n")).collect::<String>();
    let mark = |id: &Value| id.as_str().unwrap()[4..12].to_owned();
    let brought = mark(&all[0]["id"]);

    let new = House::open().await;
    let tenant = new.tenant("acme").await;
    let own = mark(&new.call(&tenant, "GET", "/v1/account", &Value::Null).await.json()["id"]);
    assert_eq!(bring(&new, &tenant, "", &text).await.status, 200);
    let events = new.call(&tenant, "GET", "/v1/events", &Value::Null).await.json();
    assert_eq!(mark(&events["data"][0]["id"]), own);
    assert_ne!(own, brought);

    let other = new.tenant("other").await;
    let id =
        new.call(&other, "GET", "/v1/account", &Value::Null).await.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(bring(&new, &new.key, &format!("?account_id={id}"), &text).await.status, 200);
    let events = new.call(&other, "GET", "/v1/events", &Value::Null).await.json();
    assert_eq!(mark(&events["data"][0]["id"]), brought, "an admin brings them along");
}

#[tokio::test]
async fn wrong_lines_are_named_by_their_numbers() {
    let house = House::open().await;
    let account = lines(&house.get("/v1/export").await)[0].to_string();
    let new = House::open().await;
    let body =
        format!("{account}\n\nnonsense\n{{\"kind\":\"event\"}}\r\n{{\"kind\":\"x\"}}\n{{\"kind\":\"end\"}}");
    let refused = bring(&new, &new.key, "?first_line=11", &body).await;
    let (status, code, fields) = refused.problem();
    assert_eq!((status, code.as_str()), (422, "invalid_request"));
    assert_eq!(fields, ["line 13 malformed_line", "line 14 malformed_line", "line 15 unknown_kind"]);
    let ended = bring(&new, &new.key, "", "{\"kind\":\"end\"}\n").await.json();
    assert_eq!(ended["ended"], true, "what was wrong kept it open");
    let tenant = new.tenant("acme").await;
    let (status, code, _) = bring(&new, &tenant, "", "{\"kind\":\"end\"}\n").await.problem();
    assert_eq!((status, code.as_str()), (409, "no_account_line"));
    let empty = bring(&new, &tenant, "", "").await.json();
    assert_eq!(empty, json!({ "added": {}, "unchanged": 0, "ended": false }));
    for query in ["?deliver=perhaps", "?first_line=0", "?may_end=1", "?what=1"] {
        assert_eq!(bring(&new, &tenant, query, "").await.problem().0, 400, "{query}");
    }
}
