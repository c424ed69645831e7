//! Reads the fields of a request, and collects everything that is wrong before it answers.
//! Knows types and lengths; refuses to know what a field means. Never repeats a value: it may be a secret.

use std::ops::RangeInclusive;
use std::time::Duration;

use http::StatusCode;

use super::problem::{MOST_LISTED, Problem, WrongFields};
use crate::model::bounds::LONGEST_TEXT;
use crate::model::time;
use crate::model::{Object, Raw, Text, Time, Token};

/// A field that may be left out, set to `null`, or given.
#[derive(Clone, Debug, PartialEq)]
pub enum Given<T> {
    /// Left out, or given wrongly (which is on record then).
    Absent,
    /// `null`.
    Null,
    /// A value.
    Value(T),
}

impl<T> Given<T> {
    /// The value, if there is one.
    pub fn value(self) -> Option<T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Absent | Self::Null => None,
        }
    }

    /// What the field is after this request: left out, it stays; `null`, it is empty.
    pub fn over(self, current: Option<T>) -> Option<T> {
        match self {
            Self::Absent => current,
            Self::Null => None,
            Self::Value(value) => Some(value),
        }
    }

    /// The same for a field that has a default in place of emptiness.
    pub fn over_default(self, current: T, default: T) -> T {
        match self {
            Self::Absent => current,
            Self::Null => default,
            Self::Value(value) => value,
        }
    }
}

/// The fields of one request.
#[derive(Debug)]
pub struct Form<'a> {
    fields: Object<'a>,
    asked: Vec<&'static str>,
    errors: WrongFields,
}

impl<'a> Form<'a> {
    /// Opens a body. An empty one is an empty object.
    ///
    /// # Errors
    /// 400 when it is not one JSON object.
    pub fn read(body: &'a [u8]) -> Result<Self, Problem> {
        let body = if body.is_empty() { b"{}" } else { body };
        let fields = serde_json::from_slice(body).map_err(|error| {
            let detail = if error.is_data() {
                "The body must be a JSON object: {\"field\": value}.".to_owned()
            } else {
                format!("The body is not JSON: see line {}, column {}.", error.line(), error.column())
            };
            Problem::new(StatusCode::BAD_REQUEST, "malformed_json", detail)
        })?;
        Ok(Self { fields, asked: Vec::new(), errors: WrongFields::default() })
    }

    /// Whether nothing is wrong so far.
    pub fn is_fine(&self) -> bool {
        self.errors.is_empty()
    }

    /// Puts a wrong field on record.
    pub fn wrong(&mut self, field: impl Into<String>, code: &'static str, detail: impl Into<String>) {
        self.errors.push(field, code, detail);
    }

