//! Aloro's post-call webhooks (seed 003): `call.ended`, in the full shape and in the flat one of the same site.
//! Refuses to know any other system's names.

use std::time::Duration;

use http::{HeaderName, HeaderValue};

use super::read::{self, Leftovers, Part, Taken, Unreadable};
use super::signature::{self, HexSignature};
use super::transcript::{self, Speakers};
use super::write::{self, Writer};
use super::{Arrived, Dialect, Links, Mismatch, Outgoing, Policy, Proof, Reading, js_json};
use crate::model::call::{Call, Direction};
use crate::model::endpoint::Shape;
use crate::model::event::HeardCall;
use crate::model::secret::Credential;
use crate::model::text::Text;
use crate::model::{DialectName, Event, EventType, Outcome, Step, Time};

/// The dialect of seed 003.
pub struct Aloro;

/// Where its signature stands.
pub const SIGNATURE: HexSignature = HexSignature { header: "X-Aloro-Signature", has_prefix: true };

const TIMESTAMP: &str = "X-Aloro-Timestamp";

/// In the timestamped segments.
const SPEAKERS: Speakers = Speakers { assistant: "ai", user: "customer" };
/// In the formatted transcript.
const NAMES: Speakers = Speakers { assistant: "AI", user: "Customer" };

impl Dialect for Aloro {
    fn name(&self) -> DialectName {
        DialectName::Aloro
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
        &[EventType::CallEnded, EventType::CallFailed]
    }

    fn encode(&self, event: &Event, shape: &Shape, _links: &Links<'_>) -> Vec<u8> {
        write::js_body(|body| {
            if let Some(call) = write::call_of(event) {
                write_body(body, event, call, shape);
            }
        })
    }

    /// The timestamp is the attempt's and not under the signature.
    fn sign(&self, outgoing: &Outgoing<'_>, credential: &Credential) -> Vec<(HeaderName, HeaderValue)> {
        let timestamp = signature::header(TIMESTAMP, outgoing.at.rfc3339_seconds().as_bytes());
        SIGNATURE.sign(outgoing, credential).into_iter().chain(timestamp).collect()
    }

    fn policy(&self) -> Policy {
        Policy {
            timeout: Duration::from_secs(20),
            retry_delays: [1, 5, 15, 60].map(|minutes| Duration::from_secs(minutes * 60)).into(),
            jitter: false,
            slow_after: Some(Duration::from_secs(5)),
        }
    }

    fn sample(&self, _kind: Option<EventType>, _now: Time) -> Vec<u8> {
        js_json::rewrite(SAMPLE)
    }
}

fn read_body(body: &[u8]) -> Taken<Reading> {
    let mut body = Part::of_body(body)?;
    match body.word("event").as_deref() {
        None | Some("call.ended") => {}
        Some(unknown) => return Err(read::unknown_event(unknown)),
    }
    let is_test = body.flag("test") == Some(true);
    let heard = if body.has_object("data") { read_full(body)? } else { read_flat(body)? };
    Ok(if is_test { Reading::Test(Box::new(heard)) } else { read::one(heard) })
}

fn read_full(mut body: Part<'_>) -> Taken<HeardCall> {
    let at = body.time("timestamp")?;
    let mut data = body.part("data", "data");
    if !data.has_object("call") {
        return Err(Unreadable("no object `data.call`".to_owned()));
    }
    let mut about = data.part("call", "data.call");
    let mut call = Call { call_id: about.required_id("id")?, ..Call::default() };
    let step = read_status(&mut about, &mut call)?;
    call.contact.phone = about.phone("phone");
    call.direction = about.known("direction", |word| match word.to_ascii_lowercase().as_str() {
        "inbound" => Some(Direction::Inbound),
        "outbound" => Some(Direction::Outbound),
        _ => None,
    });
    call.duration_seconds = about.seconds("duration")?;
    call.started_at = about.time("started_at")?;
    call.ended_at = about.time("ended_at")?;
    let mut assistant = data.part("assistant", "data.assistant");
    call.agent.id = assistant.id("id");
    call.agent.name = assistant.text("name");
    let mut line = data.part("phone_number", "data.phone_number");
    call.line.id = line.id("id");
    call.line.number = line.phone("number");
    let mut campaign = data.part("campaign", "data.campaign");
    call.campaign.id = campaign.id("id");
    call.campaign.name = campaign.text("name");
    let mut spoken = data.part("transcript", "data.transcript");
    call.transcript.turns = spoken.turns("timestamped");
    call.transcript.text = spoken.text("formatted").or_else(|| data.text("transcript"));
    let mut recording = data.part("recording", "data.recording");
    call.recording.url = recording.text("url");
    call.recording.duration_seconds = recording.seconds("duration")?;
    let mut cost = data.part("cost", "data.cost");
    call.cost.total = cost.number("total");
    call.cost.breakdown = cost.raw_object("breakdown");
    read_variables(data.part("variables", "data.variables"), &mut call);
    let mut leftovers = Leftovers::new();
    for part in [body, data, about, assistant, line, campaign, spoken, recording, cost] {
        part.leave(&mut leftovers);
    }
    Ok(read::heard(step, at, call, leftovers))
}

