//! Our own dialect: `{"type","timestamp","data"}` signed as Standard Webhooks say, out and in, so that one
//! postcall can feed another. Digits and half emoji go through untouched.
//! Refuses to know any vendor's names.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::read::{self, Leftovers, Part, Taken, Unreadable};
use super::write::{self, Writer};
use super::{Arrived, Dialect, Links, Mismatch, Outgoing, Policy, Proof, Reading, check, signature};
use crate::model::batch::Statistics;
use crate::model::call::{Agent, Call, Direction, Recording, Turn};
use crate::model::endpoint::Shape;
use crate::model::event::{EndpointDisabled, Heard, HeardBatch};
use crate::model::json::{Fields, Raw};
use crate::model::secret::Credential;
use crate::model::text::Text;
use crate::model::time::Millis;
use crate::model::{Batch, DialectName, Event, EventBody, EventType, Outcome, Stage, Step, Time};

/// The dialect of Standard Webhooks.
pub struct Standard;

/// Waits between attempts, also for dialects whose seed is silent.
pub fn retry_delays() -> Vec<Duration> {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    [5, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR]
        .map(Duration::from_secs)
        .into()
}

impl Dialect for Standard {
    fn name(&self) -> DialectName {
        DialectName::Standard
    }

    fn authenticate(
        &self,
        request: &Arrived<'_>,
        credential: &Credential,
        now: Time,
    ) -> Result<(), Mismatch> {
        check::check_standard(request, credential, now)
    }

    fn read(&self, body: &[u8]) -> Reading {
        read::reading(read_body(body))
    }

    fn proof(&self) -> Proof {
        Proof::StandardWebhooks
    }

    fn triggers(&self) -> &'static [EventType] {
        &EventType::ALL
    }

    fn encode(&self, event: &Event, shape: &Shape, _links: &Links<'_>) -> Vec<u8> {
        write::body(|body| write_event(body, event, shape))
    }

    fn sign(&self, outgoing: &Outgoing<'_>, credential: &Credential) -> Vec<(HeaderName, HeaderValue)> {
        signature::standard_headers(outgoing, credential)
    }

    fn policy(&self) -> Policy {
        Policy {
            timeout: Duration::from_secs(20),
            retry_delays: retry_delays(),
            jitter: true,
            slow_after: None,
        }
    }

    /// Marked as a test, so that another postcall does not book it.
    fn sample(&self, kind: Option<EventType>, now: Time) -> Vec<u8> {
        let event = sample_event(kind.unwrap_or(EventType::CallEnded), now);
        write::body(|body| {
            write_event(body, &event, &Shape::default());
            body.put("test", &true);
        })
    }
}

fn write_event(body: &mut Writer<'_>, event: &Event, shape: &Shape) {
    body.put("type", event.kind.as_str());
    body.put("timestamp", &event.at);
    let written = match &event.body {
        EventBody::Call { call, changed } if !shape.include_recording => {
            let call = Arc::new(Call { recording: Recording::default(), ..(**call).clone() });
            let is_said = |name: &&String| !name.starts_with("recording.");
            EventBody::Call { call, changed: changed.iter().filter(is_said).cloned().collect() }.to_json()
        }
        _ => event.data_json(),
    };
    body.put_json("data", &written);
}

fn read_body(body: &[u8]) -> Taken<Reading> {
    let mut body = Part::of_body(body)?;
    let name = body.word("type").unwrap_or_default();
    let kind = EventType::parse(&name).ok_or_else(|| read::unknown_event(&name))?;
    if kind == EventType::EndpointDisabled {
        return Ok(Reading::Ignored(name));
    }
    let at = body.time("timestamp")?;
    let is_test = body.flag("test") == Some(true);
    let data = body.raw_object("data").ok_or_else(|| Unreadable("no object `data`".to_owned()))?;
    let mut leftovers = Leftovers::new();
    body.leave(&mut leftovers);
    if matches!(kind, EventType::BatchCompleted | EventType::BatchFailed) {
        let mut batch: Batch = typed(&data)?;
        require(&batch.batch_id, "data.batch_id")?;
        unknown_members(&data, &batch, &mut leftovers);
        batch.metadata = batch.metadata.into_iter().chain(leftovers).collect();
        if is_test {
            return Ok(Reading::Ignored(format!("test of {name}")));
        }
        return Ok(Reading::Events(vec![Heard::Batch(Box::new(HeardBatch { kind, at, batch }))]));
    }
    let mut call: Call = typed(&data)?;
    // Another postcall's judgement of its own batches: kept as what it said, not as ours.
    call.claimed_batch_id = None;
    require(&call.call_id, "data.call_id")?;
    unknown_members(&data, &call, &mut leftovers);
    leftovers.retain(|(name, _)| *name != *"data.changed");
    let metadata: Leftovers = std::mem::take(&mut call.metadata).into_iter().chain(leftovers).collect();
    let step = read_step(kind, &call)?;
    (call.stage, call.outcome, call.contradicting_outcomes) = Default::default();
    let heard = read::heard(step, at, call, metadata);
    Ok(if is_test { Reading::Test(Box::new(heard)) } else { read::one(heard) })
}

fn typed<T: DeserializeOwned>(data: &Raw) -> Taken<T> {
    serde_json::from_str(data.get()).map_err(|error| Unreadable(format!("`data`: {error}")))
}

fn require(id: &Text, name: &str) -> Taken<()> {
    if id.is_empty() { Err(Unreadable(format!("no `{name}`"))) } else { Ok(()) }
}

