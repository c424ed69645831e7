//! Who asks: API keys, the account that each one opens, and the rights that it has there. An id of another account is as
//! absent as one that never was. Does not know which right an operation needs: the router says it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{FromRequestParts, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use data_encoding::BASE64URL_NOPAD;
use http::request::Parts;
use http::{HeaderMap, StatusCode, header};

use super::ApiState;
use super::key_uses;
use super::peer::Peer;
use super::problem::Problem;
use super::wrong_keys;
use crate::clock::random_bytes;
use crate::model::id::{self, Kind, Tag};
use crate::model::{AccountKey, ApiKey, Right, Rights, Time};
use crate::store::vault::hash_api_key;
use crate::store::{AccountConfig, EndpointRef};

/// What every key that we make begins with, so that people and secret scanners know one when they see it. A key
/// that the operator sets by hand may look otherwise.
const PREFIX: &str = "pck_";
/// Keys that are remembered. Past that all are forgotten: a bound, not a policy.
const MOST_REMEMBERED: usize = 1024;
/// How long a key is trusted without asking the store, which another node may have told of a revocation.
const TRUSTED: Duration = Duration::from_secs(10);

/// A new API key: 256 bits of chance.
pub fn new_api_key() -> String {
    format!("{PREFIX}{}", BASE64URL_NOPAD.encode(&random_bytes::<32>()))
}

/// A key that was presented.
struct Presented {
    key: ApiKey,
    /// Whether this use of it is to be written down.
    is_use_due: bool,
}

/// Keys that were asked for lately.
#[derive(Debug, Default)]
pub struct Remembered {
    inner: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    keys: HashMap<[u8; 32], (ApiKey, Time)>,
    /// Goes up with each revocation: what was asked of the store before one is not remembered after it.
    revocations: u64,
}

impl Remembered {
    fn get(&self, hash: &[u8; 32], now: Time) -> (Option<Presented>, u64) {
        let mut known = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = known.keys.get_mut(hash).filter(|(_, since)| now.since(*since) < TRUSTED);
        (fresh.map(|(key, _)| present(key, now)), known.revocations)
    }

    /// Takes in what the store knows of a key.
    fn put(&self, hash: [u8; 32], mut key: ApiKey, now: Time, revocations: u64) -> Presented {
        let mut known = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if known.revocations != revocations {
            return Presented { key, is_use_due: false };
        }
        if known.keys.len() >= MOST_REMEMBERED {
            known.keys.clear();
        }
        // A use that is on its way to the store is not on record there.
        let noted = known.keys.get(&hash).and_then(|(known, _)| known.last_used_at);
        key.last_used_at = key.last_used_at.max(noted);
        present(&mut known.keys.entry(hash).insert_entry((key, now)).into_mut().0, now)
    }

    /// Forgets everything, after a key was revoked.
    pub fn forget(&self) {
        let mut known = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        known.keys.clear();
        known.revocations += 1;
    }
}

/// A use of a key that is remembered.
fn present(key: &mut ApiKey, now: Time) -> Presented {
    let is_use_due = key_uses::is_due(key, now);
    if is_use_due {
        key.last_used_at = Some(now);
    }
    Presented { key: key.clone(), is_use_due }
}

/// Who asks.
#[derive(Clone)]
pub struct Caller {
    /// The account.
    pub account: AccountKey,
    /// Its mark in ids.
    pub tag: Tag,
    /// The number of the key in it.
    pub key: i64,
    /// What the key may do.
    pub rights: Rights,
    /// From when on the key opens nothing.
    pub expires_at: Option<Time>,
    /// What is configured in the account, at the time of the request.
    pub config: Arc<AccountConfig>,
}

impl Caller {
    /// An id of this account, written out.
    pub fn id(&self, kind: Kind, number: i64) -> String {
        id::format(kind, self.tag, number)
    }

    /// The number of an id of this account.
    pub fn number(&self, kind: Kind, id: &str) -> Option<i64> {
        id::parse(kind, id).filter(|(tag, _)| *tag == self.tag).map(|(_, number)| number)
    }

    /// An endpoint of this account.
    pub fn endpoint(&self, number: i64) -> EndpointRef {
        EndpointRef { account: self.account, number }
    }

    /// Whether the key has a right.
    pub fn may(&self, right: Right) -> bool {
        self.rights.has(right)
    }

    /// Lets only keys with a right pass, where an operation needs one more than its route.
    ///
    /// # Errors
    /// 403 for all others.
    pub fn require(&self, right: Right) -> Result<(), Problem> {
        if self.may(right) { Ok(()) } else { Err(lacking(right)) }
    }
}

