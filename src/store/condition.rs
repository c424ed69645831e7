//! What is wrong with a store as a whole: its disk is full, or its database is damaged. Both are told in the log when they
//! begin and when they end, and by whoever asks whether the store is ready. A row that cannot be read is neither: that is
//! a matter of its account. Does not depend on how either is found out, nor on which database it is.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::{error, info};

use super::StoreError;

/// The condition of a store. Shared by whoever works on it.
#[derive(Debug, Default)]
pub struct Condition {
    is_full: AtomicBool,
    /// What was met, and when that was last.
    damage: Mutex<Option<(String, Instant)>>,
    /// For how long damage counts after it was last met; nothing for as long as the process lives.
    remembered: Option<Duration>,
}

/// What can be said of it at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trouble {
    /// Nothing new is taken in, for lack of room.
    pub is_full: bool,
    /// Something in the database could not be read.
    pub is_damaged: bool,
}

impl Condition {
    /// Of a database that others may repair while this process runs: damage counts for so long after it was last met.
    pub fn remembering(length: Duration) -> Self {
        Self { remembered: Some(length), ..Self::default() }
    }

    /// Something did not work. What is a matter of the whole store is remembered.
    pub fn met(&self, error: &StoreError) {
        match error {
            StoreError::Full(why) => self.filled(why),
            StoreError::Damaged(why) => {
                let known = self.damage().replace((why.clone(), Instant::now()));
                if known.is_none() {
                    error!(%why, "the database is damaged; restore a backup. Until then this node is not ready");
                }
            }
            StoreError::Data(_)
            | StoreError::Unavailable(_)
            | StoreError::Conflict(_)
            | StoreError::Unknown(_)
            | StoreError::Lapsed(_)
            | StoreError::Stale
            | StoreError::LimitReached(..) => {}
        }
    }

    /// There is no room for more.
    pub fn filled(&self, why: &str) {
        if !self.is_full.swap(true, Ordering::Relaxed) {
            error!(%why, "the disk is full: nothing new is taken in until there is room");
        }
    }

    /// There is room.
    pub fn has_room(&self) {
        if self.is_full.swap(false, Ordering::Relaxed) {
            info!("the disk has room again: everything goes on");
        }
    }

    /// Whether there was no room when that was last looked at.
    pub fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Relaxed)
    }

    /// What is wrong.
    pub fn trouble(&self) -> Trouble {
        Trouble { is_full: self.is_full(), is_damaged: self.check_whole().is_err() }
    }

    /// Whether nothing is damaged, as far as anybody has looked.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] with what was met.
    pub fn check_whole(&self) -> Result<(), StoreError> {
        let mut damage = self.damage();
        let Some((why, met)) = &*damage else { return Ok(()) };
        if self.remembered.is_none_or(|length| met.elapsed() < length) {
            return Err(StoreError::Damaged(why.clone()));
        }
        *damage = None;
        info!("no damage was met in the database for a while");
        Ok(())
    }

    fn damage(&self) -> MutexGuard<'_, Option<(String, Instant)>> {
        self.damage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_a_matter_of_the_whole_store_is_remembered() {
        let condition = Condition::default();
        for of_somebody in [
            StoreError::Data("stored data is damaged: no JSON".to_owned()),
            StoreError::Unavailable("locked".to_owned()),
            StoreError::Unknown("?".to_owned()),
        ] {
            condition.met(&of_somebody);
        }
        assert_eq!((condition.trouble(), condition.check_whole()), (Trouble::default(), Ok(())));
        let damaged = StoreError::Damaged("malformed".to_owned());
        condition.met(&damaged);
        condition.met(&StoreError::Full("0 bytes".to_owned()));
        assert_eq!(condition.trouble(), Trouble { is_full: true, is_damaged: true });
        condition.has_room();
        assert_eq!(condition.check_whole(), Err(damaged), "nothing but a restart makes it whole");
        assert!(!condition.is_full());
    }

    #[test]
    fn damage_that_others_repair_is_forgotten() {
        let condition = Condition::remembering(Duration::ZERO);
        condition.met(&StoreError::Damaged("malformed".to_owned()));
        assert_eq!(condition.check_whole(), Ok(()));
    }
}
