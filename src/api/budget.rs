//! The memory budget of inbound bodies: every byte of a body that is held counts in it, and it is full at a fixed number of
//! bytes. Says who makes way when it is full. Does not depend on HTTP, on routes and on how fast a body has to come.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::read_rate::ReadRate;
use crate::metrics::{BodyRefusal, BodyShare, Metrics};
use crate::model::AccountKey;

/// What a body that is waited for counts at the least. Bounds how many can be waited for, also where none of their bytes
/// has come.
const LEAST: usize = 4 * 1024;
/// A buffer doubles until it has grown by this much, and then grows in steps of this size.
const LARGEST_STEP: usize = 8 << 20;
/// A line of at least so many bytes is taken out of its buffer without a copy.
const LARGE_LINE: usize = 64 * 1024;
/// An account loses a body to another account that holds less than this part of what it holds itself.
const FAIR_PART: usize = 4;

/// Whose bodies a body counts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// Ingest, from a client that has not proven itself lately.
    Unproven,
    /// Ingest, from a client that has, or with a body that is proven.
    Proven,
    /// A request with a key of this account.
    Account(AccountKey),
}

impl Share {
    fn label(self) -> BodyShare {
        match self {
            Self::Unproven => BodyShare::Unproven,
            Self::Proven => BodyShare::Proven,
            Self::Account(_) => BodyShare::Account,
        }
    }
}

/// The most that is held, in bytes. What `unproven` and `accounts` leave of `all` is always there for proven bodies, which
/// may also use what the others do not use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// By all bodies together.
    pub all: usize,
    /// By bodies of unproven senders; so many more of their bytes are read in a second.
    pub unproven: usize,
    /// By requests with a key.
    pub accounts: usize,
    /// By requests with a key of one account.
    pub account: usize,
}

impl Limits {
    /// Divides the memory for all: an eighth for unproven senders, but twice the largest body; five eighths for requests
    /// with a key, of which one account may have nine tenths.
    pub fn of(all: usize, max_body: usize) -> Self {
        let accounts = all / 8 * 5;
        Self {
            all,
            unproven: (all / 8).max(max_body.saturating_mul(2)).min(all),
            accounts,
            account: accounts / 10 * 9,
        }
    }
}

/// Why bytes are not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The budget is full, and nobody has to make way.
    Full,
    /// The account's own part is full.
    AccountFull,
    /// The body had to make way for another one; its bytes are gone.
    Displaced,
}

/// The budget.
#[derive(Debug)]
pub struct Budget {
    limits: Limits,
    all: AtomicUsize,
    /// By share. They are the gauges of `/metrics`: what is shown is what is counted.
    shares: [Gauge; BodyShare::ALL.len()],
    accounts: Mutex<HashMap<AccountKey, usize>>,
    waiting: Mutex<HashMap<u64, Arc<Slot>>>,
    next: AtomicU64,
    began: Instant,
    unproven_rate: ReadRate,
    metrics: Arc<Metrics>,
}

