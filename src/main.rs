//! The thin binary: everything is in the library.

use std::process::ExitCode;

use clap::Parser;

#[tokio::main]
async fn main() -> ExitCode {
    postcall::cli::run(postcall::cli::Cli::parse()).await
}
