//! What goes into a group commit and what comes out of it. Does not depend on how groups are formed (`ingest::group`).

use std::time::Duration;

use bytes::Bytes;

use super::ingest::prepared::PreparedEvent;
use super::{EndpointRef, Owned};
use crate::dialect::ReceiptKind;
use crate::model::event::Heard;
use crate::model::{AccountKey, Attempt, Time};

/// Something that came through a door and has to be kept.
#[derive(Clone, Debug)]
pub struct Incoming {
    /// Whose door.
    pub account: AccountKey,
    /// The source's number.
    pub source: i64,
    /// When it came.
    pub received_at: Time,
    /// The body as it came.
    pub raw: Bytes,
    /// Its `Content-Type`, for quarantine.
    pub content_type: Option<String>,
    /// What the dialect made of it.
    pub parsed: Parsed,
}

/// What the dialect made of a body.
#[derive(Clone, Debug)]
pub enum Parsed {
    /// Events, prepared for the transaction.
    Events(Vec<PreparedEvent>),
    /// A test: recorded and shown, nothing else.
    Test(Box<crate::model::event::HeardCall>),
    /// Nothing that could be read, and why.
    Unreadable(String),
}

impl Parsed {
    /// Prepares events for the transaction.
    pub fn events(all: impl IntoIterator<Item = Heard>) -> Self {
        Self::Events(all.into_iter().map(PreparedEvent::from).collect())
    }
}

/// What became of one [`Incoming`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// Kept, duplicate or quarantined; with the number of deliveries planned.
    Done {
        /// Which of them.
        kind: ReceiptKind,
        /// Deliveries planned.
        planned: usize,
        /// What changed in the books beside calls and deliveries.
        booked: Booked,
    },
    /// The source's quarantine is full; answered 507, never a false 200.
    QuotaExceeded,
}

/// What a body changed in the books beside calls and deliveries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Booked {
    /// The numbers of the account.
    pub analytics: bool,
    /// Those of a campaign.
    pub campaign: bool,
}

/// The result of an attempt, to be written.
#[derive(Clone, Debug)]
pub struct Settlement {
    /// The endpoint.
    pub endpoint: EndpointRef,
    /// The delivery.
    pub delivery: i64,
    /// The call whose order it kept.
    pub ordered_call: Option<i64>,
    /// The event.
    pub event: i64,
    /// The revision it was encoded with.
    pub revision: i64,
    /// The attempt.
    pub attempt: Attempt,
    /// What follows from it.
    pub decision: crate::ledger::Decision,
    /// The body that was sent, to be kept when it is tried again.
    pub body: Bytes,
}

/// One group commit.
#[derive(Clone, Debug)]
pub struct Group {
    /// When.
    pub now: Time,
    /// What came through the doors.
    pub incoming: Vec<Incoming>,
    /// What attempts came to.
    pub settlements: Vec<Settlement>,
}

/// What a group commit did.
#[derive(Debug, Default)]
pub struct Committed {
    /// One for each incoming, in order.
    pub recorded: Vec<Recorded>,
    /// Deliveries to attempt now.
    pub owned: Vec<Owned>,
    /// Endpoints with unowned deliveries that are due.
    pub wake: Vec<EndpointRef>,
    /// Endpoints with deliveries due later.
    pub wake_at: Vec<(EndpointRef, Time)>,
    /// Endpoints that this group disabled.
    pub disabled: Vec<EndpointRef>,
    /// How long the commit waited for the disk.
    pub waited: Duration,
    /// Deliveries that were in memory and shall not be attempted.
    pub called_off: Vec<(EndpointRef, i64)>,
    /// Feeds that moved on, with their last positions.
    pub feeds: Vec<(AccountKey, i64)>,
    /// As in [`super::Progress`].
    pub has_leisure: bool,
}
