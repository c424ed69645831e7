//! What goes with time, or because a person asked: retention, transcripts, erasure. Does not depend on how long anything is to
//! be kept.

pub mod erasing;
pub mod erasing_contacts;
pub mod old_batches;
pub mod partition_retention;
pub mod retention;
pub mod transcripts;
