//! Signatures as they are made: HMAC-SHA256 in hex, bearer tokens and Standard Webhooks; and which secrets can make them.
//! The arithmetic is `ring`'s. Does not know what the signed bytes mean, the clock, and how a signature is checked: that
//! is `check`.

use data_encoding::{BASE64, BASE64_NOPAD, HEXLOWER};
use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue};
use ring::hmac;
use ring::signature::{Ed25519KeyPair, KeyPair};

use super::{Outgoing, Proof};
use crate::model::Mac;
use crate::model::secret::{Credential, Secret};

/// The shortest bearer token (seed 004: "16 characters or longer").
pub const SHORTEST_BEARER_TOKEN: usize = 16;

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

impl HexSignature {
    /// The header for a body; none when the endpoint has no secret.
    pub fn sign(
        &self,
        outgoing: &Outgoing<'_>,
        credential: &Credential,
    ) -> Option<(HeaderName, HeaderValue)> {
        let secret = credential.signing(outgoing.at)?;
        let digits = HEXLOWER.encode(Mac::over(&hmac_key(secret), &[outgoing.body]).as_bytes());
        let prefix = if self.has_prefix { HASH_PREFIX } else { "" };
        header(self.header, format!("{prefix}{digits}").as_bytes())
    }
}

pub(super) fn hmac_key(secret: &Secret) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, secret.expose())
}

/// One header of a signature. A value that no header can hold, which `check_secret` refuses, gives none.
pub(super) fn header(name: &str, value: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    Some((HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_bytes(value).ok()?))
}

/// The `Authorization` header of an attempt.
pub fn bearer_header(credential: &Credential) -> Option<(HeaderName, HeaderValue)> {
    let token = credential.bearer_token.as_ref()?;
    let mut value = HeaderValue::from_bytes(&[b"Bearer ", token.expose()].concat()).ok()?;
    value.set_sensitive(true);
    Some((AUTHORIZATION, value))
}

/// The headers of Standard Webhooks.
pub(super) const WEBHOOK_ID: &str = "webhook-id";
pub(super) const WEBHOOK_TIMESTAMP: &str = "webhook-timestamp";
pub(super) const WEBHOOK_SIGNATURE: &str = "webhook-signature";

/// What the secrets begin with that sign and verify with Ed25519: private keys and public ones.
const PRIVATE_KEY: &[u8] = b"whsk_";
const PUBLIC_KEY: &[u8] = b"whpk_";

/// Whether a secret of Standard Webhooks is an Ed25519 key. Looks at no more than how it begins.
pub(super) fn is_asymmetric(secret: &[u8]) -> bool {
    secret.starts_with(PRIVATE_KEY) || secret.starts_with(PUBLIC_KEY)
}

/// A secret of Standard Webhooks, ready for use.
pub(super) enum Key {
    /// `whsec_`, or a secret without a prefix: `v1`.
    Shared(hmac::Key),
    /// `whsk_`: signs and verifies `v1a`.
    Private(Box<Ed25519KeyPair>),
    /// `whpk_`: verifies `v1a`.
    Public(Vec<u8>),
}

impl Key {
    pub(super) fn parse(secret: &[u8]) -> Result<Self, String> {
        if let Some(encoded) = secret.strip_prefix(b"whsec_") {
            return match decode_base64(encoded)? {
                bytes if bytes.is_empty() => Err("nothing follows `whsec_`".to_owned()),
                bytes => Ok(Self::Shared(hmac::Key::new(hmac::HMAC_SHA256, &bytes))),
            };
        }
        if let Some(encoded) = secret.strip_prefix(PRIVATE_KEY) {
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
        if let Some(encoded) = secret.strip_prefix(PUBLIC_KEY) {
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
            Self::Shared(key) => Some(format!("v1,{}", BASE64.encode(Mac::over(key, &[message]).as_bytes()))),
            Self::Private(pair) => Some(format!("v1a,{}", BASE64.encode(pair.sign(message).as_ref()))),
            Self::Public(_) => None,
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
pub(super) fn signed_content(id: &[u8], timestamp: &[u8], body: &[u8]) -> Vec<u8> {
    [id, timestamp, body].join(&b'.')
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
}
