//! The store: everything that postcall keeps. Refuses to know HTTP.
//!
//! What a store does is in `roles`, a trait for each kind of user; what goes in and out of it is in the files beside it:
//! `commit` (what comes in, what attempts came to), `queues` (deliveries that a node owns), `account_config`, `api_keys`,
//! `batches`, `analytics`, `views` (calls, deliveries, counters, quarantine), `feed`, `erasure`, `export` with `moving`,
//! `progress` with `condition` (maintenance), `notification` (other nodes) and `error`. The folders are the parts of the
//! store, from the ground up: `fairness` between accounts, `ingest` (what happens before a transaction, and the group commit),
//! `sql`, `layout`, `config`, `tx`, the working sets of a transaction (`analytics`, `calls`, `deliveries`, `batches`), `jobs`,
//! `reads`, `apply`, `lifetime`, `transfer`, `records`, `maintenance`, `engine`, which implements the roles, and `sqlite` and
//! `postgres`, which are each one's own.

mod account_config;
pub mod analytics;
mod api_keys;
mod apply;
pub mod batches;
mod calls;
mod commit;
pub mod condition;
mod config;
mod deliveries;
mod engine;
pub mod erasure;
mod error;
pub mod export;
mod fairness;
pub mod feed;
pub mod ingest;
mod jobs;
mod layout;
mod lifetime;
pub mod link;
mod maintenance;
pub mod moving;
mod notification;
pub mod outage;
pub mod packed;
mod place;
pub mod postgres;
pub mod private_files;
mod progress;
mod queues;
mod reads;
mod records;
pub mod roles;
mod sql;
pub mod sqlite;
mod transfer;
mod tx;
pub mod vault;
mod views;

pub use self::account_config::AccountConfig;
pub use self::api_keys::{KeyUse, NewKey, Revoked};
pub use self::commit::{Booked, Committed, Group, Incoming, Parsed, Recorded, Settlement};
pub use self::error::{Answer, StoreError};
pub use self::notification::Notification;
pub use self::place::{AccountMemory, DeliveryMemory, Place, SharedBody};
pub use self::progress::{JobStep, Progress};
pub use self::queues::{Body, Claimed, EndpointRef, Owned, Queues};
pub use self::roles::{
    AccountConfigs, Analytics, ApiKeys, Batches, Calls, Claims, ConfigChanges, Deliveries, Erasures, Feed,
    Idempotency, Idempotent, Ingest, Maintenance, ManualOutcome, Quarantine, Replays, Store, Transfer,
};
pub use self::views::{CallFilter, CallView, DeliveryFilter, DeliveryView, Page, Quarantined, Sum};
