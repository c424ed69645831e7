//! Reading: pages of calls, events, deliveries and quarantine, on connections that only read.
//! Each is one short read; a long one would keep the log from shrinking. Refuses to know JSON shapes of the API.

use std::collections::HashMap;

use const_format::formatcp;

use crate::model::id::{self, Kind, Tag};
use crate::model::{AccountKey, Call, DeliveryState, Event, EventBody, EventType, Outcome, Text, Time};
use crate::store::calls::{index, spans};
use crate::store::deliveries::states::{
    CLAIMABLE, DEFERRED, DELIVERED, PENDING, REPLAYED, state_code, state_of,
};
use crate::store::deliveries::{replayed_rows, replays};
use crate::store::feed::{FeedPage, PAGE_BYTES};
use crate::store::layout::codec::{outcome_code, unpack_attempts};
use crate::store::layout::keys::{pack, range_before, unpack};
use crate::store::packed::{damaged, unpack_bytes, unpack_text};
use crate::store::sql::{Connection, OptionalExtension, Row, Rows, params};
use crate::store::tx::watermarks::Watermarks;
use crate::store::{CallView, DeliveryFilter, DeliveryView, Page, Quarantined, StoreError, Sum};

fn limit(page: Page) -> i64 {
    i64::try_from(page.limit).unwrap_or(i64::MAX)
}

/// The keys of an account from after a number on.
fn range_after(account: AccountKey, after: Option<i64>) -> [i64; 2] {
    [pack(account, after.unwrap_or(0)), pack(AccountKey(account.0 + 1), 0)]
}

const EVENT_COLUMNS: &str = "id, kind, at, source, call, test, body";

fn event_of(row: &Row<'_>, tag: Tag) -> Result<(Event, Option<i64>, usize), StoreError> {
    let position = unpack(row.get(0)?).1;
    let kind = EventType::from_code(row.get(1)?).ok_or_else(|| damaged("unknown event type"))?;
    let json = unpack_text(row.blob(6)?)?;
    let source: Option<i64> = row.get(3)?;
    let event = Event {
        position,
        id: id::format(Kind::Event, tag, position),
        kind,
        at: Time::from_micros(row.get(2)?),
        test: row.get(5)?,
        source_id: source.map(|number| id::format(Kind::Source, tag, number)),
        body: EventBody::from_json(kind, &json).map_err(damaged)?,
    };
    Ok((event, row.get(4)?, json.len()))
}

/// One event, with the number of its call and the size of its snapshot in bytes.
pub fn event(
    db: &Connection,
    tag: Tag,
    account: AccountKey,
    position: i64,
) -> Result<(Event, Option<i64>, usize), StoreError> {
    let mut statement =
        db.prepare_cached(&format!("SELECT {EVENT_COLUMNS} FROM events WHERE id = ? /*account of ?1*/"))?;
    let mut rows = statement.query([pack(account, position)])?;
    let row = rows.next()?.ok_or_else(|| damaged(format!("event {position} is gone")))?;
    event_of(&row, tag)
}

/// Events that were fetched together from a database that is far away.
#[derive(Default)]
pub struct Events {
    rows: Option<Rows<'static>>,
    places: HashMap<i64, usize>,
}

impl Events {
    /// Fetches the events of these keys.
    pub fn fetch(db: &Connection, keys: &[i64]) -> Result<Self, StoreError> {
        let sql = format!("SELECT {EVENT_COLUMNS} FROM events WHERE id = ANY(?) AND account = ANY(@1)");
        let rows = db.fetch(&[(&sql, &[keys])])?.and_then(|mut answers| answers.pop());
        let mut places = HashMap::new();
        for at in 0.. {
            let Some(row) = rows.as_ref().and_then(|rows| rows.at(at)) else { break };
            places.insert(row.get(0)?, at);
        }
        Ok(Self { rows, places })
    }

    /// One of them, as [`event`] gives it.
    pub fn read(&self, tag: Tag, key: i64) -> Result<(Event, Option<i64>, usize), StoreError> {
        let row = self.places.get(&key).zip(self.rows.as_ref()).and_then(|(&at, rows)| rows.at(at));
        let row = row.ok_or_else(|| damaged(format!("event {} is gone", unpack(key).1)))?;
        event_of(&row, tag)
    }
}

