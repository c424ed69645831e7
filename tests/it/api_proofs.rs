//! What it costs to find out who sent a body: the same whatever a stranger's headers hold, and whether there is such a
//! source or not. Work is counted, by what `/metrics` says; no time is measured.

use std::collections::BTreeSet;

use data_encoding::BASE64;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};

use crate::api_rig::{House, PUBLIC_URL};

/// How often something was computed over a body: HMACs, and Ed25519 verifications.
type Cost = (u64, u64);

async fn spent(house: &House) -> Cost {
    let metrics = house.send("GET", "/metrics", &[], b"").await;
    let read = |name: &str| {
        let line = metrics.text().lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name}")).trim().parse().unwrap()
    };
    (read("postcall_ingest_hmacs_total"), read("postcall_ingest_ed25519_checks_total"))
}

/// What a request is about, its headers and its body.
type Probe = (&'static str, Vec<(&'static str, String)>, &'static str);

/// Requests that anybody may send, with headers for all dialects at once.
fn probes() -> Vec<Probe> {
    let listed = |signature: &str, times: usize| vec![signature; times].join(" ");
    let (v1, v1a) = (format!("v1,{}", BASE64.encode(&[7; 32])), format!("v1a,{}", BASE64.encode(&[7; 64])));
    let standard = |signatures: String| {
        vec![
            ("webhook-id", "evt_1".to_owned()),
            ("webhook-timestamp", "1700000000".to_owned()),
            ("webhook-signature", signatures),
        ]
    };
    let hex = |value: String| {
        ["X-Webhook-Signature", "x-dialgen-signature", "X-Aloro-Signature"]
            .map(|name| (name, value.clone()))
            .to_vec()
    };
    vec![
        ("nothing", vec![], "{}"),
        ("hex", hex("ab".repeat(32)), "{}"),
        ("hex of another form of the body", hex("ab".repeat(32)), "{ }"),
        ("hex of no JSON", hex("ab".repeat(32)), "{"),
        ("no hex", hex("v1,".repeat(3000)), "{}"),
        ("hex, repeated", [hex("ab".repeat(32)), hex("cd".repeat(32))].concat(), "{}"),
        ("hashes", hex(format!("{}=00", "sha".repeat(2000))), "{}"),
        ("bearer", vec![("Authorization", format!("Bearer {}", "x".repeat(20_000)))], "{}"),
        ("one signature", standard(v1.clone()), "{}"),
        ("600 signatures", standard(listed(&v1, 600)), "{}"),
        ("7,500 empty ones", standard(listed("v1,", 7_500)), "{}"),
        ("300 of Ed25519", standard(listed(&v1a, 300)), "{}"),
        ("both kinds", standard(listed(&format!("{v1} {v1a}"), 100)), "{}"),
        ("repeated", [standard(listed(&v1, 100)), standard(listed(&v1a, 100))].concat(), "{}"),
    ]
}

