//! Batches, as seed 002 tells about them.
//! Refuses to know when a batch is complete: that is the ledger's.

use serde::{Deserialize, Serialize};

use super::json::{Fields, Raw};
use super::text::Text;
use super::time::Time;

/// A batch, or what one body says of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Batch {
    /// The vendor's id.
    pub batch_id: Text,
    /// The agent that called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<Text>,
    /// The dialer's user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<Text>,
    /// The numbers at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statistics: Option<Statistics>,
    /// When it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Time>,
    /// When the first call was placed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// When the last contact closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Time>,
    /// Why it failed, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Text>,
    /// Why it failed, as a code: `INSUFFICIENT_CREDITS`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Text>,
    /// What a body said beyond all this.
    #[serde(default, skip_serializing_if = "Fields::is_empty")]
    pub metadata: Fields,
}

/// Seed 002 `statistics`: numbers of contacts, digits as sent; rates in percent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Statistics {
    /// Contacts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<Raw>,
    /// Contacts that are done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processed: Option<Raw>,
    /// Contacts that were reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub succeeded: Option<Raw>,
    /// Contacts that were not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<Raw>,
    /// Processed of total, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent_complete: Option<Raw>,
    /// Succeeded of processed, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub success_rate: Option<Raw>,
}
