//! The one integration binary: behaviour through the public door.

mod dialects;
mod harness;
mod js_json;
mod made;
mod vectors;
mod wire;
