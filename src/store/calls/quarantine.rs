//! Bodies in quarantine are taken out of it. Does not depend on who asks for that.

use std::collections::BTreeMap;

use crate::model::AccountKey;
use crate::store::StoreError;
use crate::store::layout::keys::pack;
use crate::store::sql::{Connection, OptionalExtension};

/// Takes a body out of quarantine.
pub fn discard(db: &Connection, account: AccountKey, number: i64) -> Result<bool, StoreError> {
    let source: Option<i64> = db
        .prepare_cached("DELETE FROM quarantine WHERE id = ? /*account of ?1*/ RETURNING source")?
        .query_row([pack(account, number)], |row| row.get(0))
        .optional()?;
    let Some(source) = source else { return Ok(false) };
    db.prepare_cached("UPDATE sources SET in_quarantine = in_quarantine - 1 WHERE id = ? /*account of ?1*/")?
        .execute([source])?;
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
        db.later(
            "UPDATE sources SET in_quarantine = in_quarantine - ? WHERE id = ? /*account of ?2*/",
            [count, source],
        )?;
    }
    Ok(())
}
