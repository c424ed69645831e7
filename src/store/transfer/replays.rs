//! Replays on their way out and in. One that was under way stops with the move: it comes in as cancelled, and what it had
//! planned is sent. Whoever wants the rest asks for it again, where only one house answers. Refuses to know what a
//! replay does.

use super::export_page::{ExportPage, raw, time};
use super::import_line::{ImportContext, LineOutcome, Refused, is_known, is_same_age, read, wrong};
use crate::model::Time;
use crate::model::id::Kind;
use crate::model::replay::RATES;
use crate::store::StoreError;
use crate::store::config::account_row;
use crate::store::deliveries::replays::{self, ImportedReplay, StoredSelection, is_possible};
use crate::store::deliveries::states::{REPLAY_CANCELLED, REPLAY_DONE, REPLAY_RUNNING};
use crate::store::layout::keys::{MOST_BROUGHT, pack, unpack};
use crate::store::moving::ReplayLine;

const STATES: [(i64, &str); 3] =
    [(REPLAY_RUNNING, "running"), (REPLAY_DONE, "done"), (REPLAY_CANCELLED, "cancelled")];

/// Gives a page of replays.
pub fn give(page: &mut ExportPage<'_>) -> Result<(), StoreError> {
    let mut statement = page.db.prepare_cached(
        "SELECT id, created_at, selection, target, rate, dry, state, next_at, position, last, total, examined,
             deliveries, finished_at FROM replays WHERE id > ? AND id <= ? /*account of ?1*/
             ORDER BY id LIMIT ?",
    )?;
    let mut rows = statement.query(page.range(i64::MAX))?;
    while let Some(row) = rows.next()? {
        let number = unpack(row.get(0)?).1;
        let state: i64 = row.get(6)?;
        let fields = ReplayLine {
            id: page.id(Kind::Replay, number),
            created_at: Time::from_micros(row.get(1)?),
            selection: raw(&row.get::<String>(2)?)?,
            to: row.get::<Option<i64>>(3)?.map(|to| page.id(Kind::Endpoint, to)),
            rate: row.get(4)?,
            dry_run: row.get(5)?,
            state: STATES.iter().find(|(code, _)| *code == state).map_or("cancelled", |it| it.1).to_owned(),
            calling_off: state == REPLAY_CANCELLED && row.get::<Option<i64>>(7)?.is_some(),
            position: row.get(8)?,
            last: row.get(9)?,
            total: row.get(10)?,
            examined: row.get(11)?,
            deliveries: row.get(12)?,
            finished_at: time(row.get(13)?),
        };
        if !page.lines.add("replay", number, &fields) {
            break;
        }
    }
    Ok(())
}

/// Takes a replay in.
pub fn take(context: &mut ImportContext<'_>, line: &str) -> Result<LineOutcome, Refused> {
    let line: ReplayLine = read(line)?;
    let (db, number) = (context.db, context.number(Kind::Replay, &line.id)?);
    let key = pack(context.account, number);
    if let Some(is_same) = is_same_age(db, "replays", key, line.created_at)? {
        return is_known(is_same);
    }
    context.must_be_open()?;
    let Some(&(state, _)) = STATES.iter().find(|(_, word)| *word == line.state) else {
        return wrong("unknown_state", "Its state is none of: running, done, cancelled.");
    };
    let to = line.to.as_deref().map(|id| context.number(Kind::Endpoint, id)).transpose()?;
    // One that was made while the export was under way is in it, too: what it says of the feed may be behind its head.
    let numbers = [line.position, line.last, line.total.unwrap_or(0), line.examined, line.deliveries];
    let is_fine = numbers.iter().all(|number| (0..=MOST_BROUGHT).contains(number))
        && RATES.contains(&line.rate)
        && serde_json::from_str::<StoredSelection>(line.selection.get())
            .is_ok_and(|stored| is_possible(&stored));
    if !is_fine {
        return wrong("malformed_line", "Its numbers or its \"selection\" cannot be.");
    }
    let (state, finished_at) = match state {
        REPLAY_RUNNING => (REPLAY_CANCELLED, Some(context.import.now)),
        state => (state, line.finished_at),
    };
    let replay = ImportedReplay {
        id: key,
        created_at: line.created_at,
        selection: line.selection.get(),
        target: to,
        rate: line.rate,
        dry: line.dry_run,
        state,
        is_cancelling: line.calling_off,
        position: line.position,
        last: line.last,
        total: line.total,
        examined: line.examined,
        deliveries: line.deliveries,
        finished_at,
    };
    replays::insert_imported(db, &replay)?;
    account_row::raise_number(db, context.account, "replays", number)?;
    Ok(LineOutcome::Added)
}
