//! The one integration binary: behaviour through the public door.

mod dialects;
mod js_json;
mod made;
mod vectors;
