//! Settling: what attempts came to, written in the caller's transaction; the next delivery of the same call is
//! promoted in the same one, so nothing is sent before its turn is on disk. Also claiming, and changes by hand.
//! Refuses to decide: the ledger has decided before.

use std::sync::Arc;
use std::time::Duration;

use crate::store::sql::{Connection, OptionalExtension, params};
use tracing::error;

use super::codec::{pack_attempt, state_code, state_of, unpack_attempts};
use super::config;
use super::holds;
use super::keys::{pack, unpack};
use super::list;
use super::read;
use super::record::{About, CLAIMABLE, HELD, OWNED, Recording, WAITING};
use super::sealed::dialect_of;
use crate::ledger::Next;
use crate::model::event::EndpointDisabled;
use crate::model::id::{self, Kind};
use crate::model::{AccountKey, DeliveryState, Erased, EventBody, EventType, Time};
use crate::store::packed::{damaged, pack_bytes, unpack_bytes};
use crate::store::{Body, EndpointRef, Owned, Place, Settlement, StoreError, Turned};

/// When a delivery that cannot be read is looked at again: somebody may have repaired it.
const DAMAGED_PAUSE: Duration = Duration::from_secs(3600);

impl Recording<'_> {
    /// Writes what one attempt came to.
    pub fn settle(&mut self, settlement: &Settlement) -> Result<(), StoreError> {
        self.enter(settlement.endpoint.account)?;
        let id = pack(settlement.endpoint.account, settlement.delivery);
        let attempt = pack_attempt(&settlement.attempt);
        match settlement.decision.next {
            Next::RetryAt(due) => self.postpone(id, settlement, &attempt, due)?,
            Next::Delivered => self.close(id, settlement, &attempt, DeliveryState::Delivered)?,
            Next::Dead => self.close(id, settlement, &attempt, DeliveryState::Dead)?,
        }
        if settlement.decision.disable_endpoint {
            self.disable(settlement.endpoint, "the endpoint answered 410 Gone")?;
        }
        Ok(())
    }

    fn postpone(
        &mut self,
        id: i64,
        settlement: &Settlement,
        attempt: &[u8],
        due: Time,
    ) -> Result<(), StoreError> {
        let number = settlement.attempt.number;
        let changed = self
            .db
            .prepare_cached(
                "UPDATE open SET state = ?1, due = ?2, tries = ?3,
                     attempts = COALESCE(CAST(attempts || ?4 AS BLOB), ?4)
                 WHERE id = ?5 AND tries < ?3 AND owner = ?6",
            )?
            .execute(params![CLAIMABLE, due.as_micros(), number, attempt, id, self.known.tenure])?;
        if changed == 0 {
            return self.add_stray_attempt(id, number, attempt);
        }
        if number == 1 {
            self.keep_body(id, settlement)?;
        }
        self.committed.wake_at.push((settlement.endpoint, due));
        Ok(())
    }

    /// A retry sends the same bytes, also one by hand after the last attempt failed. Nothing was sent when there are none.
    fn keep_body(&mut self, id: i64, settlement: &Settlement) -> Result<(), StoreError> {
        if settlement.body.is_empty() {
            return Ok(());
        }
        // What was said may have gone by its age while the attempt was under way; then the next one encodes anew.
        let account = settlement.endpoint.account;
        let may_be_silenced = self.config(account)?.account.transcript_retention.is_some();
        if may_be_silenced && list::erased(self.db, account, settlement.event).is_ok_and(|it| it.is_some()) {
            return Ok(());
        }
        self.db
            .prepare_cached("INSERT INTO bodies (delivery, body) VALUES (?, ?) ON CONFLICT DO NOTHING")?
            .execute(params![id, pack_bytes(&settlement.body)?])?;
        Ok(())
    }

    fn close(
        &mut self,
        id: i64,
        settlement: &Settlement,
        attempt: &[u8],
        state: DeliveryState,
    ) -> Result<(), StoreError> {
        let number = settlement.attempt.number;
        let mut attempts = Vec::new();
        if number > 1 {
            let earlier: Option<Option<Vec<u8>>> = self
                .db
                .prepare_cached("SELECT attempts FROM open WHERE id = ?")?
                .query_row([id], |row| row.get(0))
                .optional()?;
            attempts = earlier.flatten().unwrap_or_default();
        }
        let closed = self
            .db
            .prepare_cached("DELETE FROM open WHERE id = ? AND tries < ? AND owner = ?")?
            .execute(params![id, number, self.known.tenure])?;
        if closed == 0 {
            return self.add_stray_attempt(id, number, attempt);
        }
        match state {
            DeliveryState::Delivered if number > 1 => {
                self.db.prepare_cached("DELETE FROM bodies WHERE delivery = ?")?.execute([id])?;
            }
            DeliveryState::Dead if number == 1 => self.keep_body(id, settlement)?,
            _ => {}
        }
        attempts.extend_from_slice(attempt);
        let endpoint = settlement.endpoint;
        insert_settled(
            self.db,
            id,
            pack(endpoint.account, endpoint.number),
            settlement.event,
            settlement.revision,
            state,
            &attempts,
        )?;
        let sum = self.sum(endpoint);
        sum.pending -= 1;
        *sum.of_mut(state) += 1;
        if let Some(call) = settlement.ordered_call {
            self.promote(endpoint, call)?;
        }
        Ok(())
    }

    /// The delivery is no longer open: it was called off while its attempt was under way, and the attempt goes on
    /// record all the same. Or this very attempt was written before, by a commit that nobody heard the end of.
    fn add_stray_attempt(&self, id: i64, number: u32, attempt: &[u8]) -> Result<(), StoreError> {
        let earlier: Option<(Option<Vec<u8>>, i64)> = self
            .db
            .prepare_cached("SELECT attempts, event FROM settled WHERE id = ?")?
            .query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let Some((earlier, event)) = earlier else { return Ok(()) };
        let mut attempts = earlier.unwrap_or_default();
        if unpack_attempts(Some(&attempts)).iter().any(|known| known.number == number) {
            return Ok(());
        }
        // It may have been under way while its person was erased; what came back may quote what was sent.
        match list::erased(self.db, unpack(id).0, event) {
            Ok(Some(Erased::Person)) => attempts.extend(list::without_answers(attempt)),
            _ => attempts.extend_from_slice(attempt),
        }
        self.db
            .prepare_cached("UPDATE settled SET attempts = ? WHERE id = ?")?
            .execute(params![attempts, id])?;
        Ok(())
    }

    /// The next delivery of the call to this endpoint may go.
    fn promote(&mut self, endpoint: EndpointRef, call: i64) -> Result<(), StoreError> {
        let (account, number) = (endpoint.account, endpoint.number);
        let next: Option<(i64, i64)> = self
            .db
            .prepare_cached("SELECT id, state FROM open WHERE call = ? AND endpoint = ? ORDER BY id LIMIT 1")?
            .query_row([pack(account, call), pack(account, number)], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let Some((id, WAITING)) = next else { return Ok(()) };
        // The body is not loaded yet; it is weighed when it is.
        if let Some(place) = self.queues.reserve(endpoint, TYPICAL) {
            return self.take(endpoint, id, place).map(drop);
        }
        self.put_up(id, self.now)?;
        self.wake(endpoint);
        Ok(())
    }

    pub(super) fn put_up(&self, id: i64, due: Time) -> Result<(), StoreError> {
        let mut statement = self.db.prepare_cached("UPDATE open SET state = ?, due = ? WHERE id = ?")?;
        statement.execute([CLAIMABLE, due.as_micros(), id])?;
        Ok(())
    }

    /// Takes a delivery into memory. One whose event or shape cannot be read must not stand in the way of all
    /// others: it stays pending, and is looked at again later. Gives the size of its snapshot in bytes.
    pub(super) fn take(&mut self, endpoint: EndpointRef, id: i64, place: Place) -> Result<usize, StoreError> {
        let tag = self.config(endpoint.account)?.account.tag;
        match own(self.db, tag, endpoint, id, place) {
            Ok((owned, size)) => {
                self.db.prepare_cached("UPDATE open SET state = ?, owner = ? WHERE id = ?")?.execute([
                    OWNED,
                    self.known.tenure,
                    id,
                ])?;
                self.committed.owned.push(owned);
                Ok(size)
            }
            Err(StoreError::Data(why)) => {
                error!(%why, delivery = unpack(id).1, "a delivery cannot be attempted; it stays pending");
                let due = self.now.after(DAMAGED_PAUSE);
                self.committed.wake_at.push((endpoint, due));
                self.put_up(id, due).map(|()| 0)
            }
            Err(error) => Err(error),
        }
    }

    /// Disables an endpoint and records the event, unless it is disabled already.
    pub fn disable(&mut self, endpoint: EndpointRef, reason: &str) -> Result<(), StoreError> {
        self.enter(endpoint.account)?;
        if !config::disable(self.db, pack(endpoint.account, endpoint.number), reason)? {
            return Ok(());
        }
        self.committed.disabled.push(endpoint);
        let tag = self.config(endpoint.account)?.account.tag;
        let body = EventBody::Endpoint(EndpointDisabled {
            endpoint_id: id::format(Kind::Endpoint, tag, endpoint.number),
            reason: reason.to_owned(),
        });
        self.append(endpoint.account, EventType::EndpointDisabled, self.now, About::default(), body, None)?;
        Ok(())
    }

    /// Takes ownership of due deliveries of one endpoint, oldest first; one for each place at most, and no more than
    /// [`CLAIM_BYTES`] of bodies. Says whether more may be due.
    pub fn claim(&mut self, endpoint: EndpointRef, places: Vec<Place>) -> Result<bool, StoreError> {
        self.enter(endpoint.account)?;
        let asked = places.len();
        let key = pack(endpoint.account, endpoint.number);
        let mut ids: Vec<i64> = self
            .db
            .prepare_cached(
                "SELECT id FROM open WHERE endpoint = ? AND state = 0 AND due <= ? ORDER BY due, id LIMIT ?",
            )?
            .query_map(params![key, self.now.as_micros(), i64::try_from(asked).unwrap_or(i64::MAX)], |row| {
                row.get(0)
            })?
            .collect::<Result<_, _>>()?;
        if ids.len() < asked {
            // Replays take what everything else leaves.
            let mut behind = self
                .db
                .prepare_cached("SELECT id FROM open WHERE endpoint = ? AND state = 3 ORDER BY id LIMIT ?")?;
            let left = i64::try_from(asked - ids.len()).unwrap_or(i64::MAX);
            for id in behind.query_map([key, left], |row| row.get(0))? {
                ids.push(id?);
            }
        }
        let (mut bytes, mut more) = (0, ids.len() == asked);
        for (id, place) in ids.into_iter().zip(places) {
            if bytes > CLAIM_BYTES {
                more = true;
                break;
            }
            bytes += self.take(endpoint, id, place)?;
        }
        Ok(more)
    }

    /// Puts a dead or pending delivery up for an attempt now. It keeps no order and blocks nobody. One that is under
    /// way is left alone: that is its attempt.
    pub fn retry_by_hand(&mut self, account: AccountKey, delivery: i64) -> Result<Turned, StoreError> {
        self.enter(account)?;
        let id = pack(account, delivery);
        let open: Option<(i64, Option<i64>, i64)> = self
            .db
            .prepare_cached("SELECT endpoint, call, state FROM open WHERE id = ?")?
            .query_row([id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .optional()?;
        if let Some((endpoint, call, state)) = open {
            if state != OWNED {
                if state == HELD {
                    self.end_hold(id)?;
                }
                self.db
                    .prepare_cached("UPDATE open SET state = ?, due = ?, call = NULL WHERE id = ?")?
                    .execute([CLAIMABLE, self.now.as_micros(), id])?;
                self.wake(reference(endpoint));
                if let Some(call) = call {
                    self.promote(reference(endpoint), unpack(call).1)?;
                }
            }
            return Ok(Turned::Done);
        }
        let Some((endpoint, event, revision, state, attempts)) = self.settled_row(id)? else {
            return Ok(Turned::Missing);
        };
        let target = reference(endpoint);
        // What a deleted endpoint was owed has been called off; nobody would ever look at this one again.
        let is_there = self.config(account)?.endpoint(target.number).is_some();
        if state != DeliveryState::Dead || !is_there {
            return Ok(Turned::WrongState(state));
        }
        let tries = unpack_attempts(attempts.as_deref()).last().map_or(0, |last| last.number);
        self.db.execute("DELETE FROM settled WHERE id = ?", [id])?;
        self.db.execute(
            "INSERT INTO open (id, endpoint, event, call, revision, state, due, tries, attempts, snapshot, owner)
             VALUES (?, ?, ?, NULL, ?, ?, ?, ?, ?, ?, 0)",
            params![
                id,
                endpoint,
                event,
                revision,
                CLAIMABLE,
                self.now.as_micros(),
                tries,
                attempts,
                holds::rendered(self.db, id)?
            ],
        )?;
        let sum = self.sum(target);
        sum.dead -= 1;
        sum.pending += 1;
        self.wake(target);
        Ok(Turned::Done)
    }

    /// Calls a pending delivery off.
    pub fn cancel(&mut self, account: AccountKey, delivery: i64) -> Result<Turned, StoreError> {
        let id = pack(account, delivery);
        if !self.cancel_open(id)? {
            return Ok(match self.settled_row(id)? {
                Some((_, _, _, state, _)) => Turned::WrongState(state),
                None => Turned::Missing,
            });
        }
        Ok(Turned::Done)
    }

    /// Moves an open delivery to the cancelled ones; false if it is not open.
    pub fn cancel_open(&mut self, id: i64) -> Result<bool, StoreError> {
        self.enter(unpack(id).0)?;
        #[expect(clippy::type_complexity, reason = "one row")]
        let row: Option<(i64, i64, Option<i64>, i64, Option<Vec<u8>>, i64)> = self
            .db
            .prepare_cached(
                "DELETE FROM open WHERE id = ? RETURNING endpoint, event, call, revision, attempts, state",
            )?
            .query_row([id], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?))
            })
            .optional()?;
        let Some((endpoint, event, call, revision, attempts, state)) = row else { return Ok(false) };
        if state == HELD {
            holds::forget(self.db, id)?;
        }
        self.db.prepare_cached("DELETE FROM bodies WHERE delivery = ?")?.execute([id])?;
        let attempts = attempts.unwrap_or_default();
        insert_settled(self.db, id, endpoint, event, revision, DeliveryState::Cancelled, &attempts)?;
        let endpoint = reference(endpoint);
        let sum = self.sum(endpoint);
        sum.pending -= 1;
        sum.cancelled += 1;
        if let Some(call) = call {
            self.promote(endpoint, unpack(call).1)?;
        }
        Ok(true)
    }

    #[expect(clippy::type_complexity, reason = "one row")]
    fn settled_row(
        &self,
        id: i64,
    ) -> Result<Option<(i64, i64, i64, DeliveryState, Option<Vec<u8>>)>, StoreError> {
        Ok(self
            .db
            .prepare_cached("SELECT endpoint, event, revision, state, attempts FROM settled WHERE id = ?")?
            .query_row([id], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, state_of(row.get(3)?), row.get(4)?))
            })
            .optional()?)
    }
}

