//! Deliveries that a transaction takes into memory, until they are loaded. Does not depend on how that is done.

use crate::store::{EndpointRef, Place};

/// What a body is taken to weigh before it is loaded.
pub const TYPICAL: usize = 4 << 10;

/// A delivery that becomes owned at the end of the transaction.
pub struct Taken {
    pub endpoint: EndpointRef,
    pub id: i64,
    pub place: Place,
}