/// The feed's last position.
pub fn position(db: &Connection, account: AccountKey) -> Result<i64, StoreError> {
    let mut statement = db.prepare_cached("SELECT position FROM accounts WHERE account = ?")?;
    Ok(statement.query_row([account.0], |row| row.get(0)).optional()?.unwrap_or(0))
}

/// The feed from after a position; `None` when something after it is gone. From its beginning it is what is there.
pub fn events(
    db: &Connection,
    tag: Tag,
    account: AccountKey,
    page: Page,
) -> Result<Option<FeedPage>, StoreError> {
    let purged: Option<i64> = db
        .prepare_cached("SELECT purged FROM accounts WHERE account = ?")?
        .query_row([account.0], |row| row.get(0))
        .optional()?;
    let purged = purged.unwrap_or(0);
    if page.after.is_some_and(|after| after.max(0) < purged) {
        return Ok(None);
    }
    let [after, end] = range_after(account, page.after.or(Some(purged)));
    let mut statement = db.prepare_cached(&format!(
        "SELECT {EVENT_COLUMNS} FROM events WHERE id > ? AND id < ? /*account of ?1*/
         ORDER BY id LIMIT ?"
    ))?;
    let mut rows = statement.query([after, end, limit(page).saturating_add(1)])?;
    let (mut found, mut bytes) = (FeedPage::default(), 0);
    while let Some(row) = rows.next()? {
        if found.events.len() == page.limit || bytes >= PAGE_BYTES {
            found.more = true;
            break;
        }
        let (event, _, size) = event_of(&row, tag)?;
        bytes += size;
        // One that is too much for this page begins the next one.
        if bytes > PAGE_BYTES && !found.events.is_empty() {
            found.more = true;
            break;
        }
        found.events.push(event);
    }
    Ok(Some(found))
}

fn call_of(db: &Connection, row: &Row<'_>) -> Result<CallView, StoreError> {
    let (account, number) = unpack(row.get(0)?);
    let packed: Vec<u8> = match row.get(2)? {
        Some(record) => record,
        None => db
            .prepare_cached("SELECT body FROM events WHERE id = ? /*account of ?1*/")?
            .query_row([pack(account, row.get(1)?)], |row| row.get(0))?,
    };
    let call: Call = serde_json::from_str(&unpack_text(&packed)?).map_err(damaged)?;
    Ok(CallView { number, source: unpack(row.get(3)?).1, updated_at: Time::from_micros(row.get(4)?), call })
}

/// A call by number.
pub fn call(db: &Connection, account: AccountKey, number: i64) -> Result<Option<CallView>, StoreError> {
    let mut statement = db.prepare_cached(
        "SELECT id, event, record, source, updated_at FROM calls WHERE id = ? /*account of ?1*/",
    )?;
    let mut rows = statement.query([pack(account, number)])?;
    rows.next()?.map(|row| call_of(db, &row)).transpose()
}

/// Calls, of one outcome or of any, newest first.
pub fn calls(
    db: &Connection,
    account: AccountKey,
    outcome: Option<Outcome>,
    page: Page,
) -> Result<Vec<CallView>, StoreError> {
    let [first, before] = range_before(account, page.after);
    let outcome = outcome.map(outcome_code);
    // Spelled out, so that each goes by the index that has its rows in order.
    let condition = if outcome.is_some() { "outcome = ?3 AND id" } else { "id" };
    let mut statement = db.prepare_cached(&format!(
        "SELECT id, event, record, source, updated_at FROM calls
         WHERE {condition} > ?1 AND id < ?2 /*account of ?1*/ ORDER BY id DESC LIMIT ?4"
    ))?;
    let mut rows = statement.query(params![first, before, outcome, limit(page)])?;
    let mut calls = Vec::new();
    while let Some(row) = rows.next()? {
        calls.push(call_of(db, &row)?);
    }
    Ok(calls)
}

/// Every source of an account, deleted ones too: calls are found per source.
pub fn sources(db: &Connection, account: AccountKey) -> Result<Vec<i64>, StoreError> {
    let mut statement =
        db.prepare_cached("SELECT id FROM sources WHERE id > ? AND id < ? /*account of ?1*/")?;
    let sources = statement.query_map(range_after(account, None), |row| row.get(0))?;
    Ok(sources.collect::<Result<_, _>>()?)
}

