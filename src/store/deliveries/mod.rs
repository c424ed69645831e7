//! Deliveries: their states, the bodies that they share, the replays that plan them, and the statements that write their tables.
//! Does not depend on when one is sent.

pub mod body_rows;
pub mod claiming;
pub mod deferral_rows;
pub mod delivery_set;
pub mod open_rows;
pub mod replayed_rows;
pub mod replays;
pub mod settled_rows;
pub mod shared_bodies;
pub mod states;
