//! Why a request does not verify, in words: what a door answers with nothing but 401, `postcall verify` explains.
//! Stricter than a door, which also takes what receivers written after the seeds would refuse (a missing `sha256=`, a
//! body that was written anew). Pure; refuses to read files and the clock.

use http::HeaderMap;
use serde::Serialize;

use crate::dialect::signature::HexSignature;
use crate::dialect::{
    self, Arrived, Dialect, Mismatch, Outgoing, Proof, aloro, dialgen, js_json, voicegenie,
};
use crate::model::secret::Credential;
use crate::model::{DialectName, Secret, Time};

/// What came of a check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnosis {
    /// Whether the request is proven, in the very form that the dialect's seed prints.
    pub ok: bool,
    /// The same for programs; does not change between versions.
    pub code: &'static str,
    /// What was found, in a sentence.
    pub why: String,
    /// What else to know or to look at.
    pub notes: Vec<String>,
}

impl Diagnosis {
    fn fine(why: impl Into<String>) -> Self {
        Self { ok: true, code: "ok", why: why.into(), notes: Vec::new() }
    }

    fn not(code: &'static str, why: impl Into<String>) -> Self {
        Self { ok: false, code, why: why.into(), notes: Vec::new() }
    }

    fn with(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }
}

/// Checks a request under one secret (a bearer token for air) and says what does not fit.
pub fn diagnose(name: DialectName, request: &Arrived<'_>, secret: &[u8], now: Time) -> Diagnosis {
    let dialect = dialect::get(name);
    if dialect.proof() == Proof::Unsigned {
        let why = format!("{name} signs nothing: there is nothing to check, the proof is the URL's token");
        return Diagnosis::fine(why);
    }
    let credential = credential(dialect, secret);
    match dialect.authenticate(request, &credential, now) {
        Ok(()) => match hex_signature(name) {
            Some(signature) => strictly(signature, request, &credential, now),
            None => Diagnosis::fine("the headers fit this body and secret"),
        },
        Err(Mismatch::Missing(header)) => missing(header, request.headers),
        Err(Mismatch::Malformed { header, why }) => malformed(request.headers, header, &why),
        Err(Mismatch::Stale(away)) => {
            let why = format!(
                "the signature is genuine, but its timestamp is {} seconds away from now; receivers allow 300",
                away.as_secs()
            );
            Diagnosis::not("stale", why)
                .with("to check a request that came earlier, give the time at which it came with --now")
        }
        Err(Mismatch::Wrong) if dialect.proof() == Proof::Bearer => {
            wrong_token(dialect, request, secret, now)
        }
        Err(Mismatch::Wrong) => wrong(dialect, request, secret, now),
    }
}

fn credential(dialect: &dyn Dialect, secret: &[u8]) -> Credential {
    match dialect.proof() {
        Proof::Bearer => Credential::of_bearer(Secret::new(secret)),
        _ => Credential::of_secret(Secret::new(secret)),
    }
}

fn hex_signature(name: DialectName) -> Option<HexSignature> {
    match name {
        DialectName::Voicegenie => Some(voicegenie::SIGNATURE),
        DialectName::Dialgen => Some(dialgen::SIGNATURE),
        DialectName::Aloro => Some(aloro::SIGNATURE),
        DialectName::Cllr | DialectName::Air | DialectName::Standard => None,
    }
}

