//! The numbers of accounts: gathered while a group is recorded, each row written once at its end. What a call adds is the
//! ledger's to say; this file only keeps sums, and can make them anew from the calls.
//! Refuses to know what the numbers mean.

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use super::{Grain, Named, Row, Span, Subject, TextPage};
use crate::ledger::tally::{Dimension, Place, WIDTH};
use crate::ledger::{CallBook, Contribution, Tally, contribution};
use crate::model::{AccountKey, Text, Time};
use crate::store::StoreError;
use crate::store::layout::keys::{pack, unpack};
use crate::store::packed::{damaged, unpack_text};
use crate::store::sql::{Connection, OptionalExtension, Row as Columns, Value};

/// The tables: `tallies` as they stand, `tallies_gone` what calls added that are gone by their age.
pub const TABLES: &str = r"
-- When a call's end was heard, 0 as long as it was not; NULL is a call from before there were tallies, in none of them.
ALTER TABLE calls ADD COLUMN counted INTEGER;
-- about: 0 the account (id is empty), 1 a campaign, 2 a batch, 3 an agent. grain: 0 calls that have not ended (start is
-- 0), 1 a day, 2 an hour. start: hours since 1970. Money in millionths, scores in thousandths.
CREATE TABLE tallies (
    account INTEGER NOT NULL, about INTEGER NOT NULL, id BLOB NOT NULL, grain INTEGER NOT NULL, start INTEGER NOT NULL,
    requested INTEGER NOT NULL, in_progress INTEGER NOT NULL, completed INTEGER NOT NULL, voicemail INTEGER NOT NULL,
    no_answer INTEGER NOT NULL, busy INTEGER NOT NULL, failed INTEGER NOT NULL, canceled INTEGER NOT NULL,
    lost INTEGER NOT NULL, succeeded INTEGER NOT NULL, not_succeeded INTEGER NOT NULL, timed INTEGER NOT NULL,
    milliseconds INTEGER NOT NULL, positive INTEGER NOT NULL, neutral INTEGER NOT NULL, negative INTEGER NOT NULL,
    other INTEGER NOT NULL, scored INTEGER NOT NULL, score INTEGER NOT NULL, priced INTEGER NOT NULL,
    cost INTEGER NOT NULL, recorded INTEGER NOT NULL, duration_0 INTEGER NOT NULL, duration_1 INTEGER NOT NULL,
    duration_2 INTEGER NOT NULL, duration_3 INTEGER NOT NULL, duration_4 INTEGER NOT NULL,
    duration_5 INTEGER NOT NULL, duration_6 INTEGER NOT NULL, duration_7 INTEGER NOT NULL,
    duration_8 INTEGER NOT NULL, duration_9 INTEGER NOT NULL, duration_10 INTEGER NOT NULL,
    duration_11 INTEGER NOT NULL, duration_12 INTEGER NOT NULL, duration_13 INTEGER NOT NULL,
    duration_14 INTEGER NOT NULL, duration_15 INTEGER NOT NULL, duration_16 INTEGER NOT NULL,
    duration_17 INTEGER NOT NULL, duration_18 INTEGER NOT NULL, duration_19 INTEGER NOT NULL,
    duration_20 INTEGER NOT NULL, duration_21 INTEGER NOT NULL, duration_22 INTEGER NOT NULL,
    duration_23 INTEGER NOT NULL, duration_24 INTEGER NOT NULL, duration_25 INTEGER NOT NULL,
    duration_26 INTEGER NOT NULL, duration_27 INTEGER NOT NULL, duration_28 INTEGER NOT NULL,
    duration_29 INTEGER NOT NULL, duration_30 INTEGER NOT NULL, duration_31 INTEGER NOT NULL,
    duration_32 INTEGER NOT NULL, duration_33 INTEGER NOT NULL, duration_34 INTEGER NOT NULL,
    duration_35 INTEGER NOT NULL, duration_36 INTEGER NOT NULL, duration_37 INTEGER NOT NULL,
    duration_38 INTEGER NOT NULL, duration_39 INTEGER NOT NULL, duration_40 INTEGER NOT NULL,
    duration_41 INTEGER NOT NULL, duration_42 INTEGER NOT NULL, duration_43 INTEGER NOT NULL,
    duration_44 INTEGER NOT NULL, duration_45 INTEGER NOT NULL, duration_46 INTEGER NOT NULL,
    PRIMARY KEY (account, about, id, grain, start)
) WITHOUT ROWID;
CREATE TABLE tallies_gone (
    account INTEGER NOT NULL, about INTEGER NOT NULL, id BLOB NOT NULL, grain INTEGER NOT NULL, start INTEGER NOT NULL,
    requested INTEGER NOT NULL, in_progress INTEGER NOT NULL, completed INTEGER NOT NULL, voicemail INTEGER NOT NULL,
    no_answer INTEGER NOT NULL, busy INTEGER NOT NULL, failed INTEGER NOT NULL, canceled INTEGER NOT NULL,
    lost INTEGER NOT NULL, succeeded INTEGER NOT NULL, not_succeeded INTEGER NOT NULL, timed INTEGER NOT NULL,
    milliseconds INTEGER NOT NULL, positive INTEGER NOT NULL, neutral INTEGER NOT NULL, negative INTEGER NOT NULL,
    other INTEGER NOT NULL, scored INTEGER NOT NULL, score INTEGER NOT NULL, priced INTEGER NOT NULL,
    cost INTEGER NOT NULL, recorded INTEGER NOT NULL, duration_0 INTEGER NOT NULL, duration_1 INTEGER NOT NULL,
    duration_2 INTEGER NOT NULL, duration_3 INTEGER NOT NULL, duration_4 INTEGER NOT NULL,
    duration_5 INTEGER NOT NULL, duration_6 INTEGER NOT NULL, duration_7 INTEGER NOT NULL,
    duration_8 INTEGER NOT NULL, duration_9 INTEGER NOT NULL, duration_10 INTEGER NOT NULL,
    duration_11 INTEGER NOT NULL, duration_12 INTEGER NOT NULL, duration_13 INTEGER NOT NULL,
    duration_14 INTEGER NOT NULL, duration_15 INTEGER NOT NULL, duration_16 INTEGER NOT NULL,
    duration_17 INTEGER NOT NULL, duration_18 INTEGER NOT NULL, duration_19 INTEGER NOT NULL,
    duration_20 INTEGER NOT NULL, duration_21 INTEGER NOT NULL, duration_22 INTEGER NOT NULL,
    duration_23 INTEGER NOT NULL, duration_24 INTEGER NOT NULL, duration_25 INTEGER NOT NULL,
    duration_26 INTEGER NOT NULL, duration_27 INTEGER NOT NULL, duration_28 INTEGER NOT NULL,
    duration_29 INTEGER NOT NULL, duration_30 INTEGER NOT NULL, duration_31 INTEGER NOT NULL,
    duration_32 INTEGER NOT NULL, duration_33 INTEGER NOT NULL, duration_34 INTEGER NOT NULL,
    duration_35 INTEGER NOT NULL, duration_36 INTEGER NOT NULL, duration_37 INTEGER NOT NULL,
    duration_38 INTEGER NOT NULL, duration_39 INTEGER NOT NULL, duration_40 INTEGER NOT NULL,
    duration_41 INTEGER NOT NULL, duration_42 INTEGER NOT NULL, duration_43 INTEGER NOT NULL,
    duration_44 INTEGER NOT NULL, duration_45 INTEGER NOT NULL, duration_46 INTEGER NOT NULL,
    PRIMARY KEY (account, about, id, grain, start)
) WITHOUT ROWID;
-- Campaigns (1) and agents (3) that were heard of; named says that the name was set through the API.
CREATE TABLE mentioned (
    account INTEGER NOT NULL, about INTEGER NOT NULL, id BLOB NOT NULL, name BLOB, named INTEGER NOT NULL,
    expected_calls INTEGER, created_at INTEGER NOT NULL,
    PRIMARY KEY (account, about, id)
) WITHOUT ROWID;
";

