//! The one writer: a thread that owns the writing connection. Work has a priority: ingest and settlements first,
//! then claims, the API, maintenance; within a priority accounts take turns. Does not depend on what the work is.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::oneshot;
use tracing::error;

use crate::model::AccountKey;
use crate::store::fairness::account_turns::{AccountTurns, TURN};
use crate::store::{Answer, StoreError};

/// Which work goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// Ingest and settlements.
    Hot,
    /// Claims: many endpoints may ask at once, and no ingest should stand behind them all.
    Claim,
    /// What people ask through the API.
    Api,
    /// What nobody waits for.
    Chore,
}

const PRIORITIES: usize = 4;
/// How often a priority is passed over before its turn comes all the same: under full load of the others everybody gets
/// something done.
const PATIENCE: u32 = 16;

type Job<W> = Box<dyn FnOnce(&mut W) + Send>;

struct JobQueues<W> {
    waiting: Mutex<Waiting<W>>,
    arrived: Condvar,
}

struct Waiting<W> {
    jobs: [AccountTurns<Job<W>>; PRIORITIES],
    /// How often each priority was passed over while it had work.
    passed_over: [u32; PRIORITIES],
    closed: bool,
    /// What is done when it is closed and nothing waits any more.
    last: Option<Job<W>>,
}

impl<W> JobQueues<W> {
    fn lock(&self) -> MutexGuard<'_, Waiting<W>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<W> Default for Waiting<W> {
    fn default() -> Self {
        Self { jobs: Default::default(), passed_over: [0; PRIORITIES], closed: false, last: None }
    }
}

impl<W> Waiting<W> {
    /// The first job of the first priority that has one, unless a later one has waited too long.
    fn next(&mut self) -> Option<Job<W>> {
        let has_work = |priority: &usize| !self.jobs[*priority].is_empty();
        let first = (0..PRIORITIES).find(has_work)?;
        let impatient =
            (first..PRIORITIES).filter(has_work).find(|&priority| self.passed_over[priority] >= PATIENCE);
        let chosen = impatient.unwrap_or(first);
        for priority in (0..PRIORITIES).filter(|&priority| priority != chosen) {
            if !self.jobs[priority].is_empty() {
                self.passed_over[priority] += 1;
            }
        }
        self.passed_over[chosen] = 0;
        self.jobs[chosen].take(usize::MAX)
    }
}

/// The writer thread. `W` is the connection with what belongs to it; it is dropped when the thread ends.
pub struct WriterThread<W> {
    queues: Arc<JobQueues<W>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl<W: Send + 'static> WriterThread<W> {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(mut writer: W) -> std::io::Result<Self> {
        let queues = Arc::new(JobQueues { waiting: Mutex::default(), arrived: Condvar::new() });
        let theirs = Arc::clone(&queues);
        let thread = std::thread::Builder::new().name("postcall-writer".to_owned()).spawn(move || {
            while let Some(job) = next(&theirs) {
                // A bug in one job must not leave all later ones without an answer. What it had begun is rolled back
                // before the next transaction, and the next one finds no other trace of it.
                if catch_unwind(AssertUnwindSafe(|| job(&mut writer))).is_err() {
                    error!("work on the writer broke off");
                }
            }
        })?;
        Ok(Self { queues, thread: Mutex::new(Some(thread)) })
    }

    /// Runs work for an account on the writer and gives its result. The work is queued at once, whether or not the answer is
    /// awaited.
    pub fn run<T: Send + 'static>(
        &self,
        priority: Priority,
        account: AccountKey,
        work: impl FnOnce(&mut W) -> Result<T, StoreError> + Send + 'static,
    ) -> Answer<'static, T> {
        let (answer, answered) = oneshot::channel();
        let job: Job<W> = Box::new(move |writer| drop(answer.send(work(writer))));
        {
            let mut waiting = self.queues.lock();
            if waiting.closed {
                return closed();
            }
            // Each is a turn's work: nobody knows how much it is before it is done.
            waiting.jobs[priority as usize].push(account, TURN, job);
        }
        self.queues.arrived.notify_one();
        result(answered)
    }

    /// Takes no more work, and does this after all that waits; then the thread ends.
    pub fn finish<T: Send + 'static>(
        &self,
        last: impl FnOnce(&mut W) -> Result<T, StoreError> + Send + 'static,
    ) -> Answer<'static, T> {
        let (answer, answered) = oneshot::channel();
        {
            let mut waiting = self.queues.lock();
            if std::mem::replace(&mut waiting.closed, true) {
                return closed();
            }
            waiting.last = Some(Box::new(move |writer| drop(answer.send(last(writer)))));
        }
        self.queues.arrived.notify_all();
        result(answered)
    }
}

fn closed<T: Send + 'static>() -> Answer<'static, T> {
    let closed = StoreError::Unavailable("the store is closed".to_owned());
    Box::pin(std::future::ready(Err(closed)))
}

