//! Deliveries and their attempts.
//! Refuses to know when to try again: that is `ledger::settle`.

use serde::{Deserialize, Serialize};

use super::time::Time;

/// The state of a delivery. `owed` is the sum of the four.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeliveryState {
    /// Will be tried (again).
    Pending,
    /// A 2xx came back.
    Delivered,
    /// Its policy is exhausted, or the endpoint answered 410.
    Dead,
    /// Called off: by hand, with its endpoint, or by retention.
    Cancelled,
}

impl DeliveryState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Pending, Self::Delivered, Self::Dead, Self::Cancelled];

    /// The name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
        }
    }

    /// The inverse of [`Self::as_str`].
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }
}

/// One HTTP request for a delivery, with what came back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// 1 for the first.
    pub number: u32,
    /// When it started.
    pub at: Time,
    /// How long the whole exchange took, in milliseconds with fractions.
    pub latency_ms: f64,
    /// The status, when one came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// What went wrong, in a sentence for the endpoint's owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The first 64 KiB of the answer, as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_body: Option<String>,
    /// A 2xx that took longer than the seed advises (seeds 002 and 003: five seconds).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub slow: bool,
}
