//! The configuration of one account. Does not depend on where it is kept and how a node learns of its changes.

use std::sync::Arc;

use crate::model::account::Account;
use crate::model::{Endpoint, Source};

/// An account with all that is configured in it: sources and endpoints, secrets opened. A snapshot.
#[derive(Debug)]
pub struct AccountConfig {
    /// The account.
    pub account: Account,
    /// Which one of the account's configurations, counted on with each change.
    pub revision: i64,
    /// Its sources, by number.
    pub sources: Vec<Arc<Source>>,
    /// Its endpoints, by number.
    pub endpoints: Vec<Arc<Endpoint>>,
}

impl AccountConfig {
    /// The source of that number.
    pub fn source(&self, number: i64) -> Option<&Arc<Source>> {
        let at = self.sources.binary_search_by_key(&number, |source| source.number).ok()?;
        self.sources.get(at)
    }

    /// The endpoint of that number.
    pub fn endpoint(&self, number: i64) -> Option<&Arc<Endpoint>> {
        let at = self.endpoints.binary_search_by_key(&number, |endpoint| endpoint.number).ok()?;
        self.endpoints.get(at)
    }
}
