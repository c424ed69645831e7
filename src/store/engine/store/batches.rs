//! Batches and call minutes: taken in, shown, ended.

use crate::model::{AccountKey, Endpoint, Secret, Time};
use crate::store::apply::recording::Recording;
use crate::store::batches::{
    BatchView, Contact, ContactView, Ended, Failure, NewBatch, Opened, batch_rows, credit, intake_rows,
};
use crate::store::config::account_row;
use crate::store::config::accounts::Changed;
use crate::store::engine::database::{Database, NoQueues, SqlStore, Writing};
use crate::store::engine::writer_thread::Priority;
use crate::store::layout::keys::pack;
use crate::store::maintenance::batch_intake;
use crate::store::reads::batches;
use crate::store::{Answer, Batches, CallView, EndpointRef, Page};

impl<D: Database> Batches for SqlStore<D> {
    fn open_batch(&self, new: NewBatch) -> Answer<'_, Opened> {
        self.database.write(Priority::Api, new.account, move |writer| {
            writer.write(|db, desk| batch_rows::open(db, &new, desk.tenure))
        })
    }

    fn add_contacts(
        &self,
        account: AccountKey,
        batch: i64,
        first: usize,
        parts: Vec<Vec<Contact>>,
    ) -> Answer<'_, ()> {
        self.database.write(Priority::Api, account, move |writer| {
            writer.write(|db, _| intake_rows::add_parts(db, account, batch, first, &parts))
        })
    }

    fn begin_batch(
        &self,
        account: AccountKey,
        batch: i64,
        endpoints: Vec<Endpoint>,
        fresh: Secret,
    ) -> Answer<'_, Option<Secret>> {
        self.database.write(Priority::Api, account, move |writer| {
            writer.transact(|db, desk| {
                batch_intake::begin_batch(db, &desk.vault, (account, batch), endpoints, fresh)
            })
        })
    }

    fn renew_batch_secret(&self, account: AccountKey, secret: Secret) -> Answer<'_, ()> {
        self.database.write(Priority::Api, account, move |writer| {
            writer.write(|db, desk| account_row::set_batch_secret(db, &desk.vault, account, &secret))
        })
    }

    fn end_batch(
        &self,
        account: AccountKey,
        batch: i64,
        failure: Failure,
        now: Time,
    ) -> Answer<'_, (Ended, Vec<EndpointRef>)> {
        self.database.write(Priority::Api, account, move |writer| {
            let work = |recording: &mut Recording<'_>| recording.fail(pack(account, batch), failure);
            let (ended, committed) = writer.recording(&NoQueues, now, work)?;
            Ok((ended, committed.wake))
        })
    }

    fn batch(&self, account: AccountKey, batch: i64) -> Answer<'_, Option<BatchView>> {
        self.database.read(account, move |db| {
            let id = pack(account, batch);
            Ok(batches::views(db, "id = ?1 AND id < ?2", [id, i64::MAX], 1)?.pop())
        })
    }

    fn batches(&self, account: AccountKey, page: Page) -> Answer<'_, Vec<BatchView>> {
        self.database.read(account, move |db| {
            let end =
                page.after.map_or_else(|| pack(batches::next(account), 0), |before| pack(account, before));
            batches::views(db, "id > ?1 AND id < ?2", [pack(account, 0), end], page.limit)
        })
    }

    fn contacts(
        &self,
        account: AccountKey,
        batch: i64,
        only_open: bool,
        page: Page,
    ) -> Answer<'_, Vec<ContactView>> {
        self.database.read(account, move |db| batches::contacts(db, pack(account, batch), only_open, page))
    }

    fn batch_calls(&self, account: AccountKey, batch: i64, page: Page) -> Answer<'_, Vec<CallView>> {
        self.database.read(account, move |db| batches::calls(db, account, batch, page))
    }

    fn credit(&self, account: AccountKey) -> Answer<'_, Option<i64>> {
        self.database.read(account, move |db| credit::left(db, account))
    }

    fn set_credit(&self, account: AccountKey, millis: Option<i64>) -> Answer<'_, ()> {
        self.database.write(Priority::Api, account, move |writer| {
            writer.transact(|db, _| {
                credit::set(db, account, millis)?;
                Ok(((), vec![Changed::Account(account)]))
            })
        })
    }
}
