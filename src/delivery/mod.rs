//! Delivery: from what is owed to what arrived.
//! Refuses to know how events come in and how deliveries are kept.

mod connect;
pub mod guard;
mod idle;
pub mod trouble;
pub mod wire;
