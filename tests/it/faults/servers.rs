//! PostgreSQL servers under the nodes: started, restarted, followed by a standby, killed and promoted.
//! Refuses to know what the nodes keep there.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use cluster::{Cluster, Stop};

use super::PATIENCE;

/// What a machine loses when its power goes is not the point here, but nothing is made easier for the server either.
const SETTINGS: &[(&str, &str)] = &[("max_connections", "120"), ("dynamic_shared_memory_type", "mmap")];

/// A server. Its last handle removes it.
#[derive(Clone)]
pub struct Server(Arc<Cluster>);

impl Server {
    pub async fn start() -> Self {
        let started = tokio::task::spawn_blocking(|| Cluster::start(SETTINGS)).await;
        Self(Arc::new(started.expect("no panic").expect("PostgreSQL starts")))
    }

    /// A standby that calls itself `name`, reaching this server through an address of somebody in between. Returns when
    /// this server waits for it at each commit.
    pub async fn synchronous_standby(&self, name: &'static str, through: SocketAddr) -> Self {
        let standby = Self(Arc::new(self.run(move |primary| primary.standby(name, SETTINGS)).await));
        let port = through.port();
        let primary = self.0.url("postgres").replace(&format!(":{}/", self.0.port()), &format!(":{port}/"));
        standby.set("primary_conninfo", &format!("{primary}?application_name={name}")).await;
        let is_there = format!("SELECT count(*) FROM pg_stat_replication WHERE application_name = '{name}'");
        self.until(&is_there, "1").await;
        self.set("synchronous_standby_names", name).await;
        let is_synchronous = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
        self.until(is_synchronous, "1").await;
        standby
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.0.port()))
    }

    /// The URL of its database for somebody who reaches it through another address.
    pub fn url(&self, through: SocketAddr) -> String {
        let url =
            self.0.url("postgres").replace(&format!(":{}/", self.0.port()), &format!(":{}/", through.port()));
        format!("{url}?sslmode=disable")
    }

    /// Stops it, in good order or as a crash.
    pub async fn stop(&self, how: Stop) {
        self.run(move |cluster| cluster.stop(how)).await;
    }

    /// Starts it again.
    pub async fn resume(&self) {
        self.run(Cluster::resume).await;
    }

    /// Ends every process of the server at once, as a power cut does.
    pub async fn kill(&self) {
        let server = self.run(Cluster::pid).await.to_string();
        let script = r#"kill -9 "$0" $(cat "/proc/$0/task/$0/children")"#;
        let killed = tokio::process::Command::new("sh").args(["-c", script, &server]).status().await;
        assert!(killed.expect("a shell").success(), "SIGKILL is sent");
    }

    /// Makes a standby a primary.
    pub async fn promote(&self) {
        self.run(Cluster::promote).await;
    }

    /// Runs statements; gives rows as lines, columns divided by `|`.
    pub async fn sql(&self, statements: &str) -> String {
        let statements = statements.to_owned();
        self.run(move |cluster| cluster.sql("postgres", &statements)).await
    }

    /// Waits until a query gives this.
    pub async fn until(&self, query: &str, expected: &str) {
        let start = Instant::now();
        while self.sql(query).await != expected {
            assert!(start.elapsed() < PATIENCE, "never {expected}: {query}");
        }
    }

    /// Whether somebody has begun a transaction and says no more.
    pub async fn holds_a_transaction(&self) -> bool {
        const OF_CLIENTS: &str = "SELECT count(*), count(*) FILTER (WHERE state_change < clock_timestamp() - interval '200 ms') \
            FROM pg_stat_activity WHERE wait_event = 'ClientRead' AND xact_start IS NOT NULL";
        loop {
            match self.sql(OF_CLIENTS).await.split_once('|') {
                Some(("0", _)) => return false,
                Some((_, "0")) => {}
                _ => return true,
            }
        }
    }

    async fn set(&self, setting: &'static str, value: &str) {
        let value = value.to_owned();
        self.run(move |cluster| cluster.set(setting, &value)).await;
    }

    async fn run<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Cluster) -> Result<T, String> + Send + 'static,
    ) -> T {
        let cluster = Arc::clone(&self.0);
        let done = tokio::task::spawn_blocking(move || act(&cluster)).await;
        done.expect("no panic").unwrap_or_else(|why| panic!("{why}"))
    }
}
