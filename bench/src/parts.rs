//! The processes that a run is made of: started on free ports, ended when dropped.

use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::bodies::SECRET;
use crate::load::Sent;
use crate::sink::{Schedule, Seen};
use crate::wire;

const KEY: &str = "bench-admin-key-of-this-run";
/// How long the sink is given for what was accepted but not delivered when the load ended.
const PATIENCE: Duration = Duration::from_secs(60);

/// The sink or the relay: this very program, in a process of its own.
pub struct Part {
    /// Where it answers.
    pub url: String,
    _child: Child,
}

async fn start(command: &mut Command) -> Result<(Child, Lines<BufReader<ChildStdout>>), String> {
    let spawned = command.stdout(Stdio::piped()).kill_on_drop(true).spawn();
    let mut child = spawned.map_err(|error| format!("cannot start {command:?}: {error}"))?;
    let lines = BufReader::new(child.stdout.take().ok_or("no output to read")?).lines();
    Ok((child, lines))
}

/// The first line that the filter takes.
async fn line_of<T>(
    lines: &mut Lines<BufReader<ChildStdout>>,
    filter: impl Fn(&str) -> Option<T>,
) -> Result<T, String> {
    while let Some(line) = lines.next_line().await.map_err(|error| error.to_string())? {
        if let Some(found) = filter(&line) {
            return Ok(found);
        }
    }
    Err("a part ended before it listened".to_owned())
}

impl Part {
    /// Starts a part.
    pub async fn start(args: &[&str]) -> Result<Self, String> {
        let this = std::env::current_exe().map_err(|error| error.to_string())?;
        let (child, mut lines) = start(Command::new(this).args(args)).await?;
        let url = line_of(&mut lines, |line| line.starts_with("http://").then(|| line.to_owned())).await?;
        Ok(Self { url, _child: child })
    }

    /// What the sink has seen.
    pub async fn seen(&self) -> Result<Seen, String> {
        let (_, body) = wire::once("GET", &self.url, &[], String::new()).await?;
        serde_json::from_slice(&body).map_err(|error| error.to_string())
    }

    /// Tells the sink when requests are due.
    pub async fn follow(&self, schedule: Schedule) -> Result<(), String> {
        let schedule = serde_json::to_string(&schedule).map_err(|error| error.to_string())?;
        wire::once("PUT", &self.url, &[], schedule).await.map(drop)
    }

    /// Waits until everything that was accepted has arrived; gives what the sink saw.
    pub async fn complete(&self, sent: &Sent) -> Result<Seen, String> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let seen = self.seen().await?;
            if seen.distinct >= sent.accepted {
                return Ok(seen);
            }
            if tokio::time::Instant::now() > deadline {
                return Err(format!("{} were accepted, only {} arrived", sent.accepted, seen.distinct));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Calls per second from the first request to the arrival of the last call.
    pub async fn delivered_per_second(&self, sent: &Sent) -> Result<f64, String> {
        let seen = self.complete(sent).await?;
        #[expect(clippy::cast_precision_loss, reason = "counts of one run")]
        Ok(seen.distinct as f64 * 1e6 / seen.last.saturating_sub(sent.start).max(1) as f64)
    }
}

/// `postcall serve` with one signed source and one endpoint, on a directory of its own.
pub struct Postcall {
    /// The door's URL.
    pub door: String,
    url: String,
    _child: Child,
    _data: TempDir,
}

impl Postcall {
    /// Starts it with an endpoint of the same dialect at the sink.
    pub async fn start(binary: &str, sink: &str) -> Result<Self, String> {
        let data = tempfile::tempdir().map_err(|error| error.to_string())?;
        let mut command = Command::new(binary);
        command.args(["serve", "--listen", "127.0.0.1:0", "--allow-network", "127.0.0.0/8", "--data"]);
        command.arg(data.path()).env("POSTCALL_ADMIN_KEY", KEY).env("POSTCALL_LOG", "warn");
        let (child, mut lines) = start(&mut command).await?;
        let url = line_of(&mut lines, |line| line.strip_prefix("listening on ").map(str::to_owned)).await?;
        let source = json!({"name": "bench", "dialect": "voicegenie", "secret": SECRET});
        let source = api(&url, "POST", "/v1/sources", Some(source)).await?;
        let endpoint = json!({"url": sink, "dialect": "voicegenie"});
        api(&url, "POST", "/v1/endpoints", Some(endpoint)).await?;
        let door = source["url"].as_str().ok_or("the source has no URL")?.to_owned();
        Ok(Self { door, url, _child: child, _data: data })
    }

    /// A run counts only if the books balance and everything accepted is delivered.
    pub async fn check_sums(&self, accepted: u64) -> Result<(), String> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let sums = api(&self.url, "GET", "/v1/reconciliation?recount=true", None).await?;
            let sum = &sums["endpoints"][0];
            if sum["owed"] == accepted && sum["delivered"] == accepted {
                return Ok(());
            }
            if tokio::time::Instant::now() > deadline {
                return Err(format!("{accepted} were accepted, but the books say {sum}"));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

async fn api(url: &str, method: &str, path: &str, body: Option<Value>) -> Result<Value, String> {
    let bearer = format!("Bearer {KEY}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let body = body.map(|body| body.to_string()).unwrap_or_default();
    let (status, answer) = wire::once(method, &format!("{url}{path}"), &headers, body).await?;
    let text = String::from_utf8_lossy(&answer);
    if !(200..300).contains(&status) {
        return Err(format!("{method} {path} was answered {status}: {text}"));
    }
    serde_json::from_str(&text).map_err(|error| error.to_string())
}
