//! Chores of the repository: `cargo xtask test`, `cargo xtask audit`.
//! Knows tools and processes; refuses to know how postcall works inside.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

const USAGE: &str = "usage: cargo xtask <command>

  test    install what the tests need (Debian packages, when root), then run every test
  audit   check licences, duplicate versions and sources of all dependencies";

/// The one version of the auditor, so that two machines never disagree.
const CARGO_DENY: &str = "0.20.2";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match args.first().map(String::as_str) {
        Some("test") => test(&args[1..]),
        Some("audit") => audit(),
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

fn test(filter: &[String]) -> Result<(), String> {
    run(Command::new("cargo").args(["test", "--workspace", "--locked"]).args(filter))
}

/// Runs cargo-deny, building the pinned version into `target/tools` when it is not there yet.
fn audit() -> Result<(), String> {
    let tools = root().join("target/tools");
    let deny = tools.join("bin/cargo-deny");
    let is_current = Command::new(&deny)
        .arg("--version")
        .output()
        .is_ok_and(|out| String::from_utf8_lossy(&out.stdout).contains(CARGO_DENY));
    if !is_current {
        run(Command::new("cargo")
            .args(["install", "--quiet", "--locked", "--debug", "--force"])
            .args(["--version", CARGO_DENY, "--root"])
            .arg(&tools)
            .arg("cargo-deny"))?;
    }
    run(Command::new(&deny).args(["check", "--hide-inclusion-graph", "licenses", "bans", "sources"]))
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask sits in the workspace").to_owned()
}

fn run(command: &mut Command) -> Result<(), String> {
    let status =
        command.current_dir(root()).status().map_err(|e| format!("cannot start {command:?}: {e}"))?;
    if status.success() { Ok(()) } else { Err(format!("{command:?} ended with {status}")) }
}
