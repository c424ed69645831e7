//! Runs the conformance vectors of `vectors/<dialect>/*.json` (format in `vectors/README.md`).
//! Knows the format; refuses to know any dialect.

use std::path::Path;
use std::sync::Arc;

use data_encoding::BASE64;
use http::{HeaderMap, HeaderName, HeaderValue};
use postcall::dialect::{self, Arrived, Dialect, Links, Outgoing, Reading, Work};
use postcall::model::endpoint::Shape;
use postcall::model::event::{Heard, HeardCall};
use postcall::model::secret::{Credential, DatedSecret};
use postcall::model::{Call, DialectName, Event, EventBody, EventType, Object, Raw, Secret, Stage, Time};

/// A JSON object of a vector, digits and half emoji as they stand there.
struct Case<'a>(Object<'a>);

impl<'a> Case<'a> {
    fn raw(&self, key: &str) -> Option<&'a str> {
        self.0.peek(key).map(|token| token.get()).filter(|token| *token != "null")
    }

    fn text(&self, key: &str) -> Option<String> {
        self.raw(key).map(|token| serde_json::from_str(token).unwrap_or_else(|e| panic!("{key}: {e}")))
    }

    fn time(&self, key: &str) -> Option<Time> {
        self.text(key).map(|text| Time::parse(&text).expect("a time"))
    }

    fn object(&self, key: &str) -> Option<Case<'a>> {
        self.raw(key).map(case)
    }
}

fn case(text: &str) -> Case<'_> {
    Case(serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}")))
}

/// Whether two JSON texts say the same: members in any order, numbers by their digits.
fn is_same(left: &str, right: &str) -> bool {
    let (left, right) = (Raw::parse(left).expect("JSON"), Raw::parse(right).expect("JSON"));
    if let (Some(left), Some(mut right)) = (left.as_object(), right.as_object()) {
        let is_in_both = left.rest().all(|(key, value)| {
            let other = right.peek(&key.to_str()).map(|other| is_same(value.get(), other.get()));
            right.take(&key.to_str());
            other == Some(true)
        });
        return is_in_both && right.is_empty();
    }
    let elements = |raw: &Raw| serde_json::from_str::<Vec<Raw>>(raw.get()).ok();
    if let (Some(left), Some(right)) = (elements(&left), elements(&right)) {
        let mut pairs = left.iter().zip(&right);
        return left.len() == right.len() && pairs.all(|(l, r)| is_same(l.get(), r.get()));
    }
    match (left.as_text(), right.as_text()) {
        (Some(left), Some(right)) => left == right,
        _ => left == right,
    }
}

fn credential(case: &Case<'_>) -> Credential {
    let secrets: Vec<String> =
        case.raw("secrets").map(|s| serde_json::from_str(s).unwrap()).unwrap_or_default();
    // The newest comes first in a vector and signs; a credential has the oldest first.
    let dated = |(at, secret): (i64, &String)| DatedSecret {
        secret: Secret::new(secret.as_bytes()),
        active_from: Time::from_micros(at),
        expires_at: None,
    };
    Credential {
        secrets: (0..).zip(secrets.iter().rev()).map(dated).collect(),
        bearer_token: case.text("bearer_token").map(|token| Secret::new(token.into_bytes())),
    }
}

fn comes_in(dialect: &dyn Dialect, case: &Case<'_>) -> Result<(), String> {
    let body = match case.text("body_base64") {
        Some(encoded) => BASE64.decode(encoded.as_bytes()).unwrap(),
        None => case.text("body").expect("a body").into_bytes(),
    };
    let mut headers = HeaderMap::new();
    if let Some(given) = case.object("headers") {
        for (name, value) in given.0.rest() {
            let value: String = serde_json::from_str(value.get()).unwrap();
            headers.insert(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(&value).unwrap(),
            );
        }
    }
    let work = Work::default();
    let request = Arrived::new(&headers, &body, &work);
    let authentic = dialect.authenticate(&request, &credential(case), case.time("now").expect("now"));
    match (authentic, case.raw("authentic").expect("authentic")) {
        (Ok(()), "true") => {}
        (Err(why), expected) if expected != "true" => {
            let expected: String = serde_json::from_str(expected).unwrap();
            if !why.to_string().contains(&expected) {
                return Err(format!("refused because {why:?}, expected {expected:?}"));
            }
        }
        (found, expected) => return Err(format!("authentic: found {found:?}, expected {expected}")),
    }
    is_reading(dialect.read(&body), &case.object("reads").expect("reads"))
}

fn is_reading(found: Reading, expected: &Case<'_>) -> Result<(), String> {
    let shown = format!("{found:?}");
    let fits = match found {
        Reading::Unreadable(why) => expected.text("unreadable").is_some_and(|part| why.contains(&part)),
        Reading::Ignored(what) => expected.text("ignored") == Some(what),
        Reading::Test(heard) => expected.object("test").is_some_and(|test| is_heard(&heard, &test)),
        Reading::Events(events) => match &events[..] {
            [Heard::Call(heard)] => is_heard(heard, expected),
            [Heard::Batch(heard)] => {
                let batch = serde_json::to_string(&heard.batch).unwrap();
                expected.raw("batch").is_some_and(|expected| is_same(&batch, expected))
                    && expected.text("kind").as_deref() == Some(heard.kind.as_str())
                    && expected.time("at") == heard.at
            }
            _ => false,
        },
    };
    if fits { Ok(()) } else { Err(format!("read {shown}")) }
}

