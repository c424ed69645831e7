//! The group commit: whatever arrives while one transaction commits forms the next one. The same for every store.
//! A group that fails on data is split until the culprit is found; it goes to quarantine, its neighbours commit.
//! Refuses to know what is written and how.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tracing::{error, warn};

use super::{Committed, Group, Incoming, Queues, Recorded, Settlement, Store, StoreError, What};
use crate::clock::Clock;
use crate::metrics::Metrics;

/// The most that goes into one transaction: enough to share an fsync, few enough to stay within milliseconds.
const MOST_IN_GROUP: usize = 512;
/// Submissions that may wait for their group. Past that the door answers 503.
const WAITING: usize = 8192;
/// How long a settlement waits for company: its delivery is done, nobody is waiting for the record.
const SETTLE_PATIENCE: Duration = Duration::from_millis(5);
/// Wait between two tries to write settlements while the store is unavailable.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

enum Submission {
    Record(Incoming, oneshot::Sender<Result<Recorded, StoreError>>),
    Settle(Settlement, oneshot::Sender<()>),
}

/// The way into the group commit. Cheap to clone; the loop ends when every clone is gone.
#[derive(Clone)]
pub struct GroupWriter {
    submissions: mpsc::Sender<Submission>,
}

impl GroupWriter {
    /// Starts the loop. The handle ends when every clone of the writer is dropped and all is written.
    pub fn start(
        store: Arc<dyn Store>,
        queues: Arc<dyn Queues>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> (Self, JoinHandle<()>) {
        let (submissions, waiting) = mpsc::channel(WAITING);
        let handle = tokio::spawn(Committer { store, queues, clock, metrics }.run(waiting));
        (Self { submissions }, handle)
    }

    /// Records what came through a door. When this returns `Ok`, it is on disk.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] also when too much is waiting already: the caller answers 503.
    pub async fn record(&self, incoming: Incoming) -> Result<Recorded, StoreError> {
        let (answer, answered) = oneshot::channel();
        self.submissions.try_send(Submission::Record(incoming, answer)).map_err(|refused| {
            StoreError::Unavailable(match refused {
                mpsc::error::TrySendError::Full(_) => "too much is waiting to be written".to_owned(),
                mpsc::error::TrySendError::Closed(_) => "shutting down".to_owned(),
            })
        })?;
        answered.await.unwrap_or_else(|_| Err(StoreError::Unavailable("shutting down".to_owned())))
    }

    /// Writes the result of an attempt; returns when it is on disk, however long the store is away.
    pub async fn settle(&self, settlement: Settlement) {
        let (answer, answered) = oneshot::channel();
        if self.submissions.send(Submission::Settle(settlement, answer)).await.is_ok() {
            // A dropped sender means shutting down: the attempt is then made again after the next start.
            let _ = answered.await;
        }
    }
}

#[derive(Default)]
struct Waiting {
    incoming: Vec<Incoming>,
    recorded: Vec<oneshot::Sender<Result<Recorded, StoreError>>>,
    settlements: Vec<Settlement>,
    settled: Vec<oneshot::Sender<()>>,
}

impl Waiting {
    fn push(&mut self, submission: Submission) {
        match submission {
            Submission::Record(incoming, answer) => {
                self.incoming.push(incoming);
                self.recorded.push(answer);
            }
            Submission::Settle(settlement, answer) => {
                self.settlements.push(settlement);
                self.settled.push(answer);
            }
        }
    }

    fn len(&self) -> usize {
        self.incoming.len() + self.settlements.len()
    }
}

/// What it takes to commit a group.
#[derive(Clone)]
struct Committer {
    store: Arc<dyn Store>,
    queues: Arc<dyn Queues>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
}

/// The next group: all that waits; settlements alone wait a little for company.
async fn gather(submissions: &mut mpsc::Receiver<Submission>) -> Option<Waiting> {
    let mut waiting = Waiting::default();
    waiting.push(submissions.recv().await?);
    loop {
        while waiting.len() < MOST_IN_GROUP {
            let Ok(submission) = submissions.try_recv() else { break };
            waiting.push(submission);
        }
        if !waiting.incoming.is_empty() || waiting.len() >= MOST_IN_GROUP {
            return Some(waiting);
        }
        match tokio::time::timeout(SETTLE_PATIENCE, submissions.recv()).await {
            Ok(Some(submission)) => waiting.push(submission),
            Ok(None) | Err(_) => return Some(waiting),
        }
    }
}

impl Committer {
    async fn run(self, mut submissions: mpsc::Receiver<Submission>) {
        while let Some(waiting) = gather(&mut submissions).await {
            self.commit(waiting).await;
        }
    }

