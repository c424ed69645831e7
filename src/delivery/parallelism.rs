//! How many requests may be under way to all endpoints together. Pure but for its counters; refuses to know endpoints.
//!
//! What a rate needs is the rate times the latency (Little's law): far receivers need many requests at a time, near ones
//! few. More than that only costs, as each connection's state has to be fetched again for each request: on loopback, an
//! event to a hundred endpoints arrived half as fast over a thousand connections as over two hundred.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// The rate that there is room for, in requests a second. Well below what a machine can send: when it is the machine that
/// makes answers late, more requests at a time would only make them later.
const RATE: u64 = 10_000;
/// However near the receivers are.
const LEAST: usize = 64;
/// However far: within the memory and the files that a small machine has.
pub const MOST: usize = 1024;
/// Each account may have one part in so many of the limit under way, whatever the others have: one account whose receivers
/// all hang does not take everybody's.
const ACCOUNT_PART: usize = 4;
/// However many accounts there are.
const MOST_OF_ALL_ACCOUNTS: usize = 2 * MOST;
/// How much of the remembered latency one request changes: one part in so many.
const SMOOTHING: u64 = 64;

/// Requests under way.
#[derive(Debug, Default)]
pub struct Parallelism {
    under_way: AtomicUsize,
    /// Of the latest answers, in microseconds, smoothed. Two writers at once lose one of their changes, which is no harm.
    latency: AtomicU64,
}

impl Parallelism {
    /// A request starts.
    pub fn begin(&self) {
        self.under_way.fetch_add(1, Ordering::Relaxed);
    }

    /// A request ended, after so long if it was answered.
    pub fn end(&self, answered_after: Option<Duration>) {
        self.under_way.fetch_sub(1, Ordering::Relaxed);
        let Some(latency) = answered_after else { return };
        let (micros, known) = (latency.as_micros(), self.latency.load(Ordering::Relaxed));
        let micros = u64::try_from(micros).unwrap_or(u64::MAX).min(u64::MAX / SMOOTHING);
        let smoothed = (known * (SMOOTHING - 1) + micros) / SMOOTHING;
        self.latency.store(smoothed, Ordering::Relaxed);
    }

    /// Whether one more is worth starting for an account that has so many under way.
    pub fn has_room(&self, of_account: usize) -> bool {
        let (under_way, limit) = (self.under_way.load(Ordering::Relaxed), self.limit());
        under_way < limit || (of_account < limit / ACCOUNT_PART && under_way < MOST_OF_ALL_ACCOUNTS)
    }

    fn limit(&self) -> usize {
        let needed = self.latency.load(Ordering::Relaxed).saturating_mul(RATE) / 1_000_000;
        usize::try_from(needed).unwrap_or(MOST).clamp(LEAST, MOST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn far_receivers_get_more_at_a_time_than_near_ones() {
        let parallelism = Parallelism::default();
        for (latency, limit) in [(1, 64), (20, 200), (5_000, 1024), (1, 64)] {
            for _ in 0..10 * SMOOTHING {
                parallelism.begin();
                parallelism.end(Some(Duration::from_millis(latency)));
            }
            let found = parallelism.limit();
            assert!(found.abs_diff(limit) <= limit / 20, "{latency} ms: {found}");
        }
        (0..LEAST + 10).for_each(|_| parallelism.begin());
        assert!(!parallelism.has_room(LEAST + 10));
        (0..11).for_each(|_| parallelism.end(None));
        assert!(parallelism.has_room(LEAST - 1), "what was not answered changes no latency");
    }

    #[test]
    fn an_account_has_its_part_whatever_the_others_have() {
        let parallelism = Parallelism::default();
        (0..LEAST).for_each(|_| parallelism.begin());
        assert!(!parallelism.has_room(LEAST), "whose requests they are has no room for more");
        for own in 0..LEAST / ACCOUNT_PART {
            assert!(parallelism.has_room(own));
            parallelism.begin();
        }
        assert!(!parallelism.has_room(LEAST / ACCOUNT_PART));
        (0..MOST_OF_ALL_ACCOUNTS).for_each(|_| parallelism.begin());
        assert!(!parallelism.has_room(0), "all accounts together are bounded");
    }
}
