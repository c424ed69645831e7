//! How many requests an account may have under way to one host, all its endpoints there together. One endpoint takes no more
//! than leaves as much for the others, so that a slow one never has it all; endpoints without any request under way get a
//! place in the order in which they came for it. Does not depend on queues: who got a place is told through a channel.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::mpsc::UnboundedSender;

use crate::model::AccountKey;
use crate::store::EndpointRef;

/// Requests that an account may have under way to one host unless the operator says otherwise: at ten answers a second of
/// each, several hundred a second.
pub const MOST_TO_HOST: usize = 64;

/// What an endpoint that waited is told.
#[derive(Debug)]
pub enum Freed {
    /// Here is the place that it waited for.
    Place(EndpointRef, HostPlace),
    /// There is room for more requests than it has under way.
    Room(EndpointRef, Arc<Share>),
}

impl Freed {
    /// Who is told.
    pub fn endpoint(&self) -> EndpointRef {
        match self {
            Self::Place(endpoint, _) | Self::Room(endpoint, _) => *endpoint,
        }
    }
}

/// All accounts' shares of all hosts that something is sent to.
#[derive(Debug)]
pub struct Hosts {
    most: usize,
    freed: UnboundedSender<Freed>,
    shares: Mutex<Shares>,
}

#[derive(Debug, Default)]
struct Shares {
    known: HashMap<(AccountKey, Box<str>), Weak<Share>>,
    /// Requests of each account under way to all hosts.
    accounts: HashMap<AccountKey, Weak<AtomicUsize>>,
    /// How many there may be before those that nobody has any more are looked for.
    tidied_at: usize,
}

/// One account's share of one host.
#[derive(Debug)]
pub struct Share {
    most: usize,
    of_account: Arc<AtomicUsize>,
    freed: UnboundedSender<Freed>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    under_way: usize,
    /// Endpoints that have no request under way, each once.
    first: VecDeque<EndpointRef>,
    /// Endpoints that would have more than they have, each once. Each request of theirs that ends brings them by as well.
    more: VecDeque<EndpointRef>,
}

/// The right to one request. Given up, the next endpoint has it.
#[derive(Debug)]
pub struct HostPlace(Option<Arc<Share>>);

/// What an endpoint waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waits {
    /// A place for its first request: it has none under way and is in line.
    pub first: bool,
    /// Room for more requests than it has.
    pub more: bool,
}

impl Hosts {
    /// Shares of so many requests at a time. Who waited is told through `freed`, unless it is told by who gave a place up.
    pub fn new(most: usize, freed: UnboundedSender<Freed>) -> Self {
        Self { most: most.max(1), freed, shares: Mutex::default() }
    }

    /// An account's share of a host, for as long as anybody holds it.
    pub fn share(&self, account: AccountKey, host: &str) -> Arc<Share> {
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (account, Box::from(host));
        if let Some(share) = shares.known.get(&key).and_then(Weak::upgrade) {
            return share;
        }
        if shares.known.len() >= shares.tidied_at {
            shares.known.retain(|_, share| share.strong_count() > 0);
            shares.accounts.retain(|_, count| count.strong_count() > 0);
            shares.tidied_at = 2 * shares.known.len() + 64;
        }
        let of_account = shares.accounts.get(&account).and_then(Weak::upgrade).unwrap_or_default();
        shares.accounts.insert(account, Arc::downgrade(&of_account));
        let (most, freed) = (self.most, self.freed.clone());
        let share = Arc::new(Share { most, of_account, freed, state: Mutex::default() });
        shares.known.insert(key, Arc::downgrade(&share));
        share
    }
}

impl Share {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Requests that the account has under way, to whatever host.
    pub fn of_account(&self) -> usize {
        self.of_account.load(Ordering::Relaxed)
    }

    /// A place for one more request of an endpoint that has so many under way; without one the endpoint waits, which is
    /// noted in `waits`, and is told when its turn has come.
    pub fn ask(
        self: &Arc<Self>,
        endpoint: EndpointRef,
        under_way: usize,
        waits: &mut Waits,
    ) -> Option<HostPlace> {
        if waits.first {
            return None;
        }
        let mut state = self.state();
        let free = self.most.saturating_sub(state.under_way);
        if state.first.is_empty() && free > under_way {
            state.under_way += 1;
            self.of_account.fetch_add(1, Ordering::Relaxed);
            return Some(HostPlace(Some(Arc::clone(self))));
        }
        if under_way == 0 {
            waits.first = true;
            state.first.push_back(endpoint);
        } else if !std::mem::replace(&mut waits.more, true) {
            state.more.push_back(endpoint);
        }
        None
    }

    /// A request ended: whose turn it is now.
    fn next(self: &Arc<Self>) -> Option<Freed> {
        let mut state = self.state();
        if let Some(next) = state.first.pop_front() {
            return Some(Freed::Place(next, HostPlace(Some(Arc::clone(self)))));
        }
        state.under_way -= 1;
        self.of_account.fetch_sub(1, Ordering::Relaxed);
        match state.under_way <= self.most / 2 {
            true => state.more.pop_front().map(|next| Freed::Room(next, Arc::clone(self))),
            false => None,
        }
    }
}

