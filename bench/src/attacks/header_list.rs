//! A tenant that gives an endpoint eighty thousand headers: what is compared in pairs takes seconds.

use std::fmt::Write;
use std::time::Duration;

use super::attack::{Attack, Prepared};
use super::script::{Script, Then};
use super::target::Target;

/// Headers, as many as a body of 1 MB takes.
const HEADERS: usize = 80_000;

/// The attack.
pub const ATTACK: Attack = Attack {
    name: "header-list",
    about: "a tenant makes endpoints with 80,000 headers, 2 connections",
    needs: None,
    beside: None,
    prepare,
};

fn prepare(target: &Target) -> Prepared<'_> {
    Box::pin(async {
        let mut body = String::from(r#"{"url":"http://127.0.0.1:9/","dialect":"standard","headers":{"#);
        for number in 0..HEADERS {
            let comma = if number > 0 { "," } else { "" };
            let _ = write!(body, r#"{comma}"h{number}":"""#);
        }
        body.push_str("}}");
        let request = target.keyed("POST", "/v1/endpoints", &body);
        Ok(Script::repeat(2, request, Then::Read(Duration::ZERO)))
    })
}
