//! Text from vendors without loss: a string may hold half an emoji, which JSON can write as an escape and UTF-8 cannot.
//! This file refuses to know any dialect, and what else stands in a document.

use std::borrow::Cow;
use std::fmt;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

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
}
