//! The rules of the house, read off its sources: who may use whom, how long a file may be, what it is called and how
//! it begins. A broken rule says what to do about it.

mod circles;
mod commands;
mod sizes;
mod states;
mod tables;
mod tokens;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// Every room with the rooms that it may use. A room that is not here is a mistake: give it a line.
const ROOMS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("clock", &["model"]),
    ("metrics", &["model"]),
    ("config", &["model"]),
    ("dialect", &["model"]),
    ("ledger", &["dialect", "model"]),
    ("store", &["ledger", "dialect", "model", "clock", "metrics"]),
    ("delivery", &["store", "ledger", "dialect", "model", "clock", "metrics"]),
    ("api", &["store", "ledger", "dialect", "model", "clock", "metrics"]),
    ("dashboard", &["store", "ledger", "dialect", "model", "clock", "metrics"]),
    (
        "app",
        &[
            "dashboard",
            "api",
            "delivery",
            "store",
            "ledger",
            "dialect",
            "model",
            "clock",
            "metrics",
            "config",
        ],
    ),
    (
        "cli",
        &[
            "app",
            "dashboard",
            "api",
            "delivery",
            "store",
            "ledger",
            "dialect",
            "model",
            "clock",
            "metrics",
            "config",
        ],
    ),
    ("main", &["cli"]),
    ("lib", &[]),
];

/// Words that have one door each: the word, where it may stand, and what to do elsewhere.
const DOORS: &[(&str, &[&str], &str)] = &[
    ("SystemTime::now", &["src/clock.rs"], "ask the Clock, or take `now` as an argument"),
    ("Timestamp::now", &["src/clock.rs"], "ask the Clock, or take `now` as an argument"),
    // The simulated dialer rolls its dice from a seed, so that a run can be repeated.
    (
        "fastrand::",
        &["src/clock.rs", "src/cli/dialer/"],
        "ask the Clock for dice and `clock::random_bytes` for secrets",
    ),
    ("env::var", &["src/config.rs", "xtask/"], "let src/config.rs read it and pass the value on"),
    // What a vendor has written must not be obeyed by somebody's terminal.
    (
        "println!",
        &["src/cli/terminal.rs", "src/cli/serve.rs", "xtask/"],
        "say it through src/cli/terminal.rs, which escapes what a terminal would obey",
    ),
    ("stdout().lock", &["src/cli/terminal.rs", "xtask/"], "say it through src/cli/terminal.rs"),
    // A `Mac` and a `Secret` have no `==` whose time tells where two of them differ.
    ("hmac::sign", &["src/model/mac.rs"], "make a model::Mac"),
    ("hmac::verify", &["src/model/mac.rs"], "ask Mac::fits"),
    ("ct_eq", &["src/model/mac.rs"], "ask Mac::fits, Secret::fits or model::mac::is_same"),
    ("rusqlite", &["src/store/sqlite/", "src/store/sql/"], "speak the SQL of src/store/sql/"),
    ("tokio_postgres", &["src/store/postgres/", "src/store/sql/"], "speak the SQL of src/store/sql/"),
    // Which database it is, is asked in its own parts; everybody else asks a connection for what matters to them.
    (
        "Connection::Sqlite",
        &["src/store/sqlite/", "src/store/sql/"],
        "give src/store/sql/connection.rs a method that says what you need to know of the database",
    ),
    (
        "Connection::Postgres",
        &["src/store/postgres/", "src/store/sql/"],
        "give src/store/sql/connection.rs a method that says what you need to know of the database",
    ),
    ("SqliteStore", &["src/store/sqlite/", "src/app.rs"], "use `dyn Store`; app.rs chooses which one"),
];

/// Rooms that only compute, and what they must not know.
const PURE: [&str; 3] = ["model", "dialect", "ledger"];
const WORLD: [&str; 8] =
    ["std::fs", "std::net", "std::env", "std::thread", "std::process", "Instant::now", "tokio", "hyper"];

/// Names that say nothing.
const EMPTY_NAMES: [&str; 8] = ["util", "utils", "core", "common", "helper", "helpers", "manager", "misc"];

/// Lines that a file may have, its tests not counted.
const LONGEST: usize = 700;

