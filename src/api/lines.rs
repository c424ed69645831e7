//! The lines of a body as they come, each counted in the memory budget until it is dropped. Does not depend on what is in a
//! line.

use std::sync::Arc;

use axum::body::Body;

use super::body::{Receiving, Unread};
use super::budget::{Budget, Held, Refused, Share};
use super::pace::Speed;

/// The lines of a body that is being received. It may take as long as it likes, but it has to keep up the minimum speed, and
/// of what is held only the line that is not yet complete counts for that speed.
pub struct Lines {
    receiving: Receiving,
    /// So much of what has come has no end of a line.
    scanned: usize,
    /// The longest line in bytes.
    longest: usize,
    is_over: bool,
}

impl Lines {
    /// Begins to receive.
    ///
    /// # Errors
    /// When there is no room for another body.
    pub fn begin(
        body: Body,
        budget: &Arc<Budget>,
        share: Share,
        speed: Speed,
        longest: usize,
    ) -> Result<Self, Refused> {
        let receiving = Receiving::begin(body, budget, share, speed)?;
        Ok(Self { receiving, scanned: 0, longest, is_over: false })
    }

    /// The next line without its end; `None` after the last one.
    ///
    /// # Errors
    /// When the body is too slow or breaks off, a line is too long, or there is no room for it.
    pub async fn next(&mut self) -> Result<Option<Held>, Unread> {
        loop {
            let waiting = self.receiving.waiting();
            if let Some(end) = waiting.line_feed(self.scanned) {
                self.scanned = 0;
                return Ok(Some(waiting.cut(end, 1)?));
            }
            self.scanned = waiting.len();
            if self.is_over {
                let last = std::mem::take(&mut self.scanned);
                return match last {
                    0 => Ok(None),
                    last => Ok(Some(waiting.cut(last, 0)?)),
                };
            }
            if self.scanned > self.longest {
                return Err(Unread::TooLarge);
            }
            match self.receiving.next().await? {
                None => self.is_over = true,
                Some(data) => {
                    let held = self.scanned + data.len();
                    self.receiving.came(data.len(), held);
                    self.receiving.waiting().push(&data, self.longest)?;
                }
            }
        }
    }
}
