//! Runs commands at the root of the repository. Does not depend on what they are for.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The root of the repository, where every command runs.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask sits in the workspace").to_owned()
}

/// Runs a command, which has to succeed.
pub fn run(command: &mut Command) -> Result<(), String> {
    command.current_dir(root());
    let status = command.status().map_err(|error| format!("cannot start {command:?}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{command:?} ended with {status}")) }
}
