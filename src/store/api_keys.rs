//! What goes in and out of the store about API keys: made by their hash, used, revoked. Does not depend on what a key opens.

use crate::model::{AccountKey, Rights, Time};

/// A key that is to be made.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// The account that it opens.
    pub account: AccountKey,
    /// What people call it.
    pub name: String,
    /// What it may do.
    pub rights: Rights,
    /// From when on it opens nothing; `None` is never.
    pub expires_at: Option<Time>,
    /// The hash that it is found by.
    pub hash: [u8; 32],
    /// When it is made.
    pub created_at: Time,
}

/// What became of a key that was to be revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revoked {
    /// It opens nothing any more.
    Done,
    /// There is none, or it was revoked before.
    Missing,
    /// It is the last one that opens everything for ever, and stays: without it nobody could make others in the end.
    Last,
}

/// When a key was last used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyUse {
    /// Its account.
    pub account: AccountKey,
    /// Its number in it.
    pub number: i64,
    /// When.
    pub at: Time,
}
