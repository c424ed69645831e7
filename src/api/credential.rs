//! Credentials: made, taken, shown once and rotated. Never shown again, never logged.
//! Refuses to know what they belong to beyond which side it is: a source checks, an endpoint signs.

use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER};
use serde::Serialize;
use utoipa::ToSchema;

use super::form::{Form, Given};
use super::problem::sentence;
use super::shown_once::{Reveal, Revealed};
use crate::clock::random_bytes;
use crate::dialect::check::CHECKED_SECRETS;
use crate::dialect::signature::{check_secret, check_signing_secret};
use crate::dialect::{self, Proof};
use crate::model::secret::{Credential, DatedSecret, MOST_SECRETS, Secret};
use crate::model::{DialectName, Time};

/// A given secret of fewer characters is taken, since vendors choose some, but with a warning.
const SHORTEST_UNREMARKED: usize = 16;

/// Which side of a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Checks what comes in.
    Source,
    /// Signs what goes out.
    Endpoint,
}

impl Side {
    /// Secrets that may be valid at the same time. Each one of an endpoint is a signature in its own requests; each one of
    /// a source is an HMAC over whatever a stranger sends.
    fn most_secrets(self) -> usize {
        match self {
            Self::Source => CHECKED_SECRETS,
            Self::Endpoint => MOST_SECRETS,
        }
    }
}

/// What a request says about the credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Nothing.
    Unsaid,
    /// None at all.
    Unsigned,
    /// This one.
    Taken(Secret),
}

/// What an answer shows of a credential that was made for the caller, and says of one that the caller gave.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct Shown {
    /// The signing secret, if one was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    secret: Option<Revealed>,
    /// The bearer token, if one was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    bearer_token: Option<Revealed>,
    /// What to look at once more about the credential that was given.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>, required = false)]
    warnings: Vec<String>,
}

/// What there is to show of a credential after a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Made {
    secret: Option<Secret>,
    bearer_token: Option<Secret>,
    is_short: bool,
}

impl Made {
    /// As far as it may be shown.
    pub fn shown(&self, reveal: &Reveal) -> Shown {
        let show = |secret: &Option<Secret>| secret.as_ref().and_then(|secret| reveal.secret(secret));
        let short = self.is_short.then(|| {
            format!(
                "The secret has fewer than {SHORTEST_UNREMARKED} characters, so others may guess it from one signed \
                 request. Choose a longer one where the vendor lets you."
            )
        });
        let (secret, bearer_token) = (show(&self.secret), show(&self.bearer_token));
        Shown { secret, bearer_token, warnings: short.into_iter().collect() }
    }
}

/// Reads `secret` and `bearer_token`, as far as the dialect uses them.
pub fn read(form: &mut Form<'_>, dialect: Option<DialectName>, side: Side) -> Wanted {
    let (secret, token) = (form.string("secret"), form.string("bearer_token"));
    let Some(name) = dialect else { return Wanted::Unsaid };
    let proof = dialect::get(name).proof();
    let (used, given, other, unused) = match proof {
        Proof::Bearer => ("bearer_token", token, "secret", secret),
        _ => ("secret", secret, "bearer_token", token),
    };
    if matches!(unused, Given::Value(_)) {
        form.wrong(other, "not_used", format!("The dialect {name} does not use it; leave it out."));
    }
    match given {
        Given::Absent => Wanted::Unsaid,
        Given::Null if proof == Proof::Bearer && side == Side::Endpoint => {
            form.wrong(used, "missing", "This dialect cannot go without one; leave it out to have one made.");
            Wanted::Unsaid
        }
        Given::Null => Wanted::Unsigned,
        Given::Value(text) => {
            let check = if side == Side::Source { check_secret } else { check_signing_secret };
            match check(proof, &text) {
                Ok(()) => Wanted::Taken(Secret::new(text)),
                Err(why) => {
                    form.wrong(
                        used,
                        if proof == Proof::Unsigned { "not_used" } else { "unfit" },
                        sentence(&why),
                    );
                    Wanted::Unsaid
                }
            }
        }
    }
}

impl Wanted {
    /// The credential that follows. `current` is what is there and still fits the dialect.
    pub fn make(self, dialect: DialectName, current: Option<Credential>) -> (Credential, Made) {
        let proof = dialect::get(dialect).proof();
        match (self, current) {
            (Self::Unsaid, Some(current)) => (current, Made::default()),
            (Self::Unsaid, None) => {
                let Some(made) = generate(proof).map(Secret::new) else { return <_>::default() };
                (of(proof, made.clone()), to_show(proof, made))
            }
            (Self::Unsigned, _) => <_>::default(),
            (Self::Taken(secret), _) => {
                let is_short = String::from_utf8_lossy(secret.expose()).chars().count() < SHORTEST_UNREMARKED;
                (of(proof, secret), Made { is_short, ..Made::default() })
            }
        }
    }
}

