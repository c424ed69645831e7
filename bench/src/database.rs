//! The PostgreSQL of a run: a server of its own on this machine, set as for production, with a database for each
//! directory of data; and what it tells of itself. Refuses to know what is kept in the databases.

use std::cell::Cell;
use std::path::PathBuf;
use std::rc::Rc;

use clap::ValueEnum;
use cluster::Cluster;
use serde::{Deserialize, Serialize};

use crate::procfs;

/// Where postcall keeps its books in this run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Store {
    /// In a file of its own.
    #[default]
    Sqlite,
    /// In a PostgreSQL on the same machine.
    Postgres,
}

/// Every commit waits for the disk, and pages that a power cut may have torn are in the log, as promises need it. The
/// rest is what one sets on a machine of some gigabytes; `compose.yaml` sets the same.
const SETTINGS: &[(&str, &str)] = &[
    ("fsync", "on"),
    ("synchronous_commit", "on"),
    ("full_page_writes", "on"),
    ("shared_buffers", "512MB"),
    ("max_wal_size", "8GB"),
    ("checkpoint_timeout", "15min"),
    ("wal_compression", "lz4"),
];
/// What counts statements. It costs a little, so only the measure that asks for it has it.
const COUNTING: (&str, &str) = ("shared_preload_libraries", "pg_stat_statements");
/// The database that every server has; what is asked of the server is asked there.
const ANY: &str = "postgres";

/// A running server.
pub struct Server {
    cluster: Cluster,
    made: Cell<u32>,
}

impl Server {
    /// Starts one.
    pub fn start() -> Result<Rc<Self>, String> {
        Self::with(SETTINGS)
    }

    /// Starts one that counts statements.
    pub fn counting() -> Result<Rc<Self>, String> {
        let settings: Vec<_> = SETTINGS.iter().copied().chain([COUNTING]).collect();
        let server = Self::with(&settings).map_err(|why| {
            format!("{why}\npg_stat_statements is needed: it comes with PostgreSQL's contributed modules")
        })?;
        server.ask("CREATE EXTENSION pg_stat_statements")?;
        Ok(server)
    }

    fn with(settings: &[(&str, &str)]) -> Result<Rc<Self>, String> {
        Ok(Rc::new(Self { cluster: Cluster::start(settings)?, made: Cell::new(0) }))
    }

    /// Where its data lies.
    pub fn directory(&self) -> PathBuf {
        self.cluster.data()
    }

    /// Its version and settings in a sentence.
    pub fn sentence(&self) -> Result<String, String> {
        let version = self.ask("SHOW server_version")?;
        let version = version.split(' ').next().unwrap_or_default();
        let settings: Vec<String> = SETTINGS.iter().map(|(name, value)| format!("{name}={value}")).collect();
        Ok(format!("PostgreSQL {version} with {}", settings.join(", ")))
    }

    /// Its processes: the one that was started, and those that it started.
    pub fn processes(&self) -> Vec<u32> {
        self.cluster.pid().map(procfs::family).unwrap_or_default()
    }

    fn ask(&self, statement: &str) -> Result<String, String> {
        self.cluster.sql(ANY, statement)
    }

    fn number(&self, statement: &str) -> Result<f64, String> {
        let answer = self.ask(statement)?;
        answer.trim().parse().map_err(|_| format!("{statement} gave {answer}"))
    }
}

/// A database of a server, removed when dropped.
pub struct Database {
    server: Rc<Server>,
    name: String,
}

impl Database {
    /// An empty one.
    pub fn new(server: &Rc<Server>) -> Result<Self, String> {
        server.made.set(server.made.get() + 1);
        let name = format!("bench_{}", server.made.get());
        server.ask(&format!("CREATE DATABASE {name}"))?;
        Ok(Self { server: Rc::clone(server), name })
    }

    /// Where it is, with user and password.
    pub fn url(&self) -> String {
        format!("{}?sslmode=disable", self.server.cluster.url(&self.name))
    }

    /// Whose it is.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Bytes of its tables and indexes, and of the catalogue that each database has.
    pub fn bytes(&self) -> Result<f64, String> {
        self.server.number(&format!("SELECT pg_database_size('{}')", self.name))
    }

    /// What the server has done in it so far.
    pub fn counts(&self) -> Result<Counts, String> {
        let name = &self.name;
        let its = format!(
            "FROM pg_stat_statements WHERE dbid = (SELECT oid FROM pg_database WHERE datname = '{name}')"
        );
        Ok(Counts {
            statements: self.server.number(&format!("SELECT coalesce(sum(calls), 0) {its}"))?,
            commits: self
                .server
                .number(&format!("SELECT coalesce(sum(calls), 0) {its} AND query ILIKE 'commit%'"))?,
            log: self.server.number("SELECT pg_current_wal_lsn() - '0/0'")?,
        })
    }

    /// The statements that were run most often, one a line: how often, microseconds of each, how it begins.
    pub fn busiest(&self, count: usize) -> Result<String, String> {
        self.server.ask(&format!(
            "SELECT calls || ' x ' || round(mean_exec_time * 1000) || ' us: ' || \
             left(regexp_replace(query, '\\s+', ' ', 'g'), 110) FROM pg_stat_statements \
             WHERE dbid = (SELECT oid FROM pg_database WHERE datname = '{}') \
             ORDER BY total_exec_time DESC LIMIT {count}",
            self.name
        ))
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // Whoever kept a connection is about to end.
        let _ = self.server.ask(&format!("DROP DATABASE {} WITH (FORCE)", self.name));
    }
}

/// What a server has done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Counts {
    /// Statements, those that begin and end transactions among them.
    pub statements: f64,
    /// Transactions that were committed by a statement.
    pub commits: f64,
    /// Bytes of its log.
    pub log: f64,
}

impl Counts {
    /// Since an earlier reading, for each of so many events.
    pub fn each(self, earlier: Self, events: u64) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "events of one run")]
        let each = |now: f64, then: f64| (now - then) / events.max(1) as f64;
        Self {
            statements: each(self.statements, earlier.statements),
            commits: each(self.commits, earlier.commits),
            log: each(self.log, earlier.log),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_for_each_event() {
        let counts = |all: f64| Counts { statements: all, commits: all * 2.0, log: all * 1000.0 };
        let each = counts(50.0).each(counts(10.0), 20);
        assert_eq!(each, Counts { statements: 2.0, commits: 4.0, log: 2000.0 });
    }

    #[test]
    fn a_server_counts_what_is_done_in_a_database() {
        let server = Server::counting().unwrap();
        let database = Database::new(&server).unwrap();
        let before = database.counts().unwrap();
        cluster::sql(&database.url(), "CREATE TABLE t (a int); BEGIN; INSERT INTO t VALUES (1); COMMIT;")
            .unwrap();
        let each = database.counts().unwrap().each(before, 1);
        assert_eq!((each.statements, each.commits), (4.0, 1.0));
        assert!(each.log > 0.0 && database.bytes().unwrap() > 1e6);
        assert!(server.sentence().unwrap().contains("fsync=on"));
        assert!(server.processes().len() > 3, "{:?}", server.processes());
    }
}
