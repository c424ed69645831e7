//! How far something long has come: a bar on a terminal, a line now and then anywhere else. On standard error, so that
//! results alone are on standard output. Refuses to know what is going on.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicU64, Ordering};

use indicatif::{ProgressBar, ProgressStyle};

use super::terminal::remark;

/// Lines that a whole run prints when there is no terminal.
const LINES: u64 = 4;

/// How far something has come.
pub struct Progress {
    what: &'static str,
    total: u64,
    bar: Option<ProgressBar>,
    printed: AtomicU64,
}

impl Progress {
    /// Starts at 0 of `total` things called `what`.
    pub fn new(what: &'static str, total: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(total);
            let style = ProgressStyle::with_template(
                "  {bar:40.cyan/blue} {human_pos} of {human_len} {msg} {elapsed:.dim}",
            );
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_message(what);
            bar
        });
        Self { what, total, bar, printed: AtomicU64::new(0) }
    }

    /// Has come this far.
    pub fn at(&self, done: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(done);
            return;
        }
        // How many there are may have been a guess.
        let total = self.total.max(done);
        let quarter = (done * LINES).checked_div(total).unwrap_or(LINES);
        if self.printed.fetch_max(quarter, Ordering::Relaxed) < quarter {
            remark(&format!("  {done} of {total} {}", self.what));
        }
    }

    /// Is over: the bar goes away.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
