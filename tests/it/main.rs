//! The one integration binary: behaviour through the public door.

mod crash;
mod delivery;
mod dialects;
mod harness;
mod js_json;
mod made;
mod vectors;
mod wire;
