//! The connections that are open, bounded in all and by address. When there is no slot for a new one, the connection that
//! has kept the server waiting longest makes way, unless its client proved itself; past that a few more are let in for
//! the health of the node alone. Does not read or write: a connection says itself whom it waits for.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::connection::{Connection, Table};
use super::limits::Limits;
use crate::api::peer::{Peer, Peers};
use crate::metrics::{Cut, Metrics, Refusal};

/// Connections past the bound that are served the health of the node alone.
const RESERVE: usize = 64;
/// One of so many connections makes way at a time, so that the table is not searched for each new one.
const BATCH: usize = 256;
/// How long the table is not searched again after a search in vain.
const SEARCH_PAUSE: Duration = Duration::from_millis(10);
/// What may be held in all for clients that keep the server waiting, in bytes: unread answers and unfinished heads.
const MOST_HELD: usize = 64 << 20;

/// Every open connection.
#[derive(Debug)]
pub struct Slots {
    limits: Limits,
    peers: Arc<Peers>,
    metrics: Arc<Metrics>,
    began: Instant,
    held: AtomicUsize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    number: u64,
    count: usize,
    by_address: HashMap<Peer, HashMap<u64, Arc<Connection>>>,
    reserve: HashMap<u64, Arc<Connection>>,
    /// Before this moment a search would be in vain.
    searched: Option<Instant>,
}

/// A connection's slot, free again when this is dropped.
#[derive(Debug)]
pub struct Lease {
    connection: Arc<Connection>,
    slots: Arc<Slots>,
}

impl Lease {
    /// The table that the connection is in.
    pub fn slots(&self) -> &Arc<Slots> {
        &self.slots
    }
}

impl std::ops::Deref for Lease {
    type Target = Arc<Connection>;

    fn deref(&self) -> &Arc<Connection> {
        &self.connection
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.slots.lock().remove(&self.connection);
        self.slots.metrics.connections().dec();
    }
}

impl Slots {
    /// All of them free.
    pub fn new(limits: Limits, peers: Arc<Peers>, metrics: Arc<Metrics>) -> Arc<Self> {
        let (held, taken) = <_>::default();
        Arc::new(Self { limits, peers, metrics, began: Instant::now(), held, taken })
    }

    /// The bounds.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Counts a connection that did not keep up.
    pub fn count(&self, cut: Cut) {
        self.metrics.connection_cut(cut);
    }

    /// Gives a new connection a slot, or where there is none one of the reserve.
    pub fn admit(self: &Arc<Self>, peer: Peer) -> Lease {
        let is_limited = self.peers.is_limited(peer);
        let is_patient = !is_limited;
        let mut taken = self.lock();
        let refusal = self.make_way(&mut taken, peer, is_limited).err();
        taken.number += 1;
        let connection = Arc::new(Connection::new(taken.number, peer, refusal, is_patient, self.clone()));
        if let Some(refusal) = refusal {
            self.metrics.connection_refused(refusal);
            if taken.reserve.len() >= RESERVE {
                self.evict(longest(taken.reserve.values(), 1, |_| true), &mut taken, Cut::Evicted);
            }
        }
        taken.insert(Arc::clone(&connection));
        drop(taken);
        self.metrics.connections().inc();
        Lease { connection, slots: Arc::clone(self) }
    }

    /// Makes sure that there is a slot for one more.
    fn make_way(&self, taken: &mut Taken, peer: Peer, is_limited: bool) -> Result<(), Refusal> {
        let of_address = taken.by_address.get(&peer.network());
        if let Some(all) =
            of_address.filter(|all| is_limited && all.len() >= self.limits.connections_per_address)
        {
            self.evict(
                non_empty(longest(all.values(), 1, |_| true)).ok_or(Refusal::Address)?,
                taken,
                Cut::Evicted,
            );
        }
        if taken.count < self.limits.connections {
            return Ok(());
        }
        if taken.searched.is_some_and(|searched| searched.elapsed() < SEARCH_PAUSE) {
            return Err(Refusal::Full);
        }
        let batch = (self.limits.connections / BATCH).max(1);
        let victims =
            longest(taken.all(), batch, |connection| !self.peers.is_proven(connection.latest_peer()));
        taken.searched = victims.is_empty().then(Instant::now);
        self.evict(non_empty(victims).ok_or(Refusal::Full)?, taken, Cut::Evicted);
        Ok(())
    }

