//! A few connections that only read, made when needed and kept. Each read is one page on one snapshot; accounts take turns.
//! One more goes through all that an account has, for one account after the other.
//! Refuses to know what is read.

use std::sync::{Arc, Mutex, PoisonError};

use super::read_permits::ReadPermits;
use crate::model::AccountKey;
use crate::store::condition::Condition;
use crate::store::sql::Connection;
use crate::store::{Answer, StoreError};

/// Connections at the same time: more would not read faster.
const READERS: usize = 4;

/// Makes a connection.
type Open = dyn Fn() -> Result<Connection, StoreError> + Send + Sync;

/// The reading connections of a database.
pub struct Readers {
    open: Arc<Open>,
    idle: Arc<Mutex<Vec<Connection>>>,
    permits: Arc<ReadPermits>,
    /// For what goes through all of an account: one at a time, beside the pages that people wait for.
    recounts: Arc<ReadPermits>,
    condition: Arc<Condition>,
}

impl Readers {
    /// Readers with connections made like this, to a store in this condition.
    pub fn new(
        condition: Arc<Condition>,
        open: impl Fn() -> Result<Connection, StoreError> + Send + Sync + 'static,
    ) -> Self {
        Self {
            open: Arc::new(open),
            idle: Arc::default(),
            permits: ReadPermits::new(READERS),
            recounts: ReadPermits::new(1),
            condition,
        }
    }

    /// Reads for an account on a thread that may block, on one snapshot from the first to the last row. The work must be one
    /// page: a long read keeps the log of SQLite from shrinking, and PostgreSQL from tidying up.
    pub fn read<T: Send + 'static>(
        &self,
        account: AccountKey,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Answer<'static, T> {
        self.run(&self.permits, account, work)
    }

    /// Likewise what goes through all that an account has, in statements of a page each.
    pub fn recount<T: Send + 'static>(
        &self,
        account: AccountKey,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Answer<'static, T> {
        self.run(&self.recounts, account, work)
    }

    fn run<T: Send + 'static>(
        &self,
        permits: &Arc<ReadPermits>,
        account: AccountKey,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Answer<'static, T> {
        let (open, idle, permits) = (Arc::clone(&self.open), Arc::clone(&self.idle), Arc::clone(permits));
        let condition = Arc::clone(&self.condition);
        Box::pin(async move {
            let closed = || StoreError::Unavailable("the store is closed".to_owned());
            let permit = permits.enter(account).await.ok_or_else(closed)?;
            let done = tokio::task::spawn_blocking(move || {
                let kept = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
                let connection = match kept.filter(|connection| !connection.is_broken()) {
                    Some(connection) => connection,
                    None => open()?,
                };
                let result = read_once(&connection, work).inspect_err(|error| condition.met(error));
                if !connection.is_broken() {
                    idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
                }
                drop(permit);
                result
            });
            done.await.unwrap_or_else(|_| Err(StoreError::Unavailable("a read broke off".to_owned())))
        })
    }

    /// Reads no more, and closes the idle connections, so that the last one out can clean up.
    pub fn close(&self) {
        self.permits.close();
        self.recounts.close();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// One transaction for all of it: a delivery that is settled between two statements would be seen twice or never.
fn read_once<T>(
    connection: &Connection,
    work: impl FnOnce(&Connection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    connection.begin_reading()?;
    let done = work(connection).map_err(|error| match error {
        // Nobody brought this data just now; it lies there and cannot be read.
        StoreError::Data(why) => StoreError::Unavailable(why),
        error => error,
    });
    connection.roll_back();
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn recounts_leave_the_readers_to_pages() {
        let readers = Readers::new(Arc::default(), || {
            let connection = rusqlite::Connection::open_in_memory();
            connection.map(Connection::Sqlite).map_err(|error| StoreError::Data(error.to_string()))
        });
        let (go_on, wait) = std::sync::mpsc::channel::<()>();
        let wait = Arc::new(Mutex::new(wait));
        let recounts: Vec<_> = (1..=8)
            .map(|account| {
                let wait = Arc::clone(&wait);
                let read = move |_: &Connection| {
                    wait.lock().unwrap().recv().unwrap();
                    Ok(())
                };
                tokio::spawn(readers.recount(AccountKey(account), read))
            })
            .collect();
        for account in 1..=8 {
            assert_eq!(readers.read(AccountKey(account), move |_| Ok(account)).await, Ok(account));
        }
        // Before any of them is waited for: which one is first in line is not known.
        recounts.iter().for_each(|_| go_on.send(()).unwrap());
        for recount in recounts {
            assert_eq!(recount.await.unwrap(), Ok(()));
        }
        readers.close();
    }
}
