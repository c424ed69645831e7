//! Recording: what came through the doors becomes events, calls and owed deliveries, in the caller's transaction.
//! Loads each call once per group, folds its events in order, writes each row once. The rules are the ledger's;
//! this file only fetches what they need and writes what they say.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::prefetched::Ahead;
use super::rows::{ADD_TO_SUM, INSERT_CALL, UPDATE_CALL};
use crate::ledger::Received;
use crate::model::{AccountKey, Text, Time};
use crate::store::analytics::names::{Mentions, Remembered};
use crate::store::analytics::rollups::{Changes, Table};
use crate::store::batches::credit;
use crate::store::batches::rows::Books;
use crate::store::calls::index::{self, CallIndex, call_hash};
use crate::store::calls::loaded::Loaded;
use crate::store::calls::tombstones::{Digest, Tombstones};
use crate::store::config::accounts::{self, Directory};
use crate::store::deliveries::taking::Taken;
use crate::store::layout::codec::outcome_code;
use crate::store::layout::keys::{pack, unpack};
use crate::store::packed::pack_bytes;
use crate::store::sql::{Connection, params};
use crate::store::tx::head::Head;
use crate::store::vault::Vault;
use crate::store::{AccountConfig, Committed, EndpointRef, Queues, StoreError, Sum};

/// What is remembered of earlier transactions.
#[derive(Clone, Copy)]
pub struct Memory<'a> {
    /// Where calls are found.
    pub call_index: &'a CallIndex,
    /// The campaigns and agents that have records.
    pub remembered: &'a Remembered,
    /// What was removed and may be repeated.
    pub tombstones: &'a Tombstones,
    /// Opens what is sealed.
    pub vault: &'a Vault,
    /// The tenure under which deliveries are owned.
    pub tenure: i64,
}

/// One transaction's worth of changes, and what to tell once it is committed.
pub struct Recording<'a> {
    pub(in crate::store) db: &'a Connection,
    pub queues: &'a dyn Queues,
    pub now: Time,
    pub committed: Committed,
    pub directory: &'a Directory,
    pub known: Memory<'a>,
    pub quota: i64,
    pub configs: HashMap<AccountKey, Arc<AccountConfig>>,
    /// As they were found, and as they are now.
    pub heads: HashMap<AccountKey, (Head, Head)>,
    pub calls: HashMap<(i64, Text), Loaded>,
    /// What was fetched before.
    pub ahead: Ahead,
    /// Deliveries that become this process's own at the end.
    pub taken: Vec<Taken>,
    /// Changes to where calls are found.
    pub found: index::Changes,
    /// Changes to sums.
    pub sums: HashMap<EndpointRef, Sum>,
    /// Changes to the numbers of accounts.
    pub tallies: Changes,
    pub mentions: Mentions,
    pub woken: HashSet<EndpointRef>,
    pub books: Books,
    /// What calls used up of call minutes, in milliseconds.
    pub used: HashMap<AccountKey, i64>,
    /// What is removed, and what was received of it.
    pub buried: BTreeMap<AccountKey, Vec<(Digest, Received)>>,
    /// The round trips of the connection before this began.
    pub began_at: u64,
}

impl<'a> Recording<'a> {
    /// Begins on an open transaction.
    pub fn new(
        db: &'a Connection,
        directory: &'a Directory,
        known: Memory<'a>,
        queues: &'a dyn Queues,
        quota: i64,
        now: Time,
    ) -> Self {
        Self {
            db,
            queues,
            now,
            directory,
            known,
            quota,
            committed: Committed::default(),
            configs: HashMap::new(),
            heads: HashMap::new(),
            calls: HashMap::new(),
            ahead: Ahead::default(),
            taken: Vec::new(),
            found: index::Changes::default(),
            sums: HashMap::new(),
            tallies: Changes::default(),
            mentions: Mentions::default(),
            woken: HashSet::new(),
            books: Books::default(),
            used: HashMap::new(),
            buried: BTreeMap::new(),
            began_at: db.round_trips(),
        }
    }

    pub fn wake(&mut self, endpoint: EndpointRef) {
        self.woken.insert(endpoint);
    }

    pub fn sum(&mut self, endpoint: EndpointRef) -> &mut Sum {
        self.sums.entry(endpoint).or_default()
    }

