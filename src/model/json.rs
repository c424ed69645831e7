//! JSON from vendors without loss: raw values, and free-form fields in their order.
//! `serde_json` judges what is JSON. This file refuses to know any dialect, and never rounds a number: digits are
//! kept as they were written (JavaScript's rounding lives in `dialect::js_json`).

use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use super::text::{Text, quote_wtf8};
use super::token::{Object, Token, end_of_string, last_of_each};

/// How deep a document may nest before it is quarantined; what V8 and PostgreSQL read without trouble.
pub const MAX_DEPTH: usize = 128;

/// Any JSON value as its source text: digits, repeated keys and half emoji included. Only the white space between
/// tokens is dropped, so that one value however indented is one value, and a line of a stream.
#[derive(Clone)]
pub struct Raw(Box<RawValue>);

impl Raw {
    /// The source text.
    pub fn get(&self) -> &str {
        self.0.get()
    }

    /// Keeps a borrowed token.
    pub fn of(token: &Token<'_>) -> Self {
        let compact = without_spaces(token.get()).unwrap_or_else(|| token.get().to_owned());
        Self(RawValue::from_string(compact).expect("a token is one JSON value"))
    }

    /// From JSON text; `None` when it is not one JSON value.
    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// From a string, a number or any other value that serialises.
    pub fn from_value(value: &impl Serialize) -> Self {
        Self(serde_json::value::to_raw_value(value).expect("plain values serialise"))
    }

    /// The text, when this is a JSON string.
    pub fn as_text(&self) -> Option<Text> {
        Token::from(&*self.0).text()
    }

    /// The object, when this is one.
    pub fn as_object(&self) -> Option<Object<'_>> {
        Token::from(&*self.0).object()
    }

    /// The number, when this is one that a float can hold.
    pub fn as_f64(&self) -> Option<f64> {
        serde_json::from_str(self.get()).ok()
    }
}

impl PartialEq for Raw {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl fmt::Debug for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.get())
    }
}

impl Serialize for Raw {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let token = Box::<RawValue>::deserialize(deserializer)?;
        match without_spaces(token.get()) {
            Some(compact) => RawValue::from_string(compact).map(Self).map_err(serde::de::Error::custom),
            None => Ok(Self(token)),
        }
    }
}

/// The text of an object or array without the white space between its tokens; `None` when there is none.
fn without_spaces(json: &str) -> Option<String> {
    if !json.starts_with(['{', '[']) {
        return None;
    }
    let (mut compact, mut kept_to, mut at) = (String::new(), 0, 0);
    let bytes = json.as_bytes();
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'"' => at = end_of_string(bytes, at + 1).0,
            b' ' | b'\t' | b'\n' | b'\r' => {
                compact.push_str(&json[kept_to..at]);
                at += 1;
                kept_to = at;
            }
            _ => at += 1,
        }
    }
    compact.push_str(&json[kept_to..]);
    (kept_to > 0).then_some(compact)
}

/// An ordered map of owned values: `variables`, `metadata`, whatever a vendor adds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fields(Vec<(Text, Raw)>);

impl Fields {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Raw> {
        self.0.iter().find(|(known, _)| known == key).map(|(_, value)| value)
    }

    /// Sets a key; a new one goes to the end.
    pub fn set(&mut self, key: Text, value: Raw) {
        match self.0.iter_mut().find(|(known, _)| *known == key) {
            Some(entry) => entry.1 = value,
            None => self.0.push((key, value)),
        }
    }

    /// Takes in other fields. `choose` sees key, known and said value, and says whether the said one stands.
    /// Linear also for objects of a hundred thousand keys.
    pub fn merge(&mut self, said: Self, mut choose: impl FnMut(&Text, Option<&Raw>, &Raw) -> bool) {
        let mut places: std::collections::HashMap<Text, usize> =
            self.0.iter().enumerate().map(|(place, (key, _))| (key.clone(), place)).collect();
        for (key, value) in said {
            let place = places.get(&key).copied();
            if !choose(&key, place.map(|place| &self.0[place].1), &value) {
                continue;
            }
            match place {
                Some(place) => self.0[place].1 = value,
                None => {
                    places.insert(key.clone(), self.0.len());
                    self.0.push((key, value));
                }
            }
        }
    }

