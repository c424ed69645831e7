//! Settling: what attempts came to, written in the caller's transaction; the next delivery of the same call is
//! promoted in the same one, so nothing is sent before its turn is on disk. Also claiming, and changes by hand.
//! Refuses to decide: the ledger has decided before.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, params};

use super::codec::{pack_attempt, pack_bytes, state_code, state_of, unpack_bytes};
use super::config;
use super::read;
use super::record::{About, CLAIMABLE, OWNED, Recording, WAITING};
use super::schema::pack;
use crate::ledger::Next;
use crate::model::event::EndpointDisabled;
use crate::model::id::{self, Kind};
use crate::model::{AccountKey, DeliveryState, DialectName, EventBody, EventType, Time};
use crate::store::{Claimed, EndpointRef, Owned, Place, Settlement, StoreError, Turned};

impl Recording<'_> {
    /// Writes what one attempt came to.
    pub fn settle(&mut self, settlement: &Settlement) -> Result<(), StoreError> {
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
        let changed = self
            .db
            .prepare_cached(
                "UPDATE open SET state = ?, due = ?, tries = ?, attempts = CAST(COALESCE(attempts, x'') || ? AS BLOB) WHERE id = ?",
            )?
            .execute(params![CLAIMABLE, due.as_micros(), settlement.attempt.number, attempt, id])?;
        if changed == 0 {
            return self.add_stray_attempt(id, attempt);
        }
        if settlement.attempt.number == 1 {
            self.db
                .prepare_cached("INSERT OR IGNORE INTO bodies (delivery, body) VALUES (?, ?)")?
                .execute(params![id, pack_bytes(&settlement.body)])?;
        }
        self.committed.wake_at.push((settlement.endpoint, due));
        Ok(())
    }

    fn close(
        &mut self,
        id: i64,
        settlement: &Settlement,
        attempt: &[u8],
        state: DeliveryState,
    ) -> Result<(), StoreError> {
        let mut attempts = Vec::new();
        if settlement.attempt.number > 1 {
            let earlier: Option<Option<Vec<u8>>> = self
                .db
                .prepare_cached("SELECT attempts FROM open WHERE id = ?")?
                .query_row([id], |row| row.get(0))
                .optional()?;
            attempts = earlier.flatten().unwrap_or_default();
            self.db.prepare_cached("DELETE FROM bodies WHERE delivery = ?")?.execute([id])?;
        }
        if self.db.prepare_cached("DELETE FROM open WHERE id = ?")?.execute([id])? == 0 {
            return self.add_stray_attempt(id, attempt);
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
        match state {
            DeliveryState::Delivered => sum.delivered += 1,
            _ => sum.dead += 1,
        }
        if let Some(call) = settlement.ordered_call {
            self.promote(endpoint, call)?;
        }
        Ok(())
    }

    /// The delivery was called off while its attempt was under way: the attempt goes on record all the same.
    fn add_stray_attempt(&self, id: i64, attempt: &[u8]) -> Result<(), StoreError> {
        self.db
            .prepare_cached(
                "UPDATE settled SET attempts = CAST(COALESCE(attempts, x'') || ? AS BLOB) WHERE id = ?",
            )?
            .execute(params![attempt, id])?;
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
        let place = self.queues.reserve(endpoint, TYPICAL);
        let state = if place.is_some() { OWNED } else { CLAIMABLE };
        self.db.prepare_cached("UPDATE open SET state = ?, due = ? WHERE id = ?")?.execute([
            state,
            self.now.as_micros(),
            id,
        ])?;
        match place {
            Some(place) => {
                let tag = self.config(account)?.account.tag;
                let (owned, _) = own(self.db, tag, endpoint, id, place)?;
                self.committed.owned.push(owned);
            }
            None => self.wake(endpoint),
        }
        Ok(())
    }

    fn disable(&mut self, endpoint: EndpointRef, reason: &str) -> Result<(), StoreError> {
        if !config::disable(self.db, pack(endpoint.account, endpoint.number), reason)? {
            return Ok(());
        }
        self.committed.disabled.push(endpoint);
        let tag = self.config(endpoint.account)?.account.tag;
        let body = EventBody::Endpoint(EndpointDisabled {
            endpoint_id: id::format(Kind::Endpoint, tag, endpoint.number),
            reason: reason.to_owned(),
        });
        self.append(endpoint.account, EventType::EndpointDisabled, self.now, About::default(), body)?;
        Ok(())
    }

    /// Takes ownership of due deliveries of one endpoint, oldest first; one for each place at most, and no more than
    /// [`CLAIM_BYTES`] of bodies.
    pub fn claim(&mut self, endpoint: EndpointRef, places: Vec<Place>) -> Result<Claimed, StoreError> {
        let asked = places.len();
        let ids: Vec<i64> = self
            .db
            .prepare_cached(
                "SELECT id FROM open WHERE endpoint = ? AND state = 0 AND due <= ? ORDER BY due, id LIMIT ?",
            )?
            .query_map(
                params![
                    pack(endpoint.account, endpoint.number),
                    self.now.as_micros(),
                    i64::try_from(asked).unwrap_or(i64::MAX)
                ],
                |row| row.get(0),
            )?
            .collect::<Result<_, _>>()?;
        let tag = self.config(endpoint.account)?.account.tag;
        let (mut owned, mut bytes, mut more) = (Vec::with_capacity(ids.len()), 0, ids.len() == asked);
        for (id, place) in ids.into_iter().zip(places) {
            if bytes > CLAIM_BYTES {
                more = true;
                break;
            }
            self.db.prepare_cached("UPDATE open SET state = ? WHERE id = ?")?.execute([OWNED, id])?;
            let (delivery, size) = own(self.db, tag, endpoint, id, place)?;
            owned.push(delivery);
            bytes += size;
        }
        Ok(Claimed { owned, more })
    }

    /// Puts a dead or pending delivery up for an attempt now. It keeps no order and blocks nobody.
    pub fn retry_by_hand(&mut self, account: AccountKey, delivery: i64) -> Result<Turned, StoreError> {
        let id = pack(account, delivery);
        let open = self
            .db
            .prepare_cached(
                "UPDATE open SET state = CASE state WHEN ?2 THEN ?2 ELSE ?1 END, due = ?3, call = NULL WHERE id = ?4 RETURNING endpoint",
            )?
            .query_row(params![CLAIMABLE, OWNED, self.now.as_micros(), id], |row| row.get::<_, i64>(0))
            .optional()?;
        if let Some(endpoint) = open {
            self.wake(reference(endpoint));
            return Ok(Turned::Done);
        }
        let Some((endpoint, event, revision, state, attempts)) = self.settled_row(id)? else {
            return Ok(Turned::Missing);
        };
        if state != DeliveryState::Dead {
            return Ok(Turned::WrongState(state));
        }
        let tries = super::codec::unpack_attempts(attempts.as_deref()).len();
        self.db.execute("DELETE FROM settled WHERE id = ?", [id])?;
        self.db.execute(
            "INSERT INTO open (id, endpoint, event, call, revision, state, due, tries, attempts)
             VALUES (?, ?, ?, NULL, ?, ?, ?, ?, ?)",
            params![
                id,
                endpoint,
                event,
                revision,
                CLAIMABLE,
                self.now.as_micros(),
                i64::try_from(tries).unwrap_or(0),
                attempts
            ],
        )?;
        let endpoint = reference(endpoint);
        let sum = self.sum(endpoint);
        sum.dead -= 1;
        sum.pending += 1;
        self.wake(endpoint);
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
        #[expect(clippy::type_complexity, reason = "one row")]
        let row: Option<(i64, i64, Option<i64>, i64, Option<Vec<u8>>)> = self
            .db
            .prepare_cached(
                "DELETE FROM open WHERE id = ? RETURNING endpoint, event, call, revision, attempts",
            )?
            .query_row([id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)))
            .optional()?;
        let Some((endpoint, event, call, revision, attempts)) = row else { return Ok(false) };
        self.db.prepare_cached("DELETE FROM bodies WHERE delivery = ?")?.execute([id])?;
        let attempts = attempts.unwrap_or_default();
        insert_settled(self.db, id, endpoint, event, revision, DeliveryState::Cancelled, &attempts)?;
        let endpoint = reference(endpoint);
        let sum = self.sum(endpoint);
        sum.pending -= 1;
        sum.cancelled += 1;
        if let Some(call) = call {
            self.promote(endpoint, super::schema::unpack(call).1)?;
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

fn reference(endpoint: i64) -> EndpointRef {
    let (account, number) = super::schema::unpack(endpoint);
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
const TYPICAL: usize = 4 << 10;

/// Loads what it takes to attempt an open delivery; also gives the size of its snapshot.
fn own(
    db: &Connection,
    tag: id::Tag,
    endpoint: EndpointRef,
    id: i64,
    mut place: Place,
) -> Result<(Owned, usize), StoreError> {
    let account = endpoint.account;
    let (event, ordered_call, revision, tries): (i64, Option<i64>, i64, u32) = db
        .prepare_cached("SELECT event, call, revision, tries FROM open WHERE id = ?")?
        .query_row([id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
    let (dialect, shape): (String, String) = db
        .prepare_cached("SELECT dialect, shape FROM shapes WHERE endpoint = ? AND revision = ?")?
        .query_row([pack(account, endpoint.number), revision], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let damaged = |why: String| StoreError::Unavailable(format!("a stored shape is damaged: {why}"));
    let body: Option<Vec<u8>> = if tries == 0 {
        None
    } else {
        db.prepare_cached("SELECT body FROM bodies WHERE delivery = ?")?
            .query_row([id], |row| row.get(0))
            .optional()?
    };
    let (event, call, size) = read::event(db, tag, account, event)?;
    place.resize(size);
    let owned = Owned {
        endpoint,
        delivery: super::schema::unpack(id).1,
        ordered_call: ordered_call.map(|call| super::schema::unpack(call).1),
        attempt: tries + 1,
        event: Arc::new(event),
        dialect: DialectName::parse(&dialect).ok_or_else(|| damaged(dialect))?,
        shape: Arc::new(serde_json::from_str(&shape).map_err(|error| damaged(error.to_string()))?),
        revision,
        call,
        body: body.map(|packed| unpack_bytes(&packed).map(bytes::Bytes::from)).transpose()?,
        place,
    };
    Ok((owned, size))
}
