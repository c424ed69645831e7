//! What happens between the nodes of one store, as far as a node has to act on it. Does not depend on how notifications travel.

use super::EndpointRef;

/// What other nodes did that this one has to act on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notification {
    /// The lease lapsed: nothing in memory is this node's any more.
    Lapsed,
    /// These endpoints may have something due.
    Wake(Vec<EndpointRef>),
    /// Any endpoint may have something due: a node is gone, or notifications may have been missed.
    WakeAll,
    /// Deliveries that shall not be attempted.
    CalledOff(Vec<(EndpointRef, i64)>),
}