fn result<T: Send + 'static>(answered: oneshot::Receiver<Result<T, StoreError>>) -> Answer<'static, T> {
    Box::pin(async move {
        answered.await.unwrap_or_else(|_| Err(StoreError::Unknown("the work broke off".to_owned())))
    })
}

impl<W> WriterThread<W> {
    /// Takes no more work, finishes what waits, ends the thread.
    pub fn close(&self) {
        self.queues.lock().closed = true;
        self.queues.arrived.notify_all();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            // The last work may hold the last reference to the store; then this is the writer itself.
            && thread.thread().id() != std::thread::current().id()
        {
            let _ = thread.join();
        }
    }
}

impl<W> Drop for WriterThread<W> {
    fn drop(&mut self) {
        self.close();
    }
}

fn next<W>(queues: &JobQueues<W>) -> Option<Job<W>> {
    let mut waiting = queues.lock();
    loop {
        if let Some(job) = waiting.next() {
            return Some(job);
        }
        if waiting.closed {
            return waiting.last.take();
        }
        waiting = queues.arrived.wait(waiting).unwrap_or_else(PoisonError::into_inner);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNT: AccountKey = AccountKey::DEFAULT;

    #[tokio::test]
    async fn a_job_that_breaks_off_takes_no_other_with_it() {
        let writer = WriterThread::start(0).unwrap();
        let broken = writer.run(Priority::Hot, ACCOUNT, |_| -> Result<(), StoreError> { panic!("a bug") });
        let fine = writer.run(Priority::Hot, ACCOUNT, |count: &mut i32| {
            *count += 1;
            Ok(*count)
        });
        assert!(matches!(broken.await, Err(StoreError::Unknown(_))));
        assert_eq!(fine.await, Ok(1));
        writer.close();
        let late = writer.run(Priority::Hot, ACCOUNT, |_| Ok(()));
        assert!(matches!(late.await, Err(StoreError::Unavailable(_))), "nobody waits for a closed store");
    }

    #[tokio::test]
    async fn what_waits_is_finished_before_the_end() {
        let writer = WriterThread::start(0).unwrap();
        let answers: Vec<_> = (0..100)
            .map(|_| {
                writer.run(Priority::Chore, ACCOUNT, |count: &mut i32| {
                    *count += 1;
                    Ok(*count)
                })
            })
            .collect();
        drop(writer);
        let mut last = 0;
        for answer in answers {
            last = answer.await.unwrap();
        }
        assert_eq!(last, 100);
    }

    #[test]
    fn doors_go_first_and_nobody_waits_for_ever() {
        let mut waiting: Waiting<Vec<Priority>> = Waiting::default();
        let mut add = |priority: Priority| {
            let job = Box::new(move |done: &mut Vec<Priority>| done.push(priority));
            waiting.jobs[priority as usize].push(ACCOUNT, TURN, job);
        };
        add(Priority::Chore);
        add(Priority::Api);
        (0..100).for_each(|_| add(Priority::Hot));
        let mut done = Vec::new();
        while let Some(job) = waiting.next() {
            job(&mut done);
        }
        assert_eq!(done.len(), 102);
        assert!(done[..16].iter().all(|&priority| priority == Priority::Hot));
        assert_eq!(done[16..18], [Priority::Api, Priority::Chore]);
    }
    #[test]
    fn an_account_waits_for_one_job_of_each_other() {
        let mut waiting: Waiting<Vec<&str>> = Waiting::default();
        let mut add = |account: i64, name| {
            let job = Box::new(move |done: &mut Vec<&str>| done.push(name));
            waiting.jobs[Priority::Claim as usize].push(AccountKey(account), TURN, job);
        };
        (0..1000).for_each(|_| add(1, "busy"));
        (0..3).for_each(|_| add(2, "quiet"));
        let mut done = Vec::new();
        while let Some(job) = waiting.next() {
            job(&mut done);
        }
        let quiet: Vec<_> = (0..done.len()).filter(|&at| done[at] == "quiet").collect();
        assert_eq!((done.len(), quiet), (1003, vec![1, 3, 5]));
    }

    #[tokio::test]
    async fn the_last_job_comes_after_all_others() {
        let writer = WriterThread::start(Vec::new()).unwrap();
        let add = |priority, account, name| {
            writer.run(priority, AccountKey(account), move |done: &mut Vec<&str>| {
                done.push(name);
                Ok(())
            })
        };
        let all = [(Priority::Chore, 1, "one"), (Priority::Chore, 1, "two"), (Priority::Api, 2, "three")];
        let queued: Vec<_> =
            all.into_iter().map(|(priority, account, name)| add(priority, account, name)).collect();
        let done = writer.finish(|done| Ok(done.len())).await;
        assert_eq!(done, Ok(queued.len()));
        let late = add(Priority::Hot, 1, "late").await;
        assert!(matches!(late, Err(StoreError::Unavailable(_))));
    }
}