/// The calls of a vendor's id, newest first: those of each source, with its hash and the recent calls of that.
pub fn calls_of_vendor_id(
    db: &Connection,
    call_id: &Text,
    sources: Vec<(i64, i64, Vec<i64>)>,
    outcome: Option<Outcome>,
    page: Page,
) -> Result<Vec<CallView>, StoreError> {
    let mut statement = db.prepare_cached(
        "SELECT id, event, record, source, updated_at FROM calls
         WHERE id = ? /*account of ?1*/ AND source = ? AND vendor_id = ?",
    )?;
    let mut found = Vec::new();
    for (source, hash, mut calls) in sources {
        calls.extend(index::filed(db, hash, source)?);
        calls.sort_unstable();
        calls.dedup();
        for call in calls {
            let mut rows = statement.query(params![call, source, call_id.as_bytes()])?;
            if let Some(row) = rows.next()? {
                found.push(call_of(db, &row)?);
            }
        }
    }
    found.retain(|view| {
        page.after.is_none_or(|after| view.number < after)
            && outcome.is_none_or(|outcome| view.call.outcome == Some(outcome))
    });
    found.sort_by_key(|view| std::cmp::Reverse(view.number));
    found.truncate(page.limit);
    Ok(found)
}

/// A delivery's row in either table.
struct DeliveryRow {
    id: i64,
    endpoint: i64,
    event: i64,
    state: DeliveryState,
    next_attempt_at: Option<Time>,
    attempts: Option<Vec<u8>>,
}

const OPEN_COLUMNS: &str = "id, endpoint, event, state, due, attempts";
const SETTLED_COLUMNS: &str = "id, endpoint, event, state, attempts";

fn open_row(row: &Row<'_>) -> crate::store::sql::Result<DeliveryRow> {
    let due = Time::from_micros(row.get(4)?);
    Ok(DeliveryRow {
        id: row.get(0)?,
        endpoint: row.get(1)?,
        event: row.get(2)?,
        state: DeliveryState::Pending,
        next_attempt_at: matches!(row.get(3)?, CLAIMABLE | REPLAYED | DEFERRED).then_some(due),
        attempts: row.get(5)?,
    })
}

fn settled_row(row: &Row<'_>) -> crate::store::sql::Result<DeliveryRow> {
    Ok(DeliveryRow {
        id: row.get(0)?,
        endpoint: row.get(1)?,
        event: row.get(2)?,
        state: state_of(row.get(3)?),
        next_attempt_at: None,
        attempts: row.get(4)?,
    })
}

fn view(db: &Connection, tag: Tag, row: DeliveryRow) -> Result<DeliveryView, StoreError> {
    let (account, number) = unpack(row.id);
    let (event, ..) = event(db, tag, account, row.event)?;
    Ok(DeliveryView {
        number,
        endpoint: unpack(row.endpoint).1,
        event: row.event,
        kind: event.kind,
        call_id: event.call_id().cloned(),
        replay: replayed_rows::replay_of_delivery(db, account, row.event, number)?,
        state: row.state,
        next_attempt_at: row.next_attempt_at,
        attempts: unpack_attempts(row.attempts.as_deref()),
    })
}

/// A delivery by number.
pub fn delivery(
    db: &Connection,
    tag: Tag,
    account: AccountKey,
    number: i64,
) -> Result<Option<DeliveryView>, StoreError> {
    let edges = Watermarks::of(db, account)?;
    find_delivery(db, &edges, pack(account, number))?.map(|row| view(db, tag, row)).transpose()
}

fn find_delivery(db: &Connection, edges: &Watermarks, id: i64) -> Result<Option<DeliveryRow>, StoreError> {
    let open = db
        .prepare_cached(&format!("SELECT {OPEN_COLUMNS} FROM open WHERE id = ? /*account of ?1*/"))?
        .query_row([id], open_row)
        .optional()?;
    if open.is_some() || !edges.has_delivery(id) {
        return Ok(open);
    }
    Ok(db
        .prepare_cached(&format!("SELECT {SETTLED_COLUMNS} FROM settled WHERE id = ? /*account of ?1*/"))?
        .query_row([id], settled_row)
        .optional()?)
}

