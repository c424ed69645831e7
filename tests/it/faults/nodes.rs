//! `postcall serve` in processes of its own, which signals stop, wake and end without warning.
//! Refuses to know what they are told.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::PATIENCE;
use crate::harness::Client;

/// The admin key of every node.
pub const KEY: &str = "fault-test-admin-key";

/// A node: its process, and what the next one in its place is started with.
pub struct Node {
    pub name: String,
    pub address: SocketAddr,
    data: PathBuf,
    options: Vec<String>,
    /// What runs it, where that is not this process: a program and its arguments.
    runner: Vec<String>,
    process: Option<Child>,
}

impl Node {
    /// Starts a node on a directory of its own, which has to be there, at any port.
    pub async fn start(name: &str, data: &Path, options: &[String]) -> Self {
        Self::start_through(Vec::new(), name, data, options).await
    }

    /// The same, run by another program.
    pub async fn start_through(runner: Vec<String>, name: &str, data: &Path, options: &[String]) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let (name, data, options) = (name.to_owned(), data.to_owned(), options.to_vec());
        let mut node = Self { name, address, data, options, runner, process: None };
        node.start_again().await;
        node
    }

    /// Starts a process in the place of one that is gone, at the same address.
    pub async fn start_again(&mut self) {
        assert!(self.process.is_none(), "{} is there", self.name);
        let log = File::options().create(true).append(true).open(self.log()).expect("a file for its log");
        let words = self.runner.iter().map(String::as_str).chain([env!("CARGO_BIN_EXE_postcall")]);
        let mut words = words.map(str::to_owned);
        let mut process = Command::new(words.next().expect("there is one"))
            .args(words)
            .args([
                "serve",
                "--listen",
                &self.address.to_string(),
                "--allow-network",
                "127.0.0.0/8",
                "--data",
            ])
            .arg(&self.data)
            .args(&self.options)
            .env("POSTCALL_ADMIN_KEY", KEY)
            .env("POSTCALL_LOG", "info")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .expect("the binary starts");
        let mut lines = BufReader::new(process.stdout.take().expect("it is piped")).lines();
        self.address = loop {
            let line = lines.next_line().await.expect("its output is text");
            let line = line.unwrap_or_else(|| panic!("{} does not start:\n{}", self.name, self.said()));
            if let Some(address) = line.strip_prefix("listening on http://") {
                break address.parse().expect("an address");
            }
        };
        self.process = Some(process);
    }

    /// Ends the process as a power cut does, and returns when it is gone.
    pub async fn kill(&mut self) {
        let mut process = self.process.take().expect("it runs");
        process.kill().await.expect("SIGKILL is sent");
    }

    /// Ends the process in good order, and returns when it is gone.
    pub async fn stop(&mut self) {
        self.signal("TERM").await;
        let mut process = self.process.take().expect("it runs");
        let ended = tokio::time::timeout(PATIENCE, process.wait()).await.expect("it ends in time");
        assert!(ended.expect("it is ours").success(), "{} ends well", self.name);
    }

    /// Stops the process where it stands: it holds everything and does nothing.
    pub async fn freeze(&self) {
        self.signal("STOP").await;
    }

    /// Lets a stopped process go on, as if nothing had been.
    pub async fn thaw(&self) {
        self.signal("CONT").await;
    }

    async fn signal(&self, signal: &str) {
        let process = self.process.as_ref().and_then(Child::id).expect("it runs").to_string();
        // The shell's own `kill` is everywhere.
        let sent = Command::new("sh").args(["-c", "kill -s \"$0\" \"$1\"", signal, &process]).status().await;
        assert!(sent.expect("a shell").success(), "SIG{signal} is sent");
    }

    /// A client of this node.
    pub fn api(&self) -> Client {
        Client::new(self.address, KEY)
    }

    fn log(&self) -> PathBuf {
        self.data.with_extension("log")
    }

    /// How often it has logged these words.
    pub fn has_logged(&self, words: &str) -> usize {
        fs::read_to_string(self.log()).unwrap_or_default().matches(words).count()
    }

    /// What it has logged, the last of it.
    fn said(&self) -> String {
        let said = fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = said.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{} said at last:\n{}", self.name, self.said());
        }
    }
}
