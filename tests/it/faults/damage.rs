//! A page of the database that somebody or something wrote over: the node says that it is not ready, tells its operator once,
//! and answers what it can.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use serde_json::json;

use super::TURN;
use super::dialer::Dialer;
use super::nodes::Node;
use crate::harness::Answer;

const PAGE: u64 = 4096;

async fn bring(dialer: &Dialer, node: &Node, call: &str) -> Answer {
    dialer.tell(node, call, "+15551234567", json!({"outcome": "completed"})).await
}

/// Writes over the page that every look into a table or an index begins with.
fn write_over(data: &Path, what: &str) {
    let file = data.join("postcall.db");
    let books = rusqlite::Connection::open(&file).expect("it is a database");
    let sql = "SELECT rootpage FROM sqlite_master WHERE name = ?";
    let page: u32 = books.query_row(sql, [what], |row| row.get(0)).expect("it is there");
    drop(books);
    let file = File::options().write(true).open(file).expect("a file");
    file.write_all_at(&[0xa5; PAGE as usize], (u64::from(page) - 1) * PAGE).expect("a page");
}

async fn a_damaged_page_is_told(what: &str) {
    let _turn = TURN.lock().await;
    let home = tempfile::tempdir().expect("a temporary directory");
    let data = home.path().join("data");
    let mut node = Node::start("the node", &data, &[]).await;
    let dialer = Dialer::of(&node).await;
    assert_eq!(bring(&dialer, &node, "before").await.status, 200);
    node.api().get("/readyz").await.expect(200);
    node.stop().await;
    write_over(&data, what);
    node.start_again().await;

    let refused = bring(&dialer, &node, "after").await.expect(503);
    assert!(refused.headers.contains_key("retry-after"), "{refused:?}");
    assert!(refused.json()["detail"].as_str().is_some_and(|it| it.contains("damaged")), "{refused:?}");
    for _ in 0..3 {
        let ready = node.api().get("/readyz").await.expect(503).json();
        assert!(ready["detail"].as_str().is_some_and(|it| it.contains("restore a backup")), "{ready}");
        bring(&dialer, &node, "again").await.expect(503);
    }
    let metrics = node.api().get("/metrics").await.expect(200);
    assert!(String::from_utf8_lossy(&metrics.body).contains("\npostcall_store_damaged 1\n"));
    node.api().get("/healthz").await.expect(200);
    node.api().get("/v1/sources").await.expect(200);
    assert_eq!(node.has_logged("the database is damaged"), 1, "once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_page_of_a_table_is_told() {
    a_damaged_page_is_told("events").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_page_of_an_index_is_told() {
    a_damaged_page_is_told("calls_by_outcome").await;
}

/// Whoever reads meets it first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_that_meets_damage_makes_the_node_unready() {
    let _turn = TURN.lock().await;
    let home = tempfile::tempdir().expect("a temporary directory");
    let data = home.path().join("data");
    let mut node = Node::start("the node", &data, &[]).await;
    let dialer = Dialer::of(&node).await;
    assert_eq!(bring(&dialer, &node, "before").await.status, 200);
    node.stop().await;
    write_over(&data, "events");
    node.start_again().await;
    node.api().get("/readyz").await.expect(200);
    let read = node.api().get("/v1/events").await.expect(503).json();
    assert!(read["detail"].as_str().is_some_and(|it| it.contains("damaged")), "{read}");
    node.api().get("/readyz").await.expect(503);
    // A restart is a new beginning.
    node.kill().await;
    node.start_again().await;
    node.api().get("/readyz").await.expect(200);
}
