//! The rows of calls: every statement that writes them. Does not depend on what a call's record says, and why a row changes.

use crate::model::Time;
use crate::store::StoreError;
use crate::store::sql::bulk::Bulk;
use crate::store::sql::{Connection, OptionalExtension, params};

/// Inserts a call that is new. The form for many rows, here and below, is run by PostgreSQL alone and names the accounts that
/// they belong to, by which tables may be divided.
pub static INSERT_CALL: Bulk = Bulk {
    one: "INSERT INTO calls (id, hash, source, vendor_id, outcome, event, marks, record, updated_at, counted)
          VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    many: "INSERT INTO calls
               (id, hash, source, vendor_id, outcome, event, marks, record, updated_at, counted, account)
           SELECT *, id >> 40 FROM unnest(CAST(? AS BIGINT[]), CAST(? AS BIGINT[]), CAST(? AS BIGINT[]), CAST(? AS BYTEA[]),
               CAST(? AS BIGINT[]), CAST(? AS BIGINT[]), CAST(? AS BYTEA[]), CAST(? AS BYTEA[]),
               CAST(? AS BIGINT[]), CAST(? AS BIGINT[])) AS t (id)",
};

/// Updates a call after an event of it.
pub static UPDATE_CALL: Bulk = Bulk {
    one: "UPDATE calls SET outcome = ?, event = ?, marks = ?, record = ?, updated_at = ?, counted = ? WHERE id = ?",
    many: "UPDATE calls SET outcome = t.outcome, event = t.event, marks = t.marks, record = t.record,
               updated_at = t.updated_at, counted = t.counted
           FROM unnest(CAST(? AS BIGINT[]), CAST(? AS BIGINT[]), CAST(? AS BYTEA[]), CAST(? AS BYTEA[]),
               CAST(? AS BIGINT[]), CAST(? AS BIGINT[]), CAST(? AS BIGINT[]))
               AS t (outcome, event, marks, record, updated_at, counted, id)
           WHERE calls.id = t.id AND calls.account = ANY(@7)",
};

/// Deletes the calls that have these events for their last ones, on PostgreSQL.
const DELETE_BY_LAST_EVENTS: &str = "DELETE FROM calls c
     USING unnest(CAST(? AS BIGINT[]), CAST(? AS BIGINT[])) AS last (call, event), events e
     WHERE c.id = last.call AND c.account = last.call >> 40 AND c.account = ANY(CAST(@1 AS BIGINT[]))
         AND e.account = c.account AND c.event = last.event - (last.event >> 40 << 40) AND e.id = last.event
     RETURNING c.marks, COALESCE(c.record, e.body), c.counted, c.source, c.vendor_id";

/// Replaces the record of a call by this one, which is packed and differs from the snapshot of its last event.
pub fn set_record(db: &Connection, id: i64, packed: &[u8]) -> Result<(), StoreError> {
    db.prepare_cached("UPDATE calls SET record = ? WHERE id = ? /*account of ?2*/")?
        .execute(params![packed, id])?;
    Ok(())
}

/// Removes the record of a call, so that the snapshot of its last event is the record.
pub fn clear_record(db: &Connection, id: i64) -> Result<(), StoreError> {
    db.prepare_cached("UPDATE calls SET record = NULL WHERE id = ? /*account of ?1*/")?.execute([id])?;
    Ok(())
}

/// Replaces the marks of a call, and removes its record as [`clear_record`] does.
pub fn set_marks_and_clear_record(db: &Connection, id: i64, marks: &[u8]) -> Result<(), StoreError> {
    db.prepare_cached("UPDATE calls SET marks = ?, record = NULL WHERE id = ? /*account of ?2*/")?
        .execute(params![marks, id])?;
    Ok(())
}

