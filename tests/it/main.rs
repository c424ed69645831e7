//! The one integration binary: behaviour through the public door.

#[expect(dead_code, reason = "the API tests that use all of it come next")]
mod harness;
mod wire;
