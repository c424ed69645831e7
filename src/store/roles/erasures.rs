//! Erasing a person from an account. Does not depend on where what is erased lies.

use crate::model::{AccountKey, Mention, Time};
use crate::store::erasure::Erasure;
use crate::store::{Answer, Page};

/// Begins and shows erasures, which go on as maintenance.
pub trait Erasures: Send + Sync {
    /// Begins to erase a person from an account, in steps of [maintenance](super::Maintenance::maintain).
    fn erase(&self, account: AccountKey, person: Mention, now: Time) -> Answer<'_, Erasure>;
    /// An erasure by number.
    fn erasure(&self, account: AccountKey, number: i64) -> Answer<'_, Option<Erasure>>;
    /// Erasures, newest first.
    fn erasures(&self, account: AccountKey, page: Page) -> Answer<'_, Vec<Erasure>>;
}
