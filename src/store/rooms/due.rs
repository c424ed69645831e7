//! Finds the accounts for which something is due, each kind by an index of its own. Does not depend on what is done then.

use super::keys::unpack;
use crate::model::{AccountKey, Time};
use crate::store::StoreError;
use crate::store::sql::Connection;

/// The accounts of the keys that a statement finds, which is given the time and how many rows it may look at.
pub fn accounts_of_keys(
    db: &Connection,
    sql: &str,
    now: Time,
    most: i64,
) -> Result<Vec<AccountKey>, StoreError> {
    accounts(db, sql, now, most, |key| unpack(key).0)
}

/// Likewise where the statement finds accounts.
pub fn accounts_of(db: &Connection, sql: &str, now: Time, most: i64) -> Result<Vec<AccountKey>, StoreError> {
    accounts(db, sql, now, most, AccountKey)
}

fn accounts(
    db: &Connection,
    sql: &str,
    now: Time,
    most: i64,
    account: impl Fn(i64) -> AccountKey,
) -> Result<Vec<AccountKey>, StoreError> {
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map([now.as_micros(), most], |row| Ok(account(row.get(0)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
