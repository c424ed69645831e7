//! What is configured: accounts with their sources and endpoints, each with the counters of its deliveries, API keys and
//! limits, secrets sealed, answers kept for repeated requests. Does not depend on what is recorded.

pub mod account_row;
pub mod accounts;
pub mod api_keys;
pub mod endpoint_counters;
pub mod endpoint_rows;
pub mod idempotency_rows;
pub mod limits;
pub mod sealed;
pub mod source_rows;
