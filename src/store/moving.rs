//! Lines of an export about what stands beside the calls: given batches with their contacts, campaigns and agents, replays.
//! Refuses to know how they travel, and what the others look like (`export`).

use serde::{Deserialize, Serialize};

use super::batches::{Contact, Given};
use crate::model::{Raw, Text, Time};

/// `batch`: one that the account gave.
#[derive(Debug, Serialize, Deserialize)]
pub struct BatchLine {
    /// `bat_..`
    pub id: String,
    /// `ingesting`, `sealed`, `completed` or `failed`.
    pub state: String,
    /// Contacts that it was given.
    pub total: i64,
    /// Contacts that were taken in. Of an open batch, this and the next two are counted anew as its contacts come.
    pub taken_in: i64,
    /// Closed contacts that were reached.
    pub succeeded: i64,
    /// Closed contacts that were not.
    pub failed: i64,
    /// Calls that a contact gets.
    pub max_attempts: i64,
    /// In microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost_after: Option<i64>,
    /// When it was given.
    pub created_at: Time,
    /// When its first call was heard of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// When it completed or failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Time>,
    /// When its endpoints go, where it has some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release_at: Option<Time>,
    /// While its contacts are not all asked for, where it has a time of its own: when that begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asks_at: Option<Time>,
    /// The last contact that was looked at since, `con_..`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<String>,
    /// Why it failed, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Text>,
    /// As a code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Text>,
    /// The endpoints that were made with it, `ep_..`
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<String>,
    /// Those that may report on it where it names them, `src_..`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_ids: Option<Vec<String>>,
    /// What else was said of it; without the numbers of sources and endpoints.
    pub given: Given,
}

/// `contact`: one that was taken in, or some in a row that wait for it.
#[derive(Debug, Serialize, Deserialize)]
pub struct ContactLine {
    /// `con_..`, of the first one.
    pub id: String,
    /// Those that wait.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<Contact>,
    /// The one that was taken in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_in: Option<TakenIn>,
}

/// A contact with what became of it.
#[derive(Debug, Serialize, Deserialize)]
pub struct TakenIn {
    /// Who it is; without a number when that was erased.
    pub about: Contact,
    /// Calls that were heard of.
    pub heard: i64,
    /// Attempts that are used up.
    pub ended: i64,
    /// Calls with outcome completed.
    pub completed: i64,
    /// Whether nobody calls it any more.
    pub closed: bool,
    /// While it is watched: when an attempt is given up as lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost_at: Option<Time>,
}

/// `campaign` or `agent`.
#[derive(Debug, Serialize, Deserialize)]
pub struct NameLine {
    /// The vendor's id.
    pub id: Text,
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Text>,
    /// Whether that was set through the API, so that no call changes it.
    pub named: bool,
    /// How many calls it will have, where somebody said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_calls: Option<u32>,
    /// When it was first heard of.
    pub created_at: Time,
}

/// `replay`.
#[derive(Debug, Serialize, Deserialize)]
pub struct ReplayLine {
    /// `rpl_..`
    pub id: String,
    /// When it was asked for.
    pub created_at: Time,
    /// Which events, as the store keeps it.
    pub selection: Raw,
    /// To which endpoint, `ep_..`; nothing is to each delivery's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Deliveries planned per second.
    pub rate: f64,
    /// Only counted.
    pub dry_run: bool,
    /// `running`, `done` or `cancelled`.
    pub state: String,
    /// Whether what it planned is being called off.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub calling_off: bool,
    /// How far it came in the feed.
    pub position: i64,
    /// Where it ends.
    pub last: i64,
    /// Events to look through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<i64>,
    /// Events looked through.
    pub examined: i64,
    /// Deliveries planned.
    pub deliveries: i64,
    /// When it was done or called off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Time>,
}
