//! Replays: jobs that look through the feed in small steps and plan deliveries once more, behind everything that is fresh.
//! A step is a transaction of a few milliseconds in which the deliveries and the place in the feed are written together,
//! so a job goes on after a crash where it was, and no delivery is planned twice. Only so many are open at a time as an
//! endpoint's queue takes. Refuses to know what fits a selection: the ledger decides.

use std::collections::BTreeMap;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};

use super::codec::{state_code, state_of};
use super::holds;
use super::read;
use super::record::{BEHIND, Recording};
use super::schema::{pack, unpack};
use crate::ledger::replay as rules;
use crate::model::replay::{Replay, ReplayOrder, ReplayState, Selection};
use crate::model::{AccountKey, Call, DeliveryState, EventType, Outcome, Text, Time};
use crate::store::packed::damaged;
use crate::store::{EndpointRef, Page, StoreError};

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
const MOST_OPEN: i64 = 1024;
/// Deliveries that a step plans at most, and events and deliveries that it looks at.
const STEP: usize = 100;
const LOOKS: usize = 1000;
/// Records that a step reads whole.
const READS: usize = 150;
/// When a job that found no room looks again.
const ROOM_PAUSE: Duration = Duration::from_millis(250);

const RUNNING: i64 = 0;
const DONE: i64 = 1;
const CANCELLED: i64 = 2;

/// A selection as it lies in the store.
#[derive(Serialize, Deserialize)]
struct Stored {
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

impl Stored {
    fn of(selection: &Selection) -> Self {
        let Selection { event, call, endpoint, batch, campaign, agent, outcome, .. } = selection.clone();
        let kinds = selection.kinds.iter().map(|kind| kind.code()).collect();
        let (from, until) = (selection.from.map(Time::as_micros), selection.until.map(Time::as_micros));
        let state = selection.state.map(state_code);
        Self { event, call, endpoint, kinds, batch, campaign, agent, outcome, from, until, state }
    }

    fn open(self) -> Selection {
        let Self { event, call, endpoint, batch, campaign, agent, outcome, .. } = self;
        let kinds = self.kinds.into_iter().filter_map(EventType::from_code).collect();
        let (from, until) = (self.from.map(Time::from_micros), self.until.map(Time::from_micros));
        let state = self.state.map(state_of);
        Selection { event, call, endpoint, kinds, batch, campaign, agent, outcome, from, until, state }
    }
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
        .prepare_cached("SELECT COUNT(*) FROM replays WHERE state = 0 AND id > ? AND id < ?")?
        .query_row([first, end], |row| row.get(0))?;
    if running >= MOST_RUNNING {
        return Ok(None);
    }
    let (number, last, purged): (i64, i64, i64) = db
        .prepare_cached(
            "UPDATE accounts SET replays = replays + 1 WHERE account = ? RETURNING replays, position, purged",
        )?
        .query_row([account.0], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let Selection { event, call, .. } = order.selection;
    let (position, last, total) = match (event, call) {
        (Some(event), _) => (event - 1, event, Some(1)),
        (None, Some(call)) => {
            let newest: Option<i64> = db
                .prepare_cached("SELECT event FROM calls WHERE id = ?")?
                .query_row([pack(account, call)], |row| row.get(0))
                .optional()?;
            (newest.unwrap_or(0), last, None)
        }
        (None, None) => (purged, last, Some(last - purged)),
    };
    let selection = serde_json::to_string(&Stored::of(&order.selection));
    db.prepare_cached(
        "INSERT INTO replays (id, created_at, selection, target, rate, dry, state, next_at, position, last, total,
         examined, deliveries) VALUES (?, ?, ?, ?, ?, ?, 0, ?, ?, ?, ?, 0, 0)",
    )?
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
    let stored: Stored = serde_json::from_str(&row.get::<_, String>(2)?).map_err(damaged)?;
    let order =
        ReplayOrder { selection: stored.open(), to: row.get(3)?, rate: row.get(4)?, dry_run: row.get(5)? };
    Ok(Replay {
        number: unpack(id).1,
        order,
        state: match row.get(6)? {
            RUNNING => ReplayState::Running,
            DONE => ReplayState::Done,
            _ => ReplayState::Cancelled,
        },
        examined: row.get(8)?,
        total: row.get(7)?,
        deliveries: row.get(9)?,
        open: count_open(db, id)?,
        created_at: Time::from_micros(row.get(1)?),
        finished_at: row.get::<_, Option<i64>>(10)?.map(Time::from_micros),
    })
}

fn count_open(db: &Connection, id: i64) -> Result<i64, StoreError> {
    Ok(db
        .prepare_cached("SELECT COUNT(*) FROM (SELECT 1 FROM open WHERE replay = ? LIMIT ?)")?
        .query_row([id, 2 * MOST_OPEN], |row| row.get(0))?)
}

/// A replay by number.
pub fn replay(db: &Connection, account: AccountKey, number: i64) -> Result<Option<Replay>, StoreError> {
    let mut statement = db.prepare_cached(&format!("SELECT {COLUMNS} FROM replays WHERE id = ?"))?;
    let mut rows = statement.query([pack(account, number)])?;
    rows.next()?.map(|row| replay_of(db, row)).transpose()
}

/// Replays, newest first.
pub fn replays(db: &Connection, account: AccountKey, page: Page) -> Result<Vec<Replay>, StoreError> {
    let [first, before] = read::range_before(account, page.after);
    let mut statement = db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM replays WHERE id > ? AND id < ? ORDER BY id DESC LIMIT ?"
    ))?;
    let mut rows = statement.query([first, before, i64::try_from(page.limit).unwrap_or(i64::MAX)])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(replay_of(db, row)?);
    }
    Ok(found)
}