/// The other shape, which the same site prints elsewhere.
fn read_flat(mut body: Part<'_>) -> Taken<HeardCall> {
    let mut call = Call { call_id: body.required_id("call_id")?, ..Call::default() };
    let at = body.time("timestamp")?;
    let step = read_status(&mut body, &mut call)?;
    call.contact.phone = body.phone("phone");
    call.duration_seconds = body.seconds("duration")?;
    call.transcript.text = body.text("transcript");
    call.recording.url = body.text("recording_url");
    read_variables(body.part("variables", "variables"), &mut call);
    let mut leftovers = Leftovers::new();
    body.leave(&mut leftovers);
    Ok(read::heard(step, at, call, leftovers))
}

fn read_status(about: &mut Part<'_>, call: &mut Call) -> Taken<Step> {
    let Some(word) = about.word("status") else { return Ok(Step::Ended(Outcome::Completed)) };
    match word.trim().to_ascii_lowercase().replace([' ', '-'], "_").as_str() {
        "initiated" => return Ok(Step::Initiated),
        "ringing" => return Ok(Step::Ringing),
        "in_progress" => return Ok(Step::Answered),
        _ => {}
    }
    let (outcome, transferred) = read::outcome(&word).ok_or_else(|| read::unknown_status(&word))?;
    call.transferred = transferred;
    Ok(Step::Ended(outcome))
}

fn read_variables(mut variables: Part<'_>, call: &mut Call) {
    call.analysis.success = variables.flag("status");
    call.analysis.summary = variables.text("summary");
    read::custom_values(variables, call);
}

/// The words of the site's list of call results, in the case of the seed's example.
fn status_word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Completed => "completed",
        Outcome::Voicemail => "voicemail",
        Outcome::NoAnswer => "unanswered",
        Outcome::Busy => "busy",
        Outcome::Failed | Outcome::Canceled | Outcome::Lost => "failed",
    }
}

fn write_body(body: &mut Writer<'_>, event: &Event, call: &Call, shape: &Shape) {
    body.put("event", "call.ended");
    body.put("timestamp", &event.at.rfc3339_seconds());
    body.object("data", |data| {
        data.object("call", |about| {
            about.put("id", &call.call_id);
            about.maybe("phone", call.contact.phone.as_ref());
            about.maybe("direction", call.direction);
            about.maybe("status", call.outcome.map(status_word));
            about.maybe("duration", write::duration(call));
            about.maybe("started_at", call.started_at.map(Time::rfc3339_seconds));
            about.maybe("ended_at", write::ended_at(event, call).map(Time::rfc3339_seconds));
        });
        data.object("assistant", |assistant| {
            write_named(assistant, call.agent.id.as_ref(), "name", call.agent.name.as_ref());
        });
        data.object("phone_number", |line| {
            write_named(line, call.line.id.as_ref(), "number", call.line.number.as_ref());
        });
        data.object("campaign", |campaign| {
            write_named(campaign, write::campaign_or_batch(call), "name", call.campaign.name.as_ref());
        });
        data.object("variables", |variables| write_variables(variables, call));
        data.object("transcript", |spoken| {
            spoken.put("formatted", &*transcript::text_for(call, NAMES).unwrap_or_default());
            let turns = transcript::turns(call);
            spoken.objects("timestamped", &turns, |segment, turn| {
                segment.put("speaker", &SPEAKERS.name(&turn.role));
                segment.put("text", &turn.text);
                segment.maybe("timestamp", transcript::offset_of(call, &turns, turn).map(transcript::clock));
                segment.fields(&turn.more);
            });
        });
        if shape.include_recording {
            data.object("recording", |recording| {
                let Some(url) = &call.recording.url else { return };
                recording.put("url", url);
                recording
                    .maybe("duration", call.recording.duration_seconds.or_else(|| write::duration(call)));
            });
        }
        data.object("cost", |cost| {
            cost.maybe("total", call.cost.total.as_ref());
            cost.object_or_empty("breakdown", call.cost.breakdown.as_ref());
        });
    });
}

fn write_named(part: &mut Writer<'_>, id: Option<&Text>, name_key: &'static str, name: Option<&Text>) {
    part.maybe("id", id);
    part.maybe(name_key, name);
}

fn write_variables(variables: &mut Writer<'_>, call: &Call) {
    let is_completed = call.outcome.map(|outcome| outcome == Outcome::Completed);
    variables.maybe("status", call.analysis.success.or(is_completed));
    variables.maybe("summary", call.analysis.summary.as_ref());
    write::custom_values(variables, call, &[("status", write::is_flag), ("summary", write::is_text)]);
}

/// The seed's test payload.
const SAMPLE: &str = r#"{
  "event": "call.ended",
  "test": true,
  "data": {
    "call": {
      "id": "test_call_123",
      "phone": "+15555555555",
      "status": "completed",
      "duration": 120
    },
    "variables": {
      "status": true,
      "summary": "This is a test webhook"
    }
  }
}"#;
