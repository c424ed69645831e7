//! Secrets in memory: bytes that never show in a log line or an error.
//! Knows their life times; refuses to know how they are kept at rest or what they sign.

use ring::digest::{SHA256, digest};

use super::mac::is_same;
use super::time::Time;

/// A secret or token. `Debug` prints nothing of it, and `==` takes a time that tells nothing of it.
#[derive(Clone)]
pub struct Secret(Box<[u8]>);

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.fits(&other.0)
    }
}

impl Eq for Secret {}

impl Secret {
    /// Takes the secret's bytes as they are.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into().into_boxed_slice())
    }

    /// The bytes, for the few places that sign or show it once.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Whether somebody else's value is this one. The hashes are compared, so that the time tells neither where the two
    /// differ nor how long this one is.
    pub fn fits(&self, given: &[u8]) -> bool {
        let hash = |bytes: &[u8]| digest(&SHA256, bytes);
        is_same(hash(&self.0).as_ref(), hash(given).as_ref())
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// The most secrets that a credential holds, the ones on their way out included.
pub const MOST_SECRETS: usize = 8;

/// One of the secrets of a source or endpoint, with the time in which it counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatedSecret {
    /// The secret itself.
    pub secret: Secret,
    /// From when it signs.
    pub active_from: Time,
    /// Until when it is still valid beside a newer one; `None` for ever.
    pub expires_at: Option<Time>,
}

/// What a source checks with, or an endpoint signs with. Several secrets only while one replaces another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credential {
    /// Signing secrets, oldest first. Empty means unsigned.
    pub secrets: Vec<DatedSecret>,
    /// The token of `Authorization: Bearer`, where the dialect uses one.
    pub bearer_token: Option<Secret>,
}

impl Credential {
    /// A credential of one secret, valid from the beginning of time.
    pub fn of_secret(secret: Secret) -> Self {
        Self {
            secrets: vec![DatedSecret { secret, active_from: Time::MIN, expires_at: None }],
            bearer_token: None,
        }
    }

    /// A credential of one bearer token.
    pub fn of_bearer(token: Secret) -> Self {
        Self { secrets: Vec::new(), bearer_token: Some(token) }
    }

    /// Every secret that a receiver may still check with, newest first: what sources accept and what the
    /// standard dialect signs with while a rotation is under way.
    pub fn valid(&self, now: Time) -> impl Iterator<Item = &Secret> {
        self.secrets
            .iter()
            .rev()
            .filter(move |dated| dated.expires_at.is_none_or(|end| now < end))
            .map(|dated| &dated.secret)
    }

    /// The one secret that signs now: of those whose time has come the one that was given last, so that a planned switch
    /// which was overtaken by another rotation never comes back. For dialects with a single signature.
    pub fn signing(&self, now: Time) -> Option<&Secret> {
        let started = self.secrets.iter().rev().find(|dated| dated.active_from <= now);
        started.map(|dated| &dated.secret)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_never_prints() {
        assert!(!format!("{:?}", Credential::of_secret(Secret::new("hunter2"))).contains("hunter2"));
    }

    #[test]
    fn rotation_switches_at_its_moment() {
        let at = |seconds| Time::from_seconds(seconds).unwrap();
        let old = DatedSecret { secret: Secret::new("old"), active_from: at(0), expires_at: Some(at(200)) };
        let new = DatedSecret { secret: Secret::new("new"), active_from: at(100), expires_at: None };
        let credential = Credential { secrets: vec![old, new], bearer_token: None };
        let valid = |now| credential.valid(at(now)).map(Secret::expose).collect::<Vec<_>>();
        assert_eq!(credential.signing(at(99)).unwrap().expose(), b"old");
        assert_eq!(credential.signing(at(100)).unwrap().expose(), b"new");
        assert_eq!(valid(150), [b"new", b"old"]);
        // Overtaken before its time came: the last word stands, then and later.
        let mut overtaken = credential.clone();
        overtaken.secrets.push(DatedSecret {
            secret: Secret::new("last"),
            active_from: at(50),
            expires_at: None,
        });
        assert_eq!(overtaken.signing(at(60)).unwrap().expose(), b"last");
        assert_eq!(overtaken.signing(at(150)).unwrap().expose(), b"last");
        assert_eq!(valid(200), [b"new"]);
    }
}
