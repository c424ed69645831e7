//! PostgreSQL databases for tests, a new one for each, gone when it is dropped. They are on the server that `cargo xtask
//! test` started, or else on one that this process starts for itself: no test is skipped for want of it.
//! Refuses to know what is in them.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use cluster::{Cluster, FAST};
use tokio_postgres::{NoTls, SimpleQueryMessage};

/// The URL of any database of a server on which tests may make others.
const SERVER: &str = "POSTCALL_TEST_DATABASE_URL";

/// The server, which this process removes at its end if it has started it.
struct Server {
    url: String,
    _own: Option<Cluster>,
}

static THE_SERVER: LazyLock<Server> = LazyLock::new(|| {
    #[expect(clippy::disallowed_methods, reason = "the door of the tests")]
    let given = std::env::var(SERVER).ok().filter(|url| !url.is_empty());
    if let Some(url) = given {
        return Server { url, _own: None };
    }
    let own = Cluster::start(FAST).unwrap_or_else(|why| panic!("this test needs PostgreSQL. {why}"));
    Server { url: own.url("postgres"), _own: Some(own) }
});

static MADE: AtomicUsize = AtomicUsize::new(0);

/// Runs statements at a URL, each in a transaction of its own; gives the rows as lines, columns divided by `|`. On a
/// thread of its own, since the test's drives something else; `psql` would take longer to start than most tests take.
fn run(url: &str, statements: &[&str]) -> Result<String, String> {
    let run = async {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
        let driven = tokio::spawn(connection);
        let mut lines = Vec::new();
        for statement in statements {
            for message in client.simple_query(statement).await? {
                if let SimpleQueryMessage::Row(row) = message {
                    let columns: Vec<&str> =
                        (0..row.len()).map(|at| row.get(at).unwrap_or_default()).collect();
                    lines.push(columns.join("|"));
                }
            }
        }
        // The end of a connection is a message too: whoever drops the database next is not held up by it.
        drop(client);
        let _ = driven.await;
        Ok(lines.join("\n"))
    };
    let here = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(run);
    let done = std::thread::scope(|scope| scope.spawn(here).join().unwrap());
    done.map_err(|error: tokio_postgres::Error| format!("{statements:?}: {:?}", error.as_db_error()))
}

/// Runs statements on the server.
fn on_server(statements: &[&str]) -> Result<String, String> {
    run(&THE_SERVER.url, statements)
}

/// A database of a test.
pub struct Database {
    name: String,
    was_looked_at: AtomicBool,
}

impl Database {
    /// A new one with nothing in it.
    pub fn new() -> Self {
        let name = new_name();
        on_server(&[&format!("CREATE DATABASE {name}")]).unwrap();
        Self { name, was_looked_at: AtomicBool::new(false) }
    }

    /// Its URL, with user and password.
    pub fn url(&self) -> String {
        let (server, _) = THE_SERVER.url.rsplit_once('/').expect("a URL ends with the database");
        format!("{server}/{}", self.name)
    }

    /// Runs a statement in it, or several in one transaction; gives rows as lines, columns divided by `|`.
    #[track_caller]
    pub fn sql(&self, statement: &str) -> String {
        self.was_looked_at.store(true, Ordering::Relaxed);
        run(&self.url(), &[statement]).unwrap()
    }

    /// Cuts everybody off who is connected, for good, as death does: what they had begun is rolled back, and what they
    /// knew as this database is not there any more.
    pub fn orphan(&mut self) {
        let (old, new) = (&self.name, new_name());
        on_server(&[&format!("ALTER DATABASE {old} ALLOW_CONNECTIONS false")]).unwrap();
        // Who was let in just before, and is not listed yet, is there when it is to be renamed; the server waits for him in
        // vain. The next time he is listed.
        let cut_off = || {
            on_server(&[
                &format!(
                    "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = '{old}'"
                ),
                &format!("ALTER DATABASE {old} RENAME TO {new}"),
            ])
        };
        cut_off().or_else(|_| cut_off()).unwrap();
        on_server(&[&format!("ALTER DATABASE {new} ALLOW_CONNECTIONS true")]).unwrap();
        self.name = new;
    }

    /// The tables but for these that were read from one end to the other, with how many rows; `None` when the test itself has
    /// looked into this database. Whoever is connected is waited for a while: what they did is counted when they go.
    pub fn walked_over(&self, but: &[&str]) -> Option<String> {
        if self.was_looked_at.load(Ordering::Relaxed) {
            return None;
        }
        let wait = "DO $$ BEGIN
                 FOR tried IN 1..200 LOOP
                     PERFORM pg_stat_clear_snapshot();
                     EXIT WHEN NOT EXISTS (SELECT 1 FROM pg_stat_activity WHERE datname = current_database()
                         AND backend_type = 'client backend' AND pid <> pg_backend_pid());
                     PERFORM pg_sleep(0.01);
                 END LOOP;
             END $$";
        let but: Vec<String> = but.iter().map(|name| format!("'{name}'")).collect();
        // What a tenure owned is looked for once, at its end; an index is made by a walk as well.
        let walked = format!(
            "SELECT relname, seq_scan, seq_tup_read FROM pg_stat_user_tables
             WHERE seq_tup_read > 0 AND relname NOT IN ({}) AND (relname NOT IN ('open', 'idempotency')
                 OR seq_scan > (SELECT count(*) FROM pg_index WHERE indrelid = relid)
                     + (SELECT last_value FROM tenures))",
            but.join(", ")
        );
        Some(run(&self.url(), &[wait, &walked]).unwrap())
    }

    /// What dead processes had leased is free now, and not only in a minute.
    pub fn end_leases(&self) {
        run(&self.url(), &["UPDATE nodes SET expires = 0"]).unwrap();
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // Whoever is still connected may be quick to come back.
        let drop = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        let _ = (0..3).any(|_| on_server(&[&drop]).is_ok());
    }
}

fn new_name() -> String {
    format!("test_{}_{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed))
}

#[test]
fn databases_share_nothing_and_orphans_are_alone() {
    let (mut one, other) = (Database::new(), Database::new());
    one.sql("CREATE TABLE kept AS SELECT 'it''s' AS what; INSERT INTO kept VALUES ('there')");
    assert_eq!(other.sql("SELECT count(*) FROM pg_tables WHERE tablename = 'kept'"), "0");
    let before = one.url();
    one.orphan();
    assert!(run(&before, &["SELECT 1"]).is_err(), "nobody comes back to it");
    assert_eq!(one.sql("SELECT what FROM kept ORDER BY what"), "it's\nthere");
    let gone = one.url();
    drop(one);
    assert!(run(&gone, &["SELECT 1"]).is_err());
    let left = format!("SELECT count(*) FROM pg_database WHERE datname LIKE 'test_{}_%'", std::process::id());
    assert_ne!(on_server(&[&left]).as_deref(), Ok("0"), "the other one is still there");
}
