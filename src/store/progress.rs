//! What a round of maintenance came to. Does not depend on what its jobs are.

use std::time::Duration;

use super::EndpointRef;

/// What a round came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Whether there is more to do.
    pub more: bool,
    /// Endpoints that have something due by it.
    pub wake: Vec<EndpointRef>,
    /// Deliveries that may be in memory and shall not be attempted: the caller tells [`super::Queues::call_off`].
    pub called_off: Vec<(EndpointRef, i64)>,
    /// Whether the next step can wait a little: nobody gains by its being fast, and whoever calls now would pay.
    pub has_leisure: bool,
    /// The steps that were done or tried.
    pub steps: Vec<JobStep>,
}

/// A step of one job of maintenance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobStep {
    /// The job's name.
    pub job: &'static str,
    /// How long its transaction took, with the wait for what it locks.
    pub took: Duration,
    /// Whether it was rolled back: that job rests for that account, and all else goes on.
    pub has_failed: bool,
}
