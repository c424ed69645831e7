//! Dialgen's webhooks (seed 002): `onCallComplete`, `onBatchComplete`, `onBatchFailed`, signed in hex.
//! Refuses to know any other system's names.

use std::time::Duration;

use http::{HeaderName, HeaderValue};

use super::read::{self, Leftovers, Part, Taken, Unreadable};
use super::signature::HexSignature;
use super::transcript::{self, Speakers};
use super::write::{self, IsOfType, Writer};
use super::{Arrived, Dialect, Links, Mismatch, Outgoing, Policy, Proof, Reading, js_json};
use crate::model::batch::{Batch, Statistics};
use crate::model::call::{ASSISTANT, Call, Direction, USER};
use crate::model::endpoint::Shape;
use crate::model::event::{Heard, HeardBatch};
use crate::model::json::Raw;
use crate::model::secret::Credential;
use crate::model::{DialectName, Event, EventBody, EventType, Outcome, Step, Time};

/// The dialect of seed 002.
pub struct Dialgen;

/// Where its signature stands.
pub const SIGNATURE: HexSignature = HexSignature { header: "x-dialgen-signature", has_prefix: false };

const SPEAKERS: Speakers = Speakers { assistant: ASSISTANT, user: USER };

impl Dialect for Dialgen {
    fn name(&self) -> DialectName {
        DialectName::Dialgen
    }

    fn authenticate(
        &self,
        request: &Arrived<'_>,
        credential: &Credential,
        now: Time,
    ) -> Result<(), Mismatch> {
        SIGNATURE.check(request, credential, now)
    }

    fn read(&self, body: &[u8]) -> Reading {
        read::reading(read_body(body))
    }

    fn proof(&self) -> Proof {
        Proof::HmacHex
    }

    fn triggers(&self) -> &'static [EventType] {
        &[EventType::CallEnded, EventType::CallFailed, EventType::BatchCompleted, EventType::BatchFailed]
    }

    fn encode(&self, event: &Event, shape: &Shape, _links: &Links<'_>) -> Vec<u8> {
        write::js_body(|body| match &event.body {
            EventBody::Call { call, .. } => write_call(body, event, call, shape),
            EventBody::Batch(batch) if event.kind == EventType::BatchFailed => {
                write_batch_failed(body, event, batch);
            }
            EventBody::Batch(batch) => write_batch_completed(body, event, batch),
            EventBody::Endpoint(_) => {}
        })
    }

    fn sign(&self, outgoing: &Outgoing<'_>, credential: &Credential) -> Vec<(HeaderName, HeaderValue)> {
        SIGNATURE.sign(outgoing, credential).into_iter().collect()
    }

    fn policy(&self) -> Policy {
        Policy {
            timeout: Duration::from_secs(30),
            retry_delays: [1, 5, 25].map(Duration::from_secs).into(),
            jitter: false,
            slow_after: Some(Duration::from_secs(5)),
        }
    }

    fn sample(&self, _kind: Option<EventType>, _now: Time) -> Vec<u8> {
        js_json::rewrite(SAMPLE)
    }
}

/// A call is recognised by `callData`: only batch events have an `event`.
fn read_body(body: &[u8]) -> Taken<Reading> {
    let mut body = Part::of_body(body)?;
    if body.has_object("callData") {
        return read_call(body);
    }
    match body.word("event").as_deref() {
        Some("batch.completed") => read_batch(body, EventType::BatchCompleted),
        Some("batch.failed") => read_batch(body, EventType::BatchFailed),
        Some(unknown) => Err(read::unknown_event(unknown)),
        None => Err(Unreadable("neither `callData` nor `event`".to_owned())),
    }
}

