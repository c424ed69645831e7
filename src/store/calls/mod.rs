//! Calls: how they are found, loaded and known after they are gone. Does not depend on what is heard of one.

pub mod filter;
pub mod index;
pub mod index_filter;
pub mod loaded;
pub mod quarantine;
pub mod spans;
pub mod tombstones;
