//! A tenant whose name server never answers: each attempt on its endpoints asks it, with hardly any patience and no wait
//! before the next one. What waits for names must not be what everybody else's reads and deliveries wait in.

use std::time::Duration;

use bytes::Bytes;
use serde_json::json;

use super::attack::{Attack, Prepared};
use super::script::{Script, Then};
use super::target::Target;

/// Endpoints, each under a name of its own.
const ENDPOINTS: usize = 16;
/// How long an attempt may take in seconds: as short as one would like, or the least that is allowed.
const TIMEOUTS: [f64; 2] = [0.002, 1.0];

/// The attack.
pub const ATTACK: Attack = Attack {
    name: "hanging-names",
    about: "20 events a second to 16 endpoints whose names are never found, 50 attempts each",
    needs: Some("--name-server"),
    beside: None,
    prepare,
};

fn prepare(target: &Target) -> Prepared<'_> {
    Box::pin(async {
        for number in 0..ENDPOINTS {
            let url = format!("http://name-{number}.attack.test:9/");
            for timeout in TIMEOUTS {
                let more = json!({"timeout_seconds": timeout, "retry_delays_seconds": vec![0; 50]});
                if target.endpoint(&url, more).await? {
                    break;
                }
            }
        }
        let theirs = target.clone();
        let requests = Box::new(move |number| Bytes::from(theirs.event(number)));
        Ok(Script { connections: 1, addresses: 1, requests, then: Then::Read(Duration::from_millis(50)) })
    })
}
