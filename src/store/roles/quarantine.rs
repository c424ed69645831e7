//! Bodies that could not be read. Does not depend on why.

use crate::model::AccountKey;
use crate::store::{Answer, Page, Quarantined};

/// Shows and discards bodies in quarantine. [`Ingest::commit`](super::Ingest::commit) puts them there.
pub trait Quarantine: Send + Sync {
    /// Quarantined bodies, newest first.
    fn quarantine(&self, account: AccountKey, page: Page) -> Answer<'_, Vec<Quarantined>>;
    /// One quarantined body.
    fn quarantined(&self, account: AccountKey, number: i64) -> Answer<'_, Option<Quarantined>>;
    /// How many bodies are in quarantine.
    fn quarantine_size(&self, account: AccountKey) -> Answer<'_, i64>;
    /// Takes a body out of quarantine; false if it is not there.
    fn discard(&self, account: AccountKey, number: i64) -> Answer<'_, bool>;
}
