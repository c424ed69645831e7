//! Deliveries on their way out and in, with every attempt, the replay that planned them, and what those that were held
//! wait for and say. Refuses to know who is sent to, and when.

use data_encoding::BASE64;

use super::export_page::{ExportPage, PAGE};
use super::import_line::{ImportContext, LineOutcome, Refused, is_known, is_of_call, read, wrong};
use super::plausible::are_attempts;
use crate::model::id::Kind;
use crate::model::{DeliveryState, Time};
use crate::store::StoreError;
use crate::store::config::endpoint_counters;
use crate::store::deliveries::open_rows::{self, ImportedDelivery, PlannedDelivery};
use crate::store::deliveries::states::{BLOCKED, CLAIMABLE, DEFERRED, REPLAYED, state_of};
use crate::store::deliveries::{body_rows, deferral_rows, replayed_rows, replays, settled_rows};
use crate::store::export::DeliveryLine;
use crate::store::layout::codec::{pack_attempt, unpack_attempts};
use crate::store::layout::keys::{pack, unpack};
use crate::store::packed::unpack_bytes;
use crate::store::sql::{Connection, OptionalExtension, params};
use crate::store::tx::watermarks::Watermarks;

/// A delivery's row in either table.
struct Row {
    endpoint: i64,
    event: i64,
    revision: i64,
    attempts: Option<Vec<u8>>,
    state: DeliveryState,
    open: Option<(Option<i64>, i64, i64)>,
}

/// Open and settled ones in the order of their numbers.
pub fn give(page: &mut ExportPage<'_>) -> Result<(), StoreError> {
    let has_replayed = replays::has_any(page.db, page.account)?;
    for id in page_of_ids(page)? {
        let fields = line_of(page, id, has_replayed)?;
        if !page.lines.add("delivery", unpack(id).1, &fields) {
            break;
        }
    }
    Ok(())
}

/// The deliveries of a page, of both tables.
fn page_of_ids(page: &ExportPage<'_>) -> Result<Vec<i64>, StoreError> {
    let (db, [after, head, limit]) = (page.db, page.range(page.heads.deliveries));
    let mut ids: Vec<i64> = Vec::new();
    for (table, after) in [("open", after), ("settled", after.max(page.edges.before_deliveries()))] {
        let sql =
            format!("SELECT id FROM {table} WHERE id > ? AND id <= ? /*account of ?1*/ ORDER BY id LIMIT ?");
        for id in db.prepare_cached(&sql)?.query_map([after, head, limit], |row| row.get(0))? {
            ids.push(id?);
        }
    }
    ids.sort_unstable();
    ids.truncate(usize::try_from(PAGE).unwrap_or(usize::MAX));
    Ok(ids)
}

/// The row of a delivery, from the table that has it.
fn row_of(db: &Connection, id: i64) -> Result<Row, StoreError> {
    let open = db
        .prepare_cached(
            "SELECT endpoint, event, revision, attempts, call, state, due FROM open
             WHERE id = ? /*account of ?1*/",
        )?
        .query_row([id], |row| {
            Ok(Row {
                endpoint: row.get(0)?,
                event: row.get(1)?,
                revision: row.get(2)?,
                attempts: row.get(3)?,
                state: DeliveryState::Pending,
                open: Some((row.get(4)?, row.get(5)?, row.get(6)?)),
            })
        })
        .optional()?;
    if let Some(row) = open {
        return Ok(row);
    }
    Ok(db
        .prepare_cached(
            "SELECT endpoint, event, revision, attempts, state FROM settled
         WHERE id = ? /*account of ?1*/",
        )?
        .query_row([id], |row| {
            Ok(Row {
                endpoint: row.get(0)?,
                event: row.get(1)?,
                revision: row.get(2)?,
                attempts: row.get(3)?,
                state: state_of(row.get(4)?),
                open: None,
            })
        })?)
}

