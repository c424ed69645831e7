//! Checks who a request comes from: HMAC-SHA256 in hex, bearer tokens and Standard Webhooks, in constant time.
//!
//! Anybody may send a request, so its check costs the same whatever its headers hold. Headers are judged by form first.
//! Then one HMAC is made for each valid secret, however many signatures are listed, and a check that fails makes as many as
//! if there were [`CHECKED_SECRETS`]: neither the number of secrets nor that there is a source at all shows in the time.
//! Does not know what the signed bytes mean, the clock, and where a credential comes from.

use std::hint::black_box;
use std::time::Duration;

use data_encoding::{BASE64, HEXLOWER_PERMISSIVE};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use ring::hmac;
use ring::signature::KeyPair;

use super::signature::{
    HexSignature, Key, WEBHOOK_ID, WEBHOOK_SIGNATURE, WEBHOOK_TIMESTAMP, hmac_key, is_asymmetric,
    signed_content,
};
use super::{Arrived, Mismatch};
use crate::model::mac::MAC_BYTES;
use crate::model::secret::{Credential, Secret};
use crate::model::{Mac, Time};

/// How far the timestamp under a Standard Webhooks signature may be from now, in either direction.
pub const TOLERANCE: Duration = Duration::from_secs(300);

/// The secrets of a source that count at a time, the old one and the new one; and the HMACs of every check that fails.
pub const CHECKED_SECRETS: usize = 2;

/// The signatures of a list that are looked at, of any form. A sender that rotates its secret lists two.
pub const MOST_SIGNATURES: usize = 16;

/// The Ed25519 signatures of a list that are verified. Each one is a hash over the whole body, so they are fewer.
pub const MOST_ED25519: usize = 4;

/// How many bytes an Ed25519 signature has.
const ED25519_BYTES: usize = 64;

/// The most of a caller's word that is repeated in a reason.
const LONGEST_QUOTE: usize = 40;

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
        let signature = self.read(request.headers)?;
        let keys: Vec<hmac::Key> = credential.valid(now).map(hmac_key).collect();
        let fits = |body: &[u8]| any_key_fits(request, &keys, &[body], |mac| mac.fits(&signature));
        let is_genuine = fits(request.body) || request.reserialised().is_some_and(|body| fits(&body));
        if is_genuine { Ok(()) } else { Err(Mismatch::Wrong) }
    }

    /// The bytes of the signature, from either case of hex, with or without the prefix.
    fn read(&self, headers: &HeaderMap) -> Result<[u8; MAC_BYTES], Mismatch> {
        let value = headers.get(self.header).ok_or(Mismatch::Missing(self.header))?;
        let malformed = |why: String| Mismatch::Malformed { header: self.header, why };
        let text = value.to_str().map_err(|_| malformed("is not plain ASCII".to_owned()))?.trim();
        let digits = match text.split_once('=') {
            Some((hash, digits)) if hash.eq_ignore_ascii_case("sha256") => digits,
            Some((hash, _)) => {
                let hash = &hash[..hash.len().min(LONGEST_QUOTE)];
                return Err(malformed(format!("names the hash `{hash}`, not sha256")));
            }
            None => text,
        };
        let bytes = HEXLOWER_PERMISSIVE
            .decode(digits.as_bytes())
            .map_err(|_| malformed(format!("is not hex: {} characters", digits.len())))?;
        bytes.try_into().map_err(|_| malformed(format!("has {} hex digits, a SHA-256 has 64", digits.len())))
    }
}

/// Whether the HMAC of a message under one of the keys fits. Makes one for each key; if none fits, as many as if there
/// were [`CHECKED_SECRETS`] keys.
fn any_key_fits(
    request: &Arrived<'_>,
    keys: &[hmac::Key],
    message: &[&[u8]],
    fits: impl Fn(&Mac) -> bool,
) -> bool {
    if keys.iter().any(|key| fits(&request.mac(key, message))) {
        return true;
    }
    let nobodys = hmac::Key::new(hmac::HMAC_SHA256, &[]);
    for _ in keys.len()..CHECKED_SECRETS {
        black_box(request.mac(&nobodys, message));
    }
    false
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
    if expected.fits(token) { Ok(()) } else { Err(Mismatch::Wrong) }
}