impl HostPlace {
    /// Gives the place up; the caller tells whose turn it is now.
    pub fn give_up(mut self) -> Option<Freed> {
        self.0.take()?.next()
    }

    /// Whether it is of this share.
    pub fn is_of(&self, share: &Arc<Share>) -> bool {
        self.0.as_ref().is_some_and(|own| Arc::ptr_eq(own, share))
    }
}

impl Drop for HostPlace {
    fn drop(&mut self) {
        let Some(share) = self.0.take().filter(|share| !share.freed.is_closed()) else { return };
        if let Some(freed) = share.next() {
            let _ = share.freed.send(freed);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

    use super::*;

    fn hosts(most: usize) -> (Hosts, UnboundedReceiver<Freed>) {
        let (freed, told) = unbounded_channel();
        (Hosts::new(most, freed), told)
    }

    fn endpoint(number: i64) -> EndpointRef {
        EndpointRef { account: AccountKey::DEFAULT, number }
    }

    /// Takes as many places as there are for an endpoint.
    fn fill(share: &Arc<Share>, number: i64) -> (Vec<HostPlace>, Waits) {
        let (mut held, mut waits) = (Vec::new(), Waits::default());
        while let Some(place) = share.ask(endpoint(number), held.len(), &mut waits) {
            held.push(place);
        }
        (held, waits)
    }

    #[test]
    fn an_endpoint_leaves_as_much_as_it_takes() {
        let (hosts, _told) = hosts(64);
        let share = hosts.share(AccountKey::DEFAULT, "a.example");
        let held: Vec<_> = (0..8).map(|number| fill(&share, number)).collect();
        let counts: Vec<_> = held.iter().map(|(places, _)| places.len()).collect();
        assert_eq!(counts, [32, 16, 8, 4, 2, 1, 1, 0]);
        assert!(held[..7].iter().all(|(_, waits)| *waits == Waits { first: false, more: true }));
        assert_eq!(held[7].1, Waits { first: true, more: false });
        assert_eq!(hosts.share(AccountKey::DEFAULT, "b.example").of_account(), 64);
        let other = hosts.share(AccountKey(2), "a.example");
        assert_eq!(fill(&other, 0).0.len(), 32, "another account has a share of its own");
    }

    #[test]
    fn who_waits_for_its_first_gets_it_in_turn() {
        let (hosts, mut told) = hosts(2);
        let share = hosts.share(AccountKey::DEFAULT, "a.example");
        let mut held: VecDeque<_> = [1, 2].map(|number| fill(&share, number).0.remove(0)).into();
        let mut waits: Vec<Waits> = (3..=100).map(|number| fill(&share, number).1).collect();
        assert!(waits.iter().all(|waits| waits.first));
        for number in 3..=100 {
            let freed = held.pop_front().unwrap().give_up();
            let Some(Freed::Place(next, place)) = freed else { panic!("{freed:?}") };
            assert_eq!(next, endpoint(number), "in the order in which they came");
            // Whoever just had one cannot go before those who wait.
            let mut again = Waits::default();
            if number < 100 {
                assert!(share.ask(endpoint(1000 + number), 0, &mut again).is_none());
                waits.push(again);
            }
            held.push_back(place);
        }
        // What is dropped on the way is not lost either.
        drop(held);
        let mut served = 0;
        while let Ok(freed) = told.try_recv() {
            served += usize::from(matches!(freed, Freed::Place(..)));
            drop(freed);
        }
        assert_eq!(served, waits.len() - 98, "each of those who waited was told");
        assert_eq!(fill(&share, 7).0.len(), 1, "and all places are free");
    }

    #[test]
    fn who_would_have_more_is_told_when_there_is_room() {
        let (hosts, _told) = hosts(8);
        let share = hosts.share(AccountKey::DEFAULT, "a.example");
        let (mut one, _) = fill(&share, 1);
        let (two, waits) = fill(&share, 2);
        assert_eq!((one.len(), two.len(), waits), (4, 2, Waits { first: false, more: true }));
        assert!(one.pop().unwrap().give_up().is_none(), "five of eight are under way");
        let freed = one.pop().unwrap().give_up();
        assert_eq!(freed.map(|freed| freed.endpoint()), Some(endpoint(1)));
        let freed = one.pop().unwrap().give_up();
        assert_eq!(freed.map(|freed| freed.endpoint()), Some(endpoint(2)));
    }

    #[test]
    fn shares_that_nobody_holds_are_forgotten() {
        let (hosts, _told) = hosts(8);
        for number in 0..10_000 {
            drop(hosts.share(AccountKey::DEFAULT, &format!("h{number}.example")));
        }
        assert!(hosts.shares.lock().unwrap().known.len() <= 65);
    }
}
