//! The group commit: whatever arrives while one transaction commits forms the next one. The same for every store.
//! A group that fails on data is halved until the culprit is found; it goes to quarantine, its neighbours commit.
//! What waits is taken by turns between accounts, and where several are active a group has only so much of each.
//! Refuses to know what is written and how.

use std::mem::take;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tracing::{debug, error, warn};

use super::group_size::{self, GroupSize};
use super::inbox::{self, Refused, inbox};
use super::weight;
use crate::clock::Clock;
use crate::ledger::Next;
use crate::metrics::Metrics;
use crate::model::AccountKey;
use crate::store::fairness::account_turns::FIXED_COST;
use crate::store::fairness::gate::{Gate, Pass};
use crate::store::fairness::shares::Amount;
use crate::store::outage::Outage;
use crate::store::{
    Answer, Committed, EndpointRef, Group, Incoming, Ingest, Parsed, Place, Queues, Recorded, Settlement,
    StoreError,
};

/// The most bodies and settlements that go into one transaction.
const MOST_IN_GROUP: usize = group_size::MOST;
/// The same in bytes of bodies, so that a few large ones do not make the others wait.
const MOST_BYTES_IN_GROUP: usize = 8 * 1024 * 1024;
/// Bodies that may wait for their group or be in it, and the bytes of them and of what was parsed out of them. Past that,
/// and past its account's share of it, the door answers 503. Settlements wait beside them: however many endpoints an event
/// is owed to, what comes of it stands in no door's way.
const WAITING: Amount = Amount { count: 8192, bytes: 64 << 20 };
/// What an ordinary body weighs, in bytes: by this a number of bodies of one account is a bound of their bytes too.
const ORDINARY: usize = FIXED_COST + (2 << 10);
/// How long a settlement waits for company: its delivery is done, nobody is waiting for the record.
const SETTLE_PATIENCE: Duration = Duration::from_millis(5);
/// How long a door waits for its group. A store that takes longer does not answer any more: what is in the group may be
/// written or not, and whoever comes next is told at once.
const PATIENCE: Duration = Duration::from_secs(5);
/// Wait between two tries to write settlements while the store is unavailable.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// How often a group is tried again in whose way another transaction stood.
const MOST_CONFLICTS: u32 = 3;
/// How the log calls what is done here.
const WORK: &str = "writing what came in and what attempts came to";

type Told = oneshot::Sender<Result<Recorded, StoreError>>;

struct Record {
    incoming: Incoming,
    answer: Told,
    /// What it holds of the memory for bodies.
    memory: usize,
}

struct Settle {
    settlement: Settlement,
    place: Place,
}

type Sender = inbox::Sender<Box<Record>, Box<Settle>>;
type Inbox = inbox::Receiver<Box<Record>, Box<Settle>>;

/// The way into the group commit. Cheap to clone; the loop ends when every clone is gone.
#[derive(Clone)]
pub struct GroupWriter {
    sender: Arc<Sender>,
    gate: Arc<Gate>,
}

