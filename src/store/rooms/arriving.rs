//! An account on its way in: lines are checked one by one and written under the numbers that they had. A line that is
//! there already changes nothing, so whatever broke off is sent again. Refuses to know how lines travel.
//!
//! They go into an account that has recorded nothing yet. The first line reserves the numbers that were handed out, so
//! what is recorded meanwhile gets numbers of its own, and takes over the mark in ids where no other account has it.

use crate::store::sql::{Connection, OptionalExtension, params};
use data_encoding::BASE64;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::call_index::{Changes, call_hash};
use super::codec::outcome_code;
use super::config::Changed;
use super::edges::Edges;
use super::head::Head;
use super::keys::pack;
use super::list::ROOMS;
use super::mentioned::{Mentions, Remembered};
use super::moving_settings::SEALED_ELSEWHERE;
use super::plausible::{self, HandedOut};
use super::read;
use super::retention;
use super::tallies::{self, Table};
use super::tombstones;
use super::transcripts;
use super::{moving_batches, moving_replays};
use crate::ledger::Counted;
use crate::ledger::merge::Marks;
use crate::model::event::{LONGEST_IDENTIFIER, long_identifier};
use crate::model::id::{self, Kind, Tag};
use crate::model::{AccountKey, Call, EventBody, EventType, Outcome, Time};
use crate::store::StoreError;
use crate::store::export::{AccountLine, CallLine, EventLine, Import, Imported, VERSION, WireRules, Wrong};
use crate::store::packed::pack_bytes;
use crate::store::vault::Vault;

/// What an import has to know of its account.
pub const COLUMNS: &str = r"
-- The mark in the ids of the lines that were taken in, and whether more may come.
ALTER TABLE accounts ADD COLUMN origin INTEGER;
ALTER TABLE accounts ADD COLUMN importing INTEGER NOT NULL DEFAULT 0;
";

/// What became of one line.
pub enum Taken {
    /// It was written.
    Added,
    /// It was there.
    Unchanged,
}

/// Why a line was left out.
pub enum Refused {
    /// It is wrong.
    Line(&'static str, String),
    /// Everything after it would be, too.
    All(&'static str, String),
    /// The store failed.
    Store(StoreError),
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::LimitReached(kind, most) => Self::Line(kind.code(), kind.refusal(most)),
            error => Self::Store(error),
        }
    }
}

impl From<crate::store::sql::Error> for Refused {
    fn from(error: crate::store::sql::Error) -> Self {
        Self::Store(error.into())
    }
}

pub(super) fn wrong<T>(code: &'static str, detail: impl Into<String>) -> Result<T, Refused> {
    Err(Refused::Line(code, detail.into()))
}

/// What a room works with while it takes a line in.
pub struct Arriving<'a> {
    /// The transaction.
    pub db: &'a Connection,
    /// Opens and seals.
    pub vault: &'a Vault,
    /// Into which account.
    pub account: AccountKey,
    /// The mark in the ids of the lines.
    pub(super) origin: Tag,
    /// The mark in ids here.
    pub(super) tag: Tag,
    /// Whether anything may be written: afterwards lines are only compared.
    is_open: bool,
    pub(super) deliver: bool,
    pub(super) now: Time,
    /// What can be sent to.
    pub(super) rules: &'a dyn WireRules,
    /// What the account has handed out.
    pub(super) handed_out: HandedOut,
    /// What the endpoints were owed, once somebody asked.
    pub(super) owed: &'a mut Option<i64>,
    pub(super) changed: &'a mut Vec<Changed>,
    found: &'a mut Changes,
    tallies: &'a mut tallies::Changes,
    mentions: &'a mut Mentions,
    pub(super) remembered: &'a Remembered,
}

/// What an import works with beside the transaction.
#[derive(Clone, Copy)]
pub struct Known<'a> {
    /// Opens and seals.
    pub vault: &'a Vault,
    /// The campaigns and agents that have records.
    pub remembered: &'a Remembered,
}

/// What the lines change beside the tables, once they are committed.
#[derive(Default)]
pub struct Effects {
    /// The configuration.
    pub changed: Vec<Changed>,
    /// Where calls are found.
    pub found: Changes,
    /// The numbers of accounts; written with the lines.
    tallies: tallies::Changes,
    /// Campaigns and agents; written with the lines.
    mentions: Mentions,
    owed: Option<i64>,
}

