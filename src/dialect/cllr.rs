//! cllr.ai's post-call webhook (seed 001): one event, unsigned, sent once.
//! Refuses to know any other system's names.

use std::time::Duration;

use http::{HeaderName, HeaderValue};

use super::read::{self, Leftovers, Part, Taken};
use super::write::{self, Writer};
use super::{Arrived, Dialect, Links, Mismatch, Outgoing, Policy, Proof, Reading};
use crate::model::call::Call;
use crate::model::endpoint::Shape;
use crate::model::secret::Credential;
use crate::model::text::Text;
use crate::model::{DialectName, Event, EventType, Outcome, Step, Time};

/// The dialect of seed 001.
pub struct Cllr;

impl Dialect for Cllr {
    fn name(&self) -> DialectName {
        DialectName::Cllr
    }

    /// The proof is the URL.
    fn authenticate(&self, _: &Arrived<'_>, _: &Credential, _: Time) -> Result<(), Mismatch> {
        Ok(())
    }

    fn read(&self, body: &[u8]) -> Reading {
        read::reading(read_body(body))
    }

    fn proof(&self) -> Proof {
        Proof::Unsigned
    }

    fn triggers(&self) -> &'static [EventType] {
        &[EventType::CallEnded]
    }

    fn fires_on(&self, event: &Event) -> bool {
        write::call_of(event).is_some_and(|call| call.outcome == Some(Outcome::Completed))
    }

    fn encode(&self, event: &Event, shape: &Shape, links: &Links<'_>) -> Vec<u8> {
        write::body(|body| {
            if let Some(call) = write::call_of(event) {
                write_body(body, call, shape, links);
            }
        })
    }

    fn sign(&self, _: &Outgoing<'_>, _: &Credential) -> Vec<(HeaderName, HeaderValue)> {
        Vec::new()
    }

    fn policy(&self) -> Policy {
        Policy { timeout: Duration::from_secs(10), retry_delays: Vec::new(), jitter: false, slow_after: None }
    }

    fn sample(&self, _kind: Option<EventType>, _now: Time) -> Vec<u8> {
        SAMPLE.as_bytes().to_vec()
    }
}

/// An event is sent only "when a call is completed", so there is no status to read.
fn read_body(body: &[u8]) -> Taken<Reading> {
    let mut body = Part::of_body(body)?;
    let mut call = Call { call_id: body.required_id("callId")?, ..Call::default() };
    call.recording.url = body.text("recordingUri");
    call.transcript.url = body.text("transcriptUri");
    let mut caller = body.part("callerDetails", "callerDetails");
    call.contact.name = caller.text("name");
    call.contact.phone = caller.phone("phoneNumber");
    call.contact.email = caller.text("email");
    call.contact.details = caller.into_raw();
    let mut analysis = body.part("callAnalysis", "callAnalysis");
    let known = &mut call.analysis;
    known.summary = analysis.text("summary");
    known.mood = analysis.text("mood");
    known.score = analysis.number("score");
    known.result = analysis.text("callOutcome");
    known.classification = analysis.text("classification");
    known.interests_and_needs = analysis.raw_container("interestsAndNeeds");
    known.action_items = analysis.raw_container("actionItems");
    let mut sentiment = analysis.part("sentiment", "callAnalysis.sentiment");
    known.sentiment = sentiment.text("overall").or_else(|| analysis.text("sentiment"));
    known.sentiment_confidence = sentiment.number("confidence");
    // What is only the word and its confidence is said by the two above; anything richer is kept as a whole.
    known.sentiment_detail = sentiment.into_raw();
    let mut leftovers = Leftovers::new();
    body.leave(&mut leftovers);
    analysis.leave(&mut leftovers);
    Ok(read::one(read::heard(Step::Ended(Outcome::Completed), None, call, leftovers)))
}

fn write_body(body: &mut Writer<'_>, call: &Call, shape: &Shape, links: &Links<'_>) {
    let own_link = || (links.transcript)().map(Text::from);
    let transcript_url = call.transcript.url.clone().or_else(own_link);
    body.put("callId", &call.call_id);
    body.maybe("recordingUri", write::recording_url(call, shape));
    body.maybe("transcriptUri", transcript_url.as_ref());
    body.object("callerDetails", |caller| {
        caller.maybe("name", call.contact.name.as_ref());
        caller.maybe("phoneNumber", call.contact.phone.as_ref());
        caller.maybe("email", call.contact.email.as_ref());
        caller.entries(call.contact.details.as_ref());
    });
    body.object("callAnalysis", |analysis| {
        let known = &call.analysis;
        analysis.maybe("summary", known.summary.as_ref());
        analysis.maybe("mood", known.mood.as_ref().or(known.sentiment.as_ref()));
        analysis.maybe("score", known.score.as_ref());
        analysis.maybe("callOutcome", known.result.as_ref());
        analysis.maybe("classification", known.classification.as_ref());
        analysis.object_or_empty("interestsAndNeeds", known.interests_and_needs.as_ref());
        analysis.object_or_empty("actionItems", known.action_items.as_ref());
        analysis.object("sentiment", |sentiment| {
            sentiment.maybe("overall", known.sentiment.as_ref());
            sentiment.maybe("confidence", known.sentiment_confidence.as_ref());
            sentiment.entries(known.sentiment_detail.as_ref());
        });
    });
}

/// The body of the seed's curl command.
const SAMPLE: &str = r#"{
"callId": "test-call-123",
"recordingUri": "https://example.com/recording.ogg",
"callerDetails": {
"name": "Test User",
"phoneNumber": "+1-555-000-0000"
}
}"#;
