//! Replays of the feed. Does not depend on which events one selects.

use crate::model::replay::{Replay, ReplayOrder};
use crate::model::{AccountKey, Time};
use crate::store::{Answer, Page};

/// Begins, shows and cancels replays, which go on as maintenance.
pub trait Replays: Send + Sync {
    /// Begins a replay; [maintenance](super::Maintenance::maintain) goes on with it. `None` when the account has as many running as it may.
    fn create_replay(&self, account: AccountKey, order: ReplayOrder, now: Time)
    -> Answer<'_, Option<Replay>>;
    /// A replay by number.
    fn replay(&self, account: AccountKey, number: i64) -> Answer<'_, Option<Replay>>;
    /// Replays, newest first.
    fn replays(&self, account: AccountKey, page: Page) -> Answer<'_, Vec<Replay>>;
    /// Calls a replay off, with what it planned and is still open; false if it is over or not there.
    fn cancel_replay(&self, account: AccountKey, number: i64, now: Time) -> Answer<'_, bool>;
}
