//! Bodies in quarantine.

use crate::model::AccountKey;
use crate::store::calls::quarantine;
use crate::store::engine::database::{Database, SqlStore, Writing};
use crate::store::engine::writer_thread::Priority;
use crate::store::reads::pages;
use crate::store::{Answer, Page, Quarantine, Quarantined};

impl<D: Database> Quarantine for SqlStore<D> {
    fn quarantine(&self, account: AccountKey, page: Page) -> Answer<'_, Vec<Quarantined>> {
        self.database.read(account, move |db| pages::quarantine(db, account, page))
    }

    fn quarantined(&self, account: AccountKey, number: i64) -> Answer<'_, Option<Quarantined>> {
        self.database.read(account, move |db| pages::quarantined(db, account, number))
    }

    fn quarantine_size(&self, account: AccountKey) -> Answer<'_, i64> {
        self.database.read(account, move |db| pages::quarantine_size(db, account))
    }

    fn discard(&self, account: AccountKey, number: i64) -> Answer<'_, bool> {
        self.database.write(Priority::Api, account, move |writer| {
            writer.freeing(|writer| writer.write(|db, _| quarantine::discard(db, account, number)))
        })
    }
}
