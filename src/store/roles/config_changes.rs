//! Changes to what is configured in an account. Does not depend on who asks for them.

use std::sync::Arc;
use std::time::Duration;

use crate::model::account::{Account, Limits};
use crate::model::{AccountKey, Endpoint, Source, Time};
use crate::store::{Answer, EndpointRef};

/// Changes accounts, sources and endpoints. [`AccountConfigs`](super::AccountConfigs) shows a change once it is committed.
///
/// A change of what was read before names the revision of the account's configuration that it was made from
/// ([`AccountConfig::revision`](crate::store::AccountConfig::revision)). If another change, on any node, was written since,
/// this one is not: [`StoreError::Stale`](crate::store::StoreError::Stale). If the account has as many as it may have, the
/// answer is [`StoreError::LimitReached`](crate::store::StoreError::LimitReached).
pub trait ConfigChanges: Send + Sync {
    /// Makes an account.
    fn create_account(&self, name: String, now: Time) -> Answer<'_, Option<Account>>;
    /// Sets for how long an account keeps what is recorded, from its recording on; `None` is for ever. Older events go
    /// with their deliveries in steps of [maintenance](super::Maintenance::maintain). Gives the account, or `None` if there is none.
    fn set_retention(
        &self,
        account: AccountKey,
        retention: Option<Duration>,
        now: Time,
    ) -> Answer<'_, Option<Account>>;
    /// The same for what was said in calls, where that may go earlier than the rest; records keep everything else.
    fn set_transcript_retention(
        &self,
        account: AccountKey,
        retention: Option<Duration>,
        now: Time,
    ) -> Answer<'_, Option<Account>>;
    /// Sets how much an account may have. Gives the account, or `None` if there is none.
    fn set_limits(
        &self,
        account: AccountKey,
        limits: Limits,
        made_from: Option<i64>,
    ) -> Answer<'_, Option<Account>>;
    /// Sets for how long a repeat is known as one after the record that it belongs to was removed; zero is not at all.
    /// Counts from the removal, also of what was removed before. Gives the account, or `None` if there is none.
    fn set_repeat_memory(
        &self,
        account: AccountKey,
        length: Duration,
        now: Time,
    ) -> Answer<'_, Option<Account>>;
    /// Makes a source (number 0) or changes one. Gives it back with number and id.
    fn put_source(&self, source: Source, made_from: Option<i64>) -> Answer<'_, Option<Arc<Source>>>;
    /// Deletes a source; false if there is none.
    fn delete_source(&self, account: AccountKey, number: i64, now: Time) -> Answer<'_, bool>;
    /// Makes an endpoint (number 0) or changes one, all but whether it is disabled. A change of dialect or shape makes
    /// a new revision.
    fn put_endpoint(&self, endpoint: Endpoint, made_from: Option<i64>) -> Answer<'_, Option<Arc<Endpoint>>>;
    /// Stops sending to an endpoint and records `endpoint.disabled`; what it is owed stays pending. One that is disabled
    /// keeps its reason. Gives the endpoints that have something due by that, or `None` if there is no such endpoint.
    fn disable_endpoint(
        &self,
        endpoint: EndpointRef,
        reason: String,
        now: Time,
    ) -> Answer<'_, Option<Vec<EndpointRef>>>;
    /// Sends to an endpoint again; false if there is none.
    fn enable_endpoint(&self, endpoint: EndpointRef) -> Answer<'_, bool>;
    /// Deletes an endpoint: what it is owed becomes cancelled, in steps; false if there is none.
    fn delete_endpoint(&self, account: AccountKey, number: i64, now: Time) -> Answer<'_, bool>;
}
