//! Events: how they are exported and imported. Each stands behind those of its call that came before it. Does not depend on how
//! lines are read and written.

use super::export_page::{ExportPage, raw};
use super::import_line::{ImportContext, LineOutcome, Refused, is_known, is_of_call, read, wrong};
use super::plausible;
use crate::model::event::{LONGEST_IDENTIFIER, long_identifier};
use crate::model::id::Kind;
use crate::model::{EventBody, EventType, Time};
use crate::store::StoreError;
use crate::store::batches::vendor_batch_rows;
use crate::store::calls::event_rows::{self, ImportedEvent};
use crate::store::config::account_row;
use crate::store::export::EventLine;
use crate::store::layout::keys::{pack, unpack};
use crate::store::packed::{damaged, pack_bytes, unpack_text};
use crate::store::sql::{Connection, OptionalExtension};
use crate::store::tx::watermarks::Watermarks;

pub fn give(page: &mut ExportPage<'_>) -> Result<(), StoreError> {
    let mut statement = page.db.prepare_cached(
        "SELECT id, kind, at, source, call, previous, test, first_delivery, deliveries, body FROM events
         WHERE id > ? AND id <= ? /*account of ?1*/ ORDER BY id LIMIT ?",
    )?;
    let [after, head, limit] = page.range(page.heads.position);
    let mut rows = statement.query([after.max(page.edges.before_events()), head, limit])?;
    while let Some(row) = rows.next()? {
        let number = unpack(row.get(0)?).1;
        let kind = EventType::from_code(row.get(1)?).ok_or_else(|| damaged("unknown event type"))?;
        let id = |kind, number: Option<i64>| number.map(|number| page.id(kind, number));
        let fields = EventLine {
            id: page.id(Kind::Event, number),
            kind: kind.as_str().to_owned(),
            timestamp: Time::from_micros(row.get(2)?),
            source_id: id(Kind::Source, row.get(3)?),
            call: id(Kind::Call, row.get(4)?),
            previous: id(Kind::Event, row.get(5)?),
            test: row.get(6)?,
            first_delivery: page.id(Kind::Delivery, row.get(7)?),
            deliveries: row.get(8)?,
            data: raw(&unpack_text(row.blob(9)?)?)?,
        };
        if !page.lines.add("event", number, &fields) {
            break;
        }
    }
    Ok(())
}

/// Takes an event in.
pub fn take(context: &mut ImportContext<'_>, line: &str) -> Result<LineOutcome, Refused> {
    let line: EventLine = read(line)?;
    let (db, number) = (context.db, context.number(Kind::Event, &line.id)?);
    let key = pack(context.account, number);
    let Some(kind) = EventType::parse(&line.kind) else {
        return wrong("unknown_event_type", "This postcall does not know its type.");
    };
    let body = EventBody::from_json(kind, line.data.get())
        .or_else(|_| wrong("malformed_line", "Its \"data\" is not that of an event of this type."))?;
    let known: Option<(i64, i64)> = db
        .prepare_cached("SELECT kind, at FROM events WHERE id = ? /*account of ?1*/")?
        .query_row([key], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let edges = Watermarks::of(db, context.account)?;
    match known {
        Some(known) if edges.has_event(number) => {
            return is_known(known == (kind.code(), line.timestamp.as_micros()));
        }
        // It was there, and only its row is left.
        Some(_) => return context.must_be_open().map(|()| LineOutcome::Unchanged),
        None => context.must_be_open()?,
    }
    if !edges.has_event(number) {
        // It came in although what is about as old is gone: the feed begins with it again.
        account_row::reopen_feed(db, context.account, number)?;
    }
    let links = check_links(context, &line, number)?;
    if let Some(name) = long_identifier(&body) {
        return wrong("malformed_line", format!("Its {name} is longer than {LONGEST_IDENTIFIER} bytes."));
    }
    insert(db, key, kind, &line, &links)?;
    if let (EventBody::Batch(batch), Some(source)) = (&body, links.source) {
        vendor_batch_rows::add_end(db, pack(context.account, source), &batch.batch_id, kind)?;
    }
    Ok(LineOutcome::Added)
}

/// What an event belongs to, by number.
struct Links {
    source: Option<i64>,
    call: Option<i64>,
    /// The event of its call before it.
    previous: Option<i64>,
    first_delivery: i64,
}

/// Finds what a line names, and checks that it follows what came before it and has deliveries of its own.
fn check_links(context: &ImportContext<'_>, line: &EventLine, number: i64) -> Result<Links, Refused> {
    let db = context.db;
    let id = |kind, id: Option<&str>| id.map(|id| context.number(kind, id)).transpose();
    let source = id(Kind::Source, line.source_id.as_deref())?;
    let call = id(Kind::Call, line.call.as_deref())?;
    let previous = id(Kind::Event, line.previous.as_deref())?;
    let first_delivery = context.any_number(Kind::Delivery, &line.first_delivery)?;
    let follows = match previous {
        Some(previous) => previous < number && is_of_call(context, previous, call)?.unwrap_or(true),
        None => true,
    };
    if !follows {
        return wrong("malformed_line", "What it follows is not an earlier event of its call.");
    }
    let are_numbered = match context.handed_out.end_of(first_delivery, line.deliveries) {
        Some(end) => plausible::are_in_order(db, context.account, number, [first_delivery, end])?,
        None => false,
    };
    if !are_numbered || !plausible::are_owed(db, context.account, line.deliveries)? {
        let detail = "Its deliveries are more than there are endpoints and numbers for, or have those of other events.";
        return wrong("out_of_range", detail);
    }
    Ok(Links { source, call, previous, first_delivery })
}

/// Writes an event.
fn insert(
    db: &Connection,
    key: i64,
    kind: EventType,
    line: &EventLine,
    links: &Links,
) -> Result<(), StoreError> {
    let &Links { source, call, previous, first_delivery } = links;
    let event = ImportedEvent {
        id: key,
        kind,
        at: line.timestamp,
        source,
        call,
        previous,
        test: line.test,
        first_delivery,
        deliveries: line.deliveries,
        body: pack_bytes(line.data.get().as_bytes())?,
    };
    event_rows::insert_imported(db, &event)
}