/// A door lets it in; would a receiver that does no more than its seed prints?
fn strictly(signature: HexSignature, request: &Arrived<'_>, credential: &Credential, now: Time) -> Diagnosis {
    let given = text_of(request.headers, signature.header);
    let (prefix, digits) = given.rsplit_once('=').unwrap_or(("", &given));
    let outgoing = Outgoing { event_id: "", at: now, body: request.body };
    let expected = signature.sign(&outgoing, credential).map(|(_, value)| value);
    let expected = expected.as_ref().and_then(|value| value.to_str().ok()).unwrap_or_default();
    let written_anew = js_json::stringify_parse(request.body).ok().filter(|anew| anew != request.body);
    let difference = written_anew.as_deref().map(|anew| difference(request.body, anew));
    let header = signature.header;
    if !expected.to_ascii_lowercase().ends_with(&digits.to_ascii_lowercase()) {
        let why = format!(
            "the signature fits JSON.stringify(JSON.parse(body)), but not the body as it is: {}",
            difference.unwrap_or_default()
        );
        return Diagnosis::not("reserialised", why)
            .with(
                "if the sender signs the bytes that it sends, then something wrote the body anew on its way here: \
                 a proxy, a framework, an editor; capture the raw bytes",
            )
            .with("receivers that check JSON.stringify(req.body) accept this, and so do postcall's doors");
    }
    let accepts = "postcall's doors accept it all the same";
    if signature.has_prefix && prefix.is_empty() {
        let why = format!("the digits are right, but {header} lacks `sha256=` before them");
        return Diagnosis::not("prefix_missing", why).with(accepts);
    }
    if !signature.has_prefix && !prefix.is_empty() {
        let why =
            format!("the digits are right, but {header} has `{prefix}=` before them, where none belongs");
        return Diagnosis::not("prefix_unexpected", why).with(accepts);
    }
    if digits.bytes().any(|byte| byte.is_ascii_uppercase()) {
        let why =
            format!("the digits of {header} are right, but in upper case; receivers compare lower case");
        return Diagnosis::not("upper_case", why).with(accepts);
    }
    let fine = Diagnosis::fine(format!("{header} fits this body and secret"));
    match difference {
        Some(difference) => fine.with(format!(
            "a receiver that checks JSON.stringify(req.body) in place of the raw body refuses it: {difference}"
        )),
        None => fine,
    }
}

fn missing(header: &str, headers: &HeaderMap) -> Diagnosis {
    /// Which dialect signs in which header.
    const SIGNED_IN: [(&str, DialectName); 5] = [
        (voicegenie::SIGNATURE.header, DialectName::Voicegenie),
        (dialgen::SIGNATURE.header, DialectName::Dialgen),
        (aloro::SIGNATURE.header, DialectName::Aloro),
        ("webhook-signature", DialectName::Standard),
        ("Authorization", DialectName::Air),
    ];
    let diagnosis = Diagnosis::not("header_missing", format!("the header {header} is missing"));
    match SIGNED_IN.iter().find(|(other, _)| headers.contains_key(*other)) {
        Some((other, dialect)) => {
            diagnosis.with(format!("there is {other}: is it {dialect}? Then say --dialect {dialect}"))
        }
        None => diagnosis.with("proxies and serverless gateways drop headers; look at what came in first"),
    }
}

fn malformed(headers: &HeaderMap, header: &str, why: &str) -> Diagnosis {
    let diagnosis = Diagnosis::not("header_malformed", format!("the header {header} {why}"));
    let given = text_of(headers, header);
    let digits = given.rsplit_once('=').filter(|(_, after)| !after.is_empty()).map_or(&*given, |(_, d)| d);
    let is_base64 = data_encoding::BASE64.decode(given.as_bytes()).is_ok_and(|bytes| bytes.len() == 32);
    if is_base64 {
        diagnosis.with("it reads as base64 of a SHA-256; this dialect writes 64 hex digits")
    } else if digits.len() == 40 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        diagnosis.with("40 hex digits are a SHA-1; this dialect signs with SHA-256")
    } else {
        diagnosis
    }
}

