//! Bodies in quarantine are put there and taken out of it. Does not depend on why a body cannot be read, and who asks.

use std::collections::BTreeMap;

use crate::model::AccountKey;
use crate::store::config::source_rows;
use crate::store::layout::keys::pack;
use crate::store::packed::pack_bytes;
use crate::store::sql::{Connection, OptionalExtension, params};
use crate::store::{Incoming, StoreError};

/// Puts a body into quarantine.
pub fn put(
    db: &Connection,
    id: i64,
    source: i64,
    incoming: &Incoming,
    reason: &str,
) -> Result<(), StoreError> {
    let (received_at, content_type) = (incoming.received_at.as_micros(), &incoming.content_type);
    db.prepare_cached(
        "INSERT INTO quarantine (id, source, received_at, reason, content_type, body /*!, account */)
         VALUES (?, ?, ?, ?, ?, ? /*!, @1 */)",
    )?
    .execute(params![id, source, received_at, reason, content_type, pack_bytes(&incoming.raw)?])?;
    Ok(())
}

/// Takes a body out of quarantine.
pub fn discard(db: &Connection, account: AccountKey, number: i64) -> Result<bool, StoreError> {
    let source: Option<i64> = db
        .prepare_cached("DELETE FROM quarantine WHERE id = ? /*account of ?1*/ RETURNING source")?
        .query_row([pack(account, number)], |row| row.get(0))
        .optional()?;
    let Some(source) = source else { return Ok(false) };
    source_rows::count_discarded(db, source, 1)?;
    Ok(true)
}

/// Takes bodies of an account out of quarantine, as far as nobody else took them meanwhile.
pub fn discard_all(db: &Connection, ids: &[i64]) -> Result<(), StoreError> {
    let all = "DELETE FROM quarantine WHERE id = ANY(?) AND account = ANY(@1) RETURNING source";
    let mut of_sources = BTreeMap::new();
    if let Some(mut answers) = db.fetch(&[(all, &[ids])])? {
        while let Some(row) = answers[0].next()? {
            *of_sources.entry(row.get::<i64>(0)?).or_insert(0_i64) += 1;
        }
    } else {
        let mut statement = db.prepare_cached("DELETE FROM quarantine WHERE id = ? RETURNING source")?;
        for &id in ids {
            if let Some(source) = statement.query_row([id], |row| row.get::<i64>(0)).optional()? {
                *of_sources.entry(source).or_insert(0) += 1;
            }
        }
    }
    for (source, count) in of_sources {
        source_rows::count_discarded(db, source, count)?;
    }
    Ok(())
}
