//! Reading bodies: typed takes from objects, lenient where vendors differ and strict where a number or a time
//! would be wrong. What nobody takes goes to `metadata` under dotted names, so nothing that came in is lost.
//! Refuses to know any dialect's names.

use super::Reading;
use super::transcript;
use crate::model::call::{Call, Turn};
use crate::model::event::{Heard, HeardCall};
use crate::model::json::{Fields, MAX_DEPTH, Raw, is_too_deep};
use crate::model::text::Text;
use crate::model::time::Millis;
use crate::model::{Object, Outcome, Step, Time, Token, phone};

/// Why a body cannot be read, in words for whoever looks into the quarantine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable(pub String);

/// What a take gives, or the reason for the quarantine.
pub type Taken<T> = Result<T, Unreadable>;

/// What became of a body.
pub fn reading(read: Taken<Reading>) -> Reading {
    read.unwrap_or_else(|Unreadable(why)| Reading::Unreadable(why))
}

/// What a body says of one call. Without a time of its own the step has the time that the call gives it; turns
/// are read from the one string when they did not come by themselves.
pub fn heard(step: Step, at: Option<Time>, mut call: Call, leftovers: Leftovers) -> HeardCall {
    call.metadata = leftovers.into_iter().collect();
    if call.transcript.turns.is_none() {
        call.transcript.turns = call.transcript.text.as_ref().and_then(transcript::read_text);
    }
    let by_step = match step {
        Step::Ended(_) => call.ended_at,
        Step::Answered => call.started_at,
        Step::Requested | Step::Initiated => call.created_at,
        Step::Ringing => None,
    };
    HeardCall { step, at: at.or(by_step), call }
}

/// One step of one call.
pub fn one(heard: HeardCall) -> Reading {
    Reading::Events(vec![Heard::Call(Box::new(heard))])
}

/// The reason for an event name that the dialect does not have.
pub fn unknown_event(name: &str) -> Unreadable {
    if name.is_empty() {
        return Unreadable("no name of an event".to_owned());
    }
    Unreadable(format!("unknown event `{}`", shortened(name)))
}

/// The reason for a status that says nothing about how far the call came.
pub fn unknown_status(word: &str) -> Unreadable {
    Unreadable(format!("unknown status `{}`", shortened(word)))
}

/// A vendor's word for how a call ended, and whether it was handed to a person.
pub fn outcome(word: &str) -> Option<(Outcome, Option<bool>)> {
    if ["transferred", "human_escalation"].iter().any(|known| word.trim().eq_ignore_ascii_case(known)) {
        return Some((Outcome::Completed, Some(true)));
    }
    Outcome::parse(word).map(|outcome| (outcome, None))
}

/// Custom values where a dialect keeps score, classification and the like among them (seeds 000 and 003).
pub fn custom_values(mut custom: Part<'_>, call: &mut Call) {
    call.analysis.score = custom.number("score");
    call.analysis.classification = custom.text("classification");
    call.analysis.action_items = custom.raw_container("action_items");
    call.analysis.interests_and_needs = custom.raw_container("interests_and_needs");
    call.variables = custom.into_fields();
}

/// What no typed field took: dotted names and values.
pub type Leftovers = Vec<(Text, Raw)>;

/// An object of a body and the dotted name of where it stands.
pub struct Part<'a> {
    place: &'static str,
    object: Object<'a>,
}

impl<'a> Part<'a> {
    /// The whole body, whatever its content type says.
    ///
    /// # Errors
    /// When it is not one JSON object in UTF-8, or nests too deep.
    pub fn of_body(body: &'a [u8]) -> Taken<Self> {
        const BYTE_ORDER_MARK: char = '\u{feff}';
        let text = std::str::from_utf8(body)
            .map(|text| text.trim_start_matches(BYTE_ORDER_MARK))
            .map_err(|error| Unreadable(format!("not UTF-8 from byte {} on", error.valid_up_to())))?;
        let too_deep = || Unreadable("nests too deep".to_owned());
        if let Ok(valid) = serde_json::from_str(text) {
            let (mut document, depth) = Token::of_document(valid);
            if depth > MAX_DEPTH {
                return Err(too_deep());
            }
            if let Some(object) = document.object() {
                return Ok(Self { place: "", object });
            }
        }
        if is_too_deep(body) {
            return Err(too_deep());
        }
        match serde_json::from_str(text) {
            Ok(object) => Ok(Self { place: "", object }),
            Err(_) if text.trim().is_empty() => Err(Unreadable("the body is empty".to_owned())),
            Err(error) if error.is_data() => Err(Unreadable("the body is JSON but not an object".to_owned())),
            Err(error) => Err(Unreadable(format!("not JSON: {error}"))),
        }
    }

