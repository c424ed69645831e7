//! Replays: what was asked for and how far it has come, as rows. Refuses to know what a step of one does: that is
//! `replay_steps`.

use const_format::formatcp;
use serde::{Deserialize, Serialize};

use super::states::{REPLAY_CANCELLED, REPLAY_DONE, REPLAY_RUNNING, state_code, state_of};
use crate::model::bounds::is_text;
use crate::model::replay::{Replay, ReplayOrder, ReplayState, Selection};
use crate::model::{AccountKey, DeliveryState, EventType, Outcome, Text, Time};
use crate::store::config::account_row;
use crate::store::layout::keys::{MOST_BROUGHT, keys_of, pack, range_before, unpack};
use crate::store::packed::damaged;
use crate::store::sql::{Connection, OptionalExtension, Row, params};
use crate::store::{Page, StoreError};

/// The job's `next_at` is when it is looked at again, NULL when there is nothing more to do. `position` is the last event
/// of the feed that it has looked at; along a call, the next one. `replayed` has the deliveries that are not numbered in
/// a row with their event's own.
pub const TABLES: &str = r"
ALTER TABLE accounts ADD COLUMN replays INTEGER NOT NULL DEFAULT 0;
CREATE TABLE replays (
    id INTEGER PRIMARY KEY, created_at INTEGER NOT NULL, selection TEXT NOT NULL, target INTEGER, rate REAL NOT NULL,
    dry INTEGER NOT NULL, state INTEGER NOT NULL, next_at INTEGER, position INTEGER NOT NULL, last INTEGER NOT NULL,
    total INTEGER, examined INTEGER NOT NULL, deliveries INTEGER NOT NULL, finished_at INTEGER
);
CREATE INDEX replays_due ON replays (next_at) WHERE next_at IS NOT NULL;
CREATE INDEX replays_running ON replays (id) WHERE state = 0;
CREATE TABLE replayed (
    event INTEGER NOT NULL, delivery INTEGER NOT NULL, replay INTEGER NOT NULL, PRIMARY KEY (event, delivery)
) WITHOUT ROWID;
-- state 3: claimed when nothing else is due.
ALTER TABLE open ADD COLUMN replay INTEGER;
CREATE INDEX open_by_replay ON open (replay) WHERE replay IS NOT NULL;
CREATE INDEX open_behind ON open (endpoint, id) WHERE state = 3;
";

/// Jobs of one account that may run at the same time.
pub const MOST_RUNNING: i64 = 16;
/// Deliveries of one job that are open at a time: as many as an endpoint's queue takes.
pub const MOST_OPEN: i64 = 1024;
/// Records of jobs that one step forgets at most.
const STEP: i64 = 100;

/// A selection as it lies in the store.
#[derive(Serialize, Deserialize)]
pub struct StoredSelection {
    event: Option<i64>,
    call: Option<i64>,
    endpoint: Option<i64>,
    kinds: Vec<i64>,
    batch: Option<Text>,
    campaign: Option<Text>,
    agent: Option<Text>,
    outcome: Option<Outcome>,
    from: Option<i64>,
    until: Option<i64>,
    state: Option<i64>,
}

impl StoredSelection {
    fn of(selection: &Selection) -> Self {
        let Selection { event, call, endpoint, batch, campaign, agent, outcome, .. } = selection.clone();
        let kinds = selection.kinds.iter().map(|kind| kind.code()).collect();
        let (from, until) = (selection.from.map(Time::as_micros), selection.until.map(Time::as_micros));
        let state = selection.state.map(state_code);
        Self { event, call, endpoint, kinds, batch, campaign, agent, outcome, from, until, state }
    }
}

/// Whether somebody can have asked for this.
pub fn is_possible(selection: &StoredSelection) -> bool {
    let numbers = [selection.event, selection.call, selection.endpoint];
    let texts = [&selection.batch, &selection.campaign, &selection.agent];
    let is_time = |micros: i64| Time::from_micros(micros).is_writable();
    numbers.into_iter().flatten().all(|number| (1..=MOST_BROUGHT).contains(&number))
        && texts.into_iter().flatten().all(|text| is_text(text.as_bytes()))
        && [selection.from, selection.until].into_iter().flatten().all(is_time)
        && selection.kinds.len() <= EventType::ALL.len()
        && selection.kinds.iter().all(|&code| EventType::from_code(code).is_some())
        && selection
            .state
            .is_none_or(|code| DeliveryState::ALL.into_iter().any(|state| state_code(state) == code))
}

/// The selection of a stored one.
pub fn selection_of(stored: StoredSelection) -> Selection {
    let StoredSelection { event, call, endpoint, batch, campaign, agent, outcome, .. } = stored;
    let kinds = stored.kinds.into_iter().filter_map(EventType::from_code).collect();
    let (from, until) = (stored.from.map(Time::from_micros), stored.until.map(Time::from_micros));
    let state = stored.state.map(state_of);
    Selection { event, call, endpoint, kinds, batch, campaign, agent, outcome, from, until, state }
}

