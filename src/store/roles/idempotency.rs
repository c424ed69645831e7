//! Requests that happen once. Does not depend on what they ask for.

use crate::model::{AccountKey, Time};
use crate::store::Answer;

/// The beginning of a request with an `Idempotency-Key`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Idempotent {
    /// Nobody used the key before: go on, and call [`Idempotency::finish_idempotent`].
    Fresh,
    /// The same request was answered before: this is the answer.
    Answered {
        /// Its status.
        status: u16,
        /// Its body.
        body: Vec<u8>,
    },
    /// The same request is under way.
    InProgress,
    /// The key was used for another request.
    Mismatch,
}

/// Remembers requests with an `Idempotency-Key` and what they were answered.
pub trait Idempotency: Send + Sync {
    /// Begins a request with an `Idempotency-Key`; the fingerprint is of the whole request.
    fn begin_idempotent(
        &self,
        account: AccountKey,
        key: Vec<u8>,
        fingerprint: [u8; 32],
        now: Time,
    ) -> Answer<'_, Idempotent>;
    /// Keeps the answer of such a request, or forgets the key when there is none to keep.
    fn finish_idempotent(
        &self,
        account: AccountKey,
        key: Vec<u8>,
        answer: Option<(u16, Vec<u8>)>,
    ) -> Answer<'_, ()>;
}
