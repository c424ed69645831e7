//! Given batches on their way out and in: their contacts, those that wait to be taken in too, and which calls count for
//! which contact. An open one rests until all lines are in and then goes on: `end` wakes it. Its numbers are counted anew
//! as its contacts come, so they fit them. Refuses to know how batches are counted.

use const_format::formatcp;

use super::export_page::{ExportPage, PAGE, time};
use super::import_line::{ImportContext, LineOutcome, Refused, is_known, is_same_age, read, wrong};
use crate::ledger::{ContactBook, Counted, Standing};
use crate::model::bounds::{ATTEMPTS, LONGEST_DEADLINE, is_span};
use crate::model::id::{self, Kind};
use crate::model::{Text, Time};
use crate::store::StoreError;
use crate::store::batches::batch_rows::{self, ImportedBatch};
use crate::store::batches::loaded::{
    BATCH_COLUMNS, BatchBook, CONTACT_COLUMNS, book_of, contact_of, contacts_of,
};
use crate::store::batches::states::{ARRIVING, COMPLETED};
use crate::store::batches::{
    BatchState, CONTACTS_IN_STEP, Contact, Failure, Given, MOST_CONTACTS, Reporters, batch_call_rows,
    batch_of, contact_number, contact_rows, credit, deadlines, intake_rows, schedule,
};
use crate::store::export::CallLine;
use crate::store::layout::codec::length;
use crate::store::layout::keys::{pack, unpack};
use crate::store::moving::{BatchLine, ContactLine, TakenIn};
use crate::store::packed::{damaged, unpack_bytes};
use crate::store::sql::{Connection, OptionalExtension};

/// What an import has to know of its time.
pub const COLUMNS: &str = r"
-- When an import into the account began: what it brought ages from then on.
ALTER TABLE accounts ADD COLUMN imported_at INTEGER;
";

/// A deadline that would pass sooner is put off by this: whoever tells of the end of a call has to find the new house.
const GRACE: std::time::Duration = std::time::Duration::from_secs(3600);

const STATES: [(BatchState, &str); 4] = [
    (BatchState::Ingesting, "ingesting"),
    (BatchState::Sealed, "sealed"),
    (BatchState::Completed, "completed"),
    (BatchState::Failed, "failed"),
];
const COUNTED: [(Counted, &str); 3] =
    [(Counted::Heard, "heard"), (Counted::Ended, "ended"), (Counted::Completed, "completed")];

/// What is said of a call in a batch.
#[derive(Default)]
pub struct Placing {
    /// The contact, or the batch.
    pub counts_for: Option<String>,
    /// As what.
    pub counted: Option<String>,
    /// When it is given up.
    pub lost_at: Option<Time>,
}

/// Gives a page of batches. One that never arrived was promised to nobody.
pub fn give_batches(page: &mut ExportPage<'_>) -> Result<(), StoreError> {
    let sql = formatcp!(
        "SELECT {BATCH_COLUMNS}, release_at FROM given_batches
         WHERE id > ? AND id <= ? /*account of ?1*/ AND state > {ARRIVING} ORDER BY id LIMIT ?"
    );
    let mut statement = page.db.prepare_cached(sql)?;
    let mut rows = statement.query(page.range(page.heads.batches))?;
    while let Some(row) = rows.next()? {
        let (number, book) = (unpack(row.get(0)?).1, BatchBook::of(&row)?);
        let state = STATES.iter().find(|(state, _)| *state == book.state);
        let waiting = schedule::find(page.db, row.get(0)?)?;
        let asked = waiting.and_then(|waiting| waiting.told);
        let (error, code) = book.failure.map(|Failure { error, code }| (error, code)).unzip();
        let endpoints = book.given.endpoints.iter().map(|&it| page.id(Kind::Endpoint, it));
        let (reporters, source_ids) = match &book.given.reporters {
            Reporters::Listed(sources) => {
                let ids = sources.iter().map(|&it| page.id(Kind::Source, it)).collect();
                (Reporters::All, Some(ids))
            }
            other => (other.clone(), None),
        };
        let fields = BatchLine {
            id: page.id(Kind::Batch, number),
            state: state.map_or("", |(_, word)| word).to_owned(),
            total: book.tally.total,
            taken_in: book.taken_in,
            succeeded: book.tally.succeeded,
            failed: book.tally.failed,
            max_attempts: book.max_attempts,
            lost_after: book.lost_after.map(|span| i64::try_from(span.as_micros()).unwrap_or(i64::MAX)),
            created_at: book.created_at,
            started_at: book.started_at,
            ended_at: book.ended_at,
            release_at: time(row.get(15)?),
            asks_at: waiting.map(|waiting| waiting.due),
            asked: asked.map(|contact| page.id(Kind::Contact, contact)),
            error,
            code,
            endpoints: endpoints.collect(),
            source_ids,
            given: Given { endpoints: Vec::new(), reporters, ..Given::clone(&book.given) },
        };
        if !page.lines.add("batch", number, &fields) {
            break;
        }
    }
    Ok(())
}

