//! postcall: the one binary between AI dialers and everybody who must learn what happened on a call.

pub mod api;
pub mod clock;
pub mod delivery;
pub mod dialect;
pub mod ledger;
pub mod metrics;
pub mod model;
pub mod store;
