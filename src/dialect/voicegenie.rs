//! VoiceGenie's dialer callback (seed 000): five call events, signed in hex over what JavaScript would write.
//! Refuses to know any other system's names.

use std::time::Duration;

use http::{HeaderName, HeaderValue};
use serde::Serialize;

use super::read::{self, Leftovers, Part, Taken};
use super::signature::HexSignature;
use super::transcript::{self, Speakers};
use super::write::{self, Writer};
use super::{
    Arrived, Dialect, Links, Mismatch, Outgoing, Policy, Proof, Reading, Receipt, ReceiptKind, js_json,
};
use crate::model::call::{ASSISTANT, Call, USER};
use crate::model::endpoint::Shape;
use crate::model::secret::Credential;
use crate::model::text::Text;
use crate::model::{DialectName, Event, EventType, Outcome, Step, Time};

/// The dialect of seed 000.
pub struct Voicegenie;

/// Where its signature stands.
pub const SIGNATURE: HexSignature = HexSignature { header: "X-Webhook-Signature", has_prefix: false };

const SPEAKERS: Speakers = Speakers { assistant: ASSISTANT, user: USER };

impl Dialect for Voicegenie {
    fn name(&self) -> DialectName {
        DialectName::Voicegenie
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

    fn answer(&self, receipt: &Receipt) -> String {
        answer(receipt)
    }

    fn proof(&self) -> Proof {
        Proof::HmacHex
    }

    fn triggers(&self) -> &'static [EventType] {
        &[
            EventType::CallInitiated,
            EventType::CallRinging,
            EventType::CallAnswered,
            EventType::CallEnded,
            EventType::CallFailed,
        ]
    }

    fn encode(&self, event: &Event, shape: &Shape, _links: &Links<'_>) -> Vec<u8> {
        write::js_body(|body| {
            if let Some(call) = write::call_of(event) {
                write_body(body, event, call, shape);
            }
        })
    }

    fn sign(&self, outgoing: &Outgoing<'_>, credential: &Credential) -> Vec<(HeaderName, HeaderValue)> {
        SIGNATURE.sign(outgoing, credential).into_iter().collect()
    }

    fn policy(&self) -> Policy {
        Policy {
            timeout: Duration::from_secs(30),
            retry_delays: [1, 5, 15, 30].map(|minutes| Duration::from_secs(minutes * 60)).into(),
            jitter: false,
            slow_after: None,
        }
    }

    fn sample(&self, _kind: Option<EventType>, _now: Time) -> Vec<u8> {
        js_json::rewrite(SAMPLE)
    }
}

fn read_body(body: &[u8]) -> Taken<Reading> {
    let mut body = Part::of_body(body)?;
    let mut data = body.part("call_data", "call_data");
    let mut call = Call { call_id: body.required_id("call_uuid")?, ..Call::default() };
    let event = body.word("event").unwrap_or_default();
    let step = match event.as_str() {
        "call_initiated" => Step::Initiated,
        "call_ringing" => Step::Ringing,
        "call_answered" => Step::Answered,
        "call_ended" => Step::Ended(read_outcome(&mut data, &mut call, Outcome::Completed)),
        "call_failed" => Step::Ended(read_outcome(&mut data, &mut call, Outcome::Failed)),
        unknown => return Err(read::unknown_event(unknown)),
    };
    let at = body.time("timestamp")?;
    call.campaign.id = body.id("campaign_id");
    call.contact.phone = body.phone("phone_number");
    call.duration_seconds = data.seconds("duration")?;
    call.recording.url = data.text("recording_url");
    call.transcript.turns = data.turns("transcript");
    call.transcript.text = data.text("transcript");
    let mut sentiment = data.part("sentiment", "call_data.sentiment");
    call.analysis.sentiment = sentiment.text("overall").or_else(|| data.text("sentiment"));
    call.analysis.sentiment_confidence = sentiment.number("confidence");
    let custom = data.part("custom_data", "call_data.custom_data");
    read::custom_values(custom, &mut call);
    let mut leftovers = Leftovers::new();
    for part in [body, data, sentiment] {
        part.leave(&mut leftovers);
    }
    Ok(read::one(read::heard(step, at, call, leftovers)))
}

