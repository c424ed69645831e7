//! What may hold a credential, made unreadable before it is shown: values of headers, and values in the query of a URL.
//! And the way back: what a caller has read so and sends again is unchanged. Does not know what it belongs to.

/// What stands in place of a hidden value.
pub const HIDDEN: &str = "***";

/// The shortest credential in bytes that is looked for in what receivers say.
const SHORTEST_HIDDEN: usize = 8;

/// A URL with the values of its query hidden; a word that stands there without a name is a value too. What leads up to
/// them is shown.
pub fn url(url: &str) -> String {
    map_query_values(url, |_| HIDDEN)
}

/// What a receiver said, without the credentials that it repeats. What is shorter than [`SHORTEST_HIDDEN`] stays: it would
/// be found in words that have nothing to do with it.
pub fn echo(said: String, credentials: &[String]) -> String {
    let long = credentials.iter().filter(|credential| credential.len() >= SHORTEST_HIDDEN);
    long.fold(said, |said, credential| match said.contains(credential.as_str()) {
        true => said.replace(credential.as_str(), HIDDEN),
        false => said,
    })
}

/// Whether a value in the query of a URL stands for a hidden one.
pub fn hides_a_value(given: &str) -> bool {
    let mut is_hidden = false;
    map_query_values(given, |value| {
        is_hidden |= value == HIDDEN;
        value
    });
    is_hidden
}

/// Whether a header's value, as a caller gives it, is how the one that is there was shown: `***`, or `Bearer ***` as
/// earlier versions showed it.
pub fn is_hidden(given: &str, known: &str) -> bool {
    let Some(scheme) = given.strip_suffix(HIDDEN) else { return false };
    scheme.is_empty() || scheme.ends_with(' ') && known.starts_with(scheme)
}

fn map_query_values<'a>(url: &'a str, mut map: impl FnMut(&'a str) -> &'a str) -> String {
    let (before, fragment) = match url.find('#') {
        Some(at) => url.split_at(at),
        None => (url, ""),
    };
    let Some((path, query)) = before.split_once('?') else { return url.to_owned() };
    let mut mapped = format!("{path}?");
    for (place, part) in query.split('&').enumerate() {
        if place > 0 {
            mapped.push('&');
        }
        let value = match part.split_once('=') {
            Some((name, value)) => {
                mapped.push_str(name);
                mapped.push('=');
                value
            }
            None => part,
        };
        mapped.push_str(if value.is_empty() { "" } else { map(value) });
    }
    mapped + fragment
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_in_a_query_are_hidden_and_the_rest_is_not() {
        for (given, shown) in [
            ("https://a.example/hooks/7", "https://a.example/hooks/7"),
            ("https://a.example/h?token=s3cret&team=a#x", "https://a.example/h?token=***&team=***#x"),
            ("https://a.example/h?s3cret", "https://a.example/h?***"),
            ("https://a.example/h?a=&&b=c=d?e", "https://a.example/h?a=&&b=***"),
            ("https://a.example/h?", "https://a.example/h?"),
            ("https://a.example/h#?a=b", "https://a.example/h#?a=b"),
        ] {
            assert_eq!(url(given), shown);
            assert_eq!(url(shown), shown, "hidden once is hidden");
            assert_eq!(hides_a_value(shown), shown.contains(HIDDEN), "{shown}");
            assert!(!hides_a_value(given), "{given}");
        }
    }

    #[test]
    fn what_was_shown_is_known_again() {
        assert!(is_hidden("***", "abc") && is_hidden("Bearer ***", "Bearer abc"));
        assert!(!is_hidden("abc", "abc") && !is_hidden("Basic ***", "Bearer abc"));
        assert!(!is_hidden("a***", "abc") && !is_hidden("", "abc"));
    }

    #[test]
    fn what_a_receiver_repeats_of_a_credential_is_hidden() {
        let credentials = ["Bearer".to_owned(), "a-long-token".to_owned()];
        let said = r#"{"headers":{"authorization":"Bearer a-long-token"}}"#.to_owned();
        assert_eq!(echo(said, &credentials), r#"{"headers":{"authorization":"Bearer ***"}}"#);
        assert_eq!(echo("nothing".to_owned(), &credentials), "nothing");
    }
}
