//! Processes of one run: started in a group of their own, so that ctrl-c reaches only who started them; ended by their
//! id when dropped, and waited for, so that nobody writes into a directory that is about to be removed.
//! Refuses to know what they do.

use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// How long a process that was told to end may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running process.
pub struct Process {
    child: Child,
    pid: u32,
    /// Kept open: a program that prints to a closed pipe breaks.
    output: Lines<BufReader<ChildStdout>>,
}

impl Process {
    /// Starts a program; gives what `filter` takes from the first line that it takes anything from.
    pub async fn start<T>(
        command: &mut Command,
        filter: impl Fn(&str) -> Option<T>,
    ) -> Result<(Self, T), String> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).process_group(0);
        let spawned = command.spawn();
        let mut child = spawned.map_err(|error| format!("cannot start {command:?}: {error}"))?;
        let pid = child.id().ok_or("a process ended before it began")?;
        let output = BufReader::new(child.stdout.take().ok_or("no output to read")?).lines();
        let mut process = Self { child, pid, output };
        while let Some(line) = process.output.next_line().await.map_err(|error| error.to_string())? {
            if let Some(found) = filter(&line) {
                return Ok((process, found));
            }
        }
        Err("a process ended before it listened".to_owned())
    }

    /// Its id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Asks it to finish what is in flight and waits until it has.
    pub async fn stop(&mut self) -> Result<(), String> {
        self.terminate()?;
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        let status = ended.map_err(|_| "a process does not end")?.map_err(|error| error.to_string())?;
        if status.success() { Ok(()) } else { Err(format!("a process ended with {status}")) }
    }

    /// The next line that it prints, once it does.
    pub async fn line(&mut self) -> Result<String, String> {
        let line = self.output.next_line().await.map_err(|error| error.to_string())?;
        line.ok_or_else(|| "a process ended before it said what it had to".to_owned())
    }

    /// Asks it to end; does not wait.
    pub fn terminate(&self) -> Result<(), String> {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw).ok_or("not a process id")?;
        kill_process(pid, Signal::TERM).map_err(|error| error.to_string())
    }

    /// Ends it at once, as a crash would.
    pub async fn kill(&mut self) -> Result<(), String> {
        self.child.kill().await.map_err(|error| error.to_string())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.start_kill();
        for _ in 0..1000 {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}