/// Calls a replay off, also what it planned and is still open: that goes in steps. False when it is over or not there.
pub fn cancel(db: &Connection, account: AccountKey, number: i64, now: Time) -> Result<bool, StoreError> {
    let id = pack(account, number);
    let changed = db
        .prepare_cached(
            "UPDATE replays SET state = 2, next_at = ?1, finished_at = ?1 WHERE id = ?2 AND (state = 0
             OR (state = 1 AND EXISTS (SELECT 1 FROM open WHERE replay = ?2)))",
        )?
        .execute([now.as_micros(), id])?;
    Ok(changed == 1)
}

/// A job that is due.
struct Job {
    id: i64,
    order: ReplayOrder,
    state: i64,
    next_at: i64,
    position: i64,
    last: i64,
    examined: i64,
    deliveries: i64,
}

/// One step of the job that has waited longest. True when there may be more to do.
pub fn step(recording: &mut Recording<'_>) -> Result<bool, StoreError> {
    let (db, now) = (recording.db, recording.now.as_micros());
    let mut statement = db.prepare_cached(
        "SELECT id, selection, target, rate, dry, state, next_at, position, last, examined, deliveries
         FROM replays WHERE next_at <= ? ORDER BY next_at LIMIT 1",
    )?;
    let mut rows = statement.query([now])?;
    let Some(row) = rows.next()? else { return Ok(false) };
    let stored: Stored = serde_json::from_str(&row.get::<_, String>(1)?).map_err(damaged)?;
    let job = Job {
        id: row.get(0)?,
        order: ReplayOrder {
            selection: stored.open(),
            to: row.get(2)?,
            rate: row.get(3)?,
            dry_run: row.get(4)?,
        },
        state: row.get(5)?,
        next_at: row.get(6)?,
        position: row.get(7)?,
        last: row.get(8)?,
        examined: row.get(9)?,
        deliveries: row.get(10)?,
    };
    drop(rows);
    match job.state {
        RUNNING => Walk::of(recording, job).step()?,
        _ => call_off(recording, job.id)?,
    }
    Ok(true)
}

