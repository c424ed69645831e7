//! What every transaction goes by: the head of an account, the slots of time in which events were recorded, how far retention
//! has come. Does not depend on what a transaction does.

pub mod account_set;
pub mod head;
pub mod purpose;
pub mod slots;
pub mod step_budget;
pub mod transaction;
pub mod watermarks;
