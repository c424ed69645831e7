//! What each vendor would send about a made-up call: bodies put together from the seeds' printed shapes, key by key,
//! with the habits that vendors have (digits like `0.30`, `+1-415-…`, escaped or cut emoji, blanks after colons).
//! Refuses to use postcall's own encoders: what the doors read here was not written by them.

use std::fmt::Write;
use std::time::Duration;

use super::said::{Moment, Said};
use super::story::{End, Line, Story};
use crate::model::{DialectName, Time};

/// Everything that the vendor sends about a call, in its order. Nothing when the vendor does not speak of such calls.
/// `batch` is the vendor's own, for calls to nobody in particular.
pub fn said(dialect: DialectName, story: &Story, batch: &str) -> Vec<Said> {
    let mut said = Vec::new();
    let batch = story.callee.as_ref().map_or(batch, |callee| &callee.batch);
    let call_id = call_id(dialect, story);
    let mut say = |moment, body| said.push(Said { call_id: call_id.clone(), moment, body });
    match dialect {
        DialectName::Voicegenie => voicegenie(story, &mut say),
        DialectName::Cllr if story.end == End::Completed => say(Moment::Ended, cllr(story)),
        DialectName::Dialgen => say(Moment::Ended, dialgen(story, batch)),
        DialectName::Aloro => say(Moment::Ended, aloro(story)),
        DialectName::Air if story.end == End::Completed => {
            say(Moment::Ended, air(story, ""));
            if story.is_late {
                let outcome =
                    format!(r#","outcome":{},"primaryOutcomeAchieved":true,"notes":"""#, quote(story.result));
                say(Moment::Updated, air(story, &outcome));
            }
        }
        DialectName::Standard => standard(story, &mut say),
        DialectName::Cllr | DialectName::Air => {}
    }
    said
}

/// The call's id in the vendor's form.
fn call_id(dialect: DialectName, story: &Story) -> String {
    let id = &story.id;
    match dialect {
        DialectName::Voicegenie => format!("vg-{id}"),
        // It has no other place for whom it called.
        DialectName::Cllr => story.callee.as_ref().map_or(id, |callee| &callee.contact).clone(),
        DialectName::Dialgen => format!("dg_{id}"),
        DialectName::Aloro => format!("call_{id}"),
        DialectName::Air => format!("CA{id}{:08x}", story.score),
        DialectName::Standard => format!("std-{id}"),
    }
}

fn voicegenie(story: &Story, say: &mut impl FnMut(Moment, String)) {
    let body = |event: &str, data: &str, at: Time| {
        format!(
            r#"{{"call_uuid":"{}","event":"{event}","campaign_id":{},"phone_number":{},"call_data":{data},"timestamp":"{}"}}"#,
            call_id(DialectName::Voicegenie, story),
            story.campaign_token(|number| format!(r#""507f1f77bcf86cd7994390{number:02}""#)),
            story.phone_token(),
            at.rfc3339_seconds(),
        )
    };
    say(Moment::Initiated, body("call_initiated", "{}", story.placed));
    if story.end == End::Failed {
        say(Moment::Ended, body("call_failed", r#"{"outcome":"failed"}"#, story.ended()));
        return;
    }
    say(Moment::Ringing, body("call_ringing", "{}", seconds_after(story.placed, 1)));
    if !story.end.was_answered() {
        let outcome = if story.end == End::Busy { "busy" } else { "no_answer" };
        let data = format!(r#"{{"duration":0,"outcome":"{outcome}"}}"#);
        say(Moment::Ended, body("call_failed", &data, story.ended()));
        return;
    }
    say(Moment::Answered, body("call_answered", "{}", story.answered()));
    let transcript = story.joined(|line| {
        format!(
            r#"{{"timestamp":"{}","role":"{}","content":{}}}"#,
            seconds_after(story.answered(), line.offset).rfc3339_seconds(),
            line.speaker("assistant", "user"),
            quote(&line.text)
        )
    });
    let ended = |recording: &str| {
        let data = format!(
            r#"{{"duration":{},{recording}"transcript":[{transcript}],"outcome":"{}","sentiment":{{"overall":"{}","confidence":{}}},"custom_data":{{"lead_score":{},"interest_level":"{}","summary":{}}}}}"#,
            story.duration,
            if story.end == End::Voicemail { "voicemail" } else { "completed" },
            story.sentiment,
            hundredths(story.confidence).trim_end_matches('0').trim_end_matches('.'),
            story.score,
            if story.score > 60 { "high" } else { "low" },
            story.summary_token(),
        );
        body("call_ended", &data, story.ended())
    };
    let url = format!(
        r#""recording_url":"https://voicegenie-recordings.s3.amazonaws.com/recordings/2025/{}.mp3","#,
        story.id
    );
    if story.is_late {
        say(Moment::Ended, ended(""));
        say(Moment::Updated, ended(&url));
    } else {
        say(Moment::Ended, ended(&url));
    }
}

fn cllr(story: &Story) -> String {
    let ((area, last), callee) = (story.phone, story.callee.as_ref());
    format!(
        r#"{{
"callId": "{call_id}",
"recordingUri": "https://storage.example.com/recordings/{id}/call_recording.ogg",
"transcriptUri": "https://storage.example.com/transcripts/transcript_{id}.json",
"callerDetails": {{
"name": {name},
"phoneNumber": {phone},
"email": {email},
"city": {city},
"country": "",
"language": "English"
}},
"callAnalysis": {{
"summary": {summary},
"mood": "{mood}",
"score": {score}.0,
"callOutcome": "{result}",
"classification": "Sales Inquiry",
"interestsAndNeeds": {{"10": "price", "2": "speed"}},
"actionItems": {{"next": "Send the invitation"}},
"sentiment": {{"overall": "{sentiment}", "confidence": {confidence}}}
}}
}}"#,
        call_id = call_id(DialectName::Cllr, story),
        id = story.id,
        phone =
            callee.map_or_else(|| format!(r#""+1-{area}-555-01{last:02}""#), |callee| quote(&callee.phone)),
        email = callee
            .and_then(|callee| callee.email.as_deref())
            .map_or_else(|| format!(r#""caller{last}@example.com""#), quote),
        name = quote(&story.name),
        city = quote(story.city),
        summary = story.summary_token(),
        mood = if story.sentiment == "negative" { "Annoyed" } else { "Positive" },
        score = story.score,
        result = story.result,
        sentiment = story.sentiment,
        confidence = hundredths(story.confidence),
    )
}

fn dialgen(story: &Story, batch: &str) -> String {
    let status = match story.end {
        End::Completed => "COMPLETED",
        End::Failed => "FAILED",
        End::Voicemail | End::NoAnswer | End::Busy => "MISSED",
    };
    let head = format!(
        r#"{{"success":true,"callData":{{"id":"{}","contactId":{},"agentId":"agent_{}","batchId":"{batch}","status":"{status}","direction":"OUTBOUND","createdAt":"{}""#,
        call_id(DialectName::Dialgen, story),
        story.contact_token(|last| format!(r#""contact_{last:02}""#)),
        story.agent.0,
        story.placed.rfc3339_millis(),
    );
    let contact = format!(r#""phoneNumber":{},"contactName":{}"#, story.phone_token(), quote(&story.name));
    if story.end != End::Completed {
        return format!(r#"{head},"duration":0,{contact},"metricJson":{{}}}},"metricSchema":{{}}}}"#);
    }
    let transcription = story.joined(|line| {
        format!(
            r#"{{"role":"{}","content":{},"timestamp":"{}"}}"#,
            line.speaker("assistant", "user"),
            quote(&line.text),
            seconds_after(story.answered(), line.offset).rfc3339_millis()
        )
    });
    format!(
        r#"{head},"startTime":"{}","endTime":"{}","duration":{},{contact},"transcription":[{transcription}],"recordingUrl":"https://recordings.dialgen.ai/{}.mp3","summary":{},"metricJson":{{"intent":"SALES_INQUIRY","sentiment":"{}","confidence":{},"customerSatisfaction":{},"ticket":9007199254740993}}}},"metricSchema":{{"customerSatisfaction":{{"type":"number"}}}}}}"#,
        story.answered().rfc3339_millis(),
        story.ended().rfc3339_millis(),
        story.duration,
        story.id,
        story.summary_token(),
        story.sentiment,
        hundredths(story.confidence),
        story.score / 20,
    )
}

/// The seed 002 event at the end of a batch.
pub fn dialgen_batch(batch: &str, total: u64, succeeded: u64, start: Time, end: Time) -> String {
    let rate = (succeeded * 100).checked_div(total).unwrap_or(0);
    format!(
        r#"{{"event":"batch.completed","batchId":"{batch}","agentId":"agent_25673","userId":"user_789","statistics":{{"total":{total},"processed":{total},"succeeded":{succeeded},"failed":{},"percentComplete":100,"successRate":{rate}}},"timestamps":{{"createdAt":"{}","startedAt":"{}","completedAt":"{}"}}}}"#,
        total - succeeded,
        start.rfc3339_millis(),
        start.rfc3339_millis(),
        end.rfc3339_millis(),
    )
}

fn aloro(story: &Story) -> String {
    let status = match story.end {
        End::Completed => "completed",
        End::Voicemail => "voicemail",
        End::NoAnswer => "unanswered",
        End::Busy => "busy",
        End::Failed => "failed",
    };
    let formatted: Vec<String> =
        story.lines.iter().map(|line| format!("{}: {}", line.speaker("AI", "Customer"), line.text)).collect();
    let timestamped = story.joined(|line| {
        format!(
            r#"{{"speaker": "{}", "text": {}, "timestamp": "{:02}:{:02}"}}"#,
            line.speaker("ai", "customer"),
            quote(&line.text),
            line.offset / 60,
            line.offset % 60
        )
    });
    let voice = story.duration * 2;
    format!(
        r#"{{"event": "call.ended", "timestamp": "{ended}", "data": {{"call": {{"id": "{id}", "phone": {phone}, "direction": "outbound", "status": "{status}", "duration": {duration}, "started_at": "{started}", "ended_at": "{ended}"}}, "assistant": {{"id": "asst_{agent}", "name": {agent_name}}}, "phone_number": {{"id": "pn_456", "number": "+16175550100"}}, "campaign": {campaign}, "variables": {{"status": {success}, "summary": {summary}, "order_id": "ORD-12345", "issue_resolved": {success}, "callback_date": null}}, "transcript": {{"formatted": {formatted}, "timestamped": [{timestamped}]}}, "recording": {recording}, "cost": {{"total": {total}, "breakdown": {{"voice": {voice}, "transcription": 0.10, "recording": 0.05}}}}}}}}"#,
        id = call_id(DialectName::Aloro, story),
        phone = story.phone_token(),
        duration = story.duration,
        started = story.answered().rfc3339_seconds(),
        ended = story.ended().rfc3339_seconds(),
        agent = story.agent.0,
        agent_name = quote(story.agent.1),
        campaign = match story.campaign_token(|number| format!(r#""camp_{number}""#)) {
            null if null == "null" => null,
            id => format!(r#"{{"id": {id}, "name": "March Outreach"}}"#),
        },
        success = story.end == End::Completed,
        summary = story.summary_token(),
        formatted = quote(&formatted.join("\n")),
        recording = match story.duration {
            0 => "null".to_owned(),
            duration => format!(
                r#"{{"url": "https://storage.aloro.ai/recordings/{}.mp3", "duration": {duration}}}"#,
                story.id
            ),
        },
        total = hundredths(voice + 15),
        voice = hundredths(voice),
    )
}

fn air(story: &Story, outcome: &str) -> String {
    let mut transcript = String::new();
    for line in &story.lines {
        let _ = match line.is_agent {
            true => writeln!(transcript, "BOT: ~ \"{}\"", line.text),
            false => writeln!(transcript, "HUMAN:  {}", line.text),
        };
    }
    let body = format!(
        r#"{{"call":{{"sid":"{}","llmAnsweredBy":"human","promptId":{},"callRecordingUrl":"https://api.twilio.com/2010-04-01/Accounts/AC00000000000000000000000000000000/Recordings/RE{}","fromNumber":"+16175550100","toNumber":{},"direction":"outbound-api","duration":{},"campaignId":{},"cachedLeadName":{},"transcript":{},"createdAt":"{}","leadData":{}{outcome}}},"headers":{{}}}}"#,
        call_id(DialectName::Air, story),
        story.agent.0,
        story.id,
        story.phone_token(),
        story.duration,
        story.campaign_token(|number| number.to_string()),
        quote(&story.name),
        quote(transcript.trim_end()),
        story.placed.postgres(),
        if story.is_late { r#"{"crmId":"0065f00001","tier":2.50}"# } else { "null" },
    );
    escape_beyond_ascii(&body)
}

fn standard(story: &Story, say: &mut impl FnMut(Moment, String)) {
    let (batch, id) = story.callee.as_ref().map_or_else(Default::default, |callee| {
        (format!(r#","batch_id":{}"#, quote(&callee.batch)), format!(r#""id":{},"#, quote(callee.id())))
    });
    let body = |kind: &str, at: Time, more: &str| {
        format!(
            r#"{{"type":"{kind}","timestamp":"{}","data":{{"call_id":"{}"{batch},"direction":"outbound","contact":{{{id}"name":{},"phone":{}}},"agent":{{"id":"{}","name":{}}}{more}}}}}"#,
            at.rfc3339_millis(),
            call_id(DialectName::Standard, story),
            quote(&story.name),
            story.phone_token(),
            story.agent.0,
            quote(story.agent.1),
        )
    };
    say(Moment::Initiated, body("call.initiated", story.placed, r#","stage":"initiated""#));
    if story.end != End::Failed {
        let ringing = body("call.ringing", seconds_after(story.placed, 1), r#","stage":"ringing""#);
        say(Moment::Ringing, ringing);
    }
    let (kind, outcome) = match story.end {
        End::Completed => ("call.ended", "completed"),
        End::Voicemail => ("call.ended", "voicemail"),
        End::NoAnswer => ("call.failed", "no_answer"),
        End::Busy => ("call.failed", "busy"),
        End::Failed => ("call.failed", "failed"),
    };
    let ending = format!(
        r#","stage":"ended","outcome":"{outcome}","ended_at":"{}","duration_seconds":{}"#,
        story.ended().rfc3339_millis(),
        story.duration
    );
    if !story.end.was_answered() {
        say(Moment::Ended, body(kind, story.ended(), &ending));
        return;
    }
    say(Moment::Answered, body("call.answered", story.answered(), r#","stage":"answered""#));
    let turns = story.joined(|line| {
        format!(
            r#"{{"role":"{}","text":{},"offset_seconds":{}}}"#,
            line.speaker("assistant", "user"),
            quote(&line.text),
            line.offset
        )
    });
    let ended = format!(r#"{ending},"transcript":{{"turns":[{turns}]}},"variables":{{"rate":1.50}}"#);
    say(Moment::Ended, body(kind, story.ended(), &ended));
    if story.is_late {
        let analysis = format!(
            r#"{ended},"analysis":{{"summary":{},"sentiment":"{}","score":{}}}"#,
            story.summary_token(),
            story.sentiment,
            story.score
        );
        say(Moment::Updated, body("call.updated", seconds_after(story.ended(), 20), &analysis));
    }
}

impl Story {
    /// The number that was called, as a JSON string.
    fn phone_token(&self) -> String {
        match &self.callee {
            Some(callee) => quote(&callee.phone),
            None => format!(r#""+1{}55501{:02}""#, self.phone.0, self.phone.1),
        }
    }

    /// The contact's id as a JSON string; the vendor's own, made of two digits, where nobody gave one.
    fn contact_token(&self, own: impl Fn(u32) -> String) -> String {
        self.callee.as_ref().map_or_else(|| own(self.phone.1), |callee| quote(callee.id()))
    }

    /// The campaign's id as JSON: the batch where there is one, else the vendor's own for a number, or `null`.
    fn campaign_token(&self, own: impl Fn(u32) -> String) -> String {
        match &self.callee {
            Some(callee) => quote(&callee.batch),
            None => self.campaign.map_or_else(|| "null".to_owned(), own),
        }
    }

    /// When it was picked up, or was not.
    fn answered(&self) -> Time {
        seconds_after(self.placed, self.ringing)
    }

    fn ended(&self) -> Time {
        seconds_after(self.answered(), self.duration)
    }

    fn joined(&self, write: impl Fn(&Line) -> String) -> String {
        self.lines.iter().map(write).collect::<Vec<_>>().join(",")
    }

    /// The summary as a JSON string; a cut one ends with the first half of an emoji.
    fn summary_token(&self) -> String {
        let token = quote(&self.summary);
        if self.is_cut { format!(r"{}\ud83d{}", &token[..token.len() - 1], '"') } else { token }
    }
}

impl Line {
    fn speaker(&self, agent: &'static str, contact: &'static str) -> &'static str {
        if self.is_agent { agent } else { contact }
    }
}

fn seconds_after(time: Time, seconds: u32) -> Time {
    time.after(Duration::from_secs(u64::from(seconds)))
}

fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// As Python's `json.dumps` writes it.
fn escape_beyond_ascii(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let mut units = [0; 2];
    for character in json.chars() {
        if character.is_ascii() {
            out.push(character);
            continue;
        }
        for unit in character.encode_utf16(&mut units) {
            let _ = write!(out, "\\u{unit:04x}");
        }
    }
    out
}

/// A number of hundredths with both digits after the point, as money is written: `0.30`.
fn hundredths(number: u32) -> String {
    format!("{}.{:02}", number / 100, number % 100)
}
