//! `postcall serve` as a process, and as much of its API as the measures need.
//! Refuses to know how it works inside; it is asked as any client asks.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::rc::Rc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::bodies::SECRET;
use crate::clock::now;
use crate::database::{Database, Server};
use crate::process::Process;
use crate::wire;

const KEY: &str = "bench-admin-key-of-this-run";
/// How long the books may stand still before what they lack is taken for lost: longer than a node's lease.
const PATIENCE: Duration = Duration::from_secs(90);
/// Between two looks at the books.
const PAUSE: Duration = Duration::from_millis(50);

/// A running postcall.
pub struct Postcall {
    binary: PathBuf,
    url: String,
    process: Process,
    /// When its process was started, in microseconds.
    pub started: u64,
    /// How long it was until it said that it was ready, in microseconds.
    pub took: u64,
}

/// What one endpoint is owed, by its books.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Sum {
    /// Which one.
    pub endpoint_id: String,
    /// All deliveries ever planned.
    pub owed: u64,
    /// Of them delivered.
    pub delivered: u64,
    /// Still to be tried.
    pub pending: u64,
}

impl Postcall {
    /// Starts it on its data and waits until it is ready.
    pub async fn start(binary: &Path, data: &Data) -> Result<Self, String> {
        Self::start_with(binary, data, &[]).await
    }

    /// The same with more options.
    pub async fn start_with(binary: &Path, data: &Data, options: &[String]) -> Result<Self, String> {
        let mut command = Command::new(binary);
        command.args(["serve", "--listen", "127.0.0.1:0", "--allow-network", "127.0.0.0/8", "--data"]);
        command.arg(data.path()).args(options);
        if let Some(database) = data.database() {
            command.arg("--database-url").arg(database.url());
        }
        command.env("POSTCALL_ADMIN_KEY", KEY).env("POSTCALL_LOG", "error");
        let started = now();
        let listening = |line: &str| line.strip_prefix("listening on ").map(str::to_owned);
        let (process, url) = Process::start(&mut command, listening).await?;
        let (status, _) = wire::once("GET", &format!("{url}/readyz"), &[], String::new()).await?;
        if status != 200 {
            return Err(format!("/readyz was answered {status}"));
        }
        Ok(Self { binary: binary.to_owned(), url, process, started, took: now() - started })
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Its admin key.
    pub fn key(&self) -> &'static str {
        KEY
    }

    /// Finishes what is in flight and ends.
    pub async fn stop(mut self) -> Result<(), String> {
        self.process.stop().await
    }

    /// Ends as in a crash.
    pub async fn kill(&mut self) -> Result<(), String> {
        self.process.kill().await
    }

    /// Asks the API; gives status and answer.
    pub async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> Result<(u16, Value), String> {
        let bearer = format!("Bearer {KEY}");
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let (status, answer) = wire::once(method, &format!("{}{path}", self.url), &headers, body).await?;
        let text = String::from_utf8_lossy(&answer);
        Ok((status, serde_json::from_str(&text).unwrap_or_else(|_| Value::from(text.into_owned()))))
    }

    /// The same where only a good answer will do.
    pub async fn api(&self, method: &str, path: &str, body: Option<Value>) -> Result<Value, String> {
        match self.ask(method, path, body).await? {
            (200..300, answer) => Ok(answer),
            (status, answer) => Err(format!("{method} {path} was answered {status}: {answer}")),
        }
    }

    /// Plays calls with postcall's own simulator, in a process of its own, until it ends; gives what it says.
    pub async fn simulate(&self, arguments: &[&str]) -> Result<Value, String> {
        let mut command = Command::new(&self.binary);
        command.args(["simulate", "--json"]).args(arguments).env("POSTCALL_KEY", KEY);
        command.stdin(Stdio::null()).kill_on_drop(true).process_group(0);
        let done = command.output().await.map_err(|error| error.to_string())?;
        let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        match done.status.success() {
            true => serde_json::from_str(&out).map_err(|error| error.to_string()),
            false => Err(format!("the simulator ended with {}: {out}{err}", done.status)),
        }
    }

    /// Makes a signed source; gives the path of its door.
    pub async fn source(&self) -> Result<String, String> {
        self.source_of(json!({"name": "bench", "dialect": "voicegenie", "secret": SECRET})).await
    }

    /// Makes any source; gives the path of its ingest URL.
    pub async fn source_of(&self, form: Value) -> Result<String, String> {
        let source = self.api("POST", "/v1/sources", Some(form)).await?;
        wire::split(source["url"].as_str().ok_or("the source has no URL")?).map(|(_, path)| path)
    }

