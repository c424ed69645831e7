//! One connection, as the table of connections sees it: whether it waits for its client, since when, and how much is
//! held for it meanwhile. The socket and the bodies that pass through it write this down; it does no IO itself.

use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::api::peer::Peer;
use crate::metrics::Refusal;

/// In place of a moment: it waits for nobody.
const NEVER: u64 = u64::MAX;
/// What may be held for a client without being counted, in bytes: so short requests and answers count nothing.
const UNCOUNTED: usize = 4096;

/// The table that a connection is in, as far as a connection needs it.
pub trait Table: std::fmt::Debug + Send + Sync {
    /// Microseconds since the table was made.
    fn now(&self) -> u64;

    /// Notes what is held for a client, in place of what was held for it before. When that is too much for all together,
    /// those who have kept the server waiting longest for what is held lose their connections, proven or not.
    fn hold(&self, bytes: usize, before: usize);
}

/// What is known of a connection. Only its own task changes it; others look.
#[derive(Debug)]
pub struct Connection {
    number: u64,
    peer: Peer,
    /// Whom its last request came from, where a proxy speaks for many.
    latest: Mutex<Option<Peer>>,
    refusal: Option<Refusal>,
    is_patient: bool,
    table: Arc<dyn Table>,
    begun: AtomicU32,
    answered: AtomicU32,
    /// Since when the head of a request or the rest of its body is awaited.
    reads_since: AtomicU64,
    /// Since when an answer has not been taken.
    writes_since: AtomicU64,
    /// Bytes of a head that has not ended.
    head: AtomicUsize,
    /// Bytes of answers that are not written.
    unread: AtomicUsize,
    moved: AtomicU64,
    looked: AtomicU64,
    leave: Notify,
}

impl Connection {
    /// A connection that has sent nothing yet. `refusal` says why it has no slot of its own, `is_patient` that it may be
    /// opened well before its first request.
    pub fn new(
        number: u64,
        peer: Peer,
        refusal: Option<Refusal>,
        is_patient: bool,
        table: Arc<dyn Table>,
    ) -> Self {
        let (latest, begun, answered, head, unread, moved, looked, leave) = <_>::default();
        let (reads_since, writes_since) = (AtomicU64::new(table.now()), AtomicU64::new(NEVER));
        Self {
            number,
            peer,
            latest,
            refusal,
            is_patient,
            table,
            begun,
            answered,
            reads_since,
            writes_since,
            head,
            unread,
            moved,
            looked,
            leave,
        }
    }

    /// Its number, unlike every other's.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Who opened it.
    pub fn peer(&self) -> Peer {
        self.peer
    }

    /// Why it has no slot of its own and is told of the node's health alone.
    pub fn refusal(&self) -> Option<Refusal> {
        self.refusal
    }

    /// Whether its first request may be as long in coming as a later one: its client is known, or a proxy.
    pub fn is_patient(&self) -> bool {
        self.is_patient
    }

    /// Whom its last request came from.
    pub fn latest_peer(&self) -> Peer {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).unwrap_or(self.peer)
    }

    /// The head of a request has come, from `peer`. The request is under way until what this gives is dropped.
    pub fn begin(self: &Arc<Self>, peer: Peer) -> UnderWay {
        if peer != self.peer {
            *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = Some(peer);
        }
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.reads_since.store(NEVER, Ordering::Relaxed);
        self.set(&self.head, 0);
        UnderWay(Arc::clone(self))
    }

    /// How many heads have come.
    pub fn begun(&self) -> u32 {
        self.begun.load(Ordering::Relaxed)
    }

    /// Whether a request is under way.
    pub fn is_busy(&self) -> bool {
        self.begun() != self.answered.load(Ordering::Relaxed)
    }

    /// The rest of a body is awaited since then; `None` is no longer.
    pub fn awaits_body(&self, since: Option<u64>) {
        self.reads_since.store(since.unwrap_or(NEVER), Ordering::Relaxed);
    }

    /// The client does not take what is to be written.
    pub fn is_blocked(&self) {
        if self.writes_since.load(Ordering::Relaxed) == NEVER {
            self.writes_since.store(self.table.now(), Ordering::Relaxed);
        }
    }

    /// Everything is written. If no request is under way, the next one is awaited.
    pub fn has_written(&self) {
        if self.writes_since.load(Ordering::Relaxed) != NEVER {
            self.writes_since.store(NEVER, Ordering::Relaxed);
        }
        self.set(&self.unread, 0);
        if !self.is_busy() && self.reads_since.load(Ordering::Relaxed) == NEVER {
            self.reads_since.store(self.table.now(), Ordering::Relaxed);
        }
    }

    /// Whether something is to be written that the client does not take.
    pub fn has_unread(&self) -> bool {
        self.writes_since.load(Ordering::Relaxed) != NEVER
    }

    /// Since when it keeps the server waiting, if it does.
    pub fn waits_since(&self) -> Option<u64> {
        let (reads, writes) =
            (self.reads_since.load(Ordering::Relaxed), self.writes_since.load(Ordering::Relaxed));
        Some(reads.min(writes)).filter(|since| *since != NEVER)
    }

    /// A part of a head has come.
    pub fn holds_head(&self, bytes: usize) {
        self.set(&self.head, self.head.load(Ordering::Relaxed) + bytes);
    }

    /// A part of an answer is to be written.
    pub fn holds_answer(&self, bytes: usize) {
        self.set(&self.unread, self.unread.load(Ordering::Relaxed) + bytes);
    }

    fn set(&self, held: &AtomicUsize, bytes: usize) {
        let before = held.load(Ordering::Relaxed);
        if before != bytes {
            held.store(bytes, Ordering::Relaxed);
            if counted(before) != counted(bytes) {
                self.table.hold(counted(bytes), counted(before));
            }
        }
    }

    /// What is held for the client and counted, in bytes.
    pub fn held(&self) -> usize {
        counted(self.head.load(Ordering::Relaxed)) + counted(self.unread.load(Ordering::Relaxed))
    }

    /// Bytes were read or written.
    pub fn has_moved(&self, bytes: usize) {
        self.moved.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Bytes that were read or written since this was last asked.
    pub fn moved(&self) -> u64 {
        let moved = self.moved.load(Ordering::Relaxed);
        moved.saturating_sub(self.looked.swap(moved, Ordering::Relaxed))
    }

    /// Asks the connection's task to close it.
    pub fn ask_to_leave(&self) {
        self.leave.notify_one();
    }

    /// Waits until it is asked to close.
    pub async fn asked_to_leave(&self) {
        self.leave.notified().await;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.table.hold(0, self.held());
    }
}

fn counted(bytes: usize) -> usize {
    if bytes > UNCOUNTED { bytes } else { 0 }
}

/// A request that is under way.
#[derive(Debug)]
pub struct UnderWay(Arc<Connection>);

impl UnderWay {
    /// The connection that it came on.
    pub fn connection(&self) -> &Connection {
        &self.0
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.answered.fetch_add(1, Ordering::Relaxed);
    }
}
