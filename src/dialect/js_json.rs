//! What JavaScript makes of a JSON document: `JSON.stringify(JSON.parse(x))`, byte for byte.
//! Seeds 000, 002 and 003 tell receivers to verify over that form, so it is what we send and what we try second.
//! `serde_json` decides what is JSON. This file refuses to know any dialect.

use std::collections::HashMap;

use serde_json::value::RawValue;

use crate::model::json::is_too_deep;
use crate::model::text::{Text, quote_wtf8};
use crate::model::token::{end_of_scalar, end_of_string};

/// Why there is no JavaScript form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotJson {
    /// `JSON.parse` would throw too.
    #[error("not JSON: {0}")]
    Syntax(String),
    /// JavaScript would read it; we do not (`model::json::MAX_DEPTH`).
    #[error("nests too deep")]
    TooDeep,
}

/// `JSON.stringify(JSON.parse(json))`.
///
/// # Errors
/// When the bytes are not one JSON document in UTF-8, or nest too deep.
pub fn stringify_parse(json: &[u8]) -> Result<Vec<u8>, NotJson> {
    if is_too_deep(json) {
        return Err(NotJson::TooDeep);
    }
    let text = std::str::from_utf8(json).map_err(|error| NotJson::Syntax(error.to_string()))?;
    let document: &RawValue =
        serde_json::from_str(text).map_err(|error| NotJson::Syntax(error.to_string()))?;
    Ok(rewrite(document.get()))
}

/// An object that is still open: where its members start in the list of all open members.
struct Open {
    is_object: bool,
    first_member: usize,
}

/// Where a member stands in the output: `"key":value`.
#[derive(Clone, Copy)]
struct Member {
    start: usize,
    key_end: usize,
    end: usize,
}

impl Member {
    /// The key without its quotes. As the output is canonical, equal keys are equal bytes.
    fn key(self, out: &[u8]) -> &[u8] {
        &out[self.start + 1..self.key_end - 1]
    }
}

/// An object whose members JavaScript writes in another order, or not all.
struct Arranged {
    /// Where its opening brace is.
    opens: usize,
    /// Where its closing brace is.
    closes: usize,
    /// The members in JavaScript's order.
    members: Vec<Member>,
}

/// One pass over a document that is known to be valid, and one more where an object has to be arranged. Without recursion,
/// so depth costs nothing.
pub(super) fn rewrite(valid: &str) -> Vec<u8> {
    let source = valid.as_bytes();
    let mut out = Vec::with_capacity(source.len());
    let mut arranged: Vec<Arranged> = Vec::new();
    let mut open: Vec<Open> = Vec::new();
    let mut members: Vec<Member> = Vec::new();
    let mut is_key = false;
    let mut at = 0;
    while let Some(&byte) = source.get(at) {
        let start = at;
        at += 1;
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' => {}
            b':' => out.push(byte),
            b'{' | b'[' => {
                is_key = byte == b'{';
                open.push(Open { is_object: is_key, first_member: members.len() });
                out.push(byte);
            }
            b',' => {
                is_key = open.last().is_some_and(|container| container.is_object);
                if is_key {
                    end_member(&mut members, out.len());
                }
                out.push(byte);
            }
            b'}' | b']' => {
                if let Some(container) = open.pop()
                    && container.is_object
                    && members.len() > container.first_member
                {
                    end_member(&mut members, out.len());
                    let own = &members[container.first_member..];
                    if let Some(members) = arrange(&out, own) {
                        arranged.push(Arranged { opens: own[0].start - 1, closes: out.len(), members });
                    }
                    members.truncate(container.first_member);
                }
                is_key = false;
                out.push(byte);
            }
            b'"' => {
                let has_escape;
                (at, has_escape) = end_of_string(source, at);
                let start_out = out.len();
                write_string(&valid[start..at], has_escape, &mut out);
                if is_key {
                    members.push(Member { start: start_out, key_end: out.len(), end: out.len() });
                    is_key = false;
                }
            }
            b't' | b'f' | b'n' => {
                at = end_of_scalar(source, at);
                out.extend_from_slice(&source[start..at]);
            }
            _ => {
                at = end_of_scalar(source, at);
                write_number(&valid[start..at], &mut out);
            }
        }
    }
    if arranged.is_empty() { out } else { put_in_order(&out, arranged) }
}