/// Begins a replay; `None` when as many are running as may.
pub fn create(
    db: &Connection,
    account: AccountKey,
    order: &ReplayOrder,
    now: Time,
) -> Result<Option<Replay>, StoreError> {
    let [first, end] = [pack(account, 0), pack(AccountKey(account.0 + 1), 0)];
    let running: i64 = db
        .prepare_cached(formatcp!(
            "SELECT COUNT(*) FROM replays WHERE state = {REPLAY_RUNNING} AND id > ? AND id < ? /*account of ?1*/"
        ))?
        .query_row([first, end], |row| row.get(0))?;
    if running >= MOST_RUNNING {
        return Ok(None);
    }
    let (number, last, purged) = account_row::next_replay(db, account)?;
    let Selection { event, call, .. } = order.selection;
    let (position, last, total) = match (event, call) {
        (Some(event), _) => (event - 1, event, Some(1)),
        (None, Some(call)) => {
            let newest: Option<i64> = db
                .prepare_cached("SELECT event FROM calls WHERE id = ? /*account of ?1*/")?
                .query_row([pack(account, call)], |row| row.get(0))
                .optional()?;
            (newest.unwrap_or(0), last, None)
        }
        (None, None) => (purged, last, Some(last - purged)),
    };
    let selection = serde_json::to_string(&StoredSelection::of(&order.selection));
    db.prepare_cached(formatcp!(
        "INSERT INTO replays (id, created_at, selection, target, rate, dry, state, next_at, position, last, total,
         examined, deliveries /*!, account */)
         VALUES (?, ?, ?, ?, ?, ?, {REPLAY_RUNNING}, ?, ?, ?, ?, 0, 0 /*!, @1 */)"
    ))?
    .execute(params![
        pack(account, number),
        now.as_micros(),
        selection.map_err(|error| StoreError::Data(error.to_string()))?,
        order.to,
        order.rate,
        order.dry_run,
        now.as_micros(),
        position,
        last,
        total
    ])?;
    replay(db, account, number)
}

const COLUMNS: &str =
    "id, created_at, selection, target, rate, dry, state, total, examined, deliveries, finished_at";

fn replay_of(db: &Connection, row: &Row<'_>) -> Result<Replay, StoreError> {
    let id: i64 = row.get(0)?;
    let stored: StoredSelection = serde_json::from_str(&row.get::<String>(2)?).map_err(damaged)?;
    let order = ReplayOrder {
        selection: selection_of(stored),
        to: row.get(3)?,
        rate: row.get(4)?,
        dry_run: row.get(5)?,
    };
    Ok(Replay {
        number: unpack(id).1,
        order,
        state: match row.get(6)? {
            REPLAY_RUNNING => ReplayState::Running,
            REPLAY_DONE => ReplayState::Done,
            _ => ReplayState::Cancelled,
        },
        examined: row.get(8)?,
        total: row.get(7)?,
        deliveries: row.get(9)?,
        open: count_open(db, id)?,
        created_at: Time::from_micros(row.get(1)?),
        finished_at: row.get::<Option<i64>>(10)?.map(Time::from_micros),
    })
}

/// The deliveries of a job that are open; there are never many more than [`MOST_OPEN`].
pub fn count_open(db: &Connection, id: i64) -> Result<i64, StoreError> {
    Ok(db
        .prepare_cached(
            "SELECT COUNT(*) FROM (SELECT 1 FROM open
             WHERE replay = ? /*account of ?1*/ LIMIT ?) AS few",
        )?
        .query_row([id, 2 * MOST_OPEN], |row| row.get(0))?)
}

/// A replay by number.
pub fn replay(db: &Connection, account: AccountKey, number: i64) -> Result<Option<Replay>, StoreError> {
    let mut statement =
        db.prepare_cached(&format!("SELECT {COLUMNS} FROM replays WHERE id = ? /*account of ?1*/"))?;
    let mut rows = statement.query([pack(account, number)])?;
    rows.next()?.map(|row| replay_of(db, &row)).transpose()
}

/// Replays, newest first.
pub fn replays(db: &Connection, account: AccountKey, page: Page) -> Result<Vec<Replay>, StoreError> {
    let [first, before] = range_before(account, page.after);
    let mut statement = db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM replays WHERE id > ? AND id < ? /*account of ?1*/
         ORDER BY id DESC LIMIT ?"
    ))?;
    let mut rows = statement.query([first, before, i64::try_from(page.limit).unwrap_or(i64::MAX)])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(replay_of(db, &row)?);
    }
    Ok(found)
}

/// Calls a replay off, also what it planned and is still open: that goes in steps. False when it is over or not there.
pub fn cancel(db: &Connection, account: AccountKey, number: i64, now: Time) -> Result<bool, StoreError> {
    let id = pack(account, number);
    let changed = db
        .prepare_cached(formatcp!(
            "UPDATE replays SET state = {REPLAY_CANCELLED}, next_at = ?1, finished_at = ?1
             WHERE id = ?2 /*account of ?2*/ AND (state = {REPLAY_RUNNING}
             OR (state = {REPLAY_DONE} AND EXISTS (SELECT 1 FROM open WHERE replay = ?2 /*account of ?2*/)))"
        ))?
        .execute([now.as_micros(), id])?;
    Ok(changed == 1)
}

