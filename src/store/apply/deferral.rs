//! Held deliveries: the end of a call waits until the recording, transcript or analysis has come that its endpoint wants
//! with it, or until its time is up. A held delivery owes its own event and renders from a later snapshot of the same
//! call, set once, in the transaction that lets it go; updates that came meanwhile are in that and not owed again.
//! Endpoints that wait for nothing pay nothing. Refuses to know what is worth waiting for: the ledger decides.

use super::recording::Recording;
use crate::store::deliveries::claiming::TYPICAL;
use crate::store::deliveries::states::{BLOCKED, CLAIMABLE};
use crate::store::deliveries::{deferral_rows, open_rows};
use crate::store::jobs::due::{ByTime, Due};
use crate::store::layout::keys::{keys_of, pack, unpack};
use crate::store::sql::{Connection, OptionalExtension};
use crate::store::{EndpointRef, StoreError};

/// Deliveries whose time is up that a step lets go.
const STEP: i64 = 100;

impl Recording<'_> {
    /// Holds a delivery that was planned in this transaction.
    pub fn hold(&self, id: i64, endpoint: EndpointRef, call: i64, until: i64) -> Result<(), StoreError> {
        let (account, number) = (endpoint.account, endpoint.number);
        deferral_rows::defer(self.tx.db, id, pack(account, call), pack(account, number), until)
    }

    /// The delivery of a call's end to an endpoint, if it is held.
    pub fn held(&self, endpoint: EndpointRef, call: i64) -> Result<Option<i64>, StoreError> {
        let key = [pack(endpoint.account, call), pack(endpoint.account, endpoint.number)];
        let mut statement = self.tx.db.prepare_cached(
            "SELECT delivery FROM held WHERE call = ? /*account of ?1*/ AND endpoint = ? LIMIT 1",
        )?;
        Ok(statement.query_row(key, |row| row.get(0)).optional()?)
    }

    /// Lets a held delivery go, with what was known of the call at this position of the feed.
    pub fn release_deferred(
        &mut self,
        id: i64,
        endpoint: EndpointRef,
        snapshot: i64,
    ) -> Result<(), StoreError> {
        self.enter(endpoint.account)?;
        if !deferral_rows::end_deferral(self.tx.db, id)? {
            return Ok(());
        }
        deferral_rows::render(self.tx.db, id, snapshot)?;
        let call: Option<i64> = self
            .tx
            .db
            .prepare_cached("SELECT call FROM open WHERE id = ? /*account of ?1*/")?
            .query_row([id], |row| row.get(0))
            .optional()?
            .flatten();
        let is_behind = match call {
            None => false,
            Some(call) => self
                .tx
                .db
                .prepare_cached(
                    "SELECT 1 FROM open WHERE call = ? AND endpoint = ? /*account of ?2*/ AND id < ?",
                )?
                .exists([call, pack(endpoint.account, endpoint.number), id])?,
        };
        if let Some(call) = call {
            // The one before may be settled in this very group, and lets the next in line go by what is known of it.
            let state = if is_behind { BLOCKED } else { CLAIMABLE };
            self.deliveries.line_up(call, pack(endpoint.account, endpoint.number), id, state);
        }
        if is_behind {
            return open_rows::set_state(self.tx.db, id, BLOCKED, self.tx.now);
        }
        if let Some(place) = self.tx.queues.reserve(endpoint, TYPICAL) {
            return self.take(endpoint, id, place).map(drop);
        }
        open_rows::set_state(self.tx.db, id, CLAIMABLE, self.tx.now)?;
        self.wake(endpoint);
        Ok(())
    }

    /// Ends the waiting of a delivery that is to be sent now, by hand.
    pub fn end_hold(&self, id: i64) -> Result<(), StoreError> {
        let call: Option<i64> = self
            .tx
            .db
            .prepare_cached("SELECT call FROM held WHERE delivery = ? /*account of ?1*/")?
            .query_row([id], |row| row.get(0))
            .optional()?;
        if let Some(snapshot) = call.map_or(Ok(None), |call| newest(self.tx.db, call))? {
            deferral_rows::render(self.tx.db, id, snapshot)?;
        }
        deferral_rows::end_deferral(self.tx.db, id).map(drop)
    }
}

/// Deliveries whose time to wait is up.
pub const OVERDUE: ByTime =
    ByTime::Keys("SELECT endpoint, until FROM held WHERE until > ? AND until <= ? ORDER BY until LIMIT ?");

/// Lets some of an account's go whose time is up. True when there may be more.
pub fn release_overdue(recording: &mut Recording<'_>, due: Due) -> Result<bool, StoreError> {
    let (account, [from, until], [first, end]) = (due.account, due.span, keys_of(due.account));
    let overdue: Vec<(i64, i64, i64)> = recording
        .tx
        .db
        .prepare_cached(
            "SELECT delivery, call, endpoint FROM held
             WHERE until >= ? AND until <= ? AND +endpoint >= ? AND +endpoint < ? /*account of ?3*/
             ORDER BY until LIMIT ?",
        )?
        .query_map([from, until, first, end, STEP], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<Result<_, _>>()?;
    for &(id, call, endpoint) in &overdue {
        if !recording.may_go_on() {
            break;
        }
        let number = unpack(endpoint).1;
        let snapshot = newest(recording.tx.db, call)?.unwrap_or(0);
        recording.release_deferred(id, EndpointRef { account, number }, snapshot)?;
    }
    Ok(!overdue.is_empty())
}

/// The newest event of a call.
fn newest(db: &Connection, call: i64) -> Result<Option<i64>, StoreError> {
    let mut statement = db.prepare_cached("SELECT event FROM calls WHERE id = ? /*account of ?1*/")?;
    Ok(statement.query_row([call], |row| row.get(0)).optional()?)
}
