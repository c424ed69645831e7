//! A call as a group knows it: loaded once, folded into, written once. Refuses to know what is folded.

use std::sync::Arc;

use crate::ledger::{self, CallBook, Change, Contribution, Received};
use crate::model::event::CORRECTED;
use crate::model::{EventType, Text};
use crate::store::StoreError;
use crate::store::analytics::rollups;
use crate::store::ingest::prepared::PreparedCall;
use crate::store::layout::keys::{pack, unpack};
use crate::store::packed::{damaged, unpack_text};
use crate::store::sql::Connection;

/// A call as this group knows it.
pub struct Loaded {
    pub number: i64,
    pub book: Option<CallBook>,
    /// What opened the book in this group, as long as nothing was added.
    pub prepared: Option<Arc<PreparedCall>>,
    pub last_event: i64,
    pub is_new: bool,
    /// When its end was heard, 0 before that; `None` when the call is in no numbers.
    pub counted: Option<i64>,
    /// Whether the record differs from the last event's snapshot.
    pub differs: bool,
    pub dirty: bool,
}

impl Loaded {
    /// The call of this key, if it is the one of that source and vendor's id.
    pub fn known(db: &Connection, id: i64, key: &(i64, Text)) -> Result<Option<Self>, StoreError> {
        let mut statement = db.prepare_cached(
            "SELECT event, marks, record, vendor_id, source, counted FROM calls
             WHERE id = ? /*account of ?1*/",
        )?;
        let mut rows = statement.query([id])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        let is_same = row.blob(3)? == key.1.as_bytes() && row.get::<i64>(4)? == key.0;
        if !is_same {
            return Ok(None);
        }
        let (account, number) = unpack(id);
        let last_event: i64 = row.get(0)?;
        let record: Option<Vec<u8>> = row.get(2)?;
        let differs = record.is_some();
        let packed = match record {
            Some(record) => record,
            None => db
                .prepare_cached("SELECT body FROM events WHERE id = ? /*account of ?1*/")?
                .query_row([pack(account, last_event)], |row| row.get(0))?,
        };
        Self::of(number, last_event, row.blob(1)?, &packed, row.get(5)?, differs).map(Some)
    }

    /// A call as it lies in the store: its record, or the snapshot of its last event where that is the same.
    pub fn of(
        number: i64,
        last_event: i64,
        marks: &[u8],
        packed: &[u8],
        counted: Option<i64>,
        differs: bool,
    ) -> Result<Self, StoreError> {
        let marks = serde_json::from_slice(marks).map_err(damaged)?;
        let call = serde_json::from_str(&unpack_text(packed)?).map_err(damaged)?;
        Ok(Self {
            number,
            book: Some(CallBook { call: Arc::new(call), marks }),
            prepared: None,
            last_event,
            is_new: false,
            counted,
            differs,
            dirty: false,
        })
    }

    /// Folds in what a body says of the call. Gives the event that follows from it with the fields that changed, if one does,
    /// and whether nothing was known of the call before: then what the body says is all that there is.
    pub fn hear(&mut self, prepared: &Arc<PreparedCall>) -> (Option<(EventType, Vec<String>)>, bool) {
        let Some(book) = self.book.take() else {
            self.book = Some(prepared.book.clone());
            self.prepared = Some(Arc::clone(prepared));
            self.dirty = true;
            return (Some((prepared.first_event(), Vec::new())), true);
        };
        let marks_before = book.marks.clone();
        let (book, change) = ledger::hear(Some(book), prepared.heard());
        self.dirty |= book.marks != marks_before;
        self.book = Some(book);
        self.prepared = None;
        let event = match change {
            Change::Step(kind) => Some((kind, Vec::new())),
            Change::Corrected(kind) => Some((kind, vec![CORRECTED.to_owned()])),
            Change::Updated(changed) => Some((EventType::CallUpdated, changed)),
            Change::Renewed => {
                self.differs = true;
                None
            }
            Change::Nothing => None,
        };
        self.dirty |= self.differs || event.is_some();
        (event, false)
    }

    /// What the call adds to the numbers.
    pub fn contribution(&self) -> Option<Contribution> {
        rollups::counted(self.book.as_ref(), self.counted)
    }

    /// The steps that it went through.
    pub fn received(&self) -> Received {
        self.book.as_ref().map(|book| Received::of_call(&book.marks)).unwrap_or_default()
    }

    pub fn is_first(&self) -> bool {
        self.last_event == 0
    }
}
