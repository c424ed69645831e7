//! Free space: what removals leave in the file goes back to the disk in small steps, but for a reserve.
//! Refuses to know what was removed.

use rusqlite::Connection;

use crate::store::StoreError;

/// Pages that one step gives back: each one costs moving another into its place.
const STEP_PAGES: i64 = 128;
/// Free pages that are not given back, as a part of all pages and at the least: new rows would only take them again.
const RESERVE_PART: i64 = 16;
const RESERVE: i64 = 256;

/// What became of free space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// There is none to give back.
    None,
    /// Some was given back, and there is more.
    More,
    /// The last of it was given back.
    Given,
}

/// Gives free pages back to the disk, beyond a reserve. Where everything is kept for ever, free pages are soon used again.
/// A full disk is given all of them.
pub fn give_back(db: &Connection, is_full: bool) -> Result<Space, StoreError> {
    let may_purge =
        || db.prepare_cached("SELECT 1 FROM accounts WHERE purge_at IS NOT NULL LIMIT 1")?.exists([]);
    if !(is_full || may_purge()?) || surplus(db, is_full)? <= 0 {
        return Ok(Space::None);
    }
    // One row for each page; those that are not asked for are not given back.
    let mut statement = db.prepare(&format!("PRAGMA incremental_vacuum({STEP_PAGES})"))?;
    let mut rows = statement.query([])?;
    let mut given = 0;
    while rows.next()?.is_some() {
        given += 1;
    }
    // A file from elsewhere may not be able to give back any.
    match (given, surplus(db, is_full)?) {
        (0, _) => Ok(Space::None),
        (_, 1..) => Ok(Space::More),
        _ => Ok(Space::Given),
    }
}

/// Free pages beyond the reserve.
fn surplus(db: &Connection, is_full: bool) -> Result<i64, StoreError> {
    let number = |name| db.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let kept = if is_full { 0 } else { RESERVE.max(number("page_count")? / RESERVE_PART) };
    Ok(number("freelist_count")? - kept)
}
