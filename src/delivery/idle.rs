//! Open connections that wait for their next request.
//! Holds each for a while, in bounded number; refuses to know how they are opened and what they carried.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::connect::Sender;

/// Load balancers commonly close at 60 s; who closes first is spared the race.
const LIFE: Duration = Duration::from_secs(50);

/// As many as there are requests under way: under load no connection is closed only to be opened again.
const MOST: usize = super::parallelism::MOST;

/// Of one origin, so that one receiver's do not take the places of all others.
const MOST_OF_ORIGIN: usize = MOST / 4;

/// A connection turns around as soon as its task has run once more. One that still writes a request that was
/// answered early is not worth waiting for.
const TURN_AROUND: Duration = Duration::from_millis(50);

/// The waiting connections, by origin (`https://example.com:8443`).
pub(super) struct Idle(Mutex<Shelf>);

struct Shelf {
    by_origin: HashMap<String, Vec<Waiting>>,
    count: usize,
    swept: Instant,
}

struct Waiting {
    sender: Sender,
    since: Instant,
}

impl Waiting {
    fn is_usable(&self, now: Instant) -> bool {
        self.sender.is_ready() && now.duration_since(self.since) < LIFE
    }
}

impl Idle {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Shelf { by_origin: HashMap::new(), count: 0, swept: Instant::now() }))
    }

    /// The connection that was used last and is still open as far as known.
    pub(super) fn take(&self, origin: &str) -> Option<Sender> {
        let now = Instant::now();
        let mut shelf = self.shelf();
        let shelf = &mut *shelf;
        let waiting = shelf.by_origin.get_mut(origin)?;
        while let Some(last) = waiting.pop() {
            shelf.count -= 1;
            if last.is_usable(now) {
                return Some(last.sender);
            }
        }
        None
    }

    /// Keeps a connection whose answer was read to its end, if it stays open and there is room.
    pub(super) async fn keep(&self, origin: &str, mut sender: Sender) {
        if !matches!(timeout(TURN_AROUND, sender.ready()).await, Ok(true)) {
            return;
        }
        let now = Instant::now();
        let mut shelf = self.shelf();
        if now.duration_since(shelf.swept) >= LIFE / 10 {
            shelf.sweep(now);
        }
        if shelf.by_origin.get(origin).is_some_and(|waiting| waiting.len() >= MOST_OF_ORIGIN) {
            return;
        }
        if shelf.count >= MOST {
            shelf.close_oldest();
        }
        if !shelf.by_origin.contains_key(origin) {
            shelf.by_origin.insert(origin.to_owned(), Vec::new());
        }
        if let Some(waiting) = shelf.by_origin.get_mut(origin) {
            waiting.push(Waiting { sender, since: now });
            shelf.count += 1;
        }
    }

    /// Closes what has waited too long.
    pub(super) fn tidy(&self) {
        self.shelf().sweep(Instant::now());
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shelf {
    /// Closes what has waited too long.
    fn sweep(&mut self, now: Instant) {
        self.swept = now;
        self.by_origin.retain(|_, waiting| {
            waiting.retain(|one| one.is_usable(now));
            !waiting.is_empty()
        });
        self.count = self.by_origin.values().map(Vec::len).sum();
    }

    /// Closes the connection that has waited longest: whoever sent last is likelier to send again.
    fn close_oldest(&mut self) {
        let since = |waiting: &Vec<Waiting>| waiting.first().map(|oldest| oldest.since);
        let oldest = self.by_origin.values().filter_map(since).min();
        let holder =
            self.by_origin.values_mut().find(|waiting| since(waiting) == oldest && !waiting.is_empty());
        if let Some(waiting) = holder {
            drop(waiting.remove(0));
            self.count -= 1;
        }
    }
}
