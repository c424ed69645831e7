//! Sources: the doors for events.
//! Refuses to know how their requests are authenticated.

use std::time::Duration;

use super::account::AccountKey;
use super::dialect_name::DialectName;
use super::secret::{Credential, Secret};
use super::time::Time;

/// A door: which system speaks here, and how it proves itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// Its account.
    pub account: AccountKey,
    /// Its number in the account.
    pub number: i64,
    /// Its id outside, `src_..`.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// Which system speaks.
    pub dialect: DialectName,
    /// Secrets and bearer token. Empty for an unsigned source.
    pub credential: Credential,
    /// The unguessable part of an unsigned source's URL.
    pub url_token: Option<Secret>,
    /// How long a call may go without its end before it is given up as lost; `None` is for ever.
    pub lost_after: Option<Duration>,
    /// When it was made.
    pub created_at: Time,
}

impl Source {
    /// The path of the door: `src_..`, and for an unsigned source its token after a dot.
    pub fn path(&self) -> String {
        match &self.url_token {
            Some(token) => format!("/in/{}.{}", self.id, String::from_utf8_lossy(token.expose())),
            None => format!("/in/{}", self.id),
        }
    }
}
