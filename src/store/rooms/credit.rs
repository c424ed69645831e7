//! Call minutes: what is left of them, what calls use up, and the batches that fail when nothing is left.
//! Refuses to know what a call uses up: that is `ledger::credit`.

use crate::store::sql::{Connection, OptionalExtension, params};

use super::keys::pack;
use super::record::Recording;
use crate::model::{AccountKey, Time};
use crate::store::StoreError;
use crate::store::batches::Failure;

/// Batches that fail in one step: each is an event.
const STEP: i64 = 20;

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
    db.prepare_cached("UPDATE accounts SET call_credit = ? WHERE account = ?")?
        .execute(params![millis, account.0])?;
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
    let left: Option<i64> = db
        .prepare_cached(
            "UPDATE accounts SET call_credit = call_credit - ? WHERE account = ? AND call_credit IS NOT NULL
             RETURNING call_credit",
        )?
        .query_row([millis, account.0], |row| row.get(0))
        .optional()?;
    note(db, account, left)
}

/// The first account after this one for which no call minutes are left.
pub fn first_after(db: &Connection, _: Time, after: AccountKey) -> Result<Option<AccountKey>, StoreError> {
    let account: Option<i64> = db
        .prepare_cached("SELECT MIN(account) FROM out_of_credit WHERE account > ?")?
        .query_row([after.0], |row| row.get(0))?;
    Ok(account.map(AccountKey))
}

/// One step: some open batches fail, as no call minutes are left. True when there is more.
pub fn step(recording: &mut Recording<'_>, account: AccountKey) -> Result<bool, StoreError> {
    let db = recording.db;
    let has_none = left(db, account)?.is_some_and(|millis| millis <= 0);
    let mut open: Vec<i64> = Vec::new();
    if has_none {
        open = db
            .prepare_cached(
                "SELECT id FROM given_batches
                 WHERE state < 3 AND state > 0 AND id > ? AND id < ? /*! AND account = @1 */
                 ORDER BY id LIMIT ?",
            )?
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
        db.prepare_cached("DELETE FROM out_of_credit WHERE account = ?")?.execute([account.0])?;
    }
    Ok(true)
}
