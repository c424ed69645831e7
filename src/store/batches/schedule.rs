//! The times of batches that have one, as rows. Does not depend on what happens when a time has come.

use crate::model::{AccountKey, Time};
use crate::store::StoreError;
use crate::store::layout::keys::pack;
use crate::store::sql::{Connection, OptionalExtension, params};

/// Batches with a time of their own, and the last contact that was looked at since it came.
pub const TABLES: &str = r"
CREATE TABLE scheduled (batch INTEGER PRIMARY KEY, due INTEGER NOT NULL, told INTEGER);
CREATE INDEX scheduled_due ON scheduled (due);
";

/// What is added to the time of a batch that rests, in microseconds: later than any clock.
const REST: i64 = i64::MAX / 2;

/// A batch that is to be asked for at a time.
pub fn add(db: &Connection, batch: i64, due: Time) -> Result<(), StoreError> {
    db.prepare_cached("INSERT INTO scheduled (batch, due /*!, account */) VALUES (?, ? /*!, @1 */)")?
        .execute(params![batch, due.as_micros()])?;
    Ok(())
}

/// A batch whose contacts are not all asked for.
#[derive(Clone, Copy)]
pub struct Waiting {
    /// When that begins.
    pub due: Time,
    /// The last contact that was looked at since.
    pub told: Option<i64>,
}

/// What a batch waits for that has a time of its own, also while it is being taken in when that has come.
pub fn find(db: &Connection, batch: i64) -> Result<Option<Waiting>, StoreError> {
    let mut statement =
        db.prepare_cached("SELECT due, told FROM scheduled WHERE batch = ? /*account of ?1*/")?;
    let waiting = statement.query_row([batch], |row| {
        let due: i64 = row.get(0)?;
        let due = if due >= REST { due - REST } else { due };
        Ok(Waiting { due: Time::from_micros(due), told: row.get(1)? })
    });
    Ok(waiting.optional()?)
}

/// A batch that came in with an account: nothing is done for it before it is woken.
pub fn rest(db: &Connection, batch: i64, due: Time, told: Option<i64>) -> Result<(), StoreError> {
    db.prepare_cached(
        "INSERT INTO scheduled (batch, due, told /*!, account */) VALUES (?, ?, ? /*!, @1 */)",
    )?
    .execute(params![batch, due.as_micros().clamp(0, REST) + REST, told])?;
    Ok(())
}

/// Wakes those of an account that rest.
pub fn wake(db: &Connection, account: AccountKey) -> Result<(), StoreError> {
    db.prepare_cached(
        "UPDATE scheduled SET due = due - ?1
         WHERE due >= ?1 AND batch > ?2 AND batch < ?3 /*account of ?2*/",
    )?
    .execute([REST, pack(account, 0), pack(AccountKey(account.0 + 1), 0)])?;
    Ok(())
}

/// The batch is asked for no more.
pub fn remove(db: &Connection, batch: i64) -> Result<(), StoreError> {
    db.prepare_cached("DELETE FROM scheduled WHERE batch = ? /*account of ?1*/")?.execute([batch])?;
    Ok(())
}

/// The contacts of a batch up to this one were looked at.
pub fn looked_at(db: &Connection, batch: i64, last: i64) -> Result<(), StoreError> {
    db.prepare_cached("UPDATE scheduled SET told = ? WHERE batch = ? /*account of ?2*/")?
        .execute([last, batch])?;
    Ok(())
}
