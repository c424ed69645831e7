//! Who asks: API keys, and the account that each one opens. An id of another account is as absent as one that never
//! was. Refuses to know what is asked for.

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
use super::peer::Peer;
use super::problem::Problem;
use super::wrong_keys;
use crate::clock::random_bytes;
use crate::model::id::{self, Kind, Tag};
use crate::model::{AccountKey, ApiKey, Time};
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
    fn get(&self, hash: &[u8; 32], now: Time) -> (Option<ApiKey>, u64) {
        let known = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = known.keys.get(hash).filter(|(_, since)| now.since(*since) < TRUSTED);
        (fresh.map(|(key, _)| key.clone()), known.revocations)
    }

    fn put(&self, hash: [u8; 32], key: ApiKey, now: Time, revocations: u64) {
        let mut known = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if known.revocations != revocations {
            return;
        }
        if known.keys.len() >= MOST_REMEMBERED {
            known.keys.clear();
        }
        known.keys.insert(hash, (key, now));
    }

    /// Forgets everything, after a key was revoked.
    pub fn forget(&self) {
        let mut known = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        known.keys.clear();
        known.revocations += 1;
    }
}

/// Who asks.
#[derive(Clone)]
pub struct Caller {
    /// The account.
    pub account: AccountKey,
    /// Its mark in ids.
    pub tag: Tag,
    /// Whether it may make accounts and keys for them.
    pub admin: bool,
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

/// What is known about a key, unless it is none of ours or revoked.
///
/// # Errors
/// When the store cannot be asked, or the client gave too many wrong keys.
pub async fn find(state: &ApiState, peer: Peer, key: &str) -> Result<Option<ApiKey>, Problem> {
    let (hash, now) = (hash_api_key(key), state.clock.now());
    let (known, revocations) = state.keys.get(&hash, now);
    if known.is_some() {
        state.peers.proved(peer);
        return Ok(known);
    }
    let found = wrong_keys::look_up(state, peer, hash).await?;
    if let Some(key) = &found {
        state.keys.put(hash, key.clone(), now, revocations);
        state.peers.proved(peer);
    }
    Ok(found)
}

/// Who asks on a seed's own path.
///
/// # Errors
/// 401 without a valid key.
pub async fn seed_caller(state: &ApiState, peer: Peer, headers: &HeaderMap) -> Result<Caller, Problem> {
    caller(state, peer, seed_key(headers).ok_or_else(Problem::unauthorized)?).await
}

async fn caller(state: &ApiState, peer: Peer, key: &str) -> Result<Caller, Problem> {
    let key = find(state, peer, key).await?.ok_or_else(Problem::unauthorized)?;
    // What was changed through another node just before is there to be seen through this one.
    state.store.catch_up().await?;
    let config = state.store.config(key.account).ok_or_else(Problem::unauthorized)?;
    Ok(Caller { account: key.account, tag: config.account.tag, admin: key.admin, config })
}

/// Lets only holders of a key pass, and says whose it is.
pub async fn guard(
    State(state): State<ApiState>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let is_ours = request.uri().path().starts_with("/v1/");
    let key = if is_ours { bearer(request.headers()) } else { seed_key(request.headers()) };
    let peer = Peer::of(request.extensions());
    let caller = caller(&state, peer, key.ok_or_else(Problem::unauthorized)?).await?;
    request.extensions_mut().insert(caller);
    Ok(next.run(request).await)
}

/// Lets only admins pass.
///
/// # Errors
/// 403 for everybody else.
pub fn require_admin(caller: &Caller) -> Result<(), Problem> {
    if caller.admin {
        return Ok(());
    }
    let detail = "Only an admin key may do this. Use the key that the first start of postcall printed.";
    Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revocation_reaches_also_who_asked_before_it() {
        let (hash, now) = ([1; 32], Time::from_micros(0));
        let key = ApiKey {
            number: 1,
            account: AccountKey::DEFAULT,
            name: "k".to_owned(),
            admin: false,
            created_at: now,
        };
        let remembered = Remembered::default();
        let (_, before) = remembered.get(&hash, now);
        remembered.forget();
        remembered.put(hash, key.clone(), now, before);
        assert_eq!(remembered.get(&hash, now).0, None);
        let (_, after) = remembered.get(&hash, now);
        remembered.put(hash, key.clone(), now, after);
        assert_eq!(remembered.get(&hash, now).0, Some(key));
        assert_eq!(remembered.get(&hash, now.after(TRUSTED)).0, None);
    }

    #[test]
    fn keys_have_their_form() {
        let key = new_api_key();
        assert_eq!(key.len(), PREFIX.len() + 43);
        assert_ne!(key, new_api_key());
    }
}
