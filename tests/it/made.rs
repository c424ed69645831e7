//! JSON documents, calls and events made at random, nastier than vendors are.
//! Refuses to know what is done with them.

use std::sync::Arc;

use postcall::model::call::{AnsweredBy, Direction, Turn};
use postcall::model::event::EndpointDisabled;
use postcall::model::time::Millis;
use postcall::model::{Batch, Call, Event, EventBody, EventType, Fields, Outcome, Raw, Stage, Text, Time};
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;

/// A number token: every form of the grammar, and the places where printers differ.
pub fn json_number() -> impl Strategy<Value = String> {
    let corners = select(vec![
        "0",
        "-0",
        "-0.0",
        "0e5",
        "1.0",
        "0.30",
        "1e400",
        "-1e400",
        "5e-324",
        "4e-324",
        "2e-324",
        "1e21",
        "1e20",
        "999999999999999934463",
        "1e-6",
        "1e-7",
        "0.000001",
        "1E5",
        "1e+5",
        "9007199254740993",
        "9007199254740991",
        "-9007199254740993",
        "123456789012345",
        "1234567890123456",
        "2.2250738585072011e-308",
        "1.7976931348623157e308",
        "1.7976931348623159e308",
        "123456789012345678901234567890",
        "4.35",
        "0.1e1",
    ]);
    prop_oneof![
        3 => corners.prop_map(str::to_owned),
        2 => any::<f64>().prop_filter("JSON has no such number", |n| n.is_finite()).prop_map(|n| format!("{n:e}")),
        1 => any::<f64>().prop_filter("JSON has no such number", |n| n.is_finite()).prop_map(|n| n.to_string()),
        2 => "-?(0|[1-9][0-9]{0,25})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?",
        2 => any::<i32>().prop_map(|n| n.to_string()),
    ]
}

/// What may stand between the quotes of a string token.
fn string_piece() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[ -!#-\\[\\]-~]{0,6}",
        1 => select(vec!["\\\"", "\\\\", "\\/", "\\b", "\\f", "\\n", "\\r", "\\t", "\u{2028}", "\u{2029}", "\u{7f}", "😀", "é", "\u{feff}", "\u{ffff}"]).prop_map(str::to_owned),
        1 => any::<u16>().prop_map(|unit| format!("\\u{unit:04x}")),
        1 => any::<u16>().prop_map(|unit| format!("\\u{unit:04X}")),
        1 => (0xd800u16..0xe000).prop_map(|unit| format!("\\u{unit:04x}")),
        1 => any::<char>().prop_filter("needs an escape", |&c| c >= ' ' && c != '"' && c != '\\').prop_map(String::from),
    ]
}

/// A string token.
pub fn json_string() -> impl Strategy<Value = String> {
    vec(string_piece(), 0..5).prop_map(|pieces| format!("\"{}\"", pieces.concat()))
}

/// A key token: index-like ones, repeated ones, and those that trip objects with a prototype.
pub fn json_key() -> impl Strategy<Value = String> {
    let corners = select(vec![
        "0",
        "1",
        "2",
        "10",
        "01",
        "-1",
        "1.5",
        "1e3",
        "4294967293",
        "4294967294",
        "4294967295",
        "4294967296",
        "99999999999999999999",
        "__proto__",
        "constructor",
        "toString",
        "",
        "a",
        "b",
        "a b",
        "\\u0031",
        "\\u0061",
    ]);
    prop_oneof![
        3 => corners.prop_map(|key| format!("\"{key}\"")),
        1 => (0u32..200).prop_map(|index| format!("\"{index}\"")),
        1 => json_string(),
    ]
}

fn space() -> impl Strategy<Value = &'static str> {
    select(vec!["", "", "", "", " ", "\n", "\t", "\r\n  "])
}

