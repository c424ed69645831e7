//! How a store that is away is told of in the log: aloud when it begins and when it is over, and in a whisper for each
//! attempt in between. Under load there are thousands of them a second, of which some may work while others fail. Refuses to
//! know who asks the store for what.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, error, info};

use super::StoreError;

/// How long nothing may fail before something that works means that it is over.
const QUIET: Duration = Duration::from_secs(5);

/// What one user of the store knows of it.
#[derive(Debug, Default)]
pub struct Outage {
    /// When something failed last; nothing when that is over.
    failed: Mutex<Option<Instant>>,
}

impl Outage {
    /// Something did not work.
    pub fn failed(&self, what: &'static str, error: &StoreError) {
        // The store itself tells of these, once for all who use it.
        let is_told = matches!(error, StoreError::Full(_) | StoreError::Damaged(_));
        match !is_told && self.note_failure() {
            true => error!(%error, what, "failed; until it works again this is not repeated"),
            false => debug!(%error, what, "still failing"),
        }
    }

    /// Something worked.
    pub fn worked(&self, what: &'static str) {
        if self.note_success() {
            info!(what, "works again");
        }
    }

    /// True for the first one.
    fn note_failure(&self) -> bool {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).replace(Instant::now()).is_none()
    }

    /// True when it is over by that.
    fn note_success(&self) -> bool {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = failed.is_some_and(|last| last.elapsed() >= QUIET);
        if is_over {
            *failed = None;
        }
        is_over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_outage_in_which_some_things_work_is_told_of_once() {
        let outage = Outage::default();
        assert!(!outage.note_success());
        let mut told = 0;
        for _ in 0..261 {
            told += usize::from(outage.note_failure());
            told += usize::from(outage.note_success());
            tokio::time::advance(Duration::from_millis(23)).await;
        }
        assert_eq!(told, 1);
        tokio::time::advance(QUIET).await;
        assert!(outage.note_success(), "nothing failed for a while");
        assert!(!outage.note_success());
        assert!(outage.note_failure(), "another one");
    }
}
