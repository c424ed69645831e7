//! The group commit: whatever arrives while one transaction commits forms the next one. The same for every store.
//! A group that fails on data is halved until the culprit is found; it goes to quarantine, its neighbours commit.
//! Refuses to know what is written and how.

use std::mem::take;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tracing::{error, warn};

use super::group_size::{self, GroupSize};
use super::outage::Outage;
use super::{
    Answer, Committed, EndpointRef, Group, Incoming, Place, Queues, Recorded, Settlement, Store, StoreError,
    What, weight,
};
use crate::clock::Clock;
use crate::metrics::Metrics;

/// The most bodies and settlements that go into one transaction.
const MOST_IN_GROUP: usize = group_size::MOST;
/// The same in bytes of bodies, so that a few large ones do not make the others wait.
const MOST_BYTES_IN_GROUP: usize = 8 * 1024 * 1024;
/// Bodies that may wait for their group. Past that the door answers 503. As many settlements may wait beside them: however
/// many endpoints an event is owed to, what comes of it stands in no door's way.
const WAITING: usize = 8192;
/// The same in bytes, of bodies and of what was parsed out of them: memory is bounded whatever is in the bodies.
const WAITING_BYTES: u32 = 64 * 1024 * 1024;
/// How long a settlement waits for company: its delivery is done, nobody is waiting for the record.
const SETTLE_PATIENCE: Duration = Duration::from_millis(5);
/// How long a door waits for its group. A store that takes longer does not answer any more: what is in the group may be
/// written or not, and whoever comes next is told at once.
const PATIENCE: Duration = Duration::from_secs(5);
/// Wait between two tries to write settlements while the store is unavailable.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// How the log calls what is done here.
const WORK: &str = "writing what came in and what attempts came to";

type Told = oneshot::Sender<Result<Recorded, StoreError>>;

enum Submission {
    Record(Box<Record>),
    Settle(Box<Settle>),
}

struct Record {
    incoming: Incoming,
    answer: Told,
    room: OwnedSemaphorePermit,
}

struct Settle {
    settlement: Settlement,
    place: Place,
}

/// What arrives for the groups.
struct Inbox {
    records: mpsc::Receiver<Box<Record>>,
    settlements: mpsc::Receiver<Box<Settle>>,
}

impl Inbox {
    /// The next one, whichever it is; `None` when nothing can come any more.
    async fn recv(&mut self) -> Option<Submission> {
        tokio::select! {
            biased;
            Some(record) = self.records.recv() => Some(Submission::Record(record)),
            Some(settle) = self.settlements.recv() => Some(Submission::Settle(settle)),
            else => None,
        }
    }
}

/// The way into the group commit. Cheap to clone; the loop ends when every clone is gone.
#[derive(Clone)]
pub struct GroupWriter {
    records: mpsc::Sender<Box<Record>>,
    settlements: mpsc::Sender<Box<Settle>>,
    room: Arc<Semaphore>,
}