/// The outcome decides, not the event's name. A word that is no telephone outcome (`demo_scheduled`) is kept as
/// the business result.
fn read_outcome(data: &mut Part<'_>, call: &mut Call, by_event: Outcome) -> Outcome {
    let Some(word) = data.text("outcome") else { return by_event };
    match read::outcome(&word.to_str()) {
        Some((outcome, transferred)) => {
            call.transferred = transferred;
            outcome
        }
        None => {
            call.analysis.result = Some(word);
            by_event
        }
    }
}

fn event_name(kind: EventType) -> &'static str {
    match kind {
        EventType::CallInitiated => "call_initiated",
        EventType::CallRinging => "call_ringing",
        EventType::CallAnswered => "call_answered",
        EventType::CallFailed => "call_failed",
        _ => "call_ended",
    }
}

fn outcome_word(outcome: Outcome) -> &'static str {
    match outcome {
        // The seed has no words for these two.
        Outcome::Canceled | Outcome::Lost => Outcome::Failed.as_str(),
        other => other.as_str(),
    }
}

fn write_body(body: &mut Writer<'_>, event: &Event, call: &Call, shape: &Shape) {
    body.put("call_uuid", &call.call_id);
    body.put("event", event_name(event.kind));
    body.maybe("campaign_id", write::campaign_or_batch(call));
    body.maybe("phone_number", call.contact.phone.as_ref());
    body.object("call_data", |data| {
        data.maybe("duration", write::duration(call));
        data.maybe("recording_url", write::recording_url(call, shape));
        data.objects("transcript", &transcript::turns(call), |writer, turn| {
            writer.maybe("timestamp", transcript::time_of(call, turn).map(Time::rfc3339_seconds));
            writer.put("role", &SPEAKERS.name(&turn.role));
            writer.put("content", &turn.text);
            writer.fields(&turn.more);
        });
        data.maybe("outcome", call.outcome.map(outcome_word));
        data.object("sentiment", |sentiment| {
            sentiment.maybe("overall", write::sentiment(call));
            sentiment.maybe("confidence", call.analysis.sentiment_confidence.as_ref());
        });
        data.object("custom_data", |custom| {
            write::custom_values(custom, call, &[]);
        });
    });
    body.put("timestamp", &event.at.rfc3339_seconds());
}

/// Seed 000 "Success Response", with what `docs/dialects.md` adds at the top.
fn answer(receipt: &Receipt) -> String {
    #[derive(Serialize)]
    struct Answer<'a> {
        success: bool,
        message: &'static str,
        data: Data<'a>,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        duplicate: bool,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        quarantined: bool,
    }
    #[derive(Serialize)]
    struct Data<'a> {
        call_uuid: Option<&'a Text>,
        processed_at: String,
        actions_taken: &'a [&'static str],
    }
    let answer = Answer {
        success: true,
        message: "Callback processed successfully",
        data: Data {
            call_uuid: receipt.call_id.as_ref(),
            processed_at: receipt.processed_at.rfc3339_seconds(),
            actions_taken: &receipt.actions,
        },
        duplicate: receipt.kind == ReceiptKind::Duplicate,
        quarantined: receipt.kind == ReceiptKind::Quarantined,
    };
    serde_json::to_string(&answer).unwrap_or_else(|_| r#"{"success":true}"#.to_owned())
}

/// The seed's printed example.
const SAMPLE: &str = r#"{
  "call_uuid": "call-uuid-abc123",
  "event": "call_ended",
  "campaign_id": "507f1f77bcf86cd799439013",
  "phone_number": "+919876543210",
  "call_data": {
    "duration": 245,
    "recording_url": "https://voicegenie-recordings.s3.amazonaws.com/recordings/2024/call-uuid-abc123.mp3",
    "transcript": [
      {"timestamp": "2024-01-16T10:30:15Z", "role": "assistant", "content": "Hi, I'm Alex from VoiceGenie."},
      {"timestamp": "2024-01-16T10:30:22Z", "role": "user", "content": "Hello"}
    ],
    "outcome": "completed",
    "sentiment": {"overall": "positive", "confidence": 0.87},
    "custom_data": {"lead_score": 85, "interest_level": "high"}
  },
  "timestamp": "2024-01-16T10:35:00Z"
}"#;
