//! The ledger: pure rules. What a call becomes when something is heard of it, who is owed which event, what
//! follows from an attempt. Does no IO, reads no clock, rolls no dice: `now` and chance are arguments.

pub mod batch;
pub mod credit;
pub mod hold;
pub mod merge;
pub mod plan;
pub mod received;
pub mod replay;
pub mod settle;
pub mod tally;

pub use batch::{ContactBook, Counted, Standing};
pub use merge::{BatchBook, CallBook, Change, hear};
pub use plan::hears;
pub use received::Received;
pub use settle::{Decision, Next, decide};
pub use tally::{Contribution, Tally, contribution};
