//! postcall: the one binary between AI dialers and everybody who must learn what happened on a call.
//!
//! The map of the house, from the ground up; each room uses only those before it:
//!
//! - [`model`]: calls, events, sources, endpoints, deliveries as plain data; [`clock`] and [`metrics`] beside it.
//! - [`dialect`]: how each of the six systems writes events, proves who it is and wants to be retried.
//! - [`ledger`]: the rules, pure: what a call becomes, who is owed what, what follows from an attempt.
//! - [`store`]: the traits that keep it all, the group commit, and SQLite.
//! - [`delivery`]: queues, attempts, the wire and its address guard.
//! - [`api`]: the doors and the public API.
//! - [`app`]: the only place that wires the parts; [`config`] reads the environment; [`cli`] the command line.

pub mod api;
pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod delivery;
pub mod dialect;
pub mod ledger;
pub mod metrics;
pub mod model;
pub mod store;
