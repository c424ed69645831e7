//! Repeats of what was removed: tombstones are asked for, written in the transaction that removes, and deleted when their time
//! is over. Does not depend on what becomes of a repeat.

use super::recording::Recording;
use crate::ledger::Received;
use crate::model::{AccountKey, Time};
use crate::store::StoreError;
use crate::store::calls::tombstones::{self, Digest, Of, all_of, before};
use crate::store::config::account_row;
use crate::store::jobs::due::ByTime;
use crate::store::layout::keys::unpack;
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
        let digest = Digest::of(self.tx.vault, source, of);
        let found = self.tombstones.of_hash(&self.tx, account, digest.hash)?;
        let since = before(self.tx.now, kept);
        let stand =
            found.iter().filter(|it| it.rest == digest.rest && it.removed_at > since && !kept.is_zero());
        Ok(stand.fold(Received::default(), |all, it| all.and(it.received)))
    }

    /// Writes the tombstones of what is removed.
    pub fn write_tombstones(&mut self) -> Result<(), StoreError> {
        for account in self.tombstones.accounts() {
            let kept = self.config(account)?.account.repeat_memory;
            self.tombstones.write(&self.tx, account, kept)?;
        }
        Ok(())
    }

    /// A record is removed in this transaction, and this was received of it.
    pub fn bury(&mut self, source: i64, of: Of<'_>, received: Received) -> Result<(), StoreError> {
        let account = unpack(source).0;
        if !received.is_empty() && !self.config(account)?.account.repeat_memory.is_zero() {
            let digest = Digest::of(self.tx.vault, source, of);
            self.tombstones.bury(account, digest, received);
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
    let (db, now) = (recording.tx.db, recording.tx.now);
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
        tombstones::delete(db, first, last)?;
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
    account_row::set_tombstones_at(db, account, next)?;
    Ok(true)
}