impl Arriving<'_> {
    /// The number of an id in a line: one that the account has handed out.
    pub(super) fn number(&self, kind: Kind, id: &str) -> Result<i64, Refused> {
        let number = self.any_number(kind, id)?;
        // Afterwards nothing comes in, whatever its number.
        if !self.is_open || self.handed_out.has(kind, number) {
            return Ok(number);
        }
        wrong("out_of_range", "An id in it has a number that was not handed out, if the first line is right.")
    }

    /// The same where the number may be the one that comes next.
    pub(super) fn any_number(&self, kind: Kind, id: &str) -> Result<i64, Refused> {
        match id::parse(kind, id) {
            Some((tag, number)) if tag == self.origin && number > 0 => Ok(number),
            Some(_) => wrong("other_account", "An id in it is of another account than the first line's."),
            None => wrong("bad_id", format!("Where {}_... should be is something else.", kind.prefix())),
        }
    }

    pub(super) fn key(&self, kind: Kind, id: &str) -> Result<i64, Refused> {
        Ok(pack(self.account, self.number(kind, id)?))
    }

    pub(super) fn must_be_open(&self) -> Result<(), Refused> {
        if self.is_open {
            return Ok(());
        }
        let detail = "The import of this account has ended, and this line was not in it. Import into an empty account.";
        Err(Refused::All("import_ended", detail.to_owned()))
    }
}

pub(super) fn read<T: DeserializeOwned>(line: &str) -> Result<T, Refused> {
    serde_json::from_str(line).map_err(|error| {
        // What serde says of data may quote it; of a field it names the name.
        let what = error.to_string();
        let detail = match what.strip_prefix("missing field ") {
            Some(rest) => format!("It lacks the field {}.", rest.split(" at ").next().unwrap_or_default()),
            None => format!("One of its fields is not what an export writes; see column {}.", error.column()),
        };
        Refused::Line("malformed_line", detail)
    })
}

/// Takes lines in. What is wrong with one does not keep the others out.
pub fn import(
    db: &Connection,
    known: Known<'_>,
    account: AccountKey,
    import: &Import,
) -> Result<(Imported, Effects), StoreError> {
    let (mut done, mut effects) = (Imported::default(), Effects::default());
    Head::take(db, account)?;
    for (number, line) in &import.lines {
        // While a line before it is wrong, the end does not end it.
        let may_end = import.may_end && done.wrong.is_empty();
        match take(db, known, account, import, may_end, line, &mut effects) {
            Ok((_, Some(Taken::Unchanged))) => done.unchanged += 1,
            Ok((kind, Some(Taken::Added))) => *done.added.entry(kind).or_default() += 1,
            Ok((_, None)) => done.ended = true,
            Err(Refused::Store(error)) => return Err(error),
            Err(Refused::Line(code, detail)) => done.wrong.push(Wrong { line: *number, code, detail }),
            Err(Refused::All(code, detail)) => {
                done.wrong.push(Wrong { line: *number, code, detail });
                done.stopped = true;
                break;
            }
        }
    }
    effects.tallies.write(db, Table::Standing)?;
    std::mem::take(&mut effects.mentions).add_missing(db, import.now)?;
    Ok((done, effects))
}

