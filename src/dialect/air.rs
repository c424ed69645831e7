//! Air's `POST_CALL_DATA` (seed 004): calls that a person answered, behind a bearer token.
//! Refuses to know any other system's names.

use std::time::Duration;

use http::{HeaderName, HeaderValue};

use super::read::{self, Leftovers, Part, Taken, Unreadable};
use super::transcript::{self, Speakers};
use super::write::{self, Writer};
use super::{
    Arrived, Dialect, Links, Mismatch, Outgoing, Policy, Proof, Reading, check, signature, standard,
};
use crate::model::call::{AnsweredBy, Call, Direction};
use crate::model::endpoint::Shape;
use crate::model::json::Raw;
use crate::model::secret::Credential;
use crate::model::text::Text;
use crate::model::{DialectName, Event, EventType, Outcome, Step, Time};

/// The dialect of seed 004.
pub struct Air;

const SPEAKERS: Speakers = Speakers { assistant: "BOT", user: "HUMAN" };

impl Dialect for Air {
    fn name(&self) -> DialectName {
        DialectName::Air
    }

    fn authenticate(
        &self,
        request: &Arrived<'_>,
        credential: &Credential,
        _now: Time,
    ) -> Result<(), Mismatch> {
        check::check_bearer(request, credential)
    }

    fn read(&self, body: &[u8]) -> Reading {
        read::reading(read_body(body))
    }

    fn proof(&self) -> Proof {
        Proof::Bearer
    }

    fn triggers(&self) -> &'static [EventType] {
        &[EventType::CallEnded]
    }

    /// "If the call goes to voicemail or cannot be completed, no event will be sent." Unknown counts as human.
    fn fires_on(&self, event: &Event) -> bool {
        write::call_of(event).is_some_and(|call| {
            call.outcome == Some(Outcome::Completed) && call.answered_by != Some(AnsweredBy::Machine)
        })
    }

    fn encode(&self, event: &Event, shape: &Shape, _links: &Links<'_>) -> Vec<u8> {
        write::body(|body| {
            if let Some(call) = write::call_of(event) {
                write_body(body, event, call, shape);
            }
        })
    }

    fn sign(&self, _: &Outgoing<'_>, credential: &Credential) -> Vec<(HeaderName, HeaderValue)> {
        signature::bearer_header(credential).into_iter().collect()
    }

    /// The seed is silent about both: the standard dialect's schedule, without its jitter (`docs/dialects.md`).
    fn policy(&self) -> Policy {
        Policy {
            timeout: Duration::from_secs(20),
            retry_delays: standard::retry_delays(),
            jitter: false,
            slow_after: None,
        }
    }

    fn sample(&self, _kind: Option<EventType>, _now: Time) -> Vec<u8> {
        SAMPLE.as_bytes().to_vec()
    }
}

/// Reads `POST_CALL_DATA`, and `POST_CALL_OUTCOME`, which adds `outcome`, `primaryOutcomeAchieved` and `notes`.
fn read_body(body: &[u8]) -> Taken<Reading> {
    let mut body = Part::of_body(body)?;
    if !body.has_object("call") {
        return Err(Unreadable("no object `call`".to_owned()));
    }
    let mut about = body.part("call", "call");
    let mut call = Call { call_id: about.required_id("sid")?, ..Call::default() };
    call.answered_by = about.known("llmAnsweredBy", |word| match word.to_ascii_lowercase().as_str() {
        "human" => Some(AnsweredBy::Human),
        word if word.starts_with("machine") || word == "voicemail" => Some(AnsweredBy::Machine),
        _ => None,
    });
    let outcome = match call.answered_by {
        Some(AnsweredBy::Machine) => Outcome::Voicemail,
        _ => Outcome::Completed,
    };
    call.agent.id = about.id("promptId");
    call.recording.url = about.text("callRecordingUrl");
    call.direction = about.known("direction", read_direction);
    let (from, to) = (about.phone("fromNumber"), about.phone("toNumber"));
    (call.line.number, call.contact.phone) =
        if call.direction == Some(Direction::Inbound) { (to, from) } else { (from, to) };
    call.duration_seconds = about.seconds("duration")?;
    call.campaign.id = about.id("campaignId");
    call.contact.name = about.text("cachedLeadName");
    call.transcript.text = about.text("transcript");
    call.created_at = about.time("createdAt")?;
    call.variables = about.part("leadData", "call.leadData").into_fields();
    call.analysis.result = about.text("outcome");
    call.analysis.success = about.flag("primaryOutcomeAchieved");
    let mut leftovers = Leftovers::new();
    body.leave(&mut leftovers);
    about.leave(&mut leftovers);
    Ok(read::one(read::heard(Step::Ended(outcome), None, call, leftovers)))
}

