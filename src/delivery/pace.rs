//! The rate limit of an endpoint: attempts are started at even distances. The generic cell rate algorithm with no
//! burst is one subtraction, less than any crate for it. Pure; time is an argument.

use std::time::Duration;

use crate::model::Time;
use crate::model::time::duration;

/// When the next attempt may start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    next: Option<Time>,
}

impl Pace {
    /// Lets an attempt start now, or says how long to wait.
    ///
    /// # Errors
    /// The wait.
    pub fn admit(&mut self, now: Time, per_second: Option<f64>) -> Result<(), Duration> {
        let Some(rate) = per_second.filter(|rate| *rate > 0.0) else { return Ok(()) };
        let distance = duration(1.0 / rate);
        // A clock that was set back must not stop an endpoint for longer than one distance.
        let next = self.next.filter(|next| next.since(now) <= distance).unwrap_or(now);
        if next > now {
            return Err(next.since(now));
        }
        self.next = Some(now.after(distance));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_start_at_even_distances() {
        let mut pace = Pace::default();
        let at = |millis: i64| Time::from_micros(millis * 1000);
        assert_eq!(pace.admit(at(0), Some(10.0)), Ok(()));
        assert_eq!(pace.admit(at(40), Some(10.0)), Err(Duration::from_millis(60)));
        assert_eq!(pace.admit(at(100), Some(10.0)), Ok(()));
        assert_eq!(pace.admit(at(900), Some(10.0)), Ok(()), "what was not used is not saved up");
        assert_eq!(pace.admit(at(901), Some(10.0)), Err(Duration::from_millis(99)));
        assert_eq!(pace.admit(at(901), None), Ok(()));
    }
}