fn read_call(mut body: Part<'_>) -> Taken<Reading> {
    let mut data = body.part("callData", "callData");
    let mut call = Call { call_id: data.required_id("id")?, ..Call::default() };
    let step = read_status(data.word("status").as_deref(), &mut call)?;
    call.contact.id = data.id("contactId");
    call.agent.id = data.id("agentId");
    call.batch_id = data.id("batchId");
    call.user_id = data.id("userId");
    call.direction = data.known("direction", |word| match word.to_ascii_uppercase().as_str() {
        "OUTBOUND" => Some(Direction::Outbound),
        "INBOUND" => Some(Direction::Inbound),
        _ => None,
    });
    call.created_at = data.time("createdAt")?;
    call.started_at = data.time("startTime")?;
    call.ended_at = data.time("endTime")?.or(data.time("endedAt")?);
    call.duration_seconds = data.seconds("duration")?;
    call.contact.phone = data.phone("phoneNumber");
    call.contact.name = data.text("contactName");
    call.transcript.turns = data.turns("transcription");
    call.transcript.text = data.text("transcription");
    call.recording.url = data.text("recordingUrl");
    call.analysis.summary = data.text("summary");
    call.failure.reason = data.text("error");
    let mut metrics = data.part("metricJson", "callData.metricJson");
    call.analysis.classification = metrics.text("intent");
    call.analysis.sentiment = metrics.text("sentiment");
    call.analysis.sentiment_confidence = metrics.number("confidence");
    call.analysis.score = metrics.number("score");
    call.analysis.action_items = metrics.raw_container("actionItems");
    call.analysis.interests_and_needs = metrics.raw_container("interestsAndNeeds");
    call.variables = metrics.into_fields();
    let is_escalated = |status: &Raw| status.get() == "\"HUMAN_ESCALATION\"";
    if call.variables.get("callStatus").is_some_and(is_escalated) {
        call.transferred = Some(true);
    }
    call.metric_schema = body.raw_container("metricSchema");
    // `success` is the envelope's, not the call's: `true` says nothing.
    body.known("success", |word| (word == "true").then_some(()));
    let mut leftovers = Leftovers::new();
    body.leave(&mut leftovers);
    data.leave(&mut leftovers);
    Ok(read::one(read::heard(step, None, call, leftovers)))
}

fn read_status(status: Option<&str>, call: &mut Call) -> Taken<Step> {
    let Some(word) = status else { return Ok(Step::Ended(Outcome::Completed)) };
    match word.to_ascii_uppercase().as_str() {
        "SCHEDULED" => return Ok(Step::Requested),
        "ONGOING" => return Ok(Step::Answered),
        _ => {}
    }
    let (outcome, transferred) = read::outcome(word).ok_or_else(|| read::unknown_status(word))?;
    call.transferred = transferred;
    Ok(Step::Ended(outcome))
}

fn read_batch(mut body: Part<'_>, kind: EventType) -> Taken<Reading> {
    let mut batch = Batch { batch_id: body.required_id("batchId")?, ..Batch::default() };
    batch.agent_id = body.id("agentId");
    batch.user_id = body.id("userId");
    batch.error = body.text("error");
    batch.code = body.text("code");
    let mut times = body.part("timestamps", "timestamps");
    batch.created_at = times.time("createdAt")?;
    batch.started_at = times.time("startedAt")?;
    batch.completed_at = times.time("completedAt")?;
    let at = body.time("timestamp")?.or(batch.completed_at);
    let mut numbers = body.part("statistics", "statistics");
    let statistics = Statistics {
        total: numbers.number("total"),
        processed: numbers.number("processed"),
        succeeded: numbers.number("succeeded"),
        failed: numbers.number("failed"),
        percent_complete: numbers.number("percentComplete"),
        success_rate: numbers.number("successRate"),
    };
    batch.statistics = Some(statistics).filter(|known| *known != Statistics::default());
    let mut leftovers = Leftovers::new();
    for part in [body, times, numbers] {
        part.leave(&mut leftovers);
    }
    batch.metadata = leftovers.into_iter().collect();
    Ok(Reading::Events(vec![Heard::Batch(Box::new(HeardBatch { kind, at, batch }))]))
}

fn status_word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Completed => "COMPLETED",
        Outcome::NoAnswer | Outcome::Busy | Outcome::Voicemail | Outcome::Canceled => "MISSED",
        Outcome::Failed | Outcome::Lost => "FAILED",
    }
}

/// The metrics that the seed prints; all others have what type a `metricSchema` gives them.
const METRICS: &[(&str, IsOfType)] =
    &[("intent", write::is_text), ("sentiment", write::is_text), ("confidence", write::is_number)];

