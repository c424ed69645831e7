//! Thousands of signatures beside a large body, at a source of somebody else: work for each of them would be a second of
//! a processor for one request of a stranger.

use std::time::Duration;

use ::postcall::clock::{Clock, System};
use bytes::Bytes;

use super::attack::{Attack, Prepared};
use super::script::{Script, Then};
use super::target::Target;

/// Signatures in the header, each as short as it can be: as many as the largest head takes.
const SIGNATURES: usize = 7_500;
/// Bytes of the body, the most that an ingest URL takes.
const BODY: usize = 1 << 20;

/// The attack.
pub const ATTACK: Attack = Attack {
    name: "signature-list",
    about: "7,500 signatures beside a body of 1 MiB at a foreign source, 4 connections",
    needs: None,
    beside: None,
    prepare,
};

fn prepare(target: &Target) -> Prepared<'_> {
    Box::pin(async {
        let (target, signatures) = (target.clone(), "v1, ".repeat(SIGNATURES));
        let body = "a".repeat(BODY).into_bytes();
        let requests = move |number| {
            let now = System.now().as_seconds();
            let more = format!(
                "webhook-id: msg_{number}\r\nwebhook-timestamp: {now}\r\nwebhook-signature: {signatures}\r\n"
            );
            let head = target.head("POST", &target.foreign, &more, BODY);
            Bytes::from([head.as_slice(), &body].concat())
        };
        let then = Then::Read(Duration::ZERO);
        Ok(Script { connections: 4, addresses: 1, requests: Box::new(requests), then })
    })
}
