//! Where a call is found by its vendor's id. Recent calls are found in memory; older ones are filed in an index on disk.
//! Refuses to know what a call is beyond its hash and its key, and whether a found one is the right one.
//!
//! Hashes are random, so each new call would change a page of the index of its own, and the larger the index, the more
//! so. Instead a hand goes round the hashes: each commit that adds calls files as many of those that come next, from the
//! hand on, when more are recent than should be. The hand sweeps up in one place what came in during a whole round, so a
//! page takes many at once. What is recent is never on its way anywhere: it is filed in the same transaction as
//! everything else, and a call that a crash left in both places is filed once more, which changes nothing.
//!
//! Most calls are new, so a filter in memory knows which hashes were surely never filed (`index_filter`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::index_filter::{HashIndex, IndexFilter};
use crate::model::{AccountKey, Text};
use crate::store::StoreError;
use crate::store::config::account_row;
use crate::store::layout::keys::{pack, unpack};
use crate::store::sql::{Connection, params};

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

/// How filed hashes are read.
const FILED: HashIndex = HashIndex {
    page: "SELECT hash FROM call_hashes WHERE hash > ? ORDER BY hash LIMIT ?",
    nth: "SELECT hash FROM call_hashes ORDER BY hash LIMIT 1 OFFSET ?",
    bits: HASH_BITS,
};

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

/// The calls of a hash that are filed, of the account that has this source.
pub fn filed(db: &Connection, hash: i64, source: i64) -> Result<Vec<i64>, StoreError> {
    let (sql, hash) = match db.files_hashes() {
        true => ("SELECT call FROM call_hashes WHERE hash = ?1", short(hash)),
        false => ("SELECT id FROM calls WHERE hash = ?1 AND account = @2", hash),
    };
    let mut statement = db.prepare_cached(sql)?;
    let calls = statement.query_map([hash, source], |row| row.get(0))?;
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
    /// What was never filed.
    filter: IndexFilter,
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
        if !db.files_hashes() {
            return Ok(());
        }
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
            .prepare_cached("SELECT account, calls_filed FROM accounts WHERE calls > calls_filed")?
            .query_map((), |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<_, _>>()?;
        let (mut entries, mut heads): (Vec<Entry>, _) = (Vec::new(), BTreeMap::new());
        let mut statement =
            db.prepare_cached("SELECT hash, id FROM calls WHERE id > ? AND id < ? ORDER BY id")?;
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
            let filed = file(db, &entries).and_then(|()| account_row::set_filed_calls(db, &heads));
            db.execute_batch(if filed.is_ok() { "COMMIT" } else { "ROLLBACK" })?;
            filed?;
            (entries, heads) = Default::default();
        }
        let mut index = Self {
            recent: Arc::new(Recent(Mutex::new(entries.into_iter().collect()))),
            capacity,
            hand: (short(i64::MIN), i64::MIN),
            heads,
            passed: VecDeque::new(),
            filter: IndexFilter::of(FILED),
        };
        index.tend(db)?;
        Ok(index)
    }

    /// An index of nothing: the table has one of its own.
    pub fn in_the_table() -> Self {
        Self {
            recent: Arc::default(),
            capacity: 0,
            hand: (short(i64::MIN), i64::MIN),
            heads: BTreeMap::new(),
            passed: VecDeque::new(),
            filter: IndexFilter::of(FILED),
        }
    }

    /// What is recent, for those who read.
    pub fn recent(&self) -> Arc<Recent> {
        Arc::clone(&self.recent)
    }

    /// The first call of a hash for which `look` gives something, of the account that has this source.
    pub fn find<T>(
        &self,
        db: &Connection,
        hash: i64,
        source: i64,
        mut look: impl FnMut(i64) -> Result<Option<T>, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        let found = self.recent.of(hash).into_iter().find_map(|call| look(call).transpose());
        match found {
            Some(found) => found.map(Some),
            None if !self.filter.may_have(short(hash)) => Ok(None),
            None => filed(db, hash, source)?.into_iter().find_map(|call| look(call).transpose()).transpose(),
        }
    }

    /// Files what comes next, before a commit: twice as many as are added while there are too many, so that it never
    /// becomes more, and no commit is much longer than it was.
    pub fn settle(&self, db: &Connection, changes: &mut Changes) -> Result<(), StoreError> {
        if !db.files_hashes() {
            // The table's own index knows each call as soon as it is there; memory has to remember none.
            changes.added.clear();
            return Ok(());
        }
        {
            let recent = self.recent.entries();
            let surplus = recent.len().saturating_sub(self.capacity);
            let next = recent.range((Excluded(self.hand), Unbounded)).chain(recent.range(..=self.hand));
            changes.filed.extend(next.take(surplus.min(2 * changes.added.len())));
        }
        file(db, changes.filed.iter().filter(|entry| !changes.removed.contains(entry)))?;
        let full = (self.passed.len() + self.ended(changes)).saturating_sub(STRETCHES);
        self.passed.iter().take(full).try_for_each(|heads| account_row::set_filed_calls(db, heads))
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
        changes.filed.iter().for_each(|&(hash, _)| self.filter.add(hash));
        let mut recent = self.recent.entries();
        for entry in changes.filed.iter().chain(&changes.removed) {
            recent.remove(entry);
        }
        recent.extend(changes.added);
    }
}

