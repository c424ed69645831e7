//! How a node comes to own deliveries and gives them up. Does not depend on how they are attempted.

use std::time::Duration;

use tokio::sync::mpsc;

use crate::model::{AccountKey, Time};
use crate::store::{Answer, Claimed, EndpointRef, Notification, Place};

/// Lets a node own deliveries, one node each: what the dispatcher needs of a store.
///
/// On a store of many nodes a node owns what it claimed for as long as its lease lasts. Then other nodes may claim it, and what
/// this node still writes of it is refused: [`StoreError::Lapsed`](crate::store::StoreError::Lapsed).
pub trait Claims: Send + Sync {
    /// Takes ownership of deliveries of one endpoint that are due, oldest first; one for each place at most.
    fn claim(&self, endpoint: EndpointRef, now: Time, places: Vec<Place>) -> Answer<'_, Claimed>;
    /// Gives up ownership of deliveries that will not be attempted now. Those that this node does not own stay as they
    /// are.
    fn release(&self, account: AccountKey, deliveries: Vec<i64>) -> Answer<'_, ()>;
    /// When the endpoint's next unowned delivery falls due.
    fn next_due(&self, endpoint: EndpointRef) -> Answer<'_, Option<Time>>;
    /// Whether an attempt of at most this length may start now: on a store of many nodes, whether the lease outlasts
    /// it. An attempt of more than half a lease counts as half of one: otherwise no lease would ever be enough for it.
    fn outlasts(&self, _attempt: Duration) -> bool {
        true
    }
    /// What other nodes did that this one has to act on; given once. `None` on a store with a single node.
    fn notifications(&self) -> Option<mpsc::UnboundedReceiver<Notification>> {
        None
    }
    /// What was in memory when the lease lapsed is no longer there. Said once for each [`Notification::Lapsed`]; until then no
    /// lease outlasts an attempt.
    fn queues_emptied(&self) {}
}
