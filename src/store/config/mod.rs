//! What is configured: accounts with their sources and endpoints, API keys and limits, secrets sealed. Does not depend on
//! what is recorded.

pub mod account_row;
pub mod accounts;
pub mod api_keys;
pub mod limits;
pub mod sealed;
