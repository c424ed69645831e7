//! Replays: begun, shown, cancelled.

use crate::model::replay::{Replay, ReplayOrder};
use crate::model::{AccountKey, Time};
use crate::store::deliveries::replays;
use crate::store::engine::database::{Database, SqlStore, Writing};
use crate::store::engine::writer_thread::Priority;
use crate::store::{Answer, Page, Replays};

impl<D: Database> Replays for SqlStore<D> {
    fn create_replay(
        &self,
        account: AccountKey,
        order: ReplayOrder,
        now: Time,
    ) -> Answer<'_, Option<Replay>> {
        self.database.write(Priority::Api, account, move |writer| {
            writer.write(|db, _| replays::create(db, account, &order, now))
        })
    }

    fn replay(&self, account: AccountKey, number: i64) -> Answer<'_, Option<Replay>> {
        self.database.read(account, move |db| replays::replay(db, account, number))
    }

    fn replays(&self, account: AccountKey, page: Page) -> Answer<'_, Vec<Replay>> {
        self.database.read(account, move |db| replays::replays(db, account, page))
    }

    fn cancel_replay(&self, account: AccountKey, number: i64, now: Time) -> Answer<'_, bool> {
        self.database.write(Priority::Api, account, move |writer| {
            writer.freeing(|writer| writer.write(|db, _| replays::cancel(db, account, number, now)))
        })
    }
}
