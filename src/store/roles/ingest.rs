//! What records events and the results of attempts. Does not depend on how groups are formed.

use std::sync::Arc;

use crate::store::{Answer, Committed, Group, Queues};

/// Records what came in and what attempts came to: all that the group commit needs of a store.
pub trait Ingest: Send + Sync {
    /// Records what came in and settles what was attempted, in one transaction on disk when it returns. Places
    /// in queues are reserved through `queues`. Settling the same attempt again changes nothing.
    fn commit<'a>(&'a self, group: Arc<Group>, queues: Arc<dyn Queues>) -> Answer<'a, Committed>;
}