/// Takes one line in. Gives its kind, and nothing else when it was the end.
fn take(
    db: &Connection,
    known: Known<'_>,
    account: AccountKey,
    import: &Import,
    may_end: bool,
    line: &str,
    effects: &mut Effects,
) -> Result<(String, Option<Taken>), Refused> {
    #[derive(Deserialize)]
    struct Kinded {
        kind: String,
    }
    let kind = serde_json::from_str::<Kinded>(line).map_err(|_| {
        let detail = "It is no JSON object with a \"kind\". Was the file cut, or changed by hand?";
        Refused::Line("malformed_line", detail.to_owned())
    })?;
    let kind = kind.kind;
    if kind == "account" {
        let taken = begin(db, known.vault, account, &read(line)?, import, &mut effects.changed)?;
        return Ok((kind, Some(taken)));
    }
    if kind == "cursor" {
        return Ok((kind, Some(Taken::Unchanged)));
    }
    let (origin, is_open, tag, handed_out): (Option<i64>, bool, i64, HandedOut) = db
        .prepare_cached(&format!(
            "SELECT origin, importing, tag, {} FROM accounts WHERE account = ?",
            HandedOut::COLUMNS
        ))?
        .query_row([account.0], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, HandedOut::of(row, 3)?)))?;
    let Some(origin) = origin else {
        let detail = "The first line has to be the account's. Send the export from its beginning.";
        return Err(Refused::All("no_account_line", detail.to_owned()));
    };
    let [origin, tag] = [origin, tag].map(|mark| Tag::from_random(mark.cast_unsigned()));
    let (deliver, now) = (import.deliver, import.now);
    let Effects { changed, found, tallies, mentions, owed } = effects;
    let Known { vault, remembered } = known;
    let mut arriving = Arriving {
        db,
        vault,
        account,
        origin,
        tag,
        is_open,
        deliver,
        now,
        rules: import.rules.as_ref(),
        handed_out,
        owed,
        changed,
        found,
        tallies,
        mentions,
        remembered,
    };
    if kind == "end" {
        return match may_end {
            true => end(&arriving).map(|()| (kind, None)),
            false => Ok((kind, Some(Taken::Unchanged))),
        };
    }
    let room = ROOMS.iter().filter_map(|room| room.carry.as_ref()).find(|carry| carry.word == kind);
    let Some(room) = room else {
        let known: Vec<&str> = ROOMS.iter().filter_map(|room| Some(room.carry.as_ref()?.word)).collect();
        return wrong("unknown_kind", format!("Its kind is none of: account, {}, end.", known.join(", ")));
    };
    (room.take)(&mut arriving, line).map(|taken| (kind, Some(taken)))
}

/// The last line: the account goes on from here, and what rested until then with it.
fn end(arriving: &Arriving<'_>) -> Result<(), Refused> {
    if arriving.is_open {
        moving_batches::end(arriving)?;
        moving_replays::end(arriving)?;
        arriving
            .db
            .prepare_cached("UPDATE accounts SET importing = 0 WHERE account = ?")?
            .execute([arriving.account.0])?;
    }
    Ok(())
}

