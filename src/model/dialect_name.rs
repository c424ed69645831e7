//! The names of the dialects that postcall speaks. Does not depend on what a dialect is.

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
