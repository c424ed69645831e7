//! Writing bodies: an object at a time, keys in the order of the seeds, and what several dialects say alike.
//! Refuses to know any dialect's names.

use std::time::Duration;

use serde::Serialize;

use super::js_json;
use crate::model::call::Call;
use crate::model::endpoint::Shape;
use crate::model::json::{Fields, Raw};
use crate::model::text::Text;
use crate::model::time::Millis;
use crate::model::{Event, EventBody, Time};

/// A JSON object that is being written. What a dialect documents comes first; free-form fields come last and never
/// take the place of it.
pub struct Writer<'a> {
    page: &'a mut Page,
    /// Where the object begins, its brace included.
    start: usize,
    /// The first of its keys in `Page::documented`.
    first_key: usize,
    /// Whether a key that no dialect documents is an array index, which JavaScript puts first.
    has_index: bool,
}

/// What is written so far.
struct Page {
    out: Vec<u8>,
    form: Form,
    /// The documented keys of every object that is open.
    documented: Vec<&'static str>,
}

/// In which form values are written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// As they are kept.
    Kept,
    /// As JavaScript writes them.
    Js,
}

/// A body: one object, written by `fill`.
pub fn body(fill: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    write_body(Form::Kept, fill)
}

/// A body that JavaScript parses and stringifies to the very same bytes.
pub fn js_body(fill: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    write_body(Form::Js, fill)
}

fn write_body(form: Form, fill: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut page = Page { out: Vec::with_capacity(2048), form, documented: Vec::new() };
    page.object(fill);
    page.out
}

impl Page {
    fn object(&mut self, fill: impl FnOnce(&mut Writer<'_>)) {
        let (start, first_key) = (self.out.len(), self.documented.len());
        self.out.push(b'{');
        let mut writer = Writer { page: self, start, first_key, has_index: false };
        fill(&mut writer);
        let has_index = writer.has_index;
        self.documented.truncate(first_key);
        self.out.push(b'}');
        if has_index {
            self.rewrite(start);
        }
    }

    fn value(&mut self, value: &(impl Serialize + ?Sized)) {
        let start = self.out.len();
        if serde_json::to_writer(&mut self.out, value).is_err() {
            self.out.truncate(start);
            self.out.extend_from_slice(b"null");
        }
        if self.form == Form::Js && !is_js(&self.out[start..]) {
            self.rewrite(start);
        }
    }

    /// Puts what was written from there on into JavaScript's form.
    fn rewrite(&mut self, start: usize) {
        // What the writer writes is valid UTF-8; were it not, the bytes would go out as they are.
        let Ok(text) = std::str::from_utf8(&self.out[start..]) else { return };
        let rewritten = js_json::rewrite(text);
        self.out.truncate(start);
        self.out.extend_from_slice(&rewritten);
    }
}

/// Whether a value is plainly what JavaScript would write: a string without escapes, a word, or a short integer.
fn is_js(value: &[u8]) -> bool {
    const DIGITS_THAT_A_DOUBLE_KEEPS: usize = 15;
    match value.first() {
        Some(b'"') => !value.contains(&b'\\'),
        Some(b't' | b'f' | b'n') => true,
        _ => value.len() <= DIGITS_THAT_A_DOUBLE_KEEPS && value.iter().all(u8::is_ascii_digit),
    }
}

impl Writer<'_> {
    fn documented_key(&mut self, key: &'static str) {
        debug_assert!(js_json::array_index(key.as_bytes()).is_none() && !key.contains(['"', '\\']));
        self.page.documented.push(key);
        self.comma();
        self.page.out.push(b'"');
        self.page.out.extend_from_slice(key.as_bytes());
        self.page.out.extend_from_slice(b"\":");
    }

    fn free_key(&mut self, key: &Text) {
        self.has_index |= self.page.form == Form::Js && js_json::array_index(key.as_bytes()).is_some();
        self.comma();
        self.page.value(key);
        self.page.out.push(b':');
    }

    fn comma(&mut self) {
        if self.page.out.len() > self.start + 1 {
            self.page.out.push(b',');
        }
    }

    fn is_documented(&self, key: &Text) -> bool {
        self.page.documented[self.first_key..].iter().any(|name| key == *name)
    }

    /// A member whose value is JSON already.
    pub fn put_json(&mut self, key: &'static str, json: &str) {
        self.documented_key(key);
        let start = self.page.out.len();
        self.page.out.extend_from_slice(json.as_bytes());
        if self.page.form == Form::Js {
            self.page.rewrite(start);
        }
    }

    /// A member that is always there.
    pub fn put(&mut self, key: &'static str, value: &(impl Serialize + ?Sized)) {
        self.documented_key(key);
        self.page.value(value);
    }

    /// A member that is left out when nothing is known.
    pub fn maybe(&mut self, key: &'static str, value: Option<impl Serialize>) {
        if let Some(value) = value {
            self.put(key, &value);
        }
    }

