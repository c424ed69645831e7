//! The calls of an account. Does not depend on how their records are merged.

use crate::model::AccountKey;
use crate::store::{Answer, CallFilter, CallView, Page};

/// Shows calls. Each answer is one snapshot.
pub trait Calls: Send + Sync {
    /// A call by number.
    fn call(&self, account: AccountKey, number: i64) -> Answer<'_, Option<CallView>>;
    /// Calls, newest first.
    fn calls(&self, account: AccountKey, filter: CallFilter, page: Page) -> Answer<'_, Vec<CallView>>;
}
