//! `cargo xtask bench`: how fast postcall is beside a bare relay, on this machine, in one run.
//! Every part is a process of its own on loopback: sink, relay, `postcall serve`, and this one, which drives them in turns.
//! Knows HTTP, clocks and processes; but for the measures of the store itself it refuses to know how postcall works inside.

mod arguments;
mod attacks;
mod backlog;
mod billion;
mod bodies;
mod busy;
mod clock;
mod cost;
mod database;
mod embedded;
mod hang;
mod lateness;
mod load;
mod machine;
mod measures;
mod pacer;
mod part;
mod plot;
mod postcall;
mod process;
mod procfs;
mod publish;
mod relay;
mod report;
mod sent;
mod sink;
mod stage;
mod tables;
mod thinnest;
mod wire;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ::postcall::clock::{Clock, System};
use clap::Parser;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

use arguments::{Arguments, Run, What};
use database::{Server, Store};
use machine::Machine;
use report::Report;
use stage::Stage;

/// The same allocator as postcall's, in every part: a difference between two of them is not the allocator's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The status of a program that was interrupted, as shells have it.
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let what = Arguments::parse().what;
    // Only the bare relay gets the threads that a server has; every other part is one thread.
    let mut runtime = match what {
        What::Relay { .. } => Builder::new_multi_thread(),
        _ => Builder::new_current_thread(),
    };
    let done = match runtime.enable_all().build() {
        Ok(runtime) => runtime.block_on(perform(what)),
        Err(error) => Err(error.to_string()),
    };
    done.unwrap_or_else(|why| {
        eprintln!("bench: {why}");
        ExitCode::FAILURE
    })
}

async fn perform(what: What) -> Result<ExitCode, String> {
    match what {
        What::Sink => sink::run().await?,
        What::Relay { url } => relay::run(&url).await?,
        What::Thinnest { url } => thinnest::run(&url).await?,
        What::Hang => hang::run().await?,
        What::Busy => busy::run().await?,
        What::Attacker(attacker) => attacks::attacker(attacker).await?,
        What::Attack(attempt) => return until_interrupted(attacks::run(attempt, &root())).await,
        What::Run(run) => return until_interrupted(measure(run)).await,
    }
    Ok(ExitCode::SUCCESS)
}

/// Interrupted, it drops what it was doing, and with it every process and every directory that belongs to it.
async fn until_interrupted(work: impl Future<Output = Result<ExitCode, String>>) -> Result<ExitCode, String> {
    let listen = |kind| signal(kind).map_err(|error| error.to_string());
    let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    tokio::select! {
        done = work => done,
        _ = interrupt.recv() => Ok(ExitCode::from(INTERRUPTED)),
        _ = terminate.recv() => Ok(ExitCode::from(INTERRUPTED)),
    }
}

/// The root of the repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

async fn measure(run: Run) -> Result<ExitCode, String> {
    let root = root();
    if run.publish {
        return publish::publish(&root, run.store).map(|()| ExitCode::SUCCESS);
    }
    let directory = publish::directory(&root)?;
    let is_whole = !run.quick && run.only.is_empty();
    let server = match run.store {
        Store::Sqlite => None,
        Store::Postgres => Some(Server::start()?),
    };
    let data = server.as_ref().map_or_else(|| directory.clone(), |server| server.directory());
    let machine = Machine::this(&run.postcall, &data);
    let date = System.now().rfc3339_seconds();
    let mut report = Report::new(date, run.typed(), is_whole, machine);
    report.store = run.store;
    report.database = server.as_ref().map(|server| server.sentence()).transpose()?;
    let mut stage = Stage::new(run.postcall, directory.clone(), run.quick, server);
    for measure in measures::ALL.iter().filter(|measure| measure.is_for(run.store)) {
        if !run.only.is_empty() && !run.only.iter().any(|name| name == measure.name()) {
            continue;
        }
        eprintln!("{}: {}", measure.name(), measure.about());
        let (known, start) = (report.rows.len(), clock::now());
        if let Err(why) = measure.run(&mut stage, &mut report).await {
            eprintln!("  {why}");
            report.failures.push(format!("{}: {why}", measure.name()));
        }
        stage.note(&format!("took {:.0} s", clock::seconds(clock::now() - start)));
        for row in &mut report.rows[known..] {
            row.measure = measure.name().to_owned();
        }
    }
    publish::print(&report);
    publish::save(&report, &directory)?;
    Ok(if report.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
