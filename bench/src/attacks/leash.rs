//! Holds a process to a part of a core: it is stopped when it has used more than its part of the time, and goes on when
//! the time has caught up. So what is measured beside it is the server, not a machine that has no processor left.
//! Does not depend on what the process does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::clock::now;
use crate::procfs::cpu_used;

/// One core's part: one of so many.
const PART: u64 = 2;
/// Between two looks.
const LOOK: Duration = Duration::from_millis(4);
/// How far it may be ahead of its part, in microseconds.
const BURST: u64 = 20_000;

/// A process on a leash, let go when this is dropped.
pub struct Leash {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Leash {
    /// Holds a process.
    pub fn on(pid: u32) -> Result<Self, String> {
        let process = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or("not a process id")?;
        let is_over = Arc::new(AtomicBool::new(false));
        let theirs = Arc::clone(&is_over);
        let hold = move || {
            let (start, before) = (now(), cpu_used(&[pid]));
            let mut is_stopped = false;
            while !theirs.load(Ordering::Acquire) {
                let used = cpu_used(&[pid]).saturating_sub(before);
                let is_ahead = is_ahead(used, now() - start, is_stopped);
                if is_ahead != is_stopped {
                    // A process that has ended is stopped by nobody.
                    let _ = kill_process(process, if is_ahead { Signal::STOP } else { Signal::CONT });
                    is_stopped = is_ahead;
                }
                std::thread::sleep(LOOK);
            }
            if is_stopped {
                let _ = kill_process(process, Signal::CONT);
            }
        };
        let thread = std::thread::Builder::new().name("leash".to_owned()).spawn(hold);
        Ok(Self { is_over, thread: Some(thread.map_err(|error| error.to_string())?) })
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Whether it has to wait, after `used` of `passed` microseconds. One that waits goes on when it is behind again.
fn is_ahead(used: u64, passed: u64, is_stopped: bool) -> bool {
    used > passed / PART + if is_stopped { 0 } else { BURST }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_waits_until_it_has_used_no_more_than_its_part() {
        assert!(!is_ahead(70_000, 100_000, false), "a burst is let through");
        assert!(is_ahead(70_001, 100_000, false));
        assert!(is_ahead(50_001, 100_000, true));
        assert!(!is_ahead(50_000, 100_000, true));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_busy_process_is_stopped_and_let_go() {
        let mut busy = std::process::Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
        let state = || std::fs::read_to_string(format!("/proc/{}/stat", busy.id())).unwrap();
        let leash = Leash::on(busy.id()).unwrap();
        while !state().contains(") T ") {
            std::thread::yield_now();
        }
        drop(leash);
        let is_stopped = state().contains(") T ");
        busy.kill().unwrap();
        busy.wait().unwrap();
        assert!(!is_stopped);
    }
}
