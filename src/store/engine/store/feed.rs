//! The feed, read by page or followed.

use tokio::sync::watch;

use crate::model::AccountKey;
use crate::store::engine::database::{Database, SqlStore};
use crate::store::feed::FeedPage;
use crate::store::reads::pages;
use crate::store::{Answer, Feed, Page};

impl<D: Database> Feed for SqlStore<D> {
    fn events(&self, account: AccountKey, page: Page) -> Answer<'_, Option<FeedPage>> {
        let tag = self.tag(account);
        self.database.read(account, move |db| pages::events(db, tag, account, page))
    }

    fn follow(&self, account: AccountKey) -> Answer<'_, watch::Receiver<i64>> {
        // First the signal, then the look: what is committed between the two is in one of them.
        let follower = self.feeds.follow(account);
        self.database.followed();
        Box::pin(async move {
            let position = self.database.read(account, move |db| pages::position(db, account)).await?;
            self.feeds.moved(account, position);
            Ok(follower)
        })
    }
}
