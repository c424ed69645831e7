//! Ownership: open deliveries become this process's to attempt, with all that an attempt takes.
//! Near, one after the other; from a database that is far away, all of a transaction together at its end.
//! Refuses to know what comes of an attempt.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use const_format::formatcp;
use tracing::error;

use super::recording::Recording;
use crate::model::id::Tag;
use crate::model::{Event, EventBody};
use crate::store::config::sealed::dialect_of;
use crate::store::deliveries::claiming::{NewClaim, TYPICAL};
use crate::store::deliveries::open_rows;
use crate::store::deliveries::states::{CLAIMABLE, REPLAYED};
use crate::store::layout::keys::{pack, unpack};
use crate::store::packed::{damaged, unpack_bytes};
use crate::store::reads::pages;
use crate::store::sql::{Connection, Row};
use crate::store::{Body, EndpointRef, Owned, Place, StoreError};

/// When a delivery that cannot be read is looked at again: somebody may have repaired it.
const DAMAGED_PAUSE: Duration = Duration::from_secs(3600);
/// Bodies that one claim loads, in bytes: large ones must not make it a long transaction.
const CLAIM_BYTES: usize = 4 << 20;
/// Deliveries that one claim takes from a database that is far away, where their sizes come with them.
const CLAIM_FAR: usize = 256;

/// What a delivery's row says of its attempt.
struct Owing {
    event: i64,
    ordered_call: Option<i64>,
    revision: i64,
    tries: u32,
    snapshot: Option<i64>,
    dialect: String,
    shape: String,
    body: Option<Vec<u8>>,
}

/// The columns of [`Owing::of`].
const OWING: &str =
    "SELECT o.event, o.call, o.revision, o.tries, o.snapshot, s.dialect, s.shape, b.body, o.id
     FROM open o
     JOIN shapes s ON s.endpoint = o.endpoint AND s.revision = o.revision /*! AND s.account = o.account */
     LEFT JOIN bodies b ON b.delivery = o.id AND o.tries > 0 /*! AND b.account = o.account */";

impl Owing {
    fn of(row: &Row<'_>) -> Result<Self, StoreError> {
        Ok(Self {
            event: row.get(0)?,
            ordered_call: row.get(1)?,
            revision: row.get(2)?,
            tries: row.get(3)?,
            snapshot: row.get(4)?,
            dialect: row.get(5)?,
            shape: row.get(6)?,
            body: row.get(7)?,
        })
    }

    /// With the event, and the later snapshot if it says more than that; gives also the size of what is said.
    fn own(
        self,
        endpoint: EndpointRef,
        id: i64,
        mut place: Place,
        read: impl Fn(i64) -> Result<(Event, Option<i64>, usize), StoreError>,
    ) -> Result<(Owned, usize), StoreError> {
        let (mut event, call, mut size) = read(self.event)?;
        if let (Some(snapshot), EventBody::Call { call: known, .. }) = (self.snapshot, &mut event.body) {
            let (later, _, later_size) = read(snapshot)?;
            if let EventBody::Call { call, .. } = later.body {
                (*known, size) = (call, later_size);
            }
        }
        place.resize(size);
        let owned = Owned {
            endpoint,
            delivery: unpack(id).1,
            ordered_call: self.ordered_call.map(|call| unpack(call).1),
            attempt: self.tries.checked_add(1).ok_or_else(|| damaged("more attempts than can be"))?,
            event: Arc::new(event),
            dialect: dialect_of(&self.dialect)?,
            shape: serde_json::from_str(&self.shape).map_err(damaged)?,
            revision: self.revision,
            call,
            body: match self.body {
                Some(packed) => Body::sent(unpack_bytes(&packed)?.into()),
                None => Body::default(),
            },
            place,
        };
        Ok((owned, size))
    }
}

