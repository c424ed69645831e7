//! Where a call is found by its vendor's id. Recent calls are found in memory; older ones are filed in an index on disk.
//! Refuses to know what a call is beyond its hash and its key, and whether a found one is the right one.
//!
//! Hashes are random, so each new call would change a page of the index of its own, and the larger the index, the more
//! so. Instead a hand goes round the hashes: each commit that adds calls files as many of those that come next, from the
//! hand on, when more are recent than should be. The hand sweeps up in one place what came in during a whole round, so a
//! page takes many at once. What is recent is never on its way anywhere: it is filed in the same transaction as
//! everything else, and a call that a crash left in both places is filed once more, which changes nothing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, params};

use super::schema::{pack, unpack};
use crate::model::{AccountKey, Text};
use crate::store::StoreError;

/// Calls that are recent when an index of some million is cheap to keep: 8 MiB, and half a second of a start.
pub const RECENT: usize = 1 << 18;
/// How much more may be recent after a start, which cannot tell what was filed since the last mark.
const MOST_AT_START: usize = 3;
/// Stretches of a round. At the end of each, what was recent when the hand was last here is marked as filed.
const STRETCHES: usize = 16;
/// Bits of a hash that say on which stretch it lies.
const STRETCH_BITS: u32 = STRETCHES.ilog2();
/// Bits of a filed hash: enough that a wrong call is looked at once in thousands of times in a store of a million.
const HASH_BITS: u32 = 32;

/// A hash, cut short, and a call's key.
type Entry = (i64, i64);

/// The hash under which a call is found; collisions are told apart by the row itself.
pub fn call_hash(source: i64, call_id: &Text) -> i64 {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    context.update(&source.to_be_bytes());
    context.update(call_id.as_bytes());
    let digest = context.finish();
    let first = digest.as_ref().first_chunk::<8>().expect("SHA-256 has 32 bytes");
    i64::from_be_bytes(*first)
}

/// The part of a hash that is kept here, as the third migration cuts it, too.
fn short(hash: i64) -> i64 {
    hash >> (i64::BITS - HASH_BITS)
}

/// On which stretch of a round a hash lies. The first one begins at the least hash.
fn stretch((hash, _): Entry) -> usize {
    let from_least = hash - short(i64::MIN);
    usize::try_from(from_least >> (HASH_BITS - STRETCH_BITS)).unwrap_or(0)
}

/// The calls that need not be filed yet. Everybody may look; only a commit changes it.
#[derive(Debug, Default)]
pub struct Recent(Mutex<BTreeSet<Entry>>);

impl Recent {
    fn entries(&self) -> MutexGuard<'_, BTreeSet<Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The recent calls of a hash. Who reads the index as well begins that snapshot afterwards: what is filed in between
    /// is then found twice rather than never.
    pub fn of(&self, hash: i64) -> Vec<i64> {
        let hash = short(hash);
        self.entries().range((hash, i64::MIN)..=(hash, i64::MAX)).map(|&(_, call)| call).collect()
    }
}

/// The calls of a hash that are filed.
pub fn filed(db: &Connection, hash: i64) -> Result<Vec<i64>, StoreError> {
    let mut statement = db.prepare_cached("SELECT call FROM call_hashes WHERE hash = ?")?;
    let calls = statement.query_map([short(hash)], |row| row.get(0))?;
    Ok(calls.collect::<Result<_, _>>()?)
}

/// The index with all that is recent. Lives with the writer.
#[derive(Debug)]
pub struct CallIndex {
    recent: Arc<Recent>,
    /// How many may be recent before some are filed.
    capacity: usize,
    /// What was filed last.
    hand: Entry,
    /// The newest call of each account that came since the last stretch began.
    heads: BTreeMap<AccountKey, i64>,
    /// The same for earlier stretches, a round at the most; the oldest first.
    passed: VecDeque<BTreeMap<AccountKey, i64>>,
}

/// What a transaction changes. It comes about with the commit, and without one there is no trace of it.
#[derive(Debug, Default)]
pub struct Changes {
    added: Vec<Entry>,
    removed: BTreeSet<Entry>,
    filed: Vec<Entry>,
}

impl Changes {
    /// A new call.
    pub fn add(&mut self, hash: i64, call: i64) {
        self.added.push((short(hash), call));
    }

    /// A call is gone.
    pub fn remove(&mut self, db: &Connection, hash: i64, call: i64) -> Result<(), StoreError> {
        let entry = (short(hash), call);
        db.prepare_cached("DELETE FROM call_hashes WHERE hash = ? AND call = ?")?
            .execute([entry.0, entry.1])?;
        self.removed.insert(entry);
        Ok(())
    }
}

