//! Calls: how they are exported and imported. Each stands behind its last event; its numbers are counted anew. Does not depend
//! on how lines are read and written.

use super::batches;
use super::export_page::{ExportPage, raw};
use super::import_line::{ImportContext, LineOutcome, Refused, is_known, is_of_call, read, wrong};
use crate::ledger::Counted;
use crate::ledger::merge::Marks;
use crate::model::event::LONGEST_IDENTIFIER;
use crate::model::id::Kind;
use crate::model::{Call, EventBody, Outcome, Text, Time};
use crate::store::StoreError;
use crate::store::analytics::rollups;
use crate::store::calls::call_rows::{self, ImportedCall};
use crate::store::calls::index::call_hash;
use crate::store::calls::spans;
use crate::store::export::CallLine;
use crate::store::layout::codec::outcome_code;
use crate::store::layout::keys::{pack, unpack};
use crate::store::packed::{pack_bytes, unpack_text};
use crate::store::reads::pages;
use crate::store::sql::OptionalExtension;
use crate::store::tx::watermarks::Watermarks;

pub fn give(page: &mut ExportPage<'_>) -> Result<(), StoreError> {
    let db = page.db;
    let mut statement = db.prepare_cached(
        "SELECT id, source, vendor_id, outcome, event, marks, record, updated_at FROM calls
         WHERE id > ? AND id <= ? /*account of ?1*/ ORDER BY id LIMIT ?",
    )?;
    let mut rows = statement.query(page.range(page.heads.calls))?;
    while let Some(row) = rows.next()? {
        let number = unpack(row.get(0)?).1;
        let mut event: i64 = row.get(4)?;
        let mut record: Option<Vec<u8>> = row.get(6)?;
        // What was heard of it since the export began is left out.
        while event > page.heads.position {
            record = None;
            let previous: Option<Option<i64>> = db
                .prepare_cached("SELECT previous FROM events WHERE id = ? /*account of ?1*/")?
                .query_row([pack(page.account, event)], |row| row.get(0))
                .optional()?;
            event = spans::before(event, previous.flatten()).unwrap_or(0);
        }
        let record = record.map(|packed| raw(&unpack_text(&packed)?)).transpose()?;
        let marks: Vec<u8> = row.get(5)?;
        let outcome: Option<i64> = row.get(3)?;
        let outcome = outcome.and_then(|code| Outcome::ALL.get(usize::try_from(code).ok()?));
        let batches::Placing { counts_for, counted, lost_at } = batches::placing(page, row.get(0)?)?;
        let fields = CallLine {
            id: page.id(Kind::Call, number),
            source_id: page.id(Kind::Source, unpack(row.get(1)?).1),
            call_id: Text::from_bytes(row.get::<Vec<u8>>(2)?),
            outcome: outcome.map(|outcome| outcome.as_str().to_owned()),
            event: page.id(Kind::Event, event),
            marks: raw(&String::from_utf8_lossy(&marks))?,
            record,
            updated_at: Time::from_micros(row.get(7)?),
            counts_for,
            counted,
            lost_at,
        };
        if !page.lines.add("call", number, &fields) {
            break;
        }
    }
    Ok(())
}

pub fn take(context: &mut ImportContext<'_>, line: &str) -> Result<LineOutcome, Refused> {
    let line: CallLine = read(line)?;
    let (db, number) = (context.db, context.number(Kind::Call, &line.id)?);
    let key = pack(context.account, number);
    let source = context.key(Kind::Source, &line.source_id)?;
    let known: Option<(i64, Vec<u8>)> = db
        .prepare_cached("SELECT source, vendor_id FROM calls WHERE id = ? /*account of ?1*/")?
        .query_row([key], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    if let Some((of, vendor_id)) = known {
        return is_known(of == source && vendor_id == line.call_id.as_bytes());
    }
    context.must_be_open()?;
    let event = context.number(Kind::Event, &line.event)?;
    let is_there = Watermarks::of(db, context.account)?.has_event(event);
    if !is_there || is_of_call(context, event, Some(number))? != Some(true) {
        return wrong("no_such_event", "Its last event did not come before it.");
    }
    if !(1..=LONGEST_IDENTIFIER).contains(&line.call_id.as_bytes().len()) {
        let detail = format!("Its \"call_id\" is empty, or longer than {LONGEST_IDENTIFIER} bytes.");
        return wrong("malformed_line", detail);
    }
    let is_outcome = |word: &String| Outcome::ALL.into_iter().any(|outcome| outcome.as_str() == word);
    if !line.outcome.as_ref().is_none_or(is_outcome) {
        return wrong("unknown_outcome", "This postcall does not know its outcome.");
    }
    let (last, ..) = pages::event(db, context.origin, context.account, event)?;
    let EventBody::Call { call: snapshot, .. } = last.body else {
        return wrong("no_such_event", "Its last event is not about a call.");
    };
    let parsed = line.record.as_ref().map(|record| serde_json::from_str::<Call>(record.get())).transpose();
    let (Ok(record), Ok(_)) = (parsed, serde_json::from_str::<Marks>(line.marks.get())) else {
        return wrong("malformed_line", "Its \"marks\" or its \"record\" cannot be read.");
    };
    // The record says how it ended. What was heard while the export was under way may be in one place and not in the other.
    let as_it_stands = record.as_ref().unwrap_or(&snapshot);
    let outcome = as_it_stands.outcome.map(outcome_code);
    let counted = Counted::of(as_it_stands);
    let link = batches::link(context, &line, counted)?;
    let record = line.record.map(|record| pack_bytes(record.get().as_bytes())).transpose()?;
    let hash = call_hash(source, &line.call_id);
    let call = ImportedCall {
        id: key,
        hash,
        source,
        vendor_id: line.call_id.as_bytes(),
        outcome,
        event,
        marks: line.marks.get().as_bytes(),
        record,
        updated_at: line.updated_at,
        // When its end was heard is only asked where no vendor said when it was.
        counted: outcome.map_or(0, |_| line.updated_at.as_micros()),
    };
    call_rows::insert_imported(db, &call)?;
    link.write(context, key)?;
    context.effects.found.add(hash, key);
    context.effects.tallies.book(context.account, None, rollups::of_call(db, key)?);
    context.effects.mentions.note(context.remembered, context.account, &snapshot);
    Ok(LineOutcome::Added)
}
