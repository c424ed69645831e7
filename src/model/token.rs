//! Values as they stand in a document, found in one walk. `serde_json` says once what is JSON; after that no digit
//! and no literal needs to be looked at again, and the walk is little more than a search for the next quote.
//! It also finds what stands inside of objects, so that to take one object out of another reads nothing twice.
//! Refuses to judge: on text that is not JSON its answers mean nothing. Refuses to change a byte.

use std::borrow::Cow;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::text::{Text, join_surrogates};

/// How many objects inside each other are walked at once. Bodies of vendors have four; what is deeper is walked when
/// somebody asks, so that neither the stack nor the memory is a sender's to choose.
const WALKED_AT_ONCE: usize = 6;

/// A value of a document that is valid JSON: its source text without white space around it, and what is inside.
#[derive(Clone, Debug)]
pub struct Token<'a> {
    text: &'a str,
    inside: Inside<'a>,
}

#[derive(Clone, Debug)]
enum Inside<'a> {
    /// Neither members nor objects.
    Nothing,
    /// A string with a backslash in it.
    Escapes,
    /// The members of an object.
    Members(Object<'a>),
    /// The elements of an array, when all are objects.
    Objects(Vec<Object<'a>>),
    /// An object or an array so deep that nobody has looked.
    Unknown,
}

impl<'a> Token<'a> {
    /// The document, and how deep it nests.
    pub fn of_document(valid: &'a RawValue) -> (Self, usize) {
        let mut walk = Walk { json: valid.get(), at: 0, depth: 0, deepest: 0 };
        (walk.token(), walk.deepest)
    }

    /// The source text.
    pub fn get(&self) -> &'a str {
        self.text
    }

    /// The text, when this is a string.
    pub fn text(&self) -> Option<Text> {
        let quoted = self.quoted()?;
        if self.has_escapes() { serde_json::from_str(self.text).ok() } else { Some(Text::from(quoted)) }
    }

    /// A scalar as it was written: the text of a string (for reading only), or the token itself.
    pub fn written(&self) -> Cow<'a, str> {
        match self.quoted() {
            Some(_) if self.has_escapes() => {
                Cow::Owned(self.text().unwrap_or_default().to_str().into_owned())
            }
            Some(quoted) => Cow::Borrowed(quoted),
            None => Cow::Borrowed(self.text),
        }
    }

    /// Takes the members out, when this is an object. The source text stays.
    pub fn object(&mut self) -> Option<Object<'a>> {
        match self.known() {
            Inside::Members(object) => Some(std::mem::take(object)),
            _ => None,
        }
    }

    /// Takes the objects out, when this is an array of nothing else. The source text stays.
    pub fn objects(&mut self) -> Option<Vec<Object<'a>>> {
        match self.known() {
            Inside::Objects(objects) => Some(std::mem::take(objects)),
            _ => None,
        }
    }

    /// The elements, when this is an array.
    pub fn elements(&self) -> Option<Vec<Self>> {
        let mut walk = Walk { json: self.text, at: 1, depth: 0, deepest: 0 };
        let elements = std::iter::from_fn(|| walk.goes_on().then(|| walk.token()));
        self.text.starts_with('[').then(|| elements.collect())
    }

    fn known(&mut self) -> &mut Inside<'a> {
        if matches!(self.inside, Inside::Unknown) {
            *self = Walk { json: self.text, at: 0, depth: 0, deepest: 0 }.token();
        }
        &mut self.inside
    }

    fn quoted(&self) -> Option<&'a str> {
        self.text.strip_prefix('"')?.strip_suffix('"')
    }

    fn has_escapes(&self) -> bool {
        matches!(self.inside, Inside::Escapes)
    }
}

impl<'a> From<&'a RawValue> for Token<'a> {
    fn from(valid: &'a RawValue) -> Self {
        Self::of_document(valid).0
    }
}

/// An object as it stands in a body: keys in their order, a repeated key as JavaScript reads it (the last value
/// at the first one's place). Taking a value removes it, so what is left at the end is what nobody knew.
#[derive(Clone, Debug, Default)]
pub struct Object<'a>(Vec<(Key<'a>, Token<'a>)>);

/// A key in WTF-8, borrowed from the body unless it was escaped there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key<'a>(Cow<'a, [u8]>);

