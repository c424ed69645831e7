//! Phone numbers, so that `+1-555-123-4567` and `+15551234567` are one number.
//! Knows the marks that people put between digits; refuses to guess a country.

/// The number without the marks between its digits. `00` at the front is `+`. What is no phone number (a SIP
/// address, `client:name`, a word) comes back trimmed and otherwise untouched.
pub fn normalise(number: &str) -> String {
    let number = number.trim();
    let is_mark = |c: char| matches!(c, ' ' | '-' | '.' | '(' | ')' | '/' | '\u{a0}' | '\u{2011}');
    let digits: String = number.chars().filter(|&c| !is_mark(c)).collect();
    let (plus, rest) = match digits.strip_prefix('+') {
        Some(rest) => ("+", rest),
        None => match digits.strip_prefix("00") {
            Some(rest) => ("+", rest),
            None => ("", digits.as_str()),
        },
    };
    if rest.is_empty() || !rest.bytes().all(|b| b.is_ascii_digit()) {
        return number.to_owned();
    }
    format!("{plus}{rest}")
}

#[cfg(test)]
mod tests {
    use super::normalise;

    #[test]
    fn one_number_however_written() {
        for written in ["+1-555-123-4567", "+15551234567", " +1 (555) 123.4567 ", "001 555 123 4567"] {
            assert_eq!(normalise(written), "+15551234567", "{written}");
        }
        assert_eq!(normalise("919876543210"), "919876543210");
    }

    #[test]
    fn what_is_no_number_stays() {
        for other in ["sip:alice@example.com", "client:alice", "anonymous", "", "+"] {
            assert_eq!(normalise(other), other);
        }
    }
}
