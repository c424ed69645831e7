//! When API keys were last used: gathered in memory, and written by one task at a time behind all other work of the store.
//! No request waits for it, and what a stop or an outage loses is a minute of accuracy. Does not know what keys are for.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tracing::warn;

use crate::model::{AccountKey, ApiKey, Time};
use crate::store::{KeyUse, Store};

/// How old the time on record may get before a use of the key is written down.
pub const ACCURACY: Duration = Duration::from_secs(60);
/// How long uses are gathered: a node makes one transaction in this time at the most, however many keys are used.
const GATHERING: Duration = Duration::from_secs(1);
/// Keys whose uses are gathered at most; the use of another one is written down a minute later.
const MOST_GATHERED: usize = 1024;

/// Whether a use now is to be written down.
pub fn is_due(key: &ApiKey, now: Time) -> bool {
    !key.is_expired(now) && key.last_used_at.is_none_or(|at| now.since(at) >= ACCURACY)
}

/// Uses that are not written down yet.
#[derive(Debug, Default)]
pub struct KeyUses(Mutex<Gathered>);

#[derive(Debug, Default)]
struct Gathered {
    uses: HashMap<(AccountKey, i64), Time>,
    has_writer: bool,
}

impl KeyUses {
    /// Adds one; true when nobody is there to write it down.
    fn add(&self, key: &ApiKey, now: Time) -> bool {
        let mut gathered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = gathered.uses.len() >= MOST_GATHERED;
        match gathered.uses.entry((key.account, key.number)) {
            Entry::Occupied(mut known) => drop(known.insert(now)),
            Entry::Vacant(_) if is_full => {}
            Entry::Vacant(place) => drop(place.insert(now)),
        }
        !std::mem::replace(&mut gathered.has_writer, true)
    }

    /// All of them; the one who writes is dismissed when there are none.
    fn take(&self) -> Vec<KeyUse> {
        let mut gathered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        gathered.has_writer = !gathered.uses.is_empty();
        let uses = std::mem::take(&mut gathered.uses).into_iter();
        uses.map(|((account, number), at)| KeyUse { account, number, at }).collect()
    }

    /// Has the use of a key written down before long.
    pub fn note(self: &Arc<Self>, store: &Arc<dyn Store>, key: &ApiKey, now: Time) {
        if !self.add(key, now) {
            return;
        }
        // It must not keep the store open after everybody else has left.
        let (uses, store) = (Arc::downgrade(self), Arc::downgrade(store));
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(GATHERING).await;
                let (Some(uses), Some(store)) = (uses.upgrade(), store.upgrade()) else { return };
                let uses = uses.take();
                if uses.is_empty() {
                    return;
                }
                if let Err(error) = store.note_key_uses(uses).await {
                    warn!(%error, "the last use of some API keys was not written down");
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Rights;

    fn key(number: i64, last_used_at: Option<Time>, expires_at: Option<Time>) -> ApiKey {
        ApiKey {
            number,
            account: AccountKey::DEFAULT,
            name: "k".to_owned(),
            rights: Rights::PLAIN,
            expires_at,
            last_used_at,
            created_at: Time::from_micros(0),
        }
    }

    #[test]
    fn a_use_is_written_down_once_a_minute() {
        let at = |seconds| Time::from_seconds(seconds).unwrap();
        assert!(is_due(&key(1, None, None), at(100)));
        assert!(!is_due(&key(1, Some(at(100)), None), at(159)));
        assert!(is_due(&key(1, Some(at(100)), None), at(160)));
        assert!(!is_due(&key(1, Some(at(100)), None), at(50)), "the clock went back");
        assert!(!is_due(&key(1, None, Some(at(100))), at(100)), "an expired key is not used");
    }

    #[test]
    fn uses_are_gathered_by_key_and_bounded() {
        let (uses, now) = (KeyUses::default(), Time::from_micros(5));
        assert!(uses.add(&key(1, None, None), now), "the first one needs a writer");
        assert!(!uses.add(&key(1, None, None), Time::from_micros(9)));
        let number = 1;
        let expected = [KeyUse { account: AccountKey::DEFAULT, number, at: Time::from_micros(9) }];
        assert_eq!(uses.take(), expected);
        assert!(!uses.add(&key(2, None, None), now), "the writer is still there");
        assert_eq!((uses.take().len(), uses.take().len()), (1, 0));
        assert!(uses.add(&key(2, None, None), now), "it has left");
        for number in 0..5000 {
            uses.add(&key(number, None, None), now);
        }
        assert_eq!(uses.take().len(), MOST_GATHERED);
    }
}
