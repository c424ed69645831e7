//! Erasing a person from events, calls, quarantine and kept answers. Records keep their ids, times and outcomes: the feed has
//! no gap, the sums and the statistics hold. What was still owed about the person is called off; what was proven delivered
//! stays so. Does not depend on who is erased and in how many steps.

use std::collections::{BTreeMap, BTreeSet};

use crate::ledger::{CallBook, Received};
use crate::model::{AccountKey, Call, Erased, EventBody, EventType, Mention, Text};
use crate::store::analytics::rollups;
use crate::store::apply::recording::Recording;
use crate::store::calls::index::call_hash;
use crate::store::calls::tombstones::Of;
use crate::store::calls::{call_rows, event_rows, quarantine, spans};
use crate::store::config::idempotency_rows;
use crate::store::deliveries::states::CLAIMED;
use crate::store::deliveries::{body_rows, replayed_rows, settled_rows};
use crate::store::layout::keys::{endpoint_ref, keys_of, pack, unpack};
use crate::store::packed::{damaged, pack_bytes, unpack_bytes, unpack_text};
use crate::store::reads::erased::{ANSWERED, without_answers};
use crate::store::sql::{Connection, OptionalExtension};
use crate::store::tx::step_budget::Budget;
use crate::store::vault::Vault;
use crate::store::{EndpointRef, StoreError};

/// What a room works with while it erases a person.
pub struct Erasing<'a, 'b> {
    /// The transaction.
    pub recording: &'a mut Recording<'b>,
    /// Opens what is sealed.
    pub vault: &'a Vault,
    /// In which account.
    pub account: AccountKey,
    /// The job's key.
    pub job: i64,
    /// Who.
    pub person: Mention,
    /// How far the room is; its own to use. It begins at 0.
    pub place: i64,
    /// What this step may do yet.
    pub budget: Budget,
    pub counts: BTreeMap<String, i64>,
}

impl Erasing<'_, '_> {
    /// Whether this step may take on a row of so many bytes.
    pub fn may_take(&mut self, bytes: i64) -> bool {
        self.budget.take(bytes) && self.recording.may_go_on()
    }

    /// Counts what was erased.
    pub fn count(&mut self, what: &str, many: i64) {
        if many > 0 {
            *self.counts.entry(what.to_owned()).or_default() += many;
        }
    }
}

/// The keys of the account from after `place` to its end.
pub fn rest(erasing: &Erasing<'_, '_>) -> [i64; 2] {
    [pack(erasing.account, erasing.place), pack(AccountKey(erasing.account.0 + 1), 0)]
}

/// Rows that one step looks at.
const STEP: i64 = 250;

/// Looks at every event. What belongs to a call waits for its call: a person is known by one event and meant by all. What
/// belongs to none is erased at once.
pub fn events(erasing: &mut Erasing<'_, '_>) -> Result<bool, StoreError> {
    let (db, [after, end]) = (erasing.recording.tx.db, rest(erasing));
    let mut statement = db.prepare_cached(
        "SELECT id, kind, call, body FROM events WHERE id > ? AND id < ? /*account of ?1*/
         ORDER BY id LIMIT ?",
    )?;
    let mut rows = statement.query([after, end, STEP])?;
    let (mut seen, mut known) = (0, calls_of(erasing)?);
    while let Some(row) = rows.next()? {
        let packed = row.blob(3)?;
        if !erasing.may_take(i64::try_from(packed.len()).unwrap_or(i64::MAX)) {
            return Ok(true);
        }
        let (id, call): (i64, Option<i64>) = (row.get(0)?, row.get(2)?);
        // Damaged data must not keep a person from being erased elsewhere.
        let body = unpack_text(packed).ok().filter(|json| erasing.person.is_in(json.as_bytes()));
        let body =
            body.and_then(|json| EventBody::from_json(EventType::from_code(row.get(1).ok()?)?, &json).ok());
        let is_about = body.is_some_and(|body| is_about(erasing, &body));
        match call {
            Some(call) if is_about || known.contains(&call) => {
                known.insert(call);
                db.later(
                    "INSERT INTO erasure_calls (erasure, call, at /*!, account */) VALUES (?1, ?2, ?3 /*!, @1 */)
                     ON CONFLICT (erasure, call /*!, account */) DO UPDATE SET at = ?3",
                    [erasing.job, call, -unpack(id).1],
                )?;
            }
            None if is_about && erase_event(erasing, id, None, None)?.is_none() => return Ok(true),
            _ => {}
        }
        erasing.place = unpack(id).1;
        seen += 1;
    }
    Ok(seen == STEP)
}

