//! Proofs: HMAC-SHA256 in hex, bearer tokens and Standard Webhooks, made and checked in constant time.
//! The arithmetic is `ring`'s. Refuses to know what the signed bytes mean, and the clock.

use std::time::Duration;

use data_encoding::{BASE64, BASE64_NOPAD, HEXLOWER, HEXLOWER_PERMISSIVE};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};
use ring::hmac;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

use super::js_json::stringify_parse;
use super::{Arrived, Mismatch, Outgoing, Proof};
use crate::model::Time;
use crate::model::secret::{Credential, Secret};

/// How far the timestamp under a Standard Webhooks signature may be from now, in either direction.
pub const TOLERANCE: Duration = Duration::from_secs(300);

/// The shortest bearer token (seed 004: "16 characters or longer").
pub const SHORTEST_BEARER_TOKEN: usize = 16;

/// The largest body that is tried in its re-serialised form, in bytes.
const LARGEST_RESERIALISED: usize = 1 << 20;

/// The prefix that names the hash, as seed 003 writes it.
const HASH_PREFIX: &str = "sha256=";

/// A hex HMAC-SHA256 of the body in one header: seeds 000, 002 and 003.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HexSignature {
    /// The header, spelled as in the seed.
    pub header: &'static str,
    /// Whether we write `sha256=` before the digits. Both forms are read.
    pub has_prefix: bool,
}

/// Which form of a body was signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Covered {
    /// The bytes as they came.
    Raw,
    /// What JavaScript writes again after reading them.
    Reserialised,
}

impl HexSignature {
    /// Checks a request against every valid secret: the raw bytes first, then the form in which JavaScript
    /// writes them again, because some senders sign that. No secrets at all means an unsigned source.
    ///
    /// # Errors
    /// What does not fit.
    pub fn check(&self, request: &Arrived<'_>, credential: &Credential, now: Time) -> Result<(), Mismatch> {
        if credential.secrets.is_empty() {
            return Ok(());
        }
        self.covered(request, credential, now).map(|_| ())
    }

    /// The form of the body that the signature covers.
    pub(super) fn covered(
        &self,
        request: &Arrived<'_>,
        credential: &Credential,
        now: Time,
    ) -> Result<Covered, Mismatch> {
        let signature = self.read(request.headers)?;
        let keys: Vec<hmac::Key> = credential.valid(now).map(hmac_key).collect();
        let fits = |bytes: &[u8]| keys.iter().any(|key| hmac::verify(key, bytes, &signature).is_ok());
        if fits(request.body) {
            Ok(Covered::Raw)
        } else if reserialised(request.body).is_some_and(|bytes| fits(&bytes)) {
            Ok(Covered::Reserialised)
        } else {
            Err(Mismatch::Wrong)
        }
    }

    /// The header for a body; none when the endpoint has no secret.
    pub fn sign(
        &self,
        outgoing: &Outgoing<'_>,
        credential: &Credential,
    ) -> Option<(HeaderName, HeaderValue)> {
        let secret = credential.signing(outgoing.at)?;
        let digits = HEXLOWER.encode(hmac::sign(&hmac_key(secret), outgoing.body).as_ref());
        let prefix = if self.has_prefix { HASH_PREFIX } else { "" };
        header(self.header, format!("{prefix}{digits}").as_bytes())
    }

    /// The bytes of the signature, from either case of hex, with or without the prefix.
    fn read(&self, headers: &HeaderMap) -> Result<Vec<u8>, Mismatch> {
        let value = headers.get(self.header).ok_or(Mismatch::Missing(self.header))?;
        let malformed = |why: String| Mismatch::Malformed { header: self.header, why };
        let text = value.to_str().map_err(|_| malformed("is not plain ASCII".to_owned()))?.trim();
        let digits = match text.split_once('=') {
            Some((hash, digits)) if hash.eq_ignore_ascii_case("sha256") => digits,
            Some((hash, _)) => return Err(malformed(format!("names the hash `{hash}`, not sha256"))),
            None => text,
        };
        let bytes = HEXLOWER_PERMISSIVE
            .decode(digits.as_bytes())
            .map_err(|_| malformed(format!("is not hex: {} characters", digits.len())))?;
        if bytes.len() != 32 {
            return Err(malformed(format!("has {} hex digits, a SHA-256 has 64", digits.len())));
        }
        Ok(bytes)
    }
}

/// The body as JavaScript writes it again, when that differs and the body is neither too large nor no JSON.
fn reserialised(body: &[u8]) -> Option<Vec<u8>> {
    if body.len() > LARGEST_RESERIALISED {
        return None;
    }
    stringify_parse(body).ok().filter(|bytes| bytes != body)
}