impl Recording<'_> {
    /// Takes a delivery into memory. One whose event or shape cannot be read must not stand in the way of all
    /// others: it stays pending, and is looked at again later. Gives the size of its snapshot in bytes, where that is known.
    pub fn take(&mut self, endpoint: EndpointRef, id: i64, place: Place) -> Result<usize, StoreError> {
        if self.tx.db.postgres().is_some() {
            self.deliveries.claims.push(NewClaim { endpoint, id, place });
            return Ok(TYPICAL);
        }
        let tag = self.config(endpoint.account)?.account.tag;
        let owed = own(self.tx.db, tag, endpoint, id, place);
        self.owned(endpoint, id, owed)
    }

    fn owned(
        &mut self,
        endpoint: EndpointRef,
        id: i64,
        owed: Result<(Owned, usize), StoreError>,
    ) -> Result<usize, StoreError> {
        match owed {
            Ok((owned, size)) => {
                open_rows::claim(self.tx.db, id, self.tx.epoch)?;
                self.committed.owned.push(owned);
                Ok(size)
            }
            Err(StoreError::Data(why)) => {
                error!(%why, delivery = unpack(id).1, "a delivery cannot be attempted; it stays pending");
                let due = self.tx.now.after(DAMAGED_PAUSE);
                self.committed.wake_at.push((endpoint, due));
                open_rows::set_state(self.tx.db, id, CLAIMABLE, due).map(|()| 0)
            }
            Err(error) => Err(error),
        }
    }

    /// Loads the new claims, in two round trips: the deliveries, then what they say.
    pub fn load_claims(&mut self) -> Result<(), StoreError> {
        let claims = std::mem::take(&mut self.deliveries.claims);
        if claims.is_empty() {
            return Ok(());
        }
        let ids: Vec<i64> = claims.iter().map(|claim| claim.id).collect();
        let sql = format!("{OWING} WHERE o.id = ANY(?) AND o.account = ANY(@1)");
        let Some(mut answers) = self.tx.db.fetch(&[(&sql, &[&ids])])? else { return Ok(()) };
        let mut owing: HashMap<i64, Owing> = HashMap::new();
        while let Some(row) = answers[0].next()? {
            owing.insert(row.get(8)?, Owing::of(&row)?);
        }
        let said = owing.iter().flat_map(|(id, owing)| {
            let account = unpack(*id).0;
            [Some(owing.event), owing.snapshot].into_iter().flatten().map(move |at| pack(account, at))
        });
        let said: Vec<i64> = said.collect::<BTreeSet<_>>().into_iter().collect();
        let events = pages::Events::fetch(self.tx.db, &said)?;
        for NewClaim { endpoint, id, place } in claims {
            let tag = self.config(endpoint.account)?.account.tag;
            let owed = match owing.remove(&id) {
                Some(owing) => {
                    let read = |at| events.read(tag, pack(endpoint.account, at));
                    owing.own(endpoint, id, place, read)
                }
                // It has no shape any more, or was called off in this very transaction.
                None => Err(damaged("it cannot be found")),
            };
            self.owned(endpoint, id, owed)?;
        }
        Ok(())
    }

    /// Takes ownership of due deliveries of one endpoint, oldest first; one for each place at most, and no more than
    /// [`CLAIM_BYTES`] of bodies. Says whether more may be due.
    pub fn claim(&mut self, endpoint: EndpointRef, mut places: Vec<Place>) -> Result<bool, StoreError> {
        self.enter(endpoint.account)?;
        if self.tx.db.postgres().is_some() {
            places.truncate(CLAIM_FAR);
        }
        let asked = places.len();
        let key = pack(endpoint.account, endpoint.number);
        let mut ids: Vec<i64> = self
            .tx
            .db
            .prepare_cached(formatcp!(
                "SELECT id FROM open WHERE endpoint = ? /*account of ?1*/ AND state = {CLAIMABLE} AND due <= ?
                 ORDER BY due, id LIMIT ?"
            ))?
            .query_map([key, self.tx.now.as_micros(), i64::try_from(asked).unwrap_or(i64::MAX)], |row| {
                row.get(0)
            })?
            .collect::<Result<_, _>>()?;
        if ids.len() < asked {
            // Replays take what everything else leaves.
            let mut behind = self.tx.db.prepare_cached(formatcp!(
                "SELECT id FROM open WHERE endpoint = ? /*account of ?1*/ AND state = {REPLAYED}
                     ORDER BY id LIMIT ?"
            ))?;
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
}

/// Loads what it takes to attempt an open delivery; also gives the size of its snapshot.
fn own(
    db: &Connection,
    tag: Tag,
    endpoint: EndpointRef,
    id: i64,
    place: Place,
) -> Result<(Owned, usize), StoreError> {
    let mut statement = db.prepare_cached(&format!("{OWING} WHERE o.id = ? /*! AND o.account = @1 */"))?;
    let mut rows = statement.query([id])?;
    let row = rows.next()?.ok_or_else(|| damaged("it has no shape"))?;
    let owing = Owing::of(&row)?;
    owing.own(endpoint, id, place, |at| pages::event(db, tag, endpoint.account, at))
}
