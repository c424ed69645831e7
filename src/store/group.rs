//! The group commit: whatever arrives while one transaction commits forms the next one. The same for every store.
//! A group that fails on data is split until the culprit is found; it goes to quarantine, its neighbours commit.
//! Refuses to know what is written and how.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tracing::{error, warn};

use super::{Committed, Group, Incoming, Queues, Recorded, Settlement, Store, StoreError, What};
use crate::clock::Clock;

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
    ) -> (Self, JoinHandle<()>) {
        let (submissions, waiting) = mpsc::channel(WAITING);
        let handle = tokio::spawn(run(store, queues, clock, waiting));
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

async fn run(
    store: Arc<dyn Store>,
    queues: Arc<dyn Queues>,
    clock: Arc<dyn Clock>,
    mut submissions: mpsc::Receiver<Submission>,
) {
    while let Some(waiting) = gather(&mut submissions).await {
        commit(&store, &queues, &clock, waiting).await;
    }
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

async fn commit(store: &Arc<dyn Store>, queues: &Arc<dyn Queues>, clock: &Arc<dyn Clock>, waiting: Waiting) {
    let Waiting { incoming, recorded, settlements, settled } = waiting;
    let now = clock.now();
    let group = Arc::new(Group { now, incoming, settlements });
    match store.commit(Arc::clone(&group), Arc::clone(queues)).await {
        Ok(committed) => {
            announce(committed, queues.as_ref(), recorded);
            release(settled);
        }
        Err(StoreError::Data(why)) => {
            warn!(%why, size = group.incoming.len() + group.settlements.len(), "splitting a group that holds a culprit");
            let Group { incoming, settlements, .. } = Arc::into_inner(group).unwrap_or_else(|| Group {
                now,
                incoming: Vec::new(),
                settlements: Vec::new(),
            });
            split(store, queues, clock, incoming, recorded, settlements, settled, why).await;
        }
        Err(error) => {
            error!(%error, "a group was not written");
            recorded.into_iter().for_each(|answer| drop(answer.send(Err(error.clone()))));
            let Some(Group { settlements, .. }) = Arc::into_inner(group) else { return };
            settle_later(store, queues, clock, settlements, settled).await;
        }
    }
}

/// Tells those who wait that their settlement is on disk.
fn release(settled: Vec<oneshot::Sender<()>>) {
    for answer in settled {
        let _ = answer.send(());
    }
}

fn announce(
    committed: Committed,
    queues: &dyn Queues,
    answers: Vec<oneshot::Sender<Result<Recorded, StoreError>>>,
) {
    let Committed { recorded, owned, wake, wake_at, .. } = committed;
    if !owned.is_empty() {
        queues.dispatch(owned);
    }
    for (answer, recorded) in answers.into_iter().zip(recorded) {
        // A sender that hung up before its answer is no concern of ours: it is on disk.
        let _ = answer.send(Ok(recorded));
    }
    if !wake.is_empty() {
        queues.wake(wake);
    }
    for (endpoint, due) in wake_at {
        queues.wake_at(endpoint, due);
    }
}

/// Commits each member alone; the one that still fails is the culprit.
#[expect(clippy::too_many_arguments, reason = "the two halves of a group, taken apart")]
async fn split(
    store: &Arc<dyn Store>,
    queues: &Arc<dyn Queues>,
    clock: &Arc<dyn Clock>,
    incoming: Vec<Incoming>,
    recorded: Vec<oneshot::Sender<Result<Recorded, StoreError>>>,
    settlements: Vec<Settlement>,
    settled: Vec<oneshot::Sender<()>>,
    why: String,
) {
    let alone = |incoming, settlements| Arc::new(Group { now: clock.now(), incoming, settlements });
    for (mut incoming, answer) in incoming.into_iter().zip(recorded) {
        let mut result = store.commit(alone(vec![incoming.clone()], Vec::new()), Arc::clone(queues)).await;
        if let Err(StoreError::Data(why)) = &result {
            incoming.what = What::Unreadable(format!("cannot be stored: {why}"));
            result = store.commit(alone(vec![incoming], Vec::new()), Arc::clone(queues)).await;
        }
        match result {
            Ok(committed) => announce(committed, queues.as_ref(), vec![answer]),
            Err(error) => drop(answer.send(Err(error))),
        }
    }
    for (settlement, answer) in settlements.into_iter().zip(settled) {
        let delivery = settlement.delivery;
        match store.commit(alone(Vec::new(), vec![settlement.clone()]), Arc::clone(queues)).await {
            Ok(committed) => {
                announce(committed, queues.as_ref(), Vec::new());
                let _ = answer.send(());
            }
            Err(StoreError::Data(again)) => {
                error!(%why, %again, delivery, "a settlement cannot be stored; its delivery stays pending");
            }
            Err(_) => settle_later(store, queues, clock, vec![settlement], vec![answer]).await,
        }
    }
}

/// Writes settlements as soon as the store is back, beside the loop: the doors go on answering 503 meanwhile.
async fn settle_later(
    store: &Arc<dyn Store>,
    queues: &Arc<dyn Queues>,
    clock: &Arc<dyn Clock>,
    settlements: Vec<Settlement>,
    settled: Vec<oneshot::Sender<()>>,
) {
    if settlements.is_empty() {
        return;
    }
    let (store, queues, clock) = (Arc::clone(store), Arc::clone(queues), Arc::clone(clock));
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(RETRY_PAUSE).await;
            let group = Group { now: clock.now(), incoming: Vec::new(), settlements: settlements.clone() };
            if let Ok(committed) = store.commit(Arc::new(group), Arc::clone(&queues)).await {
                announce(committed, queues.as_ref(), Vec::new());
                release(settled);
                return;
            }
        }
    });
}