/// The signatures of a Standard Webhooks request that may be ones, by their form.
#[derive(Default)]
struct Signatures {
    /// Whether there is anything like one, be it of another version or length.
    is_any: bool,
    /// `v1`: HMAC-SHA256.
    v1: Vec<[u8; MAC_BYTES]>,
    /// `v1a`: Ed25519.
    v1a: Vec<[u8; ED25519_BYTES]>,
}

impl Signatures {
    fn read(listed: &[u8]) -> Self {
        let mut read = Self::default();
        let listed = std::str::from_utf8(listed).unwrap_or_default();
        for signature in listed.split_ascii_whitespace().take(MOST_SIGNATURES) {
            let Some((version, encoded)) = signature.split_once(',') else { continue };
            let Ok(bytes) = BASE64.decode(encoded.as_bytes()) else { continue };
            read.is_any = true;
            match version {
                "v1" => read.v1.extend(<[u8; MAC_BYTES]>::try_from(bytes)),
                "v1a" if read.v1a.len() < MOST_ED25519 => {
                    read.v1a.extend(<[u8; ED25519_BYTES]>::try_from(bytes))
                }
                _ => {}
            }
        }
        read
    }
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
    let signatures = Signatures::read(signatures);
    if !signatures.is_any {
        return Err(malformed(WEBHOOK_SIGNATURE, "holds no `v1,` or `v1a,` followed by base64"));
    }
    let (asymmetric, shared): (Vec<&Secret>, Vec<&Secret>) =
        credential.valid(now).partition(|secret| is_asymmetric(secret.expose()));
    let is_genuine = is_shared_signature(request, &shared, &signatures.v1, id, timestamp)
        || is_asymmetric_signature(request, &asymmetric, &signatures.v1a, id, timestamp);
    if !is_genuine {
        return Err(Mismatch::Wrong);
    }
    let away = now.since(sent_at).max(sent_at.since(now));
    if away > TOLERANCE { Err(Mismatch::Stale(away)) } else { Ok(()) }
}

fn is_shared_signature(
    request: &Arrived<'_>,
    secrets: &[&Secret],
    signatures: &[[u8; MAC_BYTES]],
    id: &[u8],
    timestamp: &[u8],
) -> bool {
    if secrets.is_empty() || signatures.is_empty() {
        return false;
    }
    let keys = secrets.iter().filter_map(|secret| match Key::parse(secret.expose()) {
        Ok(Key::Shared(key)) => Some(key),
        _ => None,
    });
    let keys: Vec<hmac::Key> = keys.collect();
    let message: [&[u8]; 5] = [id, b".", timestamp, b".", request.body];
    any_key_fits(request, &keys, &message, |mac| {
        signatures.iter().fold(false, |is_found, signature| is_found | mac.fits(signature))
    })
}

/// As with HMACs, a check that fails costs as much as if there were [`CHECKED_SECRETS`] keys.
fn is_asymmetric_signature(
    request: &Arrived<'_>,
    secrets: &[&Secret],
    signatures: &[[u8; ED25519_BYTES]],
    id: &[u8],
    timestamp: &[u8],
) -> bool {
    if secrets.is_empty() || signatures.is_empty() {
        return false;
    }
    let keys = secrets.iter().filter_map(|secret| match Key::parse(secret.expose()) {
        Ok(Key::Private(pair)) => Some(pair.public_key().as_ref().to_vec()),
        Ok(Key::Public(public)) => Some(public),
        _ => None,
    });
    let keys: Vec<Vec<u8>> = keys.collect();
    let message = signed_content(id, timestamp, request.body);
    let fits = |key: &Vec<u8>| signatures.iter().any(|signature| request.is_signed(key, &message, signature));
    if keys.iter().any(fits) {
        return true;
    }
    for key in keys.iter().cycle().take(CHECKED_SECRETS.saturating_sub(keys.len())) {
        black_box(fits(key));
    }
    false
}