/// The calls that were found so far.
fn calls_of(erasing: &Erasing<'_, '_>) -> Result<BTreeSet<i64>, StoreError> {
    let mut statement = erasing
        .recording
        .tx
        .db
        .prepare_cached("SELECT call FROM erasure_calls WHERE erasure = ? /*account of ?1*/")?;
    let calls = statement.query_map([erasing.job], |row| row.get(0))?;
    Ok(calls.collect::<Result<_, _>>()?)
}

/// Whether a snapshot names the person. The line is ours, whoever else may have its number.
fn is_about(erasing: &Erasing<'_, '_>, body: &EventBody) -> bool {
    let json = match body {
        EventBody::Call { call, changed } => {
            let call = Call { line: <_>::default(), ..Call::clone(call) };
            EventBody::Call { call: call.into(), changed: changed.clone() }.to_json()
        }
        other => other.to_json(),
    };
    erasing.person.is_in(json.as_bytes())
}

/// Erases the calls that were found: the record first, so that nothing that is heard from then on brings it back, then
/// event by event from the last to the first.
pub fn calls(erasing: &mut Erasing<'_, '_>) -> Result<bool, StoreError> {
    let db = erasing.recording.tx.db;
    while erasing.may_take(0) {
        let next: Option<(i64, i64)> = db
            .prepare_cached("SELECT call, at FROM erasure_calls WHERE erasure = ? /*account of ?1*/ LIMIT 1")?
            .query_row([erasing.job], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let Some((call, at)) = next else { return Ok(false) };
        if let Some(position) = erase_call(erasing, call, at)? {
            db.prepare_cached(
                "UPDATE erasure_calls SET at = ? WHERE erasure = ? /*account of ?2*/ AND call = ?",
            )?
            .execute([position, erasing.job, call])?;
            break;
        }
        db.prepare_cached("DELETE FROM erasure_calls WHERE erasure = ? /*account of ?1*/ AND call = ?")?
            .execute([erasing.job, call])?;
    }
    Ok(true)
}

/// Erases a call from one of its events on, below 0 it begins with the record. A record may be gone by its age while rows
/// of the events lie there; then it begins with the last event that was seen. Gives the event that comes next when there
/// is more to do.
fn erase_call(erasing: &mut Erasing<'_, '_>, call: i64, at: i64) -> Result<Option<i64>, StoreError> {
    let alias = Text::from(format!("erased-{call}"));
    let mut at = Some(at);
    if let Some(seen) = at.filter(|&at| at <= 0) {
        let last = erase_record(erasing, call, &alias)?;
        erasing.count("calls", i64::from(last.is_some()));
        at = last.or((seen < 0).then(|| seen.saturating_neg()));
    }
    while let Some(position) = at {
        if !erasing.may_take(0) {
            return Ok(Some(position));
        }
        match erase_event(erasing, pack(erasing.account, position), Some(call), Some(&alias))? {
            Some(previous) => at = previous,
            None => return Ok(Some(position)),
        }
    }
    Ok(None)
}

/// Erases the record of a call and gives its last event; `None` when the call is gone by its age. A vendor's id that is
/// the number, or has it inside, becomes `alias`.
fn erase_record(erasing: &mut Erasing<'_, '_>, call: i64, alias: &Text) -> Result<Option<i64>, StoreError> {
    let (db, id) = (erasing.recording.tx.db, pack(erasing.account, call));
    #[expect(clippy::type_complexity, reason = "one row")]
    let row: Option<(i64, Vec<u8>, Option<Vec<u8>>, Vec<u8>, i64)> = db
        .prepare_cached(
            "SELECT event, marks, record, vendor_id, source FROM calls WHERE id = ? /*account of ?1*/",
        )?
        .query_row([id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)))
        .optional()?;
    let Some((event, marks, record, vendor_id, source)) = row else { return Ok(None) };
    let packed = match record {
        Some(record) => record,
        None => db
            .prepare_cached("SELECT body FROM events WHERE id = ? /*account of ?1*/")?
            .query_row([pack(erasing.account, event)], |row| row.get(0))?,
    };
    let Ok(book) = read_book(&packed, &marks) else {
        // A damaged one must not keep everybody else from being erased; its events are emptied one by one.
        call_rows::clear_record(db, id)?;
        return Ok(Some(event));
    };
    // What it adds to the numbers changes with what was felt and what it cost.
    let before = rollups::of_call(db, id).unwrap_or_default();
    let book = book.without_person();
    let received = Received::of_call(&book.marks);
    let marks = serde_json::to_vec(&book.marks).map_err(damaged)?;
    // The snapshot of its last event, which follows in this transaction, is the record again.
    call_rows::set_marks_and_clear_record(db, id, &marks)?;
    if erasing.person.is_in(&vendor_id) {
        let call_id = Text::from_bytes(vendor_id);
        let (known_by, hash) = (call_hash(source, &call_id), call_hash(source, alias));
        call_rows::set_vendor_id(db, id, hash, alias.as_bytes())?;
        erasing.recording.calls.found.remove(db, known_by, id)?;
        erasing.recording.calls.found.add(hash, id);
        // Nothing else is left by which a body with that id is known.
        erasing.recording.bury(source, Of::Call(&call_id), received)?;
    }
    // Also where the record differed from it, or the step ends before it.
    rewrite(db, pack(erasing.account, event), |body| {
        let call = nameless(Call::clone(&book.call), &erasing.person, alias);
        let changed = match body {
            EventBody::Call { changed, .. } => changed,
            _ => Vec::new(),
        };
        EventBody::Call { call: call.into(), changed }
    })?;
    let after = rollups::of_call(db, id).unwrap_or_default();
    erasing.recording.numbers.count(erasing.account, before, after);
    Ok(Some(event))
}

