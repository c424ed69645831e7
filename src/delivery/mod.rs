//! Delivery: from what is owed to what arrived.
//! Refuses to know how events come in and how deliveries are kept.

pub mod attempt;
mod bounds;
mod breaker;
mod called_off;
mod connect;
pub mod dispatcher;
pub mod guard;
mod hosts;
mod idle;
mod lane;
mod meter;
pub mod names;
mod pace;
mod parallelism;
mod recipient;
pub mod resolver;
mod target;
pub mod trouble;
pub mod wire;
