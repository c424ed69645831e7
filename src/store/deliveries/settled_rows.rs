//! The rows of finished deliveries, which are delivered, dead or cancelled: the statements that insert into `settled`, update it
//! and delete from it. Does not depend on why a delivery is finished, and how long it is kept.

use super::open_rows::PlannedDelivery;
use super::states::state_code;
use crate::model::DeliveryState;
use crate::store::StoreError;
use crate::store::sql::bulk::Bulk;
use crate::store::sql::{Connection, params};

static INSERT: Bulk = Bulk {
    one: "INSERT INTO settled (id, endpoint, event, revision, state, attempts) VALUES (?, ?, ?, ?, ?, ?)",
    many: "INSERT INTO settled (id, endpoint, event, revision, state, attempts, account)
           SELECT *, id >> 40 FROM unnest(CAST(? AS BIGINT[]), CAST(? AS BIGINT[]), CAST(? AS BIGINT[]),
               CAST(? AS BIGINT[]), CAST(? AS BIGINT[]), CAST(? AS BYTEA[])) AS t (id)",
};

/// Inserts a delivery that is finished now, with its attempts as they lie in the row.
pub fn insert(
    db: &Connection,
    delivery: PlannedDelivery,
    state: DeliveryState,
    attempts: &[u8],
) -> Result<(), StoreError> {
    let PlannedDelivery { id, endpoint, event, revision } = delivery;
    Ok(db.bulk(&INSERT, params![id, endpoint, event, revision, state_code(state), attempts])?)
}

/// Inserts a finished delivery of an import.
pub fn insert_imported(
    db: &Connection,
    delivery: PlannedDelivery,
    state: DeliveryState,
    attempts: &[u8],
) -> Result<(), StoreError> {
    let PlannedDelivery { id, endpoint, event, revision } = delivery;
    db.prepare_cached(
        "INSERT INTO settled (id, endpoint, event, revision, state, attempts /*!, account */)
         VALUES (?, ?, ?, ?, ?, ? /*!, @1 */)",
    )?
    .execute(params![id, endpoint, event, revision, state_code(state), attempts])?;
    Ok(())
}

/// Writes other attempts in place of a finished delivery's own.
pub fn set_attempts(db: &Connection, id: i64, attempts: &[u8]) -> Result<(), StoreError> {
    Ok(db.later("UPDATE settled SET attempts = ? WHERE id = ? /*account of ?2*/", params![attempts, id])?)
}

/// Removes a delivery that is to be tried again.
pub fn remove(db: &Connection, id: i64) -> Result<(), StoreError> {
    db.execute("DELETE FROM settled WHERE id = ? /*account of ?1*/", [id])?;
    Ok(())
}

/// Removes the finished ones of a range of deliveries: the first key, and the one behind the last.
pub fn remove_range(db: &Connection, range: [i64; 2]) -> Result<(), StoreError> {
    db.prepare_cached("DELETE FROM settled WHERE id >= ? AND id < ? /*account of ?1*/")?.execute(range)?;
    Ok(())
}

/// Removes those of a range of deliveries that lie in a later week's partition than the oldest of their events, of which the
/// first and the last key are given. They would be there when the event is not. On PostgreSQL alone: it has a column for the week.
pub fn remove_later_weeks(
    db: &Connection,
    [first, end]: [i64; 2],
    events: [i64; 2],
) -> Result<(), StoreError> {
    db.prepare_cached(
        "DELETE FROM settled WHERE id >= ? AND id < ? /*account of ?1*/
         AND week > (SELECT MIN(week) FROM events WHERE id >= ? AND id <= ? /*account of ?3*/)",
    )?
    .execute([first, end, events[0], events[1]])?;
    Ok(())
}
