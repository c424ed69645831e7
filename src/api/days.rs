//! Lengths of time as numbers of days. Does not depend on what lasts so long.

use std::time::Duration;

use serde::Serialize;

use crate::model::bounds::{LONGEST_RETENTION, is_span};
use crate::model::time::duration;

/// How long a day is.
pub const SECONDS_OF_A_DAY: f64 = 86_400.0;

/// A length of time as a number of days: `30`, `0.5`.
#[derive(Debug)]
pub struct Days(pub Duration);

impl Days {
    /// The length of so many days; `None` when there is nothing left of it or it is longer than a hundred years.
    pub fn read(days: f64) -> Option<Duration> {
        let micros = u64::try_from(duration(days * SECONDS_OF_A_DAY).as_micros()).ok()?;
        Some(Duration::from_micros(micros)).filter(|&span| is_span(span, LONGEST_RETENTION))
    }

    /// The most that [`Self::read`] takes.
    pub fn most() -> f64 {
        LONGEST_RETENTION.as_secs_f64() / SECONDS_OF_A_DAY
    }
}

impl Serialize for Days {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const DAY: u64 = 86_400;
        match (self.0.subsec_nanos(), self.0.as_secs() % DAY) {
            (0, 0) => serializer.serialize_u64(self.0.as_secs() / DAY),
            _ => serializer.serialize_f64(self.0.as_secs_f64() / SECONDS_OF_A_DAY),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_come_back_as_they_were_given() {
        for text in ["30", "0.5", "1.25", "36500", "0.1", "7"] {
            let days = Days(Days::read(text.parse().unwrap()).unwrap());
            assert_eq!(serde_json::to_string(&days).unwrap(), text);
        }
        for days in [0.0, -1.0, 36_500.1, f64::INFINITY, f64::NAN, 1e-12] {
            assert_eq!(Days::read(days), None, "{days}");
        }
    }
}