/// Ids that one page looks at, whether or not something ended there.
const MOST_LOOKED_AT: usize = 2000;

/// The code of a dimension in `about`.
pub fn about(dimension: Dimension) -> i64 {
    match dimension {
        Dimension::Campaign => 1,
        Dimension::Batch => 2,
        Dimension::Agent => 3,
    }
}

fn key(subject: &Subject) -> (i64, &[u8]) {
    match subject {
        Subject::Account => (0, b""),
        Subject::Of(dimension, id) => (about(*dimension), id.as_bytes()),
    }
}

fn subject_of(code: i64, id: Vec<u8>) -> Result<Subject, StoreError> {
    let dimensions = [Dimension::Campaign, Dimension::Batch, Dimension::Agent];
    if code == 0 {
        return Ok(Subject::Account);
    }
    let dimension = dimensions.into_iter().find(|&dimension| about(dimension) == code);
    dimension
        .map(|dimension| Subject::Of(dimension, Text::from_bytes(id)))
        .ok_or_else(|| damaged(format!("a tally about {code}")))
}

fn grain_code(grain: Grain) -> i64 {
    match grain {
        Grain::Open => 0,
        Grain::Day => 1,
        Grain::Hour => 2,
    }
}

/// What a call adds; nothing for one from before there were tallies.
pub fn counted(book: Option<&CallBook>, counted: Option<i64>) -> Option<Contribution> {
    book.zip(counted).map(|(book, heard)| contribution(book, Time::from_micros(heard)))
}

