//! A filter that knows which hashes an index of the database surely does not have. It is read from the index in small steps,
//! after a start and when it has become too small; until then every hash may be there. Does not depend on what the index
//! is of.

use super::filter::Filter;
use crate::store::StoreError;
use crate::store::sql::{Connection, OptionalExtension, params};

/// Hashes that one step reads: a few milliseconds.
pub const STEP: i64 = 10_000;
/// How many of the least hashes tell how many there are, as they are spread evenly.
const SAMPLE: i64 = 1000;

/// An index of hashes, and how it is read.
#[derive(Clone, Copy, Debug)]
pub struct HashIndex {
    /// The hashes after one, in order, as many as a limit says: `hash > ? ORDER BY hash LIMIT ?`.
    pub page: &'static str,
    /// The hash after so many: `ORDER BY hash LIMIT 1 OFFSET ?`.
    pub nth: &'static str,
    /// Bits of a hash.
    pub bits: u32,
}

/// The filter of an index.
#[derive(Debug)]
pub struct IndexFilter {
    index: HashIndex,
    /// What the index has; nothing is known until it was read.
    filter: Option<Filter>,
    /// Its successor, and up to which hash that was read.
    next: Option<(Filter, i64)>,
}

impl IndexFilter {
    /// One that has read nothing.
    pub fn of(index: HashIndex) -> Self {
        Self { index, filter: None, next: None }
    }

    /// False if the index surely does not have the hash.
    pub fn may_have(&self, hash: i64) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.may_have(hash))
    }

    /// The index has a hash more. A hash that it does not have after all costs a look now and then.
    pub fn add(&mut self, hash: i64) {
        let filters = self.filter.iter_mut().chain(self.next.as_mut().map(|(filter, _)| filter));
        filters.for_each(|filter| filter.add(hash));
    }

    /// One step towards a filter that knows more; true when there is more to read. What is added meanwhile is added to the
    /// old and the new one, wherever the reading has got to.
    pub fn tend(&mut self, db: &Connection) -> Result<bool, StoreError> {
        if self.next.is_none() {
            if self.filter.as_ref().is_some_and(|filter| !filter.is_crowded()) {
                return Ok(false);
            }
            self.next = Some((Filter::of(self.estimate(db)?), i64::MIN));
        }
        let Some((filter, read)) = &mut self.next else { return Ok(false) };
        let mut statement = db.prepare_cached(self.index.page)?;
        let mut rows = statement.query(params![*read, STEP])?;
        let (mut count, mut last) = (0, *read);
        while let Some(row) = rows.next()? {
            // Those of the last hash may go on beyond the step, and are the same to the filter.
            last = row.get(0)?;
            filter.add(last);
            count += 1;
        }
        *read = last;
        if count < STEP {
            self.filter = self.next.take().map(|(filter, _)| filter);
        }
        Ok(count == STEP)
    }

    /// About how many hashes the index has.
    fn estimate(&self, db: &Connection) -> Result<usize, StoreError> {
        let hash: Option<i64> =
            db.prepare_cached(self.index.nth)?.query_row([SAMPLE], |row| row.get(0)).optional()?;
        let Some(hash) = hash else { return Ok(0) };
        let least = i64::MIN >> (i64::BITS - self.index.bits);
        let width = (i128::from(hash) - i128::from(least)).max(1);
        Ok(usize::try_from((i128::from(SAMPLE) << self.index.bits) / width).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BITS: [u32; 2] = [32, 64];

    /// An index with so many hashes, spread evenly.
    fn index(bits: u32, count: i64) -> (Connection, IndexFilter) {
        let db = rusqlite::Connection::open_in_memory().unwrap();
        db.execute_batch("CREATE TABLE hashes (hash INTEGER PRIMARY KEY)").unwrap();
        let db = Connection::Sqlite(db);
        for n in 0..count {
            db.execute("INSERT INTO hashes VALUES (?)", [hash(bits, n)]).unwrap();
        }
        let page = "SELECT hash FROM hashes WHERE hash > ? ORDER BY hash LIMIT ?";
        let nth = "SELECT hash FROM hashes ORDER BY hash LIMIT 1 OFFSET ?";
        (db, IndexFilter::of(HashIndex { page, nth, bits }))
    }

    fn hash(bits: u32, n: i64) -> i64 {
        n.wrapping_mul(0x5851_f42d_4c95_7f2d) >> (i64::BITS - bits)
    }

    #[test]
    fn the_number_of_hashes_is_estimated_from_the_least() {
        for bits in BITS {
            let (db, filter) = index(bits, 20_000);
            let known = filter.estimate(&db).unwrap();
            assert!((18_000..22_000).contains(&known), "{bits}: {known}");
            let (db, filter) = index(bits, 10);
            assert_eq!(filter.estimate(&db), Ok(0), "few enough for the smallest filter");
        }
    }

    #[test]
    fn it_is_read_in_steps_and_knows_what_is_added_meanwhile() {
        for bits in BITS {
            let many = 2 * STEP + 10;
            let (db, mut filter) = index(bits, many);
            let mut steps = 1;
            while filter.tend(&db).unwrap() {
                assert!(filter.may_have(hash(bits, -1)), "before it is read nothing is known");
                filter.add(hash(bits, many + steps));
                steps += 1;
            }
            assert_eq!(steps, 3);
            for n in (0..many).chain(many + 1..many + steps) {
                assert!(filter.may_have(hash(bits, n)), "{n}");
            }
            let strange = (1..1000i64).filter(|n| filter.may_have(hash(bits, -n)));
            assert!(strange.count() < 100, "most are known not to be there");
            assert_eq!(filter.tend(&db), Ok(false));
        }
    }
}
