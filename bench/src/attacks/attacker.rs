//! The process that attacks: prepares one attack, says that it is ready, and goes on until it is told to end; then it
//! says what came of it. Does not depend on which attack it is.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::LocalSet;

use super::script::Tally;
use super::{ALL, names};

/// What it says when it begins.
pub const READY: &str = "ready";
/// How long it goes on at the most, should nobody be left to end it.
const LONGEST: Duration = Duration::from_secs(120);

/// Which attack, and on whom.
#[derive(Args, Debug)]
pub struct Attacker {
    /// The attack.
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(names()))]
    pub name: String,
    /// What it attacks, as JSON.
    pub target: String,
}

/// Attacks until SIGTERM.
pub async fn run(attacker: Attacker) -> Result<(), String> {
    let attack = ALL.iter().find(|attack| attack.name == attacker.name).ok_or("no such attack")?;
    let target = serde_json::from_str(&attacker.target).map_err(|error| error.to_string())?;
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| error.to_string())?;
    let tally = Rc::new(RefCell::new(Tally::default()));
    let attacking = async {
        let script = (attack.prepare)(&target).await?;
        println!("{READY}");
        script.play(&target.host, &tally).await
    };
    let local = LocalSet::new();
    tokio::select! {
        ended = local.run_until(attacking) => ended?,
        _ = terminate.recv() => {}
        () = tokio::time::sleep(LONGEST) => {}
    }
    println!("{}", serde_json::to_string(&*tally.borrow()).map_err(|error| error.to_string())?);
    Ok(())
}
