//! Where a server under test keeps its books: a data directory, and in a run over PostgreSQL a database beside it.
//! `POSTCALL_TEST_STORE=postgres cargo test` is such a run; `cargo xtask test` makes both.
//! The one place where the tests of the whole program know which stores there are. No test looks which one it is, and
//! none is skipped; what does not take its books from here is about one store alone:
//!
//! - `store::sqlite`: the lock, the files, a full disk, its log.
//! - `store::postgres`, `store::sharing`: the tables behind their key, more than one node.
//! - `faults`: nodes and servers that are killed, stopped and cut off from each other.
//! - `cli::the_demo_proves_that_everything_arrived`: the demo brings an embedded store of its own.
//! - `logs::the_password_of_a_database_is_never_told`: databases that nobody reaches.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use postcall::app::{DatabaseUrl, Settings};
use postcall::clock::{Clock, System};
use postcall::store::Store;
use postcall::store::{postgres, sqlite};
use tempfile::TempDir;

use crate::database::Database;

/// The variable that says which store this run is over; without it, SQLite.
const STORE: &str = "POSTCALL_TEST_STORE";

static IS_OVER_POSTGRES: LazyLock<bool> = LazyLock::new(|| {
    #[expect(clippy::disallowed_methods, reason = "the door of the tests")]
    let store = std::env::var(STORE);
    match store.as_deref() {
        Err(_) | Ok("sqlite") => false,
        Ok("postgres") => true,
        Ok(other) => panic!("{STORE} is {other:?}; it may be `sqlite` or `postgres`"),
    }
});

/// Nothing at first. It is gone when this is dropped.
pub struct Home {
    dir: TempDir,
    database: Option<Database>,
}

impl Home {
    /// A new one.
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        Self { dir, database: IS_OVER_POSTGRES.then(Database::new) }
    }

    /// The data directory, which the first start makes.
    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// A directory for what else a test needs.
    pub fn beside(&self) -> &Path {
        self.dir.path()
    }

    /// Settings of a server in this process that listens somewhere on loopback.
    pub fn settings(&self) -> Settings {
        let mut settings = Settings::new(SocketAddr::from(([127, 0, 0, 1], 0)), self.data());
        settings.disk_reserve = 0;
        settings.database = self.database.as_ref().map(|it| DatabaseUrl::new(it.url()).expect("a URL"));
        settings
    }

    /// The same for `postcall serve`.
    pub fn arguments(&self) -> Vec<OsString> {
        let database =
            self.database.as_ref().map(|database| ["--database-url".into(), database.url().into()]);
        ["--data".into(), self.data().into()].into_iter().chain(database.into_iter().flatten()).collect()
    }

    /// Opens the store without a server; of each source so many bodies may lie in quarantine.
    pub fn open(&self, quarantine_quota: i64) -> Arc<dyn Store> {
        std::fs::create_dir_all(self.data()).unwrap();
        match &self.database {
            None => {
                let options = sqlite::Options { quarantine_quota, ..sqlite::Options::default() };
                Arc::new(sqlite::SqliteStore::open(&self.data(), System.now(), options).unwrap())
            }
            Some(database) => over_postgres(&database.url(), &self.data(), quarantine_quota).unwrap(),
        }
    }

    /// Runs a statement behind the back of the program.
    pub fn sql(&self, statement: &str) {
        match &self.database {
            None => {
                let books = rusqlite::Connection::open(self.data().join("postcall.db")).unwrap();
                books.execute_batch(statement).unwrap();
            }
            Some(database) => drop(database.sql(statement)),
        }
    }
}

/// A node of its own on a database.
pub fn over_postgres(url: &str, data: &Path, quarantine_quota: i64) -> Result<Arc<dyn Store>, String> {
    let lease = Duration::from_secs(60);
    let options = postgres::Options { quarantine_quota, lease, name: "test".to_owned(), roots: None };
    Ok(Arc::new(postgres::PostgresStore::open(url, data, options)?))
}
