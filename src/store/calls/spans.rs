//! Which deliveries are an event's own, and which event of its call came before it, as rows say it. A row may be damaged: then
//! no loop goes by what it says, and nothing that is another event's is touched. Does not depend on what is done with them.

use crate::store::StoreError;
use crate::store::layout::keys::{beyond, pack, unpack};
use crate::store::sql::{Connection, OptionalExtension};

/// The keys of an event's own deliveries: from the first to before the end. They are numbered in the order of the feed, so
/// they end where those of the next event begin, whatever its row says.
pub fn of_event(db: &Connection, event: i64, first: i64, count: i64) -> Result<[i64; 2], StoreError> {
    of_events(db, event, first, first.saturating_add(count.max(0)))
}

/// The same of several events in a row, of which this is the last one, from a first delivery to before an end.
pub fn of_events(db: &Connection, last: i64, first: i64, end: i64) -> Result<[i64; 2], StoreError> {
    let account = unpack(last).0;
    let next: Option<i64> = db
        .prepare_cached(
            "SELECT first_delivery FROM events WHERE id > ? AND id < ? /*account of ?1*/
             ORDER BY id LIMIT 1",
        )?
        .query_row([last, beyond(account)], |row| row.get(0))
        .optional()?;
    let end = next.map_or(end, |next| end.min(next));
    Ok([pack(account, first), pack(account, end.max(first))])
}

/// The call's event before this one. One that is not before it is none: a chain that leads on would never end.
pub fn before(position: i64, previous: Option<i64>) -> Option<i64> {
    previous.filter(|&previous| previous < position)
}
