//! Who asks: API keys, the account that each one opens, and the rights that it has there. An id of another account is as
//! absent as one that never was. Does not know which right an operation needs: the router says it.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use data_encoding::BASE64URL_NOPAD;
use http::request::Parts;
use http::{HeaderMap, StatusCode, header};

use super::peer::Peer;
use super::problem::Problem;
use super::state::ApiState;
use crate::clock::random_bytes;
use crate::model::id::{self, Kind, Tag};
use crate::model::{AccountKey, ApiKey, Right, Rights, Time};
use crate::store::vault::hash_api_key;
use crate::store::{AccountConfig, EndpointRef};

/// What every key that we make begins with, so that people and secret scanners know one when they see it. A key
/// that the operator sets by hand may look otherwise.
const PREFIX: &str = "pck_";
/// A new API key: 256 bits of chance.
pub fn new_api_key() -> String {
    format!("{PREFIX}{}", BASE64URL_NOPAD.encode(&random_bytes::<32>()))
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
        None => match state.wrong_keys.look_up(&*state.store, peer, hash).await? {
            Some(key) => state.keys.put(hash, key, now, revocations),
            None => return Ok(None),
        },
    };
    if found.is_use_due {
        state.key_uses.note(&state.store, &found.key, now);
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
    fn keys_have_their_form() {
        let key = new_api_key();
        assert_eq!(key.len(), PREFIX.len() + 43);
        assert_ne!(key, new_api_key());
    }
}