fn hmac_key(secret: &Secret) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, secret.expose())
}

/// One header of a signature. A value that no header can hold, which `check_secret` refuses, gives none.
pub(super) fn header(name: &str, value: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    Some((HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_bytes(value).ok()?))
}

/// Checks `Authorization: Bearer`. No token at all means an unsigned source.
///
/// # Errors
/// What does not fit.
pub fn check_bearer(request: &Arrived<'_>, credential: &Credential) -> Result<(), Mismatch> {
    const HEADER: &str = "Authorization";
    let Some(expected) = &credential.bearer_token else { return Ok(()) };
    let value = request.headers.get(AUTHORIZATION).ok_or(Mismatch::Missing(HEADER))?.as_bytes();
    let token = match value.iter().position(|&byte| byte == b' ') {
        Some(space) if value[..space].eq_ignore_ascii_case(b"bearer") => value[space..].trim_ascii(),
        _ => {
            return Err(Mismatch::Malformed { header: HEADER, why: "does not begin with Bearer".to_owned() });
        }
    };
    if is_same(token, expected.expose()) { Ok(()) } else { Err(Mismatch::Wrong) }
}

/// Compares without telling by the time taken where, or by how many bytes, two tokens differ: their HMACs under
/// one key are compared in place of themselves.
fn is_same(given: &[u8], expected: &[u8]) -> bool {
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"postcall: compare two tokens");
    hmac::verify(&key, given, hmac::sign(&key, expected).as_ref()).is_ok()
}

/// The `Authorization` header of an attempt.
pub fn bearer_header(credential: &Credential) -> Option<(HeaderName, HeaderValue)> {
    let token = credential.bearer_token.as_ref()?;
    let mut value = HeaderValue::from_bytes(&[b"Bearer ", token.expose()].concat()).ok()?;
    value.set_sensitive(true);
    Some((AUTHORIZATION, value))
}

/// The headers of Standard Webhooks.
const WEBHOOK_ID: &str = "webhook-id";
const WEBHOOK_TIMESTAMP: &str = "webhook-timestamp";
const WEBHOOK_SIGNATURE: &str = "webhook-signature";

/// A secret of Standard Webhooks, ready for use.
enum Key {
    /// `whsec_`, or a secret without a prefix: `v1`.
    Shared(hmac::Key),
    /// `whsk_`: signs and verifies `v1a`.
    Private(Box<Ed25519KeyPair>),
    /// `whpk_`: verifies `v1a`.
    Public(Vec<u8>),
}

impl Key {
    fn parse(secret: &[u8]) -> Result<Self, String> {
        if let Some(encoded) = secret.strip_prefix(b"whsec_") {
            return match decode_base64(encoded)? {
                bytes if bytes.is_empty() => Err("nothing follows `whsec_`".to_owned()),
                bytes => Ok(Self::Shared(hmac::Key::new(hmac::HMAC_SHA256, &bytes))),
            };
        }
        if let Some(encoded) = secret.strip_prefix(b"whsk_") {
            let bytes = decode_base64(encoded)?;
            let pair = match bytes.split_at_checked(32) {
                Some((seed, [])) => Ed25519KeyPair::from_seed_unchecked(seed),
                Some((seed, public)) => Ed25519KeyPair::from_seed_and_public_key(seed, public),
                None => {
                    return Err(format!("`whsk_` holds {} bytes, an ed25519 key has 32 or 64", bytes.len()));
                }
            };
            return match pair {
                Ok(pair) => Ok(Self::Private(Box::new(pair))),
                Err(_) => {
                    Err("`whsk_` holds no ed25519 key: its two halves do not belong together".to_owned())
                }
            };
        }
        if let Some(encoded) = secret.strip_prefix(b"whpk_") {
            let bytes = decode_base64(encoded)?;
            if bytes.len() != 32 {
                return Err(format!("`whpk_` holds {} bytes, an ed25519 public key has 32", bytes.len()));
            }
            return Ok(Self::Public(bytes));
        }
        Ok(Self::Shared(hmac::Key::new(hmac::HMAC_SHA256, secret)))
    }

    /// The signature of a message with its version; none from a public key.
    fn sign(&self, message: &[u8]) -> Option<String> {
        match self {
            Self::Shared(key) => Some(format!("v1,{}", BASE64.encode(hmac::sign(key, message).as_ref()))),
            Self::Private(pair) => Some(format!("v1a,{}", BASE64.encode(pair.sign(message).as_ref()))),
            Self::Public(_) => None,
        }
    }

