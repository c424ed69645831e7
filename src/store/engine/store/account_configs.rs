//! The configuration as this process knows it.

use std::sync::Arc;

use crate::model::AccountKey;
use crate::model::id::Tag;
use crate::store::engine::database::{Database, SqlStore};
use crate::store::{AccountConfig, AccountConfigs, Answer};

impl<D: Database> AccountConfigs for SqlStore<D> {
    fn config(&self, account: AccountKey) -> Option<Arc<AccountConfig>> {
        self.directory.get(account)
    }

    fn config_by_tag(&self, tag: Tag) -> Option<Arc<AccountConfig>> {
        self.directory.by_tag(tag)
    }

    fn accounts(&self) -> Vec<Arc<AccountConfig>> {
        self.directory.all()
    }

    fn link_key(&self) -> &ring::hmac::Key {
        self.vault.link_key()
    }

    fn catch_up(&self) -> Answer<'_, ()> {
        self.database.catch_up(&self.directory, &self.vault)
    }
}