/// The endpoints' numbers and the states of deliveries, as far as they are there.
pub fn endpoints_and_states(
    db: &Connection,
    edges: &Watermarks,
    ids: &[i64],
) -> Result<HashMap<i64, (i64, DeliveryState)>, StoreError> {
    let mut found = HashMap::new();
    let all: Vec<[i64; 1]> = ids.iter().map(|&id| [id]).collect();
    let sql = "SELECT endpoint FROM open WHERE id = ? /*account of ?1*/";
    for (id, rows) in ids.iter().zip(db.query_each(sql, &all, |row| row.get(0))?) {
        found.extend(rows.first().map(|&endpoint| (*id, (unpack(endpoint).1, DeliveryState::Pending))));
    }
    let is_left = |id: &i64| !found.contains_key(id) && edges.has_delivery(*id);
    let left: Vec<[i64; 1]> = ids.iter().copied().filter(is_left).map(|id| [id]).collect();
    let sql = "SELECT endpoint, state FROM settled WHERE id = ? /*account of ?1*/";
    let rows = db.query_each(sql, &left, |row| Ok((row.get(0)?, state_of(row.get(1)?))))?;
    for ([id], rows) in left.into_iter().zip(rows) {
        found.extend(rows.first().map(|&(endpoint, state)| (id, (unpack(endpoint).1, state))));
    }
    Ok(found)
}

/// Deliveries, newest first.
pub fn deliveries(
    db: &Connection,
    tag: Tag,
    account: AccountKey,
    filter: &DeliveryFilter,
    page: Page,
) -> Result<Vec<DeliveryView>, StoreError> {
    let rows = match (filter.call, filter.event) {
        (None, None) => scan(db, account, filter, page)?,
        (call, event) => of_events(db, account, filter, page, call, event)?,
    };
    rows.into_iter().map(|row| view(db, tag, row)).collect()
}

