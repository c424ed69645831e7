//! The batches that an account gives, as the store takes and shows them. Refuses to know HTTP, and when a batch is complete:
//! that is the ledger's.

pub(in crate::store) mod batch_call_rows;
pub(in crate::store) mod batch_rows;
pub(in crate::store) mod batch_set;
pub(in crate::store) mod contact_rows;
pub(in crate::store) mod credit;
pub(in crate::store) mod deadlines;
pub(in crate::store) mod intake_rows;
pub(in crate::store) mod loaded;
pub(in crate::store) mod schedule;
pub(in crate::store) mod states;
pub(in crate::store) mod vendor_batch_rows;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::states::BatchState;
use super::StoreError;
use crate::ledger::{ContactBook, Standing};
use crate::model::bounds;
use crate::model::json::Raw;
use crate::model::{AccountKey, DialectName, Text, Time};

/// Bits of a contact's number that count it within its batch; those above are the batch's number.
pub const CONTACT_BITS: u32 = 17;
/// Batches that an account can number: their contacts' numbers have to fit into a key.
pub const LAST_BATCH: i64 = (1 << (40 - CONTACT_BITS)) - 2;
/// The contacts that one batch may have.
pub const MOST_CONTACTS: usize = 100_000;
/// The contacts that one step of an intake takes in: a millisecond or two, which a door may have to wait for.
pub const CONTACTS_IN_STEP: usize = 25;

/// The number of a batch's contact, counted from 1. The 0th is nobody.
pub fn contact_number(batch: i64, place: i64) -> i64 {
    (batch << CONTACT_BITS) | place
}

/// The batch of a contact's number.
pub fn batch_of(contact: i64) -> i64 {
    contact >> CONTACT_BITS
}

/// Somebody to be called.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Contact {
    /// The giver's own id, unique in the batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Text>,
    /// Phone number, normalised, unique in the batch.
    pub phone: Text,
    /// Name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Text>,
    /// E-mail address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<Text>,
    /// Where they work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub company: Option<Text>,
    /// Whatever the giver adds, an object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Raw>,
}

impl Contact {
    /// Whether it was erased: nothing says any more who it is.
    pub fn is_erased(&self) -> bool {
        self.phone.is_empty()
    }

    /// The first of its values that cannot be, by its name in the API. One that was erased has no number.
    pub fn misfit(&self) -> Option<&'static str> {
        let is_text = |text: &Option<Text>| text.as_ref().is_none_or(|text| bounds::is_text(text.as_bytes()));
        [
            ("phone", self.phone.is_empty() || bounds::is_number(&self.phone.to_str())),
            ("phone", self.phone.is_empty() || bounds::is_text(self.phone.as_bytes())),
            ("id", is_text(&self.id)),
            ("name", is_text(&self.name)),
            ("email", is_text(&self.email)),
            ("company", is_text(&self.company)),
            ("metadata", self.metadata.as_ref().is_none_or(bounds::is_object)),
        ]
        .into_iter()
        .find_map(|(name, fits)| (!fits).then_some(name))
    }
}

/// The sources that one batch may name.
pub const MOST_SOURCES: usize = 100;

/// The sources of an account that may report on a batch. Ids and numbers are names, not secrets: who may say what became of
/// a contact is decided by this alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reporters {
    /// Every source. What batches had that were made before they could name sources.
    #[default]
    All,
    /// Those in a dialect, by its name, also if they are made later.
    Dialect(String),
    /// These, by number.
    Listed(Vec<i64>),
}

impl Reporters {
    /// The sources that speak a dialect.
    pub fn of_dialect(dialect: DialectName) -> Self {
        Self::Dialect(dialect.as_str().to_owned())
    }

    /// Whether it is every source.
    pub fn is_all(&self) -> bool {
        *self == Self::All
    }

    /// Whether a source is one of them; `dialect` is what it speaks, unless it is deleted.
    pub fn include(&self, source: i64, dialect: Option<DialectName>) -> bool {
        match self {
            Self::All => true,
            Self::Dialect(name) => dialect.is_some_and(|dialect| dialect.as_str() == name),
            Self::Listed(sources) => sources.contains(&source),
        }
    }
}

