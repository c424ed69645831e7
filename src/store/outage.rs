//! How a store that is away is told of in the log: aloud when it begins and when it is over, and in a whisper for each
//! attempt in between. Under load there are thousands of them a second. Refuses to know who asks the store for what.

use std::sync::atomic::{AtomicBool, Ordering};

use tracing::{debug, error, info};

use super::StoreError;

/// What one user of the store knows of it.
#[derive(Debug, Default)]
pub struct Outage {
    is_away: AtomicBool,
}

impl Outage {
    /// Something did not work.
    pub fn failed(&self, what: &'static str, error: &StoreError) {
        match self.is_away.swap(true, Ordering::Relaxed) {
            true => debug!(%error, what, "still failing"),
            false => error!(%error, what, "failed; until it works again this is not repeated"),
        }
    }

    /// Something worked.
    pub fn worked(&self, what: &'static str) {
        if self.is_away.load(Ordering::Relaxed) && self.is_away.swap(false, Ordering::Relaxed) {
            info!(what, "works again");
        }
    }
}
