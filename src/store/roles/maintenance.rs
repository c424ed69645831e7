//! The upkeep of a store and its condition. Does not depend on what the jobs of maintenance are.

use crate::model::Time;
use crate::store::condition::Trouble;
use crate::store::{Answer, Progress};

/// Maintains a store, says whether it can be used, and closes it.
pub trait Maintenance: Send + Sync {
    /// One round of maintenance: a small step of each job, as far as anything is due, and one for the database itself. A job
    /// that fails rests for its account, and all else goes on. The caller wakes the endpoints and tells what was called off.
    fn maintain(&self, now: Time) -> Answer<'_, Progress>;
    /// Whether the store can be written, and nothing damaged was met in it.
    fn ready(&self) -> Answer<'_, ()>;
    /// What is known to be wrong with it as a whole.
    fn trouble(&self) -> Trouble {
        Trouble::default()
    }
    /// Finishes what is queued, checkpoints, closes.
    fn close(&self) -> Answer<'_, ()>;
}