    /// Hands a group to the store, and counts it.
    async fn write(&self, group: &Arc<Group>) -> Result<Committed, StoreError> {
        let start = Instant::now();
        let written = self.store.commit(Arc::clone(group), Arc::clone(&self.queues)).await;
        match &written {
            Ok(_) => {
                let members = group.incoming.len() + group.settlements.len();
                self.metrics.group_committed(members, start.elapsed());
            }
            Err(_) => self.metrics.group_failed(),
        }
        written
    }

    fn group(&self, incoming: Vec<Incoming>, settlements: Vec<Settlement>) -> Arc<Group> {
        Arc::new(Group { now: self.clock.now(), incoming, settlements })
    }

    async fn commit(&self, waiting: Waiting) {
        let Waiting { incoming, recorded, settlements, settled } = waiting;
        let group = self.group(incoming, settlements);
        match self.write(&group).await {
            Ok(committed) => {
                self.announce(committed, recorded);
                release(settled);
            }
            Err(StoreError::Data(why)) => {
                let size = group.incoming.len() + group.settlements.len();
                warn!(%why, size, "splitting a group that holds a culprit");
                self.record_alone(&group.incoming, recorded).await;
                self.settle_alone(&group.settlements, settled).await;
            }
            Err(error) => {
                error!(%error, "a group was not written");
                recorded.into_iter().for_each(|answer| drop(answer.send(Err(error.clone()))));
                self.settle_later(group.settlements.clone(), settled);
            }
        }
    }

    fn announce(&self, committed: Committed, answers: Vec<oneshot::Sender<Result<Recorded, StoreError>>>) {
        let Committed { recorded, owned, wake, wake_at, .. } = committed;
        if !owned.is_empty() {
            self.queues.dispatch(owned);
        }
        for (answer, recorded) in answers.into_iter().zip(recorded) {
            // A sender that hung up before its answer is no concern of ours: it is on disk.
            let _ = answer.send(Ok(recorded));
        }
        if !wake.is_empty() {
            self.queues.wake(wake);
        }
        for (endpoint, due) in wake_at {
            self.queues.wake_at(endpoint, due);
        }
    }

    /// Commits each body alone; the one that still fails is the culprit and goes to quarantine.
    async fn record_alone(
        &self,
        all: &[Incoming],
        answers: Vec<oneshot::Sender<Result<Recorded, StoreError>>>,
    ) {
        for (incoming, answer) in all.iter().zip(answers) {
            let mut result = self.write(&self.group(vec![incoming.clone()], Vec::new())).await;
            if let Err(StoreError::Data(why)) = &result {
                let what = What::Unreadable(format!("cannot be stored: {why}"));
                let culprit = Incoming { what, ..incoming.clone() };
                result = self.write(&self.group(vec![culprit], Vec::new())).await;
            }
            match result {
                Ok(committed) => self.announce(committed, vec![answer]),
                Err(error) => drop(answer.send(Err(error))),
            }
        }
    }

    async fn settle_alone(&self, all: &[Settlement], answers: Vec<oneshot::Sender<()>>) {
        for (settlement, answer) in all.iter().zip(answers) {
            match self.write(&self.group(Vec::new(), vec![settlement.clone()])).await {
                Ok(committed) => {
                    self.announce(committed, Vec::new());
                    release(vec![answer]);
                }
                Err(StoreError::Data(why)) => {
                    let delivery = settlement.delivery;
                    error!(%why, delivery, "a settlement cannot be stored; its delivery stays pending");
                }
                Err(_) => self.settle_later(vec![settlement.clone()], vec![answer]),
            }
        }
    }

    /// Writes settlements as soon as the store is back, beside the loop: the doors go on answering 503 meanwhile.
    fn settle_later(&self, settlements: Vec<Settlement>, settled: Vec<oneshot::Sender<()>>) {
        if settlements.is_empty() {
            return;
        }
        let committer = self.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(RETRY_PAUSE).await;
                match committer.write(&committer.group(Vec::new(), settlements.clone())).await {
                    Ok(committed) => {
                        committer.announce(committed, Vec::new());
                        return release(settled);
                    }
                    Err(StoreError::Data(_)) => return committer.settle_alone(&settlements, settled).await,
                    Err(_) => {}
                }
            }
        });
    }
}

/// Tells those who wait that their settlement is on disk.
fn release(settled: Vec<oneshot::Sender<()>>) {
    for answer in settled {
        let _ = answer.send(());
    }
}
