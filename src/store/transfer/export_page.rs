//! A page of an export on its way out: where it begins, the lines that were added, and whether it is full. Does not depend on
//! which kinds of lines there are, and who asked.

use serde::Serialize;

use crate::model::id::{self, Kind, Tag};
use crate::model::{AccountKey, Raw, Text, Time};
use crate::store::StoreError;
use crate::store::export::{After, Heads, Secrets, line};
use crate::store::layout::keys::pack;
use crate::store::packed::damaged;
use crate::store::sql::Connection;
use crate::store::tx::watermarks::Watermarks;
use crate::store::vault::Vault;

/// Records of one page, and the bytes after which it ends: each is a read of a few milliseconds.
pub const PAGE: i64 = 200;
const PAGE_BYTES: usize = 1 << 20;

/// A page of an export: what it is made from, and its lines so far.
pub struct ExportPage<'a> {
    /// The snapshot.
    pub db: &'a Connection,
    /// Opens what is sealed.
    pub vault: &'a Vault,
    /// Whose.
    pub account: AccountKey,
    /// Its mark in ids.
    pub tag: Tag,
    /// What of secrets goes along.
    pub secrets: Secrets,
    /// How far.
    pub heads: Heads,
    /// What is gone.
    pub edges: Watermarks,
    /// Where the page begins.
    pub after: Option<After>,
    /// What was given.
    pub lines: PageLines,
}

/// The lines of a page so far.
#[derive(Default)]
pub struct PageLines {
    /// The lines.
    pub lines: Vec<String>,
    bytes: usize,
    /// The number of the last record.
    pub last: i64,
    /// The name of the last record, where records go by names.
    pub last_name: Text,
}

impl ExportPage<'_> {
    /// The number of the last record that was given; 0 at the beginning of a room.
    pub fn after(&self) -> i64 {
        match self.after {
            Some(After::Number(_, number)) => number,
            _ => 0,
        }
    }

    /// The same where records go by names.
    pub fn after_name(&self) -> &[u8] {
        match &self.after {
            Some(After::Name(_, name)) => name.as_bytes(),
            _ => b"",
        }
    }

    /// The keys of the room's records from the place of the cursor to `head`.
    pub fn range(&self, head: i64) -> [i64; 3] {
        [pack(self.account, self.after()), pack(self.account, head), PAGE]
    }

    pub fn id(&self, kind: Kind, number: i64) -> String {
        id::format(kind, self.tag, number)
    }
}

impl PageLines {
    /// Adds a line; false when the page is full.
    pub fn add(&mut self, kind: &str, number: i64, fields: &impl Serialize) -> bool {
        let line = line(kind, fields);
        self.bytes += line.len();
        self.lines.push(line);
        self.last = number;
        self.bytes < PAGE_BYTES
    }

    /// The same where records go by names.
    pub fn add_named(&mut self, kind: &str, name: Text, fields: &impl Serialize) -> bool {
        self.last_name = name;
        self.add(kind, 0, fields)
    }

    /// Whether nothing was given yet.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }
}

pub fn time(micros: Option<i64>) -> Option<Time> {
    micros.map(Time::from_micros)
}

/// JSON text as a value of a line.
pub fn raw(json: &str) -> Result<Raw, StoreError> {
    Raw::parse(json).ok_or_else(|| damaged("stored JSON is none"))
}
