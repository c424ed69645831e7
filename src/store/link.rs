//! Links that are keys in themselves: whoever holds one may read one call's transcript, and nothing else.
//! Pure; refuses to know who asks and whether the call is still there.

use data_encoding::BASE64URL_NOPAD;
use ring::hmac;

use crate::model::id::{self, Kind, Tag};

/// What is signed, besides the id, so that no other use of the key can stand in for a link.
const PURPOSE: &str = "transcript ";

/// Where the transcript of a call can be fetched as JSON without an API key.
pub fn transcript_url(public_url: &str, link_key: &hmac::Key, account: Tag, call: i64) -> String {
    let id = id::format(Kind::Call, account, call);
    let proof = hmac::sign(link_key, format!("{PURPOSE}{id}").as_bytes());
    format!("{public_url}/t/{id}.{}", BASE64URL_NOPAD.encode(proof.as_ref()))
}

/// The account and the call of a link's last part; `None` when it was not made under this key.
pub fn open_transcript(link_key: &hmac::Key, token: &str) -> Option<(Tag, i64)> {
    let (id, proof) = token.split_once('.')?;
    let proof = BASE64URL_NOPAD.decode(proof.as_bytes()).ok()?;
    hmac::verify(link_key, format!("{PURPOSE}{id}").as_bytes(), &proof).ok()?;
    id::parse(Kind::Call, id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_holder_of_the_key_makes_links() {
        let key = |secret| hmac::Key::new(hmac::HMAC_SHA256, secret);
        let url = transcript_url("https://calls.example", &key(b"ours"), Tag(7), 42);
        let token = url.strip_prefix("https://calls.example/t/").unwrap();
        assert_eq!(open_transcript(&key(b"ours"), token), Some((Tag(7), 42)));
        assert_eq!(open_transcript(&key(b"theirs"), token), None);
        let other = id::format(Kind::Call, Tag(7), 43);
        let moved = format!("{other}.{}", token.split_once('.').unwrap().1);
        assert_eq!(open_transcript(&key(b"ours"), &moved), None);
        for broken in ["", ".", "call_", &token[..token.len() - 2], &format!("{token}A")] {
            assert_eq!(open_transcript(&key(b"ours"), broken), None, "{broken}");
        }
    }
}
