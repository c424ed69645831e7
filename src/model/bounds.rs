//! What settings can be: each bound once, for what a request brings and for the lines of an import alike. Does not know who
//! brings them and where they lie, nor what follows from them.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::json::Raw;

const MINUTE: u64 = 60;
const DAY: u64 = 24 * 3600;

/// The longest text in a setting, in bytes.
pub const LONGEST_TEXT: usize = 2048;
/// The longest object that is kept as given, in bytes.
pub const LONGEST_OBJECT: usize = 64 * 1024;
/// The time that an exchange has. A connection over a continent with TLS takes a good part of a second; an endpoint with less
/// would only ever fail, and each failure costs a connection.
pub const TIMEOUTS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(300);
/// The most waits between attempts.
pub const MOST_DELAYS: usize = 50;
/// The longest wait between two attempts.
pub const LONGEST_DELAY: Duration = Duration::from_secs(7 * DAY);
/// The most headers of an endpoint.
pub const MOST_HEADERS: usize = 32;
/// The longest wait for what comes after the end of a call.
pub const LONGEST_WAIT: Duration = Duration::from_secs(DAY);
/// Attempts at the same time.
pub const IN_FLIGHT: RangeInclusive<u32> = 1..=1000;
/// The longest deadline of a call.
pub const LONGEST_DEADLINE: Duration = Duration::from_secs(30 * DAY);
/// Calls that a contact may get (seed 002's API: 1 to 5).
pub const ATTEMPTS: RangeInclusive<u32> = 1..=5;
/// The endpoints that a batch brings along: for its completion, for its calls, for its failure.
pub const MOST_WEBHOOKS: usize = 3;
/// A hundred years: whoever wants to keep something for longer wants for ever, and that is nothing at all.
pub const LONGEST_RETENTION: Duration = Duration::from_secs(36_500 * DAY);
/// More call minutes than anybody has.
pub const MOST_CREDIT: Duration = Duration::from_secs(1_000_000_000 * MINUTE);

/// Whether something can be a text: neither empty nor endless.
pub fn is_text(bytes: &[u8]) -> bool {
    (1..=LONGEST_TEXT).contains(&bytes.len())
}

/// Whether something is an object that can be kept as given.
pub fn is_object(raw: &Raw) -> bool {
    raw.get().len() <= LONGEST_OBJECT && raw.as_object().is_some()
}

/// Whether something can be a number of attempts per second.
pub fn is_rate(per_second: f64) -> bool {
    per_second > 0.0 && per_second.is_finite()
}

/// Whether there is something of a length of time, and no more than the longest.
pub fn is_span(span: Duration, longest: Duration) -> bool {
    !span.is_zero() && span <= longest
}

/// What can be dialled: digits, or an address of the SIP kind.
pub fn is_number(phone: &str) -> bool {
    let digits = phone.strip_prefix('+').unwrap_or(phone);
    phone.starts_with("sip:")
        || (3..=20).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
}