fn read_direction(word: &str) -> Option<Direction> {
    let word = word.to_ascii_lowercase();
    if word.starts_with("outbound") {
        Some(Direction::Outbound)
    } else if word.starts_with("inbound") {
        Some(Direction::Inbound)
    } else {
        None
    }
}

fn write_body(body: &mut Writer<'_>, event: &Event, call: &Call, shape: &Shape) {
    let (from, to) = match call.direction {
        Some(Direction::Inbound) => (&call.contact.phone, &call.line.number),
        _ => (&call.line.number, &call.contact.phone),
    };
    body.object("call", |about| {
        about.put("sid", &call.call_id);
        about.put("llmAnsweredBy", "human");
        about.maybe("promptId", call.agent.id.as_ref().map(number_where_it_is_one));
        about.maybe("callRecordingUrl", write::recording_url(call, shape));
        about.maybe("fromNumber", from.as_ref());
        about.maybe("toNumber", to.as_ref());
        about.maybe(
            "direction",
            call.direction.map(|direction| match direction {
                Direction::Outbound => "outbound-api",
                Direction::Inbound => "inbound",
            }),
        );
        about.maybe("duration", write::duration(call));
        about.put("campaignId", &write::campaign_or_batch(call).map(number_where_it_is_one));
        about.maybe("cachedLeadName", call.contact.name.as_ref());
        about.put("transcript", &*transcript::text_for(call, SPEAKERS).unwrap_or_default());
        about.maybe("createdAt", write::placed_at(event, call).map(Time::postgres));
        about.put("leadData", &Some(&call.variables).filter(|variables| !variables.is_empty()));
    });
    body.object("headers", |_| {});
}

/// Air's ids are numbers; those of others stay text. Past 2^53 a receiver would round a number, so that stays
/// text too.
fn number_where_it_is_one(id: &Text) -> Raw {
    const DIGITS_THAT_A_DOUBLE_KEEPS: usize = 15;
    let digits = id.as_bytes();
    let is_number = matches!(digits, [b'0'] | [b'1'..=b'9', ..])
        && digits.len() <= DIGITS_THAT_A_DOUBLE_KEEPS
        && digits.iter().all(u8::is_ascii_digit);
    is_number.then(|| Raw::parse(&id.to_str())).flatten().unwrap_or_else(|| Raw::from_value(id))
}

/// The seed's example as its site prints it, with values of ours where it has none.
const SAMPLE: &str = r#"{"call":{"sid":"CA00000000000000000000000000000123","llmAnsweredBy":"human","promptId":25673,"callRecordingUrl":"https://api.twilio.com/2010-04-01/Accounts/AC00000000000000000000000000000000/Recordings/RE00000000000000000000000000000000","fromNumber":"+15550100001","toNumber":"+15550100002","direction":"outbound-api","duration":44,"campaignId":null,"cachedLeadName":"Tyler","transcript":"BOT: ~ \"Hey, Tyler!\"\nHUMAN:  how's it going\nBOT: \"Going well. Do you have a minute?\"\nHUMAN:  sure","createdAt":"2023-12-31 23:12:05.62705+00","leadData":null},"headers":{}}"#;