/// Changes to numbers that are not written yet.
#[derive(Default)]
pub struct Changes(HashMap<(AccountKey, Place), Tally>);

impl Changes {
    /// Books that a call adds `after` in place of `before`. Says whether that changes anything.
    pub fn book(
        &mut self,
        account: AccountKey,
        before: Option<Contribution>,
        after: Option<Contribution>,
    ) -> bool {
        if before == after {
            return false;
        }
        if let Some(Contribution { place, facts }) = before {
            self.0.entry((account, place)).or_default().take(&facts);
        }
        if let Some(Contribution { place, facts }) = after {
            self.0.entry((account, place)).or_default().add(&facts);
        }
        true
    }

    /// The rows that change, in their order in the table.
    fn rows(&self) -> BTreeMap<(AccountKey, Row), Tally> {
        let mut rows: BTreeMap<(AccountKey, Row), Tally> = BTreeMap::new();
        for ((account, place), tally) in &self.0 {
            let of = place.dimensions().map(|(dimension, id)| Subject::Of(dimension, id.clone()));
            for subject in std::iter::once(Subject::Account).chain(of) {
                let grains: &[Grain] = match place.hour {
                    Some(_) => &[Grain::Day, Grain::Hour],
                    None => &[Grain::Open],
                };
                for &grain in grains {
                    let start = grain.begin(place.hour.unwrap_or(0));
                    rows.entry((*account, (subject.clone(), grain, start))).or_default().merge(tally);
                }
            }
        }
        rows.retain(|_, tally| !tally.is_zero());
        rows
    }

    /// Writes every row once.
    pub fn write(&self, db: &Connection, table: Table) -> Result<(), StoreError> {
        if self.0.is_empty() {
            return Ok(());
        }
        for ((account, (subject, grain, start)), tally) in self.rows() {
            let (about, id) = key(&subject);
            let mut values = vec![
                Value::Int(account.0),
                Value::Int(about),
                Value::Blob(id),
                Value::Int(grain_code(grain)),
                Value::Int(start),
            ];
            values.extend(tally.numbers().map(Value::Int));
            // One by one: arrays for as many columns cost the server more than a few more statements.
            db.later(&UPSERTS[table as usize], &values[..])?;
        }
        Ok(())
    }
}

