//! The ledger: pure rules. What a call becomes when something is heard of it, who is owed which event, what
//! follows from an attempt. Does no IO, reads no clock, rolls no dice: `now` and chance are arguments.

pub mod hold;
pub mod merge;
pub mod plan;
pub mod replay;
pub mod settle;

pub use merge::{BatchBook, CallBook, Change, hear};
pub use plan::hears;
pub use settle::{Decision, Next, decide};
