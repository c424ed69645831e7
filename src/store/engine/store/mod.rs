//! The store over any database: an implementation of each role (`store::roles`) in a file of its own, which puts each
//! method as one transaction on the database, with its priority. Does not depend on which database it is.

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

use crate::clock::random_bytes;
use crate::model::AccountKey;
use crate::model::id::Tag;
use crate::store::engine::database::{Database, SqlStore};

/// The tag of a new account.
pub fn new_tag() -> Tag {
    Tag::from_random(u64::from_be_bytes(random_bytes()))
}

impl<D: Database> SqlStore<D> {
    /// The tag of an account, for ids.
    fn tag(&self, account: AccountKey) -> Tag {
        self.directory.get(account).map_or(Tag(0), |config| config.account.tag)
    }
}
