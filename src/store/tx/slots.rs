//! When events were recorded: they have no column for it. A slot of time has one small row, with the first position of the
//! feed in it; what lies between two slots was recorded before the earlier one's end. So an event stays a slot longer
//! than it would have to, and never goes too early, also when the clock was set back in between. Does not depend on what
//! is removed when it is old.

use std::time::Duration;

use crate::model::{AccountKey, Time};
use crate::store::StoreError;
use crate::store::config::account_row;
use crate::store::sql::{Connection, OptionalExtension};

/// A slot is a thousandth of the retention within these bounds: few rows, and no event stays much longer than it should.
const SHORTEST_SLOT: Duration = Duration::from_secs(1);
const LONGEST_SLOT: Duration = Duration::from_secs(3600);

/// How long a slot is.
pub fn slot(retention: Option<Duration>) -> Duration {
    retention.map_or(LONGEST_SLOT, |kept| (kept / 1000).clamp(SHORTEST_SLOT, LONGEST_SLOT))
}

/// Begins a slot with the event of this position. Gives its end.
pub fn begin_slot(
    db: &Connection,
    account: AccountKey,
    retention: Option<Duration>,
    position: i64,
    now: Time,
) -> Result<i64, StoreError> {
    let ends = now.after(slot(retention)).as_micros();
    db.prepare_cached("INSERT INTO slots (account, ends, first) VALUES (?, ?, ?) ON CONFLICT DO NOTHING")?
        .execute([account.0, ends, position])?;
    account_row::set_slot_end(db, account, ends)?;
    Ok(ends)
}

/// Ends the slot that is under way, which may be long for the new retention.
pub fn end_slot(db: &Connection, account: AccountKey, now: Time) -> Result<(), StoreError> {
    let (now, latest) = (now.as_micros(), now.after(LONGEST_SLOT).as_micros());
    // Past the latest, the clock was set back by more than a slot, and nothing is known for sure.
    if account_row::end_slot(db, account, now, latest)? {
        // Where one ends at this very moment already, the events after it become part of it.
        db.prepare_cached(
            "INSERT INTO slots (account, ends, first)
             SELECT account, CAST(?2 AS BIGINT), MIN(first) FROM slots WHERE account = ?1 AND ends > ?2 GROUP BY account
             ON CONFLICT DO NOTHING",
        )?
        .execute([account.0, now])?;
        db.prepare_cached("DELETE FROM slots WHERE account = ? AND ends > ?")?.execute([account.0, now])?;
    }
    Ok(())
}

/// The first position that was recorded after this moment, if there is one.
pub fn first_after(db: &Connection, account: AccountKey, since: i64) -> Result<Option<i64>, StoreError> {
    Ok(db
        .prepare_cached("SELECT first FROM slots WHERE account = ? AND ends > ? ORDER BY ends LIMIT 1")?
        .query_row([account.0, since], |row| row.get(0))
        .optional()?)
}

/// The first position that is not old; what is up to `purged` is done with.
pub fn first_young(
    db: &Connection,
    account: AccountKey,
    since: i64,
    retention: Duration,
    position: i64,
    purged: i64,
    now: Time,
) -> Result<i64, StoreError> {
    if let Some(first) = first_after(db, account, since)? {
        return Ok(first);
    }
    let has_slots = db.prepare_cached("SELECT 1 FROM slots WHERE account = ?")?.exists([account.0])?;
    if !has_slots && purged < position {
        // Recorded before there were slots: their age counts from now.
        let first = purged + 1;
        begin_slot(db, account, Some(retention), first, now)?;
        return Ok(first);
    }
    Ok(position + 1)
}

/// Forgets some slots that ended at this moment or before. True if there were any.
pub fn forget(db: &Connection, account: AccountKey, until: i64, most: i64) -> Result<bool, StoreError> {
    let forgotten = db
        .prepare_cached(
            "DELETE FROM slots WHERE account = ?1 AND ends IN
             (SELECT ends FROM slots WHERE account = ?1 AND ends <= ?2 ORDER BY ends LIMIT ?3)",
        )?
        .execute([account.0, until, most])?;
    Ok(forgotten > 0)
}
