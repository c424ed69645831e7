//! postcall: the one binary between AI dialers and everybody who must learn what happened on a call.

pub mod delivery;
pub mod dialect;
pub mod model;
