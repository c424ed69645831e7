//! Endpoints: where events are owed.
//! What shapes a body (dialect and options) is one revision and pinned by deliveries; where and how it is sent
//! is always the current one. Refuses to know which events match.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::account::AccountKey;
use super::bounds::{self, TIMEOUTS};
use super::dialect_name::DialectName;
use super::event_type::EventType;
use super::secret::Credential;
use super::text::Text;
use super::time::Time;

/// What an endpoint may hear: the whole account, or one agent, campaign or batch of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Only calls of this agent.
    pub agent_id: Option<Text>,
    /// Only calls of this campaign.
    pub campaign_id: Option<Text>,
    /// Only calls of this batch, and the batch itself.
    pub batch_id: Option<Text>,
}

/// What shapes a body. Stored once per revision; deliveries point to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// Whether the recording's URL goes along (seed 003 "Include Recording").
    pub include_recording: bool,
}

impl Default for Shape {
    fn default() -> Self {
        Self { include_recording: true }
    }
}

/// Attempts at the same time, unless the endpoint says otherwise: enough for a quick receiver, few enough not to
/// overrun a slow one.
pub const DEFAULT_MAX_IN_FLIGHT: u32 = 32;

/// What vendors often send after the end of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The recording's URL.
    Recording,
    /// The transcript, in any form.
    Transcript,
    /// Anything that an AI made of the call.
    Analysis,
}

impl Part {
    /// Every part.
    pub const ALL: [Self; 3] = [Self::Recording, Self::Transcript, Self::Analysis];

    /// The name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Recording => "recording",
            Self::Transcript => "transcript",
            Self::Analysis => "analysis",
        }
    }

    /// The inverse of [`Self::as_str`].
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|part| part.as_str() == name)
    }
}

/// What an endpoint wants to have with the end of a call, and how long it waits for that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wait {
    /// What.
    pub parts: Vec<Part>,
    /// From when the end was heard.
    pub up_to: Duration,
}

/// How an endpoint wants to be treated; `None` is the dialect's default.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Delivering {
    /// For the whole exchange, body included.
    pub timeout: Option<Duration>,
    /// Waits after each failed attempt; empty means once.
    pub retry_delays: Option<Vec<Duration>>,
    /// Attempts at the same time, from each node.
    pub max_in_flight: Option<u32>,
    /// Attempts started per second, by each node.
    pub rate_limit: Option<f64>,
    /// What the end of a call is held for.
    pub wait: Option<Wait>,
}

impl Delivering {
    /// The time that an exchange has, given the dialect's. Endpoints that were stored with less or more than [`TIMEOUTS`] get
    /// the nearest of them.
    pub fn timeout_or(&self, usual: Duration) -> Duration {
        self.timeout.map_or(usual, |timeout| timeout.clamp(*TIMEOUTS.start(), *TIMEOUTS.end()))
    }

    /// The first setting that cannot be, by its name in the API.
    pub fn misfit(&self) -> Option<&'static str> {
        let Self { timeout, retry_delays, max_in_flight, rate_limit, wait } = self;
        let delays = retry_delays.as_deref().unwrap_or_default();
        let are_delays =
            delays.len() <= bounds::MOST_DELAYS && delays.iter().all(|delay| *delay <= bounds::LONGEST_DELAY);
        let is_wait = |wait: &Wait| {
            (1..=Part::ALL.len()).contains(&wait.parts.len())
                && bounds::is_span(wait.up_to, bounds::LONGEST_WAIT)
        };
        [
            ("timeout_seconds", timeout.is_none_or(|timeout| TIMEOUTS.contains(&timeout))),
            ("retry_delays_seconds", are_delays),
            ("max_in_flight", max_in_flight.is_none_or(|most| bounds::IN_FLIGHT.contains(&most))),
            ("rate_limit_per_second", rate_limit.is_none_or(bounds::is_rate)),
            ("up_to_minutes", wait.as_ref().is_none_or(is_wait)),
        ]
        .into_iter()
        .find_map(|(name, fits)| (!fits).then_some(name))
    }
}

/// Whether an endpoint is being sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndpointState {
    /// It is.
    Active,
    /// It is not; what it is owed stays pending.
    Disabled {
        /// Why: `410 Gone`, or by hand.
        reason: String,
    },
}

/// Where events are owed.
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    /// Its account.
    pub account: AccountKey,
    /// Its number in the account.
    pub number: i64,
    /// Its id outside, `ep_..`.
    pub id: String,
    /// The revision of dialect and shape: goes up when a change alters what is said.
    pub revision: i64,
    /// Where to.
    pub url: String,
    /// In which dialect.
    pub dialect: DialectName,
    /// What shapes the body.
    pub shape: Shape,
    /// Which events; `None` is the dialect's whole list.
    pub events: Option<Vec<EventType>>,
    /// About what.
    pub scope: Scope,
    /// Outcome completed alone (seed 003 "Completed Only").
    pub completed_only: bool,
    /// Whether one call's events arrive in their order.
    pub ordered: bool,
    /// Headers to add.
    pub headers: Vec<(String, String)>,
    /// Which of them are shown with their values, by their names in lower case. All others are write-only.
    pub plain_headers: BTreeSet<String>,
    /// Timeout, retries and limits.
    pub delivering: Delivering,
    /// What signs.
    pub credential: Credential,
    /// Active or disabled.
    pub state: EndpointState,
    /// Whether a batch brought it along. It goes with its batch.
    pub of_batch: bool,
    /// When it was made.
    pub created_at: Time,
}

impl Endpoint {
    /// Whether the value of a header of this name may be shown.
    pub fn shows_header(&self, name: &str) -> bool {
        self.plain_headers.contains(&name.to_ascii_lowercase())
    }
}
