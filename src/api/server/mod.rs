//! Accepts connections and speaks HTTP/1.1 on them, with a limit to everything: connections, heads, and the time that a
//! client may keep a connection waiting. Does not depend on routes.

mod client_address;
mod connection;
mod exchange;
mod limits;
mod serve;
mod slots;
mod socket;

pub use limits::Limits;
pub use serve::serve;
