//! The deliveries of a transaction: who is first in line, what is settled, what becomes of the counters. Whether a row was
//! prefetched is known here alone. It holds for one transaction, which has locked the accounts, so nobody else changes any of
//! it; what the transaction itself changes is changed here as well. Does not depend on what an attempt came to.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::claiming::NewClaim;
use super::open_rows;
use super::states::CLAIMABLE;
use crate::model::Time;
use crate::store::config::endpoint_counters::ADD_TO_SUM;
use crate::store::layout::keys::pack;
use crate::store::sql::{OptionalExtension, Rows, params};
use crate::store::tx::transaction::Tx;
use crate::store::{EndpointRef, StoreError, Sum};

/// An open delivery that is to be settled.
struct OpenRow {
    tries: u32,
    owner: i64,
    attempts: Option<Vec<u8>>,
}

/// The deliveries that a transaction knows.
#[derive(Default)]
pub struct DeliverySet {
    /// Open deliveries with their states, by call, endpoint and number.
    lines: BTreeMap<(i64, i64, i64), i64>,
    /// The calls whose lines were prefetched.
    lined_up: HashSet<i64>,
    /// Open deliveries that are to be settled.
    open: HashMap<i64, OpenRow>,
    /// The deliveries that were prefetched by: what of these is not in `open` is not open.
    asked: HashSet<i64>,
    /// Whether calls were prefetched at all.
    is_prefetched: bool,
    /// Deliveries that are claimed at the end.
    pub claims: Vec<NewClaim>,
    /// Changes to the counters of endpoints.
    sums: HashMap<EndpointRef, Sum>,
    /// Endpoints that have something due.
    woken: HashSet<EndpointRef>,
}

impl DeliverySet {
    /// All lines of these calls were prefetched.
    pub fn lines_prefetched(
        &mut self,
        calls: impl IntoIterator<Item = i64>,
        mut lines: Rows<'static>,
    ) -> Result<(), StoreError> {
        while let Some(row) = lines.next()? {
            self.lines.insert((row.get(0)?, row.get(1)?, row.get(2)?), row.get(3)?);
        }
        self.lined_up.extend(calls);
        Ok(())
    }

    /// These deliveries were prefetched, as far as they are open.
    pub fn open_prefetched(&mut self, asked: Vec<i64>, mut open: Rows<'static>) -> Result<(), StoreError> {
        while let Some(row) = open.next()? {
            let found = OpenRow { tries: row.get(1)?, owner: row.get(2)?, attempts: row.get(3)? };
            self.open.insert(row.get(0)?, found);
        }
        self.asked.extend(asked);
        Ok(())
    }

    /// The calls of this transaction were prefetched: what is made of new ones is known.
    pub fn calls_prefetched(&mut self) {
        self.is_prefetched = true;
    }

    /// Whether the lines of a call were prefetched.
    pub fn is_lined_up(&self, call: i64) -> bool {
        self.lined_up.contains(&call)
    }

    /// A call was made, and nothing is open of it.
    pub fn call_made(&mut self, call: i64) {
        if self.is_prefetched {
            self.lined_up.insert(call);
        }
    }

    /// The first open delivery of a call to an endpoint, with its state.
    pub fn first_in_line(
        &self,
        tx: &Tx<'_>,
        call: i64,
        endpoint: i64,
    ) -> Result<Option<(i64, i64)>, StoreError> {
        if self.lined_up.contains(&call) {
            let mut line = self.lines.range((call, endpoint, i64::MIN)..=(call, endpoint, i64::MAX));
            return Ok(line.next().map(|(&(_, _, id), &state)| (id, state)));
        }
        let mut statement = tx.db.prepare_cached(
            "SELECT id, state FROM open WHERE call = ? AND endpoint = ? /*account of ?2*/ ORDER BY id LIMIT 1",
        )?;
        Ok(statement.query_row([call, endpoint], |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
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

    /// Puts a delivery off, if this attempt is the next that is written and it is our own; false if not.
    pub fn postpone(
        &mut self,
        tx: &Tx<'_>,
        id: i64,
        number: u32,
        due: Time,
        attempt: &[u8],
    ) -> Result<bool, StoreError> {
        let due = due.as_micros();
        if self.asked.remove(&id) {
            let is_next = |open: OpenRow| open.tries < number && open.owner == tx.epoch;
            if !self.open.remove(&id).is_some_and(is_next) {
                return Ok(false);
            }
            tx.db.later(
                "UPDATE open SET state = ?1, due = ?2, tries = ?3, attempts = COALESCE(CAST(attempts || ?4 AS BLOB), ?4)
                 WHERE id = ?5 /*account of ?5*/",
                params![CLAIMABLE, due, number, attempt, id],
            )?;
            return Ok(true);
        }
        let changed = tx
            .db
            .prepare_cached(
                "UPDATE open SET state = ?1, due = ?2, tries = ?3,
                     attempts = COALESCE(CAST(attempts || ?4 AS BLOB), ?4)
                 WHERE id = ?5 /*account of ?5*/ AND tries < ?3 AND owner = ?6",
            )?
            .execute(params![CLAIMABLE, due, number, attempt, id, tx.epoch])?;
        Ok(changed > 0)
    }

    /// Takes a delivery out of the open ones, if this attempt is the next that is written and it is our own. Gives the
    /// attempts before.
    pub fn take_out(&mut self, tx: &Tx<'_>, id: i64, number: u32) -> Result<Option<Vec<u8>>, StoreError> {
        if self.asked.remove(&id) {
            let is_next = |open: &OpenRow| open.tries < number && open.owner == tx.epoch;
            let Some(open) = self.open.remove(&id).filter(is_next) else { return Ok(None) };
            open_rows::remove(tx.db, id)?;
            return Ok(Some(open.attempts.unwrap_or_default()));
        }
        let mut attempts = Vec::new();
        if number > 1 {
            let earlier: Option<Option<Vec<u8>>> = tx
                .db
                .prepare_cached("SELECT attempts FROM open WHERE id = ? /*account of ?1*/")?
                .query_row([id], |row| row.get(0))
                .optional()?;
            attempts = earlier.flatten().unwrap_or_default();
        }
        let closed = tx
            .db
            .prepare_cached("DELETE FROM open WHERE id = ? /*account of ?1*/ AND tries < ? AND owner = ?")?
            .execute(params![id, number, tx.epoch])?;
        Ok((closed == 1).then_some(attempts))
    }

    /// What the transaction adds to the counters of an endpoint.
    pub fn sum(&mut self, endpoint: EndpointRef) -> &mut Sum {
        self.sums.entry(endpoint).or_default()
    }

    /// An endpoint has something due.
    pub fn wake(&mut self, endpoint: EndpointRef) {
        self.woken.insert(endpoint);
    }

    /// The endpoints that have something due.
    pub fn woken(&mut self) -> Vec<EndpointRef> {
        self.woken.drain().collect()
    }

    /// Writes the counters that changed.
    pub fn write(&self, tx: &Tx<'_>) -> Result<(), StoreError> {
        for (endpoint, sum) in &self.sums {
            let endpoint = pack(endpoint.account, endpoint.number);
            tx.db.bulk(
                &ADD_TO_SUM,
                [sum.owed, sum.delivered, sum.pending, sum.dead, sum.cancelled, endpoint],
            )?;
        }
        Ok(())
    }
}
