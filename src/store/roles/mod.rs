//! The roles of a store: what one kind of user needs of it, each a trait in a file of its own. A user asks for the roles that
//! it uses, and not for the whole store. Does not depend on any database.
//!
//! Each method is one whole transaction (a round of maintenance is several), named for its use and batch-first on the hot path;
//! no transaction type leaks out and time is an argument. A method that writes answers after its commit. After an error
//! nothing was written, unless it is [`StoreError::Unknown`](crate::store::StoreError::Unknown): then nobody knows.

mod account_configs;
mod analytics;
mod api_keys;
mod batches;
mod calls;
mod claims;
mod config_changes;
mod deliveries;
mod erasures;
mod feed;
mod idempotency;
mod ingest;
mod maintenance;
mod quarantine;
mod replays;
mod transfer;

pub use self::account_configs::AccountConfigs;
pub use self::analytics::Analytics;
pub use self::api_keys::ApiKeys;
pub use self::batches::Batches;
pub use self::calls::Calls;
pub use self::claims::Claims;
pub use self::config_changes::ConfigChanges;
pub use self::deliveries::{Deliveries, ManualOutcome};
pub use self::erasures::Erasures;
pub use self::feed::Feed;
pub use self::idempotency::{Idempotency, Idempotent};
pub use self::ingest::Ingest;
pub use self::maintenance::Maintenance;
pub use self::quarantine::Quarantine;
pub use self::replays::Replays;
pub use self::transfer::Transfer;

/// All that postcall keeps: the sum of the roles. One suite of tests runs over every implementation (`tests/it/store`).
pub trait Store:
    Ingest
    + Claims
    + AccountConfigs
    + ConfigChanges
    + ApiKeys
    + Calls
    + Feed
    + Deliveries
    + Quarantine
    + Replays
    + Batches
    + Analytics
    + Idempotency
    + Erasures
    + Transfer
    + Maintenance
{
}

impl<S> Store for S where
    S: Ingest
        + Claims
        + AccountConfigs
        + ConfigChanges
        + ApiKeys
        + Calls
        + Feed
        + Deliveries
        + Quarantine
        + Replays
        + Batches
        + Analytics
        + Idempotency
        + Erasures
        + Transfer
        + Maintenance
{
}