/// The outcome decides, as in every dialect; an update is a step of the stage that the call has reached.
fn read_step(kind: EventType, call: &Call) -> Taken<Step> {
    if let (EventType::CallEnded | EventType::CallFailed | EventType::CallUpdated, Some(outcome)) =
        (kind, call.outcome)
    {
        return Ok(Step::Ended(outcome));
    }
    Ok(match kind {
        EventType::CallInitiated => Step::Initiated,
        EventType::CallRinging => Step::Ringing,
        EventType::CallAnswered => Step::Answered,
        EventType::CallEnded => Step::Ended(Outcome::Completed),
        EventType::CallFailed => Step::Ended(Outcome::Failed),
        EventType::CallUpdated => match call.stage {
            Stage::Requested => Step::Requested,
            Stage::Initiated => Step::Initiated,
            Stage::Ringing => Step::Ringing,
            Stage::Answered => Step::Answered,
            Stage::Ended => return Err(Unreadable("an ended call without `data.outcome`".to_owned())),
        },
        _ => Step::Requested,
    })
}

/// Members that the model does not have: what is in the source and not in what the model writes again.
fn unknown_members(source: &Raw, known: &impl Serialize, leftovers: &mut Leftovers) {
    let written = Raw::from_value(known);
    collect_unknown("data", source, &written, leftovers);
}

fn collect_unknown(place: &str, source: &Raw, written: &Raw, leftovers: &mut Leftovers) {
    /// Free-form or without a fixed shape: nothing in them is unknown.
    const OPEN: [&str; 2] = ["variables", "metadata"];
    let (Some(source), Some(mut written)) = (source.as_object(), written.as_object()) else { return };
    for (key, token) in source.rest() {
        let name = Text::from_bytes([place.as_bytes(), b".", key.as_bytes()].concat());
        let is_empty = matches!(token.get(), "null" | "\"\"" | "{}" | "[]");
        match written.take(&key.to_str()) {
            None if !is_empty => leftovers.push((name, Raw::of(token))),
            Some(again) if again.get() != token.get() && !OPEN.iter().any(|open| key == **open) => {
                collect_unknown(&name.to_str(), &Raw::of(token), &Raw::of(&again), leftovers);
            }
            _ => {}
        }
    }
}

/// An event to test a receiver with: a call of three minutes that ended now, a batch, or an endpoint.
fn sample_event(kind: EventType, now: Time) -> Event {
    let body = match kind {
        EventType::BatchCompleted | EventType::BatchFailed => {
            EventBody::Batch(Box::new(sample_batch(kind, now)))
        }
        EventType::EndpointDisabled => EventBody::Endpoint(EndpointDisabled {
            endpoint_id: "ep_test".to_owned(),
            reason: "410 Gone".to_owned(),
        }),
        EventType::CallUpdated => EventBody::Call {
            call: Arc::new(sample_call(kind, now)),
            changed: vec!["analysis.summary".to_owned()],
        },
        _ => EventBody::Call { call: Arc::new(sample_call(kind, now)), changed: Vec::new() },
    };
    Event { position: 0, id: "evt_test".to_owned(), kind, at: now, test: true, source_id: None, body }
}

fn sample_call(kind: EventType, now: Time) -> Call {
    let (stage, outcome) = match kind {
        EventType::CallRequested => (Stage::Requested, None),
        EventType::CallInitiated => (Stage::Initiated, None),
        EventType::CallRinging => (Stage::Ringing, None),
        EventType::CallAnswered => (Stage::Answered, None),
        EventType::CallFailed => (Stage::Ended, Some(Outcome::NoAnswer)),
        _ => (Stage::Ended, Some(Outcome::Completed)),
    };
    let mut call = Call {
        call_id: Text::from("test_call_123"),
        stage,
        outcome,
        direction: Some(Direction::Outbound),
        agent: Agent { id: Some(Text::from("agent_789")), name: Some(Text::from("Customer Support")) },
        ..Call::default()
    };
    call.contact.name = Some(Text::from("John Doe"));
    call.contact.phone = Some(Text::from("+15550100002"));
    call.line.number = Some(Text::from("+15550100001"));
    if outcome.is_some() {
        call.ended_at = Some(now);
    }
    if outcome == Some(Outcome::Completed) {
        const LENGTH: Millis = Millis(180_000);
        let started_at = Time::from_micros(now.as_micros().saturating_sub(180_000_000));
        let turn = |role: &str, text: &str, offset| Turn {
            role: Text::from(role),
            text: Text::from(text),
            at: None,
            offset_seconds: Some(Millis(offset)),
            more: Fields::default(),
        };
        call.started_at = Some(started_at);
        call.duration_seconds = Some(LENGTH);
        call.recording.url = Some(Text::from("https://example.com/recordings/test_call_123.mp3"));
        call.transcript.turns = Some(vec![
            turn("assistant", "Hello! How can I help you today?", 0),
            turn("user", "I need to check my order status.", 3_000),
        ]);
        call.analysis.summary = Some(Text::from("This is a test webhook"));
        call.analysis.success = Some(true);
    }
    call
}

fn sample_batch(kind: EventType, now: Time) -> Batch {
    let mut batch = Batch {
        batch_id: Text::from("test_batch_123"),
        agent_id: Some(Text::from("agent_789")),
        ..Batch::default()
    };
    if kind == EventType::BatchFailed {
        batch.error = Some(Text::from("Insufficient call minutes"));
        batch.code = Some(Text::from("INSUFFICIENT_CREDITS"));
        return batch;
    }
    let number = |digits: &str| Raw::parse(digits);
    batch.statistics = Some(Statistics {
        total: number("1000"),
        processed: number("1000"),
        succeeded: number("850"),
        failed: number("150"),
        percent_complete: number("100"),
        success_rate: number("85"),
    });
    batch.completed_at = Some(now);
    batch
}
