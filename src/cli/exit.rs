//! The exit statuses of commands beside 0.

use std::process::ExitCode;

/// The command answered no: what it checks does not hold.
pub const NO: ExitCode = ExitCode::FAILURE;
/// The command could not be carried out. clap exits with the same.
pub const NOT_DONE: u8 = 2;
