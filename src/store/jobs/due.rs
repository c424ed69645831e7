//! Finds for whom something is due, by an index that goes by time: who waits longest is seen first, and whoever is hidden behind
//! very many rows of another account is found by looks that go on from each other. Does not depend on what is done then.

use super::turns::Turn;
use crate::model::{AccountKey, Time};
use crate::store::StoreError;
use crate::store::layout::keys::unpack;
use crate::store::sql::Connection;

/// Rows that are looked at where the oldest are, and further on when there are more.
const NEAR: i64 = 100;
const FAR: i64 = 2000;

/// A statement that finds what falls due after one time and up to another one, so many at the most: a key and its time.
#[derive(Clone, Copy, Debug)]
pub enum ByTime {
    /// It finds keys of an account's rows.
    Keys(&'static str),
    /// It finds accounts.
    Accounts(&'static str),
}

/// For whom a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// The account.
    pub account: AccountKey,
    /// Between which times something of it falls due, both included, in microseconds: a statement that goes by time need not
    /// go over what others have before and behind.
    pub span: [i64; 2],
}

/// What a look came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Looked {
    /// For whom.
    pub due: Option<Due>,
    /// Up to which time it looked further on; `None` when that was the end.
    pub up_to: Option<i64>,
}

/// Looks for whose turn it is.
pub fn look(db: &Connection, by: ByTime, turn: &Turn, now: Time) -> Result<Looked, StoreError> {
    let near = rows(db, by, i64::MIN, now, NEAR)?;
    let (mut far, mut up_to) = (Vec::new(), None);
    if let Some(&(_, last)) = near.last().filter(|_| is_full(&near, NEAR)) {
        far = rows(db, by, turn.looked_up_to().max(last), now, FAR)?;
        up_to = far.last().filter(|_| is_full(&far, FAR)).map(|&(_, last)| last);
    }
    let accounts: Vec<AccountKey> = near.iter().chain(&far).map(|&(account, _)| account).collect();
    let due = turn.among(&accounts).and_then(|account| {
        [&near, &far].into_iter().find_map(|rows| {
            let (_, first) = rows.iter().find(|(of, _)| *of == account)?;
            Some(Due { account, span: [*first, rows.last()?.1] })
        })
    });
    Ok(Looked { due, up_to })
}

fn is_full(rows: &[(AccountKey, i64)], most: i64) -> bool {
    i64::try_from(rows.len()).is_ok_and(|count| count >= most)
}

fn rows(
    db: &Connection,
    by: ByTime,
    after: i64,
    now: Time,
    most: i64,
) -> Result<Vec<(AccountKey, i64)>, StoreError> {
    let (ByTime::Keys(sql) | ByTime::Accounts(sql)) = by;
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map([after, now.as_micros(), most], |row| {
        let key = row.get(0)?;
        let account = if matches!(by, ByTime::Keys(_)) { unpack(key).0 } else { AccountKey(key) };
        Ok((account, row.get(1)?))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
