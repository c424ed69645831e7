//! Permits for reads: so many at a time, and accounts take turns for them. Does not depend on what is read.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::model::AccountKey;
use crate::store::fairness::account_turns::{AccountTurns, TURN};

/// The permits.
pub struct ReadPermits(Mutex<State>);

#[derive(Default)]
struct State {
    free: usize,
    waiting: AccountTurns<oneshot::Sender<ReadPermit>>,
    closed: bool,
}

/// One of them. Dropped, it is the next one's.
pub struct ReadPermit(Option<Arc<ReadPermits>>);

impl ReadPermits {
    /// So many, all of them free.
    pub fn new(free: usize) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State { free, ..State::default() })))
    }

    /// Waits for a permit; `None` when there are none any more.
    pub async fn enter(self: &Arc<Self>, account: AccountKey) -> Option<ReadPermit> {
        let turn = {
            let mut state = self.state();
            if state.closed {
                return None;
            }
            if state.free > 0 {
                state.free -= 1;
                return Some(ReadPermit(Some(Arc::clone(self))));
            }
            let (permit, turn) = oneshot::channel();
            state.waiting.push(account, TURN, permit);
            turn
        };
        // Who gives up while it waits drops the permit with the channel, and the next one gets it.
        turn.await.ok()
    }

    /// There are none from now on: who waits is told so, who reads finishes.
    pub fn close(&self) {
        let waiting = {
            let mut state = self.state();
            state.closed = true;
            std::mem::take(&mut state.waiting)
        };
        drop(waiting);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A permit is free: whose turn it is has it.
    fn leave(self: &Arc<Self>) {
        loop {
            let next = {
                let mut state = self.state();
                let next = state.waiting.take(usize::MAX);
                state.free += usize::from(next.is_none());
                next
            };
            let Some(next) = next else { return };
            match next.send(ReadPermit(Some(Arc::clone(self)))) {
                Ok(()) => return,
                // Who waited has given up. Dropped, it would come back here, once deeper for each of them.
                Err(mut permit) => permit.0 = None,
            }
        }
    }
}

impl Drop for ReadPermit {
    fn drop(&mut self) {
        if let Some(permits) = self.0.take() {
            permits.leave();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::{Pin, pin};
    use std::task::{Context, Waker};

    use super::*;

    fn is_waiting(entering: Pin<&mut impl Future<Output = Option<ReadPermit>>>) -> bool {
        entering.poll(&mut Context::from_waker(Waker::noop())).is_pending()
    }

    /// Asks for permits in this order, lets who has one give it back, and gives the order in which they came.
    async fn served(permits: &Arc<ReadPermits>, asked: impl IntoIterator<Item = i64>) -> Vec<i64> {
        let order = Arc::new(Mutex::new(Vec::new()));
        let waiting: Vec<_> = asked
            .into_iter()
            .map(|account| {
                let (permits, order) = (Arc::clone(permits), Arc::clone(&order));
                tokio::spawn(async move {
                    let _permit = permits.enter(AccountKey(account)).await.unwrap();
                    order.lock().unwrap().push(account);
                    tokio::task::yield_now().await;
                })
            })
            .collect();
        for waiting in waiting {
            waiting.await.unwrap();
        }
        Arc::into_inner(order).unwrap().into_inner().unwrap()
    }

    #[tokio::test]
    async fn accounts_take_turns() {
        let permits = ReadPermits::new(1);
        let order = served(&permits, std::iter::repeat_n(1, 100).chain([2, 2])).await;
        let quiet: Vec<_> = (0..order.len()).filter(|&at| order[at] == 2).collect();
        assert_eq!((order.len(), quiet), (102, vec![2, 4]), "the first was free");
    }

    #[tokio::test]
    async fn who_gave_up_is_passed_over() {
        let permits = ReadPermits::new(1);
        let held = permits.enter(AccountKey(1)).await.unwrap();
        for _ in 0..100_000 {
            let entering = pin!(permits.enter(AccountKey(1)));
            assert!(is_waiting(entering));
        }
        drop(held);
        assert_eq!(permits.state().free, 1);
        assert_eq!(served(&permits, [1, 2]).await, [1, 2]);
    }

    #[tokio::test]
    async fn nobody_waits_for_what_is_closed() {
        let permits = ReadPermits::new(1);
        let held = permits.enter(AccountKey(1)).await.unwrap();
        let mut waiting = pin!(permits.enter(AccountKey(2)));
        assert!(is_waiting(waiting.as_mut()));
        permits.close();
        assert!(waiting.await.is_none());
        drop(held);
        assert!(permits.enter(AccountKey(1)).await.is_none());
    }
}