impl Budget {
    /// An empty one.
    pub fn new(limits: Limits, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            limits,
            all: AtomicUsize::new(0),
            shares: BodyShare::ALL.map(|share| metrics.body_bytes(share).clone()),
            accounts: Mutex::default(),
            waiting: Mutex::default(),
            next: AtomicU64::new(0),
            began: Instant::now(),
            unproven_rate: ReadRate::new(limits.unproven),
            metrics,
        })
    }

    /// What is bounded how.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Counts bytes that are there already.
    ///
    /// # Errors
    /// When there is no room for them.
    pub fn hold(self: &Arc<Self>, share: Share, bytes: Bytes) -> Result<Held, Refused> {
        let size = bytes.len();
        self.charge(share, size)?;
        Ok(Held { bytes, permit: Permit { budget: Arc::clone(self), share, bytes: size } })
    }

    /// A place for a body that is still to come.
    ///
    /// # Errors
    /// When there is no room for another one.
    pub fn wait(self: &Arc<Self>, share: Share) -> Result<Waiting, Refused> {
        self.charge(share, LEAST)?;
        let slot = Arc::new(Slot {
            share,
            buffer: Mutex::new(Buffer { charged: LEAST, ..Buffer::default() }),
            lost: Notify::new(),
            charged: AtomicUsize::new(LEAST),
            stalled_since: AtomicU64::new(NOT_WAITED_FOR),
        });
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        lock(&self.waiting).insert(id, Arc::clone(&slot));
        Ok(Waiting { budget: Arc::clone(self), id, slot })
    }

    /// Counts a body that was refused.
    pub fn refused(&self, share: Share, why: BodyRefusal) {
        self.metrics.body_refused(share.label(), why);
    }

    fn most(&self, share: Share) -> usize {
        match share {
            Share::Unproven => self.limits.unproven,
            Share::Proven => self.limits.all,
            Share::Account(_) => self.limits.accounts,
        }
    }

    fn charge(&self, share: Share, bytes: usize) -> Result<(), Refused> {
        let mut account_holds = 0;
        if let Share::Account(account) = share {
            let mut accounts = lock(&self.accounts);
            account_holds = accounts.get(&account).copied().unwrap_or(0) + bytes;
            if account_holds > self.limits.account {
                return Err(Refused::AccountFull);
            }
            accounts.insert(account, account_holds);
        }
        let in_share = count(self.shares[share.label() as usize].inc_by(signed(bytes))) + bytes;
        let in_all = self.all.fetch_add(bytes, Ordering::AcqRel) + bytes;
        let fits = in_share <= self.most(share) && in_all <= self.limits.all;
        if fits || self.make_room(share, account_holds) {
            return Ok(());
        }
        self.release(share, bytes);
        Err(Refused::Full)
    }

    fn release(&self, share: Share, bytes: usize) {
        if let Share::Account(account) = share {
            let mut accounts = lock(&self.accounts);
            let left = accounts.get(&account).copied().unwrap_or(0).saturating_sub(bytes);
            if left == 0 {
                accounts.remove(&account);
            } else {
                accounts.insert(account, left);
            }
        }
        self.shares[share.label() as usize].dec_by(signed(bytes));
        self.all.fetch_sub(bytes, Ordering::AcqRel);
    }

    /// Takes the places of bodies that hold the most for the longest without a byte that comes, until what is counted is
    /// within the limits. False if it is not, whoever makes way.
    fn make_room(&self, newcomer: Share, account_holds: usize) -> bool {
        let share_fits = || count(self.shares[newcomer.label() as usize].get()) <= self.most(newcomer);
        let all_fit = || self.all.load(Ordering::Acquire) <= self.limits.all;
        let waiting = lock(&self.waiting);
        let now = self.micros(Instant::now());
        let holds = |share| match share {
            Share::Account(account) => lock(&self.accounts).get(&account).copied().unwrap_or(0),
            _ => 0,
        };
        let mut candidates: Vec<_> = waiting
            .values()
            .filter(|slot| makes_way(slot.share, newcomer, || holds(slot.share), account_holds))
            .map(|slot| (slot.weight(now), slot))
            .filter(|&(weight, _)| weight > 0)
            .collect();
        candidates.sort_unstable_by_key(|&(weight, _)| Reverse(weight));
        // Others' places are of no use while the newcomer's own share is full.
        for is_own in [true, false] {
            for (_, slot) in &candidates {
                let fits = if is_own { share_fits() } else { share_fits() && all_fit() };
                if fits {
                    break;
                }
                if is_own && slot.share.label() != newcomer.label() {
                    continue;
                }
                if let Some(bytes) = slot.lose() {
                    self.release(slot.share, bytes);
                    self.refused(slot.share, BodyRefusal::Displaced);
                }
            }
        }
        share_fits() && all_fit()
    }

    fn micros(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.began).as_micros()).unwrap_or(u64::MAX)
    }
}