/// What the giver says of a batch as a whole.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Given {
    /// The agent that shall call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<Text>,
    /// The giver's user (seed 002 `userId`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<Text>,
    /// What people call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Text>,
    /// Carried to what is said of each call (seed 002 `metricSchema`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric_schema: Option<Raw>,
    /// For the dialer: an object, kept as given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub options: Option<Raw>,
    /// When the dialer shall begin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduled_at: Option<Time>,
    /// The sources that may report on it.
    #[serde(default, skip_serializing_if = "Reporters::is_all")]
    pub reporters: Reporters,
    /// The endpoints that were made with it, by number.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<i64>,
}

impl Given {
    /// The first of its values that cannot be, by its name in the API.
    pub fn misfit(&self) -> Option<&'static str> {
        let is_text = |text: &Option<Text>| text.as_ref().is_none_or(|text| bounds::is_text(text.as_bytes()));
        let is_object = |raw: &Option<Raw>| raw.as_ref().is_none_or(bounds::is_object);
        let are_sources = match &self.reporters {
            Reporters::All => true,
            Reporters::Dialect(name) => DialectName::parse(name).is_some(),
            Reporters::Listed(sources) => sources.len() <= MOST_SOURCES,
        };
        [
            ("agent_id", is_text(&self.agent_id)),
            ("user_id", is_text(&self.user_id)),
            ("name", is_text(&self.name)),
            ("metric_schema", is_object(&self.metric_schema)),
            ("options", is_object(&self.options)),
            ("source_ids", are_sources),
            ("webhooks", self.endpoints.len() <= bounds::MOST_WEBHOOKS),
        ]
        .into_iter()
        .find_map(|(name, fits)| (!fits).then_some(name))
    }
}

/// A batch that is about to be taken in.
#[derive(Clone, Debug)]
pub struct NewBatch {
    /// Whose.
    pub account: AccountKey,
    /// What is said of it.
    pub given: Given,
    /// How many contacts will come.
    pub contacts: i64,
    /// Calls that a contact gets before it counts as failed.
    pub max_attempts: i64,
    /// How long a contact may go without the end of a call before the attempt is given up as lost.
    pub lost_after: Option<Duration>,
    /// When it was given.
    pub created_at: Time,
}

/// Why a batch stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// In words.
    pub error: Text,
    /// As a code.
    pub code: Text,
}

/// The code of a batch that somebody called off.
pub const CANCELLED: &str = "CANCELLED";

impl Failure {
    /// No call minutes are left, in the words of seed 002.
    pub fn out_of_credit() -> Self {
        Self { error: Text::from("Insufficient call minutes"), code: Text::from("INSUFFICIENT_CREDITS") }
    }

    /// It came in with an account, and lines of its contacts were left out: those that are missing would never close.
    pub fn incomplete() -> Self {
        Self {
            error: Text::from("Contacts are missing since its import"),
            code: Text::from("CONTACTS_MISSING"),
        }
    }

    /// Somebody called it off.
    pub fn cancelled() -> Self {
        Self { error: Text::from("Cancelled"), code: Text::from(CANCELLED) }
    }
}

/// A batch, as it is shown.
#[derive(Clone, Debug)]
pub struct BatchView {
    /// Its number.
    pub number: i64,
    /// How far it has come.
    pub state: BatchState,
    /// What was said of it.
    pub given: Given,
    /// Its numbers.
    pub tally: Standing,
    /// Contacts that are taken in.
    pub taken_in: i64,
    /// Calls that a contact gets.
    pub max_attempts: i64,
    /// How long a contact may go without the end of a call.
    pub lost_after: Option<Duration>,
    /// When it was given.
    pub created_at: Time,
    /// When its first call was heard of.
    pub started_at: Option<Time>,
    /// When it completed or failed.
    pub ended_at: Option<Time>,
    /// Why it failed.
    pub failure: Option<Failure>,
}

/// A contact, as it is shown.
#[derive(Clone, Debug)]
pub struct ContactView {
    /// Its number, see [`contact_number`].
    pub number: i64,
    /// Who it is.
    pub contact: Contact,
    /// What became of it.
    pub book: ContactBook,
}

/// What the ending of a batch by hand came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It has failed now.
    Done,
    /// No such batch.
    Missing,
    /// It was over before.
    Over,
}

/// What opening a batch came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened {
    /// It has this number.
    As(i64),
    /// No call minutes are left.
    OutOfCredit,
    /// There are as many batches as numbers.
    Full,
}

/// What was given, as it lies in the store.
///
/// # Errors
/// When it does not serialise.
pub fn write<T: Serialize>(value: &T) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(value).map_err(|error| StoreError::Data(error.to_string()))
}
