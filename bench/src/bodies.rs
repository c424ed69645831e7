//! Call events to send: seed 000's shape, signed before the clock starts, so that the generator costs little while it
//! runs. The number of a call is in its id; the sink reads it to know when the request was due.

use std::rc::Rc;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use ring::hmac;

/// What the source signs with.
pub const SECRET: &str = "bench-secret";
/// What stands before the number in a call's id.
pub const MARK: &str = "bench-";

/// One body and its signature.
pub struct Signed {
    /// The body.
    pub body: Bytes,
    /// `X-Webhook-Signature`.
    pub signature: String,
}

/// Distinct calls of about `size` bytes; the salt makes each round's ids new.
pub fn signed(count: usize, size: usize, salt: usize) -> Rc<[Signed]> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    (0..count)
        .map(|number| {
            let body = body(number, size, salt);
            let signature = HEXLOWER.encode(hmac::sign(&key, body.as_bytes()).as_ref());
            Signed { body: Bytes::from(body), signature }
        })
        .collect()
}

fn body(number: usize, size: usize, salt: usize) -> String {
    let head = format!(
        r#"{{"call_uuid":"{MARK}{number}-{salt}","event":"call_ended","campaign_id":"507f1f77bcf86cd799439013","phone_number":"+9198765{:05}","call_data":{{"duration":245,"recording_url":"https://recordings.example.com/2026/{number}.mp3","outcome":"completed","sentiment":{{"overall":"positive","confidence":0.87}},"custom_data":{{"lead_score":85,"interest_level":"high"}},"transcript":["#,
        number % 100_000
    );
    let tail = r#"]},"timestamp":"2026-01-16T10:35:00Z"}"#;
    let mut body = head;
    for turn in 0.. {
        let role = if turn % 2 == 0 { "assistant" } else { "user" };
        // Words that differ from call to call, as real ones do: compression must not look better than it is.
        let words = (number.wrapping_mul(2_654_435_761) ^ (turn * 40_503)) % 1_000_000_007;
        let line = format!(
            r#"{{"timestamp":"2026-01-16T10:{:02}:{:02}Z","role":"{role}","content":"Well, about number {words:x}, I would say {} of it."}}"#,
            30 + (turn / 60) % 30,
            turn % 60,
            words % 977
        );
        if turn > 0 {
            body.push(',');
        }
        body.push_str(&line);
        if body.len() + line.len() + tail.len() > size {
            break;
        }
    }
    body + tail
}
