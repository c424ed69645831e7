//! A stranger that has seen one signed request of somebody else and sends it again and again.

use std::time::Duration;

use super::attack::{Attack, Prepared};
use super::script::{Script, Then};
use super::target::Target;

/// The attack.
pub const ATTACK: Attack = Attack {
    name: "captured-repeats",
    about: "one captured, signed body of the honest sender again and again, 32 connections",
    needs: None,
    beside: None,
    prepare,
};

fn prepare(target: &Target) -> Prepared<'_> {
    Box::pin(async { Ok(Script::repeat(32, target.captured.clone(), Then::Read(Duration::ZERO))) })
}