/// The key is valid and may not do this.
pub fn lacking(right: Right) -> Problem {
    let remedy = match right {
        Right::Admin => {
            "Use the key that the first start of postcall made: only admin keys of the account \"default\" have it."
        }
        _ => "Use a key that has it; POST /v1/keys makes one.",
    };
    let detail = format!("This needs the right \"{right}\", which this API key does not have. {remedy}");
    Problem::new(StatusCode::FORBIDDEN, "forbidden", detail)
}

impl FromRequestParts<ApiState> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &ApiState) -> Result<Self, Problem> {
        parts.extensions.get::<Self>().cloned().ok_or_else(Problem::unauthorized)
    }
}

/// The key of `Authorization: Bearer`.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, key) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(key.trim())
}

/// The key of a seed's own path: `x-api-key`, or as everywhere.
pub fn seed_key(headers: &HeaderMap) -> Option<&str> {
    let own = headers.get("x-api-key").and_then(|value| value.to_str().ok());
    own.map(str::trim).or_else(|| bearer(headers))
}

/// What is known about a key, unless it is none of ours, revoked or expired.
///
/// # Errors
/// When the store cannot be asked, or the client gave too many wrong keys.
pub async fn find(state: &ApiState, peer: Peer, key: &str) -> Result<Option<ApiKey>, Problem> {
    let (hash, now) = (hash_api_key(key), state.clock.now());
    let (known, revocations) = state.keys.get(&hash, now);
    let found = match known {
        Some(known) => known,
        None => match wrong_keys::look_up(state, peer, hash).await? {
            Some(key) => state.keys.put(hash, key, now, revocations),
            None => return Ok(None),
        },
    };
    if found.is_use_due {
        key_uses::note(state, &found.key, now);
    }
    if found.key.is_expired(now) {
        return Ok(None);
    }
    state.peers.proved(peer);
    Ok(Some(found.key))
}

/// Who asks, if the key has the right. A key that lacks it is told so before anything is looked up for it.
async fn caller(state: &ApiState, peer: Peer, key: &str, right: Right) -> Result<Caller, Problem> {
    let key = find(state, peer, key).await?.ok_or_else(Problem::unauthorized)?;
    if !key.rights.has(right) {
        return Err(lacking(right));
    }
    // What was changed through another node just before is there to be seen through this one.
    state.store.catch_up().await?;
    let config = state.store.config(key.account).ok_or_else(Problem::unauthorized)?;
    let ApiKey { account, number, rights, expires_at, .. } = key;
    Ok(Caller { account, tag: config.account.tag, key: number, rights, expires_at, config })
}

/// Lets only holders of a key with a right pass, and says whose it is. Judges before anything of a body is read.
pub async fn guard(
    State((state, right)): State<(ApiState, Right)>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let is_ours = request.uri().path().starts_with("/v1/");
    let key = if is_ours { bearer(request.headers()) } else { seed_key(request.headers()) };
    let peer = Peer::of(request.extensions());
    let caller = caller(&state, peer, key.ok_or_else(Problem::unauthorized)?, right).await?;
    request.extensions_mut().insert(caller);
    Ok(next.run(request).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revocation_reaches_also_who_asked_before_it() {
        let (hash, now) = ([1; 32], Time::from_micros(0));
        let (key, remembered) = (key(now), Remembered::default());
        let (_, before) = remembered.get(&hash, now);
        remembered.forget();
        remembered.put(hash, key.clone(), now, before);
        assert!(remembered.get(&hash, now).0.is_none());
        let (_, after) = remembered.get(&hash, now);
        remembered.put(hash, key.clone(), now, after);
        assert_eq!(remembered.get(&hash, now).0.unwrap().key.number, key.number);
        assert!(remembered.get(&hash, now.after(TRUSTED)).0.is_none());
    }

    #[test]
    fn of_many_uses_in_a_minute_one_is_due() {
        let (hash, now) = ([1; 32], Time::from_seconds(1000).unwrap());
        let remembered = Remembered::default();
        assert!(remembered.put(hash, key(now), now, 0).is_use_due);
        // Read before the first use was written, by a request that came at the same time.
        assert!(!remembered.put(hash, key(now), now, 0).is_use_due);
        assert!(!remembered.get(&hash, now).0.unwrap().is_use_due);
        let later = now.after(key_uses::ACCURACY);
        assert!(
            remembered.get(&hash, later).0.is_none(),
            "the store is asked first: another node may have noted it"
        );
        assert!(remembered.put(hash, key(now), later, 0).is_use_due);
    }

    fn key(created_at: Time) -> ApiKey {
        ApiKey {
            number: 1,
            account: AccountKey::DEFAULT,
            name: "k".to_owned(),
            rights: Rights::PLAIN,
            expires_at: None,
            last_used_at: None,
            created_at,
        }
    }

    #[test]
    fn keys_have_their_form() {
        let key = new_api_key();
        assert_eq!(key.len(), PREFIX.len() + 43);
        assert_ne!(key, new_api_key());
    }
}
