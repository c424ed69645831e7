//! Partitions of past weeks: one in which every row is behind the edges of its account is dropped with all that is in it.
//! Where one account keeps its rows for longer, those of the others are taken out of it bit by bit, so that nothing lies
//! longer than its retention and two weeks. Refuses to know when anything is past its age: retention moves the edges.
//!
//! A drop waits for every statement on the table, and all that come later wait behind it, so it gives up soon and is tried
//! again later. Detaching first would not have to wait, but PostgreSQL cannot do it beside a default partition, nor in a
//! transaction that only one node is in.

use std::collections::{HashSet, VecDeque};

use super::schema::{PARTITIONED, WEEK_SECONDS, is_there, locking_briefly};
use crate::model::{AccountKey, Time};
use crate::store::StoreError;
use crate::store::layout::keys::{beyond, pack};
use crate::store::sql::Connection;

/// Rows that one step takes out: a few milliseconds.
const STEP: usize = 250;
/// Accounts whose rows one step looks for in one partition.
const ACCOUNTS: usize = 1000;
const WEEK: i64 = WEEK_SECONDS * 1_000_000;

/// Rows of one account to take out of one partition.
#[derive(Debug)]
pub struct Sweep {
    partition: String,
    /// Those after the first and up to the last key.
    keys: [i64; 2],
    /// The last week.
    week: i64,
}

/// How far an account's rows are gone, and how long it keeps them. Read on its own: a database that divides the other tables
/// by account cannot join them with `accounts`, which it does not divide.
struct AccountEdges {
    account: i64,
    purged: i64,
    purged_deliveries: i64,
    /// The last week whose rows have lain long enough.
    last_week: i64,
    /// Whether they move now.
    are_moving: bool,
}

impl AccountEdges {
    /// Those of the next accounts after this one. A week has lain long enough when it ended longer ago than the account's
    /// retention and a week, or the account has set another retention since, whose age they would lie there for.
    fn after(db: &Connection, account: i64, now: Time) -> Result<Vec<Self>, StoreError> {
        let now = now.as_micros();
        let mut statement = db.prepare_cached(&format!(
            "SELECT account, purged, purged_deliveries, retention, retention_set_at, purge_at FROM accounts
             WHERE account > ? ORDER BY account LIMIT {ACCOUNTS}"
        ))?;
        let edges = statement.query_map([account], |row| {
            let retention: Option<i64> = row.get(3)?;
            let by_age = now.saturating_sub(retention.unwrap_or(0)).div_euclid(WEEK) - 2;
            let by_change = row.get::<i64>(4)?.div_euclid(WEEK).min(now.div_euclid(WEEK) - 3);
            Ok(Self {
                account: row.get(0)?,
                purged: row.get(1)?,
                purged_deliveries: row.get(2)?,
                last_week: by_age.max(by_change),
                are_moving: row.get::<Option<i64>>(5)?.is_some_and(|next| next <= now),
            })
        })?;
        Ok(edges.collect::<Result<_, _>>()?)
    }