    pub fn config(&mut self, account: AccountKey) -> Result<Arc<AccountConfig>, StoreError> {
        if let Some(config) = self.configs.get(&account) {
            return Ok(Arc::clone(config));
        }
        self.enter(account)?;
        let config = self
            .directory
            .get(account)
            .ok_or_else(|| StoreError::Data(format!("account {} does not exist", account.0)))?;
        self.configs.insert(account, Arc::clone(&config));
        Ok(config)
    }

    /// The number of one more delivery.
    pub fn next_delivery(&mut self, account: AccountKey) -> Result<i64, StoreError> {
        let head = self.head(account)?;
        head.deliveries += 1;
        Ok(head.deliveries)
    }

    /// The account's line is taken. The configuration is read anew when another node changed it.
    pub fn head_taken(&mut self, account: AccountKey, head: Head, revision: i64) -> Result<(), StoreError> {
        self.heads.insert(account, (head, head));
        self.known.tombstones.note(account, head.has_tombstones);
        if self.directory.get(account).is_none_or(|known| known.revision != revision) {
            self.directory.put(accounts::load(self.db, self.known.vault, account)?);
        }
        Ok(())
    }

    /// How often it has waited for a database that is far away.
    pub fn round_trips(&self) -> u64 {
        self.db.round_trips() - self.began_at
    }

    /// Takes the account's line, before anything of its books is looked at: on a store of many nodes whatever was read
    /// earlier may be different by now.
    pub fn enter(&mut self, account: AccountKey) -> Result<(), StoreError> {
        self.head(account).map(drop)
    }

    pub fn head(&mut self, account: AccountKey) -> Result<&mut Head, StoreError> {
        if !self.heads.contains_key(&account) {
            let (head, revision) = Head::take(self.db, account)?;
            self.head_taken(account, head, revision)?;
        }
        Ok(&mut self.heads.get_mut(&account).expect("inserted above").1)
    }

    /// Writes what was gathered: calls, sums, heads. The caller commits, and then the index takes in its changes.
    pub fn finish(mut self) -> Result<(Committed, index::Changes), StoreError> {
        self.load_taken()?;
        self.committed.wake = self.woken.drain().collect();
        self.write_batches()?;
        self.write_tombstones()?;
        let now = self.now.as_micros();
        for ((source, call_id), loaded) in &self.calls {
            let Some(book) = loaded.book.as_ref().filter(|_| loaded.dirty) else { continue };
            let id = pack(unpack(*source).0, loaded.number);
            let made;
            let marks = match &loaded.told {
                Some(told) => &told.marks,
                None => {
                    made = serde_json::to_vec(&book.marks).map_err(|e| StoreError::Data(e.to_string()))?;
                    &made
                }
            };
            let record = match loaded.differs {
                true => Some(pack_bytes(
                    &serde_json::to_vec(&*book.call).map_err(|e| StoreError::Data(e.to_string()))?,
                )?),
                false => None,
            };
            let outcome = book.call.outcome.map(outcome_code);
            if loaded.is_new {
                let hash = call_hash(*source, call_id);
                self.found.add(hash, id);
                self.db.bulk(
                    &INSERT_CALL,
                    params![
                        id,
                        hash,
                        source,
                        call_id.as_bytes(),
                        outcome,
                        loaded.last_event,
                        marks,
                        record,
                        now,
                        loaded.counted
                    ],
                )?;
            } else {
                let changed = params![outcome, loaded.last_event, marks, record, now, loaded.counted, id];
                self.db.bulk(&UPDATE_CALL, changed)?;
            }
        }
        for (endpoint, sum) in &self.sums {
            let endpoint = pack(endpoint.account, endpoint.number);
            self.db.bulk(
                &ADD_TO_SUM,
                [sum.owed, sum.delivered, sum.pending, sum.dead, sum.cancelled, endpoint],
            )?;
        }
        self.tallies.write(self.db, Table::Standing)?;
        self.mentions.write(self.db, self.known.remembered, self.now)?;
        for (account, (began, head)) in self.heads.iter().filter(|(_, (began, head))| began != head) {
            head.put(self.db, *account)?;
            if head.position > began.position {
                self.committed.feeds.push((*account, head.position));
            }
        }
        for (&account, &millis) in self.used.iter().filter(|(_, millis)| **millis != 0) {
            credit::use_up(self.db, account, millis)?;
        }
        self.known.call_index.settle(self.db, &mut self.found)?;
        Ok((self.committed, self.found))
    }
}
