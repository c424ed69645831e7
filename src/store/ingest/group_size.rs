//! How many bodies go into one group. Refuses to know what a commit does.
//!
//! A crowd of senders that all wait for one commit leaves the processors idle meanwhile, and then the disk; in two groups
//! that take turns, one works while the other waits. So a group is as large as it has to be for the writer to work about
//! as long as it waits for the disk: small on a quick disk, large on a slow one, where many have to share each wait.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What the writer works on one body, roughly, in microseconds.
const WORK: u64 = 16;
/// However quick the disk is.
const LEAST: u64 = 64;
/// However slow: few enough to stay within milliseconds.
pub const MOST: usize = 512;
/// Work on the bodies of one account in a group, where several accounts are active: one part of so many of the wait. With
/// twice as many, another account's median was 1.8 times what it is alone, where it now is 1.3 times; with half as many it
/// was the same.
const SHARED_PART: u64 = 16;
/// However quick the disk is.
const LEAST_SHARED: u64 = 4;
/// Of the settlements that wait, a group takes one part in so many of one account: then no more wait than come in during
/// so many groups, however little a group takes otherwise.
const SETTLED_PART: usize = 32;
/// However many wait: few enough for a group to stay within milliseconds.
const MOST_SETTLED_SHARED: usize = 128;
/// How much of the remembered wait one commit changes: one part in so many.
const SMOOTHING: u64 = 16;

/// The size of the next group.
#[derive(Debug, Default)]
pub struct GroupSize {
    /// For the disk, in microseconds, smoothed.
    waited: AtomicU64,
}

impl GroupSize {
    /// A commit waited so long for the disk.
    pub fn note(&self, waited: Duration) {
        let micros = u64::try_from(waited.as_micros()).unwrap_or(u64::MAX).min(u64::MAX / SMOOTHING);
        let known = self.waited.load(Ordering::Relaxed);
        self.waited.store((known * (SMOOTHING - 1) + micros) / SMOOTHING, Ordering::Relaxed);
    }

    /// The most bodies that go into it.
    pub fn bodies(&self) -> usize {
        let fair = (self.waited.load(Ordering::Relaxed) / WORK).max(LEAST);
        usize::try_from(fair).unwrap_or(MOST).min(MOST)
    }

    /// The most of one account where several are active: who waits for the group of a busy neighbour and then shares one with
    /// it does not wait much longer for its work than for the disk.
    pub fn bodies_of_one(&self) -> usize {
        let fair = (self.waited.load(Ordering::Relaxed) / WORK / SHARED_PART).max(LEAST_SHARED);
        usize::try_from(fair).unwrap_or(MOST).min(MOST)
    }

    /// The same of settlements, while so many wait. Nobody slows down who brings them, as senders are by answers that come
    /// late: an event to a thousand endpoints is a thousand settlements. So a group takes more the more there are.
    pub fn settlements_of_one(&self, waiting: usize) -> usize {
        self.bodies_of_one().max((waiting / SETTLED_PART).min(MOST_SETTLED_SHARED))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_larger_the_longer_the_disk_takes() {
        let size = GroupSize::default();
        assert_eq!((size.bodies(), size.bodies_of_one()), (64, 4));
        for (millis, bodies, of_one) in [(1, 64, 4), (4, 250, 15), (100, 512, 390), (0, 64, 4)] {
            (0..20 * SMOOTHING).for_each(|_| size.note(Duration::from_millis(millis)));
            let found = (size.bodies(), size.bodies_of_one());
            let is_near = found.0.abs_diff(bodies) <= 3 && found.1.abs_diff(of_one) <= 3;
            assert!(is_near, "{millis} ms: {found:?}");
        }
    }

    #[test]
    fn settlements_keep_up_with_what_comes_in() {
        let size = GroupSize::default();
        // A group each 10 ms, of which each takes what it may, while 6,000 a second come in.
        let mut waiting = 0;
        for _ in 0..1000 {
            waiting += 60;
            waiting -= size.settlements_of_one(waiting);
        }
        assert!(waiting <= 60 * (SETTLED_PART + 1), "{waiting}");
        assert_eq!(size.settlements_of_one(1_000_000), MOST_SETTLED_SHARED);
    }
}
