//! The numbers that a transaction changes, and the campaigns and agents that its calls name: gathered in memory, each row
//! written once. Does not depend on what is counted.

use super::names::{Mentions, Remembered};
use super::rollups::{Changes, Table};
use crate::ledger::Contribution;
use crate::model::{AccountKey, Call};
use crate::store::StoreError;
use crate::store::tx::transaction::Tx;

/// What a transaction adds to the numbers.
pub struct NumberSet<'a> {
    changes: Changes,
    mentions: Mentions,
    remembered: &'a Remembered,
}

impl<'a> NumberSet<'a> {
    /// Nothing yet.
    pub fn new(remembered: &'a Remembered) -> Self {
        Self { changes: Changes::default(), mentions: Mentions::default(), remembered }
    }

    /// Counts a call as it is in place of as it was. False when that changes nothing.
    pub fn count(
        &mut self,
        account: AccountKey,
        before: Option<Contribution>,
        after: Option<Contribution>,
    ) -> bool {
        self.changes.book(account, before, after)
    }

    /// Notes the campaign and the agent that a call names.
    pub fn note(&mut self, account: AccountKey, call: &Call) {
        self.mentions.note(self.remembered, account, call);
    }

    /// Writes what changed.
    pub fn write(&mut self, tx: &Tx<'_>) -> Result<(), StoreError> {
        self.changes.write(tx.db, Table::Standing)?;
        std::mem::take(&mut self.mentions).write(tx.db, self.remembered, tx.now)
    }
}
