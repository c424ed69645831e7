//! Calls, deliveries, counters and quarantined bodies as they are shown, and what selects a page of them. Does not depend on
//! how they are kept.

use bytes::Bytes;

use crate::model::{Attempt, Call, DeliveryState, EventType, Outcome, Text, Time};

/// A page of a list: what comes after `after`, at most `limit`.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// The number of the last record that was seen.
    pub after: Option<i64>,
    /// How many.
    pub limit: usize,
}

/// Which calls to list, newest first.
#[derive(Clone, Debug, Default)]
pub struct CallFilter {
    /// By the vendor's id.
    pub call_id: Option<Text>,
    /// Of this source; with `call_id` only, as sources have no lists of their calls.
    pub source: Option<i64>,
    /// By outcome.
    pub outcome: Option<Outcome>,
}

/// A call in the books, as it is shown.
#[derive(Clone, Debug)]
pub struct CallView {
    /// Its number.
    pub number: i64,
    /// Its source.
    pub source: i64,
    /// When something was last heard of it.
    pub updated_at: Time,
    /// The record.
    pub call: Call,
}

/// Which deliveries to list, newest first.
#[derive(Clone, Debug, Default)]
pub struct DeliveryFilter {
    /// Of one endpoint.
    pub endpoint: Option<i64>,
    /// Of one call, by its number.
    pub call: Option<i64>,
    /// Of one event.
    pub event: Option<i64>,
    /// In one state.
    pub state: Option<DeliveryState>,
}

/// A delivery, as it is shown.
#[derive(Clone, Debug)]
pub struct DeliveryView {
    /// Its number.
    pub number: i64,
    /// Its endpoint.
    pub endpoint: i64,
    /// Its event.
    pub event: i64,
    /// The type of the event.
    pub kind: EventType,
    /// The vendor's id of the call, if it is about one.
    pub call_id: Option<Text>,
    /// The replay that planned it, if one did.
    pub replay: Option<i64>,
    /// Its state.
    pub state: DeliveryState,
    /// When it is tried next, while pending. `None` while an earlier one of the same call goes first, or while an
    /// attempt is under way.
    pub next_attempt_at: Option<Time>,
    /// Every attempt.
    pub attempts: Vec<Attempt>,
}

/// The sum of an endpoint: `owed = delivered + pending + dead + cancelled`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// The endpoint's number; deleted ones stay.
    pub endpoint: i64,
    /// All deliveries ever planned.
    pub owed: i64,
    /// Of them proven delivered.
    pub delivered: i64,
    /// Still to be tried.
    pub pending: i64,
    /// Given up by policy.
    pub dead: i64,
    /// Called off.
    pub cancelled: i64,
}

impl Sum {
    /// The part of it that is in a state.
    pub fn of(&self, state: DeliveryState) -> i64 {
        match state {
            DeliveryState::Pending => self.pending,
            DeliveryState::Delivered => self.delivered,
            DeliveryState::Dead => self.dead,
            DeliveryState::Cancelled => self.cancelled,
        }
    }

    /// The same, to be changed.
    pub fn of_mut(&mut self, state: DeliveryState) -> &mut i64 {
        match state {
            DeliveryState::Pending => &mut self.pending,
            DeliveryState::Delivered => &mut self.delivered,
            DeliveryState::Dead => &mut self.dead,
            DeliveryState::Cancelled => &mut self.cancelled,
        }
    }
}

/// A body in quarantine.
#[derive(Clone, Debug)]
pub struct Quarantined {
    /// Its number.
    pub number: i64,
    /// The source that it came through.
    pub source: i64,
    /// When.
    pub received_at: Time,
    /// Why it could not be read.
    pub reason: String,
    /// Its content type.
    pub content_type: Option<String>,
    /// The body, byte for byte.
    pub body: Bytes,
}
