//! Places for reads: so many at a time, and accounts take turns for them. Does not depend on what is read.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::model::AccountKey;
use crate::store::account_turns::{AccountTurns, TURN};

/// The places.
pub struct ReadingPlaces(Mutex<State>);

#[derive(Default)]
struct State {
    free: usize,
    waiting: AccountTurns<oneshot::Sender<ReadingPlace>>,
    closed: bool,
}

/// One of them. Dropped, it is the next one's.
pub struct ReadingPlace(Option<Arc<ReadingPlaces>>);

impl ReadingPlaces {
    /// So many, all of them free.
    pub fn new(free: usize) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State { free, ..State::default() })))
    }

    /// Waits for a place; `None` when there are none any more.
    pub async fn enter(self: &Arc<Self>, account: AccountKey) -> Option<ReadingPlace> {
        let turn = {
            let mut state = self.state();
            if state.closed {
                return None;
            }
            if state.free > 0 {
                state.free -= 1;
                return Some(ReadingPlace(Some(Arc::clone(self))));
            }
            let (place, turn) = oneshot::channel();
            state.waiting.push(account, TURN, place);
            turn
        };
        // Who gives up while it waits drops the place with the channel, and the next one gets it.
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

    /// A place is free: whose turn it is has it.
    fn leave(self: &Arc<Self>) {
        loop {
            let next = {
                let mut state = self.state();
                let next = state.waiting.take(usize::MAX);
                state.free += usize::from(next.is_none());
                next
            };
            let Some(next) = next else { return };
            match next.send(ReadingPlace(Some(Arc::clone(self)))) {
                Ok(()) => return,
                // Who waited has given up. Dropped, it would come back here, once deeper for each of them.
                Err(mut place) => place.0 = None,
            }
        }
    }
}

impl Drop for ReadingPlace {
    fn drop(&mut self) {
        if let Some(places) = self.0.take() {
            places.leave();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::{Pin, pin};
    use std::task::{Context, Waker};

    use super::*;

    fn is_waiting(entering: Pin<&mut impl Future<Output = Option<ReadingPlace>>>) -> bool {
        entering.poll(&mut Context::from_waker(Waker::noop())).is_pending()
    }

    /// Asks for places in this order, lets who has one give it back, and gives the order in which they came.
    async fn served(places: &Arc<ReadingPlaces>, asked: impl IntoIterator<Item = i64>) -> Vec<i64> {
        let order = Arc::new(Mutex::new(Vec::new()));
        let waiting: Vec<_> = asked
            .into_iter()
            .map(|account| {
                let (places, order) = (Arc::clone(places), Arc::clone(&order));
                tokio::spawn(async move {
                    let _place = places.enter(AccountKey(account)).await.unwrap();
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
        let places = ReadingPlaces::new(1);
        let order = served(&places, std::iter::repeat_n(1, 100).chain([2, 2])).await;
        let quiet: Vec<_> = (0..order.len()).filter(|&at| order[at] == 2).collect();
        assert_eq!((order.len(), quiet), (102, vec![2, 4]), "the first was free");
    }

    #[tokio::test]
    async fn who_gave_up_is_passed_over() {
        let places = ReadingPlaces::new(1);
        let held = places.enter(AccountKey(1)).await.unwrap();
        for _ in 0..100_000 {
            let entering = pin!(places.enter(AccountKey(1)));
            assert!(is_waiting(entering));
        }
        drop(held);
        assert_eq!(places.state().free, 1);
        assert_eq!(served(&places, [1, 2]).await, [1, 2]);
    }

    #[tokio::test]
    async fn nobody_waits_for_what_is_closed() {
        let places = ReadingPlaces::new(1);
        let held = places.enter(AccountKey(1)).await.unwrap();
        let mut waiting = pin!(places.enter(AccountKey(2)));
        assert!(is_waiting(waiting.as_mut()));
        places.close();
        assert!(waiting.await.is_none());
        drop(held);
        assert!(places.enter(AccountKey(1)).await.is_none());
    }
}
