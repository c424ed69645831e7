//! What came of a load. Does not depend on how it was sent.

use crate::lateness::Quantiles;

/// What came of a load.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// When it began, in microseconds.
    pub start: u64,
    /// Requests that were answered 200.
    pub accepted: u64,
    /// How long the answers took.
    pub answers: Quantiles,
}