impl GroupWriter {
    /// Starts the loop. The handle ends when every clone of the writer is dropped and all is written, however long
    /// the store is away.
    pub fn start(
        store: Arc<dyn Store>,
        queues: Arc<dyn Queues>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> (Self, JoinHandle<()>) {
        let (records, waiting_records) = mpsc::channel(WAITING);
        let (settlements, waiting_settlements) = mpsc::channel(WAITING);
        let inbox = Inbox { records: waiting_records, settlements: waiting_settlements };
        let handle = tokio::spawn(
            Committer { store, queues, clock, metrics, size: <_>::default(), outage: <_>::default() }
                .run(inbox),
        );
        let room = Arc::new(Semaphore::new(usize::try_from(WAITING_BYTES).unwrap_or(usize::MAX)));
        (Self { records, settlements, room }, handle)
    }

    /// Records what came through a door. When this returns `Ok`, it is on disk.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] also when too much is waiting already or the store does not answer, and
    /// [`StoreError::Unknown`] when it has stopped to answer in the midst of this: the caller answers 503.
    pub async fn record(&self, incoming: Incoming) -> Result<Recorded, StoreError> {
        let too_much = || StoreError::Unavailable("too much is waiting to be written".to_owned());
        let shutting_down = || StoreError::Unavailable("shutting down".to_owned());
        let size = u32::try_from(weight::of(&incoming)).unwrap_or(u32::MAX).min(WAITING_BYTES);
        let room = Arc::clone(&self.room).try_acquire_many_owned(size).map_err(|_| too_much())?;
        let (answer, answered) = oneshot::channel();
        let record = Box::new(Record { incoming, answer, room });
        self.records.try_send(record).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => too_much(),
            mpsc::error::TrySendError::Closed(_) => shutting_down(),
        })?;
        answered.await.unwrap_or_else(|_| Err(shutting_down()))
    }

    /// Hands in the result of an attempt. It is written however long the store is away; then the queues are told.
    pub async fn settle(&self, settlement: Settlement, place: Place) {
        // A closed channel means shutting down: the attempt is then made again after the next start.
        let _ = self.settlements.send(Box::new(Settle { settlement, place })).await;
    }
}

/// What waits for one transaction, and who waits for it.
#[derive(Default)]
struct Waiting {
    incoming: Vec<Incoming>,
    recorded: Vec<Told>,
    settlements: Vec<Settlement>,
    settled: Vec<(EndpointRef, Place)>,
    bytes: usize,
    room: Vec<OwnedSemaphorePermit>,
    /// It is one member, changed into something that any store can keep.
    is_last_resort: bool,
}

impl Waiting {
    fn push(&mut self, submission: Submission) {
        match submission {
            Submission::Record(record) => {
                let Record { incoming, answer, room } = *record;
                self.bytes += incoming.raw.len();
                self.incoming.push(incoming);
                self.recorded.push(answer);
                self.room.push(room);
            }
            Submission::Settle(settle) => {
                let Settle { settlement, place } = *settle;
                self.settled.push((settlement.endpoint, place));
                self.settlements.push(settlement);
            }
        }
    }

