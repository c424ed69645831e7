//! Call minutes: what a call uses up of them. Pure; refuses to know who has how many.

use crate::model::Call;

/// No call is longer, in milliseconds: seven days. What says so is a clock that was wrong, and a few of these would be more than
/// can be counted.
const LONGEST: i64 = 7 * 24 * 3600 * 1000;

/// What a call uses up, in milliseconds: its length once it is over, said or from its start to its end. A call that is
/// under way uses up nothing yet, and one of unknown length never does; nor does one that claims a batch which its source may
/// not report on.
pub fn used(call: &Call) -> i64 {
    let is_claim = call.claimed_batch_id.is_some() && call.batch_id.is_none();
    if call.outcome.is_none() || is_claim {
        return 0;
    }
    let span = match (call.duration_seconds, call.started_at, call.ended_at) {
        (Some(length), ..) => u128::from(length.0),
        (None, Some(start), Some(end)) => end.since(start).as_millis(),
        _ => 0,
    };
    i64::try_from(span).map_or(LONGEST, |span| span.min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time::Millis;
    use crate::model::{Outcome, Text, Time};

    #[test]
    fn what_is_over_has_used_its_length() {
        let over = Call { outcome: Some(Outcome::Voicemail), ..Call::default() };
        let said = Call { duration_seconds: Millis::from_seconds(1.5), ..over.clone() };
        assert_eq!(used(&said), 1500);
        assert_eq!(used(&Call { outcome: None, ..said.clone() }), 0);
        let claimed = Call { claimed_batch_id: Some(Text::from("bat_1")), ..said.clone() };
        assert_eq!(used(&claimed), 0);
        assert_eq!(used(&over), 0);
        let [start, end] = [100, 160].map(Time::from_seconds);
        assert_eq!(used(&Call { started_at: start, ended_at: end, ..over.clone() }), 60_000);
        let long = Call { duration_seconds: Millis::from_seconds(3e10), ..over.clone() };
        assert_eq!(used(&long), LONGEST);
        assert_eq!(used(&Call { started_at: end, ended_at: start, ..over }), 0, "a clock that was wrong");
    }
}
