//! Fairness between accounts: who is next, how much of a bounded memory each may hold, and how many bodies of one are worked on
//! at a time. Does not depend on what waits.

pub mod account_turns;
pub mod gate;
pub mod shares;
