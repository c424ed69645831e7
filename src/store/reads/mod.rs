//! Pages for whoever reads: on a connection that only reads, each a short one. Does not depend on JSON shapes of the API.

pub mod batches;
pub mod erased;
pub mod pages;
pub mod recount;