    /// The key before an account's first row, and the one up to which its rows are gone.
    fn keys(&self, table: &str) -> [i64; 2] {
        let purged = if table == "events" { self.purged } else { self.purged_deliveries };
        let account = AccountKey(self.account);
        [pack(account, 0), pack(account, purged)]
    }
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

/// The partitions that can be dropped, in the order in which they have to be: who erases a person finds deliveries by
/// their events, so these stay as long as any delivery of their week does.
pub fn spent(db: &Connection, now: Time) -> Result<Vec<String>, StoreError> {
    let this = now.as_seconds().div_euclid(WEEK_SECONDS);
    let mut all_weeks = weeks(db, "events")?;
    all_weeks.extend(weeks(db, "settled")?);
    all_weeks.sort_unstable();
    all_weeks.dedup();
    // A week more, so that no transaction that began in it is still under way.
    let mut past = Vec::new();
    for week in all_weeks.into_iter().filter(|week| week + 1 < this) {
        let mut tables = Vec::new();
        for table in PARTITIONED.into_iter().rev() {
            if is_there(db, &format!("{table}_{week}"))? {
                tables.push(table);
            }
        }
        past.push((week, tables));
    }
    let (mut in_use, mut after) = (HashSet::new(), -1);
    loop {
        let edges = AccountEdges::after(db, after, now)?;
        let Some(last) = edges.last() else { break };
        after = last.account;
        for &(week, ref tables) in &past {
            for &table in tables {
                if !in_use.contains(&(table, week)) && has_rows_beyond(db, table, week, &edges)? {
                    in_use.insert((table, week));
                }
            }
        }
        if past.iter().all(|(week, tables)| tables.iter().all(|&table| in_use.contains(&(table, *week)))) {
            return Ok(Vec::new());
        }
    }
    let mut spent = Vec::new();
    for (week, tables) in past {
        let unused = tables.into_iter().take_while(|&table| !in_use.contains(&(table, week)));
        spent.extend(unused.map(|table| format!("{table}_{week}")));
    }
    Ok(spent)
}

/// Whether a partition has a row of one of these accounts that is not gone: one probe for each.
fn has_rows_beyond(
    db: &Connection,
    table: &str,
    week: i64,
    edges: &[AccountEdges],
) -> Result<bool, StoreError> {
    let column =
        |value: fn(&AccountEdges, &str) -> i64| edges.iter().map(|edges| value(edges, table)).collect();
    let (accounts, purged, ends): (Vec<i64>, Vec<i64>, Vec<i64>) = (
        column(|edges, _| edges.account),
        column(|edges, table| edges.keys(table)[1]),
        column(|edges, _| beyond(AccountKey(edges.account))),
    );
    let sql = format!(
        "SELECT 1 FROM unnest(CAST(? AS BIGINT[]), CAST(? AS BIGINT[]), CAST(? AS BIGINT[])) AS a (account, purged, ends)
         JOIN {table}_{week} r ON r.account = a.account AND r.id > a.purged AND r.id < a.ends LIMIT 1"
    );
    let Some(mut answers) = db.fetch(&[(&sql, &[&accounts, &purged, &ends])])? else { return Ok(false) };
    Ok(answers[0].next()?.is_some())
}

/// Drops a partition; false when somebody was in the way.
pub fn drop(db: &Connection, partition: &str) -> Result<bool, StoreError> {
    db.execute_batch(&locking_briefly(&format!("DROP TABLE IF EXISTS {partition}")))?;
    Ok(!is_there(db, partition)?)
}

/// A look for rows that have lain long enough: each partition for some accounts after the others, a step at a time.
#[derive(Debug)]
pub struct Look {
    /// Those that were not looked at yet, or not to the end, with their week.
    partitions: VecDeque<(&'static str, Option<i64>)>,
    /// The last account that the first of them was looked at for.
    after: i64,
}

impl Look {
    /// At all that are there. Deliveries first, as above.
    pub fn begin(db: &Connection) -> Result<Self, StoreError> {
        let mut partitions = VecDeque::new();
        for table in PARTITIONED.into_iter().rev() {
            partitions.extend(weeks(db, table)?.into_iter().map(|week| (table, Some(week))));
            // What lies in the default partition may be of any week.
            partitions.push_back((table, None));
        }
        Ok(Self { partitions, after: -1 })
    }

    /// Looks at the next ones, and says what is to be taken out; `None` when all were looked at. Rows of an account whose edges
    /// are on their way are left: the partition may be dropped when they have come by.
    pub fn step(&mut self, db: &Connection, now: Time) -> Result<Option<Vec<Sweep>>, StoreError> {
        let Some(&(table, week)) = self.partitions.front() else { return Ok(None) };
        let partition = format!("{table}_{}", week.map_or("default".to_owned(), |week| week.to_string()));
        let edges = AccountEdges::after(db, self.after, now)?;
        let is_last = edges.len() < ACCOUNTS;
        self.after = edges.last().map_or(-1, |last| last.account);
        if is_last || !is_there(db, &partition)? {
            self.partitions.pop_front();
            self.after = -1;
        }
        let may_have = |edges: &AccountEdges| {
            let [first, last] = edges.keys(table);
            !edges.are_moving && first < last && week.is_none_or(|week| week <= edges.last_week)
        };
        let sweeps = edges.into_iter().filter(may_have).map(|edges| Sweep {
            partition: partition.clone(),
            keys: edges.keys(table),
            week: edges.last_week,
        });
        let sweeps: Vec<Sweep> = sweeps.collect();
        if sweeps.is_empty() || !is_there(db, &partition)? {
            return Ok(Some(Vec::new()));
        }
        // One account a question: this is how one machine of many can be asked.
        let sql = format!(
            "SELECT 1 FROM {partition} WHERE account = @1 AND id > ?1 AND id <= ?2 AND week <= ?3 LIMIT 1"
        );
        let params: Vec<[i64; 3]> =
            sweeps.iter().map(|sweep| [sweep.keys[0], sweep.keys[1], sweep.week]).collect();
        let answers = db.query_each(&sql, &params, |_| Ok(()))?;
        let found = sweeps.into_iter().zip(answers).filter(|(_, rows)| !rows.is_empty());
        let found = found.map(|(sweep, _)| sweep).collect();
        Ok(Some(found))
    }
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