/// Nothing fits: try what commonly goes wrong between a sender and whoever captured its request.
fn wrong(dialect: &dyn Dialect, request: &Arrived<'_>, secret: &[u8], now: Time) -> Diagnosis {
    let fits = |body: &[u8], secret: &[u8]| {
        let request = Arrived::new(request.headers, body, request.work);
        let checked = dialect.authenticate(&request, &credential(dialect, secret), now);
        matches!(checked, Ok(()) | Err(Mismatch::Stale(_)))
    };
    if let Some((what, _)) = other_bodies(request.body).into_iter().find(|(_, body)| fits(body, secret)) {
        let why = format!("the signature fits, but not this body: {what}");
        return Diagnosis::not("body_changed", why)
            .with("capture the body byte for byte, as in `curl --data-binary @body.json`");
    }
    if let Some((what, _)) = other_secrets(secret).into_iter().find(|(_, other)| fits(request.body, other)) {
        return Diagnosis::not("secret_form", format!("the signature fits, but not this secret: {what}"));
    }
    let why = "the signature is well formed and fits neither this body nor its re-serialised form: the secret is \
               another one, or the body was changed after it was signed";
    let diagnosis = Diagnosis::not("wrong_secret", why);
    match js_json::stringify_parse(request.body) {
        Err(error) => diagnosis.with(format!("the body is {error}; is it whole?")),
        Ok(anew) if anew != request.body => diagnosis.with(format!(
            "this is not how JavaScript writes this body, so it may have been reformatted: {}",
            difference(request.body, &anew)
        )),
        Ok(_) => diagnosis,
    }
}

fn wrong_token(dialect: &dyn Dialect, request: &Arrived<'_>, secret: &[u8], now: Time) -> Diagnosis {
    let trimmed = secret.trim_ascii();
    if trimmed != secret && dialect.authenticate(request, &credential(dialect, trimmed), now).is_ok() {
        return Diagnosis::not("secret_form", "the token fits without the blanks around the one given here");
    }
    let given = text_of(request.headers, "Authorization");
    let length = given.split_once(' ').map_or(0, |(_, token)| token.trim().len());
    let why = format!(
        "the bearer token is another one: the request's has {length} characters, the one given here {}",
        secret.len()
    );
    Diagnosis::not("wrong_secret", why)
}

/// What a body may have been before it was captured.
fn other_bodies(body: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut others = Vec::new();
    let mut suspect = |what, other: &[u8]| {
        if other != body {
            others.push((what, other.to_vec()));
        }
    };
    suspect("it ends with a line break that was not signed", trim_line_break(body));
    suspect("a line break at its end was signed and is lost", &[body, b"\n"].concat());
    suspect("it begins with a byte order mark that was not signed", without_mark(body));
    suspect(
        "its line breaks were LF and are CRLF now",
        &String::from_utf8_lossy(body).replace("\r\n", "\n").into_bytes(),
    );
    suspect("an empty body was signed: the sender signs before it has one", b"");
    if let Ok(anew) = js_json::stringify_parse(body) {
        suspect("what was signed is JSON.stringify(JSON.parse(body)); it was reformatted since", &anew);
    }
    others
}

/// What a secret may be to its sender.
fn other_secrets(secret: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut others = vec![
        ("there are blanks around it that do not belong to it", secret.trim_ascii().to_vec()),
        ("it needs `whsec_` before it", [b"whsec_", secret].concat()),
        ("`whsec_` does not belong to it", secret.strip_prefix(b"whsec_").unwrap_or(secret).to_vec()),
    ];
    others.retain(|(_, other)| other != secret);
    if let Ok(bytes) = data_encoding::HEXLOWER_PERMISSIVE.decode(secret) {
        others.push(("its sender takes it as hex and signs with the bytes", bytes));
    }
    if let Ok(bytes) = data_encoding::BASE64.decode(secret) {
        others.push(("its sender takes it as base64 and signs with the bytes", bytes));
    }
    others
}

fn trim_line_break(body: &[u8]) -> &[u8] {
    let body = body.strip_suffix(b"\n").unwrap_or(body);
    body.strip_suffix(b"\r").unwrap_or(body)
}

fn without_mark(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body)
}

fn text_of(headers: &HeaderMap, name: &str) -> String {
    let value = headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    value.unwrap_or_default().trim().to_owned()
}

