//! The stage of a fault test: nodes on a database, receivers, the load. It sees what is in flight when a fault strikes.
//! Refuses to know how a fault is made.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use serde_json::json;
use tempfile::TempDir;

use super::PATIENCE;
use super::database::Database;
use super::load::{self, Load};
use super::nodes::Node;
use super::proxy::Proxy;
use super::receivers::Receivers;
use super::report::{self, Seen};
use super::servers::Server;
use super::vendors::{self, DIALECTS};

/// Events that are answered before the first fault.
const WARM_UP: usize = 150;
/// Seconds; longer than any endpoint's timeout.
const LEASE: &str = "3";

/// The stage.
pub struct Stage {
    pub nodes: Vec<Node>,
    /// Each node's way to the server.
    pub proxies: Vec<Proxy>,
    pub database: Database,
    pub receivers: Receivers,
    load: Option<Load>,
    seen: Vec<Seen>,
    start: Instant,
    _home: TempDir,
}

impl Stage {
    /// One node on the embedded store.
    pub async fn embedded() -> Self {
        let home = tempfile::tempdir().expect("a temporary directory");
        let data = directory(&home, "node-a");
        let node = Node::start("node a", &data, &[]).await;
        Self::set(home, vec![node], Vec::new(), Database::Embedded(data)).await
    }

    /// Three nodes on one server, each with a way of its own to it.
    pub async fn of_three(server: &Server) -> Self {
        let home = tempfile::tempdir().expect("a temporary directory");
        let (mut nodes, mut proxies): (Vec<Node>, Vec<Proxy>) = (Vec::new(), Vec::new());
        for name in ["a", "b", "c"] {
            let data = directory(&home, &format!("node-{name}"));
            if !nodes.is_empty() {
                let key = home.path().join("node-a/master.key");
                std::fs::copy(key, data.join("master.key")).expect("the first node made the key");
            }
            let proxy = Proxy::to(server.address()).await;
            let url = server.url(proxy.address);
            let options = ["--database-url", url.as_str(), "--lease", LEASE].map(str::to_owned);
            nodes.push(Node::start(&format!("node {name}"), &data, &options).await);
            proxies.push(proxy);
        }
        Self::set(home, nodes, proxies, Database::Server(server.clone())).await
    }

    /// Makes sources and endpoints, begins the load, and waits until it flows.
    async fn set(home: TempDir, nodes: Vec<Node>, proxies: Vec<Proxy>, database: Database) -> Self {
        let receivers = Receivers::start().await;
        let api = nodes[0].api();
        let mut paths = BTreeMap::new();
        for dialect in DIALECTS {
            let made = api.source(vendors::source(dialect)).await;
            paths.insert(dialect, format!("/in/{}", made["id"].as_str().expect("an id")));
            let about = json!({"url": receivers.url(dialect), "dialect": dialect});
            api.endpoint(load::endpoint(about)).await;
        }
        let doors: Vec<_> = nodes.iter().map(|node| node.address).collect();
        let load = Some(Load::begin(&doors, paths, &receivers));
        let start = Instant::now();
        let stage = Self { nodes, proxies, database, receivers, load, seen: Vec::new(), start, _home: home };
        stage.load().more_at_each(WARM_UP / stage.nodes.len()).await;
        stage
    }

    /// The load, until it is judged.
    pub fn load(&self) -> &Load {
        self.load.as_ref().expect("it is at work")
    }

    /// Reads from every node: each has connections for that, and one that ended with its server is no trouble to anybody.
    pub async fn read_from_each(&self) {
        for node in &self.nodes {
            node.api().get("/v1/reconciliation").await.expect(200);
        }
    }

    /// Notes what is in flight now: a fault has struck, and nobody can settle anything.
    pub async fn struck(&mut self, fault: &str) {
        let (start, open) = (Instant::now(), self.database.open_deliveries().await);
        let (fault, moment) = (fault.to_owned(), self.receivers.now());
        self.seen.push(Seen { fault, start, open, moment, recovered: None });
    }

    /// Notes what is in flight on a node that a fault has struck: what it owns. Others do not touch that before its lease is
    /// over, and then it may not send any of it.
    pub async fn one_struck(&mut self, node: usize, fault: &str) {
        let start = Instant::now();
        let tenure = self.database.tenure(self.nodes[node].address).await;
        let open = self.database.owned_in(&tenure).await;
        self.database.lapse(&tenure).await;
        let (fault, moment) = (format!("{fault} ({})", self.nodes[node].name), self.receivers.now());
        self.seen.push(Seen { fault, start, open, moment, recovered: None });
    }

    /// What came up to now was on its way, too.
    pub fn heard_until_now(&mut self) {
        if let Some(seen) = self.seen.last_mut() {
            seen.moment = self.receivers.now();
        }
    }

    /// Waits until all that was open when the last fault struck is settled.
    pub async fn recovered(&mut self) {
        let Some(seen) = self.seen.last_mut() else { return };
        loop {
            let open = self.database.open_deliveries().await;
            let left = seen.open.intersection(&open).count();
            if left == 0 {
                seen.recovered = Some(seen.start.elapsed());
                return;
            }
            assert!(seen.start.elapsed() < PATIENCE, "{left} deliveries stay open after {}", seen.fault);
        }
    }

    /// Ends the load, waits until everything owed is delivered, and has it judged.
    pub async fn judge(mut self) {
        let promised = self.load.take().expect("it is judged once").end().await;
        let report = report::gather(&self.nodes, promised, &self.receivers, &self.seen).await;
        report.print(&self.seen);
        println!("  {:.1?} in all", self.start.elapsed());
        report.approve();
    }
}

fn directory(home: &TempDir, name: &str) -> PathBuf {
    let path = home.path().join(name);
    std::fs::create_dir(&path).expect("a directory");
    path
}