/// How far a replay has come.
pub struct ReplayProgress {
    pub state: i64,
    /// When it goes on; `None` when it is over.
    pub next_at: Option<Time>,
    /// The last event of the feed that it has looked at; along a call, the next one.
    pub position: i64,
    pub examined: i64,
    pub deliveries: i64,
    pub finished_at: Option<Time>,
}

/// Writes how far a running replay has come, by its key.
pub fn set_progress(db: &Connection, id: i64, progress: &ReplayProgress) -> Result<(), StoreError> {
    let &ReplayProgress { state, next_at, position, examined, deliveries, finished_at } = progress;
    let [next_at, finished_at] = [next_at, finished_at].map(|at| at.map(Time::as_micros));
    db.prepare_cached(formatcp!(
        "UPDATE replays SET state = ?, next_at = ?, position = ?, examined = ?, deliveries = ?, finished_at = ?
         WHERE id = ? /*account of ?7*/ AND state = {REPLAY_RUNNING}"
    ))?
    .execute(params![state, next_at, position, examined, deliveries, finished_at, id])?;
    Ok(())
}

/// Writes of a cancelled replay, by its key, that none of its deliveries is pending any more.
pub fn finish_cancel(db: &Connection, id: i64) -> Result<(), StoreError> {
    db.prepare_cached("UPDATE replays SET next_at = NULL WHERE id = ? /*account of ?1*/")?.execute([id])?;
    Ok(())
}

/// A replay of an import.
pub struct ImportedReplay<'a> {
    pub id: i64,
    pub created_at: Time,
    /// A [`StoredSelection`], as JSON.
    pub selection: &'a str,
    /// The number of the endpoint that it is for, if it is for one.
    pub target: Option<i64>,
    pub rate: f64,
    pub dry: bool,
    pub state: i64,
    /// Whether it is cancelled and has pending deliveries, which come after it.
    pub is_cancelling: bool,
    pub position: i64,
    pub last: i64,
    pub total: Option<i64>,
    pub examined: i64,
    pub deliveries: i64,
    pub finished_at: Option<Time>,
}

/// When a replay goes on whose deliveries are still being imported.
const AFTER_IMPORT: i64 = i64::MAX;

/// Inserts a replay of an import.
pub fn insert_imported(db: &Connection, replay: &ImportedReplay<'_>) -> Result<(), StoreError> {
    db.prepare_cached(
        "INSERT INTO replays (id, created_at, selection, target, rate, dry, state, next_at, position, last, total,
         examined, deliveries, finished_at /*!, account */)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ? /*!, @1 */)",
    )?
    .execute(params![
        replay.id,
        replay.created_at.as_micros(),
        replay.selection,
        replay.target,
        replay.rate,
        replay.dry,
        replay.state,
        replay.is_cancelling.then_some(AFTER_IMPORT),
        replay.position,
        replay.last,
        replay.total,
        replay.examined,
        replay.deliveries,
        replay.finished_at.map(Time::as_micros)
    ])?;
    Ok(())
}

/// Lets the cancelled replays of an account go on whose deliveries are imported now.
pub fn end_import(db: &Connection, account: AccountKey, now: Time) -> Result<(), StoreError> {
    let [first, end] = keys_of(account);
    db.prepare_cached(
        "UPDATE replays SET next_at = ? WHERE next_at = ? AND id > ? AND id < ? /*account of ?3*/",
    )?
    .execute([now.as_micros(), AFTER_IMPORT, first, end])?;
    Ok(())
}

/// Whether the account ever replayed anything.
pub fn has_any(db: &Connection, account: AccountKey) -> Result<bool, StoreError> {
    Ok(db.prepare_cached("SELECT 1 FROM accounts WHERE account = ? AND replays > 0")?.exists([account.0])?)
}

/// Forgets some jobs that are over and were asked for at this moment or before.
pub fn forget(db: &Connection, account: AccountKey, since: i64) -> Result<bool, StoreError> {
    let oldest: Vec<(i64, i64, Option<i64>)> = db
        .prepare_cached(
            "SELECT id, created_at, next_at FROM replays WHERE id > ? AND id < ? /*account of ?1*/
             ORDER BY id LIMIT ?",
        )?
        .query_map(params![pack(account, 0), pack(AccountKey(account.0 + 1), 0), STEP], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?
        .collect::<Result<_, _>>()?;
    let mut has_forgotten = false;
    for (id, created_at, next_at) in oldest {
        if created_at <= since && next_at.is_none() {
            db.prepare_cached("DELETE FROM replays WHERE id = ? /*account of ?1*/")?.execute([id])?;
            has_forgotten = true;
        }
    }
    Ok(has_forgotten)
}
