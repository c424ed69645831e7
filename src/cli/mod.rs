//! The command line: one file a command. Refuses to do what a command does.

pub mod client;
pub mod diagnosis;
pub mod dialer;
pub mod progress;
pub mod simulate;
pub mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::model::DialectName;

/// The one binary between AI dialers and everybody who must learn what happened on a call.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Simulate(simulate::Simulate),
    Verify(verify::Verify),
}

/// Runs the command that was asked for.
pub async fn run(cli: Cli) -> ExitCode {
    match cli.command {
        Command::Simulate(simulate) => simulate::run(simulate).await,
        Command::Verify(verify) => verify::run(verify).await,
    }
}

/// Says why a command could not be carried out.
fn refuse(sentence: &str) -> ExitCode {
    eprintln!("postcall: {sentence}");
    ExitCode::from(2)
}

/// Reads a dialect's name.
fn dialect_name(name: &str) -> Result<DialectName, String> {
    let names = DialectName::ALL.map(DialectName::as_str).join(", ");
    DialectName::parse(name).ok_or_else(|| format!("the dialects are {names}"))
}
