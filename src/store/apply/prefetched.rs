//! What a group needs of the books, fetched ahead in one round trip where the database is far away: the heads of its
//! accounts, its calls, the open deliveries of these and those that it settles. Near, it is empty, and everything is asked
//! for when it is needed. It holds for one transaction, which has taken the accounts' lines, so nobody else changes any of
//! it; what the transaction itself changes is changed here as well. Refuses to know what a group does.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::ledger::Received;
use crate::model::Text;
use crate::store::StoreError;
use crate::store::calls::index::call_hash;
use crate::store::calls::loaded::Loaded;
use crate::store::calls::tombstones::Tombstone;
use crate::store::sql::Rows;

/// An open delivery that is to be settled.
pub struct OpenRow {
    pub tries: u32,
    pub owner: i64,
    pub attempts: Option<Vec<u8>>,
}

/// The open deliveries of a call to an endpoint, by call, endpoint and number, with their states.
type Lines = BTreeMap<(i64, i64, i64), i64>;

/// What was fetched.
#[derive(Default)]
pub struct Ahead {
    /// Calls that are there, by source and vendor's id.
    pub calls: HashMap<(i64, Text), Loaded>,
    /// The hashes of calls that were asked for: what is not in `calls` is not there.
    pub hashes: HashSet<i64>,
    pub lines: Lines,
    /// The calls whose lines are known.
    pub lined_up: HashSet<i64>,
    pub settling: HashMap<i64, OpenRow>,
    /// The deliveries that were asked for: what is not in `settling` is not open.
    pub asked: HashSet<i64>,
    /// The tombstones of each hash that was asked for.
    pub tombstones: HashMap<i64, Vec<Tombstone>>,
}

/// Whether something is there, where that is known.
pub enum Known<T> {
    /// Nobody asked.
    Unknown,
    /// It is as it is.
    Is(T),
}

impl Ahead {
    /// A call, or that there is none.
    pub fn take_call(&mut self, key: &(i64, Text)) -> Known<Option<Loaded>> {
        match self.calls.remove(key) {
            Some(loaded) => Known::Is(Some(loaded)),
            None if self.hashes.contains(&call_hash(key.0, &key.1)) => Known::Is(None),
            None => Known::Unknown,
        }
    }

    /// The tombstones of a hash.
    pub fn tombstones(&self, hash: i64) -> Known<Vec<Tombstone>> {
        self.tombstones.get(&hash).cloned().map_or(Known::Unknown, Known::Is)
    }

    /// A call was made, and nothing is open of it.
    pub fn call_made(&mut self, call: i64) {
        if !self.hashes.is_empty() {
            self.lined_up.insert(call);
        }
    }

    /// The first open delivery of a call to an endpoint, with its state.
    pub fn first_in_line(&self, call: i64, endpoint: i64) -> Known<Option<(i64, i64)>> {
        if !self.lined_up.contains(&call) {
            return Known::Unknown;
        }
        let mut line = self.lines.range((call, endpoint, i64::MIN)..=(call, endpoint, i64::MAX));
        Known::Is(line.next().map(|(&(_, _, id), &state)| (id, state)))
    }

    pub fn take_tombstones(&mut self, asked: Vec<i64>, mut found: Rows<'static>) -> Result<(), StoreError> {
        self.tombstones.extend(asked.into_iter().map(|hash| (hash, Vec::new())));
        while let Some(row) = found.next()? {
            let received = Received::from_bits(row.get(2)?);
            let tombstone = Tombstone { rest: row.get(1)?, received, removed_at: row.get(3)? };
            self.tombstones.entry(row.get(0)?).or_default().push(tombstone);
        }
        Ok(())
    }

    /// A delivery joined its line, or its state changed.
    pub fn line_up(&mut self, call: i64, endpoint: i64, id: i64, state: i64) {
        if self.lined_up.contains(&call) {
            self.lines.insert((call, endpoint, id), state);
        }
    }

    /// A delivery left its line.
    pub fn leave(&mut self, call: i64, endpoint: i64, id: i64) {
        self.lines.remove(&(call, endpoint, id));
    }

    /// An open delivery, or that it is not open. It is given once: what settles it changes it.
    pub fn take_open(&mut self, id: i64) -> Known<Option<OpenRow>> {
        match self.asked.remove(&id) {
            true => Known::Is(self.settling.remove(&id)),
            false => Known::Unknown,
        }
    }
}
