//! What a replay brings, and how fast. Pure: the selection, the event, the call as it is today and the endpoint decide.
//! Refuses to know how events and deliveries are found.

use std::time::Duration;

use super::plan;
use crate::dialect;
use crate::model::replay::{RATES, Selection};
use crate::model::time::duration;
use crate::model::{Call, DeliveryState, Endpoint, Event, EventBody, EventType, Time};

/// How much a replay may catch up when nobody came by to plan for it.
const CATCH_UP: Duration = Duration::from_secs(2);

/// Whether an event of this type and time fits; what can be said before the event itself is read.
pub fn selects(selection: &Selection, kind: EventType, at: Time) -> bool {
    (selection.kinds.is_empty() || selection.kinds.contains(&kind))
        && selection.from.is_none_or(|from| at >= from)
        && selection.until.is_none_or(|until| at < until)
}

/// Whether the selection asks about the record that the event is about.
pub fn asks_for_record(selection: &Selection) -> bool {
    let Selection { batch, campaign, agent, outcome, .. } = selection;
    batch.is_some() || campaign.is_some() || agent.is_some() || outcome.is_some()
}

/// Whether what the event is about fits: the call as its record is today, or the batch.
pub fn selects_record(selection: &Selection, event: &Event, call: Option<&Call>) -> bool {
    let (batch, campaign, agent, outcome) = match (&event.body, call) {
        (EventBody::Call { .. }, Some(call)) => {
            (call.batch_id.as_ref(), call.campaign.id.as_ref(), call.agent.id.as_ref(), call.outcome)
        }
        (EventBody::Batch(batch), _) => (Some(&batch.batch_id), None, batch.agent_id.as_ref(), None),
        _ => (None, None, None, None),
    };
    (selection.batch.is_none() || selection.batch.as_ref() == batch)
        && (selection.campaign.is_none() || selection.campaign.as_ref() == campaign)
        && (selection.agent.is_none() || selection.agent.as_ref() == agent)
        && (selection.outcome.is_none() || selection.outcome == outcome)
}

/// Whether a delivery in this state is replayed to its own endpoint. One that is pending comes anyway.
pub fn selects_state(selection: &Selection, state: DeliveryState, is_own: bool) -> bool {
    selection.state.is_none_or(|wanted| wanted == state) && !(is_own && state == DeliveryState::Pending)
}

/// Whether the endpoint takes the event. What it was owed before it takes again, if its dialect still says such things;
/// another one's only if it would be owed such an event today.
pub fn suits(endpoint: &Endpoint, event: &Event, is_own: bool) -> bool {
    match is_own {
        true => dialect::fires(dialect::get(endpoint.dialect), event),
        false => plan::hears(endpoint, event),
    }
}

/// When the next delivery may be planned after so many at this rate, whatever rate is stored. One that was due long ago does
/// not come all at once.
pub fn pace(due: Time, now: Time, planned: usize, rate: f64) -> Time {
    let late = now.since(due);
    let due = if late > CATCH_UP { due.after(late - CATCH_UP) } else { due };
    let planned = u32::try_from(planned).unwrap_or(u32::MAX);
    due.after(duration(f64::from(planned) / rate.clamp(*RATES.start(), *RATES.end())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_holds_over_pauses_and_catches_up_only_a_little() {
        let at = |seconds| Time::from_seconds(seconds).unwrap();
        assert_eq!(pace(at(100), at(100), 50, 25.0), at(102));
        assert_eq!(pace(at(100), at(101), 25, 25.0), at(101), "a second late is made up for");
        assert_eq!(pace(at(100), at(1000), 25, 25.0), at(999), "a quarter of an hour is not");
        assert_eq!(pace(at(100), at(100), 0, 25.0), at(100));
    }

    #[test]
    fn whatever_rate_is_stored_is_one_that_can_be_asked_for() {
        let now = Time::from_seconds(100).unwrap();
        let day = Duration::from_secs(24 * 3600);
        for slow in [1e-20, f64::MIN_POSITIVE, 0.0, -0.0, -1.0, f64::NEG_INFINITY] {
            assert_eq!(pace(now, now, 1, slow), now.after(day), "{slow}");
            assert_eq!(pace(now, now, usize::MAX, slow), now.after(day * u32::MAX), "{slow}");
        }
        for fast in [1e20, f64::MAX, f64::INFINITY] {
            assert_eq!(pace(now, now, 1000, fast), now.after(Duration::from_secs(1)), "{fast}");
        }
        assert_eq!(pace(now, now, 1, f64::NAN), now, "nothing panics");
    }

    #[test]
    fn times_are_half_open_and_no_types_are_all_types() {
        let at = |seconds| Time::from_seconds(seconds).unwrap();
        let some = Selection { from: Some(at(10)), until: Some(at(20)), ..Selection::default() };
        let kind = EventType::CallEnded;
        assert_eq!([9, 10, 19, 20].map(|time| selects(&some, kind, at(time))), [false, true, true, false]);
        let failed = Selection { kinds: vec![EventType::CallFailed], ..Selection::default() };
        assert!(!selects(&failed, kind, at(0)) && selects(&failed, EventType::CallFailed, at(0)));
    }

    #[test]
    fn what_is_pending_comes_anyway() {
        let any = Selection::default();
        for state in DeliveryState::ALL {
            assert_eq!(selects_state(&any, state, true), state != DeliveryState::Pending);
            assert!(selects_state(&any, state, false));
        }
        let dead = Selection { state: Some(DeliveryState::Dead), ..Selection::default() };
        assert!(selects_state(&dead, DeliveryState::Dead, true));
        assert!(!selects_state(&dead, DeliveryState::Delivered, true));
    }
}