/// Where two bodies part: ``at byte 17 it has `0.30}` where JavaScript writes `0.3}` ``.
fn difference(body: &[u8], anew: &[u8]) -> String {
    const SHOWN: usize = 16;
    const BEFORE: usize = 6;
    let at = body.iter().zip(anew).take_while(|(one, other)| one == other).count();
    let shown = |bytes: &[u8]| {
        let from = at.saturating_sub(BEFORE).min(bytes.len());
        let to = (at + SHOWN).min(bytes.len());
        let text = String::from_utf8_lossy(&bytes[from..to]);
        format!("`{}`", text.replace('\n', "\\n").replace('\r', "\\r").replace('\t', "\\t"))
    };
    format!("at byte {at} it has {} where JavaScript writes {}", shown(body), shown(anew))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::Work;
    use http::{HeaderName, HeaderValue};

    /// Computed with Python's hmac.
    const ALORO: &str = r#"{"event":"call.ended","test":true,"data":{"call":{"id":"test_call_123"}}}"#;
    const ALORO_DIGITS: &str = "c6362a2b5a13bec3ddc64da87c06962ef2e0f6cd55cc5346166a8aa22f5c450b";
    const DIALGEN: &str =
        r#"{"success":true,"callData":{"id":"call_test_123","status":"COMPLETED","duration":180}}"#;
    const DIALGEN_DIGITS: &str = "dcdf48490d9316b720960d7e6469d31c9652dcc6bf489133759ce16e43977820";

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap())
            })
            .collect()
    }

    fn check(name: DialectName, pairs: &[(&str, &str)], body: &[u8], secret: &str) -> Diagnosis {
        let headers = headers(pairs);
        let now = Time::parse("2025-01-01T00:00:00Z").unwrap();
        diagnose(name, &Arrived::new(&headers, body, &Work::default()), secret.as_bytes(), now)
    }

    fn aloro(value: &str, body: &str, secret: &str) -> Diagnosis {
        check(DialectName::Aloro, &[("X-Aloro-Signature", value)], body.as_bytes(), secret)
    }

    fn dialgen(value: &str, body: &[u8], secret: &str) -> Diagnosis {
        check(DialectName::Dialgen, &[("x-dialgen-signature", value)], body, secret)
    }

    #[test]
    fn what_fits_is_fine() {
        assert_eq!(aloro(&format!("sha256={ALORO_DIGITS}"), ALORO, "aloro_test").code, "ok");
        assert_eq!(dialgen(DIALGEN_DIGITS, DIALGEN.as_bytes(), "dialgen_test").code, "ok");
        assert_eq!(check(DialectName::Cllr, &[], b"{}", "").code, "ok");
        let token = [("Authorization", "Bearer sixteen-letters-1")];
        assert_eq!(check(DialectName::Air, &token, b"{}", "sixteen-letters-1").code, "ok");
    }

    #[test]
    fn prefixes_belong_where_the_seed_prints_them() {
        assert_eq!(aloro(ALORO_DIGITS, ALORO, "aloro_test").code, "prefix_missing");
        let prefixed = format!("sha256={DIALGEN_DIGITS}");
        assert_eq!(dialgen(&prefixed, DIALGEN.as_bytes(), "dialgen_test").code, "prefix_unexpected");
        let upper = DIALGEN_DIGITS.to_ascii_uppercase();
        assert_eq!(dialgen(&upper, DIALGEN.as_bytes(), "dialgen_test").code, "upper_case");
    }

    #[test]
    fn headers_that_are_missing_or_no_signatures_are_named() {
        let none = check(DialectName::Voicegenie, &[("x-dialgen-signature", "00")], b"{}", "s");
        assert_eq!(none.code, "header_missing");
        assert!(none.why.contains("X-Webhook-Signature"), "{none:?}");
        assert!(none.notes[0].contains("--dialect dialgen"), "{none:?}");
        let short = dialgen(&DIALGEN_DIGITS[..40], DIALGEN.as_bytes(), "dialgen_test");
        assert_eq!(short.code, "header_malformed");
        assert!(short.why.contains("40 hex digits"), "{short:?}");
        assert!(short.notes[0].contains("SHA-1"), "{short:?}");
        let base64 =
            dialgen("3N9ISQ2TFrcglg1+ZGnTHJZS3Ma/SJEzdZzhbkOXeCA=", DIALGEN.as_bytes(), "dialgen_test");
        assert_eq!(base64.code, "header_malformed");
        assert!(base64.notes[0].contains("base64"), "{base64:?}");
    }

    /// What was signed is the compact body; what is looked at was pretty-printed, or has digits that JavaScript drops.
    #[test]
    fn a_body_that_was_written_anew_is_told_from_a_wrong_secret() {
        let anew = DIALGEN.replace("180", "180.0");
        let found = dialgen(DIALGEN_DIGITS, anew.as_bytes(), "dialgen_test");
        assert_eq!(found.code, "reserialised");
        assert!(found.why.contains("180.0}}` where JavaScript writes `"), "{found:?}");
        let pretty = DIALGEN.replace(':', ": ").replace(',', ",\n");
        assert_eq!(dialgen(DIALGEN_DIGITS, pretty.as_bytes(), "dialgen_test").code, "reserialised");
        let wrong = dialgen(DIALGEN_DIGITS, pretty.as_bytes(), "another");
        assert_eq!(wrong.code, "wrong_secret");
        assert!(wrong.notes[0].contains("not how JavaScript writes"), "{wrong:?}");
    }

    /// The digits here and below: computed with Python's hmac.
    #[test]
    fn a_genuine_body_that_javascript_writes_otherwise_is_fine_with_a_note() {
        let digits = "b3a75534cc00698dec2419e5b5a1df1331cfda1828b151cb5a6e7f28e5a83421";
        let found = dialgen(digits, br#"{"a":0.30}"#, "s");
        assert_eq!(found.code, "ok");
        assert!(found.notes[0].contains("0.30}` where JavaScript writes"), "{found:?}");
    }

    #[test]
    fn standard_webhooks_are_checked_to_the_second() {
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let signed = [
            ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
            ("webhook-timestamp", "1614265330"),
            ("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
        ];
        let headers = headers(&signed);
        let check = |body: &str, secret: &str, now: i64| {
            let work = Work::default();
            let request = Arrived::new(&headers, body.as_bytes(), &work);
            diagnose(DialectName::Standard, &request, secret.as_bytes(), Time::from_seconds(now).unwrap())
                .code
        };
        let body = r#"{"test": 2432232314}"#;
        assert_eq!(check(body, secret, 1_614_265_630), "ok");
        assert_eq!(check(body, secret, 1_614_265_631), "stale");
        assert_eq!(check(body, &secret[6..], 1_614_265_330), "secret_form");
        assert_eq!(check(&format!("{body}\n"), secret, 1_614_265_330), "body_changed");
        assert_eq!(check("{}", secret, 1_614_265_330), "wrong_secret");
    }

    #[test]
    fn what_commonly_goes_wrong_is_found() {
        let cut = "{\"callData\":";
        let torn = dialgen(DIALGEN_DIGITS, cut.as_bytes(), "dialgen_test");
        assert_eq!(torn.code, "wrong_secret");
        assert!(torn.notes[0].contains("is it whole?"), "{torn:?}");
        let blanks = dialgen(DIALGEN_DIGITS, DIALGEN.as_bytes(), "dialgen_test\n");
        assert_eq!(blanks.code, "secret_form");
        let without_line_break = "198c11b9ee76004c4124cb959108df11e8bd2eee8b6acdc52f3967e92f508c4d";
        assert_eq!(dialgen(without_line_break, b"not json\n", "s").code, "body_changed");
        let empty = "64eca07cce67929c357d63d0a4aec207e774800403298914fc04e88ce02ac49f";
        assert!(dialgen(empty, b"{}", "s").why.contains("an empty body was signed"));
        let under_bytes = "863e3f49b02504a15c1b6c210431edfbb0a758f1ecdcfa1c67b6668649be3dc4";
        assert!(dialgen(under_bytes, br#"{"a":1}"#, "00ff10").why.contains("as hex"));
        let token = [("Authorization", "Bearer sixteen-letters-1")];
        assert_eq!(check(DialectName::Air, &token, b"{}", "sixteen-letters-2").code, "wrong_secret");
        assert_eq!(check(DialectName::Air, &token, b"{}", " sixteen-letters-1").code, "secret_form");
    }
}
