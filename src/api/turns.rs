//! Turns by account: of work that takes much memory, each account has one piece at a time under way, and only so many
//! accounts at once. Does not depend on what the work is.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::model::AccountKey;

/// As many accounts at once as there are: where something else bounds the memory.
pub const ANY: usize = Semaphore::MAX_PERMITS;

/// Who is at work, and who waits.
#[derive(Clone, Debug)]
pub struct Turns {
    all: Arc<Semaphore>,
    accounts: Arc<Mutex<HashMap<AccountKey, Queue>>>,
}

/// The requests of one account.
#[derive(Debug)]
struct Queue {
    one: Arc<Semaphore>,
    /// How many are at work or wait.
    members: usize,
}

/// Leave to work. It ends when this is dropped.
#[derive(Debug)]
pub struct Turn {
    _all: OwnedSemaphorePermit,
    _one: OwnedSemaphorePermit,
    _member: Member,
}

/// A place in the queue of an account.
#[derive(Debug)]
struct Member {
    turns: Turns,
    account: AccountKey,
}

impl Turns {
    /// Nobody is at work yet; `most` accounts may be at once.
    pub fn new(most: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(most)), accounts: Arc::default() }
    }

    /// Waits for a turn of this account: first for its own requests that came before, then for other accounts.
    pub async fn take(&self, account: AccountKey) -> Turn {
        let one = {
            let mut accounts = self.lock();
            let queue = accounts
                .entry(account)
                .or_insert_with(|| Queue { one: Arc::new(Semaphore::new(1)), members: 0 });
            queue.members += 1;
            Arc::clone(&queue.one)
        };
        let member = Member { turns: self.clone(), account };
        let never_closed = "these semaphores are never closed";
        let one = one.acquire_owned().await.expect(never_closed);
        let all = Arc::clone(&self.all).acquire_owned().await.expect(never_closed);
        Turn { _all: all, _one: one, _member: member }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<AccountKey, Queue>> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut accounts = self.turns.lock();
        if let Some(queue) = accounts.get_mut(&self.account) {
            queue.members -= 1;
            if queue.members == 0 {
                accounts.remove(&self.account);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn an_account_waits_for_itself_and_for_the_number_of_others() {
        let turns = Turns::new(2);
        let [a, b, c] = [1, 2, 3].map(AccountKey);
        let first = turns.take(a).now_or_never().expect("nobody is at work");
        let mut second = Box::pin(turns.take(a));
        assert!((&mut second).now_or_never().is_none(), "one of an account");
        let other = turns.take(b).now_or_never().expect("another account does not wait for it");
        let mut third = Box::pin(turns.take(c));
        assert!((&mut third).now_or_never().is_none(), "two at once");
        drop(other);
        let third = third.now_or_never().expect("its turn");
        drop(first);
        let second = second.now_or_never().expect("its turn");
        drop((second, third));
        assert!(turns.lock().is_empty(), "nothing stays of whoever is done");
    }

    #[test]
    fn whoever_gives_up_waiting_leaves_nothing_behind() {
        let turns = Turns::new(1);
        let first = turns.take(AccountKey(1)).now_or_never().unwrap();
        assert!(turns.take(AccountKey(1)).now_or_never().is_none());
        drop(first);
        assert!(turns.lock().is_empty());
        assert!(turns.take(AccountKey(1)).now_or_never().is_some());
    }
}
