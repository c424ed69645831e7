//! API keys, as the writer and the readers come to them.

use crate::model::{AccountKey, ApiKey, Time};
use crate::store::config::api_keys;
use crate::store::engine::database::{Database, SqlStore, Writing};
use crate::store::engine::writer_thread::Priority;
use crate::store::tx::purpose::Purpose;
use crate::store::{Answer, ApiKeys, KeyUse, NewKey, Revoked};

impl<D: Database> ApiKeys for SqlStore<D> {
    fn create_key(&self, key: NewKey) -> Answer<'_, ApiKey> {
        self.database
            .write(Priority::Api, key.account, move |writer| writer.write(|db, _| api_keys::create(db, &key)))
    }

    fn find_key(&self, hash: [u8; 32]) -> Answer<'_, Option<ApiKey>> {
        self.database.read(AccountKey::NONE, move |db| api_keys::find(db, &hash))
    }

    fn note_key_uses(&self, uses: Vec<KeyUse>) -> Answer<'_, ()> {
        self.database.write(Priority::Chore, AccountKey::NONE, move |writer| {
            writer.for_purpose(Purpose::Settle, |writer| writer.write(|db, _| api_keys::note_uses(db, uses)))
        })
    }

    fn keys(&self, account: AccountKey) -> Answer<'_, Vec<ApiKey>> {
        self.database.read(account, move |db| api_keys::list(db, account))
    }

    fn revoke_key(&self, account: AccountKey, number: i64, now: Time) -> Answer<'_, Revoked> {
        self.database.write(Priority::Api, account, move |writer| {
            writer.freeing(|writer| writer.write(|db, _| api_keys::revoke(db, account, number, now)))
        })
    }
}
