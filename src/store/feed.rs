//! The feed as those who follow it see it: a page of it, and a signal that it has moved on. The signal comes from the
//! commit itself, so nobody has to ask again and again. Refuses to know what the events say and who follows.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use tokio::sync::watch;

use crate::model::{AccountKey, Event};

/// The most that a page of the feed weighs, in bytes of its events' JSON; the first event comes whatever it weighs.
pub const PAGE_BYTES: usize = 1 << 20;

/// A page of the feed, oldest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FeedPage {
    /// The events.
    pub events: Vec<Event>,
    /// Whether there were more behind them: the page ended by its count or its bytes.
    pub more: bool,
}

/// The last position of each feed that somebody follows, as far as this process has seen it committed.
#[derive(Debug, Default)]
pub struct Feeds(RwLock<HashMap<AccountKey, watch::Sender<i64>>>);

impl Feeds {
    /// Follows the feed of an account. What is committed from now on moves the receiver.
    pub fn follow(&self, account: AccountKey) -> watch::Receiver<i64> {
        let mut feeds = self.0.write().unwrap_or_else(PoisonError::into_inner);
        feeds.entry(account).or_insert_with(|| watch::Sender::new(0)).subscribe()
    }

    /// The accounts whose feeds somebody follows.
    pub fn followed(&self) -> Vec<AccountKey> {
        let feeds = self.0.read().unwrap_or_else(PoisonError::into_inner);
        feeds.iter().filter(|(_, feed)| feed.receiver_count() > 0).map(|(&account, _)| account).collect()
    }

    /// The feed of an account is committed up to this position.
    pub fn moved(&self, account: AccountKey, position: i64) {
        let feeds = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let Some(feed) = feeds.get(&account) else { return };
        feed.send_if_modified(|known| {
            let is_news = position > *known;
            *known = position.max(*known);
            is_news
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feed_only_moves_on_and_only_its_own_followers_hear_it() {
        let (feeds, mine, other) = (Feeds::default(), AccountKey(1), AccountKey(2));
        feeds.moved(mine, 7);
        let (mut follower, stranger) = (feeds.follow(mine), feeds.follow(other));
        assert!(!follower.has_changed().unwrap());
        feeds.moved(mine, 9);
        assert_eq!(*follower.borrow_and_update(), 9);
        feeds.moved(mine, 8);
        assert!(!follower.has_changed().unwrap() && !stranger.has_changed().unwrap());
        assert_eq!(*feeds.follow(mine).borrow(), 9);
    }
}