impl<'a> Object<'a> {
    /// Takes a value out; JSON `null` counts as absent.
    pub fn take(&mut self, key: &str) -> Option<Token<'a>> {
        let at = self.0.iter().position(|(known, _)| *known.0 == *key.as_bytes())?;
        let (_, value) = self.0.remove(at);
        (value.text != "null").then_some(value)
    }

    /// Looks at a value and leaves it where it is.
    pub fn peek(&self, key: &str) -> Option<&Token<'a>> {
        self.0.iter().find(|(known, _)| *known.0 == *key.as_bytes()).map(|(_, value)| value)
    }

    /// Puts a value back (or in): what turned out not to be of the expected kind is not lost.
    pub fn put(&mut self, key: &str, value: Token<'a>) {
        self.0.push((Key(Cow::Owned(key.as_bytes().to_vec())), value));
    }

    /// What is left, in order.
    pub fn rest(&self) -> impl Iterator<Item = (Text, &Token<'a>)> {
        self.0.iter().map(|(key, value)| (Text::from_bytes(&*key.0), value))
    }

    /// How much is left.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor;
        impl<'de> Visitor<'de> for ObjectVisitor {
            type Value = Object<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
                let mut entries = Vec::new();
                while let Some((key, value)) = map.next_entry::<Key<'de>, &'de RawValue>()? {
                    entries.push((key, value.into()));
                }
                Ok(Object(last_of_each(entries)))
            }
        }
        deserializer.deserialize_map(ObjectVisitor)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Key<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }
            fn visit_borrowed_bytes<E>(self, bytes: &'de [u8]) -> Result<Key<'de>, E> {
                Ok(Key(join_surrogates(bytes)))
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(join_surrogates(bytes).into_owned())))
            }
        }
        deserializer.deserialize_bytes(KeyVisitor)
    }
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

/// A place in a document, which moves forward.
struct Walk<'a> {
    json: &'a str,
    at: usize,
    /// How many brackets are open here.
    depth: usize,
    /// How many were open at once.
    deepest: usize,
}

impl<'a> Walk<'a> {
    /// Steps over the value that comes next.
    #[inline]
    fn token(&mut self) -> Token<'a> {
        let (start, json) = (self.at, self.json.as_bytes());
        let inside = match json.get(start) {
            Some(b'"') => {
                let has_escapes;
                (self.at, has_escapes) = end_of_string(json, start + 1);
                if has_escapes { Inside::Escapes } else { Inside::Nothing }
            }
            Some(b'{' | b'[') => self.container(),
            _ => {
                self.at = end_of_scalar(json, start);
                Inside::Nothing
            }
        };
        Token { text: &self.json[start..self.at], inside }
    }

    /// Steps over the key that comes next.
    #[inline]
    fn key(&mut self) -> Key<'a> {
        let start = self.at;
        let has_escapes;
        (self.at, has_escapes) = end_of_string(self.json.as_bytes(), start + 1);
        let quoted = &self.json[start..self.at];
        if has_escapes {
            let text: Text = serde_json::from_str(quoted).unwrap_or_default();
            return Key(Cow::Owned(text.as_bytes().to_vec()));
        }
        Key(Cow::Borrowed(&quoted.as_bytes()[1..quoted.len() - 1]))
    }

    /// Steps over an object or an array.
    fn container(&mut self) -> Inside<'a> {
        if self.depth >= WALKED_AT_ONCE {
            self.skip_container();
            Inside::Unknown
        } else if self.json.as_bytes()[self.at] == b'{' {
            Inside::Members(self.members())
        } else {
            self.elements()
        }
    }

    /// Steps over an object.
    fn members(&mut self) -> Object<'a> {
        self.open();
        let mut members = Vec::new();
        while self.goes_on() {
            let key = self.key();
            self.goes_on();
            members.push((key, self.token()));
        }
        self.depth -= 1;
        Object(last_of_each(members))
    }

    /// Steps over an array.
    fn elements(&mut self) -> Inside<'a> {
        self.open();
        let mut inside = Inside::Objects(Vec::new());
        while self.goes_on() {
            match (self.token().inside, &mut inside) {
                (Inside::Members(object), Inside::Objects(objects)) => objects.push(object),
                (Inside::Unknown, Inside::Objects(_) | Inside::Unknown) => inside = Inside::Unknown,
                _ => inside = Inside::Nothing,
            }
        }
        self.depth -= 1;
        inside
    }

    fn open(&mut self) {
        self.at += 1;
        self.depth += 1;
        self.deepest = self.deepest.max(self.depth);
    }

    /// Goes to the next key or value of the container that is open; past its end when there is none.
    fn goes_on(&mut self) -> bool {
        let json = self.json.as_bytes();
        // In valid JSON a comma or a colon says no more than the white space around it.
        while let Some(b',' | b':' | b' ' | b'\t' | b'\n' | b'\r') = json.get(self.at) {
            self.at += 1;
        }
        let ends = matches!(json.get(self.at), None | Some(b'}' | b']'));
        self.at += usize::from(ends && self.at < json.len());
        !ends
    }

    /// Steps over an object or array without looking what is in it, and without recursion.
    fn skip_container(&mut self) {
        let (outside, json) = (self.depth, self.json.as_bytes());
        while let Some(byte) = json.get(self.at) {
            match byte {
                b'"' => self.at = end_of_string(json, self.at + 1).0,
                b'{' | b'[' => self.open(),
                b'}' | b']' => {
                    (self.at, self.depth) = (self.at + 1, self.depth - 1);
                    if self.depth == outside {
                        return;
                    }
                }
                _ => self.at += 1,
            }
        }
    }
}

/// The place after a number or a literal that begins at `at`.
pub fn end_of_scalar(json: &[u8], at: usize) -> usize {
    let is_end = |byte: &u8| matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r');
    json[at..].iter().position(is_end).map_or(json.len(), |length| at + length)
}

