//! How late things were: a histogram of microseconds up to a minute, and the two quantiles that are reported.
//! Refuses to know what was late.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::clock::millis;

/// A minute. What is later counts as a minute.
const LONGEST: u64 = 60_000_000;

/// Half of what was measured, and 99 of 100, took no longer than this, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Quantiles {
    /// The median.
    pub p50: f64,
    /// The 99th percentile.
    pub p99: f64,
}

/// A histogram of microseconds.
pub struct Lateness(Option<Histogram<u64>>);

impl Default for Lateness {
    fn default() -> Self {
        Self::new()
    }
}

impl Lateness {
    /// An empty one. Its bounds are given: a histogram that finds its own would clamp at two milliseconds.
    pub fn new() -> Self {
        Self(Histogram::new_with_bounds(1, LONGEST, 3).ok())
    }

    /// One more.
    pub fn record(&mut self, micros: u64) {
        if let Some(all) = &mut self.0 {
            all.saturating_record(micros);
        }
    }

    /// The quantiles of all.
    pub fn quantiles(&self) -> Quantiles {
        let quantile = |part| self.0.as_ref().map_or(0.0, |all| millis(all.value_at_quantile(part)));
        Quantiles { p50: quantile(0.5), p99: quantile(0.99) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_seconds_is_not_clamped() {
        let mut lateness = Lateness::new();
        (1..=100).for_each(|hundredth| lateness.record(hundredth * 50_000));
        let Quantiles { p50, p99 } = lateness.quantiles();
        assert!((p50 - 2500.0).abs() < 5.0, "{p50}");
        assert!((p99 - 4950.0).abs() < 5.0, "{p99}");
        lateness.record(u64::MAX);
        let p99 = lateness.quantiles().p99;
        assert!((p99 - 5000.0).abs() < 5.0, "what is absurd is one value among others: {p99}");
    }
}
