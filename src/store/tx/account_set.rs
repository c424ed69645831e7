//! The accounts of a transaction: their heads, which other nodes wait for from the first look on, and their configurations.
//! Loaded once, written once. Does not depend on what the numbers are for.

use std::collections::HashMap;
use std::sync::Arc;

use super::head::Head;
use super::transaction::Tx;
use crate::model::AccountKey;
use crate::store::config::accounts;
use crate::store::{AccountConfig, StoreError};

/// The accounts that a transaction has entered.
#[derive(Default)]
pub struct AccountSet {
    configs: HashMap<AccountKey, Arc<AccountConfig>>,
    /// As they were found, and as they are now.
    heads: HashMap<AccountKey, (Head, Head)>,
}

impl AccountSet {
    /// Locks an account. Gives its head when it was not locked before.
    pub fn enter(&mut self, tx: &Tx<'_>, account: AccountKey) -> Result<Option<Head>, StoreError> {
        if self.heads.contains_key(&account) {
            return Ok(None);
        }
        let (head, revision) = Head::take(tx.db, account)?;
        self.entered(tx, account, head, revision)?;
        Ok(Some(head))
    }

    /// An account was locked. Its configuration is read anew when another node changed it.
    pub fn entered(
        &mut self,
        tx: &Tx<'_>,
        account: AccountKey,
        head: Head,
        revision: i64,
    ) -> Result<(), StoreError> {
        self.heads.insert(account, (head, head));
        if tx.directory.get(account).is_none_or(|known| known.revision != revision) {
            tx.directory.put(accounts::load(tx.db, tx.vault, account)?);
        }
        Ok(())
    }

    /// The head of an account that was entered.
    pub fn head(&mut self, account: AccountKey) -> Option<&mut Head> {
        self.heads.get_mut(&account).map(|(_, head)| head)
    }

    /// The configuration of an account that was entered.
    pub fn config(&mut self, tx: &Tx<'_>, account: AccountKey) -> Result<Arc<AccountConfig>, StoreError> {
        if let Some(config) = self.configs.get(&account) {
            return Ok(Arc::clone(config));
        }
        let config = tx
            .directory
            .get(account)
            .ok_or_else(|| StoreError::Data(format!("account {} does not exist", account.0)))?;
        self.configs.insert(account, Arc::clone(&config));
        Ok(config)
    }

    /// Writes the heads that changed. Gives the feeds that moved on, with their last positions.
    pub fn write(&self, tx: &Tx<'_>) -> Result<Vec<(AccountKey, i64)>, StoreError> {
        let mut feeds = Vec::new();
        for (account, (began, head)) in self.heads.iter().filter(|(_, (began, head))| began != head) {
            head.put(tx.db, *account)?;
            if head.position > began.position {
                feeds.push((*account, head.position));
            }
        }
        Ok(feeds)
    }
}
