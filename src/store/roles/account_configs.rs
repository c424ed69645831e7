//! What a node knows of every account's configuration. Does not depend on how it is changed.

use std::sync::Arc;

use crate::model::AccountKey;
use crate::store::{AccountConfig, Answer};

/// The configuration of every account, from memory: what needs no round trip to look up a source, an endpoint or a tag.
///
/// Always current on a single node, and after [`Self::catch_up`] on one of many.
pub trait AccountConfigs: Send + Sync {
    /// The configuration of an account.
    fn config(&self, account: AccountKey) -> Option<Arc<AccountConfig>>;
    /// The account of a tag, as ids carry it.
    fn config_by_tag(&self, tag: crate::model::id::Tag) -> Option<Arc<AccountConfig>>;
    /// Every account.
    fn accounts(&self) -> Vec<Arc<AccountConfig>>;
    /// The key that signs links and cursors of this store.
    fn link_key(&self) -> &ring::hmac::Key;
    /// Brings the configuration up to what was committed through any node before this was called. Whoever asks at the same
    /// time shares one look: strangers at the doors can make it happen. Nothing to do on a single node.
    fn catch_up(&self) -> Answer<'_, ()> {
        Box::pin(std::future::ready(Ok(())))
    }
}
