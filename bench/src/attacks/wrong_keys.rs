//! Guesses at API keys, each another one, as fast as they are refused.

use std::time::Duration;

use bytes::Bytes;

use super::attack::{Attack, Prepared};
use super::script::{Script, Then};
use super::target::Target;

/// The attack.
pub const ATTACK: Attack = Attack {
    name: "wrong-keys",
    about: "an API key that is none with each request, 32 connections",
    needs: None,
    beside: None,
    prepare,
};

fn prepare(target: &Target) -> Prepared<'_> {
    Box::pin(async {
        let target = target.clone();
        let requests = move |number| {
            let more = format!("authorization: Bearer pk_{number:032x}\r\n");
            Bytes::from(target.head("GET", "/v1/events", &more, 0))
        };
        let then = Then::Read(Duration::ZERO);
        Ok(Script { connections: 32, addresses: 1, requests: Box::new(requests), then })
    })
}
