//! The rows of kept bodies, which later attempts send again: the statements that insert into `bodies` and delete from it. Does
//! not depend on what a body says, and when it has to go.

use crate::model::AccountKey;
use crate::store::StoreError;
use crate::store::layout::keys::{keys_of, pack};
use crate::store::packed::pack_bytes;
use crate::store::sql::bulk::Bulk;
use crate::store::sql::{Connection, params};
use crate::store::tx::step_budget::Budget;

/// Keeps what a delivery's first attempt sent, unless that is kept already.
pub fn keep(db: &Connection, id: i64, body: &[u8]) -> Result<(), StoreError> {
    Ok(db.later(
        "INSERT INTO bodies (delivery, body /*!, account */) VALUES (?, ? /*!, @1 */)
         ON CONFLICT DO NOTHING",
        params![id, pack_bytes(body)?],
    )?)
}

/// Inserts the kept body of an import's delivery.
pub fn insert_imported(db: &Connection, id: i64, body: &[u8]) -> Result<(), StoreError> {
    db.prepare_cached("INSERT INTO bodies (delivery, body /*!, account */) VALUES (?, ? /*!, @1 */)")?
        .execute(params![id, pack_bytes(body)?])?;
    Ok(())
}

static DELETE: Bulk = Bulk {
    one: "DELETE FROM bodies WHERE delivery = ?",
    many: "DELETE FROM bodies WHERE delivery = ANY(CAST(? AS BIGINT[])) AND account = ANY(@1)",
};

/// Removes the kept body of a delivery, at the end of the transaction in one statement with others that go.
pub fn remove(db: &Connection, id: i64) -> Result<(), StoreError> {
    Ok(db.bulk(&DELETE, [id])?)
}

/// Removes the kept body of a delivery that was delivered by a later attempt, which is rare in a group: by a statement of its own.
pub fn remove_delivered(db: &Connection, id: i64) -> Result<(), StoreError> {
    Ok(db.later("DELETE FROM bodies WHERE delivery = ? /*account of ?1*/", [id])?)
}

/// Removes kept bodies of a range of deliveries, within the budget of a step and except those that are needed. True when no
/// other is left.
pub fn remove_range(
    db: &Connection,
    range: [i64; 2],
    is_needed: impl Fn(i64) -> bool,
) -> Result<bool, StoreError> {
    let (mut old, mut budget) = (Vec::new(), Budget::new());
    let mut statement = db.prepare_cached(
        "SELECT delivery, length(body) FROM bodies
         WHERE delivery >= ? AND delivery < ? /*account of ?1*/ ORDER BY delivery",
    )?;
    let mut rows = statement.query(range)?;
    let mut are_all = true;
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        if is_needed(id) {
            continue;
        }
        if !budget.take(row.get(1)?) {
            are_all = false;
            break;
        }
        old.push(id);
    }
    for id in old {
        remove(db, id)?;
    }
    Ok(are_all)
}

/// Removes so many kept bodies of a range of deliveries at most. True when all are gone.
pub fn remove_some(db: &Connection, [first, end]: [i64; 2], most: i64) -> Result<bool, StoreError> {
    let removed = db
        .prepare_cached(
            "DELETE FROM bodies WHERE delivery IN
             (SELECT delivery FROM bodies
             WHERE delivery >= ? AND delivery < ? /*account of ?1*/ LIMIT ?)
             /*account of ?1*/",
        )?
        .execute([first, end, most])?;
    Ok(i64::try_from(removed).unwrap_or(most) < most)
}

/// Removes the kept bodies of deliveries beside an event's own that say what it did: those that replays planned, and those that
/// waited for it.
pub fn remove_later(db: &Connection, account: AccountKey, position: i64) -> Result<(), StoreError> {
    db.prepare_cached(
        "DELETE FROM bodies WHERE delivery IN
         (SELECT delivery FROM replayed WHERE event = ? /*account of ?1*/) /*account of ?1*/",
    )?
    .execute([pack(account, position)])?;
    let [first, end] = keys_of(account);
    db.prepare_cached(
        "DELETE FROM bodies WHERE delivery IN
         (SELECT delivery FROM rendered WHERE snapshot = ? AND delivery >= ? AND delivery < ? /*account of ?2*/)
         /*account of ?2*/",
    )?
    .execute([position, first, end])?;
    Ok(())
}
