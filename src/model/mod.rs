//! Plain data: calls, batches, events, sources, endpoints, deliveries, attempts and their ids.
//! Knows what things are; refuses to know how they travel, where they are kept or what follows from them.

pub mod account;
pub mod batch;
pub mod bounds;
pub mod call;
pub mod decimal;
pub mod delivery;
pub mod endpoint;
pub mod erased;
pub mod event;
pub mod id;
pub mod json;
pub mod mac;
pub mod mention;
pub mod phone;
pub mod printable;
pub mod replay;
pub mod rights;
pub mod secret;
pub mod source;
pub mod time;
pub mod token;

pub use account::{AccountKey, ApiKey};
pub use batch::Batch;
pub use call::Call;
pub use delivery::{Attempt, DeliveryState};
pub use endpoint::Endpoint;
pub use erased::Erased;
pub use event::{Event, EventBody, EventType, Outcome, Stage, Step};
pub use json::{Fields, Raw, Text};
pub use mac::Mac;
pub use mention::Mention;
pub use rights::{Right, Rights};
pub use secret::Secret;
pub use source::Source;
pub use time::Time;
pub use token::{Object, Token};

/// The dialects that postcall speaks, by the name that the API uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DialectName {
    /// Seed 000.
    Voicegenie,
    /// Seed 001.
    Cllr,
    /// Seed 002.
    Dialgen,
    /// Seed 003.
    Aloro,
    /// Seed 004.
    Air,
    /// Ours: Standard Webhooks.
    Standard,
}

impl DialectName {
    /// Every dialect, in the order of the seeds.
    pub const ALL: [Self; 6] =
        [Self::Voicegenie, Self::Cllr, Self::Dialgen, Self::Aloro, Self::Air, Self::Standard];

    /// The name in the API, the store and the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Voicegenie => "voicegenie",
            Self::Cllr => "cllr",
            Self::Dialgen => "dialgen",
            Self::Aloro => "aloro",
            Self::Air => "air",
            Self::Standard => "standard",
        }
    }

    /// The inverse of [`Self::as_str`].
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dialect| dialect.as_str() == name)
    }
}

impl std::fmt::Display for DialectName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
