//! Links that are keys in themselves: whoever holds one may read one call's transcript until it expires, and nothing else.
//! Pure; refuses to know who asks and whether the call is still there.

use data_encoding::BASE64URL_NOPAD;
use ring::hmac;

use crate::model::id::{self, Kind, Tag};
use crate::model::{Mac, Time};

/// What is signed, besides the id, so that no other use of the key can stand in for a link.
const PURPOSE: &str = "transcript ";
/// Links end with a period of so many days since 1970, the one after that in which they are made: they hold for 30 days at
/// least and 60 at most, and all links of a call that are made in one period are the same bytes.
const PERIOD_DAYS: i64 = 30;
const DAY: i64 = 24 * 3600;

/// Where the transcript of a call can be fetched as JSON without an API key, until the link expires.
pub fn transcript_url(public_url: &str, link_key: &hmac::Key, account: Tag, call: i64, now: Time) -> String {
    let id = id::format(Kind::Call, account, call);
    let last_day = (now.as_seconds().div_euclid(PERIOD_DAYS * DAY) + 2) * PERIOD_DAYS;
    let proof = Mac::over(link_key, &[format!("{PURPOSE}{id}.{last_day}").as_bytes()]);
    format!("{public_url}/t/{id}.{last_day}.{}", BASE64URL_NOPAD.encode(proof.as_bytes()))
}

/// What a link opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened {
    /// The transcript of this call.
    Transcript(Tag, i64),
    /// Nothing any more.
    Expired,
}

/// Opens a link's last part; `None` when it was not made under this key.
pub fn open_transcript(link_key: &hmac::Key, token: &str, now: Time) -> Option<Opened> {
    let (said, proof) = token.rsplit_once('.')?;
    let proof = BASE64URL_NOPAD.decode(proof.as_bytes()).ok()?;
    Mac::over(link_key, &[PURPOSE.as_bytes(), said.as_bytes()]).fits(&proof).then_some(())?;
    let (id, last_day) = said.split_once('.')?;
    let (tag, call) = id::parse(Kind::Call, id)?;
    let has_expired = now.as_seconds() >= last_day.parse::<i64>().ok()?.checked_mul(DAY)?;
    Some(if has_expired { Opened::Expired } else { Opened::Transcript(tag, call) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(secret: &[u8]) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, secret)
    }

    fn after_days(days: i64) -> Time {
        Time::from_seconds(1_700_000_000 + days * DAY).unwrap()
    }

    #[test]
    fn only_the_holder_of_the_key_makes_links() {
        let now = after_days(0);
        let url = transcript_url("https://calls.example", &key(b"ours"), Tag(7), 42, now);
        let token = url.strip_prefix("https://calls.example/t/").unwrap();
        assert_eq!(open_transcript(&key(b"ours"), token, now), Some(Opened::Transcript(Tag(7), 42)));
        assert_eq!(open_transcript(&key(b"theirs"), token, now), None);
        let [id, day, proof]: [&str; 3] = token.split('.').collect::<Vec<_>>().try_into().unwrap();
        let other = id::format(Kind::Call, Tag(7), 43);
        let later = day.parse::<i64>().unwrap() + 1;
        for moved in
            [format!("{other}.{day}.{proof}"), format!("{id}.{later}.{proof}"), format!("{id}.{proof}")]
        {
            assert_eq!(open_transcript(&key(b"ours"), &moved, now), None, "{moved}");
        }
        for broken in ["", ".", "call_", &token[..token.len() - 2], &format!("{token}A")] {
            assert_eq!(open_transcript(&key(b"ours"), broken, now), None, "{broken}");
        }
    }

    #[test]
    fn a_link_holds_for_a_month_and_not_for_ever() {
        for made in 0..PERIOD_DAYS {
            let url = transcript_url("", &key(b"ours"), Tag(7), 42, after_days(made));
            let token = url.strip_prefix("/t/").unwrap();
            let opens = |days| open_transcript(&key(b"ours"), token, after_days(made + days)).unwrap();
            assert_eq!(opens(PERIOD_DAYS), Opened::Transcript(Tag(7), 42));
            assert_eq!(opens(2 * PERIOD_DAYS), Opened::Expired);
        }
    }
}