/// The first line. An account that has recorded something is refused: two feeds cannot become one.
fn begin(
    db: &Connection,
    vault: &Vault,
    account: AccountKey,
    line: &AccountLine,
    import: &Import,
    changed: &mut Vec<Changed>,
) -> Result<Taken, Refused> {
    if line.version > VERSION {
        let detail = "It was written by a newer postcall. Import it with that version or a later one.";
        return Err(Refused::All("newer_version", detail.to_owned()));
    }
    let Some((tag, _)) = id::parse(Kind::Account, &line.id) else {
        return Err(Refused::All("bad_id", "Its \"id\" is not acc_....".to_owned()));
    };
    if let Some(name) = plausible::misfit(line) {
        let detail = format!("Its {name:?} is not one that an account can have.");
        return Err(Refused::All("out_of_range", detail));
    }
    let now = import.now;
    let (origin, is_used): (Option<i64>, bool) = db
        .prepare_cached(
            "SELECT origin, position + calls + deliveries + quarantined > 0 FROM accounts WHERE account = ?",
        )?
        .query_row([account.0], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let batch_secret = batch_secret(vault, line)?;
    match origin {
        Some(origin) if origin == tag.0.cast_signed() => return Ok(Taken::Unchanged),
        None if !is_used => {}
        _ => {
            let detail = "This account has recorded something already. Make a new one and import into that.";
            return Err(Refused::All("account_not_empty", detail.to_owned()));
        }
    }
    let is_taken = db
        .prepare_cached("SELECT 1 FROM accounts WHERE tag = ? AND account <> ?")?
        .exists([tag.0.cast_signed(), account.0])?;
    // Receivers know records by their ids, so who may choose the mark in them could speak for another account somewhere.
    if import.keeps_ids && !is_taken {
        db.prepare_cached("UPDATE accounts SET tag = ? WHERE account = ?")?
            .execute([tag.0.cast_signed(), account.0])?;
    }
    db.prepare_cached(
        "UPDATE accounts SET origin = ?2, importing = 1, created_at = ?3, position = ?4, calls = ?5, deliveries = ?6,
             sources = CASE WHEN sources < ?7 THEN ?7 ELSE sources END,
             endpoints = CASE WHEN endpoints < ?8 THEN ?8 ELSE endpoints END, purged = ?9, transcripts_gone = ?10,
             batches = CASE WHEN batches < ?11 THEN ?11 ELSE batches END,
             replays = CASE WHEN replays < ?12 THEN ?12 ELSE replays END, call_credit = ?13,
             batch_secret = COALESCE(?14, batch_secret), imported_at = ?15
         WHERE account = ?1",
    )?
    .execute(params![
        account.0,
        tag.0.cast_signed(),
        line.created_at.as_micros(),
        line.position,
        line.calls,
        line.deliveries,
        line.sources,
        line.endpoints,
        line.purged,
        line.transcripts_gone,
        line.batches,
        line.replays,
        line.call_credit,
        batch_secret,
        now.as_micros()
    ])?;
    // Nothing says when an event was recorded elsewhere: ages begin now.
    let kept = [line.retention, line.transcript_retention].map(|micros| micros.map(retention::length));
    if line.position > line.purged {
        retention::begin_slot(db, account, kept.into_iter().flatten().min(), line.purged + 1, now)?;
    }
    retention::set(db, account, kept[0], now)?;
    transcripts::set(db, account, kept[1], now)?;
    if let Some(micros) = line.repeat_memory {
        tombstones::set(db, account, retention::length(micros), now)?;
    }
    changed.push(Changed::Everything(account));
    Ok(Taken::Added)
}

/// The secret for batches, sealed anew. Where it was left out, the next batch with endpoints makes one.
fn batch_secret(vault: &Vault, line: &AccountLine) -> Result<Option<Vec<u8>>, Refused> {
    let decode = |text: &Option<String>| text.as_ref().map(|text| BASE64.decode(text.as_bytes())).transpose();
    let (Ok(clear), Ok(sealed)) = (decode(&line.batch_secret), decode(&line.batch_secret_sealed)) else {
        return Err(Refused::All("malformed_line", "Its secret for batches is not base64.".to_owned()));
    };
    let secret = match sealed.map(|sealed| vault.open(&sealed)) {
        Some(Err(_)) => return Err(Refused::All("sealed_elsewhere", SEALED_ELSEWHERE.to_owned())),
        Some(Ok(secret)) => Some(secret),
        None => clear,
    };
    Ok(secret.map(|secret| vault.seal(&secret)))
}

/// Numbers that come are handed out no more.
pub(super) fn raise(
    db: &Connection,
    account: AccountKey,
    column: &str,
    number: i64,
) -> Result<(), StoreError> {
    let sql = format!("UPDATE accounts SET {column} = ?2 WHERE account = ?1 AND {column} < ?2");
    db.prepare_cached(&sql)?.execute([account.0, number])?;
    Ok(())
}

pub fn event(arriving: &mut Arriving<'_>, line: &str) -> Result<Taken, Refused> {
    let line: EventLine = read(line)?;
    let (db, number) = (arriving.db, arriving.number(Kind::Event, &line.id)?);
    let key = pack(arriving.account, number);
    let Some(kind) = EventType::parse(&line.kind) else {
        return wrong("unknown_event_type", "This postcall does not know its type.");
    };
    let body = EventBody::from_json(kind, line.data.get())
        .or_else(|_| wrong("malformed_line", "Its \"data\" is not that of an event of this type."))?;
    let known: Option<(i64, i64)> = db
        .prepare_cached("SELECT kind, at FROM events WHERE id = ? /*! AND account = @1 */")?
        .query_row([key], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let edges = Edges::of(db, arriving.account)?;
    match known {
        Some(known) if edges.has_event(number) => {
            return is_known(known == (kind.code(), line.timestamp.as_micros()));
        }
        // It was there, and only its row is left.
        Some(_) => return arriving.must_be_open().map(|()| Taken::Unchanged),
        None => arriving.must_be_open()?,
    }
    if !edges.has_event(number) {
        edges.reopen(db, number)?;
    }
    let id = |kind, id: Option<&str>| id.map(|id| arriving.number(kind, id)).transpose();
    let source = id(Kind::Source, line.source_id.as_deref())?;
    let call = id(Kind::Call, line.call.as_deref())?;
    let previous = id(Kind::Event, line.previous.as_deref())?;
    let first_delivery = arriving.any_number(Kind::Delivery, &line.first_delivery)?;
    let follows = match previous {
        Some(previous) => previous < number && is_of_call(arriving, previous, call)?.unwrap_or(true),
        None => true,
    };
    if !follows {
        return wrong("malformed_line", "What it follows is not an earlier event of its call.");
    }
    let are_numbered = match arriving.handed_out.end_of(first_delivery, line.deliveries) {
        Some(end) => plausible::are_in_order(db, arriving.account, number, [first_delivery, end])?,
        None => false,
    };
    if !are_numbered || !plausible::are_owed(db, arriving.account, line.deliveries)? {
        let detail = "Its deliveries are more than there are endpoints and numbers for, or have those of other events.";
        return wrong("out_of_range", detail);
    }
    if let Some(name) = long_identifier(&body) {
        return wrong("malformed_line", format!("Its {name} is longer than {LONGEST_IDENTIFIER} bytes."));
    }
    db.prepare_cached(
        "INSERT INTO events (id, kind, at, source, call, previous, test, first_delivery, deliveries,
         body /*!, account */)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ? /*!, @1 */)",
    )?
    .execute(params![
        key,
        kind.code(),
        line.timestamp.as_micros(),
        source,
        call,
        previous,
        line.test,
        first_delivery,
        line.deliveries,
        pack_bytes(line.data.get().as_bytes())?
    ])?;
    if let (EventBody::Batch(batch), Some(source)) = (&body, source) {
        let is_completed = kind == EventType::BatchCompleted;
        db.prepare_cached(
            "INSERT INTO batches (source, vendor_id, completed, failed /*!, account */)
             VALUES (?1, ?2, ?3, ?4 /*!, @1 */)
             ON CONFLICT (source, vendor_id /*!, account */) DO UPDATE SET
                 completed = CASE WHEN batches.completed < ?3 THEN ?3 ELSE batches.completed END,
                 failed = CASE WHEN batches.failed < ?4 THEN ?4 ELSE batches.failed END",
        )?
        .execute(params![
            pack(arriving.account, source),
            batch.batch_id.as_bytes(),
            is_completed,
            !is_completed
        ])?;
    }
    Ok(Taken::Added)
}

