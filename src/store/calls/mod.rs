//! Calls: how they are found, loaded and known after they are gone. Does not depend on what is heard of one.

pub mod call_rows;
pub mod call_set;
pub mod event_rows;
pub mod filter;
pub mod index;
pub mod index_filter;
pub mod loaded;
pub mod quarantine;
pub mod spans;
pub mod tombstone_set;
pub mod tombstones;
