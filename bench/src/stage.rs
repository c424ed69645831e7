//! What the measures share: the postcall to measure, how long to take, a place for data, and a store with a backlog
//! that is filled once. Refuses to know what is measured.

use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use crate::database::{Server, Store};
use crate::postcall::{Data, Postcall};

/// A directory of data with a backlog in it; no process has it.
pub struct Backlog {
    /// The data.
    pub data: Data,
    /// The path of its door.
    pub door: String,
    /// Deliveries that rest.
    pub pending: u64,
}

/// The stage on which every measure plays.
pub struct Stage {
    binary: PathBuf,
    beside: PathBuf,
    is_quick: bool,
    server: Option<Rc<Server>>,
    backlog: Option<Backlog>,
}

impl Stage {
    /// A stage with nothing on it. Data lies `beside` the report: on a disk, where fsync costs what it costs; or it is
    /// kept by a PostgreSQL.
    pub fn new(binary: PathBuf, beside: PathBuf, is_quick: bool, server: Option<Rc<Server>>) -> Self {
        Self { binary, beside, is_quick, server, backlog: None }
    }

    /// Where postcall keeps its books.
    pub fn store(&self) -> Store {
        if self.server.is_some() { Store::Postgres } else { Store::Sqlite }
    }

    /// What counts over SQLite, or what does over PostgreSQL.
    pub fn by_store<T>(&self, sqlite: T, postgres: T) -> T {
        match self.store() {
            Store::Sqlite => sqlite,
            Store::Postgres => postgres,
        }
    }

    /// What a quick run takes, or what a whole one does.
    pub fn pick<T>(&self, quick: T, whole: T) -> T {
        if self.is_quick { quick } else { whole }
    }

    /// The same in seconds.
    pub fn seconds(&self, quick: f64, whole: f64) -> Duration {
        postcall::model::time::duration(self.pick(quick, whole))
    }

    /// Tells whoever waits how far it is.
    pub fn note(&self, text: &str) {
        eprintln!("  {text}");
    }

    /// A new directory for data.
    pub fn data(&self) -> Result<Data, String> {
        Data::new(&self.beside, self.server.as_ref())
    }

    /// New data in a server of the measure's own.
    pub fn data_in(&self, server: &Rc<Server>) -> Result<Data, String> {
        Data::new(&self.beside, Some(server))
    }

    /// Starts postcall on a directory.
    pub async fn postcall(&self, data: &Data) -> Result<Postcall, String> {
        Postcall::start(&self.binary, data).await
    }

    /// Takes the store with the backlog, if one was filled and nobody has it.
    pub fn take_backlog(&mut self) -> Option<Backlog> {
        self.backlog.take()
    }

    /// Gives it back for the next one.
    pub fn give_back(&mut self, backlog: Backlog) {
        self.backlog = Some(backlog);
    }
}