/// The tables of sums.
#[derive(Clone, Copy)]
pub enum Table {
    /// As they stand.
    Standing = 0,
    /// What calls added that are gone.
    Gone = 1,
}

/// Long, so written once.
static UPSERTS: LazyLock<[String; 2]> = LazyLock::new(|| ["tallies", "tallies_gone"].map(upsert));

fn upsert(table: &str) -> String {
    let names: Vec<String> = Tally::names().collect();
    let add: Vec<String> =
        names.iter().map(|name| format!("{name} = {table}.{name} + excluded.{name}")).collect();
    format!(
        "INSERT INTO {table} (account, about, id, grain, start, {}) VALUES (?, ?, ?, ?, ?{})
         ON CONFLICT (account, about, id, grain, start) DO UPDATE SET {}",
        names.join(", "),
        ", ?".repeat(WIDTH),
        add.join(", ")
    )
}

fn names() -> String {
    Tally::names().collect::<Vec<_>>().join(", ")
}

fn tally_of(row: &Columns<'_>, first: usize) -> Result<Tally, StoreError> {
    let mut numbers = [0; WIDTH];
    for (at, number) in (first..).zip(&mut numbers) {
        *number = row.get(at)?;
    }
    Ok(Tally::of(numbers))
}

/// The numbers of a stretch of time.
pub fn tallies(
    db: &Connection,
    account: AccountKey,
    subject: &Subject,
    span: Span,
    by: Option<Grain>,
) -> Result<Vec<(i64, Tally)>, StoreError> {
    let mut statement = db.prepare_cached(&format!(
        "SELECT start, {} FROM tallies
         WHERE account = ? AND about = ? AND id = ? AND grain = ? AND start >= ? AND start < ? ORDER BY start",
        names()
    ))?;
    let (about, id) = key(subject);
    let mut found: BTreeMap<i64, Tally> = BTreeMap::new();
    for (grain, part) in span.cover(by.unwrap_or(Grain::Day)) {
        let mut rows = statement.query((account.0, about, id, grain_code(grain), part.from, part.to))?;
        while let Some(row) = rows.next()? {
            let start = by.map_or(span.from, |by| by.begin(row.get(0).unwrap_or(0)));
            found.entry(start).or_default().merge(&tally_of(&row, 1)?);
        }
    }
    Ok(found.into_iter().filter(|(_, tally)| !tally.is_zero()).collect())
}

/// The numbers of each campaign, batch or agent, from after an id on.
pub fn tallies_by(
    db: &Connection,
    account: AccountKey,
    dimension: Dimension,
    span: Span,
    page: &TextPage,
) -> Result<Named, StoreError> {
    let mut next = db.prepare_cached(
        "SELECT id FROM tallies WHERE account = ? AND about = ? AND id > ? ORDER BY id LIMIT 1",
    )?;
    let (mut found, mut last) = (Vec::new(), page.after.clone());
    for _ in 0..MOST_LOOKED_AT {
        // Every id has at least one byte.
        let after = last.as_ref().map_or(&b""[..], Text::as_bytes);
        let id: Option<Vec<u8>> =
            next.query_row((account.0, about(dimension), after), |row| row.get(0)).optional()?;
        let Some(id) = id.map(Text::from_bytes) else { return Ok((found, None)) };
        if found.len() == page.limit {
            return Ok((found, last));
        }
        let subject = Subject::Of(dimension, id.clone());
        let sums = tallies(db, account, &subject, span, None)?;
        found.extend(sums.into_iter().map(|(_, tally)| (id.clone(), tally)));
        last = Some(id);
    }
    Ok((found, last))
}