/// Makes owned deliveries claimable again.
pub fn release(db: &Connection, account: AccountKey, deliveries: &[i64]) -> Result<(), StoreError> {
    let mut statement = db.prepare_cached("UPDATE open SET state = ? WHERE id = ? AND state = ?")?;
    for &delivery in deliveries {
        statement.execute([CLAIMABLE, pack(account, delivery), OWNED])?;
    }
    Ok(())
}

/// The endpoint of a key.
pub fn reference(endpoint: i64) -> EndpointRef {
    let (account, number) = unpack(endpoint);
    EndpointRef { account, number }
}

fn insert_settled(
    db: &Connection,
    id: i64,
    endpoint: i64,
    event: i64,
    revision: i64,
    state: DeliveryState,
    attempts: &[u8],
) -> Result<(), StoreError> {
    db.prepare_cached(
        "INSERT INTO settled (id, endpoint, event, revision, state, attempts) VALUES (?, ?, ?, ?, ?, ?)",
    )?
    .execute(params![id, endpoint, event, revision, state_code(state), attempts])?;
    Ok(())
}

/// Bodies that one claim loads, in bytes: large ones must not make it a long transaction.
const CLAIM_BYTES: usize = 4 << 20;
/// What a body is taken to weigh before it is loaded.
pub const TYPICAL: usize = 4 << 10;

