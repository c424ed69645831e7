//! Our JavaScript form against JavaScript's own: documents and bodies made at random go through a real Node.
//! Refuses to know how the form is made.

use std::io::Write;
use std::process::{Command, Stdio};

use data_encoding::BASE64;
use postcall::dialect::js_json::{NotJson, stringify_parse};
use postcall::dialect::{self, Links};
use postcall::model::DialectName;
use postcall::model::endpoint::Shape;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use crate::made;

const PROGRAM: &str = r"
const lines = require('fs').readFileSync(0, 'latin1').split('\n').filter((line) => line !== '-');
for (const line of lines) {
  const document = Buffer.from(line, 'base64').toString('utf8');
  let written;
  try { written = Buffer.from(JSON.stringify(JSON.parse(document))).toString('base64'); } catch { written = '!'; }
  process.stdout.write(written + '\n');
}";

/// What Node makes of each document; `None` where `JSON.parse` throws. One Node for all of them.
fn in_node<T: AsRef<[u8]>>(documents: &[T]) -> Vec<Option<Vec<u8>>> {
    let mut node = Command::new("node")
        .args(["-e", PROGRAM])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("this test needs Node: install it with `apt-get install nodejs`");
    let lines: Vec<String> = documents.iter().map(|document| BASE64.encode(document.as_ref())).collect();
    // Node reads everything before it writes anything, so neither side waits for the other.
    node.stdin.take().expect("piped").write_all(lines.join("\n").as_bytes()).expect("Node reads");
    let output = node.wait_with_output().expect("Node ends");
    assert!(output.status.success(), "Node ended with {}", output.status);
    let written = String::from_utf8(output.stdout).expect("base64");
    let decode = |line: &str| (line != "!").then(|| BASE64.decode(line.as_bytes()).expect("base64"));
    let answers: Vec<_> = written.lines().map(decode).collect();
    assert_eq!(answers.len(), documents.len());
    answers
}

fn many<T>(strategy: &impl Strategy<Value = T>, count: usize) -> Vec<T> {
    let mut runner = TestRunner::default();
    (0..count).map(|_| strategy.new_tree(&mut runner).expect("a value").current()).collect()
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn every_document_is_written_as_node_writes_it() {
    let documents = many(&made::json(), 4000);
    for (document, expected) in documents.iter().zip(in_node(&documents)) {
        let expected = expected.unwrap_or_else(|| panic!("Node cannot read {document}"));
        let written = stringify_parse(document.as_bytes()).unwrap_or_else(|e| panic!("{e}: {document}"));
        assert_eq!(shown(&written), shown(&expected), "of {document}");
        assert_eq!(stringify_parse(&written).unwrap(), written, "a fixed point, of {document}");
    }
}

#[test]
fn what_node_cannot_read_has_no_form() {
    // A document with one character taken out, doubled, or put in.
    let broken = (made::json(), any::<prop::sample::Index>(), any::<prop::sample::Index>()).prop_map(
        |(document, at, with)| {
            const INSERTED: [&str; 14] =
                ["", "\"", "\\", "{", "}", "[", "]", ",", ":", "0", "-", "e", ".", "\u{1}"];
            let mut characters: Vec<String> = document.chars().map(String::from).collect();
            let at = at.index(characters.len());
            characters[at] = INSERTED[with.index(INSERTED.len())].to_owned();
            characters.concat()
        },
    );
    let documents = many(&broken, 3000);
    for (document, expected) in documents.iter().zip(in_node(&documents)) {
        match stringify_parse(document.as_bytes()) {
            Ok(written) => assert_eq!(Some(shown(&written)), expected.map(|e| shown(&e)), "of {document}"),
            Err(NotJson::Syntax(_)) => assert_eq!(expected, None, "of {document}"),
            Err(NotJson::TooDeep) => {}
        }
    }
}

#[test]
fn bodies_for_javascript_are_fixed_points_in_node() {
    let mut bodies = Vec::new();
    for event in many(&made::absurd_event(), 700) {
        for name in [DialectName::Voicegenie, DialectName::Dialgen, DialectName::Aloro] {
            bodies.push(dialect::get(name).encode(&event, &Shape::default(), &Links::NONE));
        }
    }
    for (body, again) in bodies.iter().zip(in_node(&bodies)) {
        assert_eq!(again.as_deref().map(shown), Some(shown(body)));
    }
}

#[test]
fn a_hostile_document_costs_no_more_than_its_size() {
    // Quadratic work on a megabyte would not end in any patience; there is no clock in this test.
    let keys: Vec<String> = (0..100_000).rev().map(|n| format!("\"{n}\":0")).collect();
    let nested = format!("{}{}{}", "{\"1\":{\"0\":".repeat(60), "[]", "}}".repeat(60));
    let same = vec!["\"a\":1"; 150_000].join(",");
    for document in [format!("{{{}}}", keys.join(",")), nested, format!("{{{same}}}")] {
        let written = stringify_parse(document.as_bytes()).unwrap();
        assert_eq!(stringify_parse(&written).unwrap(), written);
    }
    assert_eq!(stringify_parse("[".repeat(1 << 20).as_bytes()), Err(NotJson::TooDeep));
}
