//! The keys that open an account. Does not depend on what a key opens.

use crate::model::{AccountKey, ApiKey, Time};
use crate::store::{Answer, KeyUse, NewKey, Revoked};

/// Keeps API keys by their hashes.
pub trait ApiKeys: Send + Sync {
    /// Makes a key from its hash.
    fn create_key(&self, key: NewKey) -> Answer<'_, ApiKey>;
    /// The key of a hash, unless revoked. Whether its time is over is for the caller to judge.
    fn find_key(&self, hash: [u8; 32]) -> Answer<'_, Option<ApiKey>>;
    /// Writes down when keys were last used. A later time that is on record stays.
    fn note_key_uses(&self, uses: Vec<KeyUse>) -> Answer<'_, ()>;
    /// The account's keys that are not revoked, expired ones among them.
    fn keys(&self, account: AccountKey) -> Answer<'_, Vec<ApiKey>>;
    /// Revokes a key, unless it is the last one that opens everything.
    fn revoke_key(&self, account: AccountKey, number: i64, now: Time) -> Answer<'_, Revoked>;
}
