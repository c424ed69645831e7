//! Whether a text names a person's number, however its digits are set: `+1-555-123-4567` names `+15551234567`.
//! Pure; refuses to guess a country, and to know whose text it is.

use super::phone;

/// The fewest digits that name one person: what has fewer is an extension, a service or a year.
const FEWEST: usize = 7;
/// The most digits of a number (ITU-T E.164 has 15), with room for a prefix to dial out.
const MOST: usize = 20;

/// A number to look for.
#[derive(Clone, PartialEq, Eq)]
pub struct Mention {
    number: String,
    /// What is looked for: the digits without a `+` in front, or an address (`sip:..`, `client:..`) as it stands.
    sought: Vec<u8>,
    is_number: bool,
}

impl std::fmt::Debug for Mention {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Mention(..)")
    }
}

impl Mention {
    /// A number as somebody wrote it; `None` when it could be anybody's: too few digits, or a word that is no address.
    pub fn of(written: &str) -> Option<Self> {
        let number = phone::normalise(written);
        let digits = number.strip_prefix('+').unwrap_or(&number);
        if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
            let fits = (FEWEST..=MOST).contains(&digits.len());
            let sought = digits.as_bytes().to_vec();
            return fits.then_some(Self { number, sought, is_number: true });
        }
        let is_address =
            number.len() >= FEWEST && number.contains([':', '@']) && !number.contains(['"', '\\']);
        let sought = number.as_bytes().to_vec();
        is_address.then_some(Self { number, sought, is_number: false })
    }

    /// The number, normalised.
    pub fn number(&self) -> &str {
        &self.number
    }

    /// Whether the text names it: all of its digits in their order with nothing but the marks between that people put
    /// there, and no further digit at either end.
    pub fn is_in(&self, text: &[u8]) -> bool {
        let first = self.sought[0];
        let mut at = 0;
        while let Some(found) = text[at..].iter().position(|&byte| byte == first) {
            at += found;
            if self.begins(text, at) && self.follows(text, at) {
                return true;
            }
            at += 1;
        }
        false
    }

    /// Whether a number or an address could begin here. `00` in front of a number is its `+`.
    fn begins(&self, text: &[u8], at: usize) -> bool {
        let before = &text[..at];
        if !self.is_number {
            return before.last().is_none_or(|byte| !byte.is_ascii_alphanumeric());
        }
        let before = before.strip_suffix(b"00").unwrap_or(before);
        before.last().is_none_or(|byte| !byte.is_ascii_digit())
    }

    fn follows(&self, text: &[u8], mut at: usize) -> bool {
        for (place, &wanted) in self.sought.iter().enumerate() {
            while place > 0 && self.is_number && text.get(at).is_some_and(|&byte| byte != wanted) {
                match mark_at(&text[at..]) {
                    0 => return false,
                    length => at += length,
                }
            }
            if text.get(at) != Some(&wanted) {
                return false;
            }
            at += 1;
        }
        text.get(at).is_none_or(|byte| match self.is_number {
            true => !byte.is_ascii_digit(),
            false => !byte.is_ascii_alphanumeric(),
        })
    }
}

/// The length of a mark that people put between digits; 0 when there is none. The same ones as in `model::phone`.
fn mark_at(text: &[u8]) -> usize {
    match text {
        [b' ' | b'-' | b'.' | b'(' | b')' | b'/', ..] => 1,
        [0xC2, 0xA0, ..] => 2,
        [0xE2, 0x80, 0x91, ..] => 3,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_found_however_it_is_set() {
        let number = Mention::of("+1-555-123-4567").unwrap();
        assert_eq!(number.number(), "+15551234567");
        for text in [
            "+15551234567",
            "15551234567",
            "call +1 (555) 123.4567 now",
            "2026-01-02 15551234567",
            "0015551234567",
            "tel:+1\u{a0}555\u{2011}123\u{2011}4567\"",
            r#"{"to":15551234567}"#,
            "%2B15551234567&x=1",
            "1 1 555 123 4567",
        ] {
            assert!(number.is_in(text.as_bytes()), "{text}");
        }
        for text in ["", "915551234567", "155512345678", "+1555 123 456", "1555123456x7", "5551234567"] {
            assert!(!number.is_in(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn addresses_are_found_whole() {
        let address = Mention::of("sip:alice@example.com").unwrap();
        assert!(address.is_in(br#"{"from":"sip:alice@example.com"}"#));
        for text in ["sip:alice@example.community", "xsip:alice@example.com", "sip:alice"] {
            assert!(!address.is_in(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn what_could_be_anybody_is_no_number() {
        for written in ["", "+", "112", "123456", "anonymous", "a:b", "123456789012345678901", "sip:\"x\"@y"]
        {
            assert_eq!(Mention::of(written), None, "{written}");
        }
        assert!(!format!("{:?}", Mention::of("5551234567")).contains("555"));
    }
}
