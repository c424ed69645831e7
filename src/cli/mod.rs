//! The command line: one file a command. Refuses to know how the house works inside.

pub mod analytics;
mod arguments;
pub mod batches;
pub mod calls;
pub mod campaigns;
pub mod client;
mod contacts_file;
pub mod deliveries;
pub mod demo;
pub mod demo_report;
pub mod diagnosis;
pub mod dialer;
pub mod erase;
pub mod events;
mod exit;
pub mod export;
pub mod import;
pub mod keys;
pub mod migrate_store;
pub mod openapi;
pub mod progress;
pub mod receivers;
pub mod replay;
pub mod serve;
pub mod simulate;
mod simulate_batch;
mod table;
mod terminal;
pub mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use exit::NOT_DONE;
use terminal::remark;

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
    Demo(demo::Demo),
    Simulate(simulate::Simulate),
    Verify(verify::Verify),
    Keys(keys::Keys),
    Erase(erase::Erase),
    Export(export::Export),
    Import(import::Import),
    MigrateStore(migrate_store::MigrateStore),
    Batches(batches::Batches),
    Calls(calls::Calls),
    Campaigns(campaigns::Campaigns),
    Agents(campaigns::Agents),
    Analytics(analytics::Analytics),
    Deliveries(deliveries::Deliveries),
    Replay(Box<replay::ReplayCommand>),
    Events(events::Events),
    Openapi(openapi::OpenApi),
}

/// Reads the command line and does what it says.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            remark(&format!("postcall: cannot start: {error}"));
            return ExitCode::from(NOT_DONE);
        }
    };
    let done = runtime.block_on(async {
        match cli.command {
            Command::Serve(serve) => serve::run(serve).await,
            Command::Demo(demo) => demo::run(demo).await,
            Command::Simulate(simulate) => simulate::run(simulate).await,
            Command::Verify(verify) => verify::run(&verify),
            Command::Keys(keys) => keys::run(keys).await,
            Command::Erase(erase) => erase::run(erase).await,
            Command::Export(export) => export::run(export).await,
            Command::Import(import) => import::run(import).await,
            Command::MigrateStore(migrate) => migrate_store::run(migrate).await,
            Command::Batches(batches) => batches::run(batches).await,
            Command::Calls(calls) => calls::run(calls).await,
            Command::Campaigns(campaigns) => campaigns::run(campaigns).await,
            Command::Agents(agents) => campaigns::run_agents(agents).await,
            Command::Analytics(analytics) => analytics::run(analytics).await,
            Command::Deliveries(deliveries) => deliveries::run(deliveries).await,
            Command::Replay(replay) => replay::run(*replay).await,
            Command::Events(events) => events::run(events).await,
            Command::Openapi(openapi) => openapi::run(&openapi),
        }
    });
    match done {
        Ok(code) => code,
        Err(why) => {
            remark(&format!("postcall: {why}"));
            ExitCode::from(NOT_DONE)
        }
    }
}