    fn fits(&self, version: &str, signature: &[u8], message: &[u8]) -> bool {
        let public_key_fits =
            |public: &[u8]| UnparsedPublicKey::new(&ED25519, public).verify(message, signature).is_ok();
        match (self, version) {
            (Self::Shared(key), "v1") => hmac::verify(key, message, signature).is_ok(),
            (Self::Private(pair), "v1a") => public_key_fits(pair.public_key().as_ref()),
            (Self::Public(public), "v1a") => public_key_fits(public),
            _ => false,
        }
    }
}

fn decode_base64(encoded: &[u8]) -> Result<Vec<u8>, String> {
    BASE64
        .decode(encoded)
        .or_else(|_| BASE64_NOPAD.decode(encoded))
        .map_err(|_| "what follows the prefix is not base64".to_owned())
}

/// The signed content of Standard Webhooks: `id.timestamp.body`.
fn signed_content(id: &[u8], timestamp: &[u8], body: &[u8]) -> Vec<u8> {
    [id, timestamp, body].join(&b'.')
}

/// Checks a Standard Webhooks request: any of its signatures under any valid secret, then the age of its timestamp.
/// No secrets at all means an unsigned source.
///
/// # Errors
/// What does not fit; [`Mismatch::Stale`] only for a request that is genuine otherwise.
pub fn check_standard(request: &Arrived<'_>, credential: &Credential, now: Time) -> Result<(), Mismatch> {
    if credential.secrets.is_empty() {
        return Ok(());
    }
    let value = |name: &'static str| {
        request.headers.get(name).ok_or(Mismatch::Missing(name)).map(HeaderValue::as_bytes)
    };
    let malformed = |header, why: &str| Mismatch::Malformed { header, why: why.to_owned() };
    let (id, timestamp, signatures) =
        (value(WEBHOOK_ID)?, value(WEBHOOK_TIMESTAMP)?, value(WEBHOOK_SIGNATURE)?);
    let sent_at = std::str::from_utf8(timestamp)
        .ok()
        .and_then(|digits| Time::from_seconds(digits.parse().ok()?))
        .ok_or_else(|| malformed(WEBHOOK_TIMESTAMP, "is not a number of seconds since 1970"))?;
    let signatures: Vec<(&str, Vec<u8>)> = std::str::from_utf8(signatures)
        .unwrap_or_default()
        .split_ascii_whitespace()
        .filter_map(|signature| signature.split_once(','))
        .filter_map(|(version, encoded)| Some((version, BASE64.decode(encoded.as_bytes()).ok()?)))
        .collect();
    if signatures.is_empty() {
        return Err(malformed(WEBHOOK_SIGNATURE, "holds no `v1,` or `v1a,` followed by base64"));
    }
    let message = signed_content(id, timestamp, request.body);
    let keys: Vec<Key> =
        credential.valid(now).filter_map(|secret| Key::parse(secret.expose()).ok()).collect();
    let is_genuine = signatures
        .iter()
        .any(|(version, signature)| keys.iter().any(|key| key.fits(version, signature, &message)));
    if !is_genuine {
        return Err(Mismatch::Wrong);
    }
    let away = now.since(sent_at).max(sent_at.since(now));
    if away > TOLERANCE { Err(Mismatch::Stale(away)) } else { Ok(()) }
}

/// The three headers of Standard Webhooks, signed with every valid secret: the old and the new one together while
/// a rotation is under way. Without secrets the signature is left out.
pub fn standard_headers(outgoing: &Outgoing<'_>, credential: &Credential) -> Vec<(HeaderName, HeaderValue)> {
    let timestamp = outgoing.at.as_seconds().to_string();
    let message = signed_content(outgoing.event_id.as_bytes(), timestamp.as_bytes(), outgoing.body);
    let signatures: Vec<String> = credential
        .valid(outgoing.at)
        .filter_map(|secret| Key::parse(secret.expose()).ok()?.sign(&message))
        .collect();
    let mut headers: Vec<_> =
        [header(WEBHOOK_ID, outgoing.event_id.as_bytes()), header(WEBHOOK_TIMESTAMP, timestamp.as_bytes())]
            .into_iter()
            .flatten()
            .collect();
    if !signatures.is_empty() {
        headers.extend(header(WEBHOOK_SIGNATURE, signatures.join(" ").as_bytes()));
    }
    headers
}

