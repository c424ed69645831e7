//! What every dialect can do, and what it is given and gives back. Does not depend on which dialects there are.

use std::time::Duration;

use http::{HeaderName, HeaderValue};

use super::arrived::Arrived;
use crate::model::endpoint::Shape;
use crate::model::event::{Heard, HeardCall};
use crate::model::secret::Credential;
use crate::model::{DialectName, Event, EventType, Text, Time};

/// One system's way of writing events. Stateless; every rule of the system is behind these methods.
pub trait Dialect: Send + Sync {
    /// Its name.
    fn name(&self) -> DialectName;

    // The way in.

    /// Checks that a request comes from who holds the credential, on the raw bytes first. An empty credential
    /// means an unsigned source: its proof is the URL, which the door has checked before.
    ///
    /// # Errors
    /// What does not fit, in words for the operator; the caller outside learns only that it is 401.
    fn authenticate(&self, request: &Arrived<'_>, credential: &Credential, now: Time)
    -> Result<(), Mismatch>;

    /// Reads a body. Never fails: what cannot be read is [`Reading::Unreadable`] and goes to quarantine.
    fn read(&self, body: &[u8]) -> Reading;

    /// The body of the 200 that this system's senders expect.
    fn answer(&self, receipt: &Receipt) -> String {
        receipt.plain_answer()
    }

    // The way out.

    /// How requests of this dialect are proven: decides which credential a source or endpoint needs.
    fn proof(&self) -> Proof;

    /// The event types that this dialect can say. An endpoint's `events` may only narrow them.
    fn triggers(&self) -> &'static [EventType];

    /// Whether it says this very event, whose type is one of its triggers (cllr and air only know outcome
    /// completed).
    fn fires_on(&self, _event: &Event) -> bool {
        true
    }

    /// The body. Pure: the same event, shape and links give the same bytes. Called only for events that
    /// [`fires`] accepts.
    fn encode(&self, event: &Event, shape: &Shape, links: &Links<'_>) -> Vec<u8>;

    /// The headers of one attempt beyond `Content-Type`: signature, timestamp, event id.
    fn sign(&self, outgoing: &Outgoing<'_>, credential: &Credential) -> Vec<(HeaderName, HeaderValue)>;

    /// Timeout and retry schedule, unless the endpoint sets its own.
    fn policy(&self) -> Policy;

    /// The body of a test send: the one that the seed prints. `kind` is what the caller chose (standard only).
    fn sample(&self, kind: Option<EventType>, now: Time) -> Vec<u8>;
}

/// Whether a dialect says this event at all: the right type, and the dialect's own filter.
pub fn fires(dialect: &dyn Dialect, event: &Event) -> bool {
    !event.test && dialect.triggers().contains(&event.kind) && dialect.fires_on(event)
}

/// Why a request is not from who it should be. For the operator and for `postcall verify`, never for the caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// No such header.
    #[error("the header {0} is missing")]
    Missing(&'static str),
    /// The header is there but cannot be a signature.
    #[error("the header {header} {why}")]
    Malformed {
        /// Which header.
        header: &'static str,
        /// What is wrong with it: "has 40 hex digits, a SHA-256 has 64".
        why: String,
    },
    /// The signed timestamp is too far from now.
    #[error("the signed timestamp is {0:?} away from now, more than five minutes")]
    Stale(Duration),
    /// It is well formed and does not match.
    #[error("the signature does not match this body under any valid secret")]
    Wrong,
}

/// What came of reading a body.
#[derive(Clone, Debug, PartialEq)]
pub enum Reading {
    /// What it says. Never empty.
    Events(Vec<Heard>),
    /// Marked as a test by the sender: recorded and shown, never booked, deduped or forwarded.
    Test(Box<HeardCall>),
    /// A kind that is known and not about calls' results: counted, not kept.
    Ignored(String),
    /// Not readable; the reason goes to quarantine with it.
    Unreadable(String),
}

/// What the door can tell a sender after the commit.
#[derive(Clone, Debug, PartialEq)]
pub struct Receipt {
    /// What became of it.
    pub kind: ReceiptKind,
    /// The call that it was about, where there was one.
    pub call_id: Option<Text>,
    /// When the commit was answered.
    pub processed_at: Time,
    /// What really happened, in the words of seed 000 `actions_taken`.
    pub actions: Vec<&'static str>,
}

/// What became of an inbound body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiptKind {
    /// Recorded as an event (or as a test).
    Recorded,
    /// Brought nothing new.
    Duplicate,
    /// Kept raw.
    Quarantined,
    /// Known and not about calls' results.
    Ignored,
}

impl Receipt {
    /// `{"received":true}` with its marks: the answer of every door but voicegenie's (`docs/dialects.md`).
    pub fn plain_answer(&self) -> String {
        match self.kind {
            ReceiptKind::Recorded | ReceiptKind::Ignored => r#"{"received":true}"#,
            ReceiptKind::Duplicate => r#"{"received":true,"duplicate":true}"#,
            ReceiptKind::Quarantined => r#"{"received":true,"quarantined":true}"#,
        }
        .to_owned()
    }
}

/// How requests of a dialect are proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// Not at all (cllr): a source's URL holds a token instead.
    Unsigned,
    /// HMAC-SHA256 in hex over the body.
    HmacHex,
    /// `Authorization: Bearer`, a token of 16 characters or more.
    Bearer,
    /// Standard Webhooks.
    StandardWebhooks,
}

/// URLs that a body may point to, made by the house because only it knows its public address.
/// They are signed, so only a dialect that asks for one has it made.
#[derive(Clone, Copy)]
pub struct Links<'a> {
    /// Where the call's transcript can be fetched as JSON, if one came inline.
    pub transcript: &'a dyn Fn() -> Option<String>,
}

impl Links<'_> {
    /// No links, for bodies that nobody fetches anything by.
    pub const NONE: Links<'static> = Links { transcript: &|| None };
}

/// One attempt, as far as its signature depends on it.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// The event's id: the same in every attempt.
    pub event_id: &'a str,
    /// When the attempt starts.
    pub at: Time,
    /// Exactly the bytes that are sent.
    pub body: &'a [u8],
}

/// How a delivery is tried.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// For the whole exchange, body included.
    pub timeout: Duration,
    /// Waits between the end of a failed attempt and the next one; empty means once.
    pub retry_delays: Vec<Duration>,
    /// Whether a little chance is added to each wait.
    pub jitter: bool,
    /// An answer that takes longer is flagged slow (seeds 002 and 003).
    pub slow_after: Option<Duration>,
}
