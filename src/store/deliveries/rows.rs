//! The statements for many deliveries at once: each for one row, and for all of them as arrays. The second, which only
//! PostgreSQL runs, names the accounts that the rows belong to, by which tables may be divided. Does not depend on when they
//! are run.

use crate::store::sql::bulk::Bulk;

/// What became of an endpoint's deliveries.
pub static ADD_TO_SUM: Bulk = Bulk {
    one: "UPDATE endpoint_sums SET owed = owed + ?, delivered = delivered + ?, pending = pending + ?,
              dead = dead + ?, cancelled = cancelled + ? WHERE endpoint = ?",
    many: "UPDATE endpoint_sums s SET owed = s.owed + t.owed, delivered = s.delivered + t.delivered,
               pending = s.pending + t.pending, dead = s.dead + t.dead, cancelled = s.cancelled + t.cancelled
           FROM unnest(CAST(? AS BIGINT[]), CAST(? AS BIGINT[]), CAST(? AS BIGINT[]), CAST(? AS BIGINT[]),
               CAST(? AS BIGINT[]), CAST(? AS BIGINT[])) AS t (owed, delivered, pending, dead, cancelled, endpoint)
           WHERE s.endpoint = t.endpoint AND s.account = ANY(@6)",
};
