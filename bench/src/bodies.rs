//! Call events to send: seed 000's shape, as many distinct ones as a round asks for. What does not differ from call to
//! call is made and hashed before the clock starts, so a call costs the generator little, however large it is and
//! however many there are. The number of a call is in its id; the sink reads it to know when the call was due.

use std::cell::Cell;
use std::rc::Rc;

use bytes::{Buf, Bytes, buf::Chain};
use data_encoding::HEXLOWER;
use ring::hmac;

/// What the source signs with.
pub const SECRET: &str = "bench-secret";
/// What stands before the number in a call's id.
pub const MARK: &str = "bench-";
/// The size of an ordinary event.
pub const ORDINARY: usize = 2 << 10;
/// The size of one with a long transcript.
pub const LARGE: usize = 40 << 10;
/// Different texts that take turns.
const TEXTS: u64 = 256;

/// A body in two pieces: what many share, and its own end.
pub type Body = Chain<Bytes, Bytes>;

/// One call to send.
pub struct Call {
    /// The body.
    pub body: Body,
    /// `X-Webhook-Signature`.
    pub signature: String,
}

struct Text {
    head: Bytes,
    /// The signature so far: only a call's own end is left to be hashed.
    hashed: hmac::Context,
}

/// Distinct calls of one campaign, in order. No two of one campaign may be sent to the same store: it would know the
/// calls already.
pub struct Bodies {
    texts: Vec<Text>,
    campaign: &'static str,
    taken: Cell<u64>,
}

impl Bodies {
    /// Calls of a campaign with bodies of about `size` bytes.
    pub fn new(size: usize, campaign: &'static str) -> Rc<Self> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
        let texts = (0..TEXTS).map(|number| {
            let head = head(number, size, campaign);
            let mut hashed = hmac::Context::with_key(&key);
            hashed.update(head.as_bytes());
            Text { head: Bytes::from(head), hashed }
        });
        Rc::new(Self { texts: texts.collect(), campaign, taken: Cell::new(0) })
    }

    /// The number that the next call will have.
    pub fn upcoming(&self) -> u64 {
        self.taken.get()
    }

    /// The next call.
    pub fn next(&self) -> Call {
        self.call(self.taken.replace(self.taken.get() + 1))
    }

    /// The call of a number.
    pub fn call(&self, number: u64) -> Call {
        let text = &self.texts[usize::try_from(number % TEXTS).unwrap_or_default()];
        let tail = format!(r#""call_uuid":"{}"}}"#, id(number, self.campaign));
        let mut hashed = text.hashed.clone();
        hashed.update(tail.as_bytes());
        let signature = HEXLOWER.encode(hashed.sign().as_ref());
        Call { body: text.head.clone().chain(Bytes::from(tail)), signature }
    }
}

/// As long and as random as a vendor's, with the number in it.
pub fn id(number: u64, campaign: &str) -> String {
    let salt = campaign.bytes().fold(0u64, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
    format!("{MARK}{number:010}-{:016x}", scramble(number ^ salt.rotate_left(40)))
}

/// One step of SplitMix64: neighbours come out far apart.
fn scramble(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// A body without its end.
fn head(number: u64, size: usize, campaign: &str) -> String {
    let mut body = format!(
        r#"{{"event":"call_ended","campaign_id":"{campaign}","phone_number":"+9198765{number:05}","timestamp":"2026-01-16T10:35:00Z","call_data":{{"duration":245,"recording_url":"https://recordings.example.com/2026/{number}.mp3","outcome":"completed","sentiment":{{"overall":"positive","confidence":0.87}},"custom_data":{{"lead_score":85,"interest_level":"high"}},"transcript":["#
    );
    let end = "]},";
    let own_end = id(0, campaign).len() + r#""call_uuid":""}"#.len();
    for turn in 0.. {
        let role = if turn % 2 == 0 { "assistant" } else { "user" };
        // Words that differ from turn to turn, as real ones do: compression must not look better than it is.
        let words = scramble(number << 32 | turn);
        let line = format!(
            r#"{{"timestamp":"2026-01-16T10:{:02}:{:02}Z","role":"{role}","content":"Well, about number {:x}, I would say {} of it."}}"#,
            30 + (turn / 60) % 30,
            turn % 60,
            words >> 34,
            words % 977
        );
        if turn > 0 {
            body.push(',');
        }
        body.push_str(&line);
        if body.len() + line.len() + end.len() + own_end > size {
            break;
        }
    }
    body + end
}

/// The number in a call's id, wherever the dialect puts it.
pub fn number_of(body: &[u8]) -> Option<u64> {
    let at = memchr::memmem::find(body, MARK.as_bytes())? + MARK.len();
    let digits = body[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&body[at..at + digits]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(mut body: Body) -> Bytes {
        body.copy_to_bytes(body.remaining())
    }

    #[test]
    fn every_call_is_signed_json_of_its_size_with_its_own_number() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
        for size in [ORDINARY, LARGE] {
            let bodies = Bodies::new(size, "fresh");
            for number in 0..TEXTS + 2 {
                let call = bodies.next();
                let body = whole(call.body);
                assert!(body.len() <= size && body.len() + 200 > size, "{}", body.len());
                assert_eq!(number_of(&body), Some(number));
                let signature = HEXLOWER.decode(call.signature.as_bytes()).unwrap();
                assert!(hmac::verify(&key, &body, &signature).is_ok());
                let read: serde_json::Value = serde_json::from_slice(&body).unwrap();
                assert_eq!(read["campaign_id"], "fresh");
            }
        }
    }

    #[test]
    fn campaigns_share_no_call() {
        assert_ne!(id(7, "fresh"), id(7, "backlog"));
        assert_ne!(id(7, "fresh"), id(8, "fresh"));
    }
}
