//! One transaction's worth of changes: the open transaction and what it knows of accounts, calls, deliveries, batches and
//! numbers. Each set looks up what it was not given before, and writes each row once, at the end. The rules are the ledger's;
//! the files beside this one fetch what they need and write what they say.

use std::sync::Arc;

use crate::model::AccountKey;
use crate::store::analytics::names::Remembered;
use crate::store::analytics::number_set::NumberSet;
use crate::store::batches::batch_set::BatchSet;
use crate::store::batches::credit::MinuteSet;
use crate::store::calls::call_set::CallSet;
use crate::store::calls::index::{self, CallIndex};
use crate::store::calls::tombstone_set::TombstoneSet;
use crate::store::calls::tombstones::Tombstones;
use crate::store::deliveries::delivery_set::DeliverySet;
use crate::store::tx::account_set::AccountSet;
use crate::store::tx::head::Head;
use crate::store::tx::transaction::Tx;
use crate::store::{AccountConfig, Committed, EndpointRef, StoreError, Sum};

/// What is remembered of earlier transactions.
#[derive(Clone, Copy)]
pub struct Memory<'a> {
    /// Where calls are found.
    pub call_index: &'a CallIndex,
    /// The campaigns and agents that have records.
    pub remembered: &'a Remembered,
    /// What was removed and may be repeated.
    pub tombstones: &'a Tombstones,
}

/// A transaction that records, and what to tell once it is committed.
pub struct Recording<'a> {
    pub tx: Tx<'a>,
    pub accounts: AccountSet,
    pub calls: CallSet<'a>,
    pub tombstones: TombstoneSet<'a>,
    pub deliveries: DeliverySet,
    pub batches: BatchSet,
    pub numbers: NumberSet<'a>,
    pub minutes: MinuteSet,
    /// Bodies that one source may have in quarantine.
    pub quarantine_quota: i64,
    pub committed: Committed,
}

impl<'a> Recording<'a> {
    /// Begins on an open transaction.
    pub fn new(tx: Tx<'a>, memory: Memory<'a>, quarantine_quota: i64) -> Self {
        Self {
            tx,
            accounts: AccountSet::default(),
            calls: CallSet::new(memory.call_index),
            tombstones: TombstoneSet::new(memory.tombstones),
            deliveries: DeliverySet::default(),
            batches: BatchSet::default(),
            numbers: NumberSet::new(memory.remembered),
            minutes: MinuteSet::default(),
            quarantine_quota,
            committed: Committed::default(),
        }
    }

    /// An endpoint has something due.
    pub fn wake(&mut self, endpoint: EndpointRef) {
        self.deliveries.wake(endpoint);
    }

    /// What the transaction adds to the counters of an endpoint.
    pub fn sum(&mut self, endpoint: EndpointRef) -> &mut Sum {
        self.deliveries.sum(endpoint)
    }

    /// The configuration of an account.
    pub fn config(&mut self, account: AccountKey) -> Result<Arc<AccountConfig>, StoreError> {
        self.enter(account)?;
        self.accounts.config(&self.tx, account)
    }

    /// The number of one more delivery.
    pub fn next_delivery(&mut self, account: AccountKey) -> Result<i64, StoreError> {
        let head = self.head(account)?;
        head.deliveries += 1;
        Ok(head.deliveries)
    }

    /// Locks the account, before any of its rows is looked at: on a store of many nodes whatever was read earlier may be
    /// different by now.
    pub fn enter(&mut self, account: AccountKey) -> Result<(), StoreError> {
        if let Some(head) = self.accounts.enter(&self.tx, account)? {
            self.tombstones.memory.note(account, head.has_tombstones);
        }
        Ok(())
    }

    /// The head of an account.
    pub fn head(&mut self, account: AccountKey) -> Result<&mut Head, StoreError> {
        self.enter(account)?;
        Ok(self.accounts.head(account).expect("it was entered above"))
    }

    /// Writes what was gathered. The caller commits, and then the index takes in its changes.
    pub fn finish(mut self) -> Result<(Committed, index::Changes), StoreError> {
        self.load_claims()?;
        self.committed.wake = self.deliveries.woken();
        self.batches.write(&self.tx)?;
        self.write_tombstones()?;
        self.calls.write(&self.tx)?;
        self.deliveries.write(&self.tx)?;
        self.numbers.write(&self.tx)?;
        self.committed.feeds.extend(self.accounts.write(&self.tx)?);
        self.minutes.write(&self.tx)?;
        Ok((self.committed, self.calls.settle(&self.tx)?))
    }
}
