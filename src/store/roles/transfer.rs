//! An account on its way to another store. Does not depend on how the lines travel.

use crate::model::AccountKey;
use crate::store::Answer;
use crate::store::export::{Cursor, Exported, Import, Imported, Secrets};

/// Exports an account as lines and imports such lines. Exported, imported and exported again, they are the same.
pub trait Transfer: Send + Sync {
    /// The next page of an account as lines, from its beginning without a cursor.
    fn export(&self, account: AccountKey, secrets: Secrets, cursor: Option<Cursor>) -> Answer<'_, Exported>;
    /// Takes lines of an export into an account that has recorded nothing else. Lines that are there change nothing.
    fn import(&self, account: AccountKey, import: Import) -> Answer<'_, Imported>;
}