    /// An object inside this one, by the dotted name of where it stands; an empty one when there is none.
    pub fn part(&mut self, key: &str, place: &'static str) -> Part<'a> {
        let object = self.take_as(key, Token::object);
        Part { place, object: object.unwrap_or_default() }
    }

    /// Whether there is an object under this key.
    pub fn has_object(&self, key: &str) -> bool {
        self.object.peek(key).is_some_and(|token| token.get().starts_with('{'))
    }

    /// Takes what `read` can make something of; anything else stays where it is.
    fn take_as<T>(&mut self, key: &str, read: impl FnOnce(&mut Token<'a>) -> Option<T>) -> Option<T> {
        let mut token = self.object.take(key)?;
        let value = read(&mut token);
        if value.is_none() {
            self.object.put(key, token);
        }
        value
    }

    /// A string that is not empty.
    pub fn text(&mut self, key: &str) -> Option<Text> {
        self.take_as(key, |token| token.text()).filter(|text| !text.is_empty())
    }

    /// A word to compare: event, status, direction.
    pub fn word(&mut self, key: &str) -> Option<String> {
        self.text(key).map(|text| text.to_str().into_owned())
    }

    /// What `read` knows of a word. One that it does not know stays for `metadata`.
    pub fn known<T>(&mut self, key: &str, read: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        self.take_as(key, |token| read(&token.written()))
    }

    /// An identifier: a string, or a number with its digits as they were written.
    pub fn id(&mut self, key: &str) -> Option<Text> {
        self.text(key).or_else(|| self.number(key).map(|number| Text::from(number.get())))
    }

    /// An identifier without which the body says nothing.
    ///
    /// # Errors
    /// When it is missing, empty or no identifier.
    pub fn required_id(&mut self, key: &str) -> Taken<Text> {
        self.id(key).ok_or_else(|| Unreadable(format!("no `{}`", self.name(key))))
    }

    /// A phone number, normalised.
    pub fn phone(&mut self, key: &str) -> Option<Text> {
        let number = self.id(key)?;
        match std::str::from_utf8(number.as_bytes()) {
            Ok(written) => Some(Text::from(phone::normalise(written))).filter(|number| !number.is_empty()),
            Err(_) => Some(number),
        }
    }

    /// `true` or `false`.
    pub fn flag(&mut self, key: &str) -> Option<bool> {
        self.take_as(key, |token| serde_json::from_str(token.get()).ok())
    }

    /// A number, digits as sent.
    pub fn number(&mut self, key: &str) -> Option<Raw> {
        let is_number = |token: &str| token.starts_with(|first: char| first == '-' || first.is_ascii_digit());
        self.take_as(key, |token| is_number(token.get()).then(|| Raw::of(token)))
    }

    /// An object as it is.
    pub fn raw_object(&mut self, key: &str) -> Option<Raw> {
        self.take_as(key, |token| token.get().starts_with('{').then(|| Raw::of(token)))
    }

    /// An object or an array as it is.
    pub fn raw_container(&mut self, key: &str) -> Option<Raw> {
        self.take_as(key, |token| token.get().starts_with(['{', '[']).then(|| Raw::of(token)))
    }

    /// A length of time in seconds: a number, or a string of one.
    ///
    /// # Errors
    /// When it is negative, absurdly long, or no number.
    pub fn seconds(&mut self, key: &str) -> Taken<Option<Millis>> {
        self.scalar(key, "no duration in seconds", |written| {
            Millis::from_seconds(written.trim().parse().ok()?)
        })
    }

    /// A moment in any form that `Time::parse` reads.
    ///
    /// # Errors
    /// When it is none.
    pub fn time(&mut self, key: &str) -> Taken<Option<Time>> {
        self.scalar(key, "no point in time", |written| {
            Time::parse(written).or_else(|| epoch_with_fraction(written))
        })
    }

    fn scalar<T>(&mut self, key: &str, what: &str, read: impl FnOnce(&str) -> Option<T>) -> Taken<Option<T>> {
        let Some(token) = self.object.take(key) else { return Ok(None) };
        let written = token.written();
        if written.is_empty() {
            return Ok(None);
        }
        let unreadable = || Unreadable(format!("`{}` is `{}`: {what}", self.name(key), shortened(&written)));
        read(&written).map(Some).ok_or_else(unreadable)
    }

    /// The turns of a transcript array; `None` when it is empty or not an array of objects.
    pub fn turns(&mut self, key: &str) -> Option<Vec<Turn>> {
        let turns = self.take_as(key, Token::objects)?.into_iter().map(transcript::read_turn);
        Some(turns.collect::<Vec<_>>()).filter(|turns| !turns.is_empty())
    }

    /// Everything that is left, as free-form fields.
    pub fn into_fields(self) -> Fields {
        (&self.object).into()
    }

    /// Everything that is left, as one object; `None` when nothing is.
    pub fn into_raw(self) -> Option<Raw> {
        (!self.object.is_empty()).then(|| Raw::from_value(&Fields::from(&self.object)))
    }

    /// Everything that is left, to `metadata`: what is null or empty says nothing and is dropped.
    pub fn leave(self, leftovers: &mut Leftovers) {
        for (key, token) in self.object.rest() {
            if !matches!(token.get(), "null" | "\"\"" | "{}" | "[]") {
                leftovers.push((dotted(self.place, key.as_bytes()), Raw::of(token)));
            }
        }
    }

    fn name(&self, key: &str) -> Text {
        dotted(self.place, key.as_bytes())
    }
}

fn dotted(place: &str, key: &[u8]) -> Text {
    if place.is_empty() {
        return Text::from_bytes(key);
    }
    Text::from_bytes([place.as_bytes(), b".", key].concat())
}

/// Epoch seconds or milliseconds with a fraction: `1700000000.25`.
fn epoch_with_fraction(written: &str) -> Option<Time> {
    let (whole, fraction) = written.trim().split_once('.')?;
    let is_digits = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    (is_digits(whole) && is_digits(fraction)).then(|| Time::from_epoch(whole.parse().ok()?))?
}

/// Enough of a vendor's word to recognise it.
fn shortened(word: &str) -> String {
    const LONGEST: usize = 60;
    let mut short: String = word.chars().take(LONGEST).collect();
    if short.len() < word.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(body: &str) -> Part<'_> {
        Part::of_body(body.as_bytes()).ok().unwrap()
    }

    fn why(body: &[u8]) -> String {
        Part::of_body(body).err().unwrap().0
    }

    #[test]
    fn what_is_no_object_is_named() {
        assert_eq!(why(b"\"\xff\""), "not UTF-8 from byte 1 on");
        assert_eq!(why(b" "), "the body is empty");
        assert_eq!(why(b"[1]"), "the body is JSON but not an object");
        assert_eq!(why(b"\"x\""), "the body is JSON but not an object");
        assert!(why(b"{\"a\":").starts_with("not JSON: EOF"));
        assert!(why(b"event=call_ended").starts_with("not JSON: "));
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        assert_eq!(why(deep.as_bytes()), "nests too deep");
    }

    #[test]
    fn a_byte_order_mark_is_no_harm() {
        assert_eq!(part("\u{feff}{\"a\":\"b\"}").text("a"), Some(Text::from("b")));
    }

    #[test]
    fn ids_keep_their_digits() {
        let mut body = part(r#"{"a":25673,"b":"x","c":9007199254740993,"d":"","e":null,"f":true,"g":1.50}"#);
        let ids: Vec<_> =
            ["a", "b", "c", "d", "e", "f", "g"].map(|key| body.id(key).map(|id| id.to_string())).into();
        let expected = [Some("25673"), Some("x"), Some("9007199254740993"), None, None, None, Some("1.50")];
        assert_eq!(ids, expected.map(|id| id.map(str::to_owned)));
        assert_eq!(body.required_id("h"), Err(Unreadable("no `h`".to_owned())));
    }

    #[test]
    fn durations_are_numbers_or_strings_of_them() {
        let mut body =
            part(r#"{"a":245,"b":"245","c":1.5,"d":"","e":null,"f":-5,"g":"long","h":1e300,"i":[]}"#);
        for (key, expected) in
            [("a", Some(245_000)), ("b", Some(245_000)), ("c", Some(1_500)), ("d", None), ("e", None)]
        {
            assert_eq!(body.seconds(key), Ok(expected.map(Millis)), "{key}");
        }
        assert_eq!(body.seconds("f"), Err(Unreadable("`f` is `-5`: no duration in seconds".to_owned())));
        for key in ["g", "h", "i"] {
            assert!(body.seconds(key).is_err(), "{key}");
        }
    }

    #[test]
    fn times_are_whatever_vendors_write() {
        let mut body = part(
            r#"{"a":"2024-01-16T10:35:00Z","b":1705401300,"c":1705401300000,"d":"1705401300","e":1705401300.5,"f":"soon","g":-1.5,"h":""}"#,
        );
        let expected = Time::parse("2024-01-16T10:35:00Z");
        for key in ["a", "b", "c", "d", "e"] {
            assert_eq!(body.time(key), Ok(expected), "{key}");
        }
        assert_eq!(body.time("f"), Err(Unreadable("`f` is `soon`: no point in time".to_owned())));
        assert!(body.time("g").is_err());
        assert_eq!(body.time("h"), Ok(None));
    }

    #[test]
    fn what_is_of_another_kind_stays_for_metadata() {
        let mut body = part(
            r#"{"data":{"name":7,"phone":" +1-555-123-4567","more":{"x":1.0},"nothing":null,"none":{}},"list":[1]}"#,
        );
        let mut data = body.part("data", "data");
        assert_eq!(data.text("name"), None);
        assert_eq!(data.phone("phone"), Some(Text::from("+15551234567")));
        assert!(body.part("list", "list").into_raw().is_none());
        let mut left = Leftovers::new();
        data.leave(&mut left);
        body.leave(&mut left);
        let left: Fields = left.into_iter().collect();
        let expected = r#"{"data.more":{"x":1.0},"data.name":7,"list":[1]}"#;
        assert_eq!(serde_json::to_string(&left).unwrap(), expected);
    }

    #[test]
    fn handed_over_is_completed_with_a_mark() {
        assert_eq!(outcome("Transferred"), Some((Outcome::Completed, Some(true))));
        assert_eq!(outcome("no-answer"), Some((Outcome::NoAnswer, None)));
        assert_eq!(outcome("demo_scheduled"), None);
    }
}
