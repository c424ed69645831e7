//! The tombstones of a transaction: those that it asks for, and those that it leaves of what it removes. Whether some were
//! prefetched is known here alone. Does not depend on what becomes of a repeat.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::tombstones::{Digest, INSERT_TOMBSTONE, Tombstone, Tombstones, all_of};
use crate::ledger::Received;
use crate::model::AccountKey;
use crate::store::StoreError;
use crate::store::config::account_row;
use crate::store::layout::keys::pack;
use crate::store::sql::Rows;
use crate::store::tx::transaction::Tx;

/// The tombstones that a transaction knows and leaves.
pub struct TombstoneSet<'a> {
    /// What is known without asking the database.
    pub memory: &'a Tombstones,
    /// Those of each hash that was prefetched by.
    prefetched: HashMap<i64, Vec<Tombstone>>,
    /// What is removed, and what was received of it.
    buried: BTreeMap<AccountKey, Vec<(Digest, Received)>>,
}

impl<'a> TombstoneSet<'a> {
    /// None yet.
    pub fn new(memory: &'a Tombstones) -> Self {
        Self { memory, prefetched: HashMap::new(), buried: BTreeMap::new() }
    }

    /// All tombstones of these hashes were prefetched.
    pub fn prefetched(&mut self, asked: Vec<i64>, mut found: Rows<'static>) -> Result<(), StoreError> {
        self.prefetched.extend(asked.into_iter().map(|hash| (hash, Vec::new())));
        while let Some(row) = found.next()? {
            let received = Received::from_bits(row.get(2)?);
            let tombstone = Tombstone { rest: row.get(1)?, received, removed_at: row.get(3)? };
            self.prefetched.entry(row.get(0)?).or_default().push(tombstone);
        }
        Ok(())
    }

    /// The tombstones of an account under a hash.
    pub fn of_hash(&self, tx: &Tx<'_>, account: AccountKey, hash: i64) -> Result<Vec<Tombstone>, StoreError> {
        if let Some(known) = self.prefetched.get(&hash) {
            return Ok(known.clone());
        }
        let is_near = tx.db.postgres().is_none();
        if is_near && !self.memory.filter.borrow().may_have(hash) {
            return Ok(Vec::new());
        }
        let mut statement = tx.db.prepare_cached(
            "SELECT rest, received, removed_at FROM tombstones
             WHERE hash = ? AND id > ? AND id < ? /*account of ?2*/",
        )?;
        let [first, end] = all_of(account);
        let found = statement.query_map([hash, first, end], |row| {
            let received = Received::from_bits(row.get(1)?);
            Ok(Tombstone { rest: row.get(0)?, received, removed_at: row.get(2)? })
        })?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    /// A record is removed in this transaction, and this was received of it.
    pub fn bury(&mut self, account: AccountKey, digest: Digest, received: Received) {
        self.buried.entry(account).or_default().push((digest, received));
    }

    /// The accounts in which something is removed.
    pub fn accounts(&self) -> Vec<AccountKey> {
        self.buried.keys().copied().collect()
    }

    /// Writes the tombstones of what is removed from an account, which remembers it for so long.
    pub fn write(&mut self, tx: &Tx<'_>, account: AccountKey, kept: Duration) -> Result<(), StoreError> {
        let buried = self.buried.remove(&account).unwrap_or_default();
        let count = i64::try_from(buried.len()).unwrap_or(0);
        let last = account_row::add_tombstones(tx.db, account, count, tx.now.after(kept))?;
        for (number, (Digest { hash, rest }, received)) in (last - count + 1..).zip(buried) {
            let id = pack(account, number);
            tx.db.bulk(&INSERT_TOMBSTONE, [id, hash, rest, received.bits(), tx.now.as_micros()])?;
            self.memory.filter.borrow_mut().add(hash);
        }
        Ok(())
    }
}
