//! Who a request comes from: the client's address, and which addresses recently proved themselves.
//! Does not depend on how the address is found (`server`) nor on what counts as proof.

use std::convert::Infallible;
use std::hash::{BuildHasher, Hash, RandomState};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;
use std::{array, collections::HashMap};

use axum::extract::FromRequestParts;
use http::Extensions;
use http::request::Parts;
use tokio::time::Instant;

/// How long an address counts as proven after its last proof.
const PROVEN_FOR: Duration = Duration::from_secs(600);
/// An address that proves itself again within this time is not written down again: the hot path only reads.
const REFRESH: Duration = Duration::from_secs(10);
/// Parts of a table, so that requests seldom meet at a lock.
const SHARDS: usize = 16;
/// Addresses in one shard at most; past that the one seen longest ago makes way.
const MOST_IN_SHARD: usize = 1024;

/// The client of a request. The server puts it into every request's extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Peer {
    /// The client's address, as far as it can be known.
    pub address: IpAddr,
    /// The proxy between, if the address is only what that proxy says and nobody named the proxy. Limits by address never
    /// apply then. An address counts as proven only together with the proxy that it was proven through.
    pub through: Option<IpAddr>,
}

impl Peer {
    /// A client whose address is known for sure.
    pub fn direct(address: IpAddr) -> Self {
        Self { address: address.to_canonical(), through: None }
    }

    /// A client behind a proxy that nobody named; its address is what the proxy says.
    pub fn through(proxy: IpAddr, address: IpAddr) -> Self {
        Self { address: address.to_canonical(), through: Some(proxy.to_canonical()) }
    }

    /// The client that the server noted; an unknown one, whom no limit by address meets, where it noted none.
    pub fn of(extensions: &Extensions) -> Self {
        const NONE: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        extensions.get::<Self>().copied().unwrap_or(Self { address: NONE, through: Some(NONE) })
    }

    /// What tables know it by: whoever has one IPv6 address has all of its /64.
    pub fn network(self) -> Self {
        let address = match self.address {
            IpAddr::V4(_) => self.address,
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        };
        Self { address, ..self }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Peer {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.extensions))
    }
}

/// What is remembered of clients.
#[derive(Debug)]
pub struct Peers {
    proven: Seen,
    proxies: Seen,
}

impl Default for Peers {
    fn default() -> Self {
        Self { proven: Seen::new(PROVEN_FOR), proxies: Seen::new(PROVEN_FOR) }
    }
}

impl Peers {
    /// Notes that this client sent a proven body or used a valid key.
    pub fn proved(&self, peer: Peer) {
        self.proven.see(peer.network());
    }

    /// Whether this client sent a proven body or used a valid key in the last ten minutes.
    pub fn is_proven(&self, peer: Peer) -> bool {
        self.proven.is_fresh(peer.network())
    }

    /// Notes that requests from this address name other clients, though nobody named it as a proxy. True if that is
    /// news.
    pub fn found_proxy(&self, address: IpAddr) -> bool {
        self.proxies.see(Peer::direct(address).network())
    }

    /// Whether limits by address apply to this client: not to one that proved itself, nor to a proxy.
    pub fn is_limited(&self, peer: Peer) -> bool {
        peer.through.is_none() && !self.is_proven(peer) && !self.proxies.is_fresh(peer.network())
    }
}

/// A bounded table of when clients were last seen.
#[derive(Debug)]
struct Seen {
    began: Instant,
    fresh_for: Duration,
    hasher: RandomState,
    shards: [RwLock<HashMap<Peer, AtomicU64>>; SHARDS],
}

impl Seen {
    fn new(fresh_for: Duration) -> Self {
        let shards = array::from_fn(|_| RwLock::default());
        Self { began: Instant::now(), fresh_for, hasher: RandomState::new(), shards }
    }

    /// Milliseconds since the table was made.
    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn shard(&self, peer: Peer) -> &RwLock<HashMap<Peer, AtomicU64>> {
        #[expect(clippy::cast_possible_truncation, reason = "any of its bits will do")]
        let hash = self.hasher.hash_one(peer) as usize;
        &self.shards[hash % SHARDS]
    }