fn read_book(packed: &[u8], marks: &[u8]) -> Result<CallBook, StoreError> {
    Ok(CallBook {
        call: serde_json::from_str::<Call>(&unpack_text(packed)?).map_err(damaged)?.into(),
        marks: serde_json::from_slice(marks).map_err(damaged)?,
    })
}

/// Erases an event of this call with its deliveries. Gives the call's event before it, or nothing when there is more to do
/// about this one.
fn erase_event(
    erasing: &mut Erasing<'_, '_>,
    id: i64,
    call: Option<i64>,
    alias: Option<&Text>,
) -> Result<Option<Option<i64>>, StoreError> {
    let db = erasing.recording.tx.db;
    let row: Option<(i64, i64, Option<i64>, Option<i64>)> = db
        .prepare_cached(
            "SELECT first_delivery, deliveries, previous, call FROM events WHERE id = ? /*account of ?1*/",
        )?
        .query_row([id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
        .optional()?;
    // Gone by its age, and all before it too, but for those of which something was under way then.
    let Some((first, count, previous, of_call)) = row else { return left_behind(db, id, call).map(Some) };
    // A chain that leads to another call's events is damaged, and those are another person's.
    if of_call != call {
        return Ok(Some(None));
    }
    let (account, position) = (erasing.account, unpack(id).1);
    if !erase_deliveries(erasing, spans::of_event(db, id, first, count)?)? {
        return Ok(None);
    }
    // Those that replays planned have their numbers elsewhere.
    for delivery in replayed_rows::deliveries_of(db, account, position)? {
        if !erase_deliveries(erasing, [pack(account, delivery), pack(account, delivery + 1)])? {
            return Ok(None);
        }
    }
    let person = &erasing.person;
    let alias = alias.cloned().unwrap_or_else(|| Text::from("erased"));
    rewrite(db, id, |body| match body.without_person() {
        EventBody::Call { call, changed } => {
            EventBody::Call { call: nameless(Call::clone(&call), person, &alias).into(), changed }
        }
        body => body,
    })?;
    erasing.count("events", 1);
    Ok(Some(spans::before(position, previous)))
}

/// The last event of a call before one that is gone by its age: retention leaves an event while an attempt on it is under way,
/// and goes on. Few lie there. Where rows go with their partition, it waits for that event instead.
fn left_behind(db: &Connection, gone: i64, call: Option<i64>) -> Result<Option<i64>, StoreError> {
    let Some(call) = call.filter(|_| !db.drops_by_age()) else { return Ok(None) };
    let [first, _] = keys_of(unpack(gone).0);
    let last: Option<i64> = db
        .prepare_cached("SELECT MAX(id) FROM events WHERE id > ? AND id < ? /*account of ?1*/ AND call = ?")?
        .query_row([first, gone, call], |row| row.get(0))?;
    Ok(last.map(|id| unpack(id).1))
}

/// A record without the number in what else is kept of it: some vendors make ids and names of it.
fn nameless(mut call: Call, person: &Mention, alias: &Text) -> Call {
    if person.is_in(call.call_id.as_bytes()) {
        call.call_id = alias.clone();
    }
    for field in [&mut call.user_id, &mut call.agent.name, &mut call.campaign.name, &mut call.failure.code] {
        *field = field.take().filter(|text| !person.is_in(text.as_bytes()));
    }
    call
}

/// Writes another snapshot in place of the one that is there; of a call, one that cannot be read becomes an empty one.
fn rewrite(db: &Connection, id: i64, change: impl FnOnce(EventBody) -> EventBody) -> Result<(), StoreError> {
    let (kind, packed): (i64, Vec<u8>) = db
        .prepare_cached("SELECT kind, body FROM events WHERE id = ? /*account of ?1*/")?
        .query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let kind = EventType::from_code(kind).ok_or_else(|| damaged("unknown event type"))?;
    let body = unpack_text(&packed).ok().and_then(|json| EventBody::from_json(kind, &json).ok());
    let json = match (body, kind) {
        (Some(body), _) => change(body).to_json(),
        (None, EventType::BatchCompleted | EventType::BatchFailed | EventType::EndpointDisabled) => {
            return Ok(());
        }
        (None, _) => {
            let call =
                Call { call_id: Text::from("erased"), erased: Some(Erased::Person), ..Call::default() };
            EventBody::Call { call: call.into(), changed: Vec::new() }.to_json()
        }
    };
    event_rows::set_body(db, id, &pack_bytes(json.as_bytes())?)
}

/// Calls off what is open of these deliveries, drops the bodies that were kept, and what receivers answered: they may
/// quote what they were told. True when all of it is done.
fn erase_deliveries(erasing: &mut Erasing<'_, '_>, range: [i64; 2]) -> Result<bool, StoreError> {
    let db = erasing.recording.tx.db;
    let open: Vec<(i64, i64, i64)> = db
        .prepare_cached(
            "SELECT id, endpoint, state FROM open WHERE id >= ? AND id < ? /*account of ?1*/
             ORDER BY id",
        )?
        .query_map(range, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<Result<_, _>>()?;
    let kept: Vec<i64> = db
        .prepare_cached("SELECT delivery FROM bodies WHERE delivery >= ? AND delivery < ? /*account of ?1*/")?
        .query_map(range, |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let calling_off: Vec<&(i64, i64, i64)> = open.iter().take_while(|_| erasing.may_take(0)).collect();
    let are_all = calling_off.len() == open.len();
    for &&(id, endpoint, _) in calling_off.iter().filter(|(_, _, state)| *state == CLAIMED) {
        let endpoint: EndpointRef = endpoint_ref(endpoint);
        erasing.recording.committed.called_off.push((endpoint, unpack(id).1));
        erasing.count("deliveries_in_memory", 1);
    }
    let calling_off: Vec<i64> = calling_off.into_iter().map(|&(id, ..)| id).collect();
    let cancelled = erasing.recording.cancel_all(&calling_off)?.len();
    erasing.count("deliveries_cancelled", i64::try_from(cancelled).unwrap_or(0));
    if !are_all {
        return Ok(false);
    }
    for &id in &kept {
        body_rows::remove(db, id)?;
    }
    erasing.count("kept_bodies", i64::try_from(kept.len()).unwrap_or(0));
    let (mut quoting, mut is_all) = (Vec::new(), true);
    {
        let mut statement = db.prepare_cached(
            "SELECT id, attempts FROM settled
             WHERE id >= ? AND id < ? /*account of ?1*/ AND attempts IS NOT NULL ORDER BY id",
        )?;
        let mut rows = statement.query(range)?;
        while let Some(row) = rows.next()? {
            let packed: Vec<u8> = row.get(1)?;
            if !packed.windows(ANSWERED.len()).any(|part| part == ANSWERED) {
                continue;
            }
            // What was taken is done in this step: the next one must not find it again.
            if !erasing.may_take(i64::try_from(packed.len()).unwrap_or(i64::MAX)) {
                is_all = false;
                break;
            }
            quoting.push((row.get::<i64>(0)?, packed));
        }
    }
    for (id, packed) in &quoting {
        settled_rows::set_attempts(db, *id, &without_answers(packed))?;
    }
    erasing.count("delivery_answers", i64::try_from(quoting.len()).unwrap_or(0));
    Ok(is_all)
}

/// Discards bodies in quarantine that name the person.
pub fn quarantine(erasing: &mut Erasing<'_, '_>) -> Result<bool, StoreError> {
    let (db, [after, end]) = (erasing.recording.tx.db, rest(erasing));
    let mut statement = db.prepare_cached(
        "SELECT id, body, reason FROM quarantine WHERE id > ? AND id < ? /*account of ?1*/
         ORDER BY id LIMIT ?",
    )?;
    let mut rows = statement.query([after, end, STEP])?;
    let (mut seen, mut found) = (0, Vec::new());
    while let Some(row) = rows.next()? {
        let packed = row.blob(1)?;
        if !erasing.may_take(i64::try_from(packed.len()).unwrap_or(i64::MAX)) {
            seen = STEP;
            break;
        }
        erasing.place = unpack(row.get(0)?).1;
        seen += 1;
        let reason = row.blob(2)?;
        let names = |text: &[u8]| erasing.person.is_in(text);
        if names(reason) || unpack_bytes(packed).is_ok_and(|body| names(&body)) {
            found.push(row.get(0)?);
        }
    }
    drop(rows);
    quarantine::discard_all(db, &found)?;
    erasing.count("quarantined", i64::try_from(found.len()).unwrap_or(0));
    Ok(seen == STEP)
}

/// Empties answers that are kept for repeated requests, where they name the person or show deliveries, whose attempts may
/// quote anything. The requests stay answered. Gone through by age, the order that has an index.
pub fn answers(erasing: &mut Erasing<'_, '_>) -> Result<bool, StoreError> {
    const DELIVERY: &[u8] = b"\"dlv_";
    let db = erasing.recording.tx.db;
    #[expect(clippy::type_complexity, reason = "one row")]
    let kept: Vec<(i64, i64, Vec<u8>, Option<Vec<u8>>)> = db
        .prepare_cached(
            "SELECT created_at, account, name, sealed FROM idempotency WHERE created_at >= ?
             ORDER BY created_at LIMIT ?",
        )?
        .query_map([erasing.place, STEP], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?
        .collect::<Result<_, _>>()?;
    let last = kept.last().map(|row| row.0);
    let is_all = i64::try_from(kept.len()).unwrap_or(STEP) < STEP;
    let mut emptied = 0;
    for (_, account, name, sealed) in kept {
        let answer =
            sealed.filter(|_| account == erasing.account.0).map(|sealed| erasing.vault.open(&sealed));
        let Some(Ok(answer)) = answer else { continue };
        if !erasing.person.is_in(&answer) && !answer.windows(DELIVERY.len()).any(|part| part == DELIVERY) {
            continue;
        }
        idempotency_rows::replace_answer(db, erasing.vault, erasing.account, &name, EMPTIED)?;
        emptied += 1;
    }
    erasing.count("answers", emptied);
    // Some of the same moment may be looked at twice, and none never.
    erasing.place = last.map_or(0, |last| if last == erasing.place { last + 1 } else { last });
    Ok(!is_all)
}

/// What stands in place of an answer that was emptied.
const EMPTIED: &[u8] = br#"{"erased":"person"}"#;