/// Loads what it takes to attempt an open delivery; also gives the size of its snapshot.
fn own(
    db: &Connection,
    tag: id::Tag,
    endpoint: EndpointRef,
    id: i64,
    mut place: Place,
) -> Result<(Owned, usize), StoreError> {
    let account = endpoint.account;
    let (event, ordered_call, revision, tries, snapshot): (i64, Option<i64>, i64, u32, Option<i64>) = db
        .prepare_cached("SELECT event, call, revision, tries, snapshot FROM open WHERE id = ?")?
        .query_row([id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)))?;
    let (dialect, shape): (String, String) = db
        .prepare_cached("SELECT dialect, shape FROM shapes WHERE endpoint = ? AND revision = ?")?
        .query_row([pack(account, endpoint.number), revision], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let body: Option<Vec<u8>> = if tries == 0 {
        None
    } else {
        db.prepare_cached("SELECT body FROM bodies WHERE delivery = ?")?
            .query_row([id], |row| row.get(0))
            .optional()?
    };
    let (mut event, call, mut size) = read::event(db, tag, account, event)?;
    if let (Some(snapshot), EventBody::Call { call: known, .. }) = (snapshot, &mut event.body) {
        let (later, _, later_size) = read::event(db, tag, account, snapshot)?;
        if let EventBody::Call { call, .. } = later.body {
            (*known, size) = (call, later_size);
        }
    }
    place.resize(size);
    let owned = Owned {
        endpoint,
        delivery: unpack(id).1,
        ordered_call: ordered_call.map(|call| unpack(call).1),
        attempt: tries + 1,
        event: Arc::new(event),
        dialect: dialect_of(&dialect)?,
        shape: serde_json::from_str(&shape).map_err(damaged)?,
        revision,
        call,
        body: match body {
            Some(packed) => Body::sent(unpack_bytes(&packed)?.into()),
            None => Body::default(),
        },
        place,
    };
    Ok((owned, size))
}
