//! By when the ends of calls have to come, as rows. Does not depend on who sets a deadline, and what follows when one is missed.

use crate::store::StoreError;
use crate::store::sql::Connection;

/// The end of a call has to come by this moment, in microseconds.
pub fn set(db: &Connection, call: i64, due: i64) -> Result<(), StoreError> {
    let sql = "INSERT INTO watched (call, due /*!, account */) VALUES (?1, ?2 /*!, @1 */)
         ON CONFLICT (call /*!, account */) DO UPDATE SET due = ?2";
    Ok(db.later(sql, [call, due])?)
}

/// A call has no deadline any more.
pub fn clear(db: &Connection, call: i64) -> Result<(), StoreError> {
    db.prepare_cached("DELETE FROM watched WHERE call = ? /*account of ?1*/")?.execute([call])?;
    Ok(())
}
