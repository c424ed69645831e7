//! Faults that nodes and their database have to survive, under load: nodes killed, frozen and cut off, the database
//! restarted and replaced. After each the judge looks at every event that was answered 200 and every request that came.

mod database;
mod judge;
mod load;
mod nodes;
mod proxy;
mod receivers;
mod stage;
mod vendors;

use std::time::Duration;

use stage::Stage;

/// How long a test waits for something that must happen. Only a failing test ever waits so long.
const PATIENCE: Duration = Duration::from_secs(40);

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_embedded_node_killed() {
    let mut stage = Stage::embedded().await;
    for _ in 0..3 {
        stage.receivers.wait_for_work(3).await;
        stage.nodes[0].kill().await;
        stage.struck("kill -9").await;
        stage.nodes[0].start_again().await;
        stage.load().more(200).await;
    }
    stage.judge().await;
}
