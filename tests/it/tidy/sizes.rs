//! How long a function may be, and how many fields a struct with methods may have. Does not depend on what they do.

use std::collections::BTreeMap;

use super::tokens::{Token, closing, code, tokens};
use super::{expect_none, sources};

/// Lines that the body of a function may have where rules and their records are worked out.
const LONGEST_BODY: usize = 70;
/// Folders of such functions.
const FOLDERS: [&str; 2] = ["src/ledger", "src/store"];
/// Fields that a struct with methods may have.
const MOST_FIELDS: usize = 10;
/// Structs that have more for the time being.
const WIDE: [&str; 7] = ["Call", "Connection", "Endpoint", "Inner", "Metrics", "State", "Story"];

/// A function: its name, its line, and the lines of its body.
type Function<'a> = (&'a str, usize, usize);

/// Every function that has a body.
fn functions<'a>(tokens: &[Token<'a>]) -> Vec<Function<'a>> {
    let mut found = Vec::new();
    for at in (0..tokens.len()).filter(|at| tokens[*at].text == "fn") {
        if let (Some(name), Some(open)) = (tokens.get(at + 1).filter(|name| name.is_word()), body(tokens, at))
            && let Some(last) = tokens.get(closing(tokens, open))
        {
            found.push((name.text, tokens[at].line, last.line - tokens[open].line + 1));
        }
    }
    found
}

/// Every struct with named fields: its name, its line, and how many they are.
fn structs<'a>(tokens: &[Token<'a>]) -> Vec<(&'a str, usize, usize)> {
    let mut found = Vec::new();
    for at in (0..tokens.len()).filter(|at| tokens[*at].text == "struct") {
        let Some(open) = body(tokens, at) else { continue };
        let (mut fields, mut inside, end) = (0, open + 1, closing(tokens, open));
        while inside < end {
            match tokens[inside].text {
                "(" | "[" | "{" => inside = closing(tokens, inside),
                ":" => fields += 1,
                _ => {}
            }
            inside += 1;
        }
        found.push((tokens[at + 1].text, tokens[at].line, fields));
    }
    found
}

/// How many methods each type has, trait implementations and what takes no `self` not counted.
fn methods<'a>(tokens: &[Token<'a>]) -> BTreeMap<&'a str, usize> {
    let mut found = BTreeMap::new();
    for at in (0..tokens.len()).filter(|at| tokens[*at].text == "impl") {
        let is_item = at == 0 || matches!(tokens[at - 1].text, "}" | ";" | "]");
        let Some(open) = body(tokens, at).filter(|_| is_item) else { continue };
        let head = &tokens[after_generics(tokens, at + 1)..open];
        if head.windows(2).any(|pair| pair[0].text == "for" && pair[1].text != "<") {
            continue;
        }
        let name = head.iter().take_while(|token| !matches!(token.text, "<" | "where")).last();
        let inside = &tokens[open + 1..closing(tokens, open)];
        let count =
            (0..inside.len()).filter(|at| inside[*at].text == "fn" && takes_self(&inside[*at..])).count();
        *found.entry(name.map_or("", |name| name.text)).or_default() += count;
    }
    found
}

/// The place of the brace that opens the body of the item at `start`, if it has one.
fn body(tokens: &[Token<'_>], start: usize) -> Option<usize> {
    let mut at = start;
    loop {
        match tokens.get(at)?.text {
            "{" => return Some(at),
            ";" => return None,
            "(" | "[" => at = closing(tokens, at) + 1,
            _ => at += 1,
        }
    }
}

/// The place behind the generics that stand at `start`, if any do.
fn after_generics(tokens: &[Token<'_>], start: usize) -> usize {
    let (mut depth, mut at) = (0, start);
    while let Some(token) = tokens.get(at) {
        match token.text {
            "<" => depth += 1,
            // Not the one of `->`.
            ">" if depth > 0 && tokens[at - 1].text != "-" => depth -= 1,
            _ if depth == 0 => break,
            _ => {}
        }
        at += 1;
    }
    at
}

/// Whether the function that begins here is a method.
fn takes_self(function: &[Token<'_>]) -> bool {
    let open = after_generics(function, 2);
    function
        .iter()
        .skip(open + 1)
        .take(3)
        .take_while(|token| token.text != ":")
        .any(|token| token.text == "self")
}

#[test]
fn no_function_of_the_rules_is_too_long_to_be_seen_whole() {
    let (all, mut broken) = (sources(&FOLDERS), Vec::new());
    for (path, tokens) in code(&all) {
        for (name, line, length) in functions(&tokens) {
            if length > LONGEST_BODY {
                broken.push(format!(
                    "{path}:{line}: `{name}` has {length} lines.\n  Rule: no function in {} has more than {LONGEST_BODY}.\n  \
                     Remedy: give each step of it a function of its own, named for what it works out.",
                    FOLDERS.join(", ")
                ));
            }
        }
    }
    expect_none(&broken);
}

#[test]
fn no_wide_struct_has_methods() {
    let all = sources(&["src"]);
    let read: Vec<_> =
        code(&all).into_iter().map(|(path, tokens)| (path, structs(&tokens), methods(&tokens))).collect();
    let mut broken = Vec::new();
    for (path, structs, own) in read.iter() {
        for (name, line, fields) in structs.iter().filter(|(.., fields)| *fields > MOST_FIELDS) {
            // Methods may be in other files too, where the name is of one struct alone.
            let is_only =
                read.iter().flat_map(|(_, structs, _)| structs).filter(|it| it.0 == *name).count() == 1;
            let count: usize = match is_only {
                true => read.iter().filter_map(|(.., methods)| methods.get(name)).sum(),
                false => own.get(name).copied().unwrap_or_default(),
            };
            if count == 0 || WIDE.contains(name) {
                continue;
            }
            broken.push(format!(
                "{path}:{line}: `{name}` has {fields} fields and {count} methods.\n  Rule: a struct with methods has at most \
                 {MOST_FIELDS} fields; one that only carries values may have more.\n  Remedy: give fields that change \
                 together a struct of their own, and their methods with them."
            ));
        }
    }
    expect_none(&broken);
}

#[test]
fn bodies_are_measured() {
    let source = "trait T {\n fn a(&self);\n fn b() -> [u8; 2] {\n  c()\n }\n}\nfn d(f: fn(u8) -> u8) where T: X {}\n\
                  impl S {\n fn e() {\n  if x {\n  }\n  fn inner() {\n  }\n }\n}";
    let tokens = tokens(source);
    assert_eq!(functions(&tokens), [("b", 3, 3), ("d", 7, 1), ("e", 9, 6), ("inner", 12, 2)]);
}

#[test]
fn fields_and_methods_are_counted() {
    let source = "pub struct S<T: X> where T: Y {\n #[a(b: c)]\n pub x: [u8; 2],\n pub(super) y: Box<dyn Fn(u: V) -> W>,\n}\n\
                  struct P(u8);\nimpl<T: Fn() -> u8> S<T> {\n fn new(x: u8) -> Self {}\n fn a(&self) {}\n fn b<U>(self: Arc<Self>) {}\n}\n\
                  impl fmt::Debug for S<u8> {\n fn fmt(&self) {}\n}\nfn f(x: impl Fn(u8)) {}\nimpl<'a> crate::P {\n fn c(&mut self) {}\n}";
    let tokens = tokens(source);
    assert_eq!(structs(&tokens), [("S", 1, 2)]);
    assert_eq!(methods(&tokens), BTreeMap::from([("P", 1), ("S", 2)]));
}
