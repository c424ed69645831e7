//! Chores of the repository: `cargo xtask test`, `cargo xtask bench`, `cargo xtask audit`.
//! Knows which commands to run; refuses to know how postcall works inside.

mod audit;
mod tools;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const USAGE: &str = "usage: cargo xtask <command>

  test [-- FILTER]   install what the tests need (Debian packages when root, npm and PyPI packages), then run the
                     tests whose names contain FILTER, or every test
  bench [--quick]    measure postcall beside a bare relay on this machine, everything on loopback
  audit              check licences, duplicate versions and sources of all dependencies";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match args.first().map(String::as_str) {
        Some("test") => test(&args[1..]),
        Some("bench") => bench(&args[1..]),
        Some("audit") => audit::run(),
        _ => Err(USAGE.to_owned()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn test(rest: &[String]) -> Result<(), String> {
    tools::ensure()?;
    run(Command::new("cargo").args(["test", "--workspace", "--locked"]).args(rest))
}

/// Builds both in release and measures. Nothing is asserted: a machine may be busy.
fn bench(rest: &[String]) -> Result<(), String> {
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
    run(Command::new(binaries.join("bench")).arg(binaries.join("postcall")).args(rest))
}

/// The root of the repository, where every command runs.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask sits in the workspace").to_owned()
}

fn run(command: &mut Command) -> Result<(), String> {
    command.current_dir(root());
    let status = command.status().map_err(|error| format!("cannot start {command:?}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{command:?} ended with {status}")) }
}
