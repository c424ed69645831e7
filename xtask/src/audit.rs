//! Licences, duplicate versions and sources of all dependencies, by cargo-deny.
//! Refuses to know the rules: they are in `deny.toml`.

use std::process::Command;

use crate::command::{self, root};

/// The one version of the auditor, so that two machines never disagree.
const CARGO_DENY: &str = "0.20.2";

/// Runs cargo-deny, building the pinned version into `target/tools` when it is not there yet.
pub fn run() -> Result<(), String> {
    let tools = root().join("target/tools");
    let deny = tools.join("bin/cargo-deny");
    let is_current = Command::new(&deny)
        .arg("--version")
        .output()
        .is_ok_and(|out| String::from_utf8_lossy(&out.stdout).contains(CARGO_DENY));
    if !is_current {
        command::run(
            Command::new("cargo")
                .args(["install", "--quiet", "--locked", "--debug", "--force"])
                .args(["--version", CARGO_DENY, "--root"])
                .arg(&tools)
                .arg("cargo-deny"),
        )?;
    }
    command::run(Command::new(&deny).args(["check", "--hide-inclusion-graph", "licenses", "bans", "sources"]))
}
