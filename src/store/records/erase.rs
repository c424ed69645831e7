//! The erasure of a person as a job: made in one transaction, done in small steps behind everything else, going on
//! after a restart where it was, and at the end overwriting what SQLite leaves behind. Does not depend on which kinds of
//! records there are, and how a person is erased from each: that is `kinds`.

use tracing::info;

use super::kinds::KINDS;
use crate::model::{AccountKey, Mention, Time};
use crate::store::apply::recording::Recording;
use crate::store::config::account_row;
use crate::store::erasure::Erasure;
use crate::store::layout::keys::{keys_of, pack, unpack};
use crate::store::lifetime::erasing::Erasing;
use crate::store::packed::damaged;
use crate::store::sql::{Connection, OptionalExtension, Row, page_scrub, params};
use crate::store::tx::step_budget::Budget;
use crate::store::vault::Vault;
use crate::store::{Page, StoreError};

/// Jobs, and the calls that one has found and not yet erased.
pub const TABLES: &str = r"
ALTER TABLE accounts ADD COLUMN erasures INTEGER NOT NULL DEFAULT 0;
-- sealed holds the number while the job runs; room and place say how far it is; counts is JSON.
CREATE TABLE erasures (
    id INTEGER PRIMARY KEY, digest BLOB NOT NULL, sealed BLOB, requested_at INTEGER NOT NULL, room TEXT,
    place INTEGER NOT NULL DEFAULT 0, erased_at INTEGER, overwritten_at INTEGER, counts TEXT NOT NULL DEFAULT '{}'
);
CREATE INDEX erasures_to_do ON erasures (id) WHERE room IS NOT NULL;
-- at is the event that comes next, 0 is the call's last.
CREATE TABLE erasure_calls (
    erasure INTEGER NOT NULL, call INTEGER NOT NULL, at INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (erasure, call)
) WITHOUT ROWID;
-- Zeros on their way into free pages.
CREATE TABLE overwritten (id INTEGER PRIMARY KEY, zeros BLOB NOT NULL);
";

/// After all kinds: free pages are filled with zeros and freed again.
const FREE_SPACE: &str = "free space";
/// Then copies that lie between the rows of pages are cleared.
const GAPS: &str = "gaps";
/// Last: the log is copied and begun afresh, in a file without content. Done outside a transaction.
const LOG: &str = "log";
/// Free pages that one step overwrites.
const STEP_PAGES: i64 = 128;
/// What of a page holds content, in bytes; each of the pages of a large value has a link in front.
const PAGE_CONTENT: i64 = 4092;

/// The first room from this one on where a person may be.
fn next_room(from: usize) -> Option<&'static str> {
    KINDS[from..].iter().find(|kind| kind.erase.is_some()).map(|kind| kind.name)
}

/// Makes a job.
pub fn create(
    db: &Connection,
    vault: &Vault,
    account: AccountKey,
    person: &Mention,
    digest: &[u8],
    now: Time,
) -> Result<Erasure, StoreError> {
    let number = account_row::next_number(db, account, "erasures")?
        .ok_or_else(|| damaged("an erasure for an account that does not exist"))?;
    let sealed = vault.seal(person.number().as_bytes());
    let room = next_room(0);
    db.prepare_cached(
        "INSERT INTO erasures (id, digest, sealed, requested_at, room /*!, account */)
         VALUES (?, ?, ?, ?, ? /*!, @1 */)",
    )?
    .execute(params![pack(account, number), digest, sealed, now.as_micros(), room])?;
    find(db, account, number)?.ok_or_else(|| damaged("an erasure is gone"))
}

const COLUMNS: &str = "id, digest, requested_at, room, erased_at, overwritten_at, counts";

fn erasure_of(row: &Row<'_>) -> crate::store::sql::Result<Erasure> {
    let counts: String = row.get(6)?;
    Ok(Erasure {
        number: unpack(row.get(0)?).1,
        digest: row.get(1)?,
        requested_at: Time::from_micros(row.get(2)?),
        room: row.get(3)?,
        erased_at: row.get::<Option<i64>>(4)?.map(Time::from_micros),
        overwritten_at: row.get::<Option<i64>>(5)?.map(Time::from_micros),
        counts: serde_json::from_str(&counts).unwrap_or_default(),
    })
}

/// One job.
pub fn find(db: &Connection, account: AccountKey, number: i64) -> Result<Option<Erasure>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM erasures WHERE id = ? /*account of ?1*/");
    Ok(db.prepare_cached(&sql)?.query_row([pack(account, number)], erasure_of).optional()?)
}

