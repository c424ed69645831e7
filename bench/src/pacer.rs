//! The pacer: a thread that gives one permit to send for each call that falls due. A thread, because the runtime's
//! timers are as coarse as a millisecond, which is as long as what is measured.
//! Refuses to know what is sent and how long it takes.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::clock::now;
use crate::sink::Schedule;

/// Gives permits until all are given or nobody wants any more.
pub struct Pacer {
    /// What sending waits for.
    pub permits: Arc<Semaphore>,
    thread: Option<JoinHandle<()>>,
}

impl Pacer {
    /// Starts the thread; it gives `count` permits.
    pub fn start(schedule: Schedule, count: u64) -> Result<Self, String> {
        let permits = Arc::new(Semaphore::new(0));
        let theirs = Arc::clone(&permits);
        let give = move || {
            let mut given = 0;
            while given < count && !theirs.is_closed() {
                let due = schedule.due_by(now()).min(count);
                theirs.add_permits(usize::try_from(due - given).unwrap_or_default());
                given = due;
                let next = schedule.due(schedule.first + given).unwrap_or_default();
                std::thread::sleep(Duration::from_micros(next.saturating_sub(now())));
            }
        };
        let thread = std::thread::Builder::new().name("pacer".to_owned()).spawn(give);
        Ok(Self { permits, thread: Some(thread.map_err(|error| error.to_string())?) })
    }
}

impl Drop for Pacer {
    fn drop(&mut self) {
        self.permits.close();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_call_gets_its_permit_and_not_before_it_is_due() {
        let schedule = Schedule { first: 7, start: now() + 2_000, interval: 100.0 };
        let pacer = Pacer::start(schedule, 50).unwrap();
        for number in 7..57 {
            pacer.permits.acquire().await.unwrap().forget();
            assert!(now() >= schedule.due(number).unwrap());
        }
        assert_eq!(pacer.permits.available_permits(), 0);
    }
}