fn call_off(recording: &mut Recording<'_>, replay: i64) -> Result<(), StoreError> {
    let db = recording.db;
    let open: Vec<i64> = db
        .prepare_cached("SELECT id FROM open WHERE replay = ? LIMIT ?")?
        .query_map(params![replay, i64::try_from(STEP).unwrap_or(i64::MAX)], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    if open.is_empty() {
        db.prepare_cached("UPDATE replays SET next_at = NULL WHERE id = ?")?.execute([replay])?;
    }
    open.into_iter().try_for_each(|id| recording.cancel_open(id).map(drop))
}

/// An event's row, as far as a job looks at it first.
struct Seen {
    position: i64,
    kind: Option<EventType>,
    at: Time,
    call: Option<i64>,
    previous: Option<i64>,
    first_delivery: i64,
    deliveries: i64,
}

/// One step of a job along the feed or a call.
struct Walk<'a, 'b> {
    recording: &'a mut Recording<'b>,
    account: AccountKey,
    job: Job,
    /// The call that was read last: events of one call often follow each other.
    call: Option<(i64, Option<Call>)>,
    looks: usize,
    reads: usize,
    planned: usize,
}

impl<'a, 'b> Walk<'a, 'b> {
    fn of(recording: &'a mut Recording<'b>, job: Job) -> Self {
        let account = unpack(job.id).0;
        Self { recording, account, job, call: None, looks: LOOKS, reads: READS, planned: 0 }
    }

    fn step(mut self) -> Result<(), StoreError> {
        let now = self.recording.now;
        let due = Time::from_micros(self.job.next_at);
        let is_gone = match self.job.order.to {
            Some(to) => self.recording.config(self.account)?.endpoint(to).is_none(),
            None => false,
        };
        if is_gone {
            return self.finish(CANCELLED);
        }
        let most = self.most()?;
        if most == 0 {
            return self.pause(now.after(ROOM_PAUSE));
        }
        while self.planned < most && self.looks > 0 && self.reads > 0 {
            let Some(seen) = self.next()? else { return self.finish(DONE) };
            self.examine(&seen)?;
            self.looks = self.looks.saturating_sub(1);
            self.job.examined += 1;
            self.job.position = match self.job.order.selection.call {
                Some(_) if self.job.order.selection.event.is_none() => seen.previous.unwrap_or(0),
                _ => seen.position,
            };
        }
        let next = match self.job.order.dry_run {
            true => now,
            false => rules::pace(due, now, self.planned, self.job.order.rate),
        };
        self.pause(next)
    }

    /// How many deliveries this step may plan. An event that is owed to many is planned for all of them.
    fn most(&self) -> Result<usize, StoreError> {
        if self.job.order.dry_run {
            return Ok(usize::MAX);
        }
        let room = MOST_OPEN - count_open(self.recording.db, self.job.id)?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float saturates")]
        let of_a_second = self.job.order.rate.ceil() as usize;
        Ok(usize::try_from(room).unwrap_or(0).min(STEP).min(of_a_second.max(1)))
    }

    fn next(&self) -> Result<Option<Seen>, StoreError> {
        const COLUMNS: &str = "id, kind, at, call, previous, first_delivery, deliveries";
        let (db, job) = (self.recording.db, &self.job);
        let is_along_call = job.order.selection.call.is_some() && job.order.selection.event.is_none();
        let read = |row: &Row<'_>| {
            Ok(Seen {
                position: unpack(row.get(0)?).1,
                kind: EventType::from_code(row.get(1)?),
                at: Time::from_micros(row.get(2)?),
                call: row.get(3)?,
                previous: row.get(4)?,
                first_delivery: row.get(5)?,
                deliveries: row.get(6)?,
            })
        };
        if is_along_call {
            let mut statement = db.prepare_cached(&format!("SELECT {COLUMNS} FROM events WHERE id = ?"))?;
            let found = statement.query_row([pack(self.account, job.position)], read).optional()?;
            return Ok(found.filter(|seen| seen.call == job.order.selection.call));
        }
        let mut statement = db.prepare_cached(&format!(
            "SELECT {COLUMNS} FROM events WHERE id > ? AND id <= ? ORDER BY id LIMIT 1"
        ))?;
        let range = [pack(self.account, job.position), pack(self.account, job.last)];
        Ok(statement.query_row(range, read).optional()?)
    }

    fn examine(&mut self, seen: &Seen) -> Result<(), StoreError> {
        let selection = &self.job.order.selection;
        if !seen.kind.is_some_and(|kind| rules::selects(selection, kind, seen.at))
            || selection.call.is_some_and(|call| seen.call != Some(call))
        {
            return Ok(());
        }
        let asks = rules::asks_for_record(selection);
        let (is_own, of_endpoint) = (self.job.order.to.is_none(), selection.endpoint);
        // Where nothing is asked of earlier deliveries, the event alone decides.
        let mut targets: Vec<(i64, Option<i64>)> = Vec::new();
        if is_own || of_endpoint.is_some() || selection.state.is_some() {
            let newest = self.newest_deliveries(seen)?;
            let selection = &self.job.order.selection;
            let fits = |&(&endpoint, &(_, state)): &(&i64, &(i64, DeliveryState))| {
                of_endpoint.is_none_or(|wanted| wanted == endpoint)
                    && rules::selects_state(selection, state, is_own)
            };
            targets
                .extend(newest.iter().filter(fits).map(|(&endpoint, &(number, _))| (endpoint, Some(number))));
            if targets.is_empty() {
                return Ok(());
            }
        }
        if let Some(to) = self.job.order.to {
            targets = vec![(to, None)];
        }
        self.reads = self.reads.saturating_sub(1);
        let tag = self.recording.config(self.account)?.account.tag;
        let (event, ..) = read::event(self.recording.db, tag, self.account, seen.position)?;
        if asks {
            let call = seen.call.map_or(Ok(None), |call| self.record(call))?;
            if !rules::selects_record(&self.job.order.selection, &event, call.as_ref()) {
                return Ok(());
            }
        }
        let config = self.recording.config(self.account)?;
        for (target, earlier) in targets {
            let endpoint = config.endpoint(target);
            if !endpoint.is_some_and(|endpoint| rules::suits(endpoint, &event, is_own)) {
                continue;
            }
            self.planned += 1;
            self.job.deliveries += 1;
            if !self.job.order.dry_run {
                let endpoint = EndpointRef { account: self.account, number: target };
                self.recording.replay(endpoint, seen.position, self.job.id, earlier)?;
            }
        }
        Ok(())
    }

    /// The newest delivery of an event to each endpoint, with its state.
    fn newest_deliveries(&mut self, seen: &Seen) -> Result<BTreeMap<i64, (i64, DeliveryState)>, StoreError> {
        let db = self.recording.db;
        let own = seen.first_delivery..seen.first_delivery + seen.deliveries;
        let again = deliveries_of(db, self.account, seen.position)?;
        let mut newest = BTreeMap::new();
        for number in own.chain(again) {
            self.looks = self.looks.saturating_sub(1);
            if let Some((endpoint, state)) = read::endpoint_and_state(db, pack(self.account, number))? {
                newest.insert(endpoint, (number, state));
            }
        }
        Ok(newest)
    }

    fn record(&mut self, call: i64) -> Result<Option<Call>, StoreError> {
        if let Some((known, record)) = &self.call
            && *known == call
        {
            return Ok(record.clone());
        }
        self.reads = self.reads.saturating_sub(1);
        let record = read::call(self.recording.db, self.account, call)?.map(|view| view.call);
        self.call = Some((call, record.clone()));
        Ok(record)
    }

    fn pause(self, until: Time) -> Result<(), StoreError> {
        self.write(RUNNING, Some(until))
    }

    fn finish(self, state: i64) -> Result<(), StoreError> {
        self.write(state, None)
    }

    fn write(self, state: i64, next_at: Option<Time>) -> Result<(), StoreError> {
        let finished_at = next_at.is_none().then(|| self.recording.now.as_micros());
        self.recording
            .db
            .prepare_cached(
                "UPDATE replays SET state = ?, next_at = ?, position = ?, examined = ?, deliveries = ?, finished_at = ?
                 WHERE id = ?",
            )?
            .execute(params![
                state,
                next_at.map(Time::as_micros),
                self.job.position,
                self.job.examined,
                self.job.deliveries,
                finished_at,
                self.job.id
            ])?;
        Ok(())
    }
}

