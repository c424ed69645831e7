//! The breaker: an endpoint that does not answer at all is probed by one attempt at a time, so that it holds few
//! connections and timers. Schedules stay as they are: nothing is skipped. Pure; refuses to know queues and time.

/// Attempts without any answer, in a row, after which the endpoint is probed.
const PATIENCE: u32 = 5;

/// What is known of an endpoint's health.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Breaker {
    silent_in_a_row: u32,
}

impl Breaker {
    /// Takes note of an attempt: did any HTTP answer come, whatever its status?
    pub fn note(&mut self, answered: bool) {
        self.silent_in_a_row = if answered { 0 } else { self.silent_in_a_row.saturating_add(1) };
    }

    /// How many attempts may be under way at a time.
    pub fn limit(&self, max_in_flight: usize) -> usize {
        if self.silent_in_a_row >= PATIENCE { max_in_flight.min(1) } else { max_in_flight }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_narrows_and_any_answer_opens() {
        let mut breaker = Breaker::default();
        for _ in 0..PATIENCE {
            assert_eq!(breaker.limit(32), 32);
            breaker.note(false);
        }
        assert_eq!(breaker.limit(32), 1);
        breaker.note(true);
        assert_eq!(breaker.limit(32), 32);
    }
}
