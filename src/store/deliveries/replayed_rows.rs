//! The rows of deliveries that replays planned, by their events: what writes `replayed` and reads it. Such deliveries are not
//! numbered in a row with their event's own. Does not depend on what a replay selects.

use crate::model::AccountKey;
use crate::store::StoreError;
use crate::store::layout::keys::{pack, unpack};
use crate::store::sql::{Connection, OptionalExtension};

/// Inserts which replay planned a delivery of an event; all three are keys.
pub fn insert(db: &Connection, event: i64, delivery: i64, replay: i64) -> Result<(), StoreError> {
    Ok(db.later(
        "INSERT INTO replayed (event, delivery, replay /*!, account */) VALUES (?, ?, ? /*!, @1 */)",
        [event, delivery, replay],
    )?)
}

/// Removes a delivery of an event, both by their keys.
pub fn remove(db: &Connection, event: i64, delivery: i64) -> Result<(), StoreError> {
    db.prepare_cached("DELETE FROM replayed WHERE event = ? /*account of ?1*/ AND delivery = ?")?
        .execute([event, delivery])?;
    Ok(())
}

/// The deliveries of an event that replays planned, oldest first.
pub fn deliveries_of(db: &Connection, account: AccountKey, position: i64) -> Result<Vec<i64>, StoreError> {
    Ok(deliveries_of_each(db, account, &[position])?.pop().unwrap_or_default())
}

/// The deliveries of several events that replays planned, oldest first of each.
pub fn deliveries_of_each(
    db: &Connection,
    account: AccountKey,
    positions: &[i64],
) -> Result<Vec<Vec<i64>>, StoreError> {
    let sql = "SELECT delivery FROM replayed WHERE event = ? /*account of ?1*/ ORDER BY delivery";
    let events: Vec<[i64; 1]> = positions.iter().map(|&position| [pack(account, position)]).collect();
    Ok(db.query_each(sql, &events, |row| Ok(unpack(row.get(0)?).1))?)
}

/// The replay that planned a delivery, if one did.
pub fn replay_of_delivery(
    db: &Connection,
    account: AccountKey,
    position: i64,
    delivery: i64,
) -> Result<Option<i64>, StoreError> {
    let mut statement =
        db.prepare_cached("SELECT replay FROM replayed WHERE event = ? /*account of ?1*/ AND delivery = ?")?;
    let key = [pack(account, position), pack(account, delivery)];
    Ok(statement.query_row(key, |row| row.get(0)).optional()?.map(|id| unpack(id).1))
}
