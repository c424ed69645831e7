//! Text from vendors and callers as a terminal may be given it: every character that a terminal would obey in place of
//! printing is written as its JSON escape, `\u001b`. So a document of JSON stays the document that it is.
//! Does not know where the text comes from, and where it is printed.

use std::borrow::Cow;
use std::fmt::Write;

/// Text of several lines: all but the ends of its lines.
pub fn block(text: &str) -> Cow<'_, str> {
    escaped(text, |character| character != '\n' && is_obeyed(character))
}

/// Text that stands in a line of ours: the ends of its lines too, so that it makes up no line of its own.
pub fn line(text: &str) -> Cow<'_, str> {
    escaped(text, is_obeyed)
}

fn escaped(text: &str, is_escaped: impl Fn(char) -> bool) -> Cow<'_, str> {
    let Some(first) = text.find(&is_escaped) else { return Cow::Borrowed(text) };
    let mut out = String::with_capacity(text.len() + 16);
    out.push_str(&text[..first]);
    for character in text[first..].chars() {
        if is_escaped(character) {
            // Writing to a String cannot fail. All of them are below U+10000, where JSON has one escape for each.
            let _ = write!(out, "\\u{:04x}", u32::from(character));
        } else {
            out.push(character);
        }
    }
    Cow::Owned(out)
}

/// Whether a terminal does something with a character other than printing it: the control characters of C0 and C1, DEL,
/// what turns the direction of the text around, and what some take for the end of a line.
fn is_obeyed(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_written_out() {
        assert_eq!(line("a\u{1b}[31mred\u{7}\u{7f}"), "a\\u001b[31mred\\u0007\\u007f");
        assert_eq!(line("\u{9b}2J\u{85}\r\n\t"), "\\u009b2J\\u0085\\u000d\\u000a\\u0009");
        assert_eq!(
            line("\u{202e}txt.exe\u{2066}\u{2069}\u{200f}\u{2028}"),
            "\\u202etxt.exe\\u2066\\u2069\\u200f\\u2028"
        );
        assert_eq!(block("one\ntwo\r"), "one\ntwo\\u000d");
    }

    #[test]
    fn everything_else_is_left_alone() {
        for text in
            ["", "Jürgen Müller 😀 +49 30", "עברית", "日本語", "{\"a\": \"\\u001b\"}", "a\u{300}\u{200d}"]
        {
            assert!(matches!(line(text), Cow::Borrowed(same) if same == text), "{text}");
        }
    }

    #[test]
    fn a_document_stays_the_document_that_it_is() {
        let value = serde_json::json!({ "a\u{9b}": "b\u{1b}\u{7f}\u{202e}\n" });
        for text in [value.to_string(), format!("{value:#}")] {
            let printed = block(&text);
            assert!(!printed.contains(['\u{1b}', '\u{9b}', '\u{7f}', '\u{202e}']));
            assert_eq!(serde_json::from_str::<serde_json::Value>(&printed).unwrap(), value);
        }
    }
}
