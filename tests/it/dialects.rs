//! Properties of all dialects at once: nothing that comes in or goes out makes one panic, and what one writes it reads.
//! Single cases stand in `vectors/`.

use http::HeaderMap;
use postcall::dialect::{self, Arrived, Links, Outgoing, Reading, Work};
use postcall::model::endpoint::Shape;
use postcall::model::event::Heard;
use postcall::model::secret::Credential;
use postcall::model::{Call, DialectName, EventBody, EventType, Secret, Stage, Step, Time};
use proptest::prelude::*;
use serde_json::value::RawValue;

use crate::made;

/// Bodies that dialects know, to be spoilt.
fn known_bodies() -> Vec<Vec<u8>> {
    let now = Time::from_micros(1_700_000_000_000_000);
    let mut bodies: Vec<Vec<u8>> =
        DialectName::ALL.into_iter().map(|name| dialect::get(name).sample(None, now)).collect();
    bodies.extend(EventType::ALL.map(|kind| dialect::get(DialectName::Standard).sample(Some(kind), now)));
    bodies
}

fn spoilt_body() -> impl Strategy<Value = Vec<u8>> {
    let place = any::<prop::sample::Index>();
    (prop::sample::select(known_bodies()), place, 0..40usize, made::json()).prop_map(
        |(mut body, at, length, json)| {
            let start = at.index(body.len());
            let end = body.len().min(start + length);
            body.splice(start..end, json.into_bytes());
            body
        },
    )
}

/// A known body with the value of one member replaced: still JSON, no longer what anybody means.
fn odd_body() -> impl Strategy<Value = Vec<u8>> {
    let place = any::<prop::sample::Index>();
    (prop::sample::select(known_bodies()), place, made::json()).prop_map(|(body, at, json)| {
        let body = String::from_utf8(body).expect("a sample");
        let colons: Vec<usize> = body.match_indices("\":").map(|(place, _)| place + 2).collect();
        let start = colons[at.index(colons.len())];
        let length = body[start..].find([',', '}']).unwrap_or(0);
        format!("{}{json}{}", &body[..start], &body[start + length..]).into_bytes()
    })
}

fn every_dialect_reads(body: &[u8]) {
    for name in DialectName::ALL {
        match dialect::get(name).read(body) {
            Reading::Events(events) => assert!(!events.is_empty()),
            Reading::Unreadable(why) => assert!(!why.is_empty()),
            Reading::Test(_) | Reading::Ignored(_) => {}
        }
    }
}

fn heard(reading: Reading) -> (Step, Call) {
    let Reading::Events(mut events) = reading else { panic!("{reading:?}") };
    match events.pop() {
        Some(Heard::Call(heard)) => (heard.step, heard.call),
        other => panic!("{other:?}"),
    }
}

proptest! {
    #[test]
    fn no_bytes_make_a_reader_panic(body: Vec<u8>) {
        every_dialect_reads(&body);
    }

    #[test]
    fn no_document_makes_a_reader_panic(body in made::json()) {
        every_dialect_reads(body.as_bytes());
    }

    #[test]
    fn no_spoilt_body_makes_a_reader_panic(body in spoilt_body(), odd in odd_body()) {
        every_dialect_reads(&body);
        every_dialect_reads(&odd);
    }

    #[test]
    fn no_header_makes_a_door_panic(value in "[ -~]{0,90}", secret: Vec<u8>, body in made::json(), now: i64) {
        let mut headers = HeaderMap::new();
        for name in ["x-webhook-signature", "x-dialgen-signature", "x-aloro-signature", "authorization", "webhook-signature", "webhook-id", "webhook-timestamp"] {
            headers.insert(name, value.parse().unwrap());
        }
        let work = Work::default();
let request = Arrived::new(&headers, body.as_bytes(), &work);
        let mut credential = Credential::of_secret(Secret::new(secret.clone()));
        credential.bearer_token = Some(Secret::new(secret));
        for name in DialectName::ALL {
            let checked = dialect::get(name).authenticate(&request, &credential, Time::from_micros(now));
            prop_assert_eq!(checked.is_ok(), name == DialectName::Cllr);
        }
    }

    #[test]
    fn no_event_makes_a_writer_panic(event in made::absurd_event(), include_recording: bool, secret: Vec<u8>) {
        let shape = Shape { include_recording };
        let mut credential = Credential::of_secret(Secret::new(secret.clone()));
        credential.bearer_token = Some(Secret::new(secret));
        for name in DialectName::ALL {
            let dialect = dialect::get(name);
            let body = dialect.encode(&event, &shape, &Links::NONE);
            let is_object = serde_json::from_slice::<&RawValue>(&body).is_ok_and(|json| json.get().starts_with('{'));
            prop_assert!(is_object, "{}", String::from_utf8_lossy(&body));
            prop_assert_eq!(dialect.encode(&event, &shape, &Links::NONE), body.clone(), "the same bytes again");
            dialect.sign(&Outgoing { event_id: &event.id, at: event.at, body: &body }, &credential);
            dialect::fires(dialect, &event);
        }
    }

    #[test]
    fn what_one_writes_it_reads(call in made::call(), at in made::time()) {
        let event = made::ended(call, at);
        let EventBody::Call { call, .. } = &event.body else { unreachable!("made of a call") };
        for name in DialectName::ALL {
            let dialect = dialect::get(name);
            if !dialect::fires(dialect, &event) {
                continue;
            }
            let (step, read) = heard(dialect.read(&dialect.encode(&event, &Shape::default(), &Links::NONE)));
            prop_assert_eq!(&read.call_id, &call.call_id, "{}", name);
            prop_assert_eq!(step.stage(), Stage::Ended);
            if name != DialectName::Dialgen {
                prop_assert_eq!(step.event_type(), event.kind, "{}", name);
            }
        }
    }

    #[test]
    fn one_postcall_feeds_another_without_loss(call in made::call(), at in made::time()) {
        let event = made::ended(call.clone(), at);
        let standard = dialect::get(DialectName::Standard);
        let (step, read) = heard(standard.read(&standard.encode(&event, &Shape::default(), &Links::NONE)));
        let Step::Ended(outcome) = step else { panic!("{step:?}") };
        let read = Call { stage: Stage::Ended, outcome: Some(outcome), ..read };
        prop_assert_eq!(serde_json::to_string(&read).unwrap(), serde_json::to_string(&call).unwrap());
    }
}
