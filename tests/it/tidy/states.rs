//! Statements of the store name the states of rows by their constants. Does not depend on which states there are.

use super::tables::APART;
use super::tokens::strings;
use super::{code, expect_none, sources};

/// What may stand between a column and a number that it is compared with or set to.
const OPERATORS: [&str; 8] = ["=", "<>", "!=", "<=", ">=", "<", ">", "IN"];

/// The lines of a source on which a statement begins that has the number of a state in its text. Migrations are left out: what
/// they say does not change.
fn numbered(source: &str) -> Vec<usize> {
    let source = code(source).join("\n");
    let found = strings(&source)
        .into_iter()
        .filter(|string| !string.text.contains("CREATE ") && has_number(string.text));
    found.map(|string| string.line).collect()
}

/// Whether a column `state` is compared with a number, or set to one.
fn has_number(statement: &str) -> bool {
    statement.match_indices("state").any(|(at, word)| {
        let is_inside = statement[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_');
        let behind = statement[at + word.len()..].trim_start();
        let value = OPERATORS.iter().find_map(|operator| behind.strip_prefix(operator));
        let value = value.map(|value| value.trim_start_matches(|c: char| c.is_whitespace() || c == '('));
        !is_inside && value.is_some_and(|value| value.starts_with(|first: char| first.is_ascii_digit()))
    })
}

#[test]
fn statements_name_states_by_their_constants() {
    let mut broken = Vec::new();
    for (path, text) in sources(&["src/store"]) {
        if path.strip_prefix("src/store/").is_some_and(|place| APART.contains(&place)) {
            continue;
        }
        broken.extend(numbered(&text).into_iter().map(|line| {
            format!(
                "{path}:{line}: has the number of a state.\n  Rule: the states of a table have one definition, in the file \
                 `states.rs` of the part that writes it.\n  Remedy: `formatcp!(\"... state = {{CLAIMABLE}}\")` puts a constant \
                 of that file into the statement's text."
            )
        }));
    }
    expect_none(&broken);
}

#[test]
fn numbers_of_states_are_found_however_they_are_written() {
    for statement in [
        "UPDATE a SET state = 2, x = ?",
        "SELECT x FROM a WHERE state<>1",
        "SELECT x FROM a b WHERE b.state\n     >= 3",
        "SELECT x FROM a WHERE state IN (1, {X})",
    ] {
        let source =
            format!("// state = 1\nf(\"\", \"{statement}\")\n#[cfg(test)]\nmod tests {{\n \"state = 1\"\n}}");
        assert_eq!(numbered(&source), [2], "{statement}");
    }
    for statement in [
        "SELECT x FROM a WHERE state = {X} AND tries < 3",
        "UPDATE a SET state = ?1, due = 2",
        "SELECT state FROM a WHERE estate = 1 AND state_of = 2",
        "CREATE INDEX a_due ON a (due) WHERE state = 0",
    ] {
        assert_eq!(numbered(&format!("f(r\"{statement}\")")), [0; 0], "{statement}");
    }
}
