//! What arrives for the groups: bodies, of which each account may have only its share waiting, and settlements. Both are
//! taken by turns between accounts. Does not depend on what a group is and how it is written.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::model::AccountKey;
use crate::store::fairness::account_turns::AccountTurns;
use crate::store::fairness::shares::{Amount, Shares};

/// Why something was not taken in. It is given back where nobody else knows of it.
#[derive(Debug, PartialEq, Eq)]
pub enum Refused {
    /// Its account, or all together, have too much waiting already.
    TooMuch,
    /// Nothing is written any more.
    Closed,
}

/// What waits for the groups.
#[derive(Debug)]
pub struct Waiting<R, S> {
    /// Bodies.
    pub records: AccountTurns<R>,
    /// What attempts came to. They are bounded by the queues that they come from: each has a place there until it is
    /// written.
    pub settlements: AccountTurns<S>,
    shares: Shares,
    has_senders: bool,
    has_receiver: bool,
}

impl<R, S> Waiting<R, S> {
    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty() && self.settlements.is_empty()
    }

    /// Whether more than one account is active.
    pub fn is_shared(&self) -> bool {
        self.records.is_shared() || self.settlements.is_shared()
    }

    /// The next group is filled from now on.
    pub fn begin_group(&mut self) {
        self.records.begin_group();
        self.settlements.begin_group();
    }
}

#[derive(Debug)]
struct Inner<R, S> {
    waiting: Mutex<Waiting<R, S>>,
    arrived: Notify,
}

impl<R, S> Inner<R, S> {
    fn waiting(&self) -> MutexGuard<'_, Waiting<R, S>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The way in.
#[derive(Debug)]
pub struct Sender<R, S>(Arc<Inner<R, S>>);

/// The way out, for one.
#[derive(Debug)]
pub struct Receiver<R, S>(Arc<Inner<R, S>>);

/// A way in and a way out, with a bound for the bodies that are between the two or still held after it.
pub fn inbox<R, S>(bound: Amount) -> (Sender<R, S>, Receiver<R, S>) {
    let waiting = Waiting {
        records: AccountTurns::default(),
        settlements: AccountTurns::default(),
        shares: Shares::new(bound),
        has_senders: true,
        has_receiver: true,
    };
    let inner = Arc::new(Inner { waiting: Mutex::new(waiting), arrived: Notify::new() });
    (Sender(Arc::clone(&inner)), Receiver(inner))
}

impl<R, S> Sender<R, S> {
    /// Adds a body of so many bytes, for which so much memory is held until the receiver gives it back.
    ///
    /// # Errors
    /// When it is too much, or there is no receiver any more.
    pub fn record(&self, account: AccountKey, bytes: usize, memory: usize, record: R) -> Result<(), Refused> {
        {
            let mut waiting = self.0.waiting();
            if !waiting.has_receiver {
                return Err(Refused::Closed);
            }
            if !waiting.shares.take(account, memory) {
                return Err(Refused::TooMuch);
            }
            waiting.records.push(account, bytes, record);
        }
        self.0.arrived.notify_one();
        Ok(())
    }

    /// Adds what an attempt came to. Without a receiver it is dropped: the attempt is made again after the next start.
    pub fn settlement(&self, account: AccountKey, bytes: usize, settlement: S) {
        {
            let mut waiting = self.0.waiting();
            if !waiting.has_receiver {
                return;
            }
            waiting.settlements.push(account, bytes, settlement);
        }
        self.0.arrived.notify_one();
    }
}

impl<R, S> Drop for Sender<R, S> {
    fn drop(&mut self) {
        self.0.waiting().has_senders = false;
        self.0.arrived.notify_one();
    }
}

impl<R, S> Receiver<R, S> {
    /// What waits now.
    pub fn waiting(&self) -> MutexGuard<'_, Waiting<R, S>> {
        self.0.waiting()
    }

    /// Waits until something does. False when nothing can come any more.
    pub async fn has_some(&self) -> bool {
        self.has(|waiting| !waiting.is_empty()).await
    }

    /// Waits for the next body; `None` when none can come any more.
    pub async fn record(&self) -> Option<R> {
        let has_some = self.has(|waiting| !waiting.records.is_empty()).await;
        has_some.then(|| self.waiting().records.take(usize::MAX)).flatten()
    }

    async fn has(&self, is_there: impl Fn(&Waiting<R, S>) -> bool) -> bool {
        loop {
            let has_senders = {
                let waiting = self.waiting();
                if is_there(&waiting) {
                    return true;
                }
                waiting.has_senders
            };
            if !has_senders {
                return false;
            }
            self.0.arrived.notified().await;
        }
    }

    /// Gives back the memory of bodies.
    pub fn give_back(&self, held: &[(AccountKey, usize)]) {
        let mut waiting = self.waiting();
        held.iter().for_each(|&(account, memory)| waiting.shares.give_back(account, memory));
    }
}

impl<R, S> Drop for Receiver<R, S> {
    fn drop(&mut self) {
        let (records, settlements) = {
            let mut waiting = self.waiting();
            waiting.has_receiver = false;
            (std::mem::take(&mut waiting.records), std::mem::take(&mut waiting.settlements))
        };
        // Whoever waits for what is dropped here may ask for the lock.
        drop((records, settlements));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNT: AccountKey = AccountKey::DEFAULT;
    const BOUND: Amount = Amount { count: 64, bytes: 64 << 10 };

    #[tokio::test]
    async fn what_came_is_there_after_the_last_sender_has_gone() {
        let (sender, receiver) = inbox::<_, ()>(BOUND);
        sender.record(ACCOUNT, 1, 1, "one").unwrap();
        drop(sender);
        assert!(receiver.has_some().await);
        assert_eq!(receiver.record().await, Some("one"));
        assert_eq!(receiver.record().await, None);
        assert!(!receiver.has_some().await);
    }

    #[tokio::test]
    async fn a_receiver_that_waits_is_woken() {
        let (sender, receiver) = inbox::<(), _>(BOUND);
        let waits = tokio::spawn(async move { (receiver.has_some().await, receiver) });
        tokio::task::yield_now().await;
        sender.settlement(ACCOUNT, 0, 7);
        let (has_some, receiver) = waits.await.unwrap();
        assert!(has_some);
        assert_eq!(receiver.waiting().settlements.take(usize::MAX), Some(7));
    }

    #[tokio::test]
    async fn room_is_held_until_it_is_given_back() {
        let (sender, receiver) = inbox::<_, ()>(BOUND);
        let taken = (0..).take_while(|_| sender.record(ACCOUNT, 0, 0, ()).is_ok()).count();
        while receiver.waiting().records.take(usize::MAX).is_some() {}
        assert_eq!(sender.record(ACCOUNT, 0, 0, ()), Err(Refused::TooMuch), "{taken} are being written");
        receiver.give_back(&[(ACCOUNT, 0)]);
        assert_eq!(sender.record(ACCOUNT, 0, 0, ()), Ok(()));
        drop(receiver);
        assert_eq!(sender.record(ACCOUNT, 0, 0, ()), Err(Refused::Closed));
    }
}
