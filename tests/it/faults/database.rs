//! Where the nodes keep their books, as far as a test may look into them from outside: which deliveries are open.
//! Refuses to know why anybody asks.

use std::collections::HashSet;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::servers::Server;

/// A delivery, by the numbers of its endpoint and of its event.
pub type Numbers = (i64, i64);

const OPEN: &str = "SELECT endpoint & 1099511627775, event & 1099511627775 FROM open";

/// The database of all nodes.
pub enum Database {
    /// Of one node: its data directory.
    Embedded(PathBuf),
    /// Of many.
    Server(Server),
}

impl Database {
    /// The deliveries that are open now.
    pub async fn open_deliveries(&self) -> HashSet<Numbers> {
        match self {
            Self::Embedded(data) => embedded(data),
            Self::Server(server) => rows(&server.sql(OPEN).await),
        }
    }

    /// The number of the tenure that a node is in. Its name ends with its port.
    pub async fn tenure(&self, node: SocketAddr) -> String {
        let port = node.port();
        self.server().sql(&format!("SELECT max(node) FROM nodes WHERE name LIKE '%:{port}'")).await
    }

    /// The open deliveries that a tenure owns.
    pub async fn owned_in(&self, tenure: &str) -> HashSet<Numbers> {
        rows(&self.server().sql(&format!("{OPEN} WHERE state = 2 AND owner = {tenure}")).await)
    }

    /// Waits until the lease of a tenure is over.
    pub async fn lapse(&self, tenure: &str) {
        let left =
            "SELECT count(*) FROM nodes WHERE expires > EXTRACT(EPOCH FROM clock_timestamp()) * 1000000";
        self.server().until(&format!("{left} AND node = {tenure}"), "0").await;
    }

    fn server(&self) -> &Server {
        match self {
            Self::Embedded(_) => panic!("one node has no tenures"),
            Self::Server(server) => server,
        }
    }
}

fn rows(text: &str) -> HashSet<Numbers> {
    text.lines().map(numbers).collect()
}

fn numbers(row: &str) -> Numbers {
    let number = |text: &str| text.parse().expect("a number");
    let (endpoint, event) = row.split_once('|').expect("two columns");
    (number(endpoint), number(event))
}

/// Reads a copy: the database is as its process left it, and the next one shall find it so.
fn embedded(data: &Path) -> HashSet<Numbers> {
    let copy = tempfile::tempdir().expect("a temporary directory");
    for file in fs::read_dir(data).expect("its directory").flatten() {
        let name = file.file_name();
        if name.to_string_lossy().contains(".db") && !name.to_string_lossy().ends_with("-shm") {
            fs::copy(file.path(), copy.path().join(name)).expect("it is copied");
        }
    }
    let database = rusqlite::Connection::open(copy.path().join("postcall.db")).expect("it opens");
    let mut rows = database.prepare(OPEN).expect("the table of open deliveries");
    let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("rows");
    rows.map(|row| row.expect("two numbers")).collect()
}
