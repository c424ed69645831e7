//! What a line of an import is taken in with, and what comes of it: the account that it goes into, the numbers that were handed
//! out there, what the import has changed so far. Does not depend on which kinds of lines there are, and how they travel.

use serde::de::DeserializeOwned;

use super::plausible::HandedOut;
use crate::model::id::{self, Kind, Tag};
use crate::model::{AccountKey, Time};
use crate::store::StoreError;
use crate::store::analytics::names::{Mentions, Remembered};
use crate::store::analytics::rollups;
use crate::store::calls::index::Changes;
use crate::store::config::accounts::Changed;
use crate::store::export::Import;
use crate::store::layout::keys::pack;
use crate::store::sql::{Connection, OptionalExtension};
use crate::store::vault::Vault;

/// What an import has to know of its account.
pub const COLUMNS: &str = r"
-- The mark in the ids of the lines that were taken in, and whether more may come.
ALTER TABLE accounts ADD COLUMN origin INTEGER;
ALTER TABLE accounts ADD COLUMN importing INTEGER NOT NULL DEFAULT 0;
";

/// What became of one line.
pub enum LineOutcome {
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

pub fn wrong<T>(code: &'static str, detail: impl Into<String>) -> Result<T, Refused> {
    Err(Refused::Line(code, detail.into()))
}

/// What the import of a line works with.
pub struct ImportContext<'a> {
    /// The transaction.
    pub db: &'a Connection,
    /// Opens and seals.
    pub vault: &'a Vault,
    /// Into which account.
    pub account: AccountKey,
    /// The mark in the ids of the lines.
    pub origin: Tag,
    /// The mark in ids here.
    pub tag: Tag,
    /// Whether anything may be written: afterwards lines are only compared.
    pub is_open: bool,
    /// What the account has handed out.
    pub handed_out: HandedOut,
    /// The campaigns and agents that have records.
    pub remembered: &'a Remembered,
    /// How the lines are taken in.
    pub import: &'a Import,
    /// What the lines before it changed.
    pub effects: &'a mut Effects,
}

/// What the lines change beside the tables, once they are committed.
#[derive(Default)]
pub struct Effects {
    /// The configuration.
    pub changed: Vec<Changed>,
    /// Where calls are found.
    pub found: Changes,
    /// The numbers of accounts; written with the lines.
    pub tallies: rollups::Changes,
    /// Campaigns and agents; written with the lines.
    pub mentions: Mentions,
    /// What the endpoints were owed, once somebody asked.
    pub owed: Option<i64>,
}

impl ImportContext<'_> {
    /// The number of an id in a line: one that the account has handed out.
    pub fn number(&self, kind: Kind, id: &str) -> Result<i64, Refused> {
        let number = self.any_number(kind, id)?;
        // Afterwards nothing comes in, whatever its number.
        if !self.is_open || self.handed_out.has(kind, number) {
            return Ok(number);
        }
        wrong("out_of_range", "An id in it has a number that was not handed out, if the first line is right.")
    }

    /// The same where the number may be the one that comes next.
    pub fn any_number(&self, kind: Kind, id: &str) -> Result<i64, Refused> {
        match id::parse(kind, id) {
            Some((tag, number)) if tag == self.origin && number > 0 => Ok(number),
            Some(_) => wrong("other_account", "An id in it is of another account than the first line's."),
            None => wrong("bad_id", format!("Where {}_... should be is something else.", kind.prefix())),
        }
    }

    pub fn key(&self, kind: Kind, id: &str) -> Result<i64, Refused> {
        Ok(pack(self.account, self.number(kind, id)?))
    }

    pub fn must_be_open(&self) -> Result<(), Refused> {
        if self.is_open {
            return Ok(());
        }
        let detail = "The import of this account has ended, and this line was not in it. Import into an empty account.";
        Err(Refused::All("import_ended", detail.to_owned()))
    }
}

pub fn read<T: DeserializeOwned>(line: &str) -> Result<T, Refused> {
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

/// Whether an event is one of this call; `None` when it is not there.
pub fn is_of_call(
    context: &ImportContext<'_>,
    event: i64,
    call: Option<i64>,
) -> Result<Option<bool>, StoreError> {
    let found: Option<Option<i64>> = context
        .db
        .prepare_cached("SELECT call FROM events WHERE id = ? /*account of ?1*/")?
        .query_row([pack(context.account, event)], |row| row.get(0))
        .optional()?;
    Ok(found.map(|found| call.is_some() && found == call))
}

/// Whether a row of this key was made at the same time as the line says; `None` where there is no such row.
pub fn is_same_age(
    db: &Connection,
    table: &str,
    key: i64,
    created_at: Time,
) -> Result<Option<bool>, StoreError> {
    let known: Option<i64> = db
        .prepare_cached(&format!("SELECT created_at FROM {table} WHERE id = ? /*account of ?1*/"))?
        .query_row([key], |row| row.get(0))
        .optional()?;
    Ok(known.map(|known| known == created_at.as_micros()))
}

pub fn is_known(is_same: bool) -> Result<LineOutcome, Refused> {
    if is_same {
        return Ok(LineOutcome::Unchanged);
    }
    wrong("number_taken", "This account has recorded something else under its number.")
}