fn end_member(members: &mut [Member], end: usize) {
    if let Some(last) = members.last_mut() {
        last.end = end;
    }
}

/// A string without escapes is already what QuoteJSONString writes; any other is read and quoted again.
fn write_string(token: &str, has_escape: bool, out: &mut Vec<u8>) {
    if has_escape && let Ok(text) = serde_json::from_str::<Text>(token) {
        out.extend_from_slice(quote_wtf8(text.as_bytes()).as_bytes());
    } else {
        out.extend_from_slice(token.as_bytes());
    }
}

/// Number::toString of ECMA-262; what overflows is Infinity, which `JSON.stringify` writes as `null`.
fn write_number(token: &str, out: &mut Vec<u8>) {
    const DIGITS_THAT_A_DOUBLE_KEEPS: usize = 15;
    let digits = token.strip_prefix('-').unwrap_or(token);
    let is_plain = digits.len() <= DIGITS_THAT_A_DOUBLE_KEEPS && digits.bytes().all(|b| b.is_ascii_digit());
    if is_plain && token != "-0" {
        out.extend_from_slice(token.as_bytes());
        return;
    }
    match token.parse::<f64>() {
        Ok(number) if number.is_finite() => {
            out.extend_from_slice(ryu_js::Buffer::new().format_finite(number).as_bytes());
        }
        _ => out.extend_from_slice(b"null"),
    }
}

