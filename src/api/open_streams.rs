//! The streams of the feed that are open, bounded in all and by account. Does not depend on what they say.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::model::AccountKey;

/// Streams that one account may have open.
pub const MOST_OF_ACCOUNT: usize = 32;
/// Streams of all accounts together: each may hold a page in memory.
const MOST: usize = 256;

/// The streams that are open. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Streams(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    ended: watch::Sender<bool>,
    open: Mutex<HashMap<AccountKey, usize>>,
}

impl Default for Streams {
    fn default() -> Self {
        Self(Arc::new(Shared { ended: watch::Sender::new(false), open: Mutex::default() }))
    }
}

impl Streams {
    /// Ends every stream, between two events, and lets no new one begin.
    pub fn end(&self) {
        self.0.ended.send_replace(true);
    }

    /// Turns true when all streams have to end.
    pub fn ended(&self) -> watch::Receiver<bool> {
        self.0.ended.subscribe()
    }

    fn open(&self) -> MutexGuard<'_, HashMap<AccountKey, usize>> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for one more, if the account and the house have one.
    pub fn begin(&self, account: AccountKey) -> Option<OpenStream> {
        let mut open = self.open();
        let is_full = open.values().sum::<usize>() >= MOST;
        let of_account = open.entry(account).or_default();
        if is_full || *of_account >= MOST_OF_ACCOUNT {
            return None;
        }
        *of_account += 1;
        Some(OpenStream { streams: self.clone(), account })
    }
}

/// One stream's place, given back when this is dropped.
pub struct OpenStream {
    streams: Streams,
    account: AccountKey,
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        let mut open = self.streams.open();
        if let Some(count) = open.get_mut(&self.account) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.account);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_by_account_and_given_back() {
        let (streams, account) = (Streams::default(), AccountKey::DEFAULT);
        let mut held: Vec<_> = (0..MOST_OF_ACCOUNT).filter_map(|_| streams.begin(account)).collect();
        assert_eq!(held.len(), MOST_OF_ACCOUNT);
        assert!(streams.begin(account).is_none());
        assert!(streams.begin(AccountKey(7)).is_some(), "one account's streams are not the others'");
        held.pop();
        assert!(streams.begin(account).is_some());
        held.clear();
        assert!(streams.open().is_empty());
        let all = (1..).map_while(|number| streams.begin(AccountKey(number % 100)));
        assert_eq!(all.collect::<Vec<_>>().len(), MOST);
    }
}
