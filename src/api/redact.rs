//! Header values that may be credentials, made unreadable before they are shown.
//! Refuses to know where the headers come from.

/// What stands in place of a hidden value.
const HIDDEN: &str = "***";

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

/// By its name, whether a header carries a credential. A signature is none: it proves one body only.
fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["authorization", "cookie", "token", "secret", "password", "api-key", "apikey", "credential"]
        .iter()
        .any(|part| name.contains(part))
}

#[cfg(test)]
mod tests {
    use super::header;

    #[test]
    fn credentials_are_hidden_and_the_rest_is_not() {
        assert_eq!(header("Authorization", "Bearer abc def"), "Bearer ***");
        assert_eq!(header("x-api-key", "k1"), "***");
        assert_eq!(header("X-Auth-Token", "abc=1 2"), "***");
        assert_eq!(header("Webhook-Signature", "v1,abc"), "v1,abc");
        assert_eq!(header("X-Team", "sales one"), "sales one");
    }
}
