//! Repeats of what was removed: tombstones are asked for, written in the transaction that removes, and deleted when their time
//! is over. Does not depend on what becomes of a repeat.

use super::prefetched::Known;
use super::recording::Recording;
use super::rows::INSERT_TOMBSTONE;
use crate::ledger::Received;
use crate::model::{AccountKey, Time};
use crate::store::StoreError;
use crate::store::calls::tombstones::{Digest, Of, Tombstone, all_of, before};
use crate::store::jobs::due::ByTime;
use crate::store::layout::keys::{pack, unpack};
use crate::store::sql::params;
use crate::store::tx::slots;

/// Rows that one step deletes at most.
const STEP: i64 = 200;

impl Recording<'_> {
    /// What was received of a record before it was removed, as far as that is remembered.
    pub fn received_before(&mut self, source: i64, of: Of<'_>) -> Result<Received, StoreError> {
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
    pub fn bury(&mut self, source: i64, of: Of<'_>, received: Received) -> Result<(), StoreError> {
        let account = unpack(source).0;
        if !received.is_empty() && !self.config(account)?.account.repeat_memory.is_zero() {
            let digest = Digest::of(self.known.vault, source, of);
            self.buried.entry(account).or_default().push((digest, received));
        }
        Ok(())
    }

    /// Writes the tombstones of what is removed.
    pub fn write_tombstones(&mut self) -> Result<(), StoreError> {
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
            "SELECT id, removed_at FROM tombstones WHERE id > ? AND id < ? /*account of ?1*/
             ORDER BY id LIMIT ?",
        )?
        .query_map([first, end, STEP + 1], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    let over = |&(_, removed_at): &(i64, i64)| removed_at <= since || kept.is_zero();
    let most = usize::try_from(STEP).unwrap_or(usize::MAX);
    let gone = oldest.iter().take(most).take_while(|row| over(row)).count();
    if let Some(&(last, _)) = oldest[..gone].last() {
        db.prepare_cached("DELETE FROM tombstones WHERE id > ? AND id <= ? /*account of ?1*/")?
            .execute([first, last])?;
    }
    let next = match oldest.get(gone) {
        None => None,
        Some(row) if over(row) => Some(now),
        // Not one by one: several go together, a little later.
        Some(&(_, removed_at)) => {
            let soon = now.after(slots::slot(Some(kept)));
            Some(Time::from_micros(removed_at).after(kept).max(soon))
        }
    };
    db.prepare_cached("UPDATE accounts SET tombstones_at = ? WHERE account = ?")?
        .execute(params![next.map(Time::as_micros), account.0])?;
    Ok(true)
}
