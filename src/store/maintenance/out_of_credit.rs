//! The open batches of accounts that have no call minutes left fail, some in each step. Does not depend on what uses them up.

use const_format::formatcp;

use crate::model::{AccountKey, Time};
use crate::store::StoreError;
use crate::store::apply::recording::Recording;
use crate::store::batches::Failure;
use crate::store::batches::credit::{self, left};
use crate::store::batches::states::{ARRIVING, COMPLETED};
use crate::store::layout::keys::pack;
use crate::store::sql::Connection;

/// Batches that fail in one step: each is an event.
const STEP: i64 = 20;

/// The first account after this one for which no call minutes are left.
pub fn first_after(db: &Connection, _: Time, after: AccountKey) -> Result<Option<AccountKey>, StoreError> {
    let account: Option<i64> = db
        .prepare_cached("SELECT MIN(account) FROM out_of_credit WHERE account > ?")?
        .query_row([after.0], |row| row.get(0))?;
    Ok(account.map(AccountKey))
}

/// One step: some open batches fail, as no call minutes are left. True when there is more.
pub fn step(recording: &mut Recording<'_>, account: AccountKey) -> Result<bool, StoreError> {
    let db = recording.tx.db;
    let has_none = left(db, account)?.is_some_and(|millis| millis <= 0);
    let mut open: Vec<i64> = Vec::new();
    if has_none {
        open = db
            .prepare_cached(formatcp!(
                "SELECT id FROM given_batches
                 WHERE state < {COMPLETED} AND state > {ARRIVING} AND id > ? AND id < ? /*account of ?1*/
                 ORDER BY id LIMIT ?"
            ))?
            .query_map([pack(account, 0), pack(AccountKey(account.0 + 1), 0), STEP], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
    }
    for &batch in &open {
        if !recording.may_go_on() {
            break;
        }
        recording.fail(batch, Failure::out_of_credit())?;
    }
    if open.is_empty() {
        credit::all_failed(db, account)?;
    }
    Ok(true)
}
