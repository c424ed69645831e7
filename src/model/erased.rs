//! What is left of a record when a part of it is removed on purpose: its transcript by age, or everything about the
//! person on request. Pure; refuses to know who asked and when.

use std::sync::Arc;

use super::batch::Batch;
use super::call::{Analysis, Call, Contact, Erased, Failure, Recording, Transcript};
use super::event::EventBody;
use super::json::Fields;

/// The parts of a record that an erased one does not have.
const PERSONAL: [&str; 6] = ["contact", "transcript", "analysis", "variables", "metadata", "recording.url"];

impl Call {
    /// The record without what was said.
    #[must_use]
    pub fn without_transcript(self) -> Self {
        let erased = self.erased.max(Some(Erased::Transcript));
        Self { transcript: Transcript::default(), erased, ..self }
    }

    /// What the books need of the record: ids, times, outcome, cost, and of the analysis what statistics are made of.
    /// Nothing that tells who was called or what was said.
    #[must_use]
    pub fn without_person(self) -> Self {
        let Analysis { success, sentiment_confidence, score, .. } = self.analysis;
        Self {
            contact: Contact::default(),
            recording: Recording { url: None, ..self.recording },
            transcript: Transcript::default(),
            analysis: Analysis { success, sentiment_confidence, score, ..Analysis::default() },
            failure: Failure { reason: None, ..self.failure },
            metric_schema: None,
            variables: Fields::default(),
            metadata: Fields::default(),
            erased: Some(Erased::Person),
            ..self
        }
    }
}

impl EventBody {
    /// The same without what was said; `None` when nothing was.
    pub fn without_transcript(&self) -> Option<Self> {
        match self {
            Self::Call { call, changed } if !call.transcript.is_empty() => Some(Self::Call {
                call: Arc::new(Call::clone(call).without_transcript()),
                changed: changed.clone(),
            }),
            _ => None,
        }
    }

    /// The same without the person.
    #[must_use]
    pub fn without_person(self) -> Self {
        match self {
            Self::Call { call, mut changed } => {
                // Names of free-form fields are a vendor's words, too.
                changed.retain(|name| !PERSONAL.iter().any(|part| name.starts_with(part)));
                Self::Call { call: Arc::new(Arc::unwrap_or_clone(call).without_person()), changed }
            }
            Self::Batch(batch) => {
                Self::Batch(Box::new(Batch { error: None, metadata: Fields::default(), ..*batch }))
            }
            endpoint @ Self::Endpoint(_) => endpoint,
        }
    }

    /// What was removed from it.
    pub fn erased(&self) -> Option<Erased> {
        match self {
            Self::Call { call, .. } => call.erased,
            Self::Batch(_) | Self::Endpoint(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Raw, Text};

    #[test]
    fn nothing_of_the_person_is_left_and_the_books_are() {
        let json = r#"{"call_id":"c1","stage":"ended","outcome":"completed","direction":"outbound",
            "batch_id":"b1","started_at":"2026-01-01T00:00:00Z","duration_seconds":61.5,
            "contact":{"name":"PERSON","phone":"PERSON","email":"PERSON","details":{"a":"PERSON"}},
            "line":{"number":"+15550001111"},"agent":{"id":"7"},"campaign":{"id":"9"},
            "recording":{"url":"PERSON","duration_seconds":60},"transcript":{"text":"PERSON"},
            "analysis":{"summary":"PERSON","success":true,"sentiment":"PERSON","score":85,"mood":"PERSON",
                "action_items":["PERSON"]},
            "cost":{"total":0.25},"failure":{"reason":"PERSON","code":"x"},"metric_schema":{"a":"PERSON"},
            "variables":{"a":"PERSON"},"metadata":{"b":"PERSON"}}"#;
        let call: Call = serde_json::from_str(json).unwrap();
        let left = serde_json::to_string(&call.clone().without_person()).unwrap();
        assert!(!left.contains("PERSON"), "{left}");
        for kept in [
            "\"c1\"",
            "completed",
            "outbound",
            "\"b1\"",
            "2026-01-01",
            "61.5",
            "+15550001111",
            "\"7\"",
            "\"9\"",
        ] {
            assert!(left.contains(kept), "{kept} in {left}");
        }
        for kept in ["\"success\":true", "85", "0.25", "\"code\":\"x\"", "\"erased\":\"person\""] {
            assert!(left.contains(kept), "{kept} in {left}");
        }
        let once = call.without_person();
        assert_eq!(once.clone().without_person(), once);
        assert_eq!(once.without_transcript().erased, Some(Erased::Person), "the later one stays");
    }

    #[test]
    fn without_what_was_said_everything_else_stays() {
        let mut call = Call { call_id: Text::from("c"), ..Call::default() };
        call.contact.name = Some(Text::from("Ann"));
        let silent = EventBody::Call { call: Arc::new(call.clone()), changed: Vec::new() };
        assert_eq!(silent.without_transcript(), None);
        call.transcript.text = Some(Text::from("hello"));
        call.variables.set(Text::from("k"), Raw::from_value(&1));
        let changed = vec!["transcript.text".to_owned(), "variables.k".to_owned(), "cost.total".to_owned()];
        let spoken = EventBody::Call { call: Arc::new(call), changed };
        let EventBody::Call { call, changed } = spoken.without_transcript().unwrap() else { panic!() };
        assert!(call.transcript.is_empty() && call.contact.name.is_some() && changed.len() == 3);
        assert_eq!(call.erased, Some(Erased::Transcript));
        let EventBody::Call { changed, .. } = spoken.without_person() else { panic!() };
        assert_eq!(changed, ["cost.total"]);
    }
}
