//! Which part of the store writes which table, by the statements in its code. What goes through all tables alike is not in it: a
//! copy of a whole store, and the partitions that are dropped. Does not depend on what is in a table.

use std::collections::{BTreeMap, BTreeSet};

use super::{code, expect_none, sources};

/// A table that each database has for itself, under one name: no statement is run on both, and no row moves from one to the
/// other.
const OF_EACH_DATABASE: (&str, [&str; 2]) = ("meta", ["postgres", "sqlite"]);

/// Files whose statements are not run by the store: migrations, tests, and what statements begin with.
pub const APART: [&str; 5] = [
    "postgres/schema.rs",
    "sqlite/schema.rs",
    "sqlite/plans.rs",
    "sqlite/costs.rs",
    "postgres/sharding_check.rs",
];

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
                three if pair(three, "DELETE", "FROM") => &three[2],
                // Also of INSERT OR REPLACE INTO.
                three if matches!(three[0].as_str(), "INTO" | "UPDATE") => &three[1],
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
    let mut broken = Vec::new();
    for (table, parts) in &writers(&sources(&["src"])) {
        let parts: BTreeSet<&str> = parts.iter().map(String::as_str).collect();
        let is_of_each = *table == OF_EACH_DATABASE.0 && parts == BTreeSet::from(OF_EACH_DATABASE.1);
        if parts.len() > 1 && !is_of_each {
            broken.push(format!(
                "{table}: written by {}.\n  Rule: each table is written by one part of the store.\n  Remedy: give the part \
                 whose table it is a function for it, and call that.",
                parts.into_iter().collect::<Vec<_>>().join(", ")
            ));
        }
    }
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
        source("jobs/x.rs", "\"INSERT OR REPLACE INTO a (x) VALUES (1)\""),
    ];
    let found = writers(&sources);
    assert_eq!(found["a"].iter().collect::<Vec<_>>(), ["calls", "jobs"]);
    assert_eq!(found["b"].iter().collect::<Vec<_>>(), ["apply", "tx"]);
}
