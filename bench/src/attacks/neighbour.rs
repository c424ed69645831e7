//! A tenant that sends events of its own, well signed, as fast as they are answered.

use std::time::Duration;

use bytes::{Buf, Bytes};

use super::attack::{Attack, Prepared};
use super::script::{Script, Then};
use super::target::Target;
use crate::bodies::{Bodies, ORDINARY};

/// The attack.
pub const ATTACK: Attack = Attack {
    name: "neighbour",
    about: "a tenant sends events of its own as fast as it can, 128 connections",
    needs: None,
    beside: None,
    prepare,
};

fn prepare(target: &Target) -> Prepared<'_> {
    Box::pin(async {
        let (target, bodies) = (target.clone(), Bodies::new(ORDINARY, "neighbour"));
        let requests = move |_| {
            let mut call = bodies.next();
            let more =
                format!("content-type: application/json\r\nx-webhook-signature: {}\r\n", call.signature);
            let head = target.head("POST", &target.own, &more, call.body.remaining());
            Bytes::from([head, call.body.copy_to_bytes(call.body.remaining()).into()].concat())
        };
        let then = Then::Read(Duration::ZERO);
        Ok(Script { connections: 128, addresses: 1, requests: Box::new(requests), then })
    })
}
