//! Deliveries with their counters, and changes to one by hand.

use crate::model::{AccountKey, Time};
use crate::store::apply::recording::Recording;
use crate::store::engine::database::{Database, NoQueues, SqlStore, Writing};
use crate::store::engine::writer_thread::Priority;
use crate::store::reads::{pages, recount};
use crate::store::{Answer, Deliveries, DeliveryFilter, DeliveryView, ManualOutcome, Page, Sum};

impl<D: Database> Deliveries for SqlStore<D> {
    fn deliveries(
        &self,
        account: AccountKey,
        filter: DeliveryFilter,
        page: Page,
    ) -> Answer<'_, Vec<DeliveryView>> {
        let tag = self.tag(account);
        self.database.read(account, move |db| pages::deliveries(db, tag, account, &filter, page))
    }

    fn delivery(&self, account: AccountKey, number: i64) -> Answer<'_, Option<DeliveryView>> {
        let tag = self.tag(account);
        self.database.read(account, move |db| pages::delivery(db, tag, account, number))
    }

    fn sums(&self, account: AccountKey, recount: bool) -> Answer<'_, Vec<Sum>> {
        match recount {
            true => self.database.recount(account, move |db| recount::sums(db, account)),
            false => self.database.read(account, move |db| pages::sums(db, account)),
        }
    }

    fn retry(&self, account: AccountKey, delivery: i64, now: Time) -> Answer<'_, ManualOutcome> {
        self.database.write(Priority::Api, account, move |writer| {
            if writer.desk().directory.get(account).is_none() {
                return Ok(ManualOutcome::Missing);
            }
            let work = |recording: &mut Recording<'_>| recording.retry_by_hand(account, delivery);
            Ok(writer.recording(&NoQueues, now, work)?.0)
        })
    }

    fn cancel(&self, account: AccountKey, delivery: i64, now: Time) -> Answer<'_, ManualOutcome> {
        self.database.write(Priority::Api, account, move |writer| {
            if writer.desk().directory.get(account).is_none() {
                return Ok(ManualOutcome::Missing);
            }
            let work = |recording: &mut Recording<'_>| recording.cancel(account, delivery);
            writer.freeing(|writer| Ok(writer.recording(&NoQueues, now, work)?.0))
        })
    }
}
