//! The rows of pending deliveries: the statements that insert into `open`, update it and delete from it. Two others stand with
//! what they belong to: a [`DeliverySet`] postpones and takes out what it may have prefetched, and `deferral_rows` sets of which
//! later event a delivery speaks. Does not depend on why a delivery changes.
//!
//! [`DeliverySet`]: super::delivery_set::DeliverySet

use const_format::formatcp;

use super::states::{CLAIMABLE, CLAIMED, REPLAYED};
use crate::model::{AccountKey, Time};
use crate::store::StoreError;
use crate::store::layout::keys::pack;
use crate::store::sql::bulk::Bulk;
use crate::store::sql::{self, Connection, OptionalExtension, Row, params};

/// What a delivery is from the day on which it is planned, in `open` and in `settled`.
#[derive(Clone, Copy)]
pub struct PlannedDelivery {
    /// Its key.
    pub id: i64,
    /// The key of its endpoint.
    pub endpoint: i64,
    /// The position of its event.
    pub event: i64,
    /// The revision of its endpoint's shape.
    pub revision: i64,
}

static INSERT: Bulk = Bulk {
    one: "INSERT INTO open (id, endpoint, event, call, revision, state, due, tries, owner)
          VALUES (?, ?, ?, ?, ?, ?, ?, 0, ?)",
    many: "INSERT INTO open (id, endpoint, event, call, revision, state, due, tries, owner, account)
           SELECT id, endpoint, event, call, revision, state, due, 0, owner, id >> 40
           FROM unnest(CAST(? AS BIGINT[]), CAST(? AS BIGINT[]), CAST(? AS BIGINT[]), CAST(? AS BIGINT[]),
               CAST(? AS BIGINT[]), CAST(? AS BIGINT[]), CAST(? AS BIGINT[]), CAST(? AS BIGINT[]))
               AS t (id, endpoint, event, call, revision, state, due, owner)",
};

/// Inserts a delivery that an event planned; `call` is the key of the call whose order it keeps.
pub fn insert(
    db: &Connection,
    delivery: PlannedDelivery,
    call: Option<i64>,
    state: i64,
    due: Time,
    owner: i64,
) -> Result<(), StoreError> {
    let PlannedDelivery { id, endpoint, event, revision } = delivery;
    Ok(db.bulk(&INSERT, params![id, endpoint, event, call, revision, state, due.as_micros(), owner])?)
}

/// Inserts a delivery that a replay planned; `snapshot` is the later event that it says more of than its own.
pub fn insert_replay(
    db: &Connection,
    delivery: PlannedDelivery,
    replay: i64,
    snapshot: Option<i64>,
    due: Time,
) -> Result<(), StoreError> {
    let PlannedDelivery { id, endpoint, event, revision } = delivery;
    Ok(db.later(
        "INSERT INTO open (id, endpoint, event, call, revision, state, due, tries, replay,
         owner, snapshot /*!, account */)
         VALUES (?, ?, ?, NULL, ?, ?, ?, 0, ?, 0, ? /*!, @1 */)",
        params![id, endpoint, event, revision, REPLAYED, due.as_micros(), replay, snapshot],
    )?)
}

/// Inserts a dead delivery that is to be tried again, with the attempts that it had and the key of the replay that planned it. It
/// keeps no order any more.
pub fn insert_retry(
    db: &Connection,
    delivery: PlannedDelivery,
    (tries, attempts): (u32, Option<&[u8]>),
    replay: Option<i64>,
    snapshot: Option<i64>,
    due: Time,
) -> Result<(), StoreError> {
    let PlannedDelivery { id, endpoint, event, revision } = delivery;
    db.execute(
        "INSERT INTO open (id, endpoint, event, call, revision, state, due, tries, attempts, replay, snapshot,
         owner /*!, account */)
         VALUES (?, ?, ?, NULL, ?, ?, ?, ?, ?, ?, ?, 0 /*!, @1 */)",
        params![id, endpoint, event, revision, CLAIMABLE, due.as_micros(), tries, attempts, replay, snapshot],
    )?;
    Ok(())
}

/// A pending delivery of an import.
pub struct ImportedDelivery {
    pub delivery: PlannedDelivery,
    /// The key of the call whose order it keeps.
    pub call: Option<i64>,
    pub state: i64,
    pub due: i64,
    pub tries: u32,
    pub attempts: Option<Vec<u8>>,
    /// The key of the replay that planned it.
    pub replay: Option<i64>,
    /// The later event that it says more of than its own.
    pub snapshot: Option<i64>,
}

/// Inserts a pending delivery of an import. No node has claimed it.
pub fn insert_imported(db: &Connection, row: ImportedDelivery) -> Result<(), StoreError> {
    let ImportedDelivery { delivery, call, state, due, tries, attempts, replay, snapshot } = row;
    let PlannedDelivery { id, endpoint, event, revision } = delivery;
    db.prepare_cached(
        "INSERT INTO open (id, endpoint, event, call, revision, state, due, tries, attempts, replay,
         snapshot /*!, account */)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ? /*!, @1 */)",
    )?
    .execute(params![id, endpoint, event, call, revision, state, due, tries, attempts, replay, snapshot])?;
    Ok(())
}

