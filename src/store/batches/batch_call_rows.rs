//! What each call counts for, as rows of `batch_calls`. Does not depend on how that is found out.

use super::loaded::Placed;
use crate::ledger::Counted;
use crate::store::StoreError;
use crate::store::sql::{Connection, params};

/// Writes what a call counts for, and as what. Its batch stays the one that it was first written with.
pub fn put(db: &Connection, call: i64, placed: &Placed, counted: Counted) -> Result<(), StoreError> {
    db.later(
        "INSERT INTO batch_calls (call, batch, contact, counted /*!, account */)
             VALUES (?1, ?2, ?3, ?4 /*!, @1 */)
                 ON CONFLICT (call /*!, account */) DO UPDATE SET contact = ?3, counted = ?4",
        params![call, placed.batch, placed.contact, counted as i64],
    )?;
    Ok(())
}

/// Writes what an imported call counts for, and as what.
pub fn import(
    db: &Connection,
    call: i64,
    batch: i64,
    contact: Option<i64>,
    counted: Counted,
) -> Result<(), StoreError> {
    db.prepare_cached(
        "INSERT INTO batch_calls (call, batch, contact, counted /*!, account */)
                 VALUES (?1, ?2, ?3, ?4 /*!, @1 */)
                 ON CONFLICT (call /*!, account */) DO UPDATE SET batch = ?2, contact = ?3, counted = ?4",
    )?
    .execute(params![call, batch, contact, counted as i64])?;
    Ok(())
}

/// Sets the contact of a call that was written before its contact was taken in.
pub fn set_contact(db: &Connection, call: i64, contact: i64, counted: Counted) -> Result<(), StoreError> {
    db.prepare_cached("UPDATE batch_calls SET contact = ?, counted = ? WHERE call = ? /*account of ?3*/")?
        .execute([contact, counted as i64, call])?;
    Ok(())
}

/// Removes what a call counts for.
pub fn delete(db: &Connection, call: i64) -> Result<(), StoreError> {
    db.prepare_cached("DELETE FROM batch_calls WHERE call = ? /*account of ?1*/")?.execute([call])?;
    Ok(())
}

/// Removes what some calls of a batch count for. Gives how many.
pub fn delete_some(db: &Connection, batch: i64, most: i64) -> Result<usize, StoreError> {
    let deleted = db
        .prepare_cached(
            "DELETE FROM batch_calls WHERE call IN
                 (SELECT call FROM batch_calls
                 WHERE batch = ? /*account of ?1*/ LIMIT ?) /*account of ?1*/",
        )?
        .execute([batch, most])?;
    Ok(deleted)
}
