//! API keys: made, found by their hash, listed, revoked, and when each was last used. The key itself is nowhere here.
//! Does not know who may make one, and does not judge whether its time is over: that needs the time of a request.

use super::account_row::next_number;
use super::{accounts, limits};
use crate::model::account::Limited;
use crate::model::{AccountKey, ApiKey, Right, Rights, Time};
use crate::store::layout::keys::{pack, unpack};
use crate::store::sql::{Connection, OptionalExtension, Row, params};
use crate::store::{KeyUse, NewKey, Revoked, StoreError};

/// What a key may do, until when, and when it was last used. A row without rights is one of an older version, which knew
/// only whether a key is an admin's. Answers that are kept under an account's name are forgotten: they may hold a secret,
/// and are kept under the key from now on.
pub const RIGHTS: &str = r"
ALTER TABLE api_keys ADD COLUMN rights INTEGER;
ALTER TABLE api_keys ADD COLUMN expires_at INTEGER;
ALTER TABLE api_keys ADD COLUMN last_used_at INTEGER;
DELETE FROM idempotency WHERE status IS NOT NULL;
";

/// Makes a key.
pub fn create(db: &Connection, new: &NewKey) -> Result<ApiKey, StoreError> {
    let NewKey { account, name, rights, expires_at, hash, created_at } = new;
    let number = next_number(db, *account, "keys")?
        .ok_or_else(|| StoreError::Data("a key for an account that does not exist".to_owned()))?;
    limits::check(db, *account, Limited::Keys)?;
    db.execute(
        "INSERT INTO api_keys (id, name, admin, hash, created_at, rights, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
        params![
            pack(*account, number),
            name,
            rights.has(Right::Admin),
            hash,
            created_at.as_micros(),
            rights.to_stored(),
            expires_at.map(Time::as_micros)
        ],
    )?;
    Ok(ApiKey {
        number,
        account: *account,
        name: name.clone(),
        rights: *rights,
        expires_at: *expires_at,
        last_used_at: None,
        created_at: *created_at,
    })
}

const COLUMNS: &str = "id, name, admin, created_at, rights, expires_at, last_used_at";

fn key_of(row: &Row<'_>) -> crate::store::sql::Result<ApiKey> {
    let (account, number) = unpack(row.get(0)?);
    let of_older = if row.get(2)? { Rights::ALL } else { Rights::PLAIN };
    Ok(ApiKey {
        number,
        account,
        name: row.get(1)?,
        rights: row.get::<Option<i64>>(4)?.map_or(of_older, Rights::from_stored),
        expires_at: row.get::<Option<i64>>(5)?.map(Time::from_micros),
        last_used_at: row.get::<Option<i64>>(6)?.map(Time::from_micros),
        created_at: Time::from_micros(row.get(3)?),
    })
}

/// The key of a hash.
pub fn find(db: &Connection, hash: &[u8; 32]) -> Result<Option<ApiKey>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM api_keys WHERE hash = ? AND revoked_at IS NULL");
    Ok(db.prepare_cached(&sql)?.query_row([hash], key_of).optional()?)
}

/// The keys of an account.
pub fn list(db: &Connection, account: AccountKey) -> Result<Vec<ApiKey>, StoreError> {
    let sql =
        format!("SELECT {COLUMNS} FROM api_keys WHERE id >= ? AND id < ? AND revoked_at IS NULL ORDER BY id");
    let mut statement = db.prepare_cached(&sql)?;
    let rows = statement.query_map([pack(account, 0), pack(AccountKey(account.0 + 1), 0)], key_of)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Revokes a key, unless it is the last one that opens everything. The account's row is locked first, so that no two nodes
/// revoke the last two.
pub fn revoke(db: &Connection, account: AccountKey, number: i64, now: Time) -> Result<Revoked, StoreError> {
    accounts::lock(db, account)?;
    let keys = list(db, account)?;
    let Some(key) = keys.iter().find(|key| key.number == number) else { return Ok(Revoked::Missing) };
    if key.opens_everything() && keys.iter().filter(|key| key.opens_everything()).count() == 1 {
        return Ok(Revoked::Last);
    }
    let sql = "UPDATE api_keys SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL";
    db.prepare_cached(sql)?.execute(params![now.as_micros(), pack(account, number)])?;
    Ok(Revoked::Done)
}

/// Writes down when keys were used. In the order of their ids, so that two nodes at it do not wait for each other.
pub fn note_uses(db: &Connection, mut uses: Vec<KeyUse>) -> Result<(), StoreError> {
    uses.sort_unstable_by_key(|usage| (usage.account, usage.number));
    let mut statement = db.prepare_cached(
        "UPDATE api_keys SET last_used_at = ?1 WHERE id = ?2 AND (last_used_at IS NULL OR last_used_at < ?1)",
    )?;
    for KeyUse { account, number, at } in uses {
        statement.execute(params![at.as_micros(), pack(account, number)])?;
    }
    Ok(())
}