impl CallIndex {
    /// Finds out which calls are recent. Many starts one after the other can leave more than there should be; those are
    /// filed at once.
    pub fn load(db: &Connection, capacity: usize) -> Result<Self, StoreError> {
        let accounts: Vec<(i64, i64)> = db
            .prepare("SELECT account, calls_filed FROM accounts WHERE calls > calls_filed")?
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<_, _>>()?;
        let (mut entries, mut heads): (Vec<Entry>, _) = (Vec::new(), BTreeMap::new());
        let mut statement = db.prepare("SELECT hash, id FROM calls WHERE id > ? AND id < ? ORDER BY id")?;
        for (account, filed) in accounts {
            let account = AccountKey(account);
            let end = pack(AccountKey(account.0 + 1), 0);
            let mut rows = statement.query([pack(account, filed), end])?;
            while let Some(row) = rows.next()? {
                let call: i64 = row.get(1)?;
                entries.push((short(row.get(0)?), call));
                heads.insert(account, unpack(call).1);
            }
        }
        if entries.len() > capacity.saturating_mul(MOST_AT_START) {
            entries.sort_unstable();
            db.execute_batch("BEGIN IMMEDIATE")?;
            let filed = file(db, &entries).and_then(|()| mark(db, &heads));
            db.execute_batch(if filed.is_ok() { "COMMIT" } else { "ROLLBACK" })?;
            filed?;
            (entries, heads) = Default::default();
        }
        Ok(Self {
            recent: Arc::new(Recent(Mutex::new(entries.into_iter().collect()))),
            capacity,
            hand: (short(i64::MIN), i64::MIN),
            heads,
            passed: VecDeque::new(),
        })
    }

    /// What is recent, for those who read.
    pub fn recent(&self) -> Arc<Recent> {
        Arc::clone(&self.recent)
    }

    /// The first call of a hash for which `look` gives something.
    pub fn find<T>(
        &self,
        db: &Connection,
        hash: i64,
        mut look: impl FnMut(i64) -> Result<Option<T>, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        let found = self.recent.of(hash).into_iter().find_map(|call| look(call).transpose());
        match found {
            Some(found) => found.map(Some),
            None => filed(db, hash)?.into_iter().find_map(|call| look(call).transpose()).transpose(),
        }
    }

    /// Files what comes next, before a commit: twice as many as are added while there are too many, so that it never
    /// becomes more, and no commit is much longer than it was.
    pub fn settle(&self, db: &Connection, changes: &mut Changes) -> Result<(), StoreError> {
        {
            let recent = self.recent.entries();
            let surplus = recent.len().saturating_sub(self.capacity);
            let next = recent.range((Excluded(self.hand), Unbounded)).chain(recent.range(..=self.hand));
            changes.filed.extend(next.take(surplus.min(2 * changes.added.len())));
        }
        file(db, changes.filed.iter().filter(|entry| !changes.removed.contains(entry)))?;
        let full = (self.passed.len() + self.ended(changes)).saturating_sub(STRETCHES);
        self.passed.iter().take(full).try_for_each(|heads| mark(db, heads))
    }

    /// How many stretches end with these changes.
    fn ended(&self, changes: &Changes) -> usize {
        let last = changes.filed.last().copied().unwrap_or(self.hand);
        (stretch(last) + STRETCHES - stretch(self.hand)) % STRETCHES
    }

    /// Takes in what was committed.
    pub fn apply(&mut self, changes: Changes) {
        for _ in 0..self.ended(&changes) {
            self.passed.push_back(std::mem::take(&mut self.heads));
        }
        self.passed.drain(..self.passed.len().saturating_sub(STRETCHES));
        self.hand = changes.filed.last().copied().unwrap_or(self.hand);
        for &(_, call) in &changes.added {
            let (account, number) = unpack(call);
            let head = self.heads.entry(account).or_default();
            *head = number.max(*head);
        }
        let mut recent = self.recent.entries();
        for entry in changes.filed.iter().chain(&changes.removed) {
            recent.remove(entry);
        }
        recent.extend(changes.added);
    }
}

fn file<'a>(db: &Connection, entries: impl IntoIterator<Item = &'a Entry>) -> Result<(), StoreError> {
    let mut statement = db.prepare_cached("INSERT OR IGNORE INTO call_hashes (hash, call) VALUES (?, ?)")?;
    for entry in entries {
        statement.execute(params![entry.0, entry.1])?;
    }
    Ok(())
}

/// Marks that the calls up to these are filed.
fn mark(db: &Connection, heads: &BTreeMap<AccountKey, i64>) -> Result<(), StoreError> {
    let mut statement = db.prepare_cached("UPDATE accounts SET calls_filed = ? WHERE account = ?")?;
    for (account, number) in heads {
        statement.execute([*number, account.0])?;
    }
    Ok(())
}
