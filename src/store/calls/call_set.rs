//! The calls of a transaction: each is loaded once, changed in memory, written once. Whether one was prefetched is known here
//! alone. Does not depend on what is heard of a call.

use std::collections::{HashMap, HashSet};

use super::call_rows::{INSERT_CALL, UPDATE_CALL};
use super::index::{self, CallIndex, call_hash};
use super::loaded::Loaded;
use crate::model::Text;
use crate::store::StoreError;
use crate::store::layout::codec::outcome_code;
use crate::store::layout::keys::{pack, unpack};
use crate::store::packed::pack_bytes;
use crate::store::sql::params;
use crate::store::tx::transaction::Tx;

/// By what a call is known: its source's key and the vendor's id.
pub type CallKey = (i64, Text);

/// The calls that a transaction knows.
pub struct CallSet<'a> {
    index: &'a CallIndex,
    /// Those that it has worked on.
    loaded: HashMap<CallKey, Loaded>,
    /// Those that were prefetched.
    prefetched: HashMap<CallKey, Loaded>,
    /// The hashes that were prefetched by: what of these is not in `prefetched` is not there.
    asked: HashSet<i64>,
    /// Changes to where calls are found.
    pub found: index::Changes,
}

impl<'a> CallSet<'a> {
    /// None yet.
    pub fn new(index: &'a CallIndex) -> Self {
        Self {
            index,
            loaded: HashMap::new(),
            prefetched: HashMap::new(),
            asked: HashSet::new(),
            found: index::Changes::default(),
        }
    }

    /// A call that was prefetched.
    pub fn prefetched(&mut self, key: CallKey, loaded: Loaded) {
        self.prefetched.insert(key, loaded);
    }

    /// All calls of these hashes were prefetched.
    pub fn asked(&mut self, hashes: impl IntoIterator<Item = i64>) {
        self.asked.extend(hashes);
    }

    /// Takes a call out, to be changed and given back by [`Self::keep`].
    pub fn take(&mut self, tx: &Tx<'_>, key: &CallKey) -> Result<Option<Loaded>, StoreError> {
        if let Some(known) = self.loaded.remove(key).or_else(|| self.prefetched.remove(key)) {
            return Ok(Some(known));
        }
        let hash = call_hash(key.0, &key.1);
        if self.asked.contains(&hash) {
            return Ok(None);
        }
        self.index.find(tx.db, hash, key.0, |call| Loaded::known(tx.db, call, key))
    }

    /// A call is as it is now.
    pub fn keep(&mut self, key: CallKey, loaded: Loaded) {
        self.loaded.insert(key, loaded);
    }

    /// Writes the calls that changed.
    pub fn write(&mut self, tx: &Tx<'_>) -> Result<(), StoreError> {
        let now = tx.now.as_micros();
        for ((source, call_id), loaded) in &self.loaded {
            let Some(book) = loaded.book.as_ref().filter(|_| loaded.dirty) else { continue };
            let id = pack(unpack(*source).0, loaded.number);
            let json = |error: serde_json::Error| StoreError::Data(error.to_string());
            let made;
            let marks = match &loaded.prepared {
                Some(prepared) => &prepared.marks,
                None => {
                    made = serde_json::to_vec(&book.marks).map_err(json)?;
                    &made
                }
            };
            let record = match loaded.differs {
                true => Some(pack_bytes(&serde_json::to_vec(&*book.call).map_err(json)?)?),
                false => None,
            };
            let (outcome, last) = (book.call.outcome.map(outcome_code), loaded.last_event);
            if !loaded.is_new {
                let changed = params![outcome, last, marks, record, now, loaded.counted, id];
                tx.db.bulk(&UPDATE_CALL, changed)?;
                continue;
            }
            let (hash, vendor_id) = (call_hash(*source, call_id), call_id.as_bytes());
            self.found.add(hash, id);
            let new = params![id, hash, source, vendor_id, outcome, last, marks, record, now, loaded.counted];
            tx.db.bulk(&INSERT_CALL, new)?;
        }
        Ok(())
    }

    /// Files what the transaction changed about where calls are found, at its very end. The index takes it in after the
    /// commit.
    pub fn settle(mut self, tx: &Tx<'_>) -> Result<index::Changes, StoreError> {
        self.index.settle(tx.db, &mut self.found)?;
        Ok(self.found)
    }
}
