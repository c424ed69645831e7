//! The doors to the clock and to chance: the only place that reads either. Everything else is given them.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ring::rand::{SecureRandom, SystemRandom};

use crate::model::Time;

/// Tells the time and rolls dice.
pub trait Clock: Send + Sync {
    /// Now, by the wall clock.
    fn now(&self) -> Time;
    /// A number between 0 and 1, for jitter. Not for secrets.
    fn dice(&self) -> f64;
}

/// The machine's own clock and dice.
#[derive(Clone, Copy, Debug, Default)]
pub struct System;

impl System {
    /// Shared, as everybody holds it.
    pub fn shared() -> Arc<dyn Clock> {
        Arc::new(Self)
    }
}

impl Clock for System {
    #[expect(clippy::disallowed_methods, reason = "this is the door")]
    fn now(&self) -> Time {
        time_of(SystemTime::now())
    }

    #[expect(clippy::disallowed_methods, reason = "this is the door")]
    fn dice(&self) -> f64 {
        fastrand::f64()
    }
}

/// The moment that a machine's clock shows, which may be any: it is a setting of the machine.
fn time_of(shown: SystemTime) -> Time {
    let micros = |span: Duration| i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
    Time::from_micros(match shown.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => micros(after),
        Err(before) => -micros(before.duration()),
    })
}

/// Unguessable bytes for secrets, tokens and tags.
///
/// # Panics
/// When the system has no randomness to give; nothing secret can be made then.
pub fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).expect("the system gives random bytes");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_may_show_anything() {
        let at = |seconds: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!(time_of(at(100)), Time::from_seconds(100).unwrap());
        assert_eq!(
            time_of(SystemTime::UNIX_EPOCH - Duration::from_secs(100)),
            Time::from_seconds(-100).unwrap()
        );
        // The years 10000 and 292277, which no calendar here can write.
        for far in [253_402_300_800, i64::MAX as u64 / 2] {
            let time = time_of(at(far));
            assert!(time.to_string().starts_with("9999-12-"), "{time}");
            assert!(time.after(Duration::MAX) >= time);
        }
    }
}
