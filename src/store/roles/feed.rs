//! The feed of an account's events. Does not depend on who reads it.

use tokio::sync::watch;

use crate::model::AccountKey;
use crate::store::feed::FeedPage;
use crate::store::{Answer, Page};

/// Shows the feed, in which positions are contiguous and in commit order.
pub trait Feed: Send + Sync {
    /// The feed, oldest first, from after a position; `None` when something that came after it is gone by its age.
    fn events(&self, account: AccountKey, page: Page) -> Answer<'_, Option<FeedPage>>;
    /// The feed's last position now, and a signal whenever a commit moved it on.
    fn follow(&self, account: AccountKey) -> Answer<'_, watch::Receiver<i64>>;
}