/// The deliveries of one event, or of all events of one call: events chain backwards through a call, and the
/// deliveries of an event are numbered in a row, so neither needs an index. Those of replays come from a list of their own:
/// they are newer than their event's, and may be newer than those of later events.
fn of_events(
    db: &Connection,
    account: AccountKey,
    filter: &DeliveryFilter,
    page: Page,
    call: Option<i64>,
    event: Option<i64>,
) -> Result<Vec<DeliveryRow>, StoreError> {
    let mut position = match (event, call) {
        (Some(position), _) => Some(position),
        (None, Some(call)) => db
            .prepare_cached("SELECT event FROM calls WHERE id = ? /*account of ?1*/")?
            .query_row([pack(account, call)], |row| row.get(0))
            .optional()?,
        (None, None) => None,
    };
    let (mut found, has_replays) = (Vec::new(), replays::has_any(db, account)?);
    let edges = Watermarks::of(db, account)?;
    let mut statement = db.prepare_cached(
        "SELECT first_delivery, deliveries, previous, call FROM events WHERE id = ? /*account of ?1*/",
    )?;
    let mut numbers: Vec<i64> = Vec::new();
    while let Some(at) = position.filter(|&at| edges.has_event(at)) {
        let row: Option<(i64, i64, Option<i64>, Option<i64>)> = statement
            .query_row([pack(account, at)], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
            .optional()?;
        let Some((first, count, previous, of_call)) = row else { break };
        position = if event.is_some() { None } else { spans::before(at, previous) };
        if call.is_some() && call != of_call {
            continue;
        }
        let own = own_deliveries(db, &edges, &[(pack(account, at), first, count)])?;
        numbers.extend(own.into_iter().flatten().map(|(number, ..)| number));
        if has_replays {
            numbers.extend(replayed_rows::deliveries_of(db, account, at)?);
            // All of the call's, as the newest may belong to its first event.
            if position.is_some_and(|before| edges.has_event(before)) {
                continue;
            }
        }
        numbers.sort_unstable_by_key(|&number| std::cmp::Reverse(number));
        for number in numbers.drain(..).filter(|&n| page.after.is_none_or(|after| n < after)) {
            let Some(row) = find_delivery(db, &edges, pack(account, number))? else { continue };
            let fits_endpoint =
                filter.endpoint.is_none_or(|endpoint| row.endpoint == pack(account, endpoint));
            if fits_endpoint && filter.state.is_none_or(|state| row.state == state) {
                found.push(row);
            }
            if found.len() >= page.limit {
                return Ok(found);
            }
        }
    }
    Ok(found)
}

/// Where a row says that the deliveries of an event are numbered: the event's key, the first number and how many.
pub type OwnDeliveries = (i64, i64, i64);

/// A delivery's number, its endpoint's and its state.
type StateOf = (i64, i64, DeliveryState);

/// The deliveries of each event that lie where its row says, with endpoint and state. How many that are is what lies there,
/// whatever the row says.
pub fn own_deliveries(
    db: &Connection,
    edges: &Watermarks,
    events: &[OwnDeliveries],
) -> Result<Vec<Vec<StateOf>>, StoreError> {
    let mut found = vec![Vec::new(); events.len()];
    let begin = edges.before_deliveries() + 1;
    for (table, columns, begin) in
        [("open", formatcp!("id, endpoint, {PENDING}"), i64::MIN), ("settled", "id, endpoint, state", begin)]
    {
        let sql = format!(
            "SELECT {columns} FROM {table} WHERE id >= ? AND id < ? /*account of ?1*/ AND event = ?
             ORDER BY id"
        );
        let params = events.iter().map(|&(event, first, count)| {
            let (account, position) = unpack(event);
            let [first, end] = [first, first.saturating_add(count)].map(|number| pack(account, number));
            [first.max(begin), end, position]
        });
        let read = |row: &Row<'_>| Ok((unpack(row.get(0)?).1, unpack(row.get(1)?).1, state_of(row.get(2)?)));
        let rows = db.query_each(&sql, &params.collect::<Vec<_>>(), read)?;
        for (found, rows) in found.iter_mut().zip(rows) {
            found.extend(rows);
        }
    }
    Ok(found)
}

/// Newest first over both tables. Every set of rows is walked through an index that has it in order, so a page costs
/// a page, however many rows of other endpoints or states lie between.
fn scan(
    db: &Connection,
    account: AccountKey,
    filter: &DeliveryFilter,
    page: Page,
) -> Result<Vec<DeliveryRow>, StoreError> {
    use DeliveryState::{Cancelled, Dead, Delivered, Pending};
    let [first, before] = range_before(account, page.after);
    let edges = Watermarks::of(db, account)?;
    let mut newest = Newest { db, edges, ids: Vec::new(), first, before, limit: page.limit };
    match (filter.endpoint.map(|number| pack(account, number)), filter.state) {
        (None, None) => {
            newest.take("open", None)?;
            newest.take("settled", None)?;
        }
        (None, Some(Pending)) => newest.take("open", None)?,
        (Some(endpoint), None) => {
            for state in [Pending, Delivered, Dead, Cancelled] {
                newest.take_of(endpoint, state)?;
            }
        }
        (Some(endpoint), Some(state)) => newest.take_of(endpoint, state)?,
        (None, Some(state)) => {
            for sum in sums(db, account)? {
                if sum.of(state) > 0 {
                    newest.take_of(pack(account, sum.endpoint), state)?;
                }
            }
        }
    }
    let rows = newest.ids.into_iter().map(|id| find_delivery(db, &edges, id));
    rows.filter_map(Result::transpose).collect()
}

/// The newest deliveries out of several sets of rows.
struct Newest<'a> {
    db: &'a Connection,
    edges: Watermarks,
    ids: Vec<i64>,
    first: i64,
    before: i64,
    limit: usize,
}

impl Newest<'_> {
    /// Takes in the deliveries of one endpoint in one state.
    fn take_of(&mut self, endpoint: i64, state: DeliveryState) -> Result<(), StoreError> {
        match state {
            DeliveryState::Pending => self.take("open WHERE endpoint = ?4", Some(endpoint)),
            DeliveryState::Delivered => {
                self.take(formatcp!("settled WHERE endpoint = ?4 AND state = {DELIVERED}"), Some(endpoint))
            }
            DeliveryState::Dead | DeliveryState::Cancelled => {
                let state = state_code(state);
                let rows =
                    format!("settled WHERE endpoint = ?4 AND state <> {DELIVERED} AND state = {state}");
                self.take(&rows, Some(endpoint))
            }
        }
    }

    fn take(&mut self, rows: &str, endpoint: Option<i64>) -> Result<(), StoreError> {
        let and = if endpoint.is_some() { "AND" } else { "WHERE CAST(?4 AS BIGINT) IS NULL AND" };
        let sql = format!(
            "SELECT id FROM {rows} {and} id > ?1 AND id < ?2 /*account of ?1*/
             ORDER BY id DESC LIMIT ?3"
        );
        // Once there is a page, only what is newer than its end is of interest.
        let floor = self.ids.get(self.limit.saturating_sub(1)).copied().unwrap_or(self.first);
        let floor = if rows.starts_with("open") { floor } else { floor.max(self.edges.before_deliveries()) };
        let limit = i64::try_from(self.limit).unwrap_or(i64::MAX);
        let mut statement = self.db.prepare_cached(&sql)?;
        let ids = statement.query_map(params![floor, self.before, limit, endpoint], |row| row.get(0))?;
        for id in ids {
            self.ids.push(id?);
        }
        self.ids.sort_unstable_by_key(|&id| std::cmp::Reverse(id));
        self.ids.truncate(self.limit);
        Ok(())
    }
}

