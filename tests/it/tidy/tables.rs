//! Which part of the store writes which table. Does not depend on what is in one.

use std::collections::{BTreeMap, BTreeSet};

use super::{code, expect_none, sources};

/// The parts of the store that write a table although another part does, for the time being. Shorten it: a part that needs a row
/// of another part's table written asks that part for it.
const NOT_YET: &str =
    "accounts: apply batches calls config deliveries lifetime maintenance postgres records transfer tx
    calls: calls lifetime transfer
    endpoint_sums: config deliveries transfer
    endpoints: config maintenance transfer
    events: calls lifetime transfer
    idempotency: config lifetime maintenance
    mentioned: analytics transfer
    meta: postgres sqlite
    purged: lifetime transfer
    shapes: config lifetime transfer
    sources: config transfer";

/// Files whose statements are not run by the store: migrations, tests, and what statements begin with.
pub const APART: [&str; 5] =
    ["postgres/schema.rs", "sqlite/schema.rs", "sqlite/plans.rs", "sqlite/costs.rs", "postgres/spread.rs"];

/// Who writes each table: by table, the parts of the store that insert into it, update it or delete from it.
fn writers(sources: &[(String, String)]) -> BTreeMap<String, BTreeSet<String>> {
    let mut found = BTreeMap::<String, BTreeSet<String>>::new();
    let texts: Vec<(&str, Vec<String>)> = sources
        .iter()
        .filter_map(|(place, text)| Some((place.strip_prefix("src/store/")?, words(text))))
        .collect();
    let pair = |words: &[String], first: &str, second: &str| words[0] == first && words[1] == second;
    let tables: BTreeSet<&String> = texts
        .iter()
        .flat_map(|(_, words)| {
            words.windows(3).filter(|three| pair(three, "CREATE", "TABLE")).map(|three| &three[2])
        })
        // The name of a variable.
        .filter(|table| *table != "table")
        .collect();
    for (place, words) in texts.iter().filter(|(place, _)| !APART.contains(place)) {
        let part = place.split_once('/').map_or(*place, |(part, _)| part);
        for three in words.windows(3) {
            let table = match three {
                three if pair(three, "INSERT", "INTO") || pair(three, "DELETE", "FROM") => &three[2],
                three if three[0] == "UPDATE" => &three[1],
                _ => continue,
            };
            if tables.contains(table) {
                found.entry(table.clone()).or_default().insert(part.to_owned());
            }
        }
    }
    found
}

/// The words of a source, without its tests and comments.
fn words(text: &str) -> Vec<String> {
    let is_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    code(text)
        .join("\n")
        .split(|letter| !is_word(letter))
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

#[test]
fn each_table_is_written_by_one_part_of_the_store() {
    let not_yet: BTreeMap<&str, BTreeSet<&str>> = NOT_YET
        .lines()
        .filter_map(|line| line.trim().split_once(": "))
        .map(|(table, parts)| (table, parts.split(' ').collect()))
        .collect();
    let mut broken = Vec::new();
    let writers = writers(&sources(&["src"]));
    for (table, parts) in &writers {
        let parts: BTreeSet<&str> = parts.iter().map(String::as_str).collect();
        if parts.len() > 1 && not_yet.get(table.as_str()) != Some(&parts) {
            broken.push(format!(
                "{table}: written by {}.\n  Rule: each table is written by one part of the store.\n  Remedy: give the part \
                 whose table it is a function for it. NOT_YET (tests/it/tidy/tables.rs) says where that is not so yet; it \
                 has to say exactly what is, and shall only get shorter.",
                parts.into_iter().collect::<Vec<_>>().join(", ")
            ));
        }
    }
    let done = not_yet.keys().filter(|table| writers.get(**table).is_none_or(|parts| parts.len() < 2));
    broken.extend(done.map(|table| format!("{table}: has one writer now. Take it out of NOT_YET.")));
    expect_none(&broken);
}

#[test]
fn writers_are_found_however_a_statement_is_written() {
    let source = |place: &str, text: &str| (format!("src/store/{place}"), text.to_owned());
    let sources = [
        source("sqlite/schema.rs", "r\"CREATE TABLE a (x); CREATE TABLE b (x)\""),
        source("calls/x.rs", "\"INSERT INTO a (x)\n VALUES (?) ON CONFLICT DO UPDATE SET x = 1\""),
        source("tx/x.rs", "// UPDATE a\n\"SELECT x FROM a FOR UPDATE\"\n\"DELETE FROM\n  b WHERE x\""),
        source("reads/x.rs", "\"SELECT x FROM b\"\n#[cfg(test)]\nmod tests {\n \"DELETE FROM b\"\n}"),
        source("apply/x.rs", "format!(\"UPDATE b SET {x}\")"),
    ];
    let found = writers(&sources);
    assert_eq!(found["a"].iter().collect::<Vec<_>>(), ["calls"]);
    assert_eq!(found["b"].iter().collect::<Vec<_>>(), ["apply", "tx"]);
}
