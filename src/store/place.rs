//! Places in the queues in memory: what bounds them, by number for each endpoint and by bytes for all of them together, of
//! which no account may take everything. Refuses to know what is in a queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::fairness::shares::may_add;

/// A place in an endpoint's memory queue: taken before the commit, given back when the delivery is settled or
/// the transaction came to nothing.
#[derive(Debug)]
pub struct Place {
    queue: QueuePlace,
    /// What the delivery costs beside its body.
    _own: Held,
    body: Arc<Held>,
    /// What came back, until it is on disk.
    answer: Option<Held>,
}

/// Memory for the deliveries of all accounts, or for what came back, in bytes.
#[derive(Debug)]
pub struct DeliveryMemory {
    bound: usize,
    taken: AtomicUsize,
}

/// One account's part of it: however much it has to send, there is room left for the others.
#[derive(Debug)]
pub struct AccountMemory {
    all: Arc<DeliveryMemory>,
    taken: AtomicUsize,
}

/// A place in a queue, given back when this is dropped.
#[derive(Debug)]
struct QueuePlace(Arc<AtomicUsize>);

/// Bytes of an account's memory, given back when this is dropped.
#[derive(Debug)]
struct Held {
    memory: Arc<AccountMemory>,
    bytes: usize,
}

/// What a delivery in memory costs beside its body.
const OVERHEAD: usize = 1024;

impl DeliveryMemory {
    /// So many bytes, all of them free.
    pub fn new(bound: usize) -> Arc<Self> {
        Arc::new(Self { bound, taken: AtomicUsize::new(0) })
    }

    /// Bytes that are taken.
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Acquire)
    }

    /// The part of an account that has nothing of it yet.
    pub fn part(self: &Arc<Self>) -> Arc<AccountMemory> {
        Arc::new(AccountMemory { all: Arc::clone(self), taken: AtomicUsize::new(0) })
    }
}

impl Place {
    /// Takes a place for a body of so many bytes, if there is room both in the endpoint's queue (places taken and
    /// their capacity) and in its account's part of the memory.
    pub fn take(queue: (&Arc<AtomicUsize>, usize), memory: &Arc<AccountMemory>, body: usize) -> Option<Self> {
        Some(Self {
            queue: QueuePlace::take(queue)?,
            _own: memory.take(OVERHEAD)?,
            body: Arc::new(memory.take(weight(body))?),
            answer: None,
        })
    }

    /// The same place for a delivery of the same event as another one's: what both of them send is in memory once.
    #[must_use]
    pub fn beside(self, other: &SharedBody) -> Self {
        Self { body: Arc::clone(&other.0), ..self }
    }

    /// Whether it was taken in this queue.
    pub fn is_in(&self, queue: &Arc<AtomicUsize>) -> bool {
        Arc::ptr_eq(&self.queue.0, queue)
    }

    /// The part of this place that other deliveries of the same event can share.
    pub fn body(&self) -> SharedBody {
        SharedBody(Arc::clone(&self.body))
    }

    /// Takes room for what came back, in the memory for answers. False when there is none for so much: while the store is
    /// away, answers of any size wait for it.
    pub fn keep_answer(&mut self, memory: &Arc<AccountMemory>, bytes: usize) -> bool {
        self.answer = memory.take(bytes);
        self.answer.is_some()
    }

    /// Corrects the size: a claim takes its places before it knows the bodies.
    pub fn resize(&mut self, body: usize) {
        let corrected = self.body.memory.add(weight(body));
        self.body = Arc::new(corrected);
    }
}

/// What the body of an event takes up in memory, for as long as any delivery of it is there.
#[derive(Clone, Debug)]
pub struct SharedBody(Arc<Held>);

impl QueuePlace {
    fn take((taken, capacity): (&Arc<AtomicUsize>, usize)) -> Option<Self> {
        let within = |now: usize| (now < capacity).then_some(now + 1);
        taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, within).ok()?;
        Some(Self(Arc::clone(taken)))
    }
}

impl AccountMemory {
    /// Takes so many bytes, unless that would be more than fits or more than the account may have.
    fn take(self: &Arc<Self>, bytes: usize) -> Option<Held> {
        let bound = self.all.bound;
        let within = |total: usize| {
            let is_due = may_add(self.taken.load(Ordering::Acquire), total, bound);
            total.checked_add(bytes).filter(|sum| is_due && *sum <= bound)
        };
        self.all.taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, within).ok()?;
        self.taken.fetch_add(bytes, Ordering::AcqRel);
        Some(Held { memory: Arc::clone(self), bytes })
    }

    /// Takes them in any case.
    fn add(self: &Arc<Self>, bytes: usize) -> Held {
        self.all.taken.fetch_add(bytes, Ordering::AcqRel);
        self.taken.fetch_add(bytes, Ordering::AcqRel);
        Held { memory: Arc::clone(self), bytes }
    }
}

/// A body lies in memory as the snapshot, read into a record, and encoded once more while it is sent.
fn weight(body: usize) -> usize {
    body.saturating_mul(3)
}

impl Drop for QueuePlace {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.memory.taken.fetch_sub(self.bytes, Ordering::AcqRel);
        self.memory.all.taken.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_that_takes_all_it_gets_leaves_room_for_others() {
        let all = DeliveryMemory::new(64 << 20);
        let (greedy, modest) = (all.part(), all.part());
        let queue = Arc::default();
        let take = |memory| Place::take((&queue, usize::MAX), memory, 2048);
        let held: Vec<Place> = std::iter::from_fn(|| take(&greedy)).collect();
        assert!(all.taken() > (64 << 20) * 3 / 4, "alone it gets nearly all of it: {}", all.taken());
        let others: Vec<Place> = std::iter::from_fn(|| take(&modest)).take(200).collect();
        assert_eq!(others.len(), 200);
        assert!(take(&greedy).is_none());
        drop((held, others));
        assert_eq!((all.taken(), queue.load(Ordering::SeqCst)), (0, 0));
    }

    #[test]
    fn answers_of_one_account_leave_room_for_those_of_others() {
        let (deliveries, answers) = (DeliveryMemory::new(64 << 20), DeliveryMemory::new(32 << 20));
        let (queue, memory) = (Arc::default(), deliveries.part());
        let (greedy, modest) = (answers.part(), answers.part());
        let mut places: Vec<Place> =
            (0..10_000).map_while(|_| Place::take((&queue, usize::MAX), &memory, 100)).collect();
        let kept =
            places.iter_mut().map(|place| place.keep_answer(&greedy, 64 << 10)).filter(|&kept| kept).count();
        assert!((384..512).contains(&kept), "{kept} of {}", places.len());
        assert_eq!(answers.taken(), kept * (64 << 10));
        let mut other = Place::take((&queue, usize::MAX), &memory, 100).unwrap();
        assert!(other.keep_answer(&modest, 64 << 10));
        drop((places, other));
        assert_eq!(answers.taken(), 0);
    }

    #[test]
    fn what_is_shared_counts_once_and_what_is_corrected_as_it_is() {
        let (all, queue) = (DeliveryMemory::new(1 << 20), Arc::default());
        let memory = all.part();
        let take = |body| Place::take((&queue, 8), &memory, body);
        let first = take(1000).unwrap();
        let mut second = take(0).unwrap().beside(&first.body());
        assert_eq!(all.taken(), 2 * OVERHEAD + weight(1000));
        drop(first);
        assert_eq!(all.taken(), OVERHEAD + weight(1000));
        second.resize(5000);
        assert_eq!(all.taken(), OVERHEAD + weight(5000));
        drop(second);
        assert_eq!(all.taken(), 0);
    }
}