/// The key as an array index, which JavaScript puts first: `0` to `4294967294` without leading zeros.
pub(super) fn array_index(key: &[u8]) -> Option<u32> {
    let is_canonical = match key {
        [b'0'] => true,
        [b'1'..=b'9', rest @ ..] => rest.len() <= 9 && rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    let index: u32 = is_canonical.then(|| std::str::from_utf8(key).ok()?.parse().ok())??;
    (index < u32::MAX).then_some(index)
}

/// The members of one object in JavaScript's order: array indices by number, then the others by first appearance; a
/// repeated key has its last value. `None` when that is how they stand.
fn arrange(out: &[u8], members: &[Member]) -> Option<Vec<Member>> {
    if !members.iter().any(|member| array_index(member.key(out)).is_some()) && !has_repeated_key(out, members)
    {
        return None;
    }
    let mut places: HashMap<&[u8], usize> = HashMap::with_capacity(members.len());
    let mut kept: Vec<Member> = Vec::with_capacity(members.len());
    for &member in members {
        let place = *places.entry(member.key(out)).or_insert(kept.len());
        match kept.get_mut(place) {
            Some(earlier) => *earlier = member,
            None => kept.push(member),
        }
    }
    kept.sort_by_key(|member| array_index(member.key(out)).map_or(u64::MAX, u64::from));
    let is_in_order = kept.len() == members.len()
        && kept.iter().zip(members).all(|(arranged, member)| arranged.start == member.start);
    (!is_in_order).then_some(kept)
}

/// What is still to be copied, last thing first.
enum Piece {
    Comma,
    Bytes { from: usize, to: usize },
}

/// Writes a document again with its objects in order. Every byte is copied once at most, however deep objects nest in each
/// other: to arrange each one where it stands would move what is inside once more for each level.
fn put_in_order(out: &[u8], mut arranged: Vec<Arranged>) -> Vec<u8> {
    arranged.sort_unstable_by_key(|object| object.opens);
    let mut written = Vec::with_capacity(out.len());
    let mut pieces = vec![Piece::Bytes { from: 0, to: out.len() }];
    while let Some(piece) = pieces.pop() {
        let Piece::Bytes { from, to } = piece else {
            written.push(b',');
            continue;
        };
        let next = arranged.partition_point(|object| object.opens < from);
        let Some(object) = arranged.get(next).filter(|object| object.opens < to) else {
            written.extend_from_slice(&out[from..to]);
            continue;
        };
        written.extend_from_slice(&out[from..=object.opens]);
        pieces.push(Piece::Bytes { from: object.closes, to });
        for (place, member) in object.members.iter().enumerate().rev() {
            pieces.push(Piece::Bytes { from: member.start, to: member.end });
            if place > 0 {
                pieces.push(Piece::Comma);
            }
        }
    }
    written
}

/// Small objects are compared pairwise; large ones through a set, so that no body makes this quadratic.
fn has_repeated_key(out: &[u8], members: &[Member]) -> bool {
    const SMALL: usize = 24;
    if members.len() <= SMALL {
        let is_repeated =
            |place: usize| members[..place].iter().any(|earlier| earlier.key(out) == members[place].key(out));
        return (1..members.len()).any(is_repeated);
    }
    let mut seen = std::collections::HashSet::with_capacity(members.len());
    !members.iter().all(|member| seen.insert(member.key(out)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::json::MAX_DEPTH;

    /// Expected values: printed by Node 20.
    #[test]
    fn node_prints_the_same() {
        for (document, expected) in [
            (
                r#"{"a":1.0,"b":-0,"c":1e21,"d":1e-7,"e":0.30,"f":1e400}"#,
                r#"{"a":1,"b":0,"c":1e+21,"d":1e-7,"e":0.3,"f":null}"#,
            ),
            (r#"{"id":9007199254740993}"#, r#"{"id":9007199254740992}"#),
            (
                r#"{"b":1,"2":2,"a":3,"1":4,"4294967294":5,"4294967295":6,"01":7}"#,
                r#"{"1":4,"2":2,"4294967294":5,"b":1,"a":3,"4294967295":6,"01":7}"#,
            ),
            (r#"{"a":1,"b":2,"a":3,"\u0061":4}"#, r#"{"a":4,"b":2}"#),
            (
                r#"{"1":{"1":1,"0":0},"0":[{"a":1,"a":2}],"1":{"9":1,"8":1}}"#,
                r#"{"0":[{"a":2}],"1":{"8":1,"9":1}}"#,
            ),
            (r#"{"__proto__":1,"__proto__":2}"#, r#"{"__proto__":2}"#),
            ("\"\\u2028\\/\\ud83d\\uDE00\\ud83d\\u0001\\u007f\"", "\"\u{2028}/😀\\ud83d\\u0001\u{7f}\""),
            (" [ 1 , { } , [ ] , true , null ] ", "[1,{},[],true,null]"),
            ("5e-324", "5e-324"),
            ("123456789012345680000", "123456789012345680000"),
        ] {
            let written = String::from_utf8(stringify_parse(document.as_bytes()).unwrap()).unwrap();
            assert_eq!(written, expected, "{document}");
            assert_eq!(stringify_parse(expected.as_bytes()).unwrap(), expected.as_bytes(), "fixed point");
        }
    }

    #[test]
    fn many_keys_are_arranged_as_few_are() {
        let pairs: Vec<String> = (0..100).rev().map(|n| format!("\"{n}\":{n}")).collect();
        let document = format!("{{\"x\":0,{},\"x\":1}}", pairs.join(","));
        let sorted: Vec<String> = (0..100).map(|n| format!("\"{n}\":{n}")).collect();
        let expected = format!("{{{},\"x\":1}}", sorted.join(","));
        assert_eq!(stringify_parse(document.as_bytes()).unwrap(), expected.as_bytes());
    }

    /// Objects that all have to be arranged, each in the one before it.
    #[test]
    fn nested_objects_are_arranged_at_every_level() {
        let nested = |levels: usize, open: &str, close: &str| {
            format!("{}\"x\"{}", open.repeat(levels), close.repeat(levels))
        };
        let document = nested(MAX_DEPTH, r#"{"b":1,"2":0,"1":"#, r#","b":2}"#);
        let expected = nested(MAX_DEPTH, r#"{"1":"#, r#","2":0,"b":2}"#);
        assert_eq!(stringify_parse(document.as_bytes()).unwrap(), expected.as_bytes());
    }

    #[test]
    fn what_json_parse_throws_on_has_no_form() {
        for document in
            ["", "{", "{\"a\":}", "01", "1.", ".5", "+1", "[1,]", "nul", "\"\t\"", "\"\\x\"", "{} {}", "NaN"]
        {
            assert!(matches!(stringify_parse(document.as_bytes()), Err(NotJson::Syntax(_))), "{document}");
        }
        assert!(matches!(stringify_parse(b"\"\xff\""), Err(NotJson::Syntax(_))));
        let deep = format!("{}{}", "[".repeat(129), "]".repeat(129));
        assert_eq!(stringify_parse(deep.as_bytes()), Err(NotJson::TooDeep));
    }
}
