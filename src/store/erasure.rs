//! Erasing a person by number: the job, and the receipt that it becomes.
//! Refuses to know where what is erased lies: each room of a store says so itself.

use std::collections::BTreeMap;

use ring::hmac;

use crate::model::id::Tag;
use crate::model::{Mac, Mention, Time};

/// What is signed, besides the account and the number, so that no other use of the key can stand in for a digest.
const PURPOSE: &str = "erasure ";

/// The erasure of one person in one account. Holds a digest of the number, never the number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Erasure {
    /// Its number; with the account's tag it is the id `ers_..`.
    pub number: i64,
    /// See [`digest`].
    pub digest: Vec<u8>,
    /// When it was asked for.
    pub requested_at: Time,
    /// Where it is now: the name of a room, or what is done with the space that was freed; `None` when it is finished.
    pub room: Option<String>,
    /// When the last record was erased.
    pub erased_at: Option<Time>,
    /// When nothing of it was left in free space and in the log: the end.
    pub overwritten_at: Option<Time>,
    /// What was erased, by the name of what it is.
    pub counts: BTreeMap<String, i64>,
}

/// The digest of a number: an HMAC under the store's own key, as a plain hash of so few digits is undone in a second.
/// The same number in the same account has the same digest.
pub fn digest(link_key: &hmac::Key, account: Tag, person: &Mention) -> Vec<u8> {
    let said = format!("{PURPOSE}{} {}", account.0, person.number());
    Mac::over(link_key, &[said.as_bytes()]).as_bytes().to_vec()
}
