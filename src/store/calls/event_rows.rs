//! The rows of events: every statement that writes them. Does not depend on what an event is about, and why a row changes.

use crate::model::{EventType, Time};
use crate::store::StoreError;
use crate::store::sql::bulk::Bulk;
use crate::store::sql::{Connection, params};

/// Inserts an event of the feed. The form for many rows, which only PostgreSQL runs, names the accounts that they belong to,
/// by which tables may be divided.
pub static INSERT_EVENT: Bulk = Bulk {
    one: "INSERT INTO events (id, kind, at, source, call, previous, test, first_delivery, deliveries, body)
          VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    many: "INSERT INTO events
               (id, kind, at, source, call, previous, test, first_delivery, deliveries, body, account)
           SELECT *, id >> 40 FROM unnest(CAST(? AS BIGINT[]), CAST(? AS BIGINT[]), CAST(? AS BIGINT[]), CAST(? AS BIGINT[]),
               CAST(? AS BIGINT[]), CAST(? AS BIGINT[]), CAST(? AS BIGINT[]), CAST(? AS BIGINT[]),
               CAST(? AS BIGINT[]), CAST(? AS BYTEA[])) AS t (id)",
};

/// Replaces the snapshot of an event by this one, which is packed.
pub fn set_body(db: &Connection, id: i64, packed: &[u8]) -> Result<(), StoreError> {
    db.prepare_cached("UPDATE events SET body = ? WHERE id = ? /*account of ?2*/")?
        .execute(params![packed, id])?;
    Ok(())
}

/// Deletes an event.
pub fn delete(db: &Connection, id: i64) -> Result<(), StoreError> {
    db.prepare_cached("DELETE FROM events WHERE id = ? /*account of ?1*/")?.execute([id])?;
    Ok(())
}

/// An event as it was where it comes from.
pub struct ImportedEvent {
    /// Its key.
    pub id: i64,
    /// Its type.
    pub kind: EventType,
    /// When it happened.
    pub at: Time,
    /// The number of its source.
    pub source: Option<i64>,
    /// The number of its call.
    pub call: Option<i64>,
    /// The event of its call before it.
    pub previous: Option<i64>,
    /// Whether it is a test.
    pub test: bool,
    /// The number of its first delivery.
    pub first_delivery: i64,
    /// How many deliveries it has.
    pub deliveries: i64,
    /// Its snapshot, packed.
    pub body: Vec<u8>,
}

/// Inserts an event that an import brings.
pub fn insert_imported(db: &Connection, event: &ImportedEvent) -> Result<(), StoreError> {
    db.prepare_cached(
        "INSERT INTO events (id, kind, at, source, call, previous, test, first_delivery, deliveries,
         body /*!, account */)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ? /*!, @1 */)",
    )?
    .execute(params![
        event.id,
        event.kind.code(),
        event.at.as_micros(),
        event.source,
        event.call,
        event.previous,
        event.test,
        event.first_delivery,
        event.deliveries,
        event.body
    ])?;
    Ok(())
}