/// All that is known of one campaign, batch or agent: its calls that ended and those that have not.
pub fn whole(
    db: &Connection,
    account: AccountKey,
    dimension: Dimension,
    id: &Text,
) -> Result<Tally, StoreError> {
    let mut statement = db.prepare_cached(&format!(
        "SELECT {} FROM tallies WHERE account = ? AND about = ? AND id = ? AND grain < 2",
        names()
    ))?;
    let mut rows = statement.query((account.0, about(dimension), id.as_bytes()))?;
    let mut sum = Tally::default();
    while let Some(row) = rows.next()? {
        sum.merge(&tally_of(&row, 0)?);
    }
    Ok(sum)
}

/// Every row that is not nothing.
pub fn rows(db: &Connection, account: AccountKey, table: &str) -> Result<BTreeMap<Row, Tally>, StoreError> {
    let mut statement = db.prepare_cached(&format!(
        "SELECT about, id, grain, start, {} FROM {table} WHERE account = ?",
        names()
    ))?;
    let mut rows = statement.query([account.0])?;
    let mut all = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let grain = match row.get(2)? {
            0 => Grain::Open,
            1 => Grain::Day,
            _ => Grain::Hour,
        };
        let tally = tally_of(&row, 4)?;
        if !tally.is_zero() {
            all.insert((subject_of(row.get(0)?, row.get(1)?)?, grain, row.get(3)?), tally);
        }
    }
    Ok(all)
}

/// The same counted anew: from every call that is there, and from what is gone.
pub fn recount(db: &Connection, account: AccountKey) -> Result<BTreeMap<Row, Tally>, StoreError> {
    let mut changes = Changes::default();
    let [first, end] = [pack(account, 0), pack(AccountKey(account.0 + 1), 0)];
    let mut statement = db.prepare_cached(
        "SELECT id FROM calls WHERE id > ? AND id < ? /*account of ?1*/ AND counted IS NOT NULL",
    )?;
    let mut ids = statement.query([first, end])?;
    while let Some(row) = ids.next()? {
        changes.book(account, None, of_call(db, row.get(0)?)?);
    }
    let mut all = rows(db, account, "tallies_gone")?;
    for ((_, row), tally) in changes.rows() {
        all.entry(row).or_default().merge(&tally);
    }
    all.retain(|_, tally| !tally.is_zero());
    Ok(all)
}

/// Event, marks, record and `counted` of a call.
type Stored = (i64, Vec<u8>, Option<Vec<u8>>, Option<i64>);

/// What a call that is there adds, read from its row.
pub fn of_call(db: &Connection, call: i64) -> Result<Option<Contribution>, StoreError> {
    let row: Option<Stored> = db
        .prepare_cached("SELECT event, marks, record, counted FROM calls WHERE id = ? /*account of ?1*/")?
        .query_row([call], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
        .optional()?;
    let Some((event, marks, record, heard @ Some(_))) = row else { return Ok(None) };
    let packed = match record {
        Some(record) => record,
        None => db
            .prepare_cached("SELECT body FROM events WHERE id = ? /*account of ?1*/")?
            .query_row([pack(unpack(call).0, event)], |row| row.get(0))?,
    };
    of_row(&marks, &packed, heard)
}

/// The same, of its marks, its record and `counted`.
pub fn of_row(marks: &[u8], packed: &[u8], heard: Option<i64>) -> Result<Option<Contribution>, StoreError> {
    if heard.is_none() {
        return Ok(None);
    }
    let call = serde_json::from_str(&unpack_text(packed)?).map_err(damaged)?;
    let marks = serde_json::from_slice(marks).map_err(damaged)?;
    Ok(counted(Some(&CallBook { call: std::sync::Arc::new(call), marks }), heard))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_have_every_number() {
        let columns =
            Tally::names().all(|name| TABLES.matches(&format!(" {name} INTEGER NOT NULL,")).count() == 2);
        assert!(columns, "a number was added to the tally: it takes a migration");
    }
}
