//! JSON from vendors without loss: raw values, text that may hold half an emoji, free-form fields in their order.
//! `serde_json` judges what is JSON. This file refuses to know any dialect, and never rounds a number: digits are
//! kept as they were written (JavaScript's rounding lives in `dialect::js_json`).

use std::borrow::Cow;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use super::token::{Object, Token, end_of_string};

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

/// A string as vendors send it: WTF-8, which is UTF-8 plus lone surrogates.
/// The few words that the house itself uses are not copied.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Text(Cow<'static, [u8]>);

impl Text {
    /// From WTF-8 bytes, for the store, which keeps them as bytes.
    pub fn from_bytes(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Cow::Owned(bytes.into()))
    }

    /// A word of the house.
    pub const fn known(word: &'static str) -> Self {
        Self(Cow::Borrowed(word.as_bytes()))
    }

    /// The WTF-8 bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// For reading only: a lone surrogate shows as U+FFFD.
    pub fn to_str(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(Cow::Owned(text.as_bytes().to_vec()))
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(Cow::Owned(text.into_bytes()))
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        *self.0 == *other.as_bytes()
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_str(), f)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_str())
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => RawValue::from_string(quote_wtf8(&self.0))
                .map_err(serde::ser::Error::custom)?
                .serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl Visitor<'_> for TextVisitor {
            type Value = Text;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_str<E>(self, text: &str) -> Result<Text, E> {
                Ok(Text::from(text))
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Text, E> {
                Ok(Text::from_bytes(join_surrogates(bytes)))
            }
        }
        // Asked for bytes, serde_json hands over lone surrogates in place of an error.
        deserializer.deserialize_bytes(TextVisitor)
    }
}

/// Whether `bytes[at..]` starts with the three bytes of a surrogate in WTF-8; its code unit if so.
fn surrogate_at(bytes: &[u8], at: usize) -> Option<u16> {
    match bytes.get(at..at + 3)? {
        [0xED, second @ 0xA0..=0xBF, third] => {
            Some(0xD000 | (u16::from(*second & 0x3F) << 6) | u16::from(*third & 0x3F))
        }
        _ => None,
    }
}

/// A high half directly before a low half is one character in JavaScript; write it as one.
pub(super) fn join_surrogates(bytes: &[u8]) -> Cow<'_, [u8]> {
    let pair_at = |at| match (surrogate_at(bytes, at), surrogate_at(bytes, at + 3)) {
        (Some(high @ 0xD800..=0xDBFF), Some(low @ 0xDC00..=0xDFFF)) => {
            char::from_u32(0x1_0000 + ((u32::from(high) - 0xD800) << 10) + (u32::from(low) - 0xDC00))
        }
        _ => None,
    };
    if std::str::from_utf8(bytes).is_ok() {
        return Cow::Borrowed(bytes);
    }
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        if let Some(character) = pair_at(at) {
            out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            at += 6;
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    Cow::Owned(out)
}

/// A JSON string token for WTF-8 bytes, escaped exactly as `JSON.stringify` does (ECMA-262 QuoteJSONString).
pub fn quote_wtf8(bytes: &[u8]) -> String {
    use fmt::Write;
    let mut out = String::with_capacity(bytes.len() + 2);
    out.push('"');
    let mut rest = bytes;
    while !rest.is_empty() {
        let valid = match std::str::from_utf8(rest) {
            Ok(all) => all,
            Err(error) => {
                std::str::from_utf8(&rest[..error.valid_up_to()]).expect("checked by the line above")
            }
        };
        for character in valid.chars() {
            match character {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\u{8}' => out.push_str("\\b"),
                '\u{c}' => out.push_str("\\f"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                control if control < ' ' => {
                    write!(out, "\\u{:04x}", u32::from(control)).expect("to a String")
                }
                other => out.push(other),
            }
        }
        rest = &rest[valid.len()..];
        if let Some(unit) = surrogate_at(rest, 0) {
            write!(out, "\\u{unit:04x}").expect("to a String");
            rest = &rest[3..];
        } else if !rest.is_empty() {
            out.push('\u{FFFD}');
            rest = &rest[1..];
        }
    }
    out.push('"');
    out
}

/// Keeps for each key the last value, at the place of the first. Small objects are compared pairwise; large
/// ones through a map, so that a hostile body cannot make this quadratic.
pub(super) fn last_of_each<K: Clone + Eq + std::hash::Hash, V>(entries: Vec<(K, V)>) -> Vec<(K, V)> {
    const SMALL: usize = 32;
    let is_repeated = |place: usize| entries[..place].iter().any(|(key, _)| *key == entries[place].0);
    if entries.len() <= SMALL && !(1..entries.len()).any(is_repeated) {
        return entries;
    }
    let mut places = std::collections::HashMap::new();
    let mut kept: Vec<(K, V)> = Vec::with_capacity(entries.len());
    let is_small = entries.len() <= SMALL;
    for (key, value) in entries {
        let place = if is_small {
            kept.iter().position(|(known, _)| *known == key)
        } else {
            places.get(&key).copied()
        };
        match place {
            Some(place) => kept[place].1 = value,
            None => {
                if !is_small {
                    places.insert(key.clone(), kept.len());
                }
                kept.push((key, value));
            }
        }
    }
    kept
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
    fn half_an_emoji_survives() {
        let text: Text = serde_json::from_str(r#""cut \ud83d off""#).unwrap();
        assert_eq!(serde_json::to_string(&text).unwrap(), r#""cut \ud83d off""#);
        assert_eq!(text.to_str(), "cut \u{FFFD}\u{FFFD}\u{FFFD} off");
    }

    #[test]
    fn a_whole_emoji_in_escapes_is_one_character() {
        let text: Text = serde_json::from_str(r#""\ud83d\ude00""#).unwrap();
        assert_eq!(text, Text::from("😀"));
        let mixed: Text = serde_json::from_str(r#""\ud83d\ud83d\ude00\ude00""#).unwrap();
        assert_eq!(serde_json::to_string(&mixed).unwrap(), "\"\\ud83d😀\\ude00\"");
    }

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
