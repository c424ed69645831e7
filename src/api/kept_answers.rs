//! How much of answers each account may have kept: an allowance in bytes that comes back over the time for which an answer
//! is kept. In memory and by node, so that it costs the store nothing. Does not know what is in an answer.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::model::{AccountKey, Time};

/// What the answers of one account may weigh, each with [`OVERHEAD`], that are kept by one node: some half a million small
/// ones in a day.
pub const ALLOWANCE: usize = 256 << 20;
/// The time in which the whole allowance comes back: that for which an answer is kept.
const COMES_BACK_IN: Duration = Duration::from_secs(24 * 3600);
/// What a kept answer weighs beside its body: the row and its index.
pub const OVERHEAD: usize = 512;
/// Accounts that are in memory before those are forgotten that have their whole allowance.
const MOST_ACCOUNTS: usize = 10_000;

/// What each account has used of its allowance.
#[derive(Debug, Default)]
pub struct Allowances(Mutex<HashMap<AccountKey, Used>>);

#[derive(Clone, Copy, Debug)]
struct Used {
    bytes: usize,
    at: Time,
}

impl Used {
    /// What is still used of it later.
    fn later(self, now: Time) -> Self {
        let came_back = now.since(self.at).as_micros() * ALLOWANCE as u128 / COMES_BACK_IN.as_micros();
        let came_back = usize::try_from(came_back).unwrap_or(usize::MAX);
        // What is less than a byte is not lost to whoever asks often.
        let at = if came_back > 0 { now } else { self.at };
        Self { bytes: self.bytes.saturating_sub(came_back), at }
    }
}

impl Allowances {
    /// Whether so many bytes more are within the account's allowance.
    pub fn has(&self, account: AccountKey, bytes: usize, now: Time) -> bool {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let used = all.get(&account).map_or(0, |used| used.later(now).bytes);
        used.saturating_add(bytes) <= ALLOWANCE
    }

    /// Takes so many bytes of it.
    pub fn take(&self, account: AccountKey, bytes: usize, now: Time) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST_ACCOUNTS && !all.contains_key(&account) {
            all.retain(|_, used| used.later(now).bytes > 0);
        }
        let used = all.entry(account).or_insert(Used { bytes: 0, at: now });
        *used = used.later(now);
        used.bytes = used.bytes.saturating_add(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allowance_is_used_up_and_comes_back() {
        let (all, account) = (Allowances::default(), AccountKey::DEFAULT);
        let at = |hours: i64| Time::from_seconds(1_000_000 + hours * 3600).unwrap();
        assert!(all.has(account, ALLOWANCE, at(0)));
        assert!(!all.has(account, ALLOWANCE + 1, at(0)));
        all.take(account, ALLOWANCE, at(0));
        assert!(!all.has(account, 1, at(0)));
        assert!(all.has(AccountKey(2), ALLOWANCE, at(0)), "one account's is not another's");
        assert!(all.has(account, ALLOWANCE / 4, at(6)) && !all.has(account, ALLOWANCE / 4 + 1, at(6)));
        all.take(account, ALLOWANCE / 4, at(6));
        assert!(!all.has(account, 1, at(6)));
        assert!(all.has(account, ALLOWANCE, at(30)));
        assert!(!all.has(account, ALLOWANCE, at(1)), "a clock that went back gives nothing");
    }

    #[test]
    fn whoever_asks_often_gets_as_much_back() {
        let (all, account) = (Allowances::default(), AccountKey::DEFAULT);
        let start = Time::from_seconds(0).unwrap();
        all.take(account, ALLOWANCE, start);
        for millis in 0..60_000 {
            all.take(account, 0, start.after(Duration::from_millis(millis / 10)));
        }
        let back = ALLOWANCE / (24 * 3600) * 5;
        assert!(all.has(account, back, start.after(Duration::from_secs(6))));
    }
}
