//! Tasks without which a node is of no use. Should one of them break off, that is said and the process ends, so that
//! whoever started it starts it again: a node that takes requests and can do nothing with them helps nobody. Does not depend
//! on what the tasks do.

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::error;

/// Watches them.
#[derive(Debug)]
pub struct Vital {
    broken: watch::Sender<Option<&'static str>>,
}

impl Vital {
    /// Nothing is watched yet.
    pub fn new() -> Self {
        Self { broken: watch::Sender::new(None) }
    }

    /// Watches a task, which may end or be aborted, but not break off.
    pub fn watch(&self, what: &'static str, task: JoinHandle<()>) {
        let broken = self.broken.clone();
        tokio::spawn(async move {
            if task.await.is_err_and(|why| why.is_panic()) {
                error!(what, "broke off, which is a defect; this process ends");
                broken.send_replace(Some(what));
            }
        });
    }

    /// Waits until one breaks off, and says which.
    pub async fn broken(&self) -> &'static str {
        let mut broken = self.broken.subscribe();
        loop {
            if let Some(what) = *broken.borrow_and_update() {
                return what;
            }
            if broken.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_breaks_off_is_seen_and_one_that_ends_is_not() {
        let vital = Vital::new();
        vital.watch("what ends", tokio::spawn(async {}));
        let endless = tokio::spawn(std::future::pending());
        endless.abort();
        vital.watch("what is aborted", endless);
        tokio::task::yield_now().await;
        vital.watch("what has a defect", tokio::spawn(async { panic!("a defect") }));
        assert_eq!(vital.broken().await, "what has a defect");
        assert_eq!(vital.broken().await, "what has a defect", "also for who asks later");
    }
}
