//! The counters of each endpoint's deliveries: those that it ever had by their state (`endpoint_sums`), and of these the
//! settled ones whose rows retention removed (`purged`). Every statement that writes them. Does not depend on what a delivery
//! is, and when its state changes.

use crate::model::DeliveryState;
use crate::store::StoreError;
use crate::store::sql::Connection;
use crate::store::sql::bulk::Bulk;

/// Adds to the counters of an endpoint. The form for many rows, which only PostgreSQL runs, names the accounts that they belong
/// to, by which tables may be divided.
pub static ADD_TO_SUM: Bulk = Bulk {
    one: "UPDATE endpoint_sums SET owed = owed + ?, delivered = delivered + ?, pending = pending + ?,
              dead = dead + ?, cancelled = cancelled + ? WHERE endpoint = ?",
    many: "UPDATE endpoint_sums s SET owed = s.owed + t.owed, delivered = s.delivered + t.delivered,
               pending = s.pending + t.pending, dead = s.dead + t.dead, cancelled = s.cancelled + t.cancelled
           FROM unnest(CAST(? AS BIGINT[]), CAST(? AS BIGINT[]), CAST(? AS BIGINT[]), CAST(? AS BIGINT[]),
               CAST(? AS BIGINT[]), CAST(? AS BIGINT[])) AS t (owed, delivered, pending, dead, cancelled, endpoint)
           WHERE s.endpoint = t.endpoint AND s.account = ANY(@6)",
};

/// Begins to count the deliveries of a new endpoint.
pub fn begin(db: &Connection, endpoint: i64) -> Result<(), StoreError> {
    db.execute(
        "INSERT INTO endpoint_sums (endpoint, owed, delivered, pending, dead, cancelled /*!, account */)
             VALUES (?, 0, 0, 0, 0, 0 /*!, @1 */)",
        [endpoint],
    )?;
    Ok(())
}

/// Counts settled deliveries of an endpoint whose rows are removed, by their state.
pub fn count_purged(
    db: &Connection,
    endpoint: i64,
    [delivered, dead, cancelled]: [i64; 3],
) -> Result<(), StoreError> {
    Ok(db.later(
        "INSERT INTO purged (endpoint, delivered, dead, cancelled /*!, account */)
                 VALUES (?1, ?2, ?3, ?4 /*!, @1 */)
                 ON CONFLICT (endpoint /*!, account */) DO UPDATE SET
                     delivered = purged.delivered + ?2, dead = purged.dead + ?3,
                     cancelled = purged.cancelled + ?4",
        [endpoint, delivered, dead, cancelled],
    )?)
}

/// Sets the counters of an endpoint that an import brings to the deliveries whose rows were removed elsewhere, by their state.
pub fn put_imported(
    db: &Connection,
    endpoint: i64,
    owed: i64,
    [delivered, dead, cancelled]: [i64; 3],
) -> Result<(), StoreError> {
    db.prepare_cached(
        "INSERT INTO endpoint_sums (endpoint, owed, delivered, pending, dead, cancelled /*!, account */)
             VALUES (?1, ?2, ?3, 0, ?4, ?5 /*!, @1 */)
             ON CONFLICT (endpoint /*!, account */) DO UPDATE SET
                 owed = ?2, delivered = ?3, pending = 0, dead = ?4, cancelled = ?5",
    )?
    .execute([endpoint, owed, delivered, dead, cancelled])?;
    db.prepare_cached(
        "INSERT INTO purged (endpoint, delivered, dead, cancelled /*!, account */)
             VALUES (?1, ?2, ?3, ?4 /*!, @1 */)
             ON CONFLICT (endpoint /*!, account */) DO UPDATE SET delivered = ?2, dead = ?3, cancelled = ?4",
    )?
    .execute([endpoint, delivered, dead, cancelled])?;
    Ok(())
}

/// Counts a delivery that an import brings.
pub fn count_imported(db: &Connection, endpoint: i64, state: DeliveryState) -> Result<(), StoreError> {
    let column = state.as_str();
    let sql = format!(
        "UPDATE endpoint_sums SET owed = owed + 1, {column} = {column} + 1
         WHERE endpoint = ? /*account of ?1*/"
    );
    db.prepare_cached(&sql)?.execute([endpoint])?;
    Ok(())
}
