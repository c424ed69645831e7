//! Deliveries that a transaction claims for this node, until they are loaded. Does not depend on how that is done.

use crate::store::{EndpointRef, Place};

/// What a body is taken to weigh before it is loaded.
pub const TYPICAL: usize = 4 << 10;

/// A delivery that is claimed at the end of the transaction.
pub struct NewClaim {
    pub endpoint: EndpointRef,
    pub id: i64,
    pub place: Place,
}
