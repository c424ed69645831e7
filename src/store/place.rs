//! Places in the queues in memory: what bounds them, by number for each endpoint and by bytes for the house.
//! Refuses to know what is in a queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A place in an endpoint's memory queue: taken before the commit, given back when the delivery is settled or
/// the transaction came to nothing. Queues are bounded by their number of places, the house by its bytes.
#[derive(Debug)]
pub struct Place {
    queue: Charge,
    /// What the delivery costs beside its body.
    _own: Charge,
    body: Arc<Charge>,
}

/// Places or bytes that are taken, given back when this is dropped.
#[derive(Debug)]
struct Charge {
    taken: Arc<AtomicUsize>,
    amount: usize,
}

/// What a delivery in memory costs beside its body.
const OVERHEAD: usize = 1024;

impl Place {
    /// Takes a place for a body of so many bytes, if there is room both in the endpoint's queue (places taken and
    /// their capacity) and in the house (bytes taken and their capacity).
    pub fn take(
        queue: (&Arc<AtomicUsize>, usize),
        house: (&Arc<AtomicUsize>, usize),
        body: usize,
    ) -> Option<Self> {
        Some(Self {
            queue: Charge::take(queue, 1)?,
            _own: Charge::take(house, OVERHEAD)?,
            body: Arc::new(Charge::take(house, weight(body))?),
        })
    }

    /// The same place for a delivery of the same event as another one's: what both of them send is in memory once.
    #[must_use]
    pub fn beside(self, other: &SharedBody) -> Self {
        Self { body: Arc::clone(&other.0), ..self }
    }

    /// Whether it was taken in this queue.
    pub fn is_in(&self, queue: &Arc<AtomicUsize>) -> bool {
        Arc::ptr_eq(&self.queue.taken, queue)
    }

    /// The part of this place that other deliveries of the same event can share.
    pub fn body(&self) -> SharedBody {
        SharedBody(Arc::clone(&self.body))
    }

    /// Corrects the size: a claim takes its places before it knows the bodies.
    pub fn resize(&mut self, body: usize) {
        let (taken, amount) = (Arc::clone(&self.body.taken), weight(body));
        taken.fetch_add(amount, Ordering::AcqRel);
        self.body = Arc::new(Charge { taken, amount });
    }
}

/// What the body of an event takes up in the house, for as long as any delivery of it is in memory.
#[derive(Clone, Debug)]
pub struct SharedBody(Arc<Charge>);

impl Charge {
    /// Takes so many, unless that would be more than fits.
    fn take((taken, capacity): (&Arc<AtomicUsize>, usize), amount: usize) -> Option<Self> {
        let within = |now: usize| now.checked_add(amount).filter(|sum| *sum <= capacity);
        taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, within).ok()?;
        Some(Self { taken: Arc::clone(taken), amount })
    }
}

/// A body lies in memory as the snapshot, read into a record, and encoded once more while it is sent.
fn weight(body: usize) -> usize {
    body.saturating_mul(3)
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.taken.fetch_sub(self.amount, Ordering::AcqRel);
    }
}