    /// Takes a key out.
    pub fn remove(&mut self, key: &str) -> Option<Raw> {
        let at = self.0.iter().position(|(known, _)| known == key)?;
        Some(self.0.remove(at).1)
    }

    /// All entries, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&Text, &Raw)> {
        self.0.iter().map(|(key, value)| (key, value))
    }
}

impl FromIterator<(Text, Raw)> for Fields {
    fn from_iter<I: IntoIterator<Item = (Text, Raw)>>(entries: I) -> Self {
        Self(last_of_each(entries.into_iter().collect()))
    }
}

impl IntoIterator for Fields {
    type Item = (Text, Raw);
    type IntoIter = std::vec::IntoIter<(Text, Raw)>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl From<&Object<'_>> for Fields {
    fn from(object: &Object<'_>) -> Self {
        Self(object.rest().map(|(key, value)| (key, Raw::of(value))).collect())
    }
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // A key with half an emoji cannot be a `str`; the whole object is then written by hand.
        if self.0.iter().all(|(key, _)| std::str::from_utf8(key.as_bytes()).is_ok()) {
            let mut map = serializer.serialize_map(Some(self.0.len()))?;
            for (key, value) in &self.0 {
                map.serialize_entry(&*key.to_str(), value)?;
            }
            return map.end();
        }
        let entries: Vec<String> = self
            .0
            .iter()
            .map(|(key, value)| format!("{}:{}", quote_wtf8(key.as_bytes()), value.get()))
            .collect();
        RawValue::from_string(format!("{{{}}}", entries.join(",")))
            .map_err(serde::ser::Error::custom)?
            .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldsVisitor;
        impl<'de> Visitor<'de> for FieldsVisitor {
            type Value = Fields;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry::<Text, Raw>()? {
                    entries.push(entry);
                }
                Ok(entries.into_iter().collect())
            }
        }
        deserializer.deserialize_map(FieldsVisitor)
    }
}

/// Whether a document nests deeper than [`MAX_DEPTH`]. Looks at brackets outside strings only, so it is cheap
/// and safe to run before any parser.
pub fn is_too_deep(body: &[u8]) -> bool {
    // Counting is many times faster than following strings, and settles it for almost every body.
    // Runs short enough to count in a byte are counted many bytes at once.
    let opened = |run: &[u8]| run.iter().map(|byte| u8::from(matches!(byte, b'{' | b'['))).sum::<u8>();
    if body.chunks(255).map(|run| usize::from(opened(run))).sum::<usize>() <= MAX_DEPTH {
        return false;
    }
    let (mut depth, mut at) = (0usize, 0);
    while let Some(byte) = body.get(at) {
        at += 1;
        match byte {
            b'"' => at = end_of_string(body, at).0,
            b'{' | b'[' => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return true;
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_kept() {
        let fields: Fields =
            serde_json::from_str(r#"{"n":0.30,"big":12345678901234567890123,"huge":1e400}"#).unwrap();
        let back = serde_json::to_string(&fields).unwrap();
        assert_eq!(back, r#"{"n":0.30,"big":12345678901234567890123,"huge":1e400}"#);
    }

    #[test]
    fn white_space_between_tokens_is_dropped() {
        let pretty = "{\n  \"a b\" : [ 1.0 , \"x \\\" y\" ] ,\r\n\t\"c\":{ } }";
        let compact = r#"{"a b":[1.0,"x \" y"],"c":{}}"#;
        assert_eq!(Raw::parse(pretty).unwrap().get(), compact);
        assert_eq!(serde_json::from_str::<Raw>(pretty).unwrap().get(), compact);
        assert_eq!(Raw::parse(" \"a  b\" ").unwrap().get(), "\"a  b\"");
    }

    #[test]
    fn keys_may_be_broken_too() {
        let fields: Fields = serde_json::from_str(r#"{"\ud83d":1}"#).unwrap();
        assert_eq!(serde_json::to_string(&fields).unwrap(), r#"{"\ud83d":1}"#);
    }

    #[test]
    fn depth_counts_brackets_outside_strings() {
        let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(!is_too_deep(deep(MAX_DEPTH).as_bytes()));
        assert!(is_too_deep(deep(MAX_DEPTH + 1).as_bytes()));
        assert!(!is_too_deep(format!("\"{}\\\"{}\"", "[".repeat(999), "{".repeat(999)).as_bytes()));
    }
}