/// Gives a delivery another state, in which it is due at this time.
pub fn set_state(db: &Connection, id: i64, state: i64, due: Time) -> Result<(), StoreError> {
    let due = due.as_micros();
    Ok(db.later("UPDATE open SET state = ?, due = ? WHERE id = ? /*account of ?3*/", [state, due, id])?)
}

/// Makes a delivery claimable at this time, whatever the order of its call says.
pub fn put_out_of_order(db: &Connection, id: i64, due: Time) -> Result<(), StoreError> {
    db.prepare_cached(
        "UPDATE open SET state = ?, due = ?, call = NULL
         WHERE id = ? /*account of ?3*/",
    )?
    .execute([CLAIMABLE, due.as_micros(), id])?;
    Ok(())
}

static CLAIM: Bulk = Bulk {
    one: formatcp!("UPDATE open SET state = {CLAIMED}, owner = ?2 WHERE id = ?1"),
    many: formatcp!(
        "UPDATE open SET state = {CLAIMED}, owner = t.owner
           FROM unnest(CAST(? AS BIGINT[]), CAST(? AS BIGINT[])) AS t (id, owner)
           WHERE open.id = t.id AND open.account = ANY(@1)"
    ),
};

/// Claims a delivery under a lease epoch.
pub fn claim(db: &Connection, id: i64, epoch: i64) -> Result<(), StoreError> {
    Ok(db.bulk(&CLAIM, [id, epoch])?)
}

/// Makes deliveries claimable again that were claimed under this lease epoch.
pub fn release(
    db: &Connection,
    account: AccountKey,
    deliveries: &[i64],
    epoch: i64,
) -> Result<(), StoreError> {
    for &delivery in deliveries {
        db.later(
            "UPDATE open SET state = ? WHERE id = ? /*account of ?2*/ AND state = ? AND owner = ?",
            [CLAIMABLE, pack(account, delivery), CLAIMED, epoch],
        )?;
    }
    Ok(())
}

/// Makes everything claimable again that was claimed under a lease epoch, of all accounts.
pub fn release_all(db: &Connection, epoch: i64) -> Result<(), StoreError> {
    let sql = formatcp!("UPDATE open SET state = {CLAIMABLE} WHERE state = {CLAIMED} AND owner = ?");
    db.execute(sql, [epoch])?;
    Ok(())
}

static DELETE: Bulk = Bulk {
    one: "DELETE FROM open WHERE id = ?",
    many: "DELETE FROM open WHERE id = ANY(CAST(? AS BIGINT[])) AND account = ANY(@1)",
};

/// Removes a delivery that is not pending any more.
pub fn remove(db: &Connection, id: i64) -> Result<(), StoreError> {
    Ok(db.bulk(&DELETE, [id])?)
}

const CLOSE_ONE: &str = "DELETE FROM open WHERE id = ?
     RETURNING id, endpoint, event, call, revision, attempts, state";
const CLOSE_ALL: &str = "DELETE FROM open WHERE id = ANY(?) AND account = ANY(@1)
     RETURNING id, endpoint, event, call, revision, attempts, state";

/// A delivery that was removed from the pending ones.
pub struct Closed {
    pub delivery: PlannedDelivery,
    /// The key of the call whose order it kept.
    pub call: Option<i64>,
    pub attempts: Vec<u8>,
    pub state: i64,
}

impl Closed {
    fn of(row: &Row<'_>) -> sql::Result<Self> {
        Ok(Self {
            delivery: PlannedDelivery {
                id: row.get(0)?,
                endpoint: row.get(1)?,
                event: row.get(2)?,
                revision: row.get(4)?,
            },
            call: row.get(3)?,
            attempts: row.get::<Option<Vec<u8>>>(5)?.unwrap_or_default(),
            state: row.get(6)?,
        })
    }
}

/// Removes these deliveries of one account as far as they are pending, and gives what they were.
/// Where the database is far away, many take as many round trips as one.
pub fn close(db: &Connection, ids: &[i64]) -> Result<Vec<Closed>, StoreError> {
    let mut closed = Vec::with_capacity(ids.len());
    let Some(mut answers) = db.fetch(&[(CLOSE_ALL, &[ids])])? else {
        let mut statement = db.prepare_cached(CLOSE_ONE)?;
        for &id in ids {
            closed.extend(statement.query_row([id], Closed::of).optional()?);
        }
        return Ok(closed);
    };
    while let Some(row) = answers[0].next()? {
        closed.push(Closed::of(&row)?);
    }
    closed.sort_unstable_by_key(|row| row.delivery.id);
    Ok(closed)
}
