//! The batches that an account gives, and its call minutes. Does not depend on when a batch is complete: that is the
//! ledger's.

use crate::model::{AccountKey, Endpoint, Secret, Time};
use crate::store::batches::{BatchView, Contact, ContactView, Ended, Failure, NewBatch, Opened};
use crate::store::{Answer, CallView, EndpointRef, Page};

/// Takes batches in, shows and ends them, and keeps call minutes.
pub trait Batches: Send + Sync {
    /// Begins a batch that is on its way. If it never arrives, the next start forgets it.
    fn open_batch(&self, new: NewBatch) -> Answer<'_, Opened>;
    /// Puts some of its contacts on disk, from the place `first` on:
    /// [`CONTACTS_IN_STEP`](crate::store::batches::CONTACTS_IN_STEP) in each part.
    fn add_contacts(
        &self,
        account: AccountKey,
        batch: i64,
        first: usize,
        parts: Vec<Vec<Contact>>,
    ) -> Answer<'_, ()>;
    /// All contacts are on disk: makes the batch's endpoints and lets the intake begin. They sign with the account's
    /// secret for batches, which becomes `fresh` if there is none; then it is given back, to be shown.
    fn begin_batch(
        &self,
        account: AccountKey,
        batch: i64,
        endpoints: Vec<Endpoint>,
        fresh: Secret,
    ) -> Answer<'_, Option<Secret>>;
    /// Gives the account another secret for batches from now on.
    fn renew_batch_secret(&self, account: AccountKey, secret: Secret) -> Answer<'_, ()>;
    /// Stops a batch. The caller wakes the endpoints.
    fn end_batch(
        &self,
        account: AccountKey,
        batch: i64,
        failure: Failure,
        now: Time,
    ) -> Answer<'_, (Ended, Vec<EndpointRef>)>;
    /// A batch by number.
    fn batch(&self, account: AccountKey, batch: i64) -> Answer<'_, Option<BatchView>>;
    /// Batches, newest first.
    fn batches(&self, account: AccountKey, page: Page) -> Answer<'_, Vec<BatchView>>;
    /// The contacts of a batch in the order given, after a contact's number; the open ones alone if asked.
    fn contacts(
        &self,
        account: AccountKey,
        batch: i64,
        only_open: bool,
        page: Page,
    ) -> Answer<'_, Vec<ContactView>>;
    /// The calls that count for a batch, newest first.
    fn batch_calls(&self, account: AccountKey, batch: i64, page: Page) -> Answer<'_, Vec<CallView>>;
    /// The call minutes that are left, in milliseconds, below zero when calls used up more; `None` is unlimited.
    fn credit(&self, account: AccountKey) -> Answer<'_, Option<i64>>;
    /// Sets them.
    fn set_credit(&self, account: AccountKey, millis: Option<i64>) -> Answer<'_, ()>;
}
