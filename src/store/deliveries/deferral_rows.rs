//! The rows of deferred deliveries: the statements that write `held`, which has those that wait, and `rendered`, which has the
//! later events of which a delivery says more than of its own; `open.snapshot` has that for a pending one. Does not depend on what
//! a delivery waits for.

use std::collections::HashMap;

use crate::store::StoreError;
use crate::store::sql::{Connection, OptionalExtension};

/// `held` has what waits; `rendered` the snapshots of deliveries that say more than their event did.
pub const TABLES: &str = r"
CREATE TABLE held (
    delivery INTEGER PRIMARY KEY, call INTEGER NOT NULL, endpoint INTEGER NOT NULL, until INTEGER NOT NULL
);
CREATE INDEX held_by_call ON held (call, endpoint);
CREATE INDEX held_until ON held (until);
CREATE TABLE rendered (delivery INTEGER PRIMARY KEY, snapshot INTEGER NOT NULL);
ALTER TABLE open ADD COLUMN snapshot INTEGER;
";

/// What is said of a later event is found when that is to say less.
pub const BY_SNAPSHOT: &str = "CREATE INDEX rendered_by_snapshot ON rendered (snapshot);";

/// Defers a delivery until a time at the latest; call and endpoint are keys.
pub fn defer(db: &Connection, id: i64, call: i64, endpoint: i64, until: i64) -> Result<(), StoreError> {
    Ok(db.later(
        "INSERT INTO held (delivery, call, endpoint, until /*!, account */)
         VALUES (?, ?, ?, ? /*!, @1 */)",
        [id, call, endpoint, until],
    )?)
}

/// The statement that both [`end_deferral`] and [`forget_deferral`] run.
const DELETE_HELD: &str = "DELETE FROM held WHERE delivery = ? /*account of ?1*/";

/// Ends the deferral of a delivery; false if it was not deferred.
pub fn end_deferral(db: &Connection, id: i64) -> Result<bool, StoreError> {
    Ok(db.prepare_cached(DELETE_HELD)?.execute([id])? == 1)
}

/// Removes the deferral of a delivery that is not pending any more, if it had one: nobody waits for the answer.
pub fn forget_deferral(db: &Connection, id: i64) -> Result<(), StoreError> {
    Ok(db.later(DELETE_HELD, [id])?)
}

/// Has a pending delivery say what was known at a later position than its event's.
pub fn render(db: &Connection, id: i64, snapshot: i64) -> Result<(), StoreError> {
    let is_later = db
        .prepare_cached("UPDATE open SET snapshot = ?1 WHERE id = ?2 /*account of ?2*/ AND event < ?1")?
        .execute([snapshot, id])?;
    if is_later == 1 {
        db.prepare_cached(
            "INSERT INTO rendered (delivery, snapshot /*!, account */) VALUES (?1, ?2 /*!, @1 */)
             ON CONFLICT (delivery /*!, account */) DO UPDATE SET snapshot = ?2",
        )?
        .execute([id, snapshot])?;
    }
    Ok(())
}

/// Inserts the later position of a delivery that is inserted itself in this transaction.
pub fn insert_rendered(db: &Connection, id: i64, snapshot: i64) -> Result<(), StoreError> {
    Ok(db.later(
        "INSERT INTO rendered (delivery, snapshot /*!, account */) VALUES (?, ? /*!, @1 */)",
        [id, snapshot],
    )?)
}

/// The position that a delivery says more of than its event did.
pub fn rendered(db: &Connection, id: i64) -> Result<Option<i64>, StoreError> {
    let mut statement =
        db.prepare_cached("SELECT snapshot FROM rendered WHERE delivery = ? /*account of ?1*/")?;
    Ok(statement.query_row([id], |row| row.get(0)).optional()?)
}

/// The positions of [`rendered`] of many deliveries, as far as there is one.
pub fn all_rendered(db: &Connection, ids: &[i64]) -> Result<HashMap<i64, i64>, StoreError> {
    let mut found = HashMap::new();
    let sql = "SELECT delivery, snapshot FROM rendered WHERE delivery = ANY(?) AND account = ANY(@1)";
    if let Some(mut answers) = db.fetch(&[(sql, &[ids])])? {
        while let Some(row) = answers[0].next()? {
            found.insert(row.get(0)?, row.get(1)?);
        }
        return Ok(found);
    }
    for &id in ids {
        found.extend(rendered(db, id)?.map(|snapshot| (id, snapshot)));
    }
    Ok(found)
}

/// Removes the later positions of a range of deliveries: the first key, and the one behind the last.
pub fn remove_rendered(db: &Connection, range: [i64; 2]) -> Result<(), StoreError> {
    db.prepare_cached("DELETE FROM rendered WHERE delivery >= ? AND delivery < ? /*account of ?1*/")?
        .execute(range)?;
    Ok(())
}

/// Removes the later positions of those of a range of deliveries that are not pending.
pub fn remove_rendered_but_pending(db: &Connection, range: [i64; 2]) -> Result<(), StoreError> {
    db.prepare_cached(
        "DELETE FROM rendered WHERE delivery >= ?1 AND delivery < ?2 /*account of ?1*/ AND delivery NOT IN
         (SELECT id FROM open WHERE id >= ?1 AND id < ?2 /*account of ?1*/)",
    )?
    .execute(range)?;
    Ok(())
}