/// Whether a secret or token can be used to prove requests of a dialect.
///
/// # Errors
/// A sentence for whoever set it.
pub fn check_secret(proof: Proof, secret: &str) -> Result<(), String> {
    if secret.is_empty() {
        return Err("the secret is empty; leave it out to have one made, or send null for none".to_owned());
    }
    match proof {
        Proof::Unsigned => Err("this dialect signs nothing; leave the secret out".to_owned()),
        Proof::HmacHex => Ok(()),
        Proof::Bearer if secret.chars().count() < SHORTEST_BEARER_TOKEN => Err(format!(
            "the bearer token needs 16 characters or more; this one has {}",
            secret.chars().count()
        )),
        Proof::Bearer if !secret.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Err("the bearer token may hold visible ASCII characters only, no spaces".to_owned())
        }
        Proof::Bearer => Ok(()),
        Proof::StandardWebhooks => Key::parse(secret.as_bytes()).map(|_| ()),
    }
}

/// Like [`check_secret`], for an endpoint: a public key verifies but cannot sign.
///
/// # Errors
/// A sentence for whoever set it.
pub fn check_signing_secret(proof: Proof, secret: &str) -> Result<(), String> {
    if proof == Proof::StandardWebhooks && secret.starts_with("whpk_") {
        return Err(
            "`whpk_` is a public key, which cannot sign; an endpoint needs `whsec_` or `whsk_`".to_owned()
        );
    }
    check_secret(proof, secret)
}

/// The `whpk_` key that receivers of a `whsk_` endpoint verify with; `None` for any other secret.
pub fn public_key(secret: &str) -> Option<String> {
    match Key::parse(secret.as_bytes()).ok()? {
        Key::Private(pair) => Some(format!("whpk_{}", BASE64.encode(pair.public_key().as_ref()))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_checked_before_they_are_kept() {
        let seed = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=";
        let good = [
            (Proof::HmacHex, "x".to_owned()),
            (Proof::Bearer, "fakeTokenGoesHere".to_owned()),
            (Proof::Bearer, "1234567890123456".to_owned()),
            (Proof::StandardWebhooks, "plain".to_owned()),
            (Proof::StandardWebhooks, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned()),
            (Proof::StandardWebhooks, format!("whsk_{seed}")),
            (Proof::StandardWebhooks, format!("whpk_{seed}")),
        ];
        for (proof, secret) in good {
            assert_eq!(check_secret(proof, &secret), Ok(()), "{secret}");
        }
        let bad = [
            (Proof::Unsigned, "x", "signs nothing"),
            (Proof::HmacHex, "", "empty"),
            (Proof::Bearer, "123456789012345", "has 15"),
            (Proof::Bearer, "1234567890 123456", "no spaces"),
            (Proof::Bearer, "ééééééééééééééééé", "visible ASCII"),
            (Proof::StandardWebhooks, "whsec_", "nothing follows"),
            (Proof::StandardWebhooks, "whsec_***", "not base64"),
            (Proof::StandardWebhooks, "whsk_AAAA", "holds 3 bytes"),
            (Proof::StandardWebhooks, "whpk_AAAA", "holds 3 bytes"),
        ];
        for (proof, secret, why) in bad {
            assert!(check_secret(proof, secret).unwrap_err().contains(why), "{secret}");
        }
        assert!(check_signing_secret(Proof::StandardWebhooks, &format!("whpk_{seed}")).is_err());
    }

    /// RFC 8032, 7.1, tests 1 and 2: a seed, its public key, and another's.
    #[test]
    fn a_private_key_brings_its_own_public_key() {
        let decode = |hex: &str| HEXLOWER.decode(hex.as_bytes()).unwrap();
        let seed = decode("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60");
        let public = decode("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
        let other = decode("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c");
        let whsk = |bytes: &[u8]| format!("whsk_{}", BASE64.encode(bytes));
        let whpk = format!("whpk_{}", BASE64.encode(&public));
        assert_eq!(public_key(&whsk(&seed)), Some(whpk.clone()));
        assert_eq!(public_key(&whsk(&[&seed[..], &public].concat())), Some(whpk));
        assert!(check_secret(Proof::StandardWebhooks, &whsk(&[&seed[..], &other].concat())).is_err());
        assert_eq!(public_key("plain"), None);
    }

    #[test]
    fn a_large_body_is_not_written_again() {
        let body = |length: usize| format!("[{}1]", " ".repeat(length)).into_bytes();
        assert_eq!(reserialised(&body(9)), Some(b"[1]".to_vec()));
        assert_eq!(reserialised(b"[1]"), None);
        assert_eq!(reserialised(&body(LARGEST_RESERIALISED)), None);
    }
}
