//! The batches that vendors report, as rows of `batches`: which ends of each were recorded. Does not depend on what is done when
//! one ends, nor on the batches that an account gives: those are in `given_batches`.

use crate::ledger::BatchBook;
use crate::model::{EventType, Text};
use crate::store::StoreError;
use crate::store::sql::{Connection, OptionalExtension, params};

/// Reads which ends of a source's batch were recorded; none of a batch that has no row.
pub fn find(db: &Connection, source: i64, vendor_id: &Text) -> Result<BatchBook, StoreError> {
    let book = db
        .prepare_cached(
            "SELECT completed, failed FROM batches
                 WHERE source = ? /*account of ?1*/ AND vendor_id = ?",
        )?
        .query_row(params![source, vendor_id.as_bytes()], |row| {
            Ok(BatchBook { completed: row.get(0)?, failed: row.get(1)? })
        })
        .optional()?;
    Ok(book.unwrap_or_default())
}

/// Writes which ends of a source's batch were recorded.
pub fn put(db: &Connection, source: i64, vendor_id: &Text, book: BatchBook) -> Result<(), StoreError> {
    db.prepare_cached(
        "INSERT INTO batches (source, vendor_id, completed, failed /*!, account */)
                 VALUES (?1, ?2, ?3, ?4 /*!, @1 */)
                 ON CONFLICT (source, vendor_id /*!, account */) DO UPDATE SET completed = ?3, failed = ?4",
    )?
    .execute(params![source, vendor_id.as_bytes(), book.completed, book.failed])?;
    Ok(())
}

/// Adds the end that an imported event reports to those that were recorded.
pub fn add_end(db: &Connection, source: i64, vendor_id: &Text, kind: EventType) -> Result<(), StoreError> {
    let is_completed = kind == EventType::BatchCompleted;
    db.prepare_cached(
        "INSERT INTO batches (source, vendor_id, completed, failed /*!, account */)
         VALUES (?1, ?2, ?3, ?4 /*!, @1 */)
         ON CONFLICT (source, vendor_id /*!, account */) DO UPDATE SET
             completed = CASE WHEN batches.completed < ?3 THEN ?3 ELSE batches.completed END,
             failed = CASE WHEN batches.failed < ?4 THEN ?4 ELSE batches.failed END",
    )?
    .execute(params![source, vendor_id.as_bytes(), is_completed, !is_completed])?;
    Ok(())
}

/// Removes the end that an event reported, and the batch's row with the last one.
pub fn remove_end(db: &Connection, source: i64, vendor_id: &Text, kind: EventType) -> Result<(), StoreError> {
    let heard = if kind == EventType::BatchCompleted { "completed" } else { "failed" };
    db.prepare_cached(&format!(
        "UPDATE batches SET {heard} = 0 WHERE source = ? /*account of ?1*/ AND vendor_id = ?"
    ))?
    .execute(params![source, vendor_id.as_bytes()])?;
    db.prepare_cached(
        "DELETE FROM batches
             WHERE source = ? /*account of ?1*/ AND vendor_id = ? AND completed = 0 AND failed = 0",
    )?
    .execute(params![source, vendor_id.as_bytes()])?;
    Ok(())
}
