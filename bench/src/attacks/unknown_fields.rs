//! A tenant that sends a megabyte of fields that nobody knows: an answer that names each of them is thirty times as large.

use std::fmt::Write;
use std::time::Duration;

use super::attack::{Attack, Prepared};
use super::script::{Script, Then};
use super::target::Target;

/// Fields, as many as a body of 1 MB takes.
const FIELDS: usize = 100_000;

/// The attack.
pub const ATTACK: Attack = Attack {
    name: "unknown-fields",
    about: "a tenant sends 100,000 unknown fields, 4 connections",
    needs: None,
    beside: None,
    prepare,
};

fn prepare(target: &Target) -> Prepared<'_> {
    Box::pin(async {
        let mut body = String::from("{");
        for number in 0..FIELDS {
            let comma = if number > 0 { "," } else { "" };
            let _ = write!(body, r#"{comma}"{number:x}":1"#);
        }
        body.push('}');
        let request = target.keyed("POST", "/v1/endpoints", &body);
        Ok(Script::repeat(4, request, Then::Read(Duration::ZERO)))
    })
}
