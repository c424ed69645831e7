//! The sums of an account's endpoints, counted anew from the rows. In pages: an account may have many millions, and no statement
//! may take as long as that. All pages are of the caller's one snapshot. Does not depend on how they were counted as they went.

use std::collections::BTreeMap;

use const_format::formatcp;

use super::pages;
use crate::model::AccountKey;
use crate::store::deliveries::states::{CANCELLED, DEAD, DELIVERED, PENDING, state_of};
use crate::store::layout::keys::{keys_of, unpack};
use crate::store::sql::Connection;
use crate::store::tx::watermarks::Watermarks;
use crate::store::{StoreError, Sum};

/// Rows of an index that a statement goes over; in builds for tests so few that every test of the sums turns pages.
const PAGE: i64 = if cfg!(debug_assertions) { 7 } else { 100_000 };

/// Each goes along an index that has all it asks for, on from an endpoint, a state and a delivery.
const WALKS: [&str; 3] = [
    formatcp!(
        "SELECT endpoint, {PENDING}, MAX(id), COUNT(*), COUNT(CASE WHEN id > ?5 THEN 1 END) FROM
     (SELECT endpoint, id FROM open WHERE (endpoint, id) > (?1, ?3) AND endpoint < ?4
     ORDER BY endpoint, id LIMIT ?6) AS page GROUP BY endpoint ORDER BY endpoint"
    ),
    formatcp!(
        "SELECT endpoint, {DELIVERED}, MAX(id), COUNT(*), COUNT(CASE WHEN id > ?5 THEN 1 END) FROM
     (SELECT endpoint, id FROM settled WHERE state = {DELIVERED} AND (endpoint, id) > (?1, ?3) AND endpoint < ?4
     ORDER BY endpoint, id LIMIT ?6) AS page GROUP BY endpoint ORDER BY endpoint"
    ),
    formatcp!(
        "SELECT endpoint, state, MAX(id), COUNT(*), COUNT(CASE WHEN id > ?5 THEN 1 END) FROM
     (SELECT endpoint, state, id FROM settled WHERE state <> {DELIVERED} AND (endpoint, state, id) > (?1, ?2, ?3) AND endpoint < ?4
     ORDER BY endpoint, state, id LIMIT ?6) AS page GROUP BY endpoint, state ORDER BY endpoint, state"
    ),
];

/// Counts them, with those that are gone by their age as they were counted when they went.
pub fn sums(db: &Connection, account: AccountKey) -> Result<Vec<Sum>, StoreError> {
    let mut sums: BTreeMap<i64, Sum> = pages::sums(db, account)?
        .into_iter()
        .map(|sum| (sum.endpoint, Sum { endpoint: sum.endpoint, ..Sum::default() }))
        .collect();
    let mut add = |endpoint: i64, state: i64, count: i64| {
        let endpoint = unpack(endpoint).1;
        let sum = sums.entry(endpoint).or_insert(Sum { endpoint, ..Sum::default() });
        let part = sum.of_mut(state_of(state));
        *part = part.saturating_add(count);
        sum.owed = sum.owed.saturating_add(count);
    };
    let [first, end] = keys_of(account);
    let edge = Watermarks::of(db, account)?.before_deliveries();
    for sql in WALKS {
        let mut statement = db.prepare_cached(sql)?;
        let (mut after, mut seen) = ([first, i64::MAX, i64::MAX], PAGE);
        while seen >= PAGE {
            let mut rows = statement.query([after[0], after[1], after[2], end, edge, PAGE])?;
            seen = 0;
            while let Some(row) = rows.next()? {
                after = [row.get(0)?, row.get(1)?, row.get(2)?];
                seen += row.get::<i64>(3)?;
                add(after[0], after[1], row.get(4)?);
            }
        }
    }
    let mut statement = db.prepare_cached(
        "SELECT endpoint, delivered, dead, cancelled FROM purged
         WHERE endpoint > ? AND endpoint < ? /*account of ?1*/",
    )?;
    let mut rows = statement.query([first, end])?;
    while let Some(row) = rows.next()? {
        let endpoint = row.get(0)?;
        for (state, column) in [(DELIVERED, 1), (DEAD, 2), (CANCELLED, 3)] {
            add(endpoint, state, row.get(column)?);
        }
    }
    Ok(sums.into_values().collect())
}
