//! What every method of the store gives back, and why a transaction did not happen. Does not depend on any database.

use std::future::Future;
use std::pin::Pin;

use crate::model::account::Limited;

/// What every method gives back: boxed, because the store is used as `Arc<dyn Store>`.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// Why a transaction did not happen. Two texts: these are for the operator; callers see a 503 or a problem document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The data itself cannot be stored; the same group without the culprit can.
    #[error("data that cannot be stored: {0}")]
    Data(String),
    /// The database is away, locked or in trouble; nothing was written.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// There is no room for it on the disk, and nothing was written. It goes on by itself when there is.
    #[error("the disk is full: {0}")]
    Full(String),
    /// The database's own pages or tables are not what they were, as a broken disk or a foreign hand leaves them. Nothing
    /// was written.
    #[error("the database is damaged, restore a backup: {0}")]
    Damaged(String),
    /// Another transaction stood in the way, and nothing was written; the same once more finds its way.
    #[error("another transaction stood in the way: {0}")]
    Conflict(String),
    /// Nobody knows whether it was committed. The caller gets 503, nothing is dispatched, dedupe meets the retry.
    #[error("the outcome of a commit is unknown: {0}")]
    Unknown(String),
    /// This node's lease lapsed: nothing was written, and what it owned is no longer its own. Not to be tried again.
    #[error("the lease of this node is over: {0}")]
    Lapsed(String),
    /// The configuration is not the one any more that a change was made from; nothing was written. To be made again from
    /// what is there now.
    #[error("the configuration of the account was changed meanwhile")]
    Stale,
    /// The account has as many of a kind as it may have.
    #[error("the account has {1} {name} and may have no more", name = .0.name())]
    LimitReached(Limited, u32),
}
