//! The breaker: an endpoint that does not answer at all is probed by one attempt at a time and no faster than a steady
//! rate, so that it holds few connections and costs the others next to nothing, however much it is owed. Nothing is
//! skipped. Pure; refuses to know queues and time.

/// Attempts without any answer, in a row, after which the endpoint is probed.
const PATIENCE: u32 = 5;
/// Attempts a second on an endpoint that is probed: every schedule is kept to the second until more than this fall due
/// in one.
const PROBES: f64 = 100.0;
/// Deliveries that are claimed for them at a time: a claim that nobody can use soon would make doors wait.
const PROBES_AHEAD: usize = 8;

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
        if self.is_silent() { max_in_flight.min(1) } else { max_in_flight }
    }

    /// How many attempts may be started in a second, given what the endpoint asks for.
    pub fn rate(&self, limit: Option<f64>) -> Option<f64> {
        if self.is_silent() { Some(limit.map_or(PROBES, |limit| limit.min(PROBES))) } else { limit }
    }

    /// How many deliveries are worth having in memory, given what an endpoint that answers would get.
    pub fn claim(&self, most: usize) -> usize {
        if self.is_silent() { most.min(PROBES_AHEAD) } else { most }
    }

    fn is_silent(&self) -> bool {
        self.silent_in_a_row >= PATIENCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_narrows_and_any_answer_opens() {
        let mut breaker = Breaker::default();
        for _ in 0..PATIENCE {
            assert_eq!((breaker.limit(32), breaker.rate(None)), (32, None));
            breaker.note(false);
        }
        assert_eq!((breaker.limit(32), breaker.rate(None)), (1, Some(PROBES)));
        assert_eq!(breaker.claim(128), PROBES_AHEAD);
        assert_eq!((breaker.rate(Some(5.0)), breaker.rate(Some(1e6))), (Some(5.0), Some(PROBES)));
        breaker.note(true);
        assert_eq!((breaker.limit(32), breaker.rate(Some(1e6))), (32, Some(1e6)));
    }
}
