//! Which deliveries wait for what comes after the end of a call. Pure: the endpoint's wish and the call decide.
//! Refuses to know for how long anything has waited.

use crate::model::endpoint::{Part, Wait};
use crate::model::{Call, Endpoint, Event, EventBody, EventType, Outcome};

/// What an endpoint waits for before it is told of this event; `None` is sent at once.
pub fn holds<'a>(endpoint: &'a Endpoint, event: &Event) -> Option<&'a Wait> {
    let wait = endpoint.delivering.wait.as_ref()?;
    let EventBody::Call { call, .. } = &event.body else { return None };
    let is_end = matches!(event.kind, EventType::CallEnded | EventType::CallFailed);
    (is_end && had_conversation(call) && misses(wait, call)).then_some(wait)
}

/// What this event of a call is to a delivery of its end that is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beside {
    /// It can bring nothing that is waited for.
    Nothing,
    /// It may bring something, and is told in its turn.
    News,
    /// It may bring something, and is told with the end alone.
    Part,
}

/// What an event is to the end of its call, should that be held.
pub fn beside(event: &Event) -> Beside {
    let EventBody::Call { call, .. } = &event.body else { return Beside::Nothing };
    match event.kind {
        EventType::CallUpdated => Beside::Part,
        EventType::CallEnded | EventType::CallFailed => Beside::Nothing,
        // A step that is heard of late may say what none before did.
        _ if call.outcome.is_some() => Beside::News,
        _ => Beside::Nothing,
    }
}

/// Whether something that is waited for is not there yet.
pub fn misses(wait: &Wait, call: &Call) -> bool {
    !wait.parts.iter().all(|part| match part {
        Part::Recording => call.recording.url.is_some(),
        Part::Transcript => !call.transcript.is_empty(),
        Part::Analysis => !call.analysis.is_empty(),
    })
}

/// Where nobody was reached there is nothing to wait for.
fn had_conversation(call: &Call) -> bool {
    match call.outcome {
        Some(Outcome::Completed | Outcome::Voicemail) => true,
        Some(Outcome::Failed) => call.started_at.is_some(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Text;

    #[test]
    fn all_that_is_named_has_to_be_there() {
        let wait = |parts: &[Part]| Wait { parts: parts.to_vec(), up_to: std::time::Duration::ZERO };
        let mut call = Call::default();
        assert!(!misses(&wait(&[]), &call));
        let both = wait(&[Part::Recording, Part::Transcript]);
        assert!(misses(&both, &call));
        call.recording.url = Some(Text::from("https://r"));
        assert!(misses(&both, &call) && !misses(&wait(&[Part::Recording]), &call));
        call.transcript.text = Some(Text::from("Hello."));
        assert!(!misses(&both, &call) && misses(&wait(&[Part::Analysis]), &call));
        call.analysis.summary = Some(Text::from("Short."));
        assert!(!misses(&wait(&Part::ALL), &call));
    }

    #[test]
    fn where_nobody_was_reached_nothing_is_waited_for() {
        let waits = |outcome, started_at| {
            had_conversation(&Call { outcome: Some(outcome), started_at, ..Call::default() })
        };
        let some_time = crate::model::Time::from_seconds(1);
        assert!(waits(Outcome::Completed, None) && waits(Outcome::Voicemail, None));
        assert!(waits(Outcome::Failed, some_time) && !waits(Outcome::Failed, None));
        for outcome in [Outcome::NoAnswer, Outcome::Busy, Outcome::Canceled, Outcome::Lost] {
            assert!(!waits(outcome, None), "{outcome:?}");
        }
    }
}