/// For a string token whose first character is at `at`: the place after its closing quote, and whether anything
/// in it is escaped.
pub fn end_of_string(json: &[u8], mut at: usize) -> (usize, bool) {
    let mut has_escape = false;
    while let Some(length) = json.get(at..).and_then(quote_or_backslash) {
        at += length;
        if json[at] == b'"' {
            return (at + 1, has_escape);
        }
        has_escape = true;
        at += 2;
    }
    (json.len(), has_escape)
}

/// Where the first quote or backslash is. Eight bytes are compared at once: strings are short, and to call a longer
/// search costs more than it saves.
fn quote_or_backslash(text: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::MAX / 255;
    // The high bit of the first byte that equals `byte`, and perhaps of some after it.
    let equal_to = |byte: u8, word: u64| {
        let difference = word ^ (ONES * u64::from(byte));
        difference.wrapping_sub(ONES) & !difference & (ONES << 7)
    };
    let (words, rest) = text.as_chunks::<8>();
    for (place, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let found = equal_to(b'"', word) | equal_to(b'\\', word);
        if found != 0 {
            return Some(place * 8 + found.trailing_zeros() as usize / 8);
        }
    }
    let found = rest.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
    Some(text.len() - rest.len() + found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Fields;

    /// The object read in both ways: by the walk, and by `serde_json` member after member.
    fn objects(text: &str) -> [Object<'_>; 2] {
        let valid: &RawValue = serde_json::from_str(text).unwrap();
        [Token::from(valid).object().unwrap(), serde_json::from_str(text).unwrap()]
    }

    #[test]
    fn a_repeated_key_reads_as_in_javascript() {
        for mut body in objects(r#"{"a":1,"b":2,"a":3}"#) {
            let keys: Vec<String> =
                body.rest().map(|(key, value)| format!("{key}={}", value.get())).collect();
            assert_eq!(keys, ["a=3", "b=2"]);
            assert_eq!(body.take("a").unwrap().get(), "3");
            assert!(body.take("a").is_none());
        }
    }

    #[test]
    fn keys_of_a_body_are_read_like_texts() {
        for mut body in objects(r#"{"\ud83d":1,"\ud83d\ude00":2,"\u0061":3,"b":4,"a":5}"#) {
            assert_eq!(body.take("😀").unwrap().get(), "2");
            assert_eq!(body.take("a").unwrap().get(), "5");
            assert_eq!(serde_json::to_string(&Fields::from(&body)).unwrap(), r#"{"\ud83d":1,"b":4}"#);
        }
    }

    #[test]
    fn scalars_are_told_from_their_tokens() {
        for mut body in objects(
            r#"{"plain":"a","escaped":"\u0061\n","number":1.50,"list":[{"x":1}, {}],"mixed":[{},1],"none":[ ]}"#,
        ) {
            let mut token = |key| body.take(key).unwrap();
            assert_eq!(
                ["plain", "escaped", "number"].map(|key| token(key).written().into_owned()),
                ["a", "a\n", "1.50"]
            );
            let token = |key| serde_json::from_str::<&RawValue>(key).map(Token::from).unwrap();
            assert_eq!(token(r#""\u0061\n""#).text(), Some(Text::from("a\n")));
            assert_eq!(token("1.50").text(), None);
            let mut count = |key| body.take(key).unwrap().objects().map(|all| all.len());
            assert_eq!(["list", "mixed", "none"].map(&mut count), [Some(2), None, Some(0)]);
        }
    }

    #[test]
    fn what_is_deep_is_found_when_asked_for() {
        let levels = 4 * WALKED_AT_ONCE;
        let text = format!("{}[{{}}]{}", r#"{"a":[{"b":"#.repeat(levels), "}]}".repeat(levels));
        let (mut token, depth) = Token::of_document(serde_json::from_str(&text).unwrap());
        assert_eq!(depth, 3 * levels + 2);
        for _ in 0..levels {
            let mut inner = token.object().unwrap().take("a").unwrap().objects().unwrap();
            assert_eq!(inner.len(), 1);
            token = inner.remove(0).take("b").unwrap();
        }
        assert_eq!(token.objects().map(|all| all.len()), Some(1));
    }

    #[test]
    fn a_million_brackets_are_no_harm() {
        let text = format!("{}{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
        let (mut token, depth) = Token::of_document(serde_json::from_str(&text).unwrap());
        assert_eq!((depth, token.objects().map(|all| all.len())), (1_000_000, None));
    }

    #[test]
    fn a_string_ends_at_its_quote_wherever_that_is() {
        for length in 0..40 {
            for (before, after) in
                [(r"", r""), (r"\\", r"\\"), ("é\u{1f600}", "\u{a2}\u{dc}"), (r#"\""#, r#"\""#)]
            {
                let token = format!(r#""{before}{}{after}""#, "x".repeat(length));
                let json = format!(r#"{token}"\""#);
                let (end, has_escape) = end_of_string(json.as_bytes(), 1);
                assert_eq!((end, has_escape), (token.len(), token.contains('\\')), "{json}");
            }
        }
    }
}
