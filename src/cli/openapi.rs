//! `postcall openapi`: prints the document of the API, for generators of clients. Refuses to know what is in it.

use std::process::ExitCode;

use super::terminal::say;
use crate::api;

/// Print the OpenAPI document of the API
#[derive(Debug, clap::Args)]
pub struct OpenApi {}

/// Prints.
///
/// # Errors
/// When standard output cannot be written to.
pub fn run(_: &OpenApi) -> Result<ExitCode, String> {
    say(&api::OPENAPI)?;
    Ok(ExitCode::SUCCESS)
}
