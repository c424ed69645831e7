//! A few connections that only read, made when needed and kept. Each read is one page on one snapshot.
//! Refuses to know what is read.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use tokio::sync::Semaphore;

use crate::store::{Answer, StoreError};

/// Connections at the same time: more would not read faster, and each has a cache of 8 MiB.
const READERS: usize = 4;

/// The reading connections of a database file.
pub struct Readers {
    path: PathBuf,
    idle: Arc<Mutex<Vec<Connection>>>,
    places: Arc<Semaphore>,
}

impl Readers {
    /// Readers of a database file.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), idle: Arc::default(), places: Arc::new(Semaphore::new(READERS)) }
    }

    /// Reads on a thread that may block, on one snapshot from the first to the last row. The work must be one page:
    /// a long read keeps the log from shrinking.
    pub fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Answer<'static, T> {
        let (path, idle, places) = (self.path.clone(), Arc::clone(&self.idle), Arc::clone(&self.places));
        Box::pin(async move {
            let closed = |_| StoreError::Unavailable("the store is closed".to_owned());
            let place = places.acquire_owned().await.map_err(closed)?;
            let done = tokio::task::spawn_blocking(move || {
                let kept = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
                let mut connection = match kept {
                    Some(connection) => connection,
                    None => open(&path)?,
                };
                let result = read_once(&mut connection, work);
                idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
                drop(place);
                result
            });
            done.await.unwrap_or_else(|_| Err(StoreError::Unavailable("a read broke off".to_owned())))
        })
    }

    /// Reads no more, and closes the idle connections, so that the last one out can clean up.
    pub fn close(&self) {
        self.places.close();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

fn open(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.execute_batch("PRAGMA busy_timeout = 5000; PRAGMA cache_size = -8192;")?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// One transaction for all of it: a delivery that is settled between two statements would be seen twice or never.
fn read_once<T>(
    connection: &mut Connection,
    work: impl FnOnce(&Connection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let snapshot = connection.transaction_with_behavior(TransactionBehavior::Deferred)?;
    work(&snapshot).map_err(|error| match error {
        // Nobody brought this data just now; it lies there and cannot be read.
        StoreError::Data(why) => StoreError::Unavailable(why),
        error => error,
    })
}
