//! The command line: one file a command. Refuses to know how the house works inside.

pub mod serve;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Takes call events in, keeps the books, delivers signed post-call webhooks until each is proven delivered.
#[derive(Parser)]
#[command(name = "postcall", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Serve(serve::Serve),
}

/// Reads the command line and does what it says.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("postcall: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let done = runtime.block_on(async {
        match cli.command {
            Command::Serve(serve) => serve::run(serve).await,
        }
    });
    match done {
        Ok(code) => code,
        Err(why) => {
            eprintln!("postcall: {why}");
            ExitCode::FAILURE
        }
    }
}