/// A document.
pub fn json() -> BoxedStrategy<String> {
    let leaf = prop_oneof![
        3 => json_number(),
        3 => json_string(),
        1 => select(vec!["true", "false", "null", "{}", "[]", "{ }", "[\n]"]).prop_map(str::to_owned),
    ];
    leaf.prop_recursive(6, 60, 12, |inner| {
        let spaced = (space(), inner, space())
            .prop_map(|(before, value, after)| format!("{before}{value}{after}"))
            .boxed();
        let member = (space(), json_key(), space(), spaced.clone())
            .prop_map(|(before, key, after, value)| format!("{before}{key}{after}:{value}"))
            .boxed();
        prop_oneof![
            1 => vec(spaced, 0..6).prop_map(|elements| format!("[{}]", elements.join(","))),
            3 => vec(member.clone(), 1..8).prop_map(|members| format!("{{{}}}", members.join(","))),
            1 => vec(member, 25..40).prop_map(|members| format!("{{{}}}", members.join(","))),
        ]
    })
    .boxed()
}

/// A string as vendors send it.
pub fn text() -> BoxedStrategy<Text> {
    json_string()
        .prop_map(|token| Raw::parse(&token).and_then(|raw| raw.as_text()).expect("a string"))
        .boxed()
}

/// An id: never empty.
pub fn id() -> BoxedStrategy<Text> {
    prop_oneof![
        "[a-zA-Z0-9_-]{1,30}".prop_map(Text::from),
        "[1-9][0-9]{0,20}".prop_map(Text::from),
        text().prop_filter("an id is not empty", |text| !text.is_empty()),
    ]
    .boxed()
}

fn raw() -> BoxedStrategy<Raw> {
    json()
        .prop_filter_map("null is no value", |json| Raw::parse(&json).filter(|raw| raw.get() != "null"))
        .boxed()
}

fn raw_object() -> BoxedStrategy<Raw> {
    fields().prop_map(|fields| Raw::from_value(&fields)).boxed()
}

fn number() -> BoxedStrategy<Raw> {
    json_number().prop_filter_map("a number", |token| Raw::parse(&token)).boxed()
}

fn fields() -> BoxedStrategy<Fields> {
    vec((json_key(), json()), 0..6)
        .prop_map(|entries| {
            let key = |token: String| Raw::parse(&token).and_then(|raw| raw.as_text()).expect("a key");
            let value = |json: String| Raw::parse(&json).expect("a value");
            entries.into_iter().map(|(token, json)| (key(token), value(json))).collect()
        })
        .boxed()
}

/// A moment between 1970 and 9999, to the microsecond.
pub fn time() -> impl Strategy<Value = Time> {
    (0..253_402_207_000_000_000i64).prop_map(Time::from_micros)
}

/// Any moment that the type holds, also those that cannot be written as dates.
fn any_time() -> impl Strategy<Value = Time> {
    prop_oneof![any::<i64>(), select(vec![i64::MIN, i64::MAX, 0, -1])].prop_map(Time::from_micros)
}

fn millis() -> impl Strategy<Value = Millis> {
    (0..100_000_000u64).prop_map(Millis)
}

fn any_millis() -> impl Strategy<Value = Millis> {
    prop_oneof![any::<u64>(), select(vec![0, u64::MAX])].prop_map(Millis)
}

fn turn(time: BoxedStrategy<Time>, millis: BoxedStrategy<Millis>) -> BoxedStrategy<Turn> {
    let role = prop_oneof![select(vec!["assistant", "user"]).prop_map(Text::from), text()];
    (role, text(), of(time), of(millis), fields())
        .prop_map(|(role, text, at, offset_seconds, more)| Turn { role, text, at, offset_seconds, more })
        .boxed()
}

/// A call as the standard dialect may carry it: everything that can be read again.
pub fn call() -> impl Strategy<Value = Call> {
    call_with(time().boxed(), millis().boxed())
}

/// A call with times and lengths that no vendor means.
pub fn absurd_call() -> impl Strategy<Value = Call> {
    call_with(any_time().boxed(), any_millis().boxed())
}