/// Whether an event is one of this call; `None` when it is not there.
pub(super) fn is_of_call(
    arriving: &Arriving<'_>,
    event: i64,
    call: Option<i64>,
) -> Result<Option<bool>, StoreError> {
    let found: Option<Option<i64>> = arriving
        .db
        .prepare_cached("SELECT call FROM events WHERE id = ? /*! AND account = @1 */")?
        .query_row([pack(arriving.account, event)], |row| row.get(0))
        .optional()?;
    Ok(found.map(|found| call.is_some() && found == call))
}

pub(super) fn is_known(is_same: bool) -> Result<Taken, Refused> {
    if is_same {
        return Ok(Taken::Unchanged);
    }
    wrong("number_taken", "This account has recorded something else under its number.")
}

pub fn call(arriving: &mut Arriving<'_>, line: &str) -> Result<Taken, Refused> {
    let line: CallLine = read(line)?;
    let (db, number) = (arriving.db, arriving.number(Kind::Call, &line.id)?);
    let key = pack(arriving.account, number);
    let source = arriving.key(Kind::Source, &line.source_id)?;
    let known: Option<(i64, Vec<u8>)> = db
        .prepare_cached("SELECT source, vendor_id FROM calls WHERE id = ? /*! AND account = @1 */")?
        .query_row([key], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    if let Some((of, vendor_id)) = known {
        return is_known(of == source && vendor_id == line.call_id.as_bytes());
    }
    arriving.must_be_open()?;
    let event = arriving.number(Kind::Event, &line.event)?;
    let is_there = Edges::of(db, arriving.account)?.has_event(event);
    if !is_there || is_of_call(arriving, event, Some(number))? != Some(true) {
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
    let (last, ..) = read::event(db, arriving.origin, arriving.account, event)?;
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
    let link = moving_batches::link(arriving, &line, counted)?;
    let record = line.record.map(|record| pack_bytes(record.get().as_bytes())).transpose()?;
    let hash = call_hash(source, &line.call_id);
    db.prepare_cached(
        "INSERT INTO calls (id, hash, source, vendor_id, outcome, event, marks, record, updated_at,
         counted /*!, account */)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ? /*!, @1 */)",
    )?
    .execute(params![
        key,
        hash,
        source,
        line.call_id.as_bytes(),
        outcome,
        event,
        line.marks.get().as_bytes(),
        record,
        line.updated_at.as_micros(),
        // When its end was heard is only asked where no vendor said when it was.
        outcome.map_or(0, |_| line.updated_at.as_micros())
    ])?;
    link.write(arriving, key)?;
    arriving.found.add(hash, key);
    arriving.tallies.book(arriving.account, None, tallies::of_call(db, key)?);
    arriving.mentions.note(arriving.remembered, arriving.account, &snapshot);
    Ok(Taken::Added)
}
