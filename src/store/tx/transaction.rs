//! The open transaction, as far as every rule and every working set needs it. Does not depend on what is done in it.

use crate::model::Time;
use crate::store::Queues;
use crate::store::config::accounts::Directory;
use crate::store::sql::Connection;
use crate::store::vault::Vault;

/// A transaction that is open.
pub struct Tx<'a> {
    /// What it runs on.
    pub db: &'a Connection,
    /// When it is.
    pub now: Time,
    /// Where deliveries that are due get a place.
    pub queues: &'a dyn Queues,
    /// Everybody's view of the configuration.
    pub directory: &'a Directory,
    /// Seals and opens secrets.
    pub vault: &'a Vault,
    /// The lease epoch under which deliveries are claimed; 0 where one process has the database to itself.
    pub epoch: i64,
    /// The round trips of the connection before it began.
    began_at: u64,
}

impl<'a> Tx<'a> {
    /// Takes over a transaction that is open.
    pub fn new(
        db: &'a Connection,
        now: Time,
        queues: &'a dyn Queues,
        directory: &'a Directory,
        vault: &'a Vault,
        epoch: i64,
    ) -> Self {
        Self { db, now, queues, directory, vault, epoch, began_at: db.round_trips() }
    }

    /// How often it has waited for a database that is far away.
    pub fn round_trips(&self) -> u64 {
        self.db.round_trips() - self.began_at
    }
}
