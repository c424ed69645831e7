//! A simulated dialer: whole call lifecycles as a vendor sends them, signed as its dialect demands, late, twice and out
//! of order at set rates. What is planned is pure and the same for the same seed; `sending` alone touches the network.

pub mod bodies;
pub mod callee;
mod plan;
mod said;
pub mod sending;
pub mod story;

pub use plan::{Disorder, Due, Plan, Script};
pub use said::{Moment, Said};
