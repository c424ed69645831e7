//! Signed requests of the standard dialect, as any sender of it makes them. Does not depend on who sends them.

use ::postcall::clock::{Clock, System};
use data_encoding::BASE64;
use ring::hmac;

use crate::bodies::id;

/// The secret of the source, as its owner gives it to the API.
pub const SECRET: &str = "whsec_aG9uZXN0IHNlbmRlcnMga25vdyB0aGlzIHNlY3JldA==";
/// The key that it stands for.
const KEY: &[u8] = b"honest senders know this secret";

/// The body of a call of this number, whose id says it as those of [`crate::bodies`] do.
pub fn body(number: u64, campaign: &str) -> String {
    let call = id(number, campaign);
    let words = "Well, that is what I would say of it, all things considered. ".repeat(20);
    format!(
        r#"{{"type":"call.ended","timestamp":"2026-01-16T10:35:00Z","data":{{"call_id":"{call}","stage":"ended","outcome":"completed","duration_seconds":44,"contact":{{"name":"Tyler","phone":"+15550002222"}},"transcript":{{"text":"{words}"}}}}}}"#
    )
}

/// The three headers that prove it now.
pub fn headers(number: u64, body: &str) -> [(&'static str, String); 3] {
    let (id, timestamp) = (format!("msg_{number}"), System.now().as_seconds().to_string());
    let key = hmac::Key::new(hmac::HMAC_SHA256, KEY);
    let signature = hmac::sign(&key, format!("{id}.{timestamp}.{body}").as_bytes());
    let signature = format!("v1,{}", BASE64.encode(signature.as_ref()));
    [("webhook-id", id), ("webhook-timestamp", timestamp), ("webhook-signature", signature)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secret_stands_for_the_key() {
        let encoded = SECRET.strip_prefix("whsec_").unwrap();
        assert_eq!(BASE64.decode(encoded.as_bytes()).unwrap(), KEY);
    }

    #[test]
    fn a_body_is_json_with_its_number() {
        let body = body(7, "honest");
        assert_eq!(crate::bodies::number_of(body.as_bytes()), Some(7));
        serde_json::from_str::<serde_json::Value>(&body).unwrap();
    }
}
