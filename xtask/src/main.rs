//! Chores of the repository: `cargo xtask test`, `cargo xtask random`, `cargo xtask imports`, `cargo xtask bench`,
//! `cargo xtask attack`, `cargo xtask audit`.
//! Knows which commands to run; refuses to know how postcall works inside.

mod audit;
mod command;
mod tools;

use std::process::{Command, ExitCode};

use command::{root, run};

const USAGE: &str = "usage: cargo xtask <command>

  test [-- FILTER]   install what the tests need (Debian packages when root, npm and PyPI packages), then run the
                     tests whose names contain FILTER, or every test: those of the whole program once over SQLite
                     and once over a PostgreSQL of their own, which is gone afterwards
  random             do whatever may happen to a store in whatever order, with fresh seeds: for ten minutes over each
                     store, `--minutes N` for as long as that, `--store NAME` over that one alone; `--seed N` does what
                     one seed says once more
  imports            bring an export with each of its numbers, ids and lines changed in every way, one change at a time, into
                     both stores; the tests try some of them
  bench              measure postcall beside a bare relay on this machine, everything on loopback; `--quick` takes
                     less than a minute, `--only NAME,NAME` runs single measures, `--publish` writes the last whole
                     run into docs/performance.md; `--store postgres` does each of them over PostgreSQL
  attack             try on a server of this machine what strangers and other tenants may try, each attack beside honest
                     users, and fail where these wait, are refused or get no answer; `--quick` takes short windows,
                     `--only NAME,NAME` makes single attacks, `--store postgres` makes them over PostgreSQL
  audit              check licences, duplicate versions and sources of all dependencies";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match args.first().map(String::as_str) {
        Some("test") => test(&args[1..]).map(|()| ExitCode::SUCCESS),
        Some("random") => random(&args[1..]).map(|()| ExitCode::SUCCESS),
        Some("imports") => imports().map(|()| ExitCode::SUCCESS),
        Some("bench") => measure("run", &args[1..]),
        Some("attack") => measure("attack", &args[1..]),
        Some("audit") => audit::run().map(|()| ExitCode::SUCCESS),
        _ => Err(USAGE.to_owned()),
    };
    match outcome {
        Ok(code) => code,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// The variable that tells the tests of a PostgreSQL to use; without it they start their own.
const TEST_DATABASE: &str = "POSTCALL_TEST_DATABASE_URL";
/// The variable that says which store the tests of the whole program run over; without it, SQLite.
const TEST_STORE: &str = "POSTCALL_TEST_STORE";
/// The variables that have the random test of the store run one seed, or fresh ones for so many minutes.
const TEST_SEED: &str = "POSTCALL_TEST_SEED";
const TEST_MINUTES: &str = "POSTCALL_TEST_MINUTES";
/// Tests that do not start the program over the store of the run, or choose theirs themselves: once is enough.
const WITHOUT_CHOICE: [&str; 12] = [
    "database::",
    "deploy::",
    "dialects::",
    "faults::",
    "js_json::",
    "made::",
    "store::",
    "tidy::",
    "tokens::",
    "vectors::",
    "vendors::",
    "wire::",
];

fn test(rest: &[String]) -> Result<(), String> {
    tools::ensure()?;
    let cluster = cluster::Cluster::start(cluster::FAST)?;
    let tests = |arguments: &[&str]| {
        let mut command = Command::new("cargo");
        command.args(["test", "--locked"]).args(arguments).env(TEST_DATABASE, cluster.url("postgres"));
        command
    };
    run(tests(&["--workspace"]).args(rest))?;
    println!("once more over PostgreSQL: the tests of the whole program");
    // Of the workspace too, so that nothing is compiled once more.
    let mut again = tests(&["--workspace", "--test", "it"]);
    again.env(TEST_STORE, "postgres").args(rest).args((!rest.iter().any(|it| it == "--")).then_some("--"));
    run(again.args(WITHOUT_CHOICE.iter().flat_map(|tests| ["--skip", tests])))
}

/// Every change to an import, not only some.
fn imports() -> Result<(), String> {
    let mut command = Command::new("cargo");
    command.args([
        "test",
        "--locked",
        "--test",
        "it",
        "whatever_is_changed_in_an_import",
        "--",
        "--nocapture",
    ]);
    run(command.env("POSTCALL_TEST_IMPORTS", "all"))
}

/// Runs the random test of the store by hand. What it prints at its end says how many seeds and actions there were.
fn random(rest: &[String]) -> Result<(), String> {
    let (mut minutes, mut seed, mut stores) = ("10", None, vec!["sqlite", "postgres"]);
    for pair in rest.chunks(2) {
        match pair {
            [name, value] if name == "--minutes" => minutes = value,
            [name, value] if name == "--seed" => seed = Some(value),
            [name, value] if name == "--store" && stores.contains(&value.as_str()) => stores = vec![value],
            _ => return Err(USAGE.to_owned()),
        }
    }
    for store in stores {
        let test = format!("store::over_{store}::whatever_happens_in_whatever_order");
        let mut command = Command::new("cargo");
        command.args([
            "test",
            "--locked",
            "-p",
            "postcall",
            "--test",
            "it",
            "--",
            &test,
            "--exact",
            "--nocapture",
        ]);
        match seed {
            Some(seed) => command.env(TEST_SEED, seed),
            None => command.env(TEST_MINUTES, minutes),
        };
        run(&mut command)?;
    }
    Ok(())
}

/// Builds both in release, and has the benchmark measure (`run`, which asserts nothing: a machine may be busy) or attack; its
/// status is the command's.
fn measure(what: &str, rest: &[String]) -> Result<ExitCode, String> {
    run(Command::new("cargo").args([
        "build",
        "--release",
        "--locked",
        "--bins",
        "-p",
        "postcall",
        "-p",
        "bench",
    ]))?;
    let binaries = root().join("target/release");
    let mut command = Command::new(binaries.join("bench"));
    command.arg(what).arg(binaries.join("postcall")).args(rest).current_dir(root());
    let status = command.status().map_err(|error| format!("cannot start {command:?}: {error}"))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}