impl CallIndex {
    /// One step towards a filter that knows more; true when there is more to read.
    pub fn tend(&mut self, db: &Connection) -> Result<bool, StoreError> {
        self.filter.tend(db)
    }
}

fn file<'a>(db: &Connection, entries: impl IntoIterator<Item = &'a Entry>) -> Result<(), StoreError> {
    let mut statement =
        db.prepare_cached("INSERT INTO call_hashes (hash, call) VALUES (?, ?) ON CONFLICT DO NOTHING")?;
    for entry in entries {
        statement.execute(params![entry.0, entry.1])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::calls::index_filter::STEP;
    use crate::store::sqlite::migrated;

    const CAPACITY: usize = 8;

    /// A store with two accounts, and beside it what a plain map knows of it.
    struct Books {
        db: Connection,
        index: CallIndex,
        hashes: BTreeMap<i64, i64>,
        /// The number of each account's newest call.
        calls: [i64; 2],
    }

    impl Books {
        fn new() -> Self {
            let db = migrated();
            for account in 0..2 {
                let sql = "INSERT INTO accounts (account, tag, name, created_at) VALUES (?1, ?1, ?1, 0)";
                db.execute(sql, [account]).unwrap();
            }
            let index = CallIndex::load(&db, CAPACITY).unwrap();
            Self { db, index, hashes: BTreeMap::new(), calls: [0; 2] }
        }

        /// One transaction: calls of these hashes come, and some that are there go.
        fn write(&mut self, add: &[i64], remove: &[usize], is_committed: bool) {
            let (hashes, calls) = (self.hashes.clone(), self.calls);
            let mut changes = Changes::default();
            self.db.execute_batch("BEGIN").unwrap();
            for at in remove.iter().filter(|_| !hashes.is_empty()) {
                let (&call, &hash) = hashes.iter().nth(at % hashes.len()).unwrap();
                self.db.execute("DELETE FROM calls WHERE id = ?", [call]).unwrap();
                changes.remove(&self.db, hash, call).unwrap();
                self.hashes.remove(&call);
            }
            for &hash in add {
                let account = usize::from(hash % 3 == 0);
                self.calls[account] += 1;
                let (key, number) = (i64::try_from(account).unwrap(), self.calls[account]);
                let call = pack(AccountKey(key), number);
                let sql = "INSERT INTO calls (id, hash, source, vendor_id, event, marks, updated_at)
                           VALUES (?, ?, 1, x'', 1, x'', 0)";
                self.db.execute(sql, [call, hash]).unwrap();
                self.db.execute("UPDATE accounts SET calls = ? WHERE account = ?", [number, key]).unwrap();
                changes.add(hash, call);
                self.hashes.insert(call, hash);
            }
            self.index.settle(&self.db, &mut changes).unwrap();
            self.db.execute_batch(if is_committed { "COMMIT" } else { "ROLLBACK" }).unwrap();
            if is_committed {
                self.index.apply(changes);
            } else {
                (self.hashes, self.calls) = (hashes, calls);
            }
        }

        fn start(&mut self) {
            self.index = CallIndex::load(&self.db, CAPACITY).unwrap();
        }

        fn recent(&self) -> usize {
            self.index.recent.entries().len()
        }

        /// The keys that are found under a hash, each as often as it is found.
        fn found(&self, hash: i64) -> Vec<i64> {
            let mut found = Vec::new();
            let note = |call| {
                found.push(call);
                Ok(None::<()>)
            };
            self.index.find(&self.db, hash, 0, note).unwrap();
            found.sort_unstable();
            found
        }

        fn check(&self, may_be_twice: bool) {
            for hash in (i8::MIN..=i8::MAX).map(hash_of) {
                let mut found = self.found(hash);
                if may_be_twice {
                    found.dedup();
                }
                let known = self.hashes.iter().filter(|(_, of)| **of == hash).map(|(&call, _)| call);
                assert_eq!(found, known.collect::<Vec<_>>(), "under {hash}");
            }
            for (&call, &hash) in &self.hashes {
                let (account, number) = unpack(call);
                if number <= self.mark(account.0) {
                    assert!(filed(&self.db, hash, 0).unwrap().contains(&call), "{number} is marked as filed");
                }
            }
        }

        fn mark(&self, account: i64) -> i64 {
            let sql = "SELECT calls_filed FROM accounts WHERE account = ?";
            self.db.sqlite().query_row(sql, [account], |row| row.get(0)).unwrap()
        }
    }

    /// A hash out of few, spread over all of them.
    fn hash_of(number: i8) -> i64 {
        i64::from(number & !3) << 56
    }

    #[derive(Clone, Debug)]
    enum Action {
        Write { add: Vec<i8>, remove: Vec<usize>, is_committed: bool },
        Start,
    }

    fn action() -> impl Strategy<Value = Action> {
        let add = prop::collection::vec(any::<i8>(), 0..12);
        let remove = prop::collection::vec(any::<usize>(), 0..3);
        let write = (add, remove, prop::bool::weighted(0.8))
            .prop_map(|(add, remove, is_committed)| Action::Write { add, remove, is_committed });
        prop_oneof![9 => write, 1 => Just(Action::Start)]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn every_call_is_found_whatever_happens(actions in prop::collection::vec(action(), 1..60)) {
            let (mut books, mut has_started) = (Books::new(), false);
            for action in actions {
                match action {
                    Action::Write { add, remove, is_committed } => {
                        let add: Vec<i64> = add.into_iter().map(hash_of).collect();
                        let most = books.recent().max(CAPACITY) + add.len();
                        books.write(&add, &remove, is_committed);
                        prop_assert!(books.recent() <= most, "memory is bounded");
                    }
                    Action::Start => {
                        has_started = true;
                        books.start();
                        prop_assert!(books.recent() <= CAPACITY * MOST_AT_START);
                    }
                }
                books.check(has_started);
            }
        }
    }

    #[test]
    fn what_is_recent_stays_little_and_so_does_a_start() {
        let mut books = Books::new();
        // Numbers that jump about as hashes do; all of them of one account.
        let mut hashes = (1i64..).map(|n| n.wrapping_mul(0x5851_f42d_4c95_7f2d)).filter(|hash| hash % 3 != 0);
        let mut next = |count| hashes.by_ref().take(count).collect::<Vec<_>>();
        for _ in 0..500 {
            books.write(&next(4), &[], true);
            assert!(books.recent() <= CAPACITY + 4);
        }
        // A round files twice as many as there is room for.
        let beyond = books.calls[0] - books.mark(0);
        assert!(beyond < 4 * i64::try_from(CAPACITY).unwrap(), "{beyond} calls are beyond the mark");
        books.start();
        for _ in 0..4 * CAPACITY {
            books.write(&next(1), &[], true);
        }
        assert_eq!(books.recent(), CAPACITY + 1, "what a start found too many is filed by and by");
    }

    /// A filter that is read in steps knows what was filed before and meanwhile; until then nothing is passed over.
    #[test]
    fn a_filter_is_read_while_calls_come() {
        let mut books = Books::new();
        let mut hashes = (1i64..).map(|n| n.wrapping_mul(0x5851_f42d_4c95_7f2d));
        for _ in 0..3 {
            let many: Vec<i64> = hashes.by_ref().take(usize::try_from(STEP).unwrap()).collect();
            books.write(&many, &[], true);
        }
        books.start();
        let mut taken = 0;
        loop {
            let many: Vec<i64> = hashes.by_ref().take(50).collect();
            books.write(&many, &[], true);
            taken += 1;
            if !books.index.tend(&books.db).unwrap() {
                break;
            }
        }
        assert!(taken >= 2, "a step does not read all");
        for (&call, &hash) in &books.hashes {
            assert_eq!(books.found(hash), [call]);
        }
        let strange = hashes.take(1000).filter(|&hash| books.index.filter.may_have(short(hash)));
        assert!(strange.count() < 100, "most are known to be new");
    }

    #[test]
    fn many_starts_leave_no_more_than_one() {
        let mut books = Books::new();
        for _ in 0..20 {
            books.start();
            books.write(&(0..4).map(hash_of).collect::<Vec<_>>(), &[], true);
            assert!(books.recent() <= CAPACITY * MOST_AT_START + 4);
        }
        books.check(true);
    }

    #[test]
    fn a_recent_call_hides_no_filed_one_of_the_same_hash() {
        let mut books = Books::new();
        for _ in 0..3 * CAPACITY {
            books.write(&[hash_of(4)], &[], true);
        }
        assert!(!filed(&books.db, hash_of(4), 0).unwrap().is_empty());
        books.check(false);
    }
}