/// Calls that clippy bans; the doors allow them with a reason.
const BANNED: [&str; 8] = [
    "std::time::SystemTime::now",
    "jiff::Timestamp::now",
    "jiff::Zoned::now",
    "fastrand::f64",
    "fastrand::u64",
    "std::env::var",
    "std::env::var_os",
    "std::env::vars",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file below some folders, as its path from the root and its text.
fn sources(folders: &[&str]) -> Vec<(String, String)> {
    files(folders, "rs")
}

/// The same of files with another ending.
fn files(folders: &[&str], ending: &str) -> Vec<(String, String)> {
    let mut open: Vec<PathBuf> = folders.iter().map(|folder| root().join(folder)).collect();
    let mut found = Vec::new();
    while let Some(path) = open.pop() {
        // What a package manager installs beside an example is not ours.
        if path.ends_with("node_modules") {
            continue;
        }
        if path.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == ending) {
            let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
            found.push((name, fs::read_to_string(&path).unwrap()));
        }
    }
    found.sort();
    found
}

/// The room that a file is in: the folder or file below `src`.
fn room(path: &str) -> &str {
    let inside = path.strip_prefix("src/").unwrap_or(path);
    inside.split('/').next().unwrap_or_default().trim_end_matches(".rs")
}

/// The code of a file: without its module of tests at the end, comments blanked.
fn code(text: &str) -> Vec<&str> {
    let lines: Vec<&str> = text.lines().collect();
    let is_test = |at: &usize| {
        lines[*at] == "#[cfg(test)]" && lines.get(at + 1).is_some_and(|next| next.ends_with('{'))
    };
    let end = (0..lines.len()).find(is_test).unwrap_or(lines.len());
    lines[..end].iter().map(|line| if line.trim_start().starts_with("//") { "" } else { line }).collect()
}

/// The names that stand first in `rest`: one, or those of a group in braces.
fn names(rest: &str) -> Vec<String> {
    let name =
        |text: &str| text.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let Some(group) = rest.strip_prefix('{') else { return vec![name(rest)] };
    let (mut depth, mut part, mut found) = (0, String::new(), Vec::new());
    for character in group.chars() {
        match character {
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            '{' => depth += 1,
            ',' if depth == 0 => found.push(name(&std::mem::take(&mut part))),
            _ => {}
        }
        if character != ',' || depth > 0 {
            part.push(character);
        }
    }
    found.push(name(&part));
    found.retain(|name| !name.is_empty());
    found
}

/// Which rooms a file uses: every path from `crate::` on, and every chain of `super::` that leads to the root.
fn uses(path: &str, text: &str) -> BTreeSet<String> {
    let inside = path.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
    let depth = inside.split('/').count();
    let to_root = "super::".repeat(depth);
    let code = code(text).join("\n");
    let mut found = BTreeSet::new();
    for prefix in ["crate::", to_root.as_str()] {
        for (at, _) in code.match_indices(prefix) {
            let is_whole = !code[..at]
                .ends_with(|before: char| before.is_alphanumeric() || before == ':' || before == '_');
            if is_whole {
                found.extend(names(&code[at + prefix.len()..]));
            }
        }
    }
    found.retain(|name| ROOMS.iter().any(|(room, _)| room == name));
    found
}

/// Fails with every broken rule at once.
fn expect_none(broken: &[String]) {
    assert!(broken.is_empty(), "{} broken:\n\n{}\n", broken.len(), broken.join("\n\n"));
}

#[test]
fn every_room_uses_only_what_is_below_it() {
    let mut broken = Vec::new();
    for (path, text) in sources(&["src"]) {
        let room = room(&path);
        let Some((_, allowed)) = ROOMS.iter().find(|(name, _)| *name == room) else {
            broken.push(format!(
                "{path}: the room `{room}` has no place in the house.\n  Rule: every room says whom it may use.\n  \
                 Remedy: move the file into a room that is there, or give the new one a line in ROOMS (tests/it/tidy/mod.rs)."
            ));
            continue;
        };
        for used in uses(&path, &text) {
            if used != room && !allowed.contains(&used.as_str()) {
                broken.push(format!(
                    "{path}: `{room}` uses `{used}`.\n  Rule: model <- dialect, ledger <- store <- delivery, api, \
                     dashboard <- app <- cli; a room uses only those before it, and those side by side not each other.\n  \
                     Remedy: move what both need down to the lower room, or take it as an argument or a trait that \
                     `app` fills in."
                ));
            }
        }
    }
    expect_none(&broken);
}