    /// A member that is an object.
    pub fn object(&mut self, key: &'static str, fill: impl FnOnce(&mut Writer<'_>)) {
        self.documented_key(key);
        self.page.object(fill);
    }

    /// A member that is an array of objects.
    pub fn objects<T>(&mut self, key: &'static str, items: &[T], mut fill: impl FnMut(&mut Writer<'_>, &T)) {
        self.documented_key(key);
        self.page.out.push(b'[');
        for (at, item) in items.iter().enumerate() {
            if at > 0 {
                self.page.out.push(b',');
            }
            self.page.object(|writer| fill(writer, item));
        }
        self.page.out.push(b']');
    }

    /// A member that is some JSON object, `{}` when nothing is known.
    pub fn object_or_empty(&mut self, key: &'static str, value: Option<&Raw>) {
        match value {
            Some(value) => self.put(key, value),
            None => self.object(key, |_| {}),
        }
    }

    /// All entries of a raw object as members.
    pub fn entries(&mut self, object: Option<&Raw>) {
        if let Some(object) = object.and_then(Raw::as_object) {
            self.fields(&Fields::from(&object));
        }
    }

    /// All entries of free-form fields as members, save those whose key is written already.
    pub fn fields(&mut self, fields: &Fields) {
        self.fields_beside(&[], fields);
    }

    /// The same beside documented members with a type: where such a member is not known, a field of its name may
    /// stand for it if it has that type.
    pub fn fields_beside(&mut self, typed: &[(&str, IsOfType)], fields: &Fields) {
        for (key, value) in fields.iter() {
            let is_other_type = typed.iter().any(|(name, is_of_type)| key == *name && !is_of_type(value));
            if is_other_type || self.is_documented(key) {
                continue;
            }
            self.free_key(key);
            self.page.value(value);
        }
    }
}

/// Whether a value has the type that a dialect documents.
pub type IsOfType = fn(&Raw) -> bool;

/// `true` or `false`.
pub fn is_flag(value: &Raw) -> bool {
    matches!(value.get(), "true" | "false")
}

/// A string.
pub fn is_text(value: &Raw) -> bool {
    value.get().starts_with('"')
}

/// A number.
pub fn is_number(value: &Raw) -> bool {
    value.get().starts_with(|first: char| first == '-' || first.is_ascii_digit())
}

/// The inverse of `read::custom_values`, beside the members that the dialect documents there.
pub fn custom_values(custom: &mut Writer<'_>, call: &Call, typed: &[(&str, IsOfType)]) {
    custom.maybe("score", call.analysis.score.as_ref());
    custom.maybe("classification", call.analysis.classification.as_ref());
    custom.maybe("action_items", call.analysis.action_items.as_ref());
    custom.maybe("interests_and_needs", call.analysis.interests_and_needs.as_ref());
    custom.fields_beside(typed, &call.variables);
}

/// The call of an event; `None` for a batch or an endpoint.
pub fn call_of(event: &Event) -> Option<&Call> {
    match &event.body {
        EventBody::Call { call, .. } => Some(call),
        _ => None,
    }
}

/// The recording's URL, unless the endpoint wants none.
pub fn recording_url<'a>(call: &'a Call, shape: &Shape) -> Option<&'a Text> {
    call.recording.url.as_ref().filter(|_| shape.include_recording)
}

/// When the call ended: as the vendor says, else the time of the event that told of the end.
pub fn ended_at(event: &Event, call: &Call) -> Option<Time> {
    call.ended_at.or_else(|| call.outcome.map(|_| event.at))
}

/// How long the call was: as the vendor says, else from its start to its end where these make sense.
pub fn duration(call: &Call) -> Option<Millis> {
    call.duration_seconds.or_else(|| {
        let (start, end) = call.started_at.zip(call.ended_at).filter(|(start, end)| start <= end)?;
        Millis::from_seconds(end.since(start).as_secs_f64())
    })
}

/// When the call was placed: as the vendor says, else when the conversation began, else its length before its end.
pub fn placed_at(event: &Event, call: &Call) -> Option<Time> {
    call.created_at.or(call.started_at).or_else(|| {
        let micros = i64::try_from(Duration::from_millis(duration(call)?.0).as_micros()).ok()?;
        Some(Time::from_micros(ended_at(event, call)?.as_micros().saturating_sub(micros)))
    })
}

/// The campaign of a call in dialects that have one word for campaigns and batches.
pub fn campaign_or_batch(call: &Call) -> Option<&Text> {
    call.campaign.id.as_ref().or(call.batch_id.as_ref())
}

/// Sentiment in a word; a mood (seed 001) is one too.
pub fn sentiment(call: &Call) -> Option<&Text> {
    call.analysis.sentiment.as_ref().or(call.analysis.mood.as_ref())
}
