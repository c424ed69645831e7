//! The way of events into the store: what is worked out of them before the transaction, and the group commit with what waits
//! for it. Does not depend on how a group is written.

pub mod group;
mod group_size;
mod inbox;
pub mod prepared;
mod weight;
