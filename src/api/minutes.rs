//! Lengths of time as numbers of minutes: `15`, `0.5`. Refuses to know what they are for.

use std::time::Duration;

use serde::{Serialize, Serializer};

use super::form::{Form, Given};
use crate::model::time::duration;

const SECONDS: f64 = 60.0;

/// A length of time, shown as a number of minutes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Minutes(pub Duration);

impl Serialize for Minutes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match (self.0.subsec_nanos(), self.0.as_secs() % 60) {
            (0, 0) => serializer.serialize_u64(self.0.as_secs() / 60),
            _ => serializer.serialize_f64(self.0.as_secs_f64() / SECONDS),
        }
    }
}

/// Reads a length of time above zero, at most the longest.
pub fn read(form: &mut Form<'_>, name: &'static str, longest: Duration) -> Given<Duration> {
    let most = longest.as_secs_f64() / SECONDS;
    match form.number(name) {
        Given::Value(minutes) if minutes > 0.0 && minutes <= most => {
            // To the millisecond, so that it comes back as it was given.
            let span = duration(minutes * SECONDS);
            Given::Value(Duration::from_millis(u64::try_from(span.as_millis()).unwrap_or(u64::MAX).max(1)))
        }
        Given::Value(_) => {
            let remedy = format!("Give a number of minutes above 0, at most {most}, or null for none.");
            form.wrong(name, "out_of_range", remedy);
            Given::Absent
        }
        Given::Null => Given::Null,
        Given::Absent => Given::Absent,
    }
}
