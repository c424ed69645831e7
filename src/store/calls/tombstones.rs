//! Tombstones: what is left of a call when its record is removed, so that a body of it which comes once more is known as a
//! repeat. Without one a captured body, signed by a vendor that signs no time, would be accepted as new. The same for the
//! end of a batch that a vendor tells. Does not depend on why a record is removed, nor on what becomes of a repeat.
//!
//! A tombstone holds a digest of source and vendor's id under a key that is not in the database, and which steps were
//! received. It is written in the transaction that removes the record, and is deleted when the account's time for it is
//! over. Tombstones are numbered in the order of their removal, so the oldest lie in front.
//!
//! Every new call is asked for here, so the question has to be cheap. An account without tombstones says so in its head,
//! which a group has read anyway. For the others a filter in memory answers on SQLite, and on PostgreSQL the group asks in
//! the round trip in which it asks for its calls.

use std::cell::RefCell;
use std::collections::HashSet;
use std::time::Duration;

use ring::hmac;

use super::index_filter::{HashIndex, IndexFilter};
use crate::ledger::Received;
use crate::model::{AccountKey, Text, Time};
use crate::store::StoreError;
use crate::store::layout::keys::pack;
use crate::store::sql::Connection;
use crate::store::sql::bulk::Bulk;
use crate::store::vault::Vault;

/// The tombstones, and of each account for how long they stand, how many there were, and when the oldest is looked at.
pub const TABLES: &str = r"
-- hash and rest are the halves of a keyed digest, received is a set of steps. No id says whose record it was.
CREATE TABLE tombstones (
    id INTEGER PRIMARY KEY, hash INTEGER NOT NULL, rest INTEGER NOT NULL, received INTEGER NOT NULL,
    removed_at INTEGER NOT NULL
);
CREATE INDEX tombstones_by_hash ON tombstones (hash);
-- In microseconds; 30 days. tombstones counts all that there ever were, tombstones_at is NULL while there are none.
ALTER TABLE accounts ADD COLUMN repeat_memory INTEGER NOT NULL DEFAULT 2592000000000;
ALTER TABLE accounts ADD COLUMN tombstones INTEGER NOT NULL DEFAULT 0;
ALTER TABLE accounts ADD COLUMN tombstones_at INTEGER;
CREATE INDEX accounts_with_tombstones ON accounts (tombstones_at) WHERE tombstones_at IS NOT NULL;
";

/// Inserts a tombstone. The form for many rows, which only PostgreSQL runs, names the accounts that they belong to, by which
/// tables may be divided.
pub static INSERT_TOMBSTONE: Bulk = Bulk {
    one: "INSERT INTO tombstones (id, hash, rest, received, removed_at) VALUES (?, ?, ?, ?, ?)",
    many: "INSERT INTO tombstones (id, hash, rest, received, removed_at, account)
           SELECT *, id >> 40 FROM unnest(CAST(? AS BIGINT[]), CAST(? AS BIGINT[]), CAST(? AS BIGINT[]),
               CAST(? AS BIGINT[]), CAST(? AS BIGINT[])) AS t (id)",
};

/// The questions of a group for the tombstones of its bodies.
pub const OF_HASHES: &str =
    "SELECT hash, rest, received, removed_at FROM tombstones WHERE hash = ANY(?) AND account = ANY(?)";

/// How the index of digests is read.
const DIGESTS: HashIndex = HashIndex {
    page: "SELECT hash FROM tombstones WHERE hash > ? ORDER BY hash LIMIT ?",
    nth: "SELECT hash FROM tombstones ORDER BY hash LIMIT 1 OFFSET ?",
    bits: i64::BITS,
};

/// What a record was of, by the vendor's id.
#[derive(Clone, Copy)]
pub enum Of<'a> {
    /// A call.
    Call(&'a Text),
    /// A batch whose end a vendor told.
    Batch(&'a Text),
}

/// By what a removed record is known: 128 bits of an HMAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest {
    /// What it is found by.
    pub hash: i64,
    /// What tells it from others of the same hash.
    pub rest: i64,
}

