//! Campaigns and agents on their way out and in, with what was set of them by hand. They come before the calls that tell of
//! them, so those make no records of their own. Refuses to know the numbers of their calls: those are made from the calls.

use super::export_page::{ExportPage, PAGE};
use super::import_line::{ImportContext, LineOutcome, Refused, read, wrong};
use crate::ledger::tally::Dimension;
use crate::model::{Text, Time};
use crate::store::StoreError;
use crate::store::analytics::names::{self, ImportedName, fits};
use crate::store::analytics::rollups::about;
use crate::store::moving::NameLine;
use crate::store::sql::OptionalExtension;

/// Gives a page of campaigns.
pub fn give_campaigns(page: &mut ExportPage<'_>) -> Result<(), StoreError> {
    give(page, Dimension::Campaign, "campaign")
}

/// Gives a page of agents.
pub fn give_agents(page: &mut ExportPage<'_>) -> Result<(), StoreError> {
    give(page, Dimension::Agent, "agent")
}

/// Takes a campaign in.
pub fn take_campaign(context: &mut ImportContext<'_>, line: &str) -> Result<LineOutcome, Refused> {
    take(context, Dimension::Campaign, line)
}

/// Takes an agent in.
pub fn take_agent(context: &mut ImportContext<'_>, line: &str) -> Result<LineOutcome, Refused> {
    take(context, Dimension::Agent, line)
}

fn give(page: &mut ExportPage<'_>, what: Dimension, word: &str) -> Result<(), StoreError> {
    let mut statement = page.db.prepare_cached(
        "SELECT id, name, named, expected_calls, created_at FROM mentioned
         WHERE account = ? AND about = ? AND id > ? ORDER BY id LIMIT ?",
    )?;
    let mut rows = statement.query((page.account.0, about(what), page.after_name(), PAGE))?;
    while let Some(row) = rows.next()? {
        let id = Text::from_bytes(row.get::<Vec<u8>>(0)?);
        let fields = NameLine {
            id: id.clone(),
            name: row.get::<Option<Vec<u8>>>(1)?.map(Text::from_bytes),
            named: row.get(2)?,
            expected_calls: row.get(3)?,
            created_at: Time::from_micros(row.get(4)?),
        };
        if !page.lines.add_named(word, id, &fields) {
            break;
        }
    }
    Ok(())
}

/// One that is there from another time was made since, by a call or by hand, and is replaced, as sources are.
fn take(context: &mut ImportContext<'_>, what: Dimension, line: &str) -> Result<LineOutcome, Refused> {
    let line: NameLine = read(line)?;
    if !fits(&line.id) {
        return wrong("malformed_line", "Its \"id\" is empty or too long.");
    }
    if !line.name.as_ref().is_none_or(fits) {
        return wrong("malformed_line", "Its \"name\" is empty or too long.");
    }
    let (db, account) = (context.db, context.account);
    let known: Option<i64> = db
        .prepare_cached("SELECT created_at FROM mentioned WHERE account = ? AND about = ? AND id = ?")?
        .query_row((account.0, about(what), line.id.as_bytes()), |row| row.get(0))
        .optional()?;
    if known == Some(line.created_at.as_micros()) {
        return Ok(LineOutcome::Unchanged);
    }
    context.must_be_open()?;
    let imported = ImportedName {
        id: &line.id,
        name: line.name.as_ref(),
        named: line.named,
        expected_calls: line.expected_calls,
        created_at: line.created_at,
    };
    names::put_imported(db, account, what, &imported)?;
    context.remembered.forget(account, what, &line.id);
    Ok(LineOutcome::Added)
}