    /// A field as it stands.
    pub fn raw(&mut self, name: &'static str) -> Given<Token<'a>> {
        self.asked.push(name);
        let is_there = self.fields.peek(name).is_some();
        match self.fields.take(name) {
            Some(value) => Given::Value(value),
            None if is_there => Given::Null,
            None => Given::Absent,
        }
    }

    /// A field that has to be there.
    pub fn required<T>(&mut self, name: &str, given: Given<T>) -> Option<T> {
        let was_wrong = self.errors.lists(name);
        let value = given.value();
        if value.is_none() && !was_wrong {
            self.wrong(name, "missing", "Give this field a value.");
        }
        value
    }

    /// A text, neither empty nor endless.
    pub fn text(&mut self, name: &'static str) -> Given<Text> {
        self.read_as(name, "a text", |value| {
            let text: Text = serde_json::from_str(value.get()).ok()?;
            Some(text)
        })
        .checked(|text: &Text| {
            if text.is_empty() {
                self.wrong(name, "empty", "Give it at least one character, or leave it out.");
            } else if text.as_bytes().len() > LONGEST_TEXT {
                self.wrong(name, "too_long", format!("Shorten it to {LONGEST_TEXT} bytes."));
            } else {
                return true;
            }
            false
        })
    }

    /// A text without half characters.
    pub fn string(&mut self, name: &'static str) -> Given<String> {
        match self.text(name) {
            Given::Value(text) => match String::from_utf8(text.as_bytes().to_vec()) {
                Ok(text) => Given::Value(text),
                Err(_) => {
                    self.wrong(name, "not_unicode", "It holds half an emoji; write whole characters.");
                    Given::Absent
                }
            },
            Given::Null => Given::Null,
            Given::Absent => Given::Absent,
        }
    }

    /// `true` or `false`.
    pub fn boolean(&mut self, name: &'static str) -> Given<bool> {
        self.read_as(name, "true or false", |value| serde_json::from_str(value.get()).ok())
    }

    /// A number.
    pub fn number(&mut self, name: &'static str) -> Given<f64> {
        self.read_as(name, "a number", |value| serde_json::from_str(value.get()).ok())
    }

    /// A length of time within these bounds, in seconds; fractions are allowed.
    pub fn seconds(&mut self, name: &'static str, bounds: &RangeInclusive<Duration>) -> Given<Duration> {
        let given = self.number(name);
        let [least, most] = [bounds.start(), bounds.end()].map(Duration::as_secs_f64);
        self.convert(
            name,
            given,
            |seconds| duration(seconds, *bounds.end()).filter(|span| bounds.contains(span)),
            || format!("Give a number of seconds from {least} to {most}."),
        )
    }

    /// A whole number within these bounds.
    pub fn whole(&mut self, name: &'static str, bounds: RangeInclusive<u32>) -> Given<u32> {
        let given = self.number(name);
        let (least, most) = bounds.into_inner();
        let convert = |number: f64| {
            let is_whole = number.fract() == 0.0 && (f64::from(least)..=f64::from(most)).contains(&number);
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "checked to be within"
            )]
            is_whole.then_some(number as u32)
        };
        self.convert(name, given, convert, || format!("Give a whole number from {least} to {most}."))
    }

    /// The elements of a list, so many at the most: more are not even looked at.
    pub fn list(&mut self, name: &'static str, most: usize) -> Given<Vec<Token<'a>>> {
        self.read_as(name, "a list", |value| value.elements()).checked(|elements: &Vec<_>| {
            if elements.len() > most {
                let detail = format!("Give at most {most}; these are {}.", elements.len());
                self.wrong(name, "too_many", detail);
            }
            elements.len() <= most
        })
    }

    /// The entries of an object.
    pub fn object(&mut self, name: &'static str) -> Given<Object<'a>> {
        self.read_as(name, "an object", Token::object)
    }

    /// An object as it stands.
    pub fn raw_object(&mut self, name: &'static str) -> Given<Raw> {
        self.read_as(name, "an object", |value| Some(Raw::of(value)).filter(|raw| raw.as_object().is_some()))
    }

    /// A point in time.
    pub fn time(&mut self, name: &'static str) -> Given<Time> {
        let given = self.string(name);
        self.convert(
            name,
            given,
            |text| Time::parse(&text),
            || "Give a time as 2026-01-31T09:00:00Z.".to_owned(),
        )
    }

    /// Ends the reading of a shape that is not ours: whoever speaks it may say more than is known here.
    ///
    /// # Errors
    /// 422 with everything that is wrong.
    pub fn finish_leniently(self) -> Result<(), Problem> {
        if self.errors.is_empty() {
            return Ok(());
        }
        Err(Problem::of_fields(StatusCode::UNPROCESSABLE_ENTITY, self.errors))
    }

    /// Ends the reading: whatever is left was not asked for.
    ///
    /// # Errors
    /// 422 with everything that is wrong.
    pub fn finish(mut self) -> Result<(), Problem> {
        // To find what was meant costs more than to read it: only for those that are listed.
        for (name, _) in self.fields.rest().take(MOST_LISTED) {
            let name = name.to_str();
            self.errors.push(shorten(&name), "unknown_field", unknown_name(&name, &self.asked));
        }
        self.errors.count(self.fields.len().saturating_sub(MOST_LISTED));
        self.finish_leniently()
    }

    fn read_as<T>(
        &mut self,
        name: &'static str,
        what: &str,
        read: impl FnOnce(&mut Token<'a>) -> Option<T>,
    ) -> Given<T> {
        match self.raw(name) {
            Given::Value(mut token) => match read(&mut token) {
                Some(value) => Given::Value(value),
                None => {
                    self.wrong(name, "wrong_type", format!("Give {what}."));
                    Given::Absent
                }
            },
            Given::Null => Given::Null,
            Given::Absent => Given::Absent,
        }
    }

    fn convert<T, U>(
        &mut self,
        name: &'static str,
        given: Given<T>,
        convert: impl FnOnce(T) -> Option<U>,
        remedy: impl FnOnce() -> String,
    ) -> Given<U> {
        match given {
            Given::Value(value) => match convert(value) {
                Some(value) => Given::Value(value),
                None => {
                    self.wrong(name, "out_of_range", remedy());
                    Given::Absent
                }
            },
            Given::Null => Given::Null,
            Given::Absent => Given::Absent,
        }
    }
}

impl<T> Given<T> {
    fn checked(self, is_fine: impl FnOnce(&T) -> bool) -> Self {
        match self {
            Self::Value(value) if !is_fine(&value) => Self::Absent,
            other => other,
        }
    }
}

/// A length of time of so many seconds, from nothing to the longest.
pub fn duration(seconds: f64, longest: Duration) -> Option<Duration> {
    (0.0..=longest.as_secs_f64()).contains(&seconds).then(|| time::duration(seconds))
}

/// What to do about a name that nobody asked for.
pub fn unknown_name(name: &str, known: &[&'static str]) -> String {
    const SIMILAR: f64 = 0.8;
    let nearest = known
        .iter()
        .map(|known| (strsim::jaro_winkler(&shorten(name), known), known))
        .filter(|(similarity, _)| *similarity >= SIMILAR)
        .max_by(|(one, _), (other, _)| one.total_cmp(other));
    match nearest {
        Some((_, nearest)) => format!("There is no such field; did you mean \"{nearest}\"?"),
        None if known.is_empty() => "There is no such field; this request takes none.".to_owned(),
        None => format!("There is no such field; known are: {}.", known.join(", ")),
    }
}

/// A caller's name for something, short enough to be repeated.
pub fn shorten(name: &str) -> String {
    name.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::bounds::TIMEOUTS;

    #[test]
    fn every_wrong_field_is_named_once() {
        let mut form = Form::read(br#"{"url":7,"timout_seconds":3,"ordered":"yes","max":1.5}"#).unwrap();
        let given = form.text("url");
        form.required("url", given);
        form.boolean("ordered");
        form.seconds("timeout_seconds", &TIMEOUTS);
        form.whole("max", 1..=10);
        let given = form.text("dialect");
        form.required("dialect", given);
        let Err(problem) = form.finish() else { panic!("five mistakes") };
        let said = format!("{problem:?}");
        for (field, code) in [
            ("url", "wrong_type"),
            ("ordered", "wrong_type"),
            ("max", "out_of_range"),
            ("dialect", "missing"),
            ("timout_seconds", "unknown_field"),
        ] {
            assert_eq!(said.matches(&format!("field: \"{field}\", code: \"{code}\"")).count(), 1, "{said}");
        }
        assert!(said.contains("did you mean \\\"timeout_seconds\\\""), "{said}");
    }

    #[test]
    fn null_and_absent_differ() {
        let mut form = Form::read(br#"{"secret":null}"#).unwrap();
        assert_eq!(form.text("secret"), Given::Null);
        assert_eq!(form.text("name"), Given::Absent);
        form.finish().unwrap();
    }

    #[test]
    fn numbers_keep_to_their_bounds() {
        for (text, expected) in [
            ("1", Some(1000)),
            ("1.25", Some(1250)),
            ("300", Some(300_000)),
            ("0.999", None),
            ("0", None),
            ("-1", None),
            ("301", None),
        ] {
            let body = format!("{{\"timeout_seconds\":{text}}}");
            let mut form = Form::read(body.as_bytes()).unwrap();
            let given = form.seconds("timeout_seconds", &TIMEOUTS).value();
            assert_eq!(given.map(|span| span.as_millis()), expected, "{text}");
            assert_eq!(form.finish().is_ok(), expected.is_some(), "{text}");
        }
    }

    #[test]
    fn what_is_no_object_is_malformed() {
        for body in ["[]", "\"secret\"", "{", "nope", "{}{}", "{\"a\":\"\u{1}\"}"] {
            let Err(problem) = Form::read(body.as_bytes()) else { panic!("{body}") };
            let said = format!("{problem:?}");
            assert!(said.contains("malformed_json") && !said.contains("secret"), "{said}");
        }
    }
}