/// Every part is boxed: as one value on the stack, a call in the making is too large for a test's thread.
fn call_with(time: BoxedStrategy<Time>, millis: BoxedStrategy<Millis>) -> BoxedStrategy<Call> {
    let when = (of(time.clone()), of(time.clone()), of(time.clone()), of(millis.clone()), of(millis.clone()));
    let ids = (id(), of(id()), of(id()), of(id()), of(id()), of(id()), of(id()));
    let names = (of(text()), of(text()), of(text()), of(text()), of(text()), of(text()));
    let analysed = (
        of(text()),
        of(any::<bool>()),
        of(text()),
        of(number()),
        of(text()),
        of(number()),
        of(text()),
        of(text()),
    );
    let objects =
        (of(raw_object()), of(raw_object()), of(raw_object()), of(raw()), of(raw_object()), of(raw()));
    let spoken = (of(text()), of(text()), of(vec(turn(time, millis), 0..5)), of(text()), of(number()));
    let marks = (
        select(Outcome::ALL.to_vec()),
        of(select(vec![Direction::Inbound, Direction::Outbound])),
        of(select(vec![AnsweredBy::Human, AnsweredBy::Machine])),
        of(any::<bool>()),
    );
    (
        when.boxed(),
        ids.boxed(),
        names.boxed(),
        analysed.boxed(),
        objects.boxed(),
        spoken.boxed(),
        marks.boxed(),
        fields(),
        fields(),
    )
        .prop_map(|(when, ids, names, analysed, objects, spoken, marks, variables, metadata)| {
            let mut call = Call { variables, metadata, stage: Stage::Ended, ..Call::default() };
            (
                call.created_at,
                call.started_at,
                call.ended_at,
                call.duration_seconds,
                call.recording.duration_seconds,
            ) = when;
            (
                call.call_id,
                call.batch_id,
                call.user_id,
                call.contact.id,
                call.agent.id,
                call.campaign.id,
                call.line.id,
            ) = ids;
            (
                call.contact.name,
                call.contact.phone,
                call.contact.email,
                call.agent.name,
                call.campaign.name,
                call.line.number,
            ) = names;
            let known = &mut call.analysis;
            (
                known.summary,
                known.success,
                known.sentiment,
                known.sentiment_confidence,
                known.mood,
                known.score,
                known.classification,
                known.result,
            ) = analysed;
            (
                call.contact.details,
                known.sentiment_detail,
                known.interests_and_needs,
                known.action_items,
                call.cost.breakdown,
                call.metric_schema,
            ) = objects;
            (
                call.transcript.url,
                call.transcript.text,
                call.transcript.turns,
                call.recording.url,
                call.cost.total,
            ) = spoken;
            call.outcome = Some(marks.0);
            (call.direction, call.answered_by, call.transferred) = (marks.1, marks.2, marks.3);
            call
        })
        .boxed()
}

fn event_of(at: Time, body: EventBody, kind: EventType) -> Event {
    Event { position: 1, id: "evt_1".to_owned(), kind, at, test: false, source_id: None, body }
}

/// The event of a call that ended.
pub fn ended(call: Call, at: Time) -> Event {
    let kind = call.outcome.map_or(EventType::CallEnded, Outcome::event_type);
    event_of(at, EventBody::Call { call: Arc::new(call), changed: Vec::new() }, kind)
}

/// Any event, also one whose type does not fit its body.
pub fn absurd_event() -> impl Strategy<Value = Event> {
    let empty = Just(EventBody::Call { call: Arc::default(), changed: Vec::new() });
    let full = (absurd_call(), vec(".{0,9}", 0..3))
        .prop_map(|(call, changed)| EventBody::Call { call: Arc::new(call), changed });
    let batch =
        (id(), of(text()), of(any_time()), fields()).prop_map(|(batch_id, error, completed_at, metadata)| {
            EventBody::Batch(Box::new(Batch { batch_id, error, completed_at, metadata, ..Batch::default() }))
        });
    let endpoint = (".{0,9}", ".{0,9}")
        .prop_map(|(endpoint_id, reason)| EventBody::Endpoint(EndpointDisabled { endpoint_id, reason }));
    let body = prop_oneof![1 => empty, 6 => full, 1 => batch, 1 => endpoint];
    (any_time(), body, select(EventType::ALL.to_vec())).prop_map(|(at, body, kind)| event_of(at, body, kind))
}