/// A new one of the kind that proves requests so; `None` where nothing does.
fn generate(proof: Proof) -> Option<String> {
    let bytes = random_bytes::<32>();
    match proof {
        Proof::Unsigned => None,
        Proof::HmacHex => Some(HEXLOWER.encode(&bytes)),
        Proof::Bearer => Some(BASE64URL_NOPAD.encode(&bytes)),
        Proof::StandardWebhooks => Some(format!("whsec_{}", BASE64.encode(&bytes))),
    }
}

fn of(proof: Proof, secret: Secret) -> Credential {
    match proof {
        Proof::Bearer => Credential::of_bearer(secret),
        _ => Credential::of_secret(secret),
    }
}

fn to_show(proof: Proof, made: Secret) -> Made {
    match proof {
        Proof::Bearer => Made { bearer_token: Some(made), ..Made::default() },
        _ => Made { secret: Some(made), ..Made::default() },
    }
}

/// Whether there is anything to check or sign with.
pub fn is_empty(credential: &Credential) -> bool {
    credential.secrets.is_empty() && credential.bearer_token.is_none()
}

/// The unguessable part of an unsigned source's URL.
pub fn url_token() -> Secret {
    Secret::new(BASE64URL_NOPAD.encode(&random_bytes::<32>()))
}

/// Puts a new secret beside those that still count. The new one signs from `active_from` on, the old ones end at
/// `old_ends` if not sooner. `None` when too many are under way.
pub fn rotate(
    side: Side,
    old: &Credential,
    new: Secret,
    now: Time,
    active_from: Time,
    old_ends: Time,
) -> Option<Credential> {
    let mut secrets = old.secrets.clone();
    for dated in &mut secrets {
        dated.expires_at = Some(dated.expires_at.map_or(old_ends, |end| end.min(old_ends)));
    }
    secrets.retain(|dated| dated.expires_at.is_some_and(|end| now < end));
    if secrets.len() >= side.most_secrets() {
        return None;
    }
    secrets.push(DatedSecret { secret: new, active_from, expires_at: None });
    Some(Credential { secrets, bearer_token: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_fits_its_dialect() {
        for name in DialectName::ALL {
            let proof = dialect::get(name).proof();
            let (credential, shown) = Wanted::Unsaid.make(name, None);
            assert_eq!(is_empty(&credential), proof == Proof::Unsigned);
            for made in shown.secret.iter().chain(&shown.bearer_token) {
                check_signing_secret(proof, std::str::from_utf8(made.expose()).unwrap()).unwrap();
            }
        }
    }

    #[test]
    fn the_old_secret_ends_and_the_new_one_begins() {
        let at = |seconds| Time::from_seconds(seconds).unwrap();
        let old = Credential::of_secret(Secret::new("old"));
        let both = rotate(Side::Endpoint, &old, Secret::new("new"), at(100), at(150), at(200)).unwrap();
        assert_eq!(both.signing(at(149)).unwrap().expose(), b"old");
        assert_eq!(both.signing(at(150)).unwrap().expose(), b"new");
        assert_eq!(both.valid(at(199)).count(), 2);
        assert_eq!(both.valid(at(200)).count(), 1);
        let third = rotate(Side::Endpoint, &both, Secret::new("third"), at(160), at(160), at(900)).unwrap();
        assert_eq!(third.valid(at(200)).count(), 2, "an earlier end stays");
        let crowd = (0..6).fold(third, |all, _| {
            rotate(Side::Endpoint, &all, Secret::new("x"), at(170), at(170), at(900)).unwrap_or(all)
        });
        assert_eq!(crowd.secrets.len(), MOST_SECRETS);
        assert_eq!(rotate(Side::Endpoint, &crowd, Secret::new("x"), at(180), at(180), at(900)), None);
        let alone = rotate(Side::Endpoint, &crowd, Secret::new("x"), at(180), at(180), at(180)).unwrap();
        assert_eq!(alone.secrets.len(), 1, "what ends at once makes room");
    }

    #[test]
    fn a_source_has_an_old_secret_and_a_new_one_at_most() {
        let at = |seconds| Time::from_seconds(seconds).unwrap();
        let turn = |old: &Credential, now, old_ends| {
            rotate(Side::Source, old, Secret::new("x"), at(now), at(now), at(old_ends))
        };
        let both = turn(&Credential::of_secret(Secret::new("old")), 100, 200).unwrap();
        assert_eq!(both.secrets.len(), 2);
        assert_eq!(turn(&both, 150, 300), None, "two count already");
        assert_eq!(turn(&both, 150, 150).unwrap().secrets.len(), 1);
        assert_eq!(turn(&both, 200, 300).unwrap().secrets.len(), 2, "the first one has ended");
    }
}
