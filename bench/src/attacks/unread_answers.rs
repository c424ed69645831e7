//! Clients that ask for page after page and never read one: each would keep a connection, and what is to be written on it,
//! for ever.

use super::attack::{Attack, Prepared};
use super::script::{Script, Then};
use super::target::Target;

/// Requests that one piece holds.
const PIPELINED: usize = 60;

/// The attack.
pub const ATTACK: Attack = Attack {
    name: "unread-answers",
    about: "1,000 connections that ask for /docs without end and read nothing",
    needs: None,
    beside: None,
    prepare,
};

fn prepare(target: &Target) -> Prepared<'_> {
    Box::pin(async {
        let request = target.head("GET", "/docs", "", 0).repeat(PIPELINED);
        Ok(Script::repeat(1_000, request, Then::NeverRead).spread(20))
    })
}