    /// Notes a client; true if it was not fresh before.
    fn see(&self, peer: Peer) -> bool {
        let (now, shard) = (self.now(), self.shard(peer));
        let known = shard.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = known.get(&peer) {
            let age = millis(last.load(Ordering::Relaxed), now);
            if age >= REFRESH {
                last.store(now, Ordering::Relaxed);
            }
            return age >= self.fresh_for;
        }
        drop(known);
        let mut known = shard.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST_IN_SHARD {
            let oldest = known.iter().min_by_key(|(_, last)| last.load(Ordering::Relaxed));
            if let Some(oldest) = oldest.map(|(peer, _)| *peer) {
                known.remove(&oldest);
            }
        }
        known.insert(peer, AtomicU64::new(now)).is_none()
    }

    fn is_fresh(&self, peer: Peer) -> bool {
        let known = self.shard(peer).read().unwrap_or_else(PoisonError::into_inner);
        known.get(&peer).is_some_and(|last| millis(last.load(Ordering::Relaxed), self.now()) < self.fresh_for)
    }
}

fn millis(from: u64, to: u64) -> Duration {
    Duration::from_millis(to.saturating_sub(from))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn direct(address: &str) -> Peer {
        Peer::direct(address.parse().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_is_proven_for_a_while_after_its_last_proof() {
        let (peers, vendor) = (Peers::default(), direct("192.0.2.1"));
        assert!(!peers.is_proven(vendor) && peers.is_limited(vendor));
        peers.proved(vendor);
        assert!(peers.is_proven(vendor) && !peers.is_limited(vendor));
        assert!(!peers.is_proven(direct("192.0.2.2")));
        tokio::time::advance(PROVEN_FOR - Duration::from_secs(1)).await;
        peers.proved(vendor);
        tokio::time::advance(PROVEN_FOR - Duration::from_secs(1)).await;
        assert!(peers.is_proven(vendor));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!peers.is_proven(vendor));
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let peers = Peers::default();
        peers.proved(direct("2001:db8:1:2::3"));
        assert!(peers.is_proven(direct("2001:db8:1:2:ffff::1")));
        assert!(!peers.is_proven(direct("2001:db8:1:3::3")));
        peers.proved(direct("::ffff:192.0.2.1"));
        assert!(peers.is_proven(direct("192.0.2.1")) && !peers.is_proven(direct("192.0.2.2")));
    }

    #[test]
    fn what_an_unnamed_proxy_says_proves_nobody_elsewhere_and_limits_nobody() {
        let (peers, proxy) = (Peers::default(), "10.0.0.1".parse().unwrap());
        let [vendor, stranger] =
            ["192.0.2.1", "192.0.2.2"].map(|said| Peer::through(proxy, said.parse().unwrap()));
        peers.proved(vendor);
        assert!(peers.is_proven(vendor));
        assert!(!peers.is_proven(stranger) && !peers.is_limited(stranger));
        assert!(!peers.is_proven(direct("192.0.2.1")) && peers.is_limited(direct("192.0.2.1")));
        // A stranger that claims to be a proxy and to speak for the vendor.
        assert!(!peers.is_proven(Peer::through("192.0.2.2".parse().unwrap(), vendor.address)));
        assert!(peers.found_proxy(proxy) && !peers.found_proxy(proxy));
        assert!(!peers.is_limited(Peer::direct(proxy)), "also where a request of it names no client");
    }

    #[tokio::test(start_paused = true)]
    async fn the_table_is_bounded_and_forgets_who_was_seen_longest_ago() {
        let (peers, vendor) = (Peers::default(), direct("192.0.2.1"));
        for number in 0..100_000 {
            if number % 1000 == 0 {
                tokio::time::advance(REFRESH).await;
                peers.proved(vendor);
            }
            peers.proved(Peer::direct(Ipv4Addr::from_bits(0x0a00_0000 + number).into()));
        }
        let held: usize = peers.proven.shards.iter().map(|shard| shard.read().unwrap().len()).sum();
        assert!(held <= SHARDS * MOST_IN_SHARD, "{held}");
        assert!(peers.is_proven(vendor));
    }
}
