//! A closer look at one request whose signature fits or does not: what `postcall verify` says.
//! Tries what usually goes wrong between two programs that both believe to be right. Never used at a door.

use std::fmt;

use http::HeaderMap;

use super::signature::{Covered, HexSignature};
use super::{Arrived, Mismatch, Proof, aloro, dialgen, get, voicegenie};
use crate::model::secret::{Credential, Secret};
use crate::model::{DialectName, Time};

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    /// Whether a door would have let it in, or why not.
    pub verdict: Result<(), Mismatch>,
    /// What else is worth knowing, most likely cause first.
    pub hints: Vec<Hint>,
}

/// One thing that is worth knowing about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// Nothing to check with.
    Unsigned,
    /// The signature fits what JavaScript makes of the body, not its bytes.
    OnlyReserialised,
    /// The signature fits the body without the white space at its end.
    SpaceAfterBody,
    /// The header lacks the `sha256=` that the seed shows.
    PrefixMissing,
    /// The header has a `sha256=` that the seed does not show.
    PrefixUnexpected,
    /// The signature fits under the secret without the white space around it.
    SpaceAroundSecret,
    /// The signature fits under the decoded secret: `whsec_` was left out.
    SecretNeedsPrefix,
    /// The signature fits under the secret's text: the sender does not decode `whsec_`.
    SecretUsedAsText,
    /// The body under this signature is empty.
    EmptyBody,
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unsigned => "There is no secret to check with, so anybody's request would be taken.",
            Self::OnlyReserialised => {
                "The signature covers JSON.stringify of the parsed body, not the bytes that came. A receiver that \
                 verifies raw bytes will refuse it."
            }
            Self::SpaceAfterBody => {
                "The signature fits once the white space at the end of the body is removed: something, often an \
                 editor or a shell, has added a line break."
            }
            Self::PrefixMissing => {
                "The header lacks `sha256=` before the digits. We take it; a receiver that compares the whole value \
                 will not."
            }
            Self::PrefixUnexpected => {
                "The header has `sha256=` before the digits, which this system does not write. We take it; a \
                 receiver that compares the whole value will not."
            }
            Self::SpaceAroundSecret => {
                "The signature fits once the white space around the secret is removed: it was probably copied along."
            }
            Self::SecretNeedsPrefix => {
                "The signature fits once the secret is decoded from base64: put `whsec_` before it."
            }
            Self::SecretUsedAsText => {
                "The sender signs with the text of the secret in place of the bytes that `whsec_` encodes."
            }
            Self::EmptyBody => "The body is empty: was it lost on the way here?",
        })
    }
}

/// Looks closely at one request.
pub fn diagnose(
    dialect: DialectName,
    request: &Arrived<'_>,
    credential: &Credential,
    now: Time,
) -> Diagnosis {
    let verdict = get(dialect).authenticate(request, credential, now);
    let hints = match &verdict {
        Ok(()) => hints_when_taken(dialect, request, credential, now),
        Err(Mismatch::Wrong) => hints_when_wrong(dialect, request, credential, now),
        Err(_) => Vec::new(),
    };
    Diagnosis { verdict, hints }
}

fn hex_signature(dialect: DialectName) -> Option<&'static HexSignature> {
    match dialect {
        DialectName::Voicegenie => Some(&voicegenie::SIGNATURE),
        DialectName::Dialgen => Some(&dialgen::SIGNATURE),
        DialectName::Aloro => Some(&aloro::SIGNATURE),
        DialectName::Cllr | DialectName::Air | DialectName::Standard => None,
    }
}

fn hints_when_taken(
    dialect: DialectName,
    request: &Arrived<'_>,
    credential: &Credential,
    now: Time,
) -> Vec<Hint> {
    if get(dialect).proof() == Proof::Unsigned || *credential == Credential::default() {
        return vec![Hint::Unsigned];
    }
    let Some(signature) = hex_signature(dialect) else { return Vec::new() };
    let mut hints = Vec::new();
    if signature.covered(request, credential, now) == Ok(Covered::Reserialised) {
        let trimmed = Arrived { body: request.body.trim_ascii_end(), ..*request };
        let is_only_space = signature.covered(&trimmed, credential, now) == Ok(Covered::Raw);
        hints.push(if is_only_space { Hint::SpaceAfterBody } else { Hint::OnlyReserialised });
    }
    match (signature.has_prefix, has_prefix(request.headers, signature.header)) {
        (true, false) => hints.push(Hint::PrefixMissing),
        (false, true) => hints.push(Hint::PrefixUnexpected),
        _ => {}
    }
    hints
}

fn has_prefix(headers: &HeaderMap, name: &str) -> bool {
    headers.get(name).is_some_and(|value| value.as_bytes().contains(&b'='))
}

fn hints_when_wrong(
    dialect: DialectName,
    request: &Arrived<'_>,
    credential: &Credential,
    now: Time,
) -> Vec<Hint> {
    if request.body.is_empty() {
        return vec![Hint::EmptyBody];
    }
    // A stale signature that fits was still made with this secret over this body.
    let fits = |request: &Arrived<'_>, credential: &Credential| {
        matches!(get(dialect).authenticate(request, credential, now), Ok(()) | Err(Mismatch::Stale(_)))
    };
    let under = |change: &dyn Fn(&[u8]) -> Vec<u8>| fits(request, &changed(credential, change));
    let is_standard = dialect == DialectName::Standard;
    let trimmed = Arrived { body: request.body.trim_ascii_end(), ..*request };
    let found = [
        (Hint::SpaceAfterBody, fits(&trimmed, credential)),
        (Hint::SpaceAroundSecret, under(&|secret| secret.trim_ascii().to_vec())),
        (Hint::SecretNeedsPrefix, is_standard && under(&|secret| [b"whsec_", secret].concat())),
        (Hint::SecretUsedAsText, is_standard && under(&as_text)),
    ];
    found.into_iter().filter(|(_, fits)| *fits).map(|(hint, _)| hint).collect()
}

