//! Events, with all that can be worked out of them before the transaction: most bodies are the first of their call, and for those
//! the record, its marks and the packed snapshot do not depend on anything stored. The caller's thread does that work; the one
//! writer then only writes. Does not depend on what is stored: a call that is known is folded in the transaction, by the ledger.

use std::sync::Arc;

use crate::ledger::{self, CallBook};
use crate::model::event::{EventType, Heard, HeardBatch, HeardCall};
use crate::model::{Call, EventBody, Step, Text, Time};
use crate::store::StoreError;
use crate::store::packed::pack_bytes;

/// One thing that a body says.
#[derive(Clone, Debug)]
pub enum PreparedEvent {
    /// Of a call.
    Call(Arc<PreparedCall>),
    /// Of a batch.
    Batch(Box<HeardBatch>),
}

impl From<Heard> for PreparedEvent {
    fn from(heard: Heard) -> Self {
        match heard {
            Heard::Call(heard) => Self::Call(Arc::new(PreparedCall::of(*heard))),
            Heard::Batch(heard) => Self::Batch(heard),
        }
    }
}

/// A step of a call, and what it comes to when nothing was heard of the call before.
#[derive(Debug)]
pub struct PreparedCall {
    /// Which step.
    pub step: Step,
    /// The vendor's time of it.
    pub at: Option<Time>,
    /// The book that this opens.
    pub book: CallBook,
    /// The book's marks, as they are stored.
    pub marks: Vec<u8>,
    /// The snapshot of the event that this is then.
    pub snapshot: Result<Snapshot, StoreError>,
}

/// A snapshot as it is stored.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The packed JSON.
    pub packed: Vec<u8>,
    /// The size of the JSON in bytes.
    pub size: usize,
}

impl Snapshot {
    /// Packs what an event says.
    ///
    /// # Errors
    /// When it is too large to be kept.
    pub fn of(body: &EventBody) -> Result<Self, StoreError> {
        let json = body.to_json();
        Ok(Self { packed: pack_bytes(json.as_bytes())?, size: json.len() })
    }
}

impl PreparedCall {
    /// Works out what can be.
    pub fn of(heard: HeardCall) -> Self {
        let (step, at) = (heard.step, heard.at);
        let (book, _) = ledger::hear(None, heard);
        let body = EventBody::Call { call: Arc::clone(&book.call), changed: Vec::new() };
        let marks = serde_json::to_vec(&book.marks).expect("plain data serialises");
        Self { step, at, marks, snapshot: Snapshot::of(&body), book }
    }

    /// The vendor's id of the call.
    pub fn call_id(&self) -> &Text {
        &self.book.call.call_id
    }

    /// The type of the event that this is when nothing was heard of the call before.
    pub fn first_event(&self) -> EventType {
        self.step.event_type()
    }

    /// What was heard, to be folded into a book that exists. Stage and outcome are not part of what is merged, so they
    /// may be set here.
    pub fn heard(&self) -> HeardCall {
        HeardCall { step: self.step, at: self.at, call: Call::clone(&self.book.call) }
    }
}
