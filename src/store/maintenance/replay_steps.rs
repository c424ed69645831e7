//! One step of a replay: looks at a page of events, plans their deliveries once more and notes how far it came, in the caller's
//! transaction of a few milliseconds. So a job goes on after a crash where it was, and plans nothing twice. Only so many
//! are open at a time as an endpoint's queue takes. Refuses to know what fits a selection and how fast: the ledger decides.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use crate::ledger::replay as rules;
use crate::model::replay::ReplayOrder;
use crate::model::{AccountKey, Call, DeliveryState, EventType, Time};
use crate::store::apply::recording::Recording;
use crate::store::calls::spans;
use crate::store::deliveries::open_rows::{self, PlannedDelivery};
use crate::store::deliveries::replays::{
    self, MOST_OPEN, ReplayProgress, StoredSelection, count_open, selection_of,
};
use crate::store::deliveries::states::{REPLAY_CANCELLED, REPLAY_DONE, REPLAY_RUNNING};
use crate::store::deliveries::{deferral_rows, replayed_rows};
use crate::store::jobs::due::{ByTime, Due};
use crate::store::layout::keys::{keys_of, pack, unpack};
use crate::store::packed::damaged;
use crate::store::reads::pages::{self, Events, OwnDeliveries};
use crate::store::sql::{OptionalExtension, Row, params};
use crate::store::tx::watermarks::Watermarks;
use crate::store::{EndpointRef, StoreError};

/// Deliveries that a step plans at most, and events and deliveries that it looks at.
const STEP: usize = 100;
const LOOKS: usize = 1000;
/// Records that a step reads whole.
const READS: usize = 150;
/// Events of a page, at the least and at the most, and bytes of their bodies.
const PAGE: (usize, usize) = (10, 100);
const PAGE_BYTES: i64 = 2 << 20;
/// When a job that found no room looks again.
const ROOM_PAUSE: Duration = Duration::from_millis(250);

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

/// Replays that are to go on.
pub const WAITING: ByTime = ByTime::Keys(
    "SELECT id, next_at FROM replays WHERE next_at > ? AND next_at <= ? ORDER BY next_at LIMIT ?",
);

