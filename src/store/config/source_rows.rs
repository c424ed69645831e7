//! The rows of sources: every statement that writes them. Does not depend on who may change a source.

use super::sealed::{self, SealedSource};
use super::{account_row, limits};
use crate::model::account::Limited;
use crate::model::{Source, Time};
use crate::store::StoreError;
use crate::store::layout::keys::pack;
use crate::store::sql::{Connection, params};
use crate::store::vault::Vault;

/// Writes a source; a new one has number 0. Gives the number, or `None` when there is no such source.
pub fn put(db: &Connection, vault: &Vault, source: &Source) -> Result<Option<i64>, StoreError> {
    let sealed = sealed::seal(vault, &SealedSource::of(source))?;
    if source.number == 0 {
        let Some(number) = account_row::next_number(db, source.account, "sources")? else { return Ok(None) };
        limits::check(db, source.account, Limited::Sources)?;
        db.execute(
            "INSERT INTO sources (id, dialect, sealed, created_at /*!, account */)
             VALUES (?, ?, ?, ? /*!, @1 */)",
            params![
                pack(source.account, number),
                source.dialect.as_str(),
                sealed,
                source.created_at.as_micros()
            ],
        )?;
        return Ok(Some(number));
    }
    let changed = db.execute(
        "UPDATE sources SET dialect = ?, sealed = ?
         WHERE id = ? /*account of ?3*/ AND deleted_at IS NULL",
        params![source.dialect.as_str(), sealed, pack(source.account, source.number)],
    )?;
    Ok((changed == 1).then_some(source.number))
}

/// Marks a source as deleted; false if there is none.
pub fn delete(db: &Connection, id: i64, now: Time) -> Result<bool, StoreError> {
    let sql = "UPDATE sources SET deleted_at = ? WHERE id = ? /*account of ?2*/ AND deleted_at IS NULL";
    Ok(db.prepare_cached(sql)?.execute(params![now.as_micros(), id])? == 1)
}

/// Counts one more body in a source's quarantine; false when it has as many as it may have.
pub fn may_quarantine(db: &Connection, id: i64, quota: i64) -> Result<bool, StoreError> {
    let counted = db
        .prepare_cached(
            "UPDATE sources SET in_quarantine = in_quarantine + 1
             WHERE id = ? /*account of ?1*/ AND in_quarantine < ?",
        )?
        .execute([id, quota])?;
    Ok(counted > 0)
}

/// Counts so many bodies as no longer in a source's quarantine.
pub fn count_discarded(db: &Connection, id: i64, count: i64) -> Result<(), StoreError> {
    Ok(db.later(
        "UPDATE sources SET in_quarantine = in_quarantine - ? WHERE id = ? /*account of ?2*/",
        [count, id],
    )?)
}

/// A source as it was where it comes from.
pub struct ImportedSource {
    /// Its key.
    pub id: i64,
    /// The name of its dialect.
    pub dialect: &'static str,
    /// Its settings, sealed.
    pub sealed: Vec<u8>,
    /// When it was made.
    pub created_at: Time,
    /// When it was deleted, if it was.
    pub deleted_at: Option<Time>,
}

/// Writes a source that an import brings, in place of one of the same number.
pub fn put_imported(db: &Connection, source: &ImportedSource) -> Result<(), StoreError> {
    db.prepare_cached(
        "INSERT INTO sources (id, dialect, sealed, created_at, deleted_at /*!, account */)
         VALUES (?1, ?2, ?3, ?4, ?5 /*!, @1 */)
         ON CONFLICT (id /*!, account */)
         DO UPDATE SET dialect = ?2, sealed = ?3, created_at = ?4, deleted_at = ?5",
    )?
    .execute(params![
        source.id,
        source.dialect,
        source.sealed,
        source.created_at.as_micros(),
        source.deleted_at.map(Time::as_micros)
    ])?;
    Ok(())
}