    fn len(&self) -> usize {
        self.incoming.len() + self.settlements.len()
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn is_full(&self) -> bool {
        self.len() >= MOST_IN_GROUP || self.bytes >= MOST_BYTES_IN_GROUP
    }

    /// Takes in what has arrived, `bodies` at the most: these first, as somebody waits for each, but half of the group is
    /// the settlements' if there are as many.
    fn fill(&mut self, inbox: &mut Inbox, bodies: usize) {
        for most in [bodies.min(MOST_IN_GROUP / 2), bodies] {
            while !self.is_full() && self.incoming.len() < most {
                let Ok(record) = inbox.records.try_recv() else { break };
                self.push(Submission::Record(record));
            }
            while !self.is_full() {
                let Ok(settle) = inbox.settlements.try_recv() else { break };
                self.push(Submission::Settle(settle));
            }
        }
    }

    /// Moves at most a group of settlements over from `other`.
    fn take_settlements(&mut self, other: &mut Self) {
        let count = other.settlements.len().min(MOST_IN_GROUP);
        self.settlements.extend(other.settlements.drain(..count));
        self.settled.extend(other.settled.drain(..count));
    }

    /// The later half; this keeps the earlier one.
    fn split_off(&mut self) -> Self {
        let half = self.len() / 2;
        let (incoming, settlements) =
            (half.min(self.incoming.len()), half.saturating_sub(self.incoming.len()));
        Self {
            incoming: self.incoming.split_off(incoming),
            recorded: self.recorded.split_off(incoming),
            settlements: self.settlements.split_off(settlements),
            settled: self.settled.split_off(settlements),
            ..Self::default()
        }
    }

    /// Changes the one member that cannot be stored into something that can: a body without what it says, an attempt
    /// without what came back.
    fn strip(&mut self, why: &str) {
        self.is_last_resort = true;
        for incoming in &mut self.incoming {
            incoming.what = What::Unreadable(format!("cannot be stored: {why}"));
        }
        for settlement in &mut self.settlements {
            settlement.attempt.response_body = None;
            settlement.attempt.error = Some(format!("what came back cannot be stored: {why}"));
        }
    }
}

/// Fills a group: all that waits; settlements alone wait a little for company.
async fn gather(first: Submission, inbox: &mut Inbox, bodies: usize) -> Waiting {
    let deadline = Instant::now() + SETTLE_PATIENCE;
    let mut waiting = Waiting::default();
    waiting.push(first);
    loop {
        waiting.fill(inbox, bodies);
        if !waiting.incoming.is_empty() || waiting.is_full() {
            return waiting;
        }
        match timeout_at(deadline, inbox.recv()).await {
            Ok(Some(submission)) => waiting.push(submission),
            Ok(None) | Err(_) => return waiting,
        }
    }
}

/// What it takes to commit a group.
struct Committer {
    store: Arc<dyn Store>,
    queues: Arc<dyn Queues>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    size: GroupSize,
    outage: Outage,
}

impl Committer {
    async fn run(self, mut inbox: Inbox) {
        // Settlements that the store would not take: tried again until it does, while the doors answer 503.
        let mut unwritten = Waiting::default();
        let mut again = Instant::now();
        loop {
            let first = match unwritten.is_empty() {
                true => Ok(inbox.recv().await),
                false => timeout_at(again, inbox.recv()).await,
            };
            let mut group = match first {
                Ok(Some(first)) => gather(first, &mut inbox, self.size.bodies()).await,
                Ok(None) if unwritten.is_empty() => return,
                Ok(None) => {
                    sleep_until(again).await;
                    Waiting::default()
                }
                Err(_) => Waiting::default(),
            };
            if Instant::now() >= again {
                group.take_settlements(&mut unwritten);
            }
            let mut left = self.commit(group, &mut inbox).await;
            if !left.is_empty() {
                again = Instant::now() + RETRY_PAUSE;
                unwritten.settlements.append(&mut left.settlements);
                unwritten.settled.append(&mut left.settled);
            }
        }
    }

    /// Commits a group and answers everybody in it, but for the settlements that the store would not take just now:
    /// those are given back.
    async fn commit(&self, mut waiting: Waiting, inbox: &mut Inbox) -> Waiting {
        let _room = take(&mut waiting.room);
        let (mut parts, mut left) = (vec![waiting], Waiting::default());
        while let Some(mut part) = parts.pop() {
            let (mut recorded, settled) = (take(&mut part.recorded), take(&mut part.settled));
            let group = Arc::new(Group {
                now: self.clock.now(),
                incoming: take(&mut part.incoming),
                settlements: take(&mut part.settlements),
            });
            let error = match self.write(&group, &mut recorded, inbox).await {
                Ok(committed) => {
                    self.announce(committed, recorded);
                    self.queues.settled(settled);
                    continue;
                }
                Err(error) => error,
            };
            let Group { incoming, settlements, .. } = Arc::unwrap_or_clone(group);
            part = Waiting { incoming, recorded, settlements, settled, ..part };
            match error {
                StoreError::Data(why) if part.len() > 1 => {
                    warn!(%why, size = part.len(), "halving a group that holds a culprit");
                    let later = part.split_off();
                    parts.extend([later, part]);
                }
                StoreError::Data(why) if !part.is_last_resort => {
                    part.strip(&why);
                    parts.push(part);
                }
                error => {
                    self.outage.failed(WORK, &error);
                    part.recorded.into_iter().for_each(|told| drop(told.send(Err(error.clone()))));
                    match error {
                        // What no store can keep in any form is given up: its attempt is made again after the next start.
                        // So is what attempts of an earlier tenure came to: whoever owns their deliveries now makes them.
                        StoreError::Data(_) | StoreError::Lapsed(_) | StoreError::LimitReached(..) => {
                            self.queues.settled(part.settled);
                        }
                        StoreError::Unavailable(_) | StoreError::Unknown(_) => {
                            left.settlements.append(&mut part.settlements);
                            left.settled.append(&mut part.settled);
                        }
                    }
                }
            }
        }
        left
    }