/// Gives a page of contacts, batch by batch in the order given. Those that wait lie behind those that were taken in.
pub fn give_contacts(page: &mut ExportPage<'_>) -> Result<(), StoreError> {
    let (db, account, mut after) = (page.db, page.account, page.after());
    let last = pack(account, page.heads.batches);
    loop {
        let batch: Option<(i64, i64)> = db
            .prepare_cached(formatcp!(
                "SELECT id, state FROM given_batches
                 WHERE id >= ? AND id <= ? /*account of ?1*/ AND state > {ARRIVING} ORDER BY id LIMIT 1"
            ))?
            .query_row([pack(account, batch_of(after).max(1)), last], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let Some((batch, state)) = batch else { return Ok(()) };
        let [first, end] = contacts_of(batch);
        let from = pack(account, after).max(first - 1);
        give_taken_in(page, from, end)?;
        if page.lines.is_empty() && state < COMPLETED {
            give_waiting(page, from, end)?;
        }
        if !page.lines.is_empty() {
            return Ok(());
        }
        after = contact_number(unpack(batch).1 + 1, 0);
    }
}

fn give_taken_in(page: &mut ExportPage<'_>, from: i64, end: i64) -> Result<(), StoreError> {
    let sql = format!(
        "SELECT {CONTACT_COLUMNS} FROM contacts WHERE id > ? AND id < ? /*account of ?1*/
         ORDER BY id LIMIT ?"
    );
    let mut statement = page.db.prepare_cached(&sql)?;
    let mut rows = statement.query([from, end, PAGE])?;
    while let Some(row) = rows.next()? {
        let (number, book) = (unpack(row.get(0)?).1, book_of(&row)?);
        let taken_in = TakenIn {
            about: contact_of(&row)?,
            heard: book.heard,
            ended: book.ended,
            completed: book.completed,
            closed: book.is_closed,
            lost_at: time(row.get(6)?),
        };
        let id = page.id(Kind::Contact, number);
        if !page.lines.add(
            "contact",
            number,
            &ContactLine { id, waiting: Vec::new(), taken_in: Some(taken_in) },
        ) {
            break;
        }
    }
    Ok(())
}

fn give_waiting(page: &mut ExportPage<'_>, from: i64, end: i64) -> Result<(), StoreError> {
    let mut statement = page.db.prepare_cached(
        "SELECT id, packed FROM intake WHERE id > ? AND id < ? /*account of ?1*/ ORDER BY id LIMIT ?",
    )?;
    let mut rows = statement.query([from, end, PAGE])?;
    while let Some(row) = rows.next()? {
        let number = unpack(row.get(0)?).1;
        let waiting: Vec<Contact> = serde_json::from_slice(&unpack_bytes(row.blob(1)?)?).map_err(damaged)?;
        let last = number + i64::try_from(waiting.len()).unwrap_or(1).max(1) - 1;
        let id = page.id(Kind::Contact, number);
        if !page.lines.add("contact", last, &ContactLine { id, waiting, taken_in: None }) {
            break;
        }
    }
    Ok(())
}

/// What a call counts for, and how long somebody waits for its end.
pub fn placing(page: &ExportPage<'_>, call: i64) -> Result<Placing, StoreError> {
    let db = page.db;
    let link: Option<(i64, Option<i64>, i64)> = db
        .prepare_cached(
            "SELECT link.batch, link.contact, link.counted FROM batch_calls AS link
             JOIN given_batches ON given_batches.id = link.batch
             /*! AND given_batches.account = link.account */
             WHERE link.call = ? /*! AND link.account = @1 */",
        )?
        .query_row([call], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let lost_at = db
        .prepare_cached("SELECT due FROM watched WHERE call = ? /*account of ?1*/")?
        .query_row([call], |row| row.get(0))
        .optional()?;
    let link = link.filter(|(batch, ..)| unpack(*batch).1 <= page.heads.batches);
    let (counts_for, counted) = link
        .map(|(batch, contact, counted)| {
            let id = match contact {
                Some(contact) => page.id(Kind::Contact, unpack(contact).1),
                None => page.id(Kind::Batch, unpack(batch).1),
            };
            let word = COUNTED.iter().find(|(code, _)| *code as i64 == counted);
            (id, word.map_or("heard", |(_, word)| word).to_owned())
        })
        .unzip();
    Ok(Placing { counts_for, counted, lost_at: time(lost_at) })
}

/// Takes a batch in. It does nothing until the end, and its contacts are still to come.
pub fn take_batch(context: &mut ImportContext<'_>, line: &str) -> Result<LineOutcome, Refused> {
    let line: BatchLine = read(line)?;
    let (db, number) = (context.db, context.number(Kind::Batch, &line.id)?);
    let key = pack(context.account, number);
    if let Some(is_same) = is_same_age(db, "given_batches", key, line.created_at)? {
        return is_known(is_same);
    }
    context.must_be_open()?;
    let Some(&(state, _)) = STATES.iter().find(|(_, word)| *word == line.state) else {
        return wrong("unknown_state", "Its state is none of: ingesting, sealed, completed, failed.");
    };
    let given = given_here(context, &line)?;
    let asked = line.asked.as_deref().map(|id| context.number(Kind::Contact, id)).transpose()?;
    if !are_possible(&line, state, number, asked) {
        return wrong("malformed_line", "Its numbers cannot be.");
    }
    insert_batch(db, key, state, &line, &given)?;
    if let Some(due) = line.asks_at {
        schedule::rest(db, key, due, asked)?;
    }
    Ok(LineOutcome::Added)
}

/// What the giver said of a batch, under the numbers that its endpoints and sources have here.
fn given_here(context: &ImportContext<'_>, line: &BatchLine) -> Result<Given, Refused> {
    let endpoints = line.endpoints.iter().map(|id| context.number(Kind::Endpoint, id));
    let endpoints = endpoints.collect::<Result<_, _>>()?;
    let sources = line.source_ids.as_ref().map(|ids| {
        let numbers = ids.iter().map(|id| context.number(Kind::Source, id));
        numbers.collect::<Result<Vec<i64>, Refused>>()
    });
    let reporters = match (sources.transpose()?, &line.given.reporters) {
        (Some(sources), _) => Reporters::Listed(sources),
        (None, Reporters::Listed(_)) => {
            return wrong("malformed_line", "Numbers of sources say nothing; it lacks their ids.");
        }
        (None, others) => others.clone(),
    };
    let given = Given { endpoints, reporters, ..line.given.clone() };
    if let Some(name) = given.misfit() {
        return wrong("setting_refused", format!("Its {name} is not what a batch can say."));
    }
    Ok(given)
}

/// Whether a batch can have the numbers and times of this line.
fn are_possible(line: &BatchLine, state: BatchState, number: i64, asked: Option<i64>) -> bool {
    let most = i64::try_from(MOST_CONTACTS).unwrap_or(i64::MAX);
    let are_counted = (1..=most).contains(&line.total)
        && (0..=line.total).contains(&line.taken_in)
        && line.succeeded >= 0
        && line.failed >= 0
        && line.succeeded.checked_add(line.failed).is_some_and(|closed| closed <= line.taken_in);
    are_counted
        && u32::try_from(line.max_attempts).is_ok_and(|most| ATTEMPTS.contains(&most))
        && line.lost_after.is_none_or(|micros| is_span(length(micros), LONGEST_DEADLINE))
        && state.is_over() == line.ended_at.is_some()
        // It completes when the last one of all its contacts closes.
        && (state != BatchState::Completed || line.succeeded + line.failed == line.total)
        && asked.is_none_or(|contact| batch_of(contact) == number)
}

/// Writes a batch. One that is over has its numbers; of an open one they are counted as its contacts come.
fn insert_batch(
    db: &Connection,
    key: i64,
    state: BatchState,
    line: &BatchLine,
    given: &Given,
) -> Result<(), StoreError> {
    let counts = if state.is_over() { [line.taken_in, line.succeeded, line.failed] } else { [0; 3] };
    let [taken_in, succeeded, failed] = counts;
    let batch = ImportedBatch {
        id: key,
        state,
        tally: Standing { total: line.total, succeeded, failed },
        taken_in,
        max_attempts: line.max_attempts,
        lost_after: line.lost_after,
        created_at: line.created_at,
        started_at: line.started_at,
        ended_at: line.ended_at,
        release_at: line.release_at,
        given,
        error: line.error.as_ref(),
        code: line.code.as_ref(),
    };
    batch_rows::import(db, &batch)
}

/// Takes a contact in, or some that wait.
pub fn take_contact(context: &mut ImportContext<'_>, line: &str) -> Result<LineOutcome, Refused> {
    let line: ContactLine = read(line)?;
    let (db, number) = (context.db, context.number(Kind::Contact, &line.id)?);
    let key = pack(context.account, number);
    let known: Option<Vec<u8>> = db
        .prepare_cached("SELECT about FROM contacts WHERE id = ? /*account of ?1*/")?
        .query_row([key], |row| row.get(0))
        .optional()?;
    if let Some(known) = known {
        let known: Contact = serde_json::from_slice(&known).map_err(damaged)?;
        let said = line.taken_in.as_ref().map(|it| &it.about).or_else(|| line.waiting.first());
        // One that was erased in either house is the same.
        return is_known(
            said.is_none_or(|said| said.is_erased() || known.is_erased() || said.phone == known.phone),
        );
    }
    if db.prepare_cached("SELECT 1 FROM intake WHERE id = ? /*account of ?1*/")?.exists([key])? {
        return Ok(LineOutcome::Unchanged);
    }
    context.must_be_open()?;
    let batch = pack(context.account, batch_of(number));
    let found: Option<(i64, i64, i64)> = db
        .prepare_cached(
            "SELECT state, total, max_attempts FROM given_batches WHERE id = ? /*account of ?1*/",
        )?
        .query_row([batch], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let Some((state, total, max_attempts)) = found else {
        return wrong("no_such_batch", "Its batch did not come before it.");
    };
    let place = number - contact_number(batch_of(number), 0);
    let count = i64::try_from(line.waiting.len()).unwrap_or(i64::MAX).max(1);
    if place < 1
        || place.saturating_add(count - 1) > total
        || line.waiting.len() > CONTACTS_IN_STEP
        || line.waiting.is_empty() == line.taken_in.is_none()
    {
        return wrong(
            "malformed_line",
            "Its batch has no such place, or it is neither taken in nor waiting.",
        );
    }
    let about = line.taken_in.iter().map(|contact| &contact.about).chain(&line.waiting);
    if let Some(name) = about.filter_map(Contact::misfit).next() {
        return wrong("setting_refused", format!("The {name} of a contact is not what can be given."));
    }
    if is_taken(context, batch, [key, key + count])? {
        return wrong("number_taken", "Another contact of its batch has that place.");
    }
    let is_open = state < COMPLETED;
    match line.taken_in {
        Some(contact) => take_one(context, batch, key, &contact, is_open.then_some(max_attempts)),
        None if state == BatchState::Sealed.code() => {
            wrong("malformed_line", "It waits for a batch that has taken all of its contacts in.")
        }
        None => {
            // Of a batch that is over nobody is taken in any more.
            if is_open {
                intake_rows::add(db, key, &line.waiting)?;
            }
            Ok(LineOutcome::Added)
        }
    }
}

/// Whether one of these places is another contact's, one that was taken in or one that waits.
fn is_taken(context: &ImportContext<'_>, batch: i64, [first, end]: [i64; 2]) -> Result<bool, StoreError> {
    let is_there = |table: &str| {
        let sql = format!("SELECT 1 FROM {table} WHERE id >= ? AND id < ? /*account of ?1*/ LIMIT 1");
        context.db.prepare_cached(&sql)?.exists([first, end])
    };
    if is_there("contacts")? || is_there("intake")? {
        return Ok(true);
    }
    // Those that wait lie some in a row, under the place of the first.
    let before: Option<(i64, Vec<u8>)> = context
        .db
        .prepare_cached(
            "SELECT id, packed FROM intake WHERE id >= ? AND id < ? /*account of ?1*/
             ORDER BY id DESC LIMIT 1",
        )?
        .query_row([contacts_of(batch)[0], first], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((id, packed)) = before else { return Ok(false) };
    let waiting: Vec<Contact> = serde_json::from_slice(&unpack_bytes(&packed)?).map_err(damaged)?;
    Ok(id.saturating_add(i64::try_from(waiting.len()).unwrap_or(i64::MAX)) > first)
}

fn take_one(
    context: &ImportContext<'_>,
    batch: i64,
    key: i64,
    contact: &TakenIn,
    attempts_of_open: Option<i64>,
) -> Result<LineOutcome, Refused> {
    let TakenIn { about, heard, ended, completed, closed, lost_at } = contact;
    // Each is a call that the account heard of, or an attempt that was given up.
    let most = context.handed_out.most_heard();
    let are_counted = 0 <= *completed && completed <= ended && ended <= heard && *heard <= most;
    // One that was reached, or has used up its attempts, is closed.
    let is_done = *completed > 0 || attempts_of_open.is_some_and(|most| *ended >= most);
    if !are_counted || (is_done && !closed) {
        return wrong("malformed_line", "Its counts cannot be.");
    }
    let db = context.db;
    let due = lost_at.map(|due| put_off(due, context.import.now));
    let book = ContactBook { heard: *heard, ended: *ended, completed: *completed, is_closed: *closed };
    contact_rows::import(db, batch, key, about, book, due)?;
    if attempts_of_open.is_some() {
        let mut adds = Standing::default();
        adds.shift(&ContactBook::default(), &book);
        batch_rows::count_imported(db, batch, &adds)?;
    }
    Ok(LineOutcome::Added)
}

/// When something that was due is due here.
fn put_off(due: Time, now: Time) -> i64 {
    due.max(now.after(GRACE)).as_micros()
}

/// What a call counts for here.
pub struct Link {
    batch_and_contact: Option<(i64, Option<i64>)>,
    counted: Counted,
    lost_at: Option<i64>,
}

/// Reads what a call counts for. As what it counts for a contact follows from its record.
pub fn link(context: &ImportContext<'_>, line: &CallLine, counted: Counted) -> Result<Link, Refused> {
    let lost_at = line.lost_at.map(|due| put_off(due, context.import.now));
    let Some(id) = &line.counts_for else {
        return Ok(Link { batch_and_contact: None, counted: Counted::Heard, lost_at });
    };
    let (batch, contact) = match id.starts_with(Kind::Batch.prefix()) {
        true => (context.number(Kind::Batch, id)?, None),
        false => {
            let contact = context.number(Kind::Contact, id)?;
            (batch_of(contact), Some(pack(context.account, contact)))
        }
    };
    let batch = pack(context.account, batch);
    let said = COUNTED.iter().find(|(_, word)| line.counted.as_deref() == Some(word));
    let Some(&(said, _)) = said else {
        return wrong("malformed_line", "Its \"counted\" is none of: heard, ended, completed.");
    };
    // Where nobody was found for the call it is in no sum, and nothing that is heard of it changes that once its batch is over.
    let counted = if contact.is_some() { counted } else { said };
    let total: Option<i64> = context
        .db
        .prepare_cached("SELECT total FROM given_batches WHERE id = ? /*account of ?1*/")?
        .query_row([batch], |row| row.get(0))
        .optional()?;
    let Some(total) = total else {
        return wrong("no_such_batch", "The batch that it counts for did not come before it.");
    };
    if contact.is_some_and(|contact| contact > pack(context.account, contact_number(unpack(batch).1, total)))
    {
        return wrong("malformed_line", "The batch that it counts for has no such contact.");
    }
    Ok(Link { batch_and_contact: Some((batch, contact)), counted, lost_at })
}

impl Link {
    /// Writes it beside its call.
    pub fn write(&self, context: &ImportContext<'_>, call: i64) -> Result<(), StoreError> {
        let db = context.db;
        if let Some((batch, contact)) = self.batch_and_contact {
            batch_call_rows::import(db, call, batch, contact, self.counted)?;
        }
        if let Some(due) = self.lost_at {
            deadlines::set(db, call, due)?;
        }
        Ok(())
    }
}

/// The id of a batch of these lines, as it is here: an endpoint's scope names one.
pub fn id_here(context: &ImportContext<'_>, batch: Option<Text>) -> Option<Text> {
    let text = batch?;
    let known = std::str::from_utf8(text.as_bytes()).ok().and_then(|id| id::parse(Kind::Batch, id));
    match known {
        Some((tag, number)) if tag == context.origin => {
            Some(Text::from(id::format(Kind::Batch, context.tag, number)))
        }
        _ => Some(text),
    }
}

/// All lines are in: open batches go on. What of them waits is taken in, then they are sealed; one of which every contact
/// has closed is complete.
pub fn end(context: &ImportContext<'_>) -> Result<(), StoreError> {
    let (db, account) = (context.db, context.account);
    batch_rows::resume(db, account)?;
    schedule::wake(db, account)?;
    credit::set(db, account, credit::left(db, account)?)
}
