//! The doors to the clock and to chance: the only place that reads either. Everything else is given them.

use std::sync::Arc;

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
        Time::from(jiff::Timestamp::now())
    }

    #[expect(clippy::disallowed_methods, reason = "this is the door")]
    fn dice(&self) -> f64 {
        fastrand::f64()
    }
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