/// A secret whose decoded bytes are the text of this one.
fn as_text(secret: &[u8]) -> Vec<u8> {
    format!("whsec_{}", data_encoding::BASE64.encode(secret)).into_bytes()
}

fn changed(credential: &Credential, change: &dyn Fn(&[u8]) -> Vec<u8>) -> Credential {
    let mut changed = credential.clone();
    for dated in &mut changed.secrets {
        dated.secret = Secret::new(change(dated.secret.expose()));
    }
    changed.bearer_token = changed.bearer_token.map(|token| Secret::new(change(token.expose())));
    changed
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: i64 = 1_614_265_330;
    /// `vectors/aloro/in_signature.json`: key `aloro_test`.
    const BODY: &[u8] = br#"{"event":"call.ended","test":true,"data":{"call":{"id":"test_call_123"}}}"#;
    const SIGNATURE: &str = "c6362a2b5a13bec3ddc64da87c06962ef2e0f6cd55cc5346166a8aa22f5c450b";

    fn look(
        dialect: DialectName,
        headers: &[(&'static str, &str)],
        body: &[u8],
        secret: &str,
        now: i64,
    ) -> Diagnosis {
        let headers =
            headers.iter().map(|&(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        let credential = Credential::of_secret(Secret::new(secret));
        let now = Time::from_seconds(now).unwrap();
        diagnose(dialect, &Arrived { headers: &headers, body }, &credential, now)
    }

    fn aloro(signature: &str, body: &[u8], secret: &str) -> Diagnosis {
        look(DialectName::Aloro, &[("x-aloro-signature", signature)], body, secret, NOW)
    }

    fn taken(hints: &[Hint]) -> Diagnosis {
        Diagnosis { verdict: Ok(()), hints: hints.to_vec() }
    }

    fn wrong(hints: &[Hint]) -> Diagnosis {
        Diagnosis { verdict: Err(Mismatch::Wrong), hints: hints.to_vec() }
    }

    #[test]
    fn a_proper_request_needs_no_hint() {
        assert_eq!(aloro(&format!("sha256={SIGNATURE}"), BODY, "aloro_test"), taken(&[]));
    }

    #[test]
    fn prefixes_are_compared_with_the_seed() {
        assert_eq!(aloro(SIGNATURE, BODY, "aloro_test"), taken(&[Hint::PrefixMissing]));
        let headers = [("x-webhook-signature", &*format!("sha256={SIGNATURE}"))];
        let found = look(DialectName::Voicegenie, &headers, BODY, "aloro_test", NOW);
        assert_eq!(found, taken(&[Hint::PrefixUnexpected]));
    }

    #[test]
    fn what_was_signed_is_told_from_what_was_sent() {
        let signature = format!("sha256={SIGNATURE}");
        let spaced = [BODY, b"\n"].concat();
        assert_eq!(aloro(&signature, &spaced, "aloro_test"), taken(&[Hint::SpaceAfterBody]));
        let indented = String::from_utf8(BODY.to_vec()).unwrap().replace(':', " : ");
        // Spaces around the colon, none in the strings.
        assert_eq!(aloro(&signature, indented.as_bytes(), "aloro_test"), taken(&[Hint::OnlyReserialised]));
    }

    #[test]
    fn wrong_secrets_are_told_from_spoilt_ones() {
        let signature = format!("sha256={SIGNATURE}");
        assert_eq!(aloro(&signature, BODY, "another"), wrong(&[]));
        assert_eq!(aloro(&signature, BODY, " aloro_test\n"), wrong(&[Hint::SpaceAroundSecret]));
        assert_eq!(aloro(&signature, b"", "aloro_test"), wrong(&[Hint::EmptyBody]));
    }

    #[test]
    fn nothing_to_check_with_is_said() {
        let request = Arrived { headers: &HeaderMap::new(), body: BODY };
        let now = Time::from_seconds(NOW).unwrap();
        for dialect in DialectName::ALL {
            assert_eq!(diagnose(dialect, &request, &Credential::default(), now), taken(&[Hint::Unsigned]));
        }
    }

    /// The vector of the Standard Webhooks libraries, and the same message under the text of its secret
    /// (Python's hmac).
    #[test]
    fn secrets_of_standard_webhooks_are_read_in_both_ways() {
        let headers = |signature| {
            [
                ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
                ("webhook-timestamp", "1614265330"),
                ("webhook-signature", signature),
            ]
        };
        let look = |signature, secret, now| {
            look(DialectName::Standard, &headers(signature), br#"{"test": 2432232314}"#, secret, now)
        };
        let decoded = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        let as_text = "v1,TcxlhK9b6UD6iVI1ZU2tTqp8PEVfYRseNNfa6b+LcUg=";
        let (bare, full) = ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        assert_eq!(look(decoded, full, NOW), taken(&[]));
        assert_eq!(look(decoded, bare, NOW), wrong(&[Hint::SecretNeedsPrefix]));
        assert_eq!(look(as_text, full, NOW), wrong(&[Hint::SecretUsedAsText]));
        let stale = Err(Mismatch::Stale(Duration::from_secs(301)));
        assert_eq!(look(decoded, full, NOW + 301), Diagnosis { verdict: stale, hints: Vec::new() });
    }
}