    /// Hands a group to the store, and counts it.
    async fn write(
        &self,
        group: &Arc<Group>,
        waiting: &mut [Told],
        inbox: &mut Inbox,
    ) -> Result<Committed, StoreError> {
        let start = Instant::now();
        let members = group.incoming.len() + group.settlements.len();
        if members == 0 {
            return Ok(Committed::default());
        }
        let mut writing = self.store.commit(Arc::clone(group), Arc::clone(&self.queues));
        let written = match timeout(PATIENCE, &mut writing).await {
            Ok(written) => written,
            Err(_) => hang_on(writing, waiting, inbox).await,
        };
        match &written {
            Ok(committed) => {
                self.metrics.group_committed(members, start.elapsed());
                self.size.note(committed.waited);
                self.outage.worked(WORK);
            }
            Err(_) => self.metrics.group_failed(),
        }
        written
    }

    fn announce(&self, committed: Committed, answers: Vec<Told>) {
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
}

/// Waits for a store that does not answer, as long as it takes. No door does: those whose bodies are in the group are told
/// that nobody knows, and those that come meanwhile that there is no use in waiting.
async fn hang_on(
    mut writing: Answer<'_, Committed>,
    waiting: &mut [Told],
    inbox: &mut Inbox,
) -> Result<Committed, StoreError> {
    error!(size = waiting.len(), "the store does not answer; the doors answer 503 until it does");
    for told in waiting {
        let unknown = StoreError::Unknown("the store has stopped to answer".to_owned());
        let _ = std::mem::replace(told, oneshot::channel().0).send(Err(unknown));
    }
    loop {
        tokio::select! {
            biased;
            written = &mut writing => return written,
            Some(record) = inbox.records.recv() => {
                let away = StoreError::Unavailable("the store does not answer".to_owned());
                let _ = record.answer.send(Err(away));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Decision, Next};
    use crate::model::{AccountKey, Attempt, Time};
    use crate::store::EndpointRef;

    fn settlement() -> Box<Settle> {
        let attempt = Attempt {
            number: 1,
            at: Time::MIN,
            latency_ms: 0.0,
            status: None,
            error: None,
            response_body: None,
            slow: false,
        };
        let settlement = Settlement {
            endpoint: EndpointRef { account: AccountKey::DEFAULT, number: 1 },
            delivery: 1,
            ordered_call: None,
            event: 1,
            revision: 1,
            attempt,
            decision: Decision { next: Next::Delivered, disable_endpoint: false },
            body: bytes::Bytes::new(),
        };
        let place = Place::take((&Arc::default(), 1), (&Arc::default(), usize::MAX), 0).unwrap();
        Box::new(Settle { settlement, place })
    }

    #[tokio::test(start_paused = true)]
    async fn a_trickle_of_settlements_does_not_hold_the_first_one() {
        let (sender, settlements) = mpsc::channel(100);
        let (_records, records) = mpsc::channel(1);
        let mut inbox = Inbox { records, settlements };
        tokio::spawn(async move {
            while sender.send(settlement()).await.is_ok() {
                tokio::time::sleep(SETTLE_PATIENCE / 5 * 4).await;
            }
        });
        let first = inbox.recv().await.unwrap();
        let start = Instant::now();
        let group = gather(first, &mut inbox, MOST_IN_GROUP).await;
        assert_eq!(group.len(), 2);
        assert_eq!(start.elapsed(), SETTLE_PATIENCE);
    }

    #[test]
    fn halves_make_the_whole() {
        for (members, halves) in [(2, [1, 1]), (5, [2, 3])] {
            let mut whole = Waiting::default();
            (0..members).for_each(|_| whole.push(Submission::Settle(settlement())));
            let later = whole.split_off();
            assert_eq!([whole.len(), later.len()], halves);
            assert_eq!([whole.settled.len(), later.settled.len()], halves);
        }
    }
}