impl Recording<'_> {
    /// Plans a delivery of an event once more. It is encoded anew; only what an earlier delivery had waited for goes
    /// along again.
    fn replay(
        &mut self,
        endpoint: EndpointRef,
        position: i64,
        replay: i64,
        earlier: Option<i64>,
    ) -> Result<(), StoreError> {
        let account = endpoint.account;
        let revision =
            self.config(account)?.endpoint(endpoint.number).map_or(1, |endpoint| endpoint.revision);
        let id = pack(account, self.next_delivery(account)?);
        let db = self.db;
        db.prepare_cached(
            "INSERT INTO open (id, endpoint, event, call, revision, state, due, tries, replay)
             VALUES (?, ?, ?, NULL, ?, ?, ?, 0, ?)",
        )?
        .execute([
            id,
            pack(account, endpoint.number),
            position,
            revision,
            BEHIND,
            self.now.as_micros(),
            replay,
        ])?;
        db.prepare_cached("INSERT INTO replayed (event, delivery, replay) VALUES (?, ?, ?)")?.execute([
            pack(account, position),
            id,
            replay,
        ])?;
        if let Some(earlier) = earlier
            && let Some(snapshot) = holds::rendered(db, pack(account, earlier))?
        {
            holds::render(db, id, snapshot)?;
        }
        let sum = self.sum(endpoint);
        sum.owed += 1;
        sum.pending += 1;
        self.wake(endpoint);
        Ok(())
    }
}