/// What is exported of a delivery.
fn line_of(page: &ExportPage<'_>, id: i64, has_replayed: bool) -> Result<DeliveryLine, StoreError> {
    let db = page.db;
    let row = row_of(db, id)?;
    let body: Option<Vec<u8>> = db
        .prepare_cached("SELECT body FROM bodies WHERE delivery = ? /*account of ?1*/")?
        .query_row(params![id], |row| row.get(0))
        .optional()?;
    let order = row.open.and_then(|(call, ..)| call).map(|call| unpack(call).1);
    let number = unpack(id).1;
    let replay = match has_replayed {
        true => replayed_rows::replay_of_delivery(db, page.account, row.event, number)?,
        false => None,
    };
    // What was heard since the export began is left out.
    let says = deferral_rows::rendered(db, id)?.filter(|&position| position <= page.heads.position);
    Ok(DeliveryLine {
        id: page.id(Kind::Delivery, number),
        event_id: page.id(Kind::Event, row.event),
        endpoint_id: page.id(Kind::Endpoint, unpack(row.endpoint).1),
        revision: row.revision,
        state: row.state.as_str().to_owned(),
        due: row.open.map(|(_, _, due)| Time::from_micros(due)),
        order: order.map(|call| page.id(Kind::Call, call)),
        // One that is under way is as one whose turn it is: nobody owns it anywhere else.
        waits: row.open.is_some_and(|(_, state, _)| state == BLOCKED),
        held: row.open.is_some_and(|(_, state, _)| state == DEFERRED),
        says: says.map(|position| page.id(Kind::Event, position)),
        replay_id: replay.map(|replay| page.id(Kind::Replay, replay)),
        attempts: unpack_attempts(row.attempts.as_deref()),
        body: body.map(|packed| unpack_bytes(&packed)).transpose()?.map(|body| BASE64.encode(&body)),
    })
}

/// Takes a delivery in, behind its event.
pub fn take(context: &mut ImportContext<'_>, line: &str) -> Result<LineOutcome, Refused> {
    let line: DeliveryLine = read(line)?;
    let (db, key) = (context.db, context.key(Kind::Delivery, &line.id)?);
    let event = context.number(Kind::Event, &line.event_id)?;
    let endpoint = context.key(Kind::Endpoint, &line.endpoint_id)?;
    let edges = Watermarks::of(db, context.account)?;
    if let Some(known) = recorded(db, &edges, key)? {
        return is_known(known == (endpoint, event));
    }
    context.must_be_open()?;
    let Some(state) = DeliveryState::parse(&line.state) else {
        return wrong("unknown_state", "Its state is none of: pending, delivered, dead, cancelled.");
    };
    let links = check_links(context, &edges, &line, [key, event, endpoint])?;
    if !are_attempts(&line.attempts) {
        return wrong("malformed_line", "One of its attempts has numbers that cannot be.");
    }
    let has_shape = db
        .prepare_cached("SELECT 1 FROM shapes WHERE endpoint = ? /*account of ?1*/ AND revision = ?")?
        .exists([endpoint, line.revision])?;
    if !has_shape {
        return wrong("no_such_endpoint", "Its endpoint, or that revision of it, did not come before it.");
    }
    let body = line.body.as_ref().map(|body| BASE64.decode(body.as_bytes()));
    let body = body.transpose().or_else(|_| wrong("malformed_line", "Its \"body\" is not base64."))?;
    match state {
        DeliveryState::Pending => take_open(context, &line, &links)?,
        _ => {
            let attempts: Vec<u8> = line.attempts.iter().flat_map(pack_attempt).collect();
            let delivery = PlannedDelivery { id: key, endpoint, event, revision: line.revision };
            settled_rows::insert_imported(db, delivery, state, &attempts)?;
        }
    }
    insert_beside(context, body.as_deref(), &links)?;
    endpoint_counters::count_imported(db, endpoint, state)?;
    Ok(LineOutcome::Added)
}