    /// The URL of a door.
    pub fn door(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// Makes an endpoint of the same dialect; `more` says what is not at its default. Gives its id.
    pub async fn endpoint(&self, url: &str, mut more: Value) -> Result<String, String> {
        more["url"] = url.into();
        more["dialect"] = "voicegenie".into();
        let made = self.api("POST", "/v1/endpoints", Some(more)).await?;
        made["id"].as_str().map(str::to_owned).ok_or_else(|| "the endpoint has no id".to_owned())
    }

    /// Nothing is sent there any more; what it is owed stays pending.
    pub async fn disable(&self, endpoint: &str) -> Result<(), String> {
        self.api("POST", &format!("/v1/endpoints/{endpoint}/disable"), Some(json!({}))).await.map(drop)
    }

    /// It is sent what it is owed again.
    pub async fn enable(&self, endpoint: &str) -> Result<(), String> {
        self.api("POST", &format!("/v1/endpoints/{endpoint}/enable"), Some(json!({}))).await.map(drop)
    }

    /// The books of every endpoint, counted at each transition or anew from the rows.
    pub async fn sums(&self, recount: bool) -> Result<Vec<Sum>, String> {
        let sums = self.api("GET", &format!("/v1/reconciliation?recount={recount}"), None).await?;
        serde_json::from_value(sums["endpoints"].clone()).map_err(|error| error.to_string())
    }

    /// The books of one endpoint.
    pub async fn sum(&self, endpoint: &str) -> Result<Sum, String> {
        let sum = self.sums(false).await?.into_iter().find(|sum| sum.endpoint_id == endpoint);
        sum.ok_or_else(|| "the books do not know the endpoint".to_owned())
    }

    /// Waits until the books say what `is_done` wants.
    pub async fn until(&self, is_done: impl Fn(&[Sum]) -> bool) -> Result<Vec<Sum>, String> {
        let (mut last, mut since) = (Vec::new(), now());
        loop {
            let sums = self.sums(false).await?;
            if is_done(&sums) {
                return Ok(sums);
            }
            if sums != last {
                (last, since) = (sums, now());
            } else if u128::from(now() - since) > PATIENCE.as_micros() {
                return Err(format!("the books stand still at {last:?}"));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// A run counts only if everything that was accepted is owed to each of these endpoints and delivered, and if the
    /// sums are what a recount of all rows gives.
    pub async fn balance(&self, endpoints: &[String], accepted: u64) -> Result<(), String> {
        let is_theirs = |sum: &&Sum| endpoints.contains(&sum.endpoint_id);
        let counted =
            self.until(|sums| sums.iter().filter(is_theirs).all(|sum| sum.delivered >= accepted)).await?;
        if let Some(wrong) = counted.iter().filter(is_theirs).find(|sum| sum.owed != accepted) {
            return Err(format!("{accepted} were accepted, but the books say {wrong:?}"));
        }
        self.recount().await
    }

    /// The sums have to be what a recount of all rows gives.
    pub async fn recount(&self) -> Result<(), String> {
        let (counted, recounted) = (self.sums(false).await?, self.sums(true).await?);
        if counted == recounted {
            Ok(())
        } else {
            Err(format!("{counted:?} was counted, {recounted:?} is there"))
        }
    }

    /// Attempts since the process started, delivered or not.
    pub async fn attempts(&self) -> Result<u64, String> {
        Ok(total(&self.metrics().await?, "attempts_total"))
    }

    /// Its metrics, in OpenMetrics text.
    pub async fn metrics(&self) -> Result<String, String> {
        let (_, text) = wire::once("GET", &format!("{}/metrics", self.url), &[], String::new()).await?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

/// The sum of a counter over its labels, in OpenMetrics text.
fn total(text: &str, counter: &str) -> u64 {
    let its = text.lines().filter(|line| !line.starts_with('#'));
    let its = its.filter_map(|line| line.split_once(' ')).filter(|(name, _)| {
        name.split('{').next().is_some_and(|name| name.trim_start_matches("postcall_") == counter)
    });
    its.filter_map(|(_, value)| value.parse::<u64>().ok()).sum()
}

/// A directory of data, with a database where PostgreSQL keeps the books; removed when dropped.
pub struct Data {
    directory: tempfile::TempDir,
    database: Option<Database>,
}

impl Data {
    /// An empty one.
    pub fn new(beside: &Path, server: Option<&Rc<Server>>) -> Result<Self, String> {
        let made = tempfile::Builder::new().prefix("data-").tempdir_in(beside);
        let directory =
            made.map_err(|error| format!("cannot make a directory in {}: {error}", beside.display()))?;
        Ok(Self { directory, database: server.map(Database::new).transpose()? })
    }

    /// Where the directory is.
    pub fn path(&self) -> PathBuf {
        self.directory.path().to_owned()
    }

    /// The database, if PostgreSQL keeps the books.
    pub fn database(&self) -> Option<&Database> {
        self.database.as_ref()
    }

    /// The processes of its server.
    pub fn servers(&self) -> Vec<u32> {
        self.database.as_ref().map(|database| database.server().processes()).unwrap_or_default()
    }

    /// Bytes of the books on disk: the file and its log, or what PostgreSQL calls the size of the database.
    pub fn bytes(&self) -> Result<f64, String> {
        let size = |name: &str| self.path().join(name).metadata().map_or(0, |file| file.len());
        #[expect(clippy::cast_precision_loss, reason = "bytes of one run")]
        let in_files = || (size("postcall.db") + size("postcall.db-wal")) as f64;
        self.database.as_ref().map_or_else(|| Ok(in_files()), Database::bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_summed_over_its_labels() {
        let text = "# HELP postcall_attempts Attempts.\n# TYPE postcall_attempts counter\n\
            postcall_attempts_total{dialect=\"cllr\",result=\"delivered\"} 3\n\
            postcall_attempts_total{dialect=\"voicegenie\",result=\"refused\"} 40\n\
            postcall_attempts_other_total 500\n# EOF\n";
        assert_eq!(total(text, "attempts_total"), 43);
    }
}
