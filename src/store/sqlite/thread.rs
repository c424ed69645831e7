//! The one writer, a thread that owns the writing connection, and a few connections that only read.
//! Work comes in lanes: doors and settlements first, then the API, then chores. Refuses to know what the work is.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

use rusqlite::{Connection, OpenFlags};
use tokio::sync::oneshot;

use super::schema;
use crate::store::{Answer, StoreError};

/// Which work goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Doors, settlements and claims.
    Hot,
    /// What people ask through the API.
    Api,
    /// What nobody waits for.
    Chore,
}

type Job<W> = Box<dyn FnOnce(&mut W) + Send>;

struct Lanes<W> {
    waiting: Mutex<Waiting<W>>,
    arrived: Condvar,
}

struct Waiting<W> {
    lanes: [VecDeque<Job<W>>; 3],
    closed: bool,
}

/// The writer thread. `W` is the connection with what belongs to it.
pub struct WriterThread<W> {
    lanes: Arc<Lanes<W>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl<W: Send + 'static> WriterThread<W> {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(mut writer: W) -> std::io::Result<Self> {
        let lanes = Arc::new(Lanes {
            waiting: Mutex::new(Waiting { lanes: Default::default(), closed: false }),
            arrived: Condvar::new(),
        });
        let theirs = Arc::clone(&lanes);
        let thread = std::thread::Builder::new().name("postcall-writer".to_owned()).spawn(move || {
            while let Some(job) = next(&theirs) {
                job(&mut writer);
            }
        })?;
        Ok(Self { lanes, thread: Mutex::new(Some(thread)) })
    }

    /// Runs work on the writer and gives its result.
    pub fn run<T: Send + 'static>(
        &self,
        lane: Lane,
        work: impl FnOnce(&mut W) -> Result<T, StoreError> + Send + 'static,
    ) -> Answer<'_, T> {
        let (answer, answered) = oneshot::channel();
        let job: Job<W> = Box::new(move |writer| drop(answer.send(work(writer))));
        {
            let mut waiting = self.lanes.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            if !waiting.closed {
                waiting.lanes[lane as usize].push_back(job);
            }
        }
        self.lanes.arrived.notify_one();
        Box::pin(async move {
            answered.await.unwrap_or_else(|_| Err(StoreError::Unavailable("the store is closed".to_owned())))
        })
    }

    /// Takes no more work, finishes what waits, ends the thread.
    pub fn close(&self) {
        self.lanes.waiting.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.lanes.arrived.notify_all();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A panic on the writer was answered as "closed" to whoever waited; there is nothing to add here.
            let _ = thread.join();
        }
    }
}

fn next<W>(lanes: &Lanes<W>) -> Option<Job<W>> {
    let mut waiting = lanes.waiting.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        if let Some(job) = waiting.lanes.iter_mut().find_map(VecDeque::pop_front) {
            return Some(job);
        }
        if waiting.closed {
            return None;
        }
        waiting = lanes.arrived.wait(waiting).unwrap_or_else(PoisonError::into_inner);
    }
}

/// Connections that only read, made when needed and kept.
pub struct Readers {
    path: PathBuf,
    idle: Arc<Mutex<Vec<Connection>>>,
}

/// Idle reading connections that are kept.
const IDLE_READERS: usize = 4;

impl Readers {
    /// Readers of a database file.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), idle: Arc::default() }
    }

    /// Reads on a thread that may block. The work must be one page: a long read keeps the log from shrinking.
    pub fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Answer<'_, T> {
        let (path, idle) = (self.path.clone(), Arc::clone(&self.idle));
        Box::pin(async move {
            let done = tokio::task::spawn_blocking(move || {
                let kept = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
                let connection = match kept {
                    Some(connection) => connection,
                    None => open_reader(&path)?,
                };
                let result = work(&connection);
                let mut idle = idle.lock().unwrap_or_else(PoisonError::into_inner);
                if idle.len() < IDLE_READERS {
                    idle.push(connection);
                }
                result
            });
            done.await.unwrap_or_else(|_| Err(StoreError::Unavailable("a read broke off".to_owned())))
        })
    }

    /// Closes the idle connections, so that the last one out can clean up.
    pub fn close(&self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

fn open_reader(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.execute_batch("PRAGMA busy_timeout = 5000; PRAGMA cache_size = -8192;")?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// Keeps the log short without stalling commits: a thread of its own that checkpoints without waiting for
/// anybody, told by the writer when there is something to do.
pub struct Checkpointer {
    nudges: Option<std::sync::mpsc::SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpointer {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives no thread or the file cannot be opened.
    pub fn start(path: &Path) -> Result<Self, String> {
        let connection = Connection::open(path).map_err(|error| error.to_string())?;
        schema::configure(&connection).map_err(|error| error.to_string())?;
        let (nudges, nudged) = std::sync::mpsc::sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("postcall-checkpoint".to_owned())
            .spawn(move || {
                while nudged.recv().is_ok() {
                    if let Err(error) = connection.execute_batch("PRAGMA wal_checkpoint(PASSIVE);") {
                        tracing::warn!(%error, "a checkpoint failed; the next one tries again");
                    }
                }
            })
            .map_err(|error| error.to_string())?;
        Ok(Self { nudges: Some(nudges), thread: Some(thread) })
    }

    /// Asks for a checkpoint; one that is asked for already is enough.
    pub fn nudge(&self) {
        if let Some(nudges) = &self.nudges {
            let _ = nudges.try_send(());
        }
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.nudges = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
