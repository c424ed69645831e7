//! The statements for many events, calls and tombstones at once: each for one row, and for all of them as arrays. The second,
//! which only PostgreSQL runs, names the accounts that the rows belong to, by which tables may be divided. Does not depend on
//! when they are run.

use crate::store::sql::bulk::Bulk;

/// An event joins the feed.
pub static INSERT_EVENT: Bulk = Bulk {
    one: "INSERT INTO events (id, kind, at, source, call, previous, test, first_delivery, deliveries, body)
          VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    many: "INSERT INTO events
               (id, kind, at, source, call, previous, test, first_delivery, deliveries, body, account)
           SELECT *, id >> 40 FROM unnest(CAST(? AS BIGINT[]), CAST(? AS BIGINT[]), CAST(? AS BIGINT[]), CAST(? AS BIGINT[]),
               CAST(? AS BIGINT[]), CAST(? AS BIGINT[]), CAST(? AS BIGINT[]), CAST(? AS BIGINT[]),
               CAST(? AS BIGINT[]), CAST(? AS BYTEA[])) AS t (id)",
};
/// A call is heard of for the first time.
pub static INSERT_CALL: Bulk = Bulk {
    one: "INSERT INTO calls (id, hash, source, vendor_id, outcome, event, marks, record, updated_at, counted)
          VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    many: "INSERT INTO calls
               (id, hash, source, vendor_id, outcome, event, marks, record, updated_at, counted, account)
           SELECT *, id >> 40 FROM unnest(CAST(? AS BIGINT[]), CAST(? AS BIGINT[]), CAST(? AS BIGINT[]), CAST(? AS BYTEA[]),
               CAST(? AS BIGINT[]), CAST(? AS BIGINT[]), CAST(? AS BYTEA[]), CAST(? AS BYTEA[]),
               CAST(? AS BIGINT[]), CAST(? AS BIGINT[])) AS t (id)",
};
/// Something was heard of a call.
pub static UPDATE_CALL: Bulk = Bulk {
    one: "UPDATE calls SET outcome = ?, event = ?, marks = ?, record = ?, updated_at = ?, counted = ? WHERE id = ?",
    many: "UPDATE calls SET outcome = t.outcome, event = t.event, marks = t.marks, record = t.record,
               updated_at = t.updated_at, counted = t.counted
           FROM unnest(CAST(? AS BIGINT[]), CAST(? AS BIGINT[]), CAST(? AS BYTEA[]), CAST(? AS BYTEA[]),
               CAST(? AS BIGINT[]), CAST(? AS BIGINT[]), CAST(? AS BIGINT[]))
               AS t (outcome, event, marks, record, updated_at, counted, id)
           WHERE calls.id = t.id AND calls.account = ANY(@7)",
};
/// A tombstone is left of what is removed.
pub static INSERT_TOMBSTONE: Bulk = Bulk {
    one: "INSERT INTO tombstones (id, hash, rest, received, removed_at) VALUES (?, ?, ?, ?, ?)",
    many: "INSERT INTO tombstones (id, hash, rest, received, removed_at, account)
           SELECT *, id >> 40 FROM unnest(CAST(? AS BIGINT[]), CAST(? AS BIGINT[]), CAST(? AS BIGINT[]),
               CAST(? AS BIGINT[]), CAST(? AS BIGINT[])) AS t (id)",
};