/// The endpoint and the event of the delivery that is there under this key.
fn recorded(db: &Connection, edges: &Watermarks, key: i64) -> Result<Option<(i64, i64)>, StoreError> {
    for table in ["open", "settled"] {
        let known: Option<(i64, i64)> = db
            .prepare_cached(&format!("SELECT endpoint, event FROM {table} WHERE id = ? /*account of ?1*/"))?
            .query_row([key], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        if let Some(known) = known.filter(|_| table == "open" || edges.has_delivery(key)) {
            return Ok(Some(known));
        }
    }
    Ok(None)
}

/// What a delivery belongs to: delivery, endpoint and replay by key, the others by number.
struct Links {
    delivery: i64,
    event: i64,
    endpoint: i64,
    /// The call of the event.
    call: Option<i64>,
    /// The call whose order it keeps.
    order: Option<i64>,
    /// The replay that planned it.
    replay: Option<i64>,
    /// The event that it says in place of its own.
    says: Option<i64>,
}

/// Finds what a line names, and checks that it came before it and belongs together.
fn check_links(
    context: &ImportContext<'_>,
    edges: &Watermarks,
    line: &DeliveryLine,
    [delivery, event, endpoint]: [i64; 3],
) -> Result<Links, Refused> {
    let db = context.db;
    let position = |id: &String| context.number(Kind::Event, id);
    let (replay, says) = (line.replay_id.as_ref(), line.says.as_ref().map(position).transpose()?);
    let replay = replay.map(|id| context.key(Kind::Replay, id)).transpose()?;
    let found: Option<(Option<i64>, i64, i64)> = db
        .prepare_cached("SELECT call, first_delivery, deliveries FROM events WHERE id = ? /*account of ?1*/")?
        .query_row([pack(context.account, event)], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let Some((call, first, count)) = found.filter(|_| edges.has_event(event) && edges.has_delivery(delivery))
    else {
        return wrong("no_such_event", "Its event did not come before it.");
    };
    let number = unpack(delivery).1;
    // An event's own are numbered in a row; those of replays were planned after all of these.
    let own = first..first.saturating_add(count);
    if if replay.is_some() { number < own.end } else { !own.contains(&number) } {
        return wrong("out_of_range", "Its number is not one of those that its event's deliveries have.");
    }
    let order = line.order.as_deref().map(|id| context.number(Kind::Call, id)).transpose()?;
    if says.is_some_and(|says| says <= event)
        || (line.held && call.is_none())
        || (order.is_some() && order != call)
    {
        return wrong("malformed_line", "It cannot be held for this, say this, or keep this order.");
    }
    if let Some(says) = says
        && !(edges.has_event(says) && is_of_call(context, says, call)? == Some(true))
    {
        return wrong(
            "no_such_event",
            "The event that it says did not come before it, or is another call's.",
        );
    }
    Ok(Links { delivery, event, endpoint, call, order, replay, says })
}

/// Takes a pending delivery in.
fn take_open(context: &ImportContext<'_>, line: &DeliveryLine, links: &Links) -> Result<(), Refused> {
    let (db, &Links { delivery, event, endpoint, call, order, replay, says }) = (context.db, links);
    let order = order.map(|call| pack(context.account, call));
    let waits = line.waits && order.is_some();
    if let Some(call) = order.filter(|_| waits)
        && !has_earlier(context, call, endpoint, delivery)?
    {
        // It would wait for ever.
        return wrong(
            "no_such_delivery",
            "The delivery of its call that it waits for did not come before it.",
        );
    }
    let due = line.due.unwrap_or(context.import.now).as_micros();
    let tries = line.attempts.last().map_or(0, |last| last.number);
    let state = match (line.held, waits) {
        (true, _) => DEFERRED,
        (false, true) => BLOCKED,
        // What was planned once more goes behind all else until it is first tried.
        (false, false) if replay.is_some() && tries == 0 => REPLAYED,
        (false, false) => CLAIMABLE,
    };
    let attempts: Vec<u8> = line.attempts.iter().flat_map(pack_attempt).collect();
    let row = ImportedDelivery {
        delivery: PlannedDelivery { id: delivery, endpoint, event, revision: line.revision },
        call: order,
        state,
        due,
        tries,
        attempts: (!attempts.is_empty()).then_some(attempts),
        replay,
        snapshot: says,
    };
    open_rows::insert_imported(db, row)?;
    if let (true, Some(call)) = (line.held, call) {
        deferral_rows::defer(db, delivery, pack(context.account, call), endpoint, due)?;
    }
    Ok(())
}

/// Writes what else there is of a delivery, beside its row.
fn insert_beside(context: &ImportContext<'_>, body: Option<&[u8]>, links: &Links) -> Result<(), StoreError> {
    let (db, &Links { delivery, event, replay, says, .. }) = (context.db, links);
    if let Some(body) = body {
        body_rows::insert_imported(db, delivery, body)?;
    }
    if let Some(says) = says {
        deferral_rows::insert_rendered(db, delivery, says)?;
    }
    if let Some(replay) = replay {
        replayed_rows::insert(db, pack(context.account, event), delivery, replay)?;
    }
    Ok(())
}

/// Whether an earlier delivery of a call to this endpoint is open.
fn has_earlier(context: &ImportContext<'_>, call: i64, endpoint: i64, id: i64) -> Result<bool, StoreError> {
    let mut statement = context.db.prepare_cached(
        "SELECT 1 FROM open WHERE call = ? AND endpoint = ? /*account of ?2*/ AND id < ? LIMIT 1",
    )?;
    Ok(statement.exists([call, endpoint, id])?)
}