fn is_heard(heard: &HeardCall, expected: &Case<'_>) -> bool {
    let outcome = match heard.step {
        postcall::model::Step::Ended(outcome) => Some(outcome.as_str().to_owned()),
        _ => None,
    };
    assert_eq!((heard.call.stage, heard.call.outcome), (Stage::Requested, None), "left at their defaults");
    let call = serde_json::to_string(&heard.call).unwrap().replacen(r#","stage":"requested""#, "", 1);
    expected.raw("call").is_some_and(|expected| is_same(&call, expected))
        && expected.text("step").as_deref() == Some(heard.step.stage().as_str())
        && expected.text("outcome") == outcome
        && expected.time("at") == heard.at
}

/// The event of a body that came in through some door: what a ledger makes of a call's first event.
fn event_of(received: &Case<'_>) -> Event {
    let name = DialectName::parse(&received.text("dialect").unwrap()).unwrap();
    let Reading::Events(events) = dialect::get(name).read(received.text("body").unwrap().as_bytes()) else {
        panic!("a readable body")
    };
    let Some(Heard::Call(heard)) = events.into_iter().next() else { panic!("a call") };
    let outcome = match heard.step {
        postcall::model::Step::Ended(outcome) => Some(outcome),
        _ => None,
    };
    let call = Call { stage: heard.step.stage(), outcome, ..heard.call };
    Event {
        position: 1,
        id: "evt_1".to_owned(),
        kind: heard.step.event_type(),
        at: heard.at.or(received.time("at")).unwrap(),
        test: false,
        source_id: None,
        body: EventBody::Call { call: Arc::new(call), changed: Vec::new() },
    }
}

fn event(given: &Case<'_>) -> Event {
    let kind = EventType::parse(&given.text("type").unwrap()).expect("an event type");
    Event {
        position: 1,
        id: given.text("id").unwrap(),
        kind,
        at: given.time("timestamp").unwrap(),
        test: false,
        source_id: None,
        body: EventBody::from_json(kind, given.raw("data").unwrap()).expect("the data of an event"),
    }
}

fn goes_out(dialect: &dyn Dialect, case: &Case<'_>) -> Result<(), String> {
    let event = match case.object("received") {
        Some(received) => event_of(&received),
        None => event(&case.object("event").expect("an event")),
    };
    let fires = dialect::fires(dialect, &event);
    let Some(expected) = case.object("expected") else {
        return if fires { Err("fires and should not".to_owned()) } else { Ok(()) };
    };
    if !fires {
        return Err("does not fire and should".to_owned());
    }
    let shape = Shape { include_recording: case.raw("include_recording") != Some("false") };
    let transcript = || case.text("transcript_url");
    let body = dialect.encode(&event, &shape, &Links { transcript: &transcript });
    is_body(&body, &expected)?;
    let outgoing = Outgoing { event_id: &event.id, at: case.time("now").expect("now"), body: &body };
    let mut found: Vec<(String, String)> = dialect
        .sign(&outgoing, &credential(case))
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), value.to_str().unwrap().to_owned()))
        .collect();
    let headers = expected.object("headers").expect("headers");
    let mut expected: Vec<(String, String)> = headers
        .0
        .rest()
        .map(|(name, value)| {
            (name.to_string().to_ascii_lowercase(), serde_json::from_str(value.get()).unwrap())
        })
        .collect();
    found.sort();
    expected.sort();
    if found == expected {
        Ok(())
    } else {
        Err(format!("headers\n  found    {found:?}\n  expected {expected:?}"))
    }
}

fn is_body(found: &[u8], expected: &Case<'_>) -> Result<(), String> {
    let found = String::from_utf8(found.to_vec()).expect("UTF-8");
    let expected = expected.text("body").expect("a body");
    if found == expected { Ok(()) } else { Err(format!("body\n  found    {found}\n  expected {expected}")) }
}

fn run(dialect: &dyn Dialect, text: &str) -> Result<(), String> {
    let case = case(text);
    match case.text("direction").as_deref() {
        Some("in") => comes_in(dialect, &case),
        Some("out") => goes_out(dialect, &case),
        Some("sample") => {
            let kind = case.text("kind").map(|kind| EventType::parse(&kind).expect("an event type"));
            let body = dialect.sample(kind, case.time("now").expect("now"));
            is_body(&body, &case.object("expected").expect("expected"))
        }
        other => Err(format!("unknown direction {other:?}")),
    }
}

#[test]
fn every_vector_holds() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors");
    let (mut count, mut failures) = (0, Vec::new());
    for name in DialectName::ALL {
        let directory = root.join(name.as_str());
        for entry in std::fs::read_dir(&directory).expect("a directory of vectors") {
            let path = entry.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap();
            if let Err(why) = run(dialect::get(name), &text) {
                failures.push(format!("{}: {}\n  {why}", path.display(), case(&text).text("why").unwrap()));
            }
            count += 1;
        }
    }
    assert!(failures.is_empty(), "{} of {count} vectors fail:\n{}", failures.len(), failures.join("\n"));
    assert!(count > 200, "only {count} vectors were found");
}
