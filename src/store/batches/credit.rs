//! Call minutes: what is left of them, what calls use up, and the batches that fail when nothing is left.
//! Refuses to know what a call uses up: that is `ledger::credit`.

use std::collections::HashMap;

use crate::model::AccountKey;
use crate::store::StoreError;
use crate::store::config::account_row;
use crate::store::sql::{Connection, OptionalExtension};
use crate::store::tx::transaction::Tx;

/// The milliseconds that are left; `None` is unlimited.
pub fn left(db: &Connection, account: AccountKey) -> Result<Option<i64>, StoreError> {
    let left: Option<Option<i64>> = db
        .prepare_cached("SELECT call_credit FROM accounts WHERE account = ?")?
        .query_row([account.0], |row| row.get(0))
        .optional()?;
    Ok(left.flatten())
}

/// Sets what is left.
pub fn set(db: &Connection, account: AccountKey, millis: Option<i64>) -> Result<(), StoreError> {
    account_row::set_call_credit(db, account, millis)?;
    note(db, account, millis)
}

fn note(db: &Connection, account: AccountKey, left: Option<i64>) -> Result<(), StoreError> {
    if left.is_some_and(|millis| millis <= 0) {
        db.prepare_cached("INSERT INTO out_of_credit (account) VALUES (?) ON CONFLICT DO NOTHING")?
            .execute([account.0])?;
    }
    Ok(())
}

/// Books what calls used up; a correction may give some back.
pub fn use_up(db: &Connection, account: AccountKey, millis: i64) -> Result<(), StoreError> {
    let left = account_row::use_call_credit(db, account, millis)?;
    note(db, account, left)
}

/// What the calls of a transaction used up of call minutes, in milliseconds.
#[derive(Default)]
pub struct MinuteSet(HashMap<AccountKey, i64>);

impl MinuteSet {
    /// A call used up more, or less where a correction gives some back.
    pub fn use_up(&mut self, account: AccountKey, millis: i64) {
        *self.0.entry(account).or_default() += millis;
    }

    /// Writes what was used up.
    pub fn write(&self, tx: &Tx<'_>) -> Result<(), StoreError> {
        self.0
            .iter()
            .filter(|(_, millis)| **millis != 0)
            .try_for_each(|(&account, &millis)| use_up(tx.db, account, millis))
    }
}

/// All open batches of an account have failed.
pub fn all_failed(db: &Connection, account: AccountKey) -> Result<(), StoreError> {
    db.prepare_cached("DELETE FROM out_of_credit WHERE account = ?")?.execute([account.0])?;
    Ok(())
}
