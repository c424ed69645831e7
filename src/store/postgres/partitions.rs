//! Partitions of past weeks: one in which every row is behind the edges of its account is dropped with all that is in it.
//! Where one account keeps its rows for longer, those of the others are taken out of it bit by bit, so that nothing lies
//! longer than its retention and two weeks. Refuses to know when anything is past its age: retention moves the edges.
//!
//! A drop waits for every statement on the table, and all that come later wait behind it, so it gives up soon and is tried
//! again later. Detaching first would not have to wait, but PostgreSQL cannot do it beside a default partition, nor in a
//! transaction that only one node is in.

use std::collections::VecDeque;

use super::schema::{PARTITIONED, WEEK_SECONDS, is_there, locking_briefly};
use crate::model::Time;
use crate::store::StoreError;
use crate::store::sql::Connection;

/// Rows that one step takes out: a few milliseconds.
const STEP: usize = 250;
/// Accounts whose rows one look finds in one partition; others wait for the next look.
const MOST_ACCOUNTS: usize = 1000;

/// Rows of one account to take out of one partition.
#[derive(Debug)]
pub struct Sweep {
    partition: String,
    /// Those after the first and up to the last key.
    keys: [i64; 2],
    /// The last week.
    week: i64,
}

/// The weeks that have a partition, oldest first.
fn weeks(db: &Connection, table: &str) -> Result<Vec<i64>, StoreError> {
    let mut statement = db.prepare_cached(
        "SELECT child.relname::TEXT FROM pg_inherits JOIN pg_class child ON child.oid = inhrelid
         WHERE inhparent = to_regclass(CAST(? AS TEXT))",
    )?;
    let names = statement.query_map([table], |row| row.get::<String>(0))?;
    let names: Vec<String> = names.collect::<Result<_, _>>()?;
    let mut weeks: Vec<i64> = names.iter().filter_map(|name| name.rsplit('_').next()?.parse().ok()).collect();
    weeks.sort_unstable();
    Ok(weeks)
}

/// The key up to which the rows of account `a` are gone.
fn edge(table: &str) -> &'static str {
    match table {
        "events" => "(a.account << 40 | a.purged)",
        _ => "(a.account << 40 | a.purged_deliveries)",
    }
}

/// The partitions that can be dropped, in the order in which they have to be: who erases a person finds deliveries by
/// their events, so these stay as long as any delivery of their week does.
pub fn spent(db: &Connection, now: Time) -> Result<Vec<String>, StoreError> {
    let this = now.as_seconds().div_euclid(WEEK_SECONDS);
    let (mut spent, mut of_events) = (Vec::new(), weeks(db, "events")?);
    let of_settled = weeks(db, "settled")?;
    of_events.extend(&of_settled);
    of_events.sort_unstable();
    of_events.dedup();
    // A week more, so that no transaction that began in it is still under way.
    for week in of_events.into_iter().filter(|week| week + 1 < this) {
        for table in PARTITIONED.into_iter().rev() {
            let partition = format!("{table}_{week}");
            if !is_there(db, &partition)? {
                continue;
            }
            // One probe for each account: the first row beyond its edge, whose ever it is.
            let in_use = format!(
                "SELECT 1 FROM accounts a WHERE (SELECT r.id FROM {partition} r WHERE r.id > {}
                     ORDER BY r.id LIMIT 1) < (a.account + 1) << 40 LIMIT 1",
                edge(table)
            );
            if db.prepare_cached(&in_use)?.exists(())? {
                break;
            }
            spent.push(partition);
        }
    }
    Ok(spent)
}

/// Drops a partition; false when somebody was in the way.
pub fn drop(db: &Connection, partition: &str) -> Result<bool, StoreError> {
    db.execute_batch(&locking_briefly(&format!("DROP TABLE IF EXISTS {partition}")))?;
    Ok(!is_there(db, partition)?)
}

/// Which rows have lain long enough: their week ended longer ago than their account's retention and a week, or the account has
/// set another retention since, whose age they would lie there for. Those of an account whose edges are on their way are left, as the partition may be dropped when they have come by. Also says whether
/// these are all.
pub fn to_sweep(db: &Connection, now: Time) -> Result<(VecDeque<Sweep>, bool), StoreError> {
    let (mut sweeps, mut are_all) = (VecDeque::new(), true);
    // Deliveries first, as above.
    for table in PARTITIONED.into_iter().rev() {
        let week = format!("{WEEK_SECONDS}000000");
        let last_week = format!(
            "GREATEST((CAST(?1 AS BIGINT) - COALESCE(a.retention, 0)) / {week} - 2,
                 LEAST(a.retention_set_at / {week}, CAST(?1 AS BIGINT) / {week} - 3))"
        );
        let of_weeks =
            weeks(db, table)?.into_iter().map(|week| (format!("{table}_{week}"), week.to_string()));
        // What lies in the default partition may be of any week.
        for (partition, week) in of_weeks.chain([(format!("{table}_default"), "r.week".to_owned())]) {
            let sql = format!(
                "SELECT a.account << 40, {edge}, {last_week} FROM accounts a
                 WHERE (a.purge_at IS NULL OR a.purge_at > CAST(?1 AS BIGINT))
                     AND EXISTS (SELECT 1 FROM {partition} r WHERE r.id > a.account << 40 AND r.id <= {edge}
                         AND {week} <= {last_week})
                 LIMIT {MOST_ACCOUNTS}",
                edge = edge(table)
            );
            let mut statement = db.prepare_cached(&sql)?;
            let found = statement.query_map([now.as_micros()], |row| {
                let keys = [row.get(0)?, row.get(1)?];
                Ok(Sweep { partition: partition.clone(), keys, week: row.get(2)? })
            })?;
            let before = sweeps.len();
            for sweep in found {
                sweeps.push_back(sweep?);
            }
            are_all &= sweeps.len() - before < MOST_ACCOUNTS;
        }
    }
    Ok((sweeps, are_all))
}

/// Takes some rows out. True when there are more.
pub fn sweep(db: &Connection, sweep: &mut Sweep) -> Result<bool, StoreError> {
    let Sweep { partition, keys: [after, last], week } = sweep;
    if !is_there(db, partition)? {
        return Ok(false);
    }
    let sql = format!(
        "WITH swept AS (DELETE FROM {partition} WHERE account = @1 AND (id, week) IN (SELECT id, week
             FROM {partition} WHERE account = @1 AND id > ?1 AND id <= ?2 AND week <= ?3 ORDER BY id LIMIT {STEP})
             RETURNING id)
         SELECT COUNT(*), MAX(id) FROM swept"
    );
    let (count, reached): (i64, Option<i64>) =
        db.prepare_cached(&sql)?.query_row([*after, *last, *week], |row| Ok((row.get(0)?, row.get(1)?)))?;
    // Not over what lies dead in front of it.
    *after = reached.unwrap_or(*after);
    Ok(usize::try_from(count).unwrap_or(STEP) >= STEP)
}
