//! `cargo xtask attack`: each attack against a server of its own, started for it and removed after it, beside honest users
//! that are measured without and with the attack; and the table of what came of it. Does not depend on what an attack
//! does.

use std::collections::BTreeMap;
use std::fs;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Command as Plain, ExitCode};
use std::rc::Rc;
use std::time::Duration;

use clap::Args;
use clap::builder::PossibleValuesParser;
use serde::{Deserialize, Serialize};
use tokio::process::Command;
use tokio::time::{sleep, timeout};

use super::attacker::READY;
use super::honest::{Honest, Window};
use super::leash::Leash;
use super::script::Tally;
use super::target::Target;
use super::{ALL, Attack, names, verdict};
use crate::database::{Server, Store};
use crate::postcall::{Data, Postcall};
use crate::process::Process;
use crate::procfs;
use crate::publish;
use crate::tables::Table;

/// How long a whole window lasts, and a quick one.
const WINDOW: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(4));
/// How long the honest users go first, unmeasured: caches fill, connections are opened.
const WARM_UP: Duration = Duration::from_secs(1);
/// From the begin of an attack to the begin of its window.
const SETTLING: Duration = Duration::from_millis(500);
/// How long preparing an attack may take, such as making a thousand endpoints.
const PREPARATION: Duration = Duration::from_secs(60);
/// How long one attack may take from start to end, whatever hangs. The server is then gone with everything else.
const LONGEST: Duration = Duration::from_secs(180);
/// How long after an attack the server may take to answer again.
const RECOVERY: Duration = Duration::from_secs(10);
/// The file beside the build that keeps what came out.
const FILE: &str = "attack.json";

/// Which attacks, on what.
#[derive(Args, Debug)]
pub struct Attempt {
    /// The postcall to attack.
    pub postcall: PathBuf,
    /// Short windows: to see that everything works
    #[arg(long)]
    pub quick: bool,
    /// Only these attacks
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = PossibleValuesParser::new(names()))]
    pub only: Vec<String>,
    /// Where postcall keeps its data; for `postgres` a server is started on this machine and removed
    #[arg(long, value_name = "STORE", value_enum, default_value_t)]
    pub store: Store,
}

/// What came of one attack.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Outcome {
    /// Its name.
    attack: String,
    /// What it does.
    about: String,
    /// The honest users without it.
    without: Window,
    /// And with it.
    with: Window,
    /// The most memory of the server in megabytes.
    memory: f64,
    /// What the attacker did and was answered.
    tally: Tally,
    /// What the server counted meanwhile that speaks of refusing.
    counted: BTreeMap<String, u64>,
    /// Every criterion that was missed.
    missed: Vec<String>,
}

