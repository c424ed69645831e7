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

use super::ahead::Known;
use super::due::ByTime;
use super::index_filter::{HashIndex, IndexFilter};
use super::keys::{pack, unpack};
use super::record::Recording;
use super::retention;
use super::rows::INSERT_TOMBSTONE;
use crate::ledger::Received;
use crate::model::{AccountKey, Text, Time};
use crate::store::StoreError;
use crate::store::sql::{Connection, params};
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

/// Rows that one step deletes at most.
const STEP: i64 = 200;

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
    filter: RefCell<IndexFilter>,
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

impl Recording<'_> {
    /// What was received of a record before it was removed, as far as that is remembered.
    pub(super) fn received_before(&mut self, source: i64, of: Of<'_>) -> Result<Received, StoreError> {
        let account = unpack(source).0;
        if !self.head(account)?.has_tombstones {
            return Ok(Received::default());
        }
        let kept = self.config(account)?.account.repeat_memory;
        let digest = Digest::of(self.known.vault, source, of);
        let found = match self.ahead.tombstones(digest.hash) {
            Known::Is(found) => found,
            Known::Unknown => self.find_tombstones(account, digest.hash)?,
        };
        let since = before(self.now, kept);
        let stand =
            found.iter().filter(|it| it.rest == digest.rest && it.removed_at > since && !kept.is_zero());
        Ok(stand.fold(Received::default(), |all, it| all.and(it.received)))
    }

    fn find_tombstones(&self, account: AccountKey, hash: i64) -> Result<Vec<Tombstone>, StoreError> {
        let is_near = self.db.postgres().is_none();
        if is_near && !self.known.tombstones.filter.borrow().may_have(hash) {
            return Ok(Vec::new());
        }
        let mut statement = self.db.prepare_cached(
            "SELECT rest, received, removed_at FROM tombstones
             WHERE hash = ? AND id > ? AND id < ? /*! AND account = @2 */",
        )?;
        let [first, end] = all_of(account);
        let found = statement.query_map([hash, first, end], |row| {
            let received = Received::from_bits(row.get(1)?);
            Ok(Tombstone { rest: row.get(0)?, received, removed_at: row.get(2)? })
        })?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    /// A record is removed in this transaction, and this was received of it.
    pub(super) fn bury(&mut self, source: i64, of: Of<'_>, received: Received) -> Result<(), StoreError> {
        let account = unpack(source).0;
        if !received.is_empty() && !self.config(account)?.account.repeat_memory.is_zero() {
            let digest = Digest::of(self.known.vault, source, of);
            self.buried.entry(account).or_default().push((digest, received));
        }
        Ok(())
    }

    /// Writes the tombstones of what is removed.
    pub(super) fn write_tombstones(&mut self) -> Result<(), StoreError> {
        let (db, now) = (self.db, self.now);
        for (account, buried) in std::mem::take(&mut self.buried) {
            let kept = self.config(account)?.account.repeat_memory;
            let count = i64::try_from(buried.len()).unwrap_or(0);
            let last: i64 = db
                .prepare_cached(
                    "UPDATE accounts SET tombstones = tombstones + ?2, tombstones_at = COALESCE(tombstones_at, ?3)
                     WHERE account = ?1 RETURNING tombstones",
                )?
                .query_row([account.0, count, now.after(kept).as_micros()], |row| row.get(0))?;
            for (number, (Digest { hash, rest }, received)) in (last - count + 1..).zip(buried) {
                let id = pack(account, number);
                db.bulk(&INSERT_TOMBSTONE, [id, hash, rest, received.bits(), now.as_micros()])?;
                self.known.tombstones.filter.borrow_mut().add(hash);
            }
        }
        Ok(())
    }
}

/// The moment that lies this long before another.
fn before(now: Time, length: Duration) -> i64 {
    now.as_micros().saturating_sub(i64::try_from(length.as_micros()).unwrap_or(i64::MAX))
}

/// The keys between which those of an account lie.
fn all_of(account: AccountKey) -> [i64; 2] {
    [pack(account, 0), pack(AccountKey(account.0 + 1), 0)]
}

/// Sets for how long an account remembers. What was removed before counts from its removal, as what will be.
pub fn set(db: &Connection, account: AccountKey, kept: Duration, now: Time) -> Result<(), StoreError> {
    let micros = i64::try_from(kept.as_micros()).unwrap_or(i64::MAX);
    db.prepare_cached(
        "UPDATE accounts SET repeat_memory = ?2,
             tombstones_at = CASE WHEN tombstones_at IS NULL THEN NULL ELSE CAST(?3 AS BIGINT) END
         WHERE account = ?1",
    )?
    .execute([account.0, micros, now.as_micros()])?;
    Ok(())
}

/// Accounts with tombstones whose time is over.
pub const OLD: ByTime = ByTime::Accounts(
    "SELECT account, tombstones_at FROM accounts
     WHERE tombstones_at > ? AND tombstones_at <= ? ORDER BY tombstones_at LIMIT ?",
);

/// One step of deleting tombstones whose time is over. True when there is more.
pub fn step(recording: &mut Recording<'_>, account: AccountKey) -> Result<bool, StoreError> {
    let (db, now) = (recording.db, recording.now);
    let kept = recording.config(account)?.account.repeat_memory;
    let since = before(now, kept);
    let [first, end] = all_of(account);
    let oldest: Vec<(i64, i64)> = db
        .prepare_cached(
            "SELECT id, removed_at FROM tombstones WHERE id > ? AND id < ? /*! AND account = @1 */
             ORDER BY id LIMIT ?",
        )?
        .query_map([first, end, STEP + 1], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    let over = |&(_, removed_at): &(i64, i64)| removed_at <= since || kept.is_zero();
    let most = usize::try_from(STEP).unwrap_or(usize::MAX);
    let gone = oldest.iter().take(most).take_while(|row| over(row)).count();
    if let Some(&(last, _)) = oldest[..gone].last() {
        db.prepare_cached("DELETE FROM tombstones WHERE id > ? AND id <= ? /*! AND account = @1 */")?
            .execute([first, last])?;
    }
    let next = match oldest.get(gone) {
        None => None,
        Some(row) if over(row) => Some(now),
        // Not one by one: several go together, a little later.
        Some(&(_, removed_at)) => {
            let soon = now.after(retention::slot(Some(kept)));
            Some(Time::from_micros(removed_at).after(kept).max(soon))
        }
    };
    db.prepare_cached("UPDATE accounts SET tombstones_at = ? WHERE account = ?")?
        .execute(params![next.map(Time::as_micros), account.0])?;
    Ok(true)
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
