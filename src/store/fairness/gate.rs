//! How many bodies of one account are worked on at a time, from their proof to their answer, while several accounts are
//! active. A processor takes up what came first, whoever sent it: without this, a hundred requests of one account stand
//! before each of another's. While one account is alone everybody passes. Does not depend on what the work is.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::model::AccountKey;

/// The gate.
#[derive(Debug)]
pub struct Gate {
    most: AtomicUsize,
    lines: Mutex<HashMap<AccountKey, Line>>,
}

/// One account's part of it. Those that wait are bounded by the memory for their bodies.
#[derive(Debug, Default)]
struct Line {
    inside: usize,
    waiting: VecDeque<oneshot::Sender<Pass>>,
}

/// Leave to be worked on, until it is dropped.
#[derive(Debug)]
pub struct Pass {
    gate: Arc<Gate>,
    account: AccountKey,
}

impl Gate {
    /// An open one.
    pub fn new() -> Arc<Self> {
        Arc::new(Self { most: AtomicUsize::new(usize::MAX), lines: Mutex::default() })
    }

    /// From now on so many of each account are let in; `usize::MAX` lets everybody pass.
    pub fn set(&self, most: usize) {
        self.most.store(most, Ordering::Relaxed);
    }

    /// Waits until one more of the account may be worked on. Nothing is counted while everybody passes.
    pub async fn enter(self: &Arc<Self>, account: AccountKey) -> Option<Pass> {
        let most = self.most.load(Ordering::Relaxed);
        if most == usize::MAX {
            return None;
        }
        let turn = {
            let mut lines = self.lines();
            let line = lines.entry(account).or_default();
            if line.inside < most {
                line.inside += 1;
                return Some(self.pass(account));
            }
            let (leave, turn) = oneshot::channel();
            line.waiting.push_back(leave);
            turn
        };
        // Who gives up while it waits drops the pass with the channel, and the next one gets it.
        turn.await.ok()
    }

    fn pass(self: &Arc<Self>, account: AccountKey) -> Pass {
        Pass { gate: Arc::clone(self), account }
    }

    fn lines(&self) -> MutexGuard<'_, HashMap<AccountKey, Line>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One of an account has left: lets in who waits, as many as may be by now.
    fn leave(self: &Arc<Self>, account: AccountKey) {
        let most = self.most.load(Ordering::Relaxed);
        let mut let_in = Vec::new();
        {
            let mut lines = self.lines();
            let Some(line) = lines.get_mut(&account) else { return };
            line.inside -= 1;
            while line.inside < most
                && let Some(leave) = line.waiting.pop_front()
            {
                line.inside += 1;
                let_in.push(leave);
            }
            if line.inside == 0 {
                lines.remove(&account);
            }
        }
        // Not under the lock: a pass that nobody takes any more comes back here.
        for leave in let_in {
            let _ = leave.send(self.pass(account));
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.gate.leave(self.account);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    const BUSY: AccountKey = AccountKey(1);
    const QUIET: AccountKey = AccountKey(2);

    /// What comes of entering without waiting; `None` when it has to wait.
    fn try_enter(gate: &Arc<Gate>, account: AccountKey) -> Option<Option<Pass>> {
        let mut entering = pin!(gate.enter(account));
        match entering.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            std::task::Poll::Ready(pass) => Some(pass),
            std::task::Poll::Pending => None,
        }
    }

    #[test]
    fn an_account_alone_passes_and_is_not_counted() {
        let gate = Gate::new();
        assert!((0..1000).all(|_| matches!(try_enter(&gate, BUSY), Some(None))));
        assert!(gate.lines().is_empty());
    }

    #[test]
    fn so_many_of_each_account_are_inside() {
        let gate = Gate::new();
        gate.set(3);
        let passes: Vec<_> = (0..3).map(|_| try_enter(&gate, BUSY).unwrap().unwrap()).collect();
        assert!(try_enter(&gate, BUSY).is_none());
        assert!(
            try_enter(&gate, QUIET).is_some_and(|pass| pass.is_some()),
            "another account has its own part"
        );
        drop(passes);
        assert!(gate.lines().is_empty(), "who gave up while it waited is forgotten");
    }

    #[tokio::test]
    async fn who_waits_is_let_in_first_come_first_served_and_all_when_the_gate_opens() {
        let gate = Gate::new();
        gate.set(1);
        let first = gate.enter(BUSY).await;
        let order = Arc::new(Mutex::new(Vec::new()));
        let waiting: Vec<_> = (0..10)
            .map(|number| {
                let (gate, order) = (Arc::clone(&gate), Arc::clone(&order));
                tokio::spawn(async move {
                    let _pass = gate.enter(BUSY).await;
                    order.lock().unwrap().push(number);
                })
            })
            .collect();
        tokio::task::yield_now().await;
        assert!(order.lock().unwrap().is_empty());
        gate.set(usize::MAX);
        drop(first);
        for waiting in waiting {
            waiting.await.unwrap();
        }
        assert_eq!(*order.lock().unwrap(), (0..10).collect::<Vec<_>>());
        assert!(gate.lines().is_empty());
    }
}
