//! Campaigns and agents: a record of each is made when a call first tells of one, or when somebody sets one. What is on
//! record already is remembered, so that a call of a known campaign costs a look into memory.
//! Refuses to know the numbers of their calls.

use std::cell::RefCell;
use std::collections::HashMap;

use super::rollups::{self, about};
use super::{Mentioned, Setting, TextPage};
use crate::ledger::tally::Dimension;
use crate::model::{AccountKey, Call, Text, Time};
use crate::store::StoreError;
use crate::store::sql::{Connection, Row, params};

/// Records that are remembered. Past that all are forgotten: a bound, not a policy.
const MOST_REMEMBERED: usize = 20_000;
/// The longest id and name in bytes that get a record.
const LONGEST: usize = 256;

/// The name that was last heard of each record, by account and kind.
type Names = HashMap<(AccountKey, Dimension), HashMap<Text, Option<Text>>>;

/// A record with the name that was heard of it.
type Written = (AccountKey, Dimension, Text, Option<Text>);

/// The records that are known to be on disk, and those that will be after the commit. Lives on the writer thread.
#[derive(Default)]
pub struct Remembered {
    on_disk: RefCell<Names>,
    written: RefCell<Vec<Written>>,
}

impl Remembered {
    /// A transaction begins: what an earlier one wrote and did not commit is not on disk.
    pub fn begin(&self) {
        self.written.borrow_mut().clear();
    }

    /// What was written is on disk.
    pub fn committed(&self) {
        let mut on_disk = self.on_disk.borrow_mut();
        for (account, what, id, name) in self.written.borrow_mut().drain(..) {
            if on_disk.values().map(HashMap::len).sum::<usize>() >= MOST_REMEMBERED {
                on_disk.clear();
            }
            on_disk.entry((account, what)).or_default().insert(id, name);
        }
    }

    /// A record was set through the API: what calls say of it is to be written again.
    pub fn forget(&self, account: AccountKey, what: Dimension, id: &Text) {
        if let Some(names) = self.on_disk.borrow_mut().get_mut(&(account, what)) {
            names.remove(id);
        }
    }

    /// Whether a record is there and has nothing to learn from a call that says this name.
    fn knows(&self, account: AccountKey, what: Dimension, id: &Text, name: Option<&Text>) -> bool {
        let on_disk = self.on_disk.borrow();
        let known = on_disk.get(&(account, what)).and_then(|names| names.get(id));
        known.is_some_and(|known| name.is_none() || name == known.as_ref())
    }
}

/// What one group tells of campaigns and agents.
#[derive(Default)]
pub struct Mentions(HashMap<(AccountKey, Dimension, Text), Option<Text>>);

impl Mentions {
    /// Notes what a call tells of them.
    pub fn note(&mut self, remembered: &Remembered, account: AccountKey, call: &Call) {
        let told = [
            (Dimension::Campaign, &call.campaign.id, &call.campaign.name),
            (Dimension::Agent, &call.agent.id, &call.agent.name),
        ];
        for (what, id, name) in told {
            let Some(id) = id.as_ref().filter(|id| fits(id)) else { continue };
            let name = name.as_ref().filter(|name| fits(name));
            if !remembered.knows(account, what, id, name) {
                let noted = self.0.entry((account, what, id.clone())).or_default();
                *noted = name.cloned().or(noted.take());
            }
        }
    }

    /// Makes records of those that have none, and leaves the others as they are.
    pub fn add_missing(self, db: &Connection, now: Time) -> Result<(), StoreError> {
        for ((account, what, id), name) in self.0 {
            db.prepare_cached(
                "INSERT INTO mentioned (account, about, id, name, named, created_at) VALUES (?, ?, ?, ?, 0, ?)
                 ON CONFLICT (account, about, id) DO NOTHING",
            )?
            .execute(params![
                account.0,
                about(what),
                id.as_bytes(),
                name.as_ref().map(Text::as_bytes),
                now.as_micros()
            ])?;
        }
        Ok(())
    }

    /// Writes them.
    pub fn write(self, db: &Connection, remembered: &Remembered, now: Time) -> Result<(), StoreError> {
        for ((account, what, id), name) in self.0 {
            db.later(
                "INSERT INTO mentioned (account, about, id, name, named, created_at) VALUES (?1, ?2, ?3, ?4, 0, ?5)
                 ON CONFLICT (account, about, id) DO UPDATE SET name = excluded.name WHERE mentioned.named = 0 AND excluded.name IS NOT NULL",
                params![
                account.0,
                about(what),
                id.as_bytes(),
                name.as_ref().map(Text::as_bytes),
                now.as_micros()
            ],
            )?;
            remembered.written.borrow_mut().push((account, what, id, name));
        }
        Ok(())
    }
}