/// Replaces the vendor's id of a call, and the hash by which it is found.
pub fn set_vendor_id(db: &Connection, id: i64, hash: i64, vendor_id: &[u8]) -> Result<(), StoreError> {
    db.prepare_cached("UPDATE calls SET hash = ?, vendor_id = ? WHERE id = ? /*account of ?3*/")?
        .execute(params![hash, vendor_id, id])?;
    Ok(())
}

/// What is needed of a call that was deleted, to leave a tombstone.
pub struct DeletedCall {
    /// The hash by which it was found.
    pub hash: i64,
    /// The key of its source.
    pub source: i64,
    /// The vendor's id.
    pub vendor_id: Vec<u8>,
    /// Which steps were received, as JSON.
    pub marks: Vec<u8>,
}

/// Deletes a call if this event is its last one.
pub fn delete_by_last_event(db: &Connection, id: i64, event: i64) -> Result<Option<DeletedCall>, StoreError> {
    let deleted = db
        .prepare_cached(
            "DELETE FROM calls WHERE id = ? /*account of ?1*/ AND event = ?
                     RETURNING hash, source, vendor_id, marks",
        )?
        .query_row([id, event], |row| {
            Ok(DeletedCall {
                hash: row.get(0)?,
                source: row.get(1)?,
                vendor_id: row.get(2)?,
                marks: row.get(3)?,
            })
        })
        .optional()?;
    Ok(deleted)
}

/// What is needed of a call that was deleted with many others, to leave a tombstone and to go on counting it.
pub struct CountedCall {
    /// Which steps were received, as JSON.
    pub marks: Vec<u8>,
    /// What was known of it at its end, packed.
    pub record: Vec<u8>,
    /// When its end was received; `None` where the call is in no numbers.
    pub counted: Option<i64>,
    /// The key of its source.
    pub source: i64,
    /// The vendor's id.
    pub vendor_id: Vec<u8>,
}

/// Deletes those of many calls whose last event is the one at the same place in `last`, both by their keys,
/// in one statement. On PostgreSQL alone: the embedded database removes calls one by one, and gets an empty list here.
pub fn delete_by_last_events(
    db: &Connection,
    calls: &[i64],
    last: &[i64],
) -> Result<Vec<CountedCall>, StoreError> {
    let Some(mut answers) = db.fetch(&[(DELETE_BY_LAST_EVENTS, &[calls, last])])? else {
        return Ok(Vec::new());
    };
    let mut deleted = Vec::new();
    while let Some(row) = answers[0].next()? {
        deleted.push(CountedCall {
            marks: row.get(0)?,
            record: row.get(1)?,
            counted: row.get(2)?,
            source: row.get(3)?,
            vendor_id: row.get(4)?,
        });
    }
    Ok(deleted)
}

/// A call as it was where it comes from.
pub struct ImportedCall<'a> {
    /// Its key.
    pub id: i64,
    /// The hash by which it is found.
    pub hash: i64,
    /// The key of its source.
    pub source: i64,
    /// The vendor's id.
    pub vendor_id: &'a [u8],
    /// The code of its outcome, if it has ended.
    pub outcome: Option<i64>,
    /// Its last event.
    pub event: i64,
    /// Which steps were received, as JSON.
    pub marks: &'a [u8],
    /// Its record, packed, if that is not the snapshot of its last event.
    pub record: Option<Vec<u8>>,
    /// When it was last changed.
    pub updated_at: Time,
    /// When its end was received, 0 before it.
    pub counted: i64,
}

/// Inserts a call that an import brings.
pub fn insert_imported(db: &Connection, call: &ImportedCall<'_>) -> Result<(), StoreError> {
    db.prepare_cached(
        "INSERT INTO calls (id, hash, source, vendor_id, outcome, event, marks, record, updated_at,
         counted /*!, account */)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ? /*!, @1 */)",
    )?
    .execute(params![
        call.id,
        call.hash,
        call.source,
        call.vendor_id,
        call.outcome,
        call.event,
        call.marks,
        call.record,
        call.updated_at.as_micros(),
        call.counted
    ])?;
    Ok(())
}