/// When the endpoint's next claimable delivery falls due.
pub fn next_due(db: &Connection, account: AccountKey, endpoint: i64) -> Result<Option<Time>, StoreError> {
    Ok(db
        .prepare_cached(formatcp!(
            "SELECT due FROM open WHERE endpoint = ? /*account of ?1*/ AND state = {CLAIMABLE}
             ORDER BY due LIMIT 1"
        ))?
        .query_row([pack(account, endpoint)], |row| row.get(0))
        .optional()?
        .map(Time::from_micros))
}

/// The sums as they were counted at each transition.
pub fn sums(db: &Connection, account: AccountKey) -> Result<Vec<Sum>, StoreError> {
    let [first, end] = range_after(account, None);
    let mut statement = db.prepare_cached(
        "SELECT endpoint, owed, delivered, pending, dead, cancelled FROM endpoint_sums
         WHERE endpoint > ? AND endpoint < ? /*account of ?1*/ ORDER BY endpoint",
    )?;
    let rows = statement.query_map([first, end], |row| {
        Ok(Sum {
            endpoint: unpack(row.get(0)?).1,
            owed: row.get(1)?,
            delivered: row.get(2)?,
            pending: row.get(3)?,
            dead: row.get(4)?,
            cancelled: row.get(5)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

const QUARANTINE_COLUMNS: &str = "id, source, received_at, reason, content_type, body";

fn quarantined_of(row: &Row<'_>) -> Result<Quarantined, StoreError> {
    Ok(Quarantined {
        number: unpack(row.get(0)?).1,
        source: unpack(row.get(1)?).1,
        received_at: Time::from_micros(row.get(2)?),
        reason: row.get(3)?,
        content_type: row.get(4)?,
        body: unpack_bytes(row.blob(5)?)?.into(),
    })
}

/// Quarantined bodies, newest first.
pub fn quarantine(db: &Connection, account: AccountKey, page: Page) -> Result<Vec<Quarantined>, StoreError> {
    let [first, before] = range_before(account, page.after);
    let mut statement = db.prepare_cached(&format!(
        "SELECT {QUARANTINE_COLUMNS} FROM quarantine WHERE id > ? AND id < ? /*account of ?1*/
         ORDER BY id DESC LIMIT ?"
    ))?;
    let mut rows = statement.query([first, before, limit(page)])?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        all.push(quarantined_of(&row)?);
    }
    Ok(all)
}

/// One quarantined body.
pub fn quarantined(
    db: &Connection,
    account: AccountKey,
    number: i64,
) -> Result<Option<Quarantined>, StoreError> {
    let mut statement = db.prepare_cached(&format!(
        "SELECT {QUARANTINE_COLUMNS} FROM quarantine WHERE id = ? /*account of ?1*/"
    ))?;
    let mut rows = statement.query([pack(account, number)])?;
    rows.next()?.map(|row| quarantined_of(&row)).transpose()
}

/// How many bodies are in quarantine.
pub fn quarantine_size(db: &Connection, account: AccountKey) -> Result<i64, StoreError> {
    let [first, end] = range_after(account, None);
    Ok(db
        .prepare_cached(
            "SELECT CAST(COALESCE(SUM(in_quarantine), 0) AS BIGINT) FROM sources
             WHERE id > ? AND id < ? /*account of ?1*/",
        )?
        .query_row([first, end], |row| row.get(0))?)
}
