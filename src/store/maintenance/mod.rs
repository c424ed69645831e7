//! The maintenance jobs, a file each, and the list of them. Does not depend on when a round begins.

pub mod batch_intake;
pub mod job;
pub mod list;
pub mod out_of_credit;
pub mod replay_steps;
pub mod scheduled_batches;
pub mod upkeep;
pub mod watchdog;
