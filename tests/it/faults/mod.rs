//! Faults that nodes and their database have to survive, under load: nodes killed, frozen and cut off, the database
//! restarted and replaced. After each the judge looks at every event that was answered 200 and every request that came.
//! And two of one node with its file: a full disk, and a damaged page.

mod damage;
mod database;
mod dialer;
mod full_disk;
mod judge;
mod load;
mod nodes;
mod proxy;
mod receivers;
mod report;
mod servers;
mod stage;
mod vendors;
mod volume;

use std::time::Duration;

use cluster::Stop;

use database::Database;
use proxy::Proxy;
use servers::Server;
use stage::Stage;

/// How long a test waits for something that must happen. Only a failing test ever waits so long.
const PATIENCE: Duration = Duration::from_secs(40);
/// How often a node is stopped or cut off until that hits it inside a transaction.
const TRIES: usize = 20;

/// What an event says, as everybody knows it: the call or batch that it is about, and its type.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fact {
    pub about: String,
    pub kind: String,
}

impl Fact {
    pub fn new(about: impl Into<String>, kind: impl Into<String>) -> Self {
        Self { about: about.into(), kind: kind.into() }
    }
}

/// One at a time: each has the machine to itself, as far as these tests go.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_embedded_node_is_killed() {
    let _turn = TURN.lock().await;
    let mut stage = Stage::embedded().await;
    for _ in 0..3 {
        stage.receivers.wait_for_work(3).await;
        stage.nodes[0].kill().await;
        stage.struck("kill -9").await;
        stage.nodes[0].start_again().await;
        stage.load().more(100).await;
    }
    stage.judge().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_node_is_killed_and_then_another() {
    let _turn = TURN.lock().await;
    let mut stage = Stage::of_three(&Server::start().await).await;
    for node in [0, 1] {
        stage.receivers.wait_for_work(3).await;
        stage.nodes[node].kill().await;
        stage.one_struck(node, "kill -9").await;
        stage.recovered().await;
        stage.nodes[node].start_again().await;
        stage.load().more_at_each(20).await;
    }
    stage.judge().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_stands_still_past_its_lease_and_wakes_up() {
    let _turn = TURN.lock().await;
    let server = Server::start().await;
    let mut stage = Stage::of_three(&server).await;
    // At the worst moment: it holds locks that the others want.
    let mut is_inside = false;
    for _ in 0..TRIES {
        stage.receivers.wait_for_work(3).await;
        stage.nodes[0].freeze().await;
        is_inside = server.holds_a_transaction().await;
        if is_inside {
            break;
        }
        stage.nodes[0].thaw().await;
        stage.load().more_at_each(1).await;
    }
    if !is_inside {
        stage.nodes[0].freeze().await;
    }
    stage.one_struck(0, &format!("SIGSTOP (inside a transaction: {is_inside})")).await;
    stage.recovered().await;
    stage.nodes[0].thaw().await;
    stage.load().more_at_each(20).await;
    stage.judge().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_cut_off_from_the_database() {
    let _turn = TURN.lock().await;
    let server = Server::start().await;
    let mut stage = Stage::of_three(&server).await;
    let mut is_inside = false;
    for _ in 0..TRIES {
        stage.receivers.wait_for_work(3).await;
        stage.proxies[0].cut();
        is_inside = server.holds_a_transaction().await;
        if is_inside {
            break;
        }
        stage.proxies[0].open();
        stage.load().more_at_each(1).await;
    }
    stage.proxies[0].cut();
    stage.one_struck(0, &format!("a cut (inside a transaction: {is_inside})")).await;
    stage.recovered().await;
    // The cable is found broken, and later mended.
    stage.proxies[0].close();
    stage.load().more_refused_at(0, 3).await;
    stage.proxies[0].open();
    stage.load().more_at_each(20).await;
    stage.judge().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_database_is_restarted() {
    let _turn = TURN.lock().await;
    let server = Server::start().await;
    let mut stage = Stage::of_three(&server).await;
    for (how, fault) in [(Stop::Fast, "a fast restart"), (Stop::Immediate, "an immediate restart")] {
        stage.read_from_each().await;
        stage.receivers.wait_for_work(3).await;
        server.stop(how).await;
        stage.load().more_refused_at_each(2).await;
        // It comes up for us alone at first, who look what is open.
        stage.proxies.iter().for_each(Proxy::close);
        let accepted = stage.load().accepted();
        server.resume().await;
        stage.struck(fault).await;
        assert_eq!(stage.load().accepted(), accepted, "200 without a database");
        stage.proxies.iter().for_each(Proxy::open);
        stage.load().more_at_each(20).await;
        stage.read_from_each().await;
        stage.heard_until_now();
        stage.recovered().await;
    }
    stage.judge().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_primary_is_killed_and_its_standby_promoted() {
    fails_over(false).await;
}

/// What the primary committed last is not with the standby, so nobody may have been told of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_primary_is_killed_when_its_standby_lags() {
    fails_over(true).await;
}

async fn fails_over(lags: bool) {
    let _turn = TURN.lock().await;
    let primary = Server::start().await;
    let replication = Proxy::to(primary.address()).await;
    let standby = primary.synchronous_standby("second", replication.address).await;
    let mut stage = Stage::of_three(&primary).await;
    stage.read_from_each().await;
    stage.receivers.wait_for_work(3).await;
    if lags {
        replication.cut();
        stage.load().more_without_200_at_each(1).await;
    }
    primary.kill().await;
    stage.proxies.iter().for_each(Proxy::close);
    replication.close();
    stage.load().more_refused_at_each(2).await;
    let accepted = stage.load().accepted();
    standby.promote().await;
    stage.database = Database::Server(standby.clone());
    stage.struck(if lags { "fail-over to a standby that lagged" } else { "fail-over" }).await;
    assert_eq!(stage.load().accepted(), accepted, "200 without a database");
    for proxy in &stage.proxies {
        proxy.lead_to(standby.address());
        proxy.open();
    }
    stage.load().more_at_each(20).await;
    stage.read_from_each().await;
    stage.heard_until_now();
    stage.recovered().await;
    stage.judge().await;
}
