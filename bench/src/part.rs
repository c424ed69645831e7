//! The parts beside postcall: this very program, started as sink, relay or hanging receiver in a process of its own.
//! Refuses to know what they are measured against.

use std::time::Duration;

use tokio::process::Command;

use crate::clock::{now, rate};
use crate::process::Process;
use crate::sent::Sent;
use crate::sink::{MARK_PATH, Schedule, Seen};
use crate::wire;

/// How long nothing may arrive before the rest is taken for lost: longer than the lease of a node that was killed.
const PATIENCE: Duration = Duration::from_secs(90);
/// Between two questions to the sink.
const PAUSE: Duration = Duration::from_millis(20);

/// A part that only has to be there.
pub struct Part {
    /// Where it answers.
    pub url: String,
    process: Process,
}

impl Part {
    /// Starts a part: `sink`, `relay URL`, `thinnest URL`, `hang` or `busy`.
    pub async fn start(args: &[&str]) -> Result<Self, String> {
        let this = std::env::current_exe().map_err(|error| error.to_string())?;
        let url = |line: &str| line.starts_with("http://").then(|| line.to_owned());
        let (process, url) = Process::start(Command::new(this).args(args), url).await?;
        Ok(Self { url, process })
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }
}

/// The bare relay before a sink.
pub async fn bare_relay(sink: &str) -> Result<Part, String> {
    Part::start(&["relay", sink]).await
}

/// The sink.
pub struct Sink(Part);

impl Sink {
    /// Starts one.
    pub async fn start() -> Result<Self, String> {
        Part::start(&["sink"]).await.map(Self)
    }

    /// Where it answers.
    pub fn url(&self) -> &str {
        &self.0.url
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.0.pid()
    }

    /// What it has seen.
    pub async fn seen(&self) -> Result<Seen, String> {
        let (_, body) = wire::once("GET", &self.0.url, &[], String::new()).await?;
        serde_json::from_slice(&body).map_err(|error| error.to_string())
    }

    /// It counts from 0 again, and knows when calls are due.
    pub async fn begin(&self, schedule: Option<Schedule>) -> Result<(), String> {
        let schedule = serde_json::to_string(&schedule).map_err(|error| error.to_string())?;
        wire::once("PUT", &self.0.url, &[], schedule).await.map(drop)
    }

    /// What comes from now on is told apart from what came before.
    pub async fn mark(&self) -> Result<(), String> {
        wire::once("PUT", &format!("{}/{MARK_PATH}", self.0.url), &[], String::new()).await.map(drop)
    }

    /// Waits until `count` of what it has seen is at least `wanted`.
    pub async fn wait_for(&self, wanted: u64, count: impl Fn(&Seen) -> u64) -> Result<Seen, String> {
        let (mut best, mut since) = (0, now());
        loop {
            let seen = self.seen().await?;
            let counted = count(&seen);
            if counted >= wanted {
                return Ok(seen);
            }
            if counted > best {
                (best, since) = (counted, now());
            } else if u128::from(now() - since) > PATIENCE.as_micros() {
                return Err(format!("{wanted} were due, only {counted} arrived"));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Waits until everything that was accepted has arrived; gives what it saw.
    pub async fn complete(&self, sent: &Sent) -> Result<Seen, String> {
        self.wait_for(sent.accepted, |seen| seen.distinct).await
    }

    /// Calls per second from the first request to the arrival of the last call.
    pub async fn delivered_per_second(&self, sent: &Sent) -> Result<f64, String> {
        let seen = self.complete(sent).await?;
        Ok(rate(seen.distinct, seen.last_new.saturating_sub(sent.start)))
    }
}
