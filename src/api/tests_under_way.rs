//! The test sends that are under way, bounded by account. Does not depend on what is sent.

use std::collections::hash_map::{Entry, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use http::StatusCode;

use super::problem::Problem;
use crate::model::AccountKey;

/// Tests that one account may have under way. They go out at once, past the queues and their bounds.
const MOST_UNDER_WAY: usize = 8;

/// How many tests each account has under way.
#[derive(Debug, Default)]
pub struct UnderWay(Mutex<HashMap<AccountKey, usize>>);

/// One test under way.
pub struct Turn<'a>(&'a UnderWay, AccountKey);

impl UnderWay {
    fn counts(&self) -> MutexGuard<'_, HashMap<AccountKey, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins one, until what this gives is dropped.
    ///
    /// # Errors
    /// 429 when the account has too many under way.
    pub fn begin(&self, account: AccountKey) -> Result<Turn<'_>, Problem> {
        let mut counts = self.counts();
        let count = counts.entry(account).or_default();
        if *count >= MOST_UNDER_WAY {
            let detail =
                format!("This account has {MOST_UNDER_WAY} tests under way. Wait until one has ended.");
            return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_tests", detail));
        }
        *count += 1;
        Ok(Turn(self, account))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut counts = self.0.counts();
        if let Entry::Occupied(mut count) = counts.entry(self.1) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}
