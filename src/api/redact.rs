//! Header values that may be credentials, made unreadable before they are shown.
//! Refuses to know where the headers come from.

/// What stands in place of a hidden value.
pub const HIDDEN: &str = "***";

/// The shortest credential in bytes that is looked for in what receivers say.
const SHORTEST_HIDDEN: usize = 8;

/// The value as it may be shown: of a credential only its scheme is left.
pub fn header(name: &str, value: &str) -> String {
    if !is_secret(name) {
        return value.to_owned();
    }
    match value.split_once(' ') {
        Some((scheme, _)) if scheme.bytes().all(|byte| byte.is_ascii_alphabetic()) => {
            format!("{scheme} {HIDDEN}")
        }
        _ => HIDDEN.to_owned(),
    }
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

/// By its name, whether a header carries a credential. A signature is none: it proves one body only.
fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["authorization", "cookie", "token", "secret", "password", "api-key", "apikey", "credential"]
        .iter()
        .any(|part| name.contains(part))
}

#[cfg(test)]
mod tests {
    use super::{echo, header};

    #[test]
    fn credentials_are_hidden_and_the_rest_is_not() {
        assert_eq!(header("Authorization", "Bearer abc def"), "Bearer ***");
        assert_eq!(header("x-api-key", "k1"), "***");
        assert_eq!(header("X-Auth-Token", "abc=1 2"), "***");
        assert_eq!(header("Webhook-Signature", "v1,abc"), "v1,abc");
        assert_eq!(header("X-Team", "sales one"), "sales one");
    }

    #[test]
    fn what_a_receiver_repeats_of_a_credential_is_hidden() {
        let credentials = ["Bearer".to_owned(), "a-long-token".to_owned()];
        let said = r#"{"headers":{"authorization":"Bearer a-long-token"}}"#.to_owned();
        assert_eq!(echo(said, &credentials), r#"{"headers":{"authorization":"Bearer ***"}}"#);
        assert_eq!(echo("nothing".to_owned(), &credentials), "nothing");
    }
}
