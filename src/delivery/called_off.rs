//! Deliveries that were called off while they may be on their way to a queue: from a commit, or from a claim whose answer
//! is not in yet. They are remembered for a while, so that none starts that nobody may be told of any more.
//! Refuses to know why they were called off.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::model::Time;
use crate::store::EndpointRef;

/// How long a delivery is remembered: a commit and a claim take milliseconds, on a disk in trouble seconds.
const REMEMBERED: Duration = Duration::from_secs(300);

/// What was called off lately.
#[derive(Debug, Default)]
pub struct CalledOff {
    /// Whether there is any: that is asked before each request.
    any: AtomicBool,
    deliveries: Mutex<HashMap<(EndpointRef, i64), Time>>,
}

impl CalledOff {
    /// Remembers these, and forgets those of long ago.
    pub fn add(&self, deliveries: &[(EndpointRef, i64)], now: Time) {
        let mut known = self.deliveries.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, since| now.since(*since) < REMEMBERED);
        known.extend(deliveries.iter().map(|&delivery| (delivery, now)));
        self.any.store(!known.is_empty(), Ordering::Release);
    }

    /// Whether a delivery is one of them.
    pub fn has(&self, endpoint: EndpointRef, delivery: i64) -> bool {
        self.any.load(Ordering::Acquire)
            && self
                .deliveries
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .contains_key(&(endpoint, delivery))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::AccountKey;

    #[test]
    fn what_was_called_off_is_known_for_a_while() {
        let endpoint = EndpointRef { account: AccountKey::DEFAULT, number: 1 };
        let (called_off, now) = (CalledOff::default(), Time::from_micros(0));
        assert!(!called_off.has(endpoint, 1));
        called_off.add(&[(endpoint, 1)], now);
        assert!(called_off.has(endpoint, 1) && !called_off.has(endpoint, 2));
        called_off.add(&[(endpoint, 2)], now.after(REMEMBERED));
        assert!(!called_off.has(endpoint, 1) && called_off.has(endpoint, 2));
    }
}
