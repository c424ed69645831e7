//! The states of deliveries and of replays, as the column `state` of `open`, `settled` and `replays` has them. A statement
//! names one by `formatcp!` where a partial index is meant, which is used only if the statement's text has the index's number, and
//! by a parameter elsewhere. Does not depend on what brings one from one state to another.

use crate::model::DeliveryState;

/// `open.state`: may be claimed when due.
pub const CLAIMABLE: i64 = 0;
/// `open.state`: an earlier delivery of the same call to the same endpoint goes first.
pub const BLOCKED: i64 = 1;
/// `open.state`: in this process's memory.
pub const CLAIMED: i64 = 2;
/// `open.state`: a replay; claimed when nothing else is due.
pub const REPLAYED: i64 = 3;
/// `open.state`: waits for what its endpoint wants with it.
pub const DEFERRED: i64 = 4;

/// In none of the columns: what the rows of `open` have where they are read together with those of `settled`.
pub const PENDING: i64 = 0;
/// `settled.state`: an attempt succeeded.
pub const DELIVERED: i64 = 1;
/// `settled.state`: the last attempt failed.
pub const DEAD: i64 = 2;
/// `settled.state`: it is not to be sent any more.
pub const CANCELLED: i64 = 3;

/// `replays.state`: looks at events.
pub const REPLAY_RUNNING: i64 = 0;
/// `replays.state`: has looked at all events.
pub const REPLAY_DONE: i64 = 1;
/// `replays.state`: was cancelled, and its pending deliveries are or will be.
pub const REPLAY_CANCELLED: i64 = 2;

/// The code of a delivery's state.
pub fn state_code(state: DeliveryState) -> i64 {
    match state {
        DeliveryState::Pending => PENDING,
        DeliveryState::Delivered => DELIVERED,
        DeliveryState::Dead => DEAD,
        DeliveryState::Cancelled => CANCELLED,
    }
}

/// The inverse of [`state_code`].
pub fn state_of(code: i64) -> DeliveryState {
    match code {
        DELIVERED => DeliveryState::Delivered,
        DEAD => DeliveryState::Dead,
        CANCELLED => DeliveryState::Cancelled,
        _ => DeliveryState::Pending,
    }
}
