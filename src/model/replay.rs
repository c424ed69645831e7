//! Replays: which events are to be delivered once more, to whom and how fast. Refuses to know which ones those are today.

use std::ops::RangeInclusive;

use super::delivery::DeliveryState;
use super::event_type::EventType;
use super::step::Outcome;
use super::text::Text;
use super::time::Time;

/// Deliveries a second that a replay may plan: one a day at the least. Whatever brings a rate is held to it, and so is what
/// is stored.
pub const RATES: RangeInclusive<f64> = 1.0 / 86_400.0..=1000.0;

/// Which events, and which of their deliveries. What is `None` does not matter; everything else has to fit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Selection {
    /// One event, by its position.
    pub event: Option<i64>,
    /// Events about one call, by its number.
    pub call: Option<i64>,
    /// Events that were owed to this endpoint.
    pub endpoint: Option<i64>,
    /// Events of these types; empty is any.
    pub kinds: Vec<EventType>,
    /// About calls of this batch, and the batch itself.
    pub batch: Option<Text>,
    /// About calls of this campaign.
    pub campaign: Option<Text>,
    /// About calls of this agent.
    pub agent: Option<Text>,
    /// About calls that ended like this.
    pub outcome: Option<Outcome>,
    /// Events of this time or later.
    pub from: Option<Time>,
    /// Events before this time.
    pub until: Option<Time>,
    /// Whose newest delivery to the endpoint is in this state.
    pub state: Option<DeliveryState>,
}

/// How far a replay has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplayState {
    /// It looks through events and plans deliveries.
    Running,
    /// It has looked through all of them.
    Done,
    /// Called off, by hand or with its endpoint.
    Cancelled,
}

impl ReplayState {
    /// The name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
        }
    }
}

/// A replay that is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplayOrder {
    /// What.
    pub selection: Selection,
    /// To which endpoint; `None` is to each delivery's own.
    pub to: Option<i64>,
    /// Deliveries planned per second.
    pub rate: f64,
    /// Only count.
    pub dry_run: bool,
}

/// A replay.
#[derive(Clone, Debug, PartialEq)]
pub struct Replay {
    /// Its number in the account.
    pub number: i64,
    /// What was asked for.
    pub order: ReplayOrder,
    /// How far it has come.
    pub state: ReplayState,
    /// Events looked through.
    pub examined: i64,
    /// Events to look through; `None` while nobody knows.
    pub total: Option<i64>,
    /// Deliveries planned; in a dry run, those that would be.
    pub deliveries: i64,
    /// Of them not yet settled.
    pub open: i64,
    /// When it was asked for.
    pub created_at: Time,
    /// When it was done or called off.
    pub finished_at: Option<Time>,
}