/// Jobs, newest first.
pub fn list(db: &Connection, account: AccountKey, page: Page) -> Result<Vec<Erasure>, StoreError> {
    let end = page.after.map_or_else(|| pack(AccountKey(account.0 + 1), 0), |after| pack(account, after));
    let sql = format!(
        "SELECT {COLUMNS} FROM erasures WHERE id > ? AND id < ? /*account of ?1*/
         ORDER BY id DESC LIMIT ?"
    );
    let limit = i64::try_from(page.limit).unwrap_or(i64::MAX);
    let mut statement = db.prepare_cached(&sql)?;
    let found = statement.query_map([pack(account, 0), end, limit], erasure_of)?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// The accounts of the jobs under way, in the order in which these go.
pub fn due(db: &Connection, _: Time, most: i64) -> Result<Vec<AccountKey>, StoreError> {
    let mut statement = db
        .prepare_cached("SELECT id FROM erasures WHERE room IS NOT NULL AND room <> ? ORDER BY id LIMIT ?")?;
    let rows = statement.query_map(params![LOG, most], |row| Ok(unpack(row.get(0)?).0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// One step of the account's oldest job. True when there is more.
pub fn step(recording: &mut Recording<'_>, account: AccountKey) -> Result<bool, StoreError> {
    let vault = recording.tx.vault;
    let [first, end] = keys_of(account);
    let db = recording.tx.db;
    #[expect(clippy::type_complexity, reason = "one row")]
    let oldest: Option<(i64, Option<Vec<u8>>, String, i64, String, i64)> = db
        .prepare_cached(
            "SELECT id, sealed, room, place, counts, requested_at FROM erasures
             WHERE room IS NOT NULL AND room <> ? AND id >= ? AND id < ? /*account of ?2*/
             ORDER BY id LIMIT 1",
        )?
        .query_row(params![LOG, first, end], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?))
        })
        .optional()?;
    let Some((job, sealed, name, place, counts, requested_at)) = oldest else { return Ok(false) };
    // A clock that was set back does not erase before it was asked to: what is remembered of a call counts from here.
    recording.tx.now = recording.tx.now.max(Time::from_micros(requested_at));
    // From here on what is deleted is overwritten in the same pages, and so are pages that become free.
    if let Some(file) = db.file() {
        file.pragma_update(None, "secure_delete", "ON")?;
    }
    let now = recording.tx.now.as_micros();
    let Some(room) = KINDS.iter().position(|kind| kind.name == name) else {
        let (next, place) = if name == GAPS {
            page_scrub::clear(db.sqlite(), place)?.map_or((LOG, 0), |place| (GAPS, place))
        } else {
            overwrite(db, place)?.map_or((GAPS, 0), |place| (FREE_SPACE, place))
        };
        db.prepare_cached("UPDATE erasures SET room = ?, place = ? WHERE id = ? /*account of ?3*/")?
            .execute(params![next, place, job])?;
        return Ok(true);
    };
    let sealed = sealed.ok_or_else(|| damaged("an erasure does not know whom it erases"))?;
    let number = vault.open(&sealed).map_err(damaged)?;
    let person = Mention::of(&String::from_utf8_lossy(&number)).ok_or_else(|| damaged("no number"))?;
    let mut erasing = Erasing {
        recording,
        vault,
        account: unpack(job).0,
        job,
        person,
        place,
        budget: Budget::new(),
        counts: serde_json::from_str(&counts).map_err(damaged)?,
    };
    let more = match KINDS[room].erase {
        Some(erase) => erase(&mut erasing)?,
        None => false,
    };
    let Erasing { place, counts, .. } = erasing;
    let counts = serde_json::to_string(&counts).map_err(damaged)?;
    let next = if more { Some(name.as_str()) } else { next_room(room + 1) };
    match next {
        Some(next) => db
            .prepare_cached(
                "UPDATE erasures SET room = ?, place = ?, counts = ? WHERE id = ? /*account of ?4*/",
            )?
            .execute(params![next, if more { place } else { 0 }, counts, job])?,
        // The number itself is not needed any more.
        None => db
            .prepare_cached(
                "UPDATE erasures SET room = ?, place = 0, counts = ?, sealed = NULL, erased_at = ?
                 WHERE id = ? /*account of ?4*/",
            )?
            .execute(params![left_behind(db), counts, now, job])?,
    };
    Ok(true)
}

/// What is left to do when every room is done. PostgreSQL tidies its pages up by itself, told to in place of a log.
fn left_behind(db: &Connection) -> &'static str {
    if db.file().is_some() { FREE_SPACE } else { LOG }
}

/// Fills free pages with zeros, then frees them again. Gives the place of the next step, or nothing at the end.
fn overwrite(db: &Connection, place: i64) -> Result<Option<i64>, StoreError> {
    const FILLING: i64 = 0;
    const EMPTYING: i64 = 1;
    if place == FILLING {
        let free: i64 = db.sqlite().pragma_query_value(None, "freelist_count", |row| row.get(0))?;
        let pages = free.min(STEP_PAGES);
        if pages > 0 {
            db.prepare_cached("INSERT INTO overwritten (zeros) VALUES (zeroblob(?))")?
                .execute([pages * PAGE_CONTENT])?;
        }
        return Ok(Some(if pages == free { EMPTYING } else { FILLING }));
    }
    let freed = db
        .prepare_cached("DELETE FROM overwritten WHERE id = (SELECT id FROM overwritten LIMIT 1)")?
        .execute(())?;
    Ok((freed > 0).then_some(EMPTYING))
}

/// Whether nothing but the log stands between a job and its end.
pub fn waits_for_log(db: &Connection) -> Result<bool, StoreError> {
    let sql = "SELECT 1 FROM erasures WHERE room IS NOT NULL AND room = ? LIMIT 1";
    Ok(db.prepare_cached(sql)?.exists([LOG])?)
}

/// The log was begun afresh: the oldest job that waits for that is finished.
pub fn finish(db: &Connection, now: Time) -> Result<(), StoreError> {
    let job: i64 = db
        .prepare_cached(
            "UPDATE erasures SET room = NULL, overwritten_at = ? WHERE id =
             (SELECT id FROM erasures WHERE room IS NOT NULL AND room = ? ORDER BY id LIMIT 1) RETURNING id",
        )?
        .query_row(params![now.as_micros(), LOG], |row| row.get(0))?;
    let (account, number) = unpack(job);
    info!(account = account.0, erasure = number, "a person was erased");
    Ok(())
}