/// The deliveries of an event that replays planned, oldest first.
pub fn deliveries_of(db: &Connection, account: AccountKey, position: i64) -> Result<Vec<i64>, StoreError> {
    let mut statement =
        db.prepare_cached("SELECT delivery FROM replayed WHERE event = ? ORDER BY delivery")?;
    let numbers = statement.query_map([pack(account, position)], |row| Ok(unpack(row.get(0)?).1))?;
    Ok(numbers.collect::<Result<_, _>>()?)
}

/// The replay that planned a delivery, if one did.
pub fn replay_of_delivery(
    db: &Connection,
    account: AccountKey,
    position: i64,
    delivery: i64,
) -> Result<Option<i64>, StoreError> {
    let mut statement = db.prepare_cached("SELECT replay FROM replayed WHERE event = ? AND delivery = ?")?;
    let key = [pack(account, position), pack(account, delivery)];
    Ok(statement.query_row(key, |row| row.get(0)).optional()?.map(|id| unpack(id).1))
}

/// Whether the account ever replayed anything.
pub fn has_any(db: &Connection, account: AccountKey) -> Result<bool, StoreError> {
    Ok(db.prepare_cached("SELECT 1 FROM accounts WHERE account = ? AND replays > 0")?.exists([account.0])?)
}

/// Forgets some jobs that are over and were asked for at this moment or before.
pub fn forget(db: &Connection, account: AccountKey, since: i64) -> Result<bool, StoreError> {
    let oldest: Vec<(i64, i64, Option<i64>)> = db
        .prepare_cached(
            "SELECT id, created_at, next_at FROM replays WHERE id > ? AND id < ? ORDER BY id LIMIT ?",
        )?
        .query_map(
            params![
                pack(account, 0),
                pack(AccountKey(account.0 + 1), 0),
                i64::try_from(STEP).unwrap_or(i64::MAX)
            ],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )?
        .collect::<Result<_, _>>()?;
    let mut has_forgotten = false;
    for (id, created_at, next_at) in oldest {
        if created_at <= since && next_at.is_none() {
            db.prepare_cached("DELETE FROM replays WHERE id = ?")?.execute([id])?;
            has_forgotten = true;
        }
    }
    Ok(has_forgotten)
}
