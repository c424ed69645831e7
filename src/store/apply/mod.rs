//! What a transaction does to calls, deliveries, batches and numbers: prefetch what a group needs, apply the rules, write what
//! they say. The rules themselves are the ledger's. Does not depend on who asks, and which database it is.

pub mod append;
pub mod attribution;
pub mod claim;
pub mod deferral;
pub mod prefetch;
pub mod record;
pub mod recording;
pub mod repeats;
pub mod reporting;
pub mod settle;
pub mod vendor_batches;
