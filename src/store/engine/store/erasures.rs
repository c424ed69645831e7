//! Erasures: begun and shown.

use crate::model::{AccountKey, Mention, Time};
use crate::store::engine::database::{Database, SqlStore, Writing};
use crate::store::engine::writer_thread::Priority;
use crate::store::erasure::{Erasure, digest};
use crate::store::records::erase;
use crate::store::{Answer, Erasures, Page};

impl<D: Database> Erasures for SqlStore<D> {
    fn erase(&self, account: AccountKey, person: Mention, now: Time) -> Answer<'_, Erasure> {
        let digest = digest(self.vault.link_key(), self.tag(account), &person);
        self.database.write(Priority::Api, account, move |writer| {
            writer.freeing(|writer| {
                writer.write(|db, desk| erase::create(db, &desk.vault, account, &person, &digest, now))
            })
        })
    }

    fn erasure(&self, account: AccountKey, number: i64) -> Answer<'_, Option<Erasure>> {
        self.database.read(account, move |db| erase::find(db, account, number))
    }

    fn erasures(&self, account: AccountKey, page: Page) -> Answer<'_, Vec<Erasure>> {
        self.database.read(account, move |db| erase::list(db, account, page))
    }
}