pub fn fits(text: &Text) -> bool {
    (1..=LONGEST).contains(&text.as_bytes().len())
}

/// Makes one, unless it is there. Says whether it was made.
pub fn make(
    db: &Connection,
    account: AccountKey,
    what: Dimension,
    setting: &Setting,
    now: Time,
) -> Result<bool, StoreError> {
    let name = setting.name.as_ref().and_then(Option::as_ref);
    let made = db
        .prepare_cached(
            "INSERT INTO mentioned (account, about, id, name, named, expected_calls, created_at)
             VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (account, about, id) DO NOTHING",
        )?
        .execute(params![
            account.0,
            about(what),
            setting.id.as_bytes(),
            name.map(Text::as_bytes),
            name.is_some(),
            setting.expected_calls.flatten(),
            now.as_micros()
        ])?;
    Ok(made == 1)
}

/// Makes one, or sets what is given. Says whether it was made.
pub fn put(
    db: &Connection,
    account: AccountKey,
    what: Dimension,
    setting: &Setting,
    now: Time,
) -> Result<bool, StoreError> {
    let Setting { id, name, expected_calls } = setting;
    if make(db, account, what, setting, now)? {
        return Ok(true);
    }
    if let Some(name) = name {
        // A name that is taken back stays until a call tells another one.
        db.prepare_cached(
            "UPDATE mentioned SET name = COALESCE(?, name), named = ? WHERE account = ? AND about = ? AND id = ?",
        )?
        .execute(params![
            name.as_ref().map(Text::as_bytes),
            name.is_some(),
            account.0,
            about(what),
            id.as_bytes()
        ])?;
    }
    if let Some(expected_calls) = expected_calls {
        db.prepare_cached(
            "UPDATE mentioned SET expected_calls = ? WHERE account = ? AND about = ? AND id = ?",
        )?
        .execute(params![*expected_calls, account.0, about(what), id.as_bytes()])?;
    }
    Ok(false)
}

/// A campaign or agent as it was where it comes from.
pub struct ImportedName<'a> {
    /// The vendor's id.
    pub id: &'a Text,
    /// Its name.
    pub name: Option<&'a Text>,
    /// Whether that was set through the API.
    pub named: bool,
    /// How many calls it will have, where somebody said.
    pub expected_calls: Option<u32>,
    /// When it was first heard of.
    pub created_at: Time,
}

/// Writes one that an import brings, in place of one of the same id.
pub fn put_imported(
    db: &Connection,
    account: AccountKey,
    what: Dimension,
    imported: &ImportedName<'_>,
) -> Result<(), StoreError> {
    db.prepare_cached(
        "INSERT INTO mentioned (account, about, id, name, named, expected_calls, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (account, about, id) DO UPDATE SET
             name = ?4, named = ?5, expected_calls = ?6, created_at = ?7",
    )?
    .execute(params![
        account.0,
        about(what),
        imported.id.as_bytes(),
        imported.name.map(Text::as_bytes),
        imported.named,
        imported.expected_calls,
        imported.created_at.as_micros()
    ])?;
    Ok(())
}

const COLUMNS: &str = "id, name, expected_calls, created_at";

fn mentioned_of(
    db: &Connection,
    account: AccountKey,
    what: Dimension,
    row: &Row<'_>,
) -> Result<Mentioned, StoreError> {
    let id = Text::from_bytes(row.get::<Vec<u8>>(0)?);
    Ok(Mentioned {
        tally: rollups::whole(db, account, what, &id)?,
        id,
        name: row.get::<Option<Vec<u8>>>(1)?.map(Text::from_bytes),
        expected_calls: row.get(2)?,
        created_at: Time::from_micros(row.get(3)?),
    })
}

/// One of them.
pub fn one(
    db: &Connection,
    account: AccountKey,
    what: Dimension,
    id: &Text,
) -> Result<Option<Mentioned>, StoreError> {
    let mut statement = db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM mentioned WHERE account = ? AND about = ? AND id = ?"
    ))?;
    let mut rows = statement.query((account.0, about(what), id.as_bytes()))?;
    rows.next()?.map(|row| mentioned_of(db, account, what, &row)).transpose()
}

/// A page of them.
pub fn all(
    db: &Connection,
    account: AccountKey,
    what: Dimension,
    page: &TextPage,
) -> Result<Vec<Mentioned>, StoreError> {
    let mut statement = db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM mentioned WHERE account = ? AND about = ? AND id > ? ORDER BY id LIMIT ?"
    ))?;
    let after = page.after.as_ref().map_or(&b""[..], Text::as_bytes);
    let limit = i64::try_from(page.limit).unwrap_or(i64::MAX);
    let mut rows = statement.query((account.0, about(what), after, limit))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(mentioned_of(db, account, what, &row)?);
    }
    Ok(found)
}