/// What each probe costs at a path.
async fn costs(house: &House, path: &str) -> Vec<(&'static str, Cost)> {
    let mut costs = Vec::new();
    for (name, headers, body) in probes() {
        let headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let before = spent(house).await;
        let reply = house.send("POST", path, &headers, body.as_bytes()).await;
        assert_eq!((reply.status, reply.text()), (401, r#"{"error":"Invalid signature"}"#), "{name}");
        let after = spent(house).await;
        costs.push((name, (after.0 - before.0, after.1 - before.1)));
    }
    costs
}

fn cost(costs: &[(&'static str, Cost)], name: &str) -> Cost {
    costs.iter().find(|(known, _)| *known == name).unwrap().1
}

async fn source(house: &House, dialect: &str, secret: Option<&str>) -> (String, String) {
    let mut body = json!({ "name": dialect, "dialect": dialect });
    if let Some(secret) = secret {
        body["secret"] = secret.into();
    }
    let made = house.post("/v1/sources", body).await.json();
    let url = made["url"].as_str().unwrap();
    (made["id"].as_str().unwrap().to_owned(), url.strip_prefix(PUBLIC_URL).unwrap().to_owned())
}

#[tokio::test]
async fn a_check_costs_the_same_whatever_is_listed_and_whether_there_is_a_source() {
    let house = House::open().await;
    let pair = Ed25519KeyPair::from_seed_unchecked(&[3; 32]).unwrap();
    let private = format!("whsk_{}", BASE64.encode(&[3; 32]));
    let public = format!("whpk_{}", BASE64.encode(pair.public_key().as_ref()));

    let mut known = Vec::new();
    for (dialect, secret) in [
        ("voicegenie", None),
        ("dialgen", None),
        ("aloro", None),
        ("air", None),
        ("standard", None),
        ("standard", Some(private.as_str())),
        ("standard", Some(public.as_str())),
    ] {
        let (id, path) = source(&house, dialect, secret).await;
        let of_one = costs(&house, &path).await;
        if dialect != "air" && secret.is_none() {
            let rotated = house.post(&format!("/v1/sources/{id}/rotate-secret"), Value::Null).await;
            assert_eq!(rotated.status, 200, "{rotated:?}");
            assert_eq!(costs(&house, &path).await, of_one, "{dialect}: two secrets show");
        }
        // A token that does not belong there.
        assert_eq!(
            costs(&house, &format!("{path}.token")).await,
            of_one,
            "{dialect}: it is told from others"
        );
        known.push((dialect, of_one));
    }

    let hex = &known[0].1;
    assert_eq!((cost(hex, "hex"), cost(hex, "hex of another form of the body")), ((2, 0), (4, 0)));
    assert_eq!((cost(hex, "hex of no JSON"), cost(hex, "hex, repeated")), ((2, 0), (2, 0)));
    assert_eq!((cost(hex, "no hex"), cost(hex, "hashes"), cost(hex, "nothing")), ((0, 0), (0, 0), (0, 0)));
    let standard = &known[4].1;
    assert_eq!((cost(standard, "one signature"), cost(standard, "600 signatures")), ((2, 0), (2, 0)));
    assert_eq!((cost(standard, "7,500 empty ones"), cost(standard, "300 of Ed25519")), ((0, 0), (0, 0)));
    assert_eq!((cost(standard, "both kinds"), cost(standard, "repeated")), ((2, 0), (2, 0)));
    let ed25519 = &known[6].1;
    assert_eq!((cost(ed25519, "600 signatures"), cost(ed25519, "300 of Ed25519")), ((0, 0), (0, 8)));

    // What is not there costs what something costs that is: always the same for the same id, token or not.
    let mut unknown = BTreeSet::new();
    for number in 0..60 {
        let path = format!("/in/src_000000000000000{number:02}");
        let of_it = costs(&house, &path).await;
        if number < 5 {
            assert_eq!(costs(&house, &format!("{path}.token")).await, of_it, "{path}");
        }
        unknown.insert(of_it);
    }
    let kinds: BTreeSet<_> = known.iter().map(|(_, costs)| costs.clone()).collect();
    assert_eq!(unknown, kinds);

    // An unsigned source without its token is as one that is not there.
    let (id, _) = source(&house, "cllr", None).await;
    let without = costs(&house, &format!("/in/{id}")).await;
    assert!(kinds.contains(&without), "{without:?}");
    assert_eq!(costs(&house, &format!("/in/{id}.wrong")).await, without);
}

#[tokio::test]
async fn a_source_has_two_valid_secrets_at_most() {
    let house = House::open().await;
    let (id, _) = source(&house, "aloro", None).await;
    let rotate = format!("/v1/sources/{id}/rotate-secret");
    assert_eq!(house.post(&rotate, Value::Null).await.status, 200);
    let (status, code, _) = house.post(&rotate, Value::Null).await.problem();
    assert_eq!((status, code.as_str()), (409, "too_many_secrets"));
    assert_eq!(house.post(&rotate, json!({ "grace_seconds": 0 })).await.status, 200, "the old ones end now");
    assert_eq!(house.post(&rotate, Value::Null).await.status, 200);
}
