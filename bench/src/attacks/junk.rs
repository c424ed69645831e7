//! Strangers that do not speak HTTP, or too much of it: the beginning of TLS, bytes without sense, a line of a header that
//! is longer than any head may be. Each on a connection of its own, over and over.

use std::time::Duration;

use bytes::Bytes;

use super::attack::{Attack, Prepared};
use super::script::{Script, Then};
use super::target::Target;

/// How TLS begins: a record of a handshake with the hello of a client.
const HELLO: &[u8] =
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 and 476 bytes more that never come\r\n\r\n";
/// How HTTP/2 begins.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes of the longest line.
const LINE: usize = 256 << 10;

/// The attack.
pub const ATTACK: Attack = Attack {
    name: "junk",
    about: "200 connections over and over with TLS, HTTP/2, noise and lines of 256 KiB",
    needs: None,
    beside: None,
    prepare,
};

fn prepare(target: &Target) -> Prepared<'_> {
    Box::pin(async {
        let noise: Vec<u8> = (0..4096_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let long = format!("GET / HTTP/1.1\r\nhost: {}\r\nx: {}", target.host, "a".repeat(LINE));
        let said = [HELLO.to_vec(), PREFACE.to_vec(), noise, long.into_bytes()].map(Bytes::from);
        let requests = move |number: u64| said[usize::try_from(number % 4).unwrap_or_default()].clone();
        let then = Then::Read(Duration::ZERO);
        Ok(Script { connections: 200, addresses: 20, requests: Box::new(requests), then })
    })
}