#[test]
fn every_file_says_what_it_is() {
    let mut broken = Vec::new();
    for (path, text) in sources(&["src", "tests", "xtask/src", "bench/src", "cluster/src"]) {
        if !text.starts_with("//! ") {
            broken.push(format!(
                "{path}: begins without a word about itself.\n  Rule: a file opens with `//!`: what it is, and what it \
                 refuses to know.\n  Remedy: write that sentence; if it is hard to write, the file does two things."
            ));
        }
    }
    expect_none(&broken);
}

#[test]
fn no_file_is_too_long_to_be_read() {
    let mut broken = Vec::new();
    for (path, text) in sources(&["src", "xtask/src", "bench/src", "cluster/src"]) {
        let lines = code(&text).len();
        if lines > LONGEST {
            broken.push(format!(
                "{path}: has {lines} lines without its tests.\n  Rule: no file has more than {LONGEST}; 100 to 350 is \
                 usual.\n  Remedy: find the second idea in it and give that a file of its own."
            ));
        }
    }
    expect_none(&broken);
}

#[test]
fn every_name_says_something() {
    let mut broken = Vec::new();
    for (path, _) in sources(&["src", "tests", "xtask/src", "bench/src", "cluster/src"]) {
        for part in path.trim_end_matches(".rs").split('/') {
            if EMPTY_NAMES.contains(&part) {
                broken.push(format!(
                    "{path}: `{part}` says nothing.\n  Rule: a module is named for what it is about.\n  Remedy: put each \
                     part where it is used, or name it with a word of the domain."
                ));
            }
        }
    }
    expect_none(&broken);
}

#[test]
fn the_world_comes_in_through_its_doors() {
    let mut broken = Vec::new();
    for (path, text) in sources(&["src", "xtask/src"]) {
        let code = code(&text);
        for (number, line) in (1..).zip(&code) {
            let mut report = |word: &str, rule: &str, remedy: &str| {
                let mut told = String::new();
                let _ = write!(told, "{path}:{number}: `{word}`.\n  Rule: {rule}\n  Remedy: {remedy}.");
                broken.push(told);
            };
            for (word, homes, remedy) in DOORS {
                if line.contains(word) && !homes.iter().any(|home| path.starts_with(home)) {
                    report(word, &format!("it stands only in {}.", homes.join(", ")), remedy);
                }
            }
            for word in WORLD {
                if PURE.contains(&room(&path)) && line.contains(word) {
                    let rule = format!("{} only compute: they take values and give values.", PURE.join(", "));
                    report(
                        word,
                        &rule,
                        "take the value as an argument; do the work in store, delivery, api or app",
                    );
                }
            }
        }
    }
    expect_none(&broken);
}

#[test]
fn clippy_guards_the_doors_too() {
    let listed = fs::read_to_string(root().join("clippy.toml")).unwrap();
    let missing = BANNED.iter().filter(|call| !listed.contains(&format!("path = \"{call}\"")));
    let broken: Vec<String> = missing
        .map(|call| {
            format!(
                "clippy.toml: `{call}` is not listed.\n  Rule: clippy refuses clock, chance and environment outside \
                 their doors, also through an alias.\n  Remedy: list it under disallowed-methods with its door as the reason."
            )
        })
        .collect();
    expect_none(&broken);
}

#[test]
fn uses_are_found_however_they_are_written() {
    let found = |path, text| uses(path, text).into_iter().collect::<Vec<_>>().join(" ");
    assert_eq!(found("src/a.rs", "use crate::model::Time;"), "model");
    assert_eq!(
        found("src/a/b.rs", "use crate::{model::{Time, Text}, store,\n    api::x as clock};"),
        "api model store"
    );
    assert_eq!(found("src/a/b.rs", "fn f(x: &crate::ledger::Rank) {}"), "ledger");
    assert_eq!(found("src/a/b.rs", "use super::super::cli::Command; use super::model::Inner;"), "cli");
    assert_eq!(found("src/a/mod.rs", "pub(crate) use super::delivery;"), "delivery");
    assert_eq!(found("src/a/b.rs", "// use crate::api;\n//! crate::cli\nuse other_crate::store;"), "");
    assert_eq!(
        found("src/a/b.rs", "use crate::model;\n#[cfg(test)]\nmod tests {\n use crate::cli;\n}"),
        "model"
    );
    assert_eq!(found("src/a/b.rs", "#[cfg(test)]\nmod plans;\nuse crate::api;"), "api");
}