impl GroupWriter {
    /// Starts the loop. The handle ends when every clone of the writer is dropped and all is written, however long
    /// the store is away.
    pub fn start(
        store: Arc<dyn Ingest>,
        queues: Arc<dyn Queues>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> (Self, JoinHandle<()>) {
        let (sender, inbox) = inbox(WAITING);
        let gate = Gate::new();
        let (size, outage) = <_>::default();
        let committer = Committer { store, queues, clock, metrics, size, outage, gate: Arc::clone(&gate) };
        let handle = tokio::spawn(committer.run(inbox));
        (Self { sender: Arc::new(sender), gate }, handle)
    }

    /// Waits, while several accounts are active, until few enough bodies of this one are worked on. To be held from the proof
    /// of a body to its answer.
    pub async fn enter(&self, account: AccountKey) -> Option<Pass> {
        self.gate.enter(account).await
    }

    /// Records what came through a door. When this returns `Ok`, it is on disk.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] also when too much is waiting already, of its account or in all, or the store does not
    /// answer, and [`StoreError::Unknown`] when it has stopped to answer in the midst of this: the caller answers 503.
    pub async fn record(&self, incoming: Incoming) -> Result<Recorded, StoreError> {
        let shutting_down = || StoreError::Unavailable("shutting down".to_owned());
        let (account, bytes) = (incoming.account, incoming.raw.len());
        let memory = weight::of(&incoming);
        let (answer, answered) = oneshot::channel();
        let record = Box::new(Record { incoming, answer, memory });
        self.sender.record(account, bytes, memory, record).map_err(|refused| match refused {
            Refused::TooMuch => StoreError::Unavailable("too much is waiting to be written".to_owned()),
            Refused::Closed => shutting_down(),
        })?;
        answered.await.unwrap_or_else(|_| Err(shutting_down()))
    }

    /// Hands in the result of an attempt. It is written however long the store is away; then the queues are told.
    pub fn settle(&self, settlement: Settlement, place: Place) {
        // What was sent is kept only where it may have to be sent again.
        let bytes = match settlement.decision.next {
            Next::Delivered => 0,
            Next::RetryAt(_) | Next::Dead => settlement.body.len(),
        };
        self.sender.settlement(settlement.endpoint.account, bytes, Box::new(Settle { settlement, place }));
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
    /// What its bodies hold of the memory for bodies.
    held: Vec<(AccountKey, usize)>,
    /// It is one member, changed into something that any store can keep.
    is_last_resort: bool,
    /// How often another transaction stood in its way.
    conflicts: u32,
}

impl Waiting {
    fn push(&mut self, record: Record) {
        let Record { incoming, answer, memory } = record;
        self.bytes += incoming.raw.len();
        self.held.push((incoming.account, memory));
        self.incoming.push(incoming);
        self.recorded.push(answer);
    }

    fn push_settle(&mut self, settle: Settle) {
        let Settle { settlement, place } = settle;
        self.settled.push((settlement.endpoint, place));
        self.settlements.push(settlement);
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

    /// Takes in what has arrived, by turns between accounts: bodies first, as somebody waits for each, but half of the group
    /// is the settlements' if there are as many. True when something is left that has to wait for the next group.
    fn fill(&mut self, inbox: &Inbox, size: &GroupSize) -> bool {
        let mut waiting = inbox.waiting();
        let bodies = size.bodies();
        let (of_one, settled_of_one) = match waiting.is_shared() {
            true => {
                let settled = size.settlements_of_one(waiting.settlements.len());
                (size.bodies_of_one() * ORDINARY, settled * FIXED_COST)
            }
            false => (usize::MAX, usize::MAX),
        };
        for most in [bodies.min(MOST_IN_GROUP / 2), bodies] {
            while !self.is_full() && self.incoming.len() < most {
                let Some(record) = waiting.records.take(of_one) else { break };
                self.push(*record);
            }
            while !self.is_full() {
                let Some(settle) = waiting.settlements.take(settled_of_one) else { break };
                self.push_settle(*settle);
            }
        }
        !waiting.is_empty()
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
            incoming.parsed = Parsed::Unreadable(format!("cannot be stored: {why}"));
        }
        for settlement in &mut self.settlements {
            settlement.attempt.response_body = None;
            settlement.attempt.error = Some(format!("what came back cannot be stored: {why}"));
        }
    }
}

/// Fills a group with what waits, which is something; settlements alone wait a little for company.
async fn gather(inbox: &Inbox, size: &GroupSize) -> Waiting {
    let deadline = Instant::now() + SETTLE_PATIENCE;
    let mut waiting = Waiting::default();
    inbox.waiting().begin_group();
    loop {
        let has_more = waiting.fill(inbox, size);
        if has_more || waiting.is_full() || !waiting.incoming.is_empty() {
            return waiting;
        }
        match timeout_at(deadline, inbox.has_some()).await {
            Ok(true) => {}
            Ok(false) | Err(_) => return waiting,
        }
    }
}

/// What it takes to commit a group.
struct Committer {
    store: Arc<dyn Ingest>,
    queues: Arc<dyn Queues>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    size: GroupSize,
    outage: Outage,
    gate: Arc<Gate>,
}

impl Committer {
    async fn run(self, inbox: Inbox) {
        // Settlements that the store would not take: tried again until it does, while the doors answer 503.
        let mut unwritten = Waiting::default();
        let mut again = Instant::now();
        loop {
            let has_some = match unwritten.is_empty() {
                true => Ok(inbox.has_some().await),
                false => timeout_at(again, inbox.has_some()).await,
            };
            let is_shared = inbox.waiting().is_shared();
            // What fills the next two groups is enough for the writer never to wait.
            self.gate.set(if is_shared { 2 * self.size.bodies_of_one() } else { usize::MAX });
            let mut group = match has_some {
                Ok(true) => gather(&inbox, &self.size).await,
                Ok(false) if unwritten.is_empty() => return,
                Ok(false) => {
                    sleep_until(again).await;
                    Waiting::default()
                }
                Err(_) => Waiting::default(),
            };
            if Instant::now() >= again {
                group.take_settlements(&mut unwritten);
            }
            let mut left = self.commit(group, &inbox).await;
            if !left.is_empty() {
                again = Instant::now() + RETRY_PAUSE;
                unwritten.settlements.append(&mut left.settlements);
                unwritten.settled.append(&mut left.settled);
            }
        }
    }

    /// Commits a group and answers everybody in it, but for the settlements that the store would not take just now:
    /// those are given back.
    async fn commit(&self, mut waiting: Waiting, inbox: &Inbox) -> Waiting {
        let held = take(&mut waiting.held);
        let (mut parts, mut left) = (vec![waiting], Waiting::default());
        while let Some(part) = parts.pop() {
            if let Some((part, error)) = self.try_commit(part, inbox).await {
                self.retry(part, error, &mut parts, &mut left);
            }
        }
        inbox.give_back(&held);
        left
    }

    /// Commits a part of a group and answers everybody in it. If nothing was committed, gives the part back and says why.
    async fn try_commit(&self, mut part: Waiting, inbox: &Inbox) -> Option<(Waiting, StoreError)> {
        let (mut recorded, settled) = (take(&mut part.recorded), take(&mut part.settled));
        let group = Arc::new(Group {
            now: self.clock.now(),
            incoming: take(&mut part.incoming),
            settlements: take(&mut part.settlements),
        });
        match self.write(&group, &mut recorded, inbox).await {
            Ok(committed) => {
                self.announce(committed, recorded);
                self.queues.settled(settled);
                None
            }
            Err(error) => {
                let Group { incoming, settlements, .. } = Arc::unwrap_or_clone(group);
                Some((Waiting { incoming, recorded, settlements, settled, ..part }, error))
            }
        }
    }

    /// Adds to `parts` what of a failed part is worth another try, changed so that it may succeed. If nothing is, the part
    /// fails.
    fn retry(&self, mut part: Waiting, error: StoreError, parts: &mut Vec<Waiting>, left: &mut Waiting) {
        match error {
            StoreError::Conflict(why) if part.conflicts < MOST_CONFLICTS => {
                debug!(%why, "trying a group again");
                part.conflicts += 1;
                parts.push(part);
            }
            // What is new has no place, but what attempts came to may have.
            StoreError::Full(_) if !(part.incoming.is_empty() || part.settlements.is_empty()) => {
                part.incoming.clear();
                part.recorded.drain(..).for_each(|told| drop(told.send(Err(error.clone()))));
                parts.push(part);
            }
            StoreError::Data(ref why) | StoreError::Damaged(ref why) if part.len() > 1 => {
                match error {
                    StoreError::Data(_) => {
                        warn!(%why, size = part.len(), "halving a group that holds a culprit");
                    }
                    // Not everything lies where the damage is, and the store has told of it.
                    _ => debug!(%why, size = part.len(), "halving a group that meets damage"),
                }
                let later = part.split_off();
                parts.extend([later, part]);
            }
            StoreError::Data(why) if !part.is_last_resort => {
                part.strip(&why);
                parts.push(part);
            }
            error => self.fail(part, &error, left),
        }
    }

    /// Answers everybody in a part that is not tried again. Moves its settlements to `left` if the store may take them later.
    fn fail(&self, mut part: Waiting, error: &StoreError, left: &mut Waiting) {
        self.outage.failed(WORK, error);
        part.recorded.into_iter().for_each(|told| drop(told.send(Err(error.clone()))));
        match error {
            // What no store can keep in any form is given up: its attempt is made again after the next start.
            // So is what attempts of an earlier tenure came to: whoever owns their deliveries now makes them.
            StoreError::Data(_)
            | StoreError::Lapsed(_)
            | StoreError::Stale
            | StoreError::LimitReached(..) => {
                self.queues.settled(part.settled);
            }
            StoreError::Unavailable(_)
            | StoreError::Full(_)
            | StoreError::Damaged(_)
            | StoreError::Conflict(_)
            | StoreError::Unknown(_) => {
                left.settlements.append(&mut part.settlements);
                left.settled.append(&mut part.settled);
            }
        }
    }

    /// Hands a group to the store, and counts it.
    async fn write(
        &self,
        group: &Arc<Group>,
        waiting: &mut [Told],
        inbox: &Inbox,
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
    inbox: &Inbox,
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
            Some(record) = inbox.record() => {
                let Record { incoming, answer, memory } = *record;
                inbox.give_back(&[(incoming.account, memory)]);
                let away = StoreError::Unavailable("the store does not answer".to_owned());
                let _ = answer.send(Err(away));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Decision;
    use crate::model::{AccountKey, Attempt, Time};
    use crate::store::DeliveryMemory;

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
        let place = Place::take((&Arc::default(), 1), &DeliveryMemory::new(usize::MAX).part(), 0).unwrap();
        Box::new(Settle { settlement, place })
    }

    #[tokio::test(start_paused = true)]
    async fn a_trickle_of_settlements_does_not_hold_the_first_one() {
        let (sender, inbox) = inbox(WAITING);
        tokio::spawn(async move {
            loop {
                sender.settlement(AccountKey::DEFAULT, 0, settlement());
                tokio::time::sleep(SETTLE_PATIENCE / 5 * 4).await;
            }
        });
        assert!(inbox.has_some().await);
        let start = Instant::now();
        let group = gather(&inbox, &GroupSize::default()).await;
        assert_eq!(group.len(), 2);
        assert_eq!(start.elapsed(), SETTLE_PATIENCE);
    }

    #[tokio::test]
    async fn a_million_settlements_of_one_account_let_anothers_through() {
        let (sender, inbox) = inbox(WAITING);
        (0..100_000).for_each(|_| sender.settlement(AccountKey::DEFAULT, 0, settlement()));
        sender.settlement(AccountKey(2), 0, settlement());
        let group = gather(&inbox, &GroupSize::default()).await;
        assert!(group.len() <= group_size::MOST / 4 + 1, "{} in one group", group.len());
        assert_eq!(inbox.waiting().settlements.len() + group.len(), 100_001);
        let others = inbox.waiting().settlements.is_shared();
        assert!(others, "the other one was in it");
    }

    #[test]
    fn halves_make_the_whole() {
        for (members, halves) in [(2, [1, 1]), (5, [2, 3])] {
            let mut whole = Waiting::default();
            (0..members).for_each(|_| whole.push_settle(*settlement()));
            let later = whole.split_off();
            assert_eq!([whole.len(), later.len()], halves);
            assert_eq!([whole.settled.len(), later.settled.len()], halves);
        }
    }
}
