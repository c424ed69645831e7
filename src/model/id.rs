//! Ids: small integers inside, `prefix_` + tag + number outside.
//! The tag is the account's own random mark, so ids of two accounts, or of two installations, never meet at
//! a receiver that dedupes by them. Refuses to know which records exist.

use std::fmt;

/// What an id names. The prefix is part of the public contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `src_`
    Source,
    /// `ep_`
    Endpoint,
    /// `evt_`
    Event,
    /// `dlv_`
    Delivery,
    /// `call_`
    Call,
    /// `qrn_`
    Quarantined,
    /// `key_`
    ApiKey,
    /// `acc_`
    Account,
    /// `ers_`
    Erasure,
    /// `bat_`
    Batch,
    /// `con_`
    Contact,
    /// `rpl_`
    Replay,
}

impl Kind {
    /// The letters before the underscore.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Source => "src",
            Self::Endpoint => "ep",
            Self::Event => "evt",
            Self::Delivery => "dlv",
            Self::Call => "call",
            Self::Quarantined => "qrn",
            Self::ApiKey => "key",
            Self::Account => "acc",
            Self::Erasure => "ers",
            Self::Batch => "bat",
            Self::Contact => "con",
            Self::Replay => "rpl",
        }
    }
}

/// The account's mark in its ids: 40 random bits, eight letters outside.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(pub u64);

/// Crockford's alphabet in lower case: no i, l, o, u, so that people can read ids aloud.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const TAG_LETTERS: usize = 8;
const NUMBER_LETTERS: usize = 9;
/// Numbers have 40 bits; a store may put the account's into the bits above.
const NUMBER_BITS: u32 = 40;

impl Tag {
    /// Keeps the lower 40 bits of a random number.
    pub fn from_random(bits: u64) -> Self {
        Self(bits & ((1 << 40) - 1))
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = String::new();
        push_base32(&mut out, self.0, TAG_LETTERS);
        f.write_str(&out)
    }
}

/// Writes an id: kind, the account's tag, the record's number.
pub fn format(kind: Kind, tag: Tag, number: i64) -> String {
    let mut out = String::with_capacity(5 + TAG_LETTERS + NUMBER_LETTERS);
    out.push_str(kind.prefix());
    out.push('_');
    push_base32(&mut out, tag.0, TAG_LETTERS);
    push_base32(&mut out, number.cast_unsigned(), NUMBER_LETTERS);
    out
}

/// Reads an id of the given kind; `None` for anything that [`format()`] could not have written.
pub fn parse(kind: Kind, id: &str) -> Option<(Tag, i64)> {
    let letters = id.strip_prefix(kind.prefix())?.strip_prefix('_')?;
    if letters.len() != TAG_LETTERS + NUMBER_LETTERS || !letters.is_ascii() {
        return None;
    }
    let (tag, number) = letters.split_at(TAG_LETTERS);
    let number = read_base32(number).filter(|number| number >> NUMBER_BITS == 0)?;
    Some((Tag(read_base32(tag)?), i64::try_from(number).ok()?))
}

fn push_base32(out: &mut String, value: u64, letters: usize) {
    for place in (0..letters).rev() {
        let digit = (value >> (5 * place)) & 31;
        out.push(char::from(ALPHABET[usize::try_from(digit).expect("five bits")]));
    }
}

fn read_base32(letters: &str) -> Option<u64> {
    letters.bytes().try_fold(0u64, |value, letter| {
        let digit = ALPHABET.iter().position(|&known| known == letter)?;
        Some((value << 5) | u64::try_from(digit).ok()?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_survive_the_way_out_and_back() {
        for (tag, number) in [(0, 0), (1, 1), ((1 << 40) - 1, (1 << 40) - 1), (0x12_3456_789a, 77)] {
            let id = format(Kind::Event, Tag(tag), number);
            assert_eq!(parse(Kind::Event, &id), Some((Tag(tag), number)), "{id}");
            assert_eq!(parse(Kind::Delivery, &id), None);
        }
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for id in
            ["", "evt_", "evt_0", "evt_uuuuuuuuuuuuuuuuu", "evt_0000000000000000é", "src_00000000000000001x"]
        {
            assert_eq!(parse(Kind::Event, id), None, "{id}");
        }
    }

    #[test]
    fn a_number_stays_out_of_the_bits_of_the_account() {
        assert_eq!(parse(Kind::Event, &format(Kind::Event, Tag(1), 1 << 40)), None);
    }
}