/// Whether a body that is waited for may lose its place to a newcomer.
fn makes_way(
    victim: Share,
    newcomer: Share,
    victim_holds: impl Fn() -> usize,
    newcomer_holds: usize,
) -> bool {
    match (victim, newcomer) {
        // Whoever proved a body once may be slow or hostile with the next one.
        (Share::Proven, _) | (Share::Unproven, Share::Unproven) => true,
        (Share::Account(victim), Share::Account(newcomer)) => {
            victim != newcomer && victim_holds() / FAIR_PART >= newcomer_holds
        }
        _ => false,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

fn count(gauge: i64) -> usize {
    usize::try_from(gauge).unwrap_or(0)
}

/// Bytes that count. They are given back when this is dropped.
#[derive(Debug)]
pub struct Permit {
    budget: Arc<Budget>,
    share: Share,
    bytes: usize,
}

impl Permit {
    /// Moves what an unproven sender sent to the share of proven bodies.
    pub fn prove(&mut self) {
        if self.share == Share::Unproven {
            let [from, to] = [Share::Unproven, Share::Proven].map(|share| share.label() as usize);
            self.budget.shares[to].inc_by(signed(self.bytes));
            self.budget.shares[from].dec_by(signed(self.bytes));
            self.share = Share::Proven;
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.budget.release(self.share, self.bytes);
    }
}

/// A body, or a line of one, and the permit for it.
#[derive(Debug)]
pub struct Held {
    /// The bytes.
    pub bytes: Bytes,
    /// Counts them.
    pub permit: Permit,
}

impl Held {
    /// The bytes, which count as long as any part of them is there.
    pub fn into_counted(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// A body that does not wait for bytes: its server is busy with what came.
const NOT_WAITED_FOR: u64 = u64::MAX;

/// The place of a body that is still to come.
#[derive(Debug)]
struct Slot {
    share: Share,
    buffer: Mutex<Buffer>,
    lost: Notify,
    /// What `buffer` says, to be read without its lock.
    charged: AtomicUsize,
    /// Since when bytes are waited for, in microseconds since the budget began.
    stalled_since: AtomicU64,
}

/// The bytes of a place.
#[derive(Debug, Default)]
struct Buffer {
    bytes: Vec<u8>,
    /// What is before it was taken out.
    start: usize,
    charged: usize,
    is_lost: bool,
}

impl Slot {
    /// How much it costs to keep it: bytes times the time for which none came.
    fn weight(&self, now: u64) -> u128 {
        let since = self.stalled_since.load(Ordering::Relaxed);
        match since {
            NOT_WAITED_FOR => 0,
            since => {
                let stalled = now.saturating_sub(since).saturating_add(1);
                u128::from(stalled) * self.charged.load(Ordering::Relaxed) as u128
            }
        }
    }

    /// Drops its bytes. Gives how many were counted, unless it is lost already.
    fn lose(&self) -> Option<usize> {
        let mut buffer = lock(&self.buffer);
        if buffer.is_lost {
            return None;
        }
        let bytes = std::mem::replace(&mut *buffer, Buffer { is_lost: true, ..Buffer::default() }).charged;
        self.charged.store(0, Ordering::Relaxed);
        self.lost.notify_one();
        Some(bytes)
    }
}

/// A body that is still to come, and what has come of it. Gives its bytes back when it is dropped.
#[derive(Debug)]
pub struct Waiting {
    budget: Arc<Budget>,
    id: u64,
    slot: Arc<Slot>,
}

impl Waiting {
    /// The server waits for bytes from now on, of a sender that is behind by this time already.
    pub fn begin_wait(&self, behind: Duration) {
        let now = self.budget.micros(Instant::now());
        let behind = u64::try_from(behind.as_micros()).unwrap_or(u64::MAX);
        self.slot.stalled_since.store(now.saturating_sub(behind), Ordering::Relaxed);
    }

    /// The server does not wait: whatever takes long now is no fault of the sender's.
    pub fn end_wait(&self) {
        self.slot.stalled_since.store(NOT_WAITED_FOR, Ordering::Relaxed);
    }

    /// Ends when this has had to make way.
    pub async fn displaced(&self) {
        self.slot.lost.notified().await;
    }

    /// Waits until more may be read after so many bytes that came. Strangers' bodies make way for each other at once, so that
    /// what they hold does not bound how much of them is read.
    pub async fn turn(&self, came: usize) {
        if self.slot.share == Share::Unproven && came > 0 {
            self.budget.unproven_rate.pay(came).await;
        }
    }

    /// How many bytes have come and were not taken out.
    pub fn len(&self) -> usize {
        let buffer = lock(&self.slot.buffer);
        buffer.bytes.len() - buffer.start
    }

    /// Adds bytes. `most` is what will come at the most: the buffer does not grow beyond it without need.
    ///
    /// # Errors
    /// When there is no room for them, or it had to make way.
    pub fn push(&self, data: &[u8], most: usize) -> Result<(), Refused> {
        let (capacity, charged) = {
            let mut buffer = lock(&self.slot.buffer);
            if buffer.start > 0 {
                let start = std::mem::take(&mut buffer.start);
                buffer.bytes.drain(..start);
            }
            let needed = buffer.bytes.len() + data.len();
            let current = buffer.bytes.capacity();
            let capacity = if needed > current { grown(current, needed, most) } else { current };
            (capacity, buffer.charged)
        };
        // Not under the buffer's lock: whoever makes room takes the locks of others.
        let more = capacity.saturating_sub(charged);
        self.budget.charge(self.slot.share, more)?;
        let mut buffer = lock(&self.slot.buffer);
        if buffer.is_lost {
            self.budget.release(self.slot.share, more);
            return Err(Refused::Displaced);
        }
        buffer.charged += more;
        self.slot.charged.store(buffer.charged, Ordering::Relaxed);
        let missing = capacity - buffer.bytes.len();
        buffer.bytes.reserve_exact(missing);
        buffer.bytes.extend_from_slice(data);
        Ok(())
    }

    /// Drops what has come.
    pub fn discard(&self) {
        let mut buffer = lock(&self.slot.buffer);
        if !buffer.is_lost {
            self.budget.release(self.slot.share, buffer.charged.saturating_sub(LEAST));
            *buffer = Buffer { charged: LEAST, ..Buffer::default() };
            self.slot.charged.store(LEAST, Ordering::Relaxed);
        }
    }

    /// Where the first line feed is, of what has come from the byte `from` on.
    pub fn line_feed(&self, from: usize) -> Option<usize> {
        let buffer = lock(&self.slot.buffer);
        let unseen = buffer.bytes.get(buffer.start + from..).unwrap_or_default();
        unseen.iter().position(|&byte| byte == b'\n').map(|at| from + at)
    }

    /// Takes out the first `length` bytes, and passes over `then` more.
    ///
    /// # Errors
    /// When there is no room for a copy, or it had to make way.
    pub fn cut(&self, length: usize, then: usize) -> Result<Held, Refused> {
        let share = self.slot.share;
        let is_large = length >= LARGE_LINE;
        let rest = self.len().saturating_sub(length + then);
        // A small line is copied; of a large one the buffer goes along, and the rest gets a new one.
        let more = if is_large { rest.max(LEAST) } else { length };
        self.budget.charge(share, more)?;
        let mut buffer = lock(&self.slot.buffer);
        if buffer.is_lost || self.end_of(&buffer, length + then).is_none() {
            self.budget.release(share, more);
            return Err(Refused::Displaced);
        }
        let start = buffer.start;
        let (bytes, counted) = if is_large {
            let rest = buffer.bytes.split_off(start + length + then);
            let mut line = std::mem::replace(&mut buffer.bytes, rest);
            buffer.start = 0;
            line.truncate(start + length);
            line.drain(..start);
            let counted = std::mem::replace(&mut buffer.charged, more);
            self.slot.charged.store(more, Ordering::Relaxed);
            (line, counted)
        } else {
            let line = buffer.bytes[start..start + length].to_vec();
            buffer.start = start + length + then;
            if buffer.start == buffer.bytes.len() {
                buffer.bytes.clear();
                buffer.start = 0;
            }
            (line, more)
        };
        let permit = Permit { budget: Arc::clone(&self.budget), share, bytes: counted };
        Ok(Held { bytes: bytes.into(), permit })
    }

    fn end_of(&self, buffer: &Buffer, length: usize) -> Option<usize> {
        Some(buffer.start + length).filter(|&end| end <= buffer.bytes.len())
    }

    /// All that has come.
    ///
    /// # Errors
    /// When it had to make way.
    pub fn finish(self) -> Result<Held, Refused> {
        let mut buffer = lock(&self.slot.buffer);
        if buffer.is_lost {
            return Err(Refused::Displaced);
        }
        let Buffer { mut bytes, start, charged, .. } = std::mem::take(&mut *buffer);
        drop(buffer);
        bytes.drain(..start);
        let permit = Permit { budget: Arc::clone(&self.budget), share: self.slot.share, bytes: charged };
        Ok(Held { bytes: bytes.into(), permit })
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        lock(&self.budget.waiting).remove(&self.id);
        if let Some(bytes) = self.slot.lose() {
            self.budget.release(self.slot.share, bytes);
        }
    }
}

/// The capacity of a buffer that has to grow.
fn grown(current: usize, needed: usize, most: usize) -> usize {
    let roomy = current + current.clamp(LEAST, LARGEST_STEP);
    roomy.min(most).max(needed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIB: usize = 1 << 20;

    fn budget(limits: Limits) -> (Arc<Budget>, Arc<Metrics>) {
        let metrics = Arc::new(Metrics::new());
        (Budget::new(limits, Arc::clone(&metrics)), metrics)
    }

    fn shown(metrics: &Metrics) -> [usize; 3] {
        BodyShare::ALL.map(|share| count(metrics.body_bytes(share).get()))
    }

    /// A body that is waited for and holds so many bytes.
    fn stalled(budget: &Arc<Budget>, share: Share, bytes: usize) -> Result<Waiting, Refused> {
        let waiting = budget.wait(share)?;
        waiting.push(&vec![0; bytes], bytes)?;
        waiting.begin_wait(Duration::ZERO);
        Ok(waiting)
    }

    fn is_lost(waiting: &Waiting) -> bool {
        lock(&waiting.slot.buffer).is_lost
    }

    #[test]
    fn the_default_memory_is_divided_so_that_each_has_some() {
        let limits = Limits::of(128 * MIB, MIB);
        assert_eq!((limits.unproven, limits.accounts), (16 * MIB, 80 * MIB));
        assert_eq!(limits.account, 72 * MIB, "the largest batch and the largest line fit");
        assert!(limits.unproven + limits.accounts <= 96 * MIB, "a quarter is for proven bodies alone");
        assert_eq!(Limits::of(4 * MIB, MIB).unproven, 2 * MIB, "two bodies of strangers at the least");
    }

    #[tokio::test(start_paused = true)]
    async fn what_holds_much_for_long_makes_way_and_the_new_one_is_taken() {
        let (budget, metrics) = budget(Limits::of(64 * MIB, MIB));
        let mut large = Vec::new();
        for _ in 0..7 {
            large.push(stalled(&budget, Share::Unproven, MIB).unwrap());
            tokio::time::advance(Duration::from_millis(10)).await;
        }
        // An honest phone that has sent a little and is slow with the rest.
        let small = stalled(&budget, Share::Unproven, 1000).unwrap();
        for at in 0..100 {
            tokio::time::advance(Duration::from_millis(10)).await;
            large.push(stalled(&budget, Share::Unproven, MIB).unwrap());
            assert!(shown(&metrics)[0] <= budget.limits().unproven);
            assert!(!is_lost(&small), "{at}");
            if at > 0 {
                assert!(is_lost(&large[at]) && !is_lost(&large[at + 1]), "whoever waits for the longest");
            }
        }
        let text = metrics.text();
        assert!(
            text.contains("bodies_refused_total{share=\"unproven\",reason=\"displaced\"} 100\n"),
            "{text}"
        );
        let lost = &large[0];
        assert_eq!(lost.len(), 0, "its bytes are gone before it knows");
        assert_eq!(lost.push(b"more", 4), Err(Refused::Displaced));
        lost.displaced().await;
        drop((large, small));
        assert_eq!(shown(&metrics), [0, 0, 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_the_server_is_busy_with_does_not_make_way() {
        let (budget, metrics) = budget(Limits::of(8 * MIB, MIB));
        let whole: Vec<_> =
            (0..2).map(|_| budget.hold(Share::Unproven, vec![0; MIB].into()).unwrap()).collect();
        assert_eq!(budget.hold(Share::Unproven, vec![0].into()).map(drop), Err(Refused::Full));
        assert_eq!(budget.wait(Share::Unproven).map(drop), Err(Refused::Full));
        let vendor = budget.hold(Share::Proven, vec![0; MIB].into()).unwrap();
        assert_eq!(shown(&metrics), [2 * MIB, MIB, 0]);
        drop(whole);
        let mut stranger = budget.hold(Share::Unproven, vec![0; MIB].into()).unwrap();
        stranger.permit.prove();
        assert_eq!(shown(&metrics), [0, 2 * MIB, 0]);
        let counted = stranger.into_counted();
        let part = counted.slice(5..6);
        drop((vendor, counted));
        assert_eq!(shown(&metrics), [0, MIB, 0], "a part of it holds all of it");
        drop(part);
        assert_eq!(shown(&metrics), [0, 0, 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn proven_bodies_that_stall_make_way_for_everybody() {
        let (budget, metrics) = budget(Limits::of(8 * MIB, MIB));
        let drips: Vec<_> = (0..8).map(|_| stalled(&budget, Share::Proven, MIB).unwrap()).collect();
        for share in [Share::Proven, Share::Unproven, Share::Account(AccountKey(1))] {
            budget.hold(share, vec![0; MIB].into()).unwrap();
        }
        assert_eq!(drips.iter().filter(|drip| is_lost(drip)).count(), 1, "one place was enough for all");
        assert_eq!(shown(&metrics), [0, 7 * MIB, 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_account_makes_way_for_one_that_holds_much_less_and_for_no_other() {
        let (budget, metrics) = budget(Limits::of(16 * MIB, MIB));
        let [large, medium, small] = [1, 2, 3].map(AccountKey).map(Share::Account);
        let drips: Vec<_> = (0..9).map(|_| stalled(&budget, large, MIB).unwrap()).collect();
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(stalled(&budget, large, 1).map(drop), Err(Refused::AccountFull), "nor for itself");
        let first = stalled(&budget, medium, MIB).unwrap();
        let second = stalled(&budget, medium, MIB).unwrap();
        assert_eq!(drips.iter().filter(|drip| is_lost(drip)).count(), 1);
        let third = stalled(&budget, medium, MIB).map(drop);
        assert_eq!(third, Err(Refused::Full), "eight are not four times as much as three");
        let other = stalled(&budget, small, MIB).unwrap();
        assert!(!is_lost(&first) && !is_lost(&second) && !is_lost(&other));
        // A stranger's body and requests with a key do not meet.
        let stranger = stalled(&budget, Share::Unproven, MIB).unwrap();
        assert!(!is_lost(&stranger));
        drop((drips, first, second, other, stranger));
        assert_eq!(shown(&metrics), [0, 0, 0]);
        assert!(lock(&budget.accounts).is_empty() && lock(&budget.waiting).is_empty());
    }

    #[derive(Clone, Debug)]
    enum Step {
        Wait(u8),
        Push(usize, usize),
        Cut(usize, usize),
        Discard(usize),
        Finish(usize),
        Hold(u8, usize),
        Prove(usize),
        Drop(usize),
        Tick,
    }

    fn step() -> impl Strategy<Value = Step> {
        let (at, bytes) = (0_usize..8, 0_usize..200_000);
        prop_oneof![
            (0_u8..4).prop_map(Step::Wait),
            (at.clone(), bytes.clone()).prop_map(|(at, bytes)| Step::Push(at, bytes)),
            (at.clone(), bytes.clone()).prop_map(|(at, bytes)| Step::Cut(at, bytes)),
            at.clone().prop_map(Step::Discard),
            at.clone().prop_map(Step::Finish),
            (0_u8..4, bytes).prop_map(|(share, bytes)| Step::Hold(share, bytes)),
            at.clone().prop_map(Step::Prove),
            at.prop_map(Step::Drop),
            Just(Step::Tick),
        ]
    }

    fn share(of: u8) -> Share {
        match of {
            0 => Share::Unproven,
            1 => Share::Proven,
            account => Share::Account(AccountKey(account.into())),
        }
    }

    proptest! {
        /// Whatever is done: what is counted covers what is held, is within the limits, and is nothing in the end.
        #[test]
        fn what_is_counted_covers_what_is_held(steps in prop::collection::vec(step(), 1..60)) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
            runtime.unwrap().block_on(async {
                let limits = Limits::of(MIB, 64 * 1024);
                let (budget, metrics) = budget(limits);
                let (mut waiting, mut held): (Vec<Waiting>, Vec<Held>) = Default::default();
                for step in steps {
                    let at = |len: usize, at: usize| (len > 0).then(|| at % len.max(1));
                    match step {
                        Step::Wait(of) => waiting.extend(budget.wait(share(of))),
                        Step::Push(which, bytes) => {
                            if let Some(at) = at(waiting.len(), which) {
                                let _ = waiting[at].push(&vec![b'x'; bytes], 150_000);
                                waiting[at].begin_wait(Duration::ZERO);
                            }
                        }
                        Step::Cut(which, bytes) => {
                            if let Some(at) = at(waiting.len(), which) {
                                let length = bytes.min(waiting[at].len().saturating_sub(1));
                                if let Ok(line) = waiting[at].cut(length, 1) {
                                    assert_eq!(line.bytes.len(), length);
                                    held.push(line);
                                }
                            }
                        }
                        Step::Discard(which) => {
                            if let Some(at) = at(waiting.len(), which) {
                                waiting[at].discard();
                            }
                        }
                        Step::Finish(which) => {
                            if let Some(at) = at(waiting.len(), which) {
                                held.extend(waiting.remove(at).finish());
                            }
                        }
                        Step::Hold(of, bytes) => held.extend(budget.hold(share(of), vec![0; bytes].into())),
                        Step::Prove(which) => {
                            if let Some(at) = at(held.len(), which) {
                                held[at].permit.prove();
                            }
                        }
                        Step::Drop(which) => {
                            if let Some(at) = at(held.len(), which) {
                                held.remove(at);
                            }
                        }
                        Step::Tick => tokio::time::advance(Duration::from_millis(7)).await,
                    }
                    let buffers = waiting.iter().map(|waiting| lock(&waiting.slot.buffer).bytes.capacity());
                    let there = buffers.sum::<usize>() + held.iter().map(|held| held.bytes.len()).sum::<usize>();
                    let [unproven, proven, accounts] = shown(&metrics);
                    assert!(there <= unproven + proven + accounts, "{there} of {:?}", shown(&metrics));
                    assert_eq!(budget.all.load(Ordering::Acquire), unproven + proven + accounts);
                    assert_eq!(lock(&budget.accounts).values().sum::<usize>(), accounts);
                    assert!(unproven <= limits.unproven && accounts <= limits.accounts);
                    assert!(unproven + proven + accounts <= limits.all);
                    assert!(lock(&budget.accounts).values().all(|&held| held <= limits.account));
                }
                drop((waiting, held));
                assert_eq!(shown(&metrics), [0, 0, 0]);
                assert_eq!(budget.all.load(Ordering::Acquire), 0);
            });
        }
    }
}