/// One step of the account's replay that has waited longest. True when there may be more to do.
pub fn step(recording: &mut Recording<'_>, due: Due) -> Result<bool, StoreError> {
    let (db, [from, until], [first, end]) = (recording.tx.db, due.span, keys_of(due.account));
    let mut statement = db.prepare_cached(
        "SELECT id, selection, target, rate, dry, state, next_at, position, last, examined, deliveries
         FROM replays WHERE next_at >= ? AND next_at <= ? AND +id >= ? AND +id < ? /*account of ?3*/
         ORDER BY next_at LIMIT 1",
    )?;
    let mut rows = statement.query([from, until, first, end])?;
    let Some(row) = rows.next()? else { return Ok(false) };
    let stored: StoredSelection = serde_json::from_str(&row.get::<String>(1)?).map_err(damaged)?;
    let job = Job {
        id: row.get(0)?,
        order: ReplayOrder {
            selection: selection_of(stored),
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
        REPLAY_RUNNING => Walk::of(recording, job)?.step()?,
        _ => call_off(recording, job.id)?,
    }
    Ok(true)
}

fn call_off(recording: &mut Recording<'_>, replay: i64) -> Result<(), StoreError> {
    let db = recording.tx.db;
    let open: Vec<i64> = db
        .prepare_cached("SELECT id FROM open WHERE replay = ? /*account of ?1*/ LIMIT ?")?
        .query_map(params![replay, i64::try_from(STEP).unwrap_or(i64::MAX)], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    if open.is_empty() {
        replays::finish_cancel(db, replay)?;
    }
    recording.cancel_all(&open).map(drop)
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
    size: i64,
}

/// The newest delivery of an event to each endpoint, with its state.
type Newest = BTreeMap<i64, (i64, DeliveryState)>;

/// What was fetched of a page of events.
#[derive(Default)]
struct Ahead {
    /// The events, where the database is far away.
    events: Events,
    /// Of each event that is selected, where earlier deliveries decide.
    newest: HashMap<i64, Newest>,
    /// The positions that the newest deliveries say more of than their events did.
    rendered: HashMap<i64, i64>,
}

/// One step of a job along the feed or a call.
struct Walk<'a, 'b> {
    recording: &'a mut Recording<'b>,
    account: AccountKey,
    edges: Watermarks,
    job: Job,
    /// The call that was read last: events of one call often follow each other.
    call: Option<(i64, Option<Call>)>,
    looks: usize,
    reads: usize,
    planned: usize,
}

impl<'a, 'b> Walk<'a, 'b> {
    fn of(recording: &'a mut Recording<'b>, job: Job) -> Result<Self, StoreError> {
        let account = unpack(job.id).0;
        let edges = Watermarks::of(recording.tx.db, account)?;
        Ok(Self { recording, account, edges, job, call: None, looks: LOOKS, reads: READS, planned: 0 })
    }

    fn step(mut self) -> Result<(), StoreError> {
        let now = self.recording.tx.now;
        let due = Time::from_micros(self.job.next_at);
        let is_gone = match self.job.order.to {
            Some(to) => self.recording.config(self.account)?.endpoint(to).is_none(),
            None => false,
        };
        if is_gone {
            return self.finish(REPLAY_CANCELLED);
        }
        let most = self.most()?;
        if most == 0 {
            return self.pause(now.after(ROOM_PAUSE));
        }
        while self.planned < most && self.looks > 0 && self.reads > 0 && self.recording.may_go_on() {
            let page = self.page(most - self.planned)?;
            if page.is_empty() {
                return self.finish(REPLAY_DONE);
            }
            let ahead = self.look_ahead(&page)?;
            for seen in page {
                if self.planned >= most || self.looks == 0 || self.reads == 0 || !self.recording.may_go_on() {
                    break;
                }
                self.examine(&seen, &ahead)?;
                self.looks = self.looks.saturating_sub(1);
                self.job.examined += 1;
                self.job.position = match self.job.order.selection.call {
                    Some(_) if self.job.order.selection.event.is_none() => {
                        spans::before(seen.position, seen.previous).unwrap_or(0)
                    }
                    _ => seen.position,
                };
            }
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
        let room = MOST_OPEN - count_open(self.recording.tx.db, self.job.id)?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float saturates")]
        let of_a_second = self.job.order.rate.ceil() as usize;
        Ok(usize::try_from(room).unwrap_or(0).min(STEP).min(of_a_second.max(1)))
    }

    /// The events that come next, where the database is far away as many as may be needed; none at the end. Of a call one by
    /// one: each says which one is before it.
    fn page(&self, most: usize) -> Result<Vec<Seen>, StoreError> {
        const COLUMNS: &str = "id, kind, at, call, previous, first_delivery, deliveries, length(body)";
        let (db, job) = (self.recording.tx.db, &self.job);
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
                size: row.get(7)?,
            })
        };
        if is_along_call {
            let mut statement =
                db.prepare_cached(&format!("SELECT {COLUMNS} FROM events WHERE id = ? /*account of ?1*/"))?;
            let found = statement.query_row([pack(self.account, job.position)], read).optional()?;
            let is_its =
                |seen: &Seen| seen.call == job.order.selection.call && self.edges.has_event(seen.position);
            return Ok(found.into_iter().filter(is_its).collect());
        }
        let count = if db.postgres().is_some() { most.clamp(PAGE.0, PAGE.1) } else { 1 };
        let mut statement = db.prepare_cached(&format!(
            "SELECT {COLUMNS} FROM events WHERE id > ? AND id <= ? /*account of ?1*/
             ORDER BY id LIMIT ?"
        ))?;
        let after = pack(self.account, job.position).max(self.edges.before_events());
        let last = pack(self.account, job.last);
        let rows = statement.query_map([after, last, i64::try_from(count).unwrap_or(i64::MAX)], read)?;
        let (mut page, mut bytes) = (Vec::new(), 0);
        for seen in rows {
            let seen = seen?;
            bytes += seen.size;
            if bytes > PAGE_BYTES && !page.is_empty() {
                break;
            }
            page.push(seen);
        }
        Ok(page)
    }

    fn is_selected(&self, seen: &Seen) -> bool {
        let selection = &self.job.order.selection;
        seen.kind.is_some_and(|kind| rules::selects(selection, kind, seen.at))
            && selection.call.is_none_or(|call| seen.call == Some(call))
    }

    /// Fetches what it takes to judge these events, in a few round trips for all of them.
    fn look_ahead(&mut self, page: &[Seen]) -> Result<Ahead, StoreError> {
        let (db, selection) = (self.recording.tx.db, &self.job.order.selection);
        let selected: Vec<&Seen> = page.iter().filter(|seen| self.is_selected(seen)).collect();
        let keys: Vec<i64> = selected.iter().map(|seen| pack(self.account, seen.position)).collect();
        let mut ahead = Ahead { events: Events::fetch(db, &keys)?, ..Ahead::default() };
        // Where nothing is asked of earlier deliveries, the event alone decides.
        let asks = self.job.order.to.is_none() || selection.endpoint.is_some() || selection.state.is_some();
        if !asks {
            return Ok(ahead);
        }
        let own: Vec<OwnDeliveries> = keys
            .iter()
            .zip(&selected)
            .map(|(&key, seen)| (key, seen.first_delivery, seen.deliveries))
            .collect();
        let own = pages::own_deliveries(db, &self.edges, &own)?;
        let positions: Vec<i64> = selected.iter().map(|seen| seen.position).collect();
        let again = replayed_rows::deliveries_of_each(db, self.account, &positions)?;
        let ids: Vec<i64> = again.iter().flatten().map(|&number| pack(self.account, number)).collect();
        let there = pages::endpoints_and_states(db, &self.edges, &ids)?;
        for ((position, own), again) in positions.into_iter().zip(own).zip(again) {
            self.looks = self.looks.saturating_sub(own.len() + again.len());
            let again = again.into_iter().filter_map(|number| {
                let (endpoint, state) = there.get(&pack(self.account, number))?;
                Some((number, *endpoint, *state))
            });
            let newest: &mut Newest = ahead.newest.entry(position).or_default();
            for (number, endpoint, state) in own.into_iter().chain(again) {
                let known = newest.entry(endpoint).or_insert((number, state));
                if known.0 < number {
                    *known = (number, state);
                }
            }
        }
        let numbers = ahead.newest.values().flat_map(BTreeMap::values).map(|&(number, _)| number);
        let ids: Vec<i64> = numbers.map(|number| pack(self.account, number)).collect();
        ahead.rendered = deferral_rows::all_rendered(db, &ids)?;
        Ok(ahead)
    }

    fn examine(&mut self, seen: &Seen, ahead: &Ahead) -> Result<(), StoreError> {
        if !self.is_selected(seen) {
            return Ok(());
        }
        let selection = &self.job.order.selection;
        let (is_own, of_endpoint) = (self.job.order.to.is_none(), selection.endpoint);
        let mut targets: Vec<(i64, Option<i64>)> = Vec::new();
        if let Some(newest) = ahead.newest.get(&seen.position) {
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
        let (event, ..) = match self.recording.tx.db.postgres() {
            Some(_) => ahead.events.read(tag, pack(self.account, seen.position))?,
            None => pages::event(self.recording.tx.db, tag, self.account, seen.position)?,
        };
        if rules::asks_for_record(&self.job.order.selection) {
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
                // Only what an earlier delivery had waited for goes along again.
                let snapshot = earlier.and_then(|number| ahead.rendered.get(&pack(self.account, number)));
                self.recording.replay(endpoint, seen.position, self.job.id, snapshot.copied())?;
            }
        }
        Ok(())
    }

    fn record(&mut self, call: i64) -> Result<Option<Call>, StoreError> {
        if let Some((known, record)) = &self.call
            && *known == call
        {
            return Ok(record.clone());
        }
        self.reads = self.reads.saturating_sub(1);
        let record = pages::call(self.recording.tx.db, self.account, call)?.map(|view| view.call);
        self.call = Some((call, record.clone()));
        Ok(record)
    }

    fn pause(self, until: Time) -> Result<(), StoreError> {
        self.write(REPLAY_RUNNING, Some(until))
    }

    fn finish(self, state: i64) -> Result<(), StoreError> {
        self.write(state, None)
    }

    fn write(self, state: i64, next_at: Option<Time>) -> Result<(), StoreError> {
        let progress = ReplayProgress {
            state,
            next_at,
            position: self.job.position,
            examined: self.job.examined,
            deliveries: self.job.deliveries,
            finished_at: next_at.is_none().then_some(self.recording.tx.now),
        };
        replays::set_progress(self.recording.tx.db, self.job.id, &progress)
    }
}

impl Recording<'_> {
    /// Plans a delivery of an event once more. It is encoded anew, with what was known of the call at the position that an
    /// earlier delivery had waited for.
    fn replay(
        &mut self,
        endpoint: EndpointRef,
        position: i64,
        replay: i64,
        snapshot: Option<i64>,
    ) -> Result<(), StoreError> {
        let account = endpoint.account;
        let revision =
            self.config(account)?.endpoint(endpoint.number).map_or(1, |endpoint| endpoint.revision);
        let id = pack(account, self.next_delivery(account)?);
        let db = self.tx.db;
        let snapshot = snapshot.filter(|&snapshot| snapshot > position);
        let delivery =
            PlannedDelivery { id, endpoint: pack(account, endpoint.number), event: position, revision };
        open_rows::insert_replay(db, delivery, replay, snapshot, self.tx.now)?;
        replayed_rows::insert(db, pack(account, position), id, replay)?;
        if let Some(snapshot) = snapshot {
            deferral_rows::insert_rendered(db, id, snapshot)?;
        }
        let sum = self.sum(endpoint);
        sum.owed += 1;
        sum.pending += 1;
        self.wake(endpoint);
        Ok(())
    }
}