/// Makes the attacks; the status says whether every criterion was met.
pub async fn run(attempt: Attempt, root: &Path) -> Result<ExitCode, String> {
    // A thousand connections are two thousand files on one machine, and the limit that a process starts with is often less.
    raise_file_limit();
    let directory = publish::directory(root)?;
    let server = match attempt.store {
        Store::Sqlite => None,
        Store::Postgres => Some(Server::start()?),
    };
    let ground = Ground::new(&attempt, directory.clone(), server)?;
    let (mut outcomes, mut failures, mut skipped) = (Vec::new(), Vec::new(), Vec::new());
    for attack in ALL {
        if !attempt.only.is_empty() && !attempt.only.iter().any(|name| name == attack.name) {
            continue;
        }
        eprintln!("{}: {}", attack.name, attack.about);
        if let Some(option) = attack.needs.filter(|option| !ground.knows(option)) {
            eprintln!("  not tried: this postcall has no {option}");
            skipped.push(format!("{}: this postcall has no {option}", attack.name));
            continue;
        }
        let tried = timeout(LONGEST, ground.attack(attack)).await;
        match tried.unwrap_or_else(|_| Err(format!("not over after {LONGEST:?}"))) {
            Ok(outcome) => {
                for missed in &outcome.missed {
                    eprintln!("  {missed}");
                }
                outcomes.push(outcome);
            }
            Err(why) => {
                eprintln!("  {why}");
                failures.push(format!("{}: {why}", attack.name));
            }
        }
    }
    let json = serde_json::to_string_pretty(&outcomes).map_err(|error| error.to_string())?;
    let written = fs::write(directory.join(FILE), json);
    written.map_err(|error| format!("cannot write {FILE}: {error}"))?;
    println!("\n{}", table(&outcomes).plain());
    let missed = outcomes
        .iter()
        .flat_map(|outcome| outcome.missed.iter().map(|missed| format!("{}: {missed}", outcome.attack)));
    let missed: Vec<String> = missed.chain(failures).collect();
    skipped.iter().for_each(|skipped| println!("not tried: {skipped}"));
    missed.iter().for_each(|missed| println!("missed: {missed}"));
    Ok(if missed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // What does not work shows when a connection cannot be opened.
    let _ = setrlimit(Resource::Nofile, limit);
}

/// Where attacks are made.
struct Ground {
    binary: PathBuf,
    directory: PathBuf,
    server: Option<Rc<Server>>,
    is_quick: bool,
    /// What the binary says of its options.
    help: String,
    /// A name server that hears every question and answers none.
    silent: UdpSocket,
}

impl Ground {
    fn new(attempt: &Attempt, directory: PathBuf, server: Option<Rc<Server>>) -> Result<Self, String> {
        let binary = attempt.postcall.clone();
        let asked = Plain::new(&binary).args(["serve", "--help"]).output();
        let asked = asked.map_err(|error| format!("cannot start {}: {error}", binary.display()))?;
        Ok(Self {
            binary,
            directory,
            server,
            is_quick: attempt.quick,
            help: String::from_utf8_lossy(&asked.stdout).into_owned(),
            silent: UdpSocket::bind("127.0.0.1:0").map_err(|error| error.to_string())?,
        })
    }

    /// Whether the binary has an option. An older one may not.
    fn knows(&self, option: &str) -> bool {
        self.help.contains(option)
    }

    /// The options of the server that it knows.
    fn options(&self) -> Result<Vec<String>, String> {
        let silent = self.silent.local_addr().map_err(|error| error.to_string())?;
        let all = [("--name-server", silent.to_string())];
        let known = all.into_iter().filter(|(option, _)| self.knows(option));
        Ok(known.flat_map(|(option, value)| [option.to_owned(), value]).collect())
    }

    async fn attack(&self, attack: &Attack) -> Result<Outcome, String> {
        let lasting = if self.is_quick { WINDOW.1 } else { WINDOW.0 };
        let data = Data::new(&self.directory, self.server.as_ref())?;
        let postcall = Postcall::start_with(&self.binary, &data, &self.options()?).await?;
        let honest = Honest::start(&postcall, attack).await?;
        let target = honest.target(&postcall).await?;
        honest.window(WARM_UP).await?;
        let without = honest.window(lasting).await?;
        let before = postcall.metrics().await?;
        let (with, tally) = beside(attack, &target, true, honest.window(lasting)).await?;
        let after = timeout(RECOVERY, postcall.metrics()).await;
        let is_back = matches!(after, Ok(Ok(_)));
        let memory = procfs::memory(postcall.pid()).map(|memory| memory.most).unwrap_or_default();
        let mut missed = verdict::missed(&without, &with, memory);
        if !is_back {
            missed.push(format!("/metrics was not answered {RECOVERY:?} after the attack"));
        }
        let after = after.ok().and_then(Result::ok).unwrap_or_default();
        Ok(Outcome {
            attack: attack.name.to_owned(),
            about: attack.about.to_owned(),
            without,
            with,
            memory,
            tally,
            counted: refusals(&before, &after),
            missed,
        })
    }
}

/// Has an attack go on in a process of its own while something is measured, held to its part of a core or not.
pub async fn beside<T>(
    attack: &Attack,
    target: &Target,
    is_held: bool,
    measured: impl Future<Output = Result<T, String>>,
) -> Result<(T, Tally), String> {
    let this = std::env::current_exe().map_err(|error| error.to_string())?;
    let target = serde_json::to_string(target).map_err(|error| error.to_string())?;
    let mut command = Command::new(this);
    command.args(["attacker", attack.name, &target]);
    let started = timeout(PREPARATION, Process::start(&mut command, |line| (line == READY).then_some(())));
    let (mut process, ()) = started.await.map_err(|_| "the attack could not be prepared in time")??;
    let leash = is_held.then(|| Leash::on(process.pid())).transpose()?;
    sleep(SETTLING).await;
    let measured = measured.await?;
    drop(leash);
    process.terminate()?;
    let tally = process.line().await?;
    Ok((measured, serde_json::from_str(&tally).map_err(|error| error.to_string())?))
}

/// Words in the names and labels of counters that speak of refusing.
const REFUSING: [&str; 11] = [
    "cut",
    "refused",
    "stranger",
    "unauthorized",
    "unavailable",
    "rejected",
    "shed",
    "closed",
    "limit",
    "slow",
    "timeout",
];

/// What counters that speak of refusing have grown by.
fn refusals(before: &str, after: &str) -> BTreeMap<String, u64> {
    let counters = |text: &str| -> BTreeMap<String, u64> {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let counters = lines
            .filter_map(|line| line.rsplit_once(' '))
            .filter(|(name, _)| name.contains("_total") && REFUSING.iter().any(|word| name.contains(word)));
        counters.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect()
    };
    let before = counters(before);
    let grown = |(name, value): (String, u64)| {
        let more = value.saturating_sub(before.get(&name).copied().unwrap_or_default());
        (more > 0).then_some((name, more))
    };
    counters(after).into_iter().filter_map(grown).collect()
}

/// What came of all, for a terminal.
fn table(outcomes: &[Outcome]) -> Table {
    let head = [
        "attack",
        "ingest p50 ms",
        "p99 ms",
        "to receiver p50 ms",
        "p99 ms",
        "memory MB",
        "unanswered",
        "attacker was answered",
        "server counted",
        "",
    ];
    let pair = |without: f64, with: f64| format!("{without:.1} -> {with:.1}");
    let list = |all: &mut dyn Iterator<Item = (String, u64)>| {
        let all: Vec<String> = all.map(|(what, count)| format!("{what} x {count}")).collect();
        all.join("\n")
    };
    let row = |outcome: &Outcome| {
        let Outcome { without, with, tally, .. } = outcome;
        let unanswered: u64 = with.probes.iter().map(|probe| probe.unanswered).sum();
        let probes: u64 = with.probes.iter().map(|probe| probe.made).sum();
        let statuses = tally.statuses.iter().map(|(status, count)| (status.to_string(), *count));
        let broken = (tally.broken > 0).then(|| ("broken off".to_owned(), tally.broken));
        vec![
            outcome.attack.clone(),
            pair(without.ingest.p50, with.ingest.p50),
            pair(without.ingest.p99, with.ingest.p99),
            pair(without.delivered.p50, with.delivered.p50),
            pair(without.delivered.p99, with.delivered.p99),
            format!("{:.0}", outcome.memory),
            format!("{unanswered} of {probes}"),
            list(&mut statuses.chain(broken)),
            list(&mut outcome.counted.clone().into_iter()),
            if outcome.missed.is_empty() { "pass" } else { "short" }.to_owned(),
        ]
    };
    Table::new("", &head, outcomes.iter().map(row).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_refusals_are_shown_by_what_they_grew() {
        let before = "x_strangers_total 3\nx_bodies_total{result=\"recorded\"} 5\n";
        let after = "# TYPE x counter\nx_strangers_total 10\nx_bodies_total{result=\"recorded\"} 9\n\
                     x_bodies_total{result=\"unavailable\"} 2\nx_refused 7\n";
        let grown: Vec<_> = refusals(before, after).into_iter().collect();
        assert_eq!(
            grown,
            [("x_bodies_total{result=\"unavailable\"}".to_owned(), 2), ("x_strangers_total".to_owned(), 7)]
        );
    }
}
