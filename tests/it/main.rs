//! The one integration binary: behaviour through the public door.

mod crash;
mod dialects;
#[expect(dead_code, reason = "the API tests use all of it")]
mod harness;
mod js_json;
mod made;
mod programs;
mod receivers;
mod vectors;
mod vendors;
mod wire;