impl Digest {
    /// The digest of a record of a source.
    pub fn of(vault: &Vault, source: i64, of: Of<'_>) -> Self {
        let (kind, id) = match of {
            Of::Call(id) => (b'c', id),
            Of::Batch(id) => (b'b', id),
        };
        let mut context = hmac::Context::with_key(vault.repeat_key());
        context.update(&[kind]);
        context.update(&source.to_be_bytes());
        context.update(id.as_bytes());
        let tag = context.sign();
        let half = |from: usize| {
            let bytes = tag.as_ref()[from..].first_chunk::<8>().expect("SHA-256 has 32 bytes");
            i64::from_be_bytes(*bytes)
        };
        Self { hash: half(0), rest: half(8) }
    }
}

/// A tombstone as it was found by its hash.
#[derive(Clone, Copy, Debug)]
pub struct Tombstone {
    /// The rest of its digest.
    pub rest: i64,
    /// What was received.
    pub received: Received,
    /// When the record was removed, in microseconds.
    pub removed_at: i64,
}

/// What is known of tombstones without asking the database. Lives on a writer thread.
#[derive(Debug)]
pub struct Tombstones {
    /// Which digests there are on SQLite.
    pub filter: RefCell<IndexFilter>,
    /// The accounts that had some when their heads were read last.
    accounts: RefCell<HashSet<AccountKey>>,
}

impl Default for Tombstones {
    fn default() -> Self {
        Self { filter: RefCell::new(IndexFilter::of(DIGESTS)), accounts: RefCell::default() }
    }
}

impl Tombstones {
    /// Whether an account has some, as far as is known.
    pub fn are_in(&self, account: AccountKey) -> bool {
        self.accounts.borrow().contains(&account)
    }

    /// An account's head was read.
    pub fn note(&self, account: AccountKey, has_tombstones: bool) {
        let mut accounts = self.accounts.borrow_mut();
        match has_tombstones {
            true => accounts.insert(account),
            false => accounts.remove(&account),
        };
    }

    /// One step of reading the filter; true when there is more.
    pub fn tend(&self, db: &Connection) -> Result<bool, StoreError> {
        self.filter.borrow_mut().tend(db)
    }
}

/// The moment that lies this long before another.
pub fn before(now: Time, length: Duration) -> i64 {
    now.as_micros().saturating_sub(i64::try_from(length.as_micros()).unwrap_or(i64::MAX))
}

/// The keys between which those of an account lie.
pub fn all_of(account: AccountKey) -> [i64; 2] {
    [pack(account, 0), pack(AccountKey(account.0 + 1), 0)]
}

/// Deletes the tombstones of an account up to this one; `first` is the key before its first.
pub fn delete(db: &Connection, first: i64, last: i64) -> Result<(), StoreError> {
    db.prepare_cached("DELETE FROM tombstones WHERE id > ? AND id <= ? /*account of ?1*/")?
        .execute([first, last])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_of_one_source_one_kind_and_one_id_under_one_key() {
        let [vault, other] = [[1; 32], [2; 32]].map(Vault::new);
        let [a, b] = ["a", "b"].map(Text::from);
        let digest = Digest::of(&vault, 7, Of::Call(&a));
        assert_eq!(Digest::of(&Vault::new([1; 32]), 7, Of::Call(&a)), digest, "also after a restart");
        let others = [
            Digest::of(&vault, 8, Of::Call(&a)),
            Digest::of(&vault, 7, Of::Call(&b)),
            Digest::of(&vault, 7, Of::Batch(&a)),
            Digest::of(&other, 7, Of::Call(&a)),
        ];
        for strange in others {
            assert!(strange.hash != digest.hash && strange.rest != digest.rest, "{strange:?}");
        }
    }

    #[test]
    fn the_tables_have_the_default() {
        use crate::model::account::REPEAT_MEMORY;
        assert!(TABLES.contains(&format!("DEFAULT {};", REPEAT_MEMORY.as_micros())));
    }
}
