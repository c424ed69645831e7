//! The one integration binary: behaviour through the public door.

mod api_account;
mod api_bad_input;
mod api_door;
mod api_idempotency;
mod api_isolation;
mod api_reading;
mod api_resources;
mod api_rig;
mod api_server;
mod api_stream;
mod cli;
mod crash;
mod delivery;
mod dialects;
mod harness;
mod js_json;
mod logs;
mod made;
mod programs;
mod receivers;
mod start;
mod store;
mod tidy;
mod vectors;
mod vendors;
mod wire;
