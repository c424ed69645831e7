//! API keys that were asked for lately, so that most requests ask the store for none. Does not depend on what a key may do.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::key_uses;
use crate::model::{ApiKey, Time};

/// Keys that are remembered. Past that all are forgotten: a bound, not a policy.
const MOST_REMEMBERED: usize = 1024;
/// How long a key is trusted without asking the store, which another node may have told of a revocation.
const TRUSTED: Duration = Duration::from_secs(10);

/// A key that was presented.
pub struct Presented {
    /// The key.
    pub key: ApiKey,
    /// Whether this use of it is to be written down.
    pub is_use_due: bool,
}

/// Keys that were asked for lately.
#[derive(Debug, Default)]
pub struct Remembered {
    inner: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    keys: HashMap<[u8; 32], (ApiKey, Time)>,
    /// Goes up with each revocation: what was asked of the store before one is not remembered after it.
    revocations: u64,
}

impl Remembered {
    /// What is remembered of a key, and how often one was revoked by now.
    pub fn get(&self, hash: &[u8; 32], now: Time) -> (Option<Presented>, u64) {
        let mut known = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = known.keys.get_mut(hash).filter(|(_, since)| now.since(*since) < TRUSTED);
        (fresh.map(|(key, _)| present(key, now)), known.revocations)
    }

    /// Takes in what the store knows of a key.
    pub fn put(&self, hash: [u8; 32], mut key: ApiKey, now: Time, revocations: u64) -> Presented {
        let mut known = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if known.revocations != revocations {
            return Presented { key, is_use_due: false };
        }
        if known.keys.len() >= MOST_REMEMBERED {
            known.keys.clear();
        }
        // A use that is on its way to the store is not on record there.
        let noted = known.keys.get(&hash).and_then(|(known, _)| known.last_used_at);
        key.last_used_at = key.last_used_at.max(noted);
        present(&mut known.keys.entry(hash).insert_entry((key, now)).into_mut().0, now)
    }

    /// Forgets everything, after a key was revoked.
    pub fn forget(&self) {
        let mut known = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        known.keys.clear();
        known.revocations += 1;
    }
}

/// A use of a key that is remembered.
fn present(key: &mut ApiKey, now: Time) -> Presented {
    let is_use_due = key_uses::is_due(key, now);
    if is_use_due {
        key.last_used_at = Some(now);
    }
    Presented { key: key.clone(), is_use_due }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AccountKey, Rights};

    #[test]
    fn a_revocation_reaches_also_who_asked_before_it() {
        let (hash, now) = ([1; 32], Time::from_micros(0));
        let (key, remembered) = (key(now), Remembered::default());
        let (_, before) = remembered.get(&hash, now);
        remembered.forget();
        remembered.put(hash, key.clone(), now, before);
        assert!(remembered.get(&hash, now).0.is_none());
        let (_, after) = remembered.get(&hash, now);
        remembered.put(hash, key.clone(), now, after);
        assert_eq!(remembered.get(&hash, now).0.unwrap().key.number, key.number);
        assert!(remembered.get(&hash, now.after(TRUSTED)).0.is_none());
    }

    #[test]
    fn of_many_uses_in_a_minute_one_is_due() {
        let (hash, now) = ([1; 32], Time::from_seconds(1000).unwrap());
        let remembered = Remembered::default();
        assert!(remembered.put(hash, key(now), now, 0).is_use_due);
        // Read before the first use was written, by a request that came at the same time.
        assert!(!remembered.put(hash, key(now), now, 0).is_use_due);
        assert!(!remembered.get(&hash, now).0.unwrap().is_use_due);
        let later = now.after(key_uses::ACCURACY);
        assert!(
            remembered.get(&hash, later).0.is_none(),
            "the store is asked first: another node may have noted it"
        );
        assert!(remembered.put(hash, key(now), later, 0).is_use_due);
    }

    fn key(created_at: Time) -> ApiKey {
        ApiKey {
            number: 1,
            account: AccountKey::DEFAULT,
            name: "k".to_owned(),
            rights: Rights::PLAIN,
            expires_at: None,
            last_used_at: None,
            created_at,
        }
    }
}
