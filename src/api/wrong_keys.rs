//! Looks API keys up, so that wrong ones cost the store little: an address that gives many is limited, and keys that
//! were not valid lately are looked up a few at a time. A key that was valid lately is always looked up, wherever it
//! comes from, and an address that proved itself is never limited: nobody's right key is refused because of a
//! neighbour's wrong ones. Only a key that this node has not seen before can be told to come again, from an address that
//! has not proved itself and just gave many wrong ones. Does not know what a key may do.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::StatusCode;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use super::peer::{Peer, Peers};
use super::problem::Problem;
use crate::metrics::Metrics;
use crate::model::ApiKey;
use crate::store::Store;

/// Wrong keys in a row that an address may give.
const BURST: u32 = 20;
/// After that, how long until it may give another one.
const PAUSE: Duration = Duration::from_secs(1);
/// Unknown keys that are looked up at the same time: half of the readers that a store has.
const MOST_LOOKUPS: usize = 2;
/// How long a key may wait for its turn to be looked up.
const LOOKUP_PATIENCE: Duration = Duration::from_secs(5);
/// Addresses of which wrong keys are counted. Past that, the one that may be forgotten soonest is.
const MOST_ADDRESSES: usize = 4096;
/// Keys of which it is known that they were valid lately. Past that all are forgotten: a bound, not a policy.
const MOST_KNOWN: usize = 4096;

/// What is remembered of wrong and right keys.
#[derive(Debug)]
pub struct WrongKeys {
    peers: Arc<Peers>,
    metrics: Arc<Metrics>,
    limits: Mutex<Limits>,
    lookups: Semaphore,
}

#[derive(Debug, Default)]
struct Limits {
    /// By address, when its wrong keys are all forgiven.
    forgiven: HashMap<Peer, Instant>,
    /// Hashes of keys that were valid when they were last looked up.
    known: HashSet<[u8; 32]>,
}

fn too_many(wait: Duration) -> Problem {
    let seconds = u32::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u32::MAX).max(1);
    let detail = format!(
        "Too many requests with a wrong API key came from this address. Correct the key, and send the request again in \
         {seconds} s."
    );
    Problem::retry_after(StatusCode::TOO_MANY_REQUESTS, "too_many_wrong_keys", detail, seconds)
}

impl WrongKeys {
    /// No key was given yet.
    pub fn new(peers: Arc<Peers>, metrics: Arc<Metrics>) -> Self {
        Self { peers, metrics, limits: Mutex::default(), lookups: Semaphore::new(MOST_LOOKUPS) }
    }

    /// What the store knows about a key, given the hash of it.
    ///
    /// # Errors
    /// 429 before the store is asked, when the address gave too many wrong keys; 503 when the store cannot be asked.
    pub async fn look_up(
        &self,
        store: &dyn Store,
        peer: Peer,
        hash: [u8; 32],
    ) -> Result<Option<ApiKey>, Problem> {
        if self.limits().known.contains(&hash) {
            let found = store.find_key(hash).await?;
            if found.is_none() {
                self.limits().known.remove(&hash);
            }
            return Ok(found);
        }
        let is_limited = self.peers.is_limited(peer);
        let judge = || match self.limits().wait(peer, Instant::now()).filter(|_| is_limited) {
            Some(wait) => {
                self.metrics.key_limited();
                Err(too_many(wait))
            }
            None => Ok(()),
        };
        judge()?;
        let turn = timeout(LOOKUP_PATIENCE, self.lookups.acquire()).await;
        let _turn = turn.ok().and_then(Result::ok).ok_or_else(Problem::unavailable)?;
        // Others of this address may have been wrong meanwhile.
        judge()?;
        let found = store.find_key(hash).await?;
        let mut limits = self.limits();
        match found {
            Some(_) => limits.was_right(peer, hash),
            None if is_limited => limits.was_wrong(peer, Instant::now()),
            None => {}
        }
        Ok(found)
    }

    fn limits(&self) -> MutexGuard<'_, Limits> {
        self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Limits {
    /// How long an address has to wait until it may give an unknown key; `None` is not at all.
    fn wait(&self, peer: Peer, now: Instant) -> Option<Duration> {
        let forgiven = self.forgiven.get(&peer.network())?;
        let owed = forgiven.saturating_duration_since(now);
        owed.checked_sub(PAUSE * (BURST - 1)).filter(|wait| !wait.is_zero())
    }

    fn was_wrong(&mut self, peer: Peer, now: Instant) {
        let peer = peer.network();
        if self.forgiven.len() >= MOST_ADDRESSES && !self.forgiven.contains_key(&peer) {
            self.forgiven.retain(|_, forgiven| *forgiven > now);
            if self.forgiven.len() >= MOST_ADDRESSES {
                let soonest = self.forgiven.iter().min_by_key(|(_, forgiven)| **forgiven);
                if let Some(soonest) = soonest.map(|(peer, _)| *peer) {
                    self.forgiven.remove(&soonest);
                }
            }
        }
        let forgiven = self.forgiven.entry(peer).or_insert(now);
        *forgiven = (*forgiven).max(now) + PAUSE;
    }

    fn was_right(&mut self, peer: Peer, hash: [u8; 32]) {
        self.forgiven.remove(&peer.network());
        if self.known.len() >= MOST_KNOWN {
            self.known.clear();
        }
        self.known.insert(hash);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn peer(number: u32) -> Peer {
        Peer::direct(Ipv4Addr::from_bits(number).into())
    }

    #[test]
    fn after_twenty_wrong_keys_in_a_row_there_is_one_a_second() {
        let (mut limits, start) = (Limits::default(), Instant::now());
        for _ in 0..20 {
            assert_eq!(limits.wait(peer(1), start), None);
            limits.was_wrong(peer(1), start);
        }
        assert_eq!(limits.wait(peer(1), start), Some(Duration::from_secs(1)));
        assert_eq!(limits.wait(peer(2), start), None, "another address");
        let later = start + Duration::from_millis(400);
        assert_eq!(limits.wait(peer(1), later), Some(Duration::from_millis(600)));
        let later = start + Duration::from_secs(1);
        assert_eq!(limits.wait(peer(1), later), None);
        limits.was_wrong(peer(1), later);
        assert_eq!(limits.wait(peer(1), later), Some(Duration::from_secs(1)));
        // A right key, or time, sets it back.
        assert_eq!(limits.wait(peer(1), start + Duration::from_secs(60)), None);
        limits.was_right(peer(1), [0; 32]);
        assert_eq!(limits.wait(peer(1), later), None);
    }

    #[test]
    fn the_tables_are_bounded_and_keep_who_was_wrong_most() {
        let (mut limits, now) = (Limits::default(), Instant::now());
        for _ in 0..30 {
            limits.was_wrong(peer(1), now);
        }
        for number in 2..10_000 {
            limits.was_wrong(peer(number), now);
            limits.was_right(peer(0), std::array::from_fn(|at| number.to_le_bytes()[at % 4]));
        }
        assert!(limits.forgiven.len() <= MOST_ADDRESSES && limits.known.len() <= MOST_KNOWN);
        assert!(limits.wait(peer(1), now).is_some());
    }
}
