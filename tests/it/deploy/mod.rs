//! What the repository has for running many nodes: the image, `compose.yaml` and `deploy/`. Checked as far as it can be
//! without an engine or a cluster: they are what compose and Kubernetes read, and every flag, variable, path and port in
//! them is one that postcall has. Knows where those are said; refuses to know why they are as they are.

mod compose;
mod dockerfile;
mod kubernetes;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde::de::DeserializeOwned;

use crate::harness::House;

/// Where the nodes of an image keep what they have, and what lies there before the first start.
const DATA: &str = "/var/lib/postcall";
const MASTER_KEY: &str = "/var/lib/postcall/master.key";
/// What every description of a node says by itself, since secrets do not belong on command lines.
const VARIABLES: [&str; 3] = ["POSTCALL_ADMIN_KEY", "POSTCALL_DATABASE_URL", "POSTCALL_LOG"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every document of a YAML file.
fn documents<T: DeserializeOwned>(path: &str) -> Vec<T> {
    serde_saphyr::from_multiple(&read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// How long a stop may take by `src/app.rs`, in seconds: its patience with requests, then with attempts.
fn longest_stop() -> u64 {
    let app = read("src/app.rs");
    let patience = app.split("const PATIENCE: Duration = Duration::from_secs(").nth(1);
    let seconds = patience.and_then(|rest| rest.split(')').next()).expect("app.rs says its patience");
    2 * seconds.parse::<u64>().expect("in seconds")
}

/// Checks the arguments of a node against `postcall serve --help`; gives the port that it listens on.
#[track_caller]
fn check_arguments(arguments: &[String]) -> u16 {
    let help = Command::new(env!("CARGO_BIN_EXE_postcall")).args(["serve", "--help"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let known: BTreeSet<&str> = help
        .split(|character: char| !(character.is_alphanumeric() || character == '-'))
        .filter(|word| word.starts_with("--"))
        .collect();
    assert_eq!(arguments[0], "serve", "{arguments:?}");
    let mut given = std::collections::BTreeMap::new();
    for argument in &arguments[1..] {
        let (flag, value) = argument.split_once('=').unwrap_or_else(|| panic!("write {argument} with ="));
        assert!(known.contains(flag), "`postcall serve` has no {flag}");
        assert!(given.insert(flag, value).is_none(), "{flag} is given twice");
    }
    assert_eq!(given["--data"], DATA);
    let listen: std::net::SocketAddr = given["--listen"].parse().unwrap();
    assert!(listen.ip().is_unspecified(), "{listen} is not reached from outside its container");
    listen.port()
}

/// Checks the variables that a node is given: each is read, and all that matter are given.
#[track_caller]
fn check_variables<'a>(given: impl Iterator<Item = &'a str>) {
    let given: BTreeSet<&str> = given.collect();
    assert_eq!(given, BTreeSet::from(VARIABLES));
    let config = read("src/config.rs");
    for name in given {
        assert!(config.contains(&format!("\"{name}\"")), "nobody reads {name}");
    }
}

/// Asks a real node for every path that an operator's file names: all have to be there.
async fn check_paths(paths: &[&str]) {
    let house = House::start().await;
    for path in paths {
        house.api.get(path).await.expect(200);
    }
    house.stop().await;
}
