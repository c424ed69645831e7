//! Accounts and the keys that open them.
//! Refuses to know how a key is checked or kept.

use std::time::Duration;

use super::id::Tag;
use super::rights::Rights;
use super::time::Time;

/// How long a repeat is known as one after its record was removed, unless the account says otherwise.
pub const REPEAT_MEMORY: Duration = Duration::from_secs(30 * 24 * 3600);

/// The longest that an account may say: each removed call takes some fifty bytes for so long.
pub const MOST_REPEAT_MEMORY: Duration = Duration::from_secs(366 * 24 * 3600);

/// The account inside: the first part of every key in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AccountKey(pub i64);

impl AccountKey {
    /// The account that exists from the first start.
    pub const DEFAULT: Self = Self(1);
    /// No account's: what postcall does for itself, or for who is not known yet, where accounts take turns.
    pub const NONE: Self = Self(0);
}

/// A tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its key.
    pub key: AccountKey,
    /// Its mark in ids.
    pub tag: Tag,
    /// The mark that its ids had in the house it was brought from, where they could not keep it.
    pub origin: Option<Tag>,
    /// Its name; unique.
    pub name: String,
    /// When it was made.
    pub created_at: Time,
    /// How long what is recorded is kept; `None` is for ever.
    pub retention: Option<Duration>,
    /// How long what was said in calls is kept, where that is shorter; `None` is as long as the rest.
    pub transcript_retention: Option<Duration>,
    /// How long the repeat of a body is known as one when the record that it belongs to was removed; zero is not at all.
    pub repeat_memory: Duration,
    /// Whether calls use up call minutes. How many are left is the store's to say.
    pub is_metered: bool,
    /// How much it may have, as far as somebody set it.
    pub limits: Limits,
}

/// What an account may have so many of and no more: each costs memory, and each endpoint a little of every event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limited {
    /// Endpoints, beside those that batches bring along.
    Endpoints,
    /// Sources.
    Sources,
    /// Keys that are not revoked.
    Keys,
}

impl Limited {
    /// How many, unless somebody set it.
    pub const USUAL: u32 = 1000;

    /// What they are called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Endpoints => "endpoints",
            Self::Sources => "sources",
            Self::Keys => "API keys",
        }
    }

    /// The setting in the API.
    pub fn setting(self) -> &'static str {
        match self {
            Self::Endpoints => "endpoint_limit",
            Self::Sources => "source_limit",
            Self::Keys => "key_limit",
        }
    }

    /// The code of an error that says that there are as many as may be.
    pub fn code(self) -> &'static str {
        match self {
            Self::Endpoints => "endpoint_limit_reached",
            Self::Sources => "source_limit_reached",
            Self::Keys => "key_limit_reached",
        }
    }

    /// What a caller is told who would have one more than `most`.
    pub fn refusal(self, most: u32) -> String {
        let (name, setting) = (self.name(), self.setting());
        format!(
            "This account may have {most} {name} and has as many. Delete one that is not needed any more, or have an \
             admin raise its {setting}: PATCH /v1/accounts/{{id}}."
        )
    }
}

/// How much an account may have; `None` is [`Limited::USUAL`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Endpoints.
    pub endpoints: Option<u32>,
    /// Sources.
    pub sources: Option<u32>,
    /// Keys.
    pub keys: Option<u32>,
}

impl Limits {
    /// The limit of a kind.
    pub fn of(&self, kind: Limited) -> u32 {
        let own = match kind {
            Limited::Endpoints => self.endpoints,
            Limited::Sources => self.sources,
            Limited::Keys => self.keys,
        };
        own.unwrap_or(Limited::USUAL)
    }
}

impl Account {
    /// The shorter of both, if there is any.
    pub fn shortest_retention(&self) -> Option<Duration> {
        self.retention.into_iter().chain(self.transcript_retention).min()
    }
}

/// What is known about an API key. The key itself is kept only as a hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// Its number; with the account's tag it is the id `key_..`.
    pub number: i64,
    /// The account that it opens.
    pub account: AccountKey,
    /// What people call it.
    pub name: String,
    /// What it may do. This never changes: whoever needs another set makes another key.
    pub rights: Rights,
    /// From when on it opens nothing; `None` is never.
    pub expires_at: Option<Time>,
    /// When it was last used, to about a minute; `None` is never.
    pub last_used_at: Option<Time>,
    /// When it was made.
    pub created_at: Time,
}

impl ApiKey {
    /// Whether its time is over.
    pub fn is_expired(&self, now: Time) -> bool {
        self.expires_at.is_some_and(|end| end <= now)
    }

    /// Whether it can do everything for ever: an installation has to have one such key.
    pub fn opens_everything(&self) -> bool {
        self.rights == Rights::ALL && self.expires_at.is_none()
    }
}