    /// Takes the slots of connections, and asks them to close.
    fn evict(&self, victims: Vec<Arc<Connection>>, taken: &mut Taken, cut: Cut) {
        for victim in victims {
            taken.remove(&victim);
            self.metrics.connection_cut(cut);
            victim.ask_to_leave();
        }
    }

    /// Takes a connection back that was asked to close and is at work again.
    pub fn keep(&self, connection: &Arc<Connection>) {
        self.lock().insert(Arc::clone(connection));
    }

    /// Closes, round after round, connections whose clients neither read nor send while the server waits for them.
    /// For the stop: what is under way is finished with those who take part.
    pub async fn close_stalled(&self) {
        for connection in self.lock().all() {
            connection.moved();
        }
        loop {
            sleep(self.limits.stop_patience).await;
            let mut taken = self.lock();
            let least = self.limits.least_bytes(self.limits.stop_patience);
            let all = taken.all().chain(taken.reserve.values());
            let stalled =
                all.filter(|connection| connection.moved() < least && connection.waits_since().is_some());
            let stalled = stalled.map(Arc::clone).collect();
            self.evict(stalled, &mut taken, Cut::Stop);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table for Slots {
    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn hold(&self, bytes: usize, before: usize) {
        let all = self.held.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let all = all.saturating_sub(before);
        self.held.fetch_sub(before, Ordering::Relaxed);
        if bytes <= before || all <= MOST_HELD {
            return;
        }
        let mut taken = self.lock();
        let mut excess = all - MOST_HELD;
        let victims = longest(taken.all(), usize::MAX, |connection| connection.held() > 0);
        let enough = victims.into_iter().take_while(|victim| {
            let is_needed = excess > 0;
            excess = excess.saturating_sub(victim.held());
            is_needed
        });
        self.evict(enough.collect(), &mut taken, Cut::Held);
    }
}

impl Taken {
    fn all(&self) -> impl Iterator<Item = &Arc<Connection>> {
        self.by_address.values().flat_map(HashMap::values)
    }

    fn insert(&mut self, connection: Arc<Connection>) {
        let number = connection.number();
        let before = match connection.refusal() {
            Some(_) => self.reserve.insert(number, connection),
            None => {
                self.count += 1;
                self.by_address.entry(connection.peer().network()).or_default().insert(number, connection)
            }
        };
        debug_assert!(before.is_none(), "a connection has one slot");
    }

    fn remove(&mut self, connection: &Connection) {
        self.reserve.remove(&connection.number());
        let network = connection.peer().network();
        let Some(of_address) = self.by_address.get_mut(&network) else { return };
        if of_address.remove(&connection.number()).is_some() {
            self.count -= 1;
        }
        if of_address.is_empty() {
            self.by_address.remove(&network);
        }
    }
}

/// Those of the connections that keep the server waiting, longest first, and may be closed; so many at most.
fn longest<'a>(
    all: impl Iterator<Item = &'a Arc<Connection>>,
    most: usize,
    may_close: impl Fn(&Connection) -> bool,
) -> Vec<Arc<Connection>> {
    let mut waiting: Vec<_> =
        all.filter_map(|connection| Some((connection.waits_since()?, connection))).collect();
    waiting.sort_unstable_by_key(|(since, _)| *since);
    let open =
        waiting.into_iter().map(|(_, connection)| connection).filter(|connection| may_close(connection));
    open.take(most).map(Arc::clone).collect()
}

fn non_empty<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use futures_util::FutureExt;

    use super::*;

    fn slots(connections: usize, connections_per_address: usize) -> Arc<Slots> {
        let limits = Limits { connections, connections_per_address, ..Limits::default() };
        Slots::new(limits, Arc::default(), Arc::new(Metrics::new()))
    }

    fn peer(number: u32) -> Peer {
        Peer::direct(Ipv4Addr::from_bits(number).into())
    }

    fn must_leave(lease: &Lease) -> bool {
        lease.asked_to_leave().now_or_never().is_some()
    }

    async fn a_moment() {
        tokio::time::advance(SEARCH_PAUSE).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_at_work_makes_way_for_nobody() {
        let slots = slots(2, 10);
        let [first, second] = [1, 2].map(|number| slots.admit(peer(number)));
        let [work, other_work] = [&first, &second].map(|lease| lease.begin(lease.peer()));
        let refusal = slots.admit(peer(3));
        assert_eq!(refusal.refusal(), Some(Refusal::Full));
        drop(work);
        first.has_written();
        a_moment().await;
        assert_eq!(slots.admit(peer(3)).refusal(), None);
        assert!(must_leave(&first) && !must_leave(&second) && !must_leave(&refusal));
        drop(other_work);
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_has_its_bound_and_others_have_theirs() {
        let slots = slots(100, 2);
        let busy: Vec<_> = (0..2).map(|_| slots.admit(peer(1))).collect();
        let work: Vec<_> = busy.iter().map(|lease| lease.begin(lease.peer())).collect();
        assert_eq!(slots.admit(peer(1)).refusal(), Some(Refusal::Address));
        assert_eq!(slots.admit(peer(2)).refusal(), None);
        // Proven meanwhile, by a key or a body.
        slots.peers.proved(peer(1));
        assert_eq!(slots.admit(peer(1)).refusal(), None);
        drop(work);
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_kept_the_server_waiting_longest_makes_way_first_and_the_proven_stay() {
        let slots = slots(4, 10);
        let mut leases = Vec::new();
        for number in 0..4 {
            a_moment().await;
            leases.push(slots.admit(peer(number)));
        }
        slots.peers.proved(peer(0));
        // This one is answered again, and so it has waited the least.
        a_moment().await;
        drop(leases[1].begin(peer(1)));
        leases[1].has_written();
        let order: Vec<usize> = (0..3)
            .map(|_| {
                let held = slots.admit(peer(9));
                let left = (0..4).find(|number| must_leave(&leases[*number])).unwrap();
                // It is at work, so that the next one cannot take its place.
                std::mem::forget(held.begin(peer(9)));
                std::mem::forget(held);
                left
            })
            .collect();
        assert_eq!(order, [2, 3, 1]);
        assert_eq!(slots.admit(peer(9)).refusal(), Some(Refusal::Full));
    }

    #[tokio::test(start_paused = true)]
    async fn a_proxys_connection_is_its_last_clients() {
        let slots = slots(2, 10);
        let proxy = Peer::through(peer(7).address, peer(7).address);
        let [vendors, strangers] = [1, 2].map(|client| {
            let lease = slots.admit(proxy);
            drop(lease.begin(peer(client)));
            lease.has_written();
            lease
        });
        slots.peers.proved(peer(1));
        assert_eq!(slots.admit(proxy).refusal(), None);
        assert!(must_leave(&strangers) && !must_leave(&vendors));
    }

    #[tokio::test(start_paused = true)]
    async fn in_a_large_table_several_make_way_at_a_time() {
        let slots = slots(1024, usize::MAX);
        let leases: Vec<_> = (0..1024).map(|number| slots.admit(peer(number))).collect();
        let _new = slots.admit(peer(5000));
        assert_eq!(leases.iter().filter(|lease| must_leave(lease)).count(), 1024 / BATCH);
    }

    #[tokio::test(start_paused = true)]
    async fn the_reserve_is_bounded_too() {
        let slots = slots(1, 10);
        let only = slots.admit(peer(1));
        let work = only.begin(peer(1));
        let mut reserve = Vec::new();
        for number in 0..1000 {
            a_moment().await;
            reserve.push(slots.admit(peer(number)));
        }
        assert_eq!(slots.lock().reserve.len(), RESERVE);
        assert!(must_leave(&reserve[0]) && !must_leave(reserve.last().unwrap()));
        drop((reserve, work, only));
        assert_eq!((slots.lock().count, slots.metrics.connections().get()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_held_for_all_is_bounded() {
        let slots = slots(100, 100);
        let mut leases = Vec::new();
        for number in 0..5 {
            a_moment().await;
            let lease = slots.admit(peer(number));
            slots.peers.proved(peer(number));
            lease.holds_answer(MOST_HELD / 4);
            lease.is_blocked();
            leases.push(lease);
        }
        assert_eq!(leases.iter().map(must_leave).collect::<Vec<_>>(), [true, false, false, false, false]);
        // What was written, or whose connection ended, is held no more.
        leases[1].has_written();
        leases.remove(0);
        assert_eq!(slots.held.load(Ordering::Relaxed), MOST_HELD / 4 * 3);
        // Ordinary requests are not even counted.
        leases[0].holds_answer(1000);
        assert_eq!(slots.held.load(Ordering::Relaxed), MOST_HELD / 4 * 3);
        drop(leases);
        assert_eq!(slots.held.load(Ordering::Relaxed), 0);
    }
}