fn write_call(body: &mut Writer<'_>, event: &Event, call: &Call, shape: &Shape) {
    body.put("success", &true);
    body.object("callData", |data| {
        data.put("id", &call.call_id);
        data.maybe("contactId", call.contact.id.as_ref());
        data.maybe("agentId", call.agent.id.as_ref());
        data.maybe("batchId", call.batch_id.as_ref().or(call.campaign.id.as_ref()));
        data.maybe("userId", call.user_id.as_ref());
        data.maybe("status", call.outcome.map(status_word));
        data.maybe(
            "direction",
            call.direction.map(|direction| match direction {
                Direction::Outbound => "OUTBOUND",
                Direction::Inbound => "INBOUND",
            }),
        );
        data.maybe("createdAt", call.created_at.map(Time::rfc3339_millis));
        data.maybe("startTime", call.started_at.map(Time::rfc3339_millis));
        data.maybe("endTime", write::ended_at(event, call).map(Time::rfc3339_millis));
        data.maybe("duration", write::duration(call));
        data.maybe("phoneNumber", call.contact.phone.as_ref());
        data.maybe("contactName", call.contact.name.as_ref());
        data.objects("transcription", &transcript::turns(call), |writer, turn| {
            writer.put("role", &SPEAKERS.name(&turn.role));
            writer.put("content", &turn.text);
            writer.maybe("timestamp", transcript::time_of(call, turn).map(Time::rfc3339_millis));
            writer.fields(&turn.more);
        });
        data.maybe("recordingUrl", write::recording_url(call, shape));
        data.maybe("summary", call.analysis.summary.as_ref());
        data.maybe("error", call.failure.reason.as_ref());
        data.object("metricJson", |metrics| {
            metrics.maybe("intent", call.analysis.classification.as_ref());
            metrics.maybe("sentiment", write::sentiment(call));
            metrics.maybe("confidence", call.analysis.sentiment_confidence.as_ref());
            metrics.maybe("score", call.analysis.score.as_ref());
            metrics.maybe("actionItems", call.analysis.action_items.as_ref());
            metrics.maybe("interestsAndNeeds", call.analysis.interests_and_needs.as_ref());
            metrics.fields_beside(METRICS, &call.variables);
        });
    });
    body.object_or_empty("metricSchema", call.metric_schema.as_ref());
}

fn write_batch_completed(body: &mut Writer<'_>, event: &Event, batch: &Batch) {
    write_batch(body, "batch.completed", batch);
    body.object("statistics", |numbers| {
        let Some(known) = &batch.statistics else { return };
        numbers.maybe("total", known.total.as_ref());
        numbers.maybe("processed", known.processed.as_ref());
        numbers.maybe("succeeded", known.succeeded.as_ref());
        numbers.maybe("failed", known.failed.as_ref());
        numbers.maybe("percentComplete", known.percent_complete.as_ref());
        numbers.maybe("successRate", known.success_rate.as_ref());
    });
    body.object("timestamps", |times| {
        times.maybe("createdAt", batch.created_at.map(Time::rfc3339_millis));
        times.maybe("startedAt", batch.started_at.map(Time::rfc3339_millis));
        times.put("completedAt", &batch.completed_at.unwrap_or(event.at).rfc3339_millis());
    });
}

fn write_batch_failed(body: &mut Writer<'_>, event: &Event, batch: &Batch) {
    write_batch(body, "batch.failed", batch);
    body.maybe("error", batch.error.as_ref());
    body.maybe("code", batch.code.as_ref());
    body.put("timestamp", &event.at.rfc3339_millis());
}

fn write_batch(body: &mut Writer<'_>, event: &str, batch: &Batch) {
    body.put("event", event);
    body.put("batchId", &batch.batch_id);
    body.maybe("agentId", batch.agent_id.as_ref());
    body.maybe("userId", batch.user_id.as_ref());
}

/// The body of the seed's curl command.
const SAMPLE: &str = r#"{
"success": true,
"callData": {
"id": "call_test_123",
"status": "COMPLETED",
"duration": 180
}
}"#;
