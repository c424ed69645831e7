//! What an API key may do. A right is needed by each operation of the API; a key has a set of them.
//! Does not know which operation needs which: that is the router's.

use std::fmt;

/// One thing that an API key may be allowed to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Right {
    /// See everything that the account has, but no credential.
    Read,
    /// Bring events by the key alone, as a dialer does.
    Ingest,
    /// Change settings, send again, make batches and keys.
    Write,
    /// Destroy what is recorded.
    Erase,
    /// Make accounts, act on any of them, and export credentials. Only keys of the account `default` have it.
    Admin,
}

impl Right {
    /// Every right, in the order in which they are shown.
    pub const ALL: [Self; 5] = [Self::Read, Self::Ingest, Self::Write, Self::Erase, Self::Admin];

    /// The word for it in the API, the store and the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Ingest => "ingest",
            Self::Write => "write",
            Self::Erase => "erase",
            Self::Admin => "admin",
        }
    }

    /// The right of a word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|right| right.as_str() == word)
    }

    /// Its place in a stored set. Never give one to another right.
    fn bit(self) -> u8 {
        match self {
            Self::Read => 1,
            Self::Ingest => 2,
            Self::Write => 4,
            Self::Erase => 8,
            Self::Admin => 16,
        }
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A set of rights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rights(u8);

impl Rights {
    /// Everything.
    pub const ALL: Self = Self(0b1_1111);
    /// What a key of any account may have: everything but `admin`.
    pub const PLAIN: Self = Self(0b0_1111);

    /// Whether the right is one of them.
    pub fn has(self, right: Right) -> bool {
        self.0 & right.bit() != 0
    }

    /// The set with one more right.
    #[must_use]
    pub fn with(self, right: Right) -> Self {
        Self(self.0 | right.bit())
    }

    /// What is in both sets.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// What is in this set and not in the other.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The rights, in the order in which they are shown.
    pub fn iter(self) -> impl Iterator<Item = Right> {
        Right::ALL.into_iter().filter(move |right| self.has(*right))
    }

    /// The words for them.
    pub fn words(self) -> Vec<&'static str> {
        self.iter().map(Right::as_str).collect()
    }

    /// As a number, to be kept.
    pub fn to_stored(self) -> i64 {
        self.0.into()
    }

    /// The set that was kept as a number. Rights that this version does not know are left out.
    pub fn from_stored(number: i64) -> Self {
        Self(u8::try_from(number & i64::from(Self::ALL.0)).unwrap_or(0))
    }
}

impl FromIterator<Right> for Rights {
    fn from_iter<T: IntoIterator<Item = Right>>(rights: T) -> Self {
        rights.into_iter().fold(Self::default(), Self::with)
    }
}

/// The words, with commas between them.
impl fmt::Display for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_right_has_a_word_and_a_place_of_its_own() {
        assert_eq!(Right::ALL.into_iter().collect::<Rights>(), Rights::ALL);
        assert_eq!(Rights::ALL.iter().collect::<Vec<_>>(), Right::ALL);
        for right in Right::ALL {
            assert_eq!(Right::parse(right.as_str()), Some(right));
            let alone: Rights = [right].into_iter().collect();
            assert_eq!(Rights::from_stored(alone.to_stored()).iter().collect::<Vec<_>>(), [right]);
        }
        assert_eq!((Right::parse("Read"), Right::parse("all")), (None, None));
    }

    #[test]
    fn what_is_stored_by_a_newer_version_gives_no_right_that_is_not_known() {
        assert_eq!(Rights::from_stored(-1), Rights::ALL);
        assert_eq!(Rights::from_stored(1 << 5), Rights::default());
        assert_eq!(Rights::from_stored(1 << 40 | 1), [Right::Read].into_iter().collect());
    }

    #[test]
    fn sets_are_compared_by_what_is_missing() {
        let read: Rights = [Right::Read].into_iter().collect();
        assert!(read.without(Rights::PLAIN).is_empty());
        assert_eq!(Rights::ALL.without(Rights::PLAIN).words(), ["admin"]);
        assert_eq!(Rights::PLAIN.and(read), read);
        assert_eq!(Rights::PLAIN.to_string(), "read, ingest, write, erase");
    }
}
