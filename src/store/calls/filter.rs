//! Which hashes are surely not in an index: most calls are new, and a large index answers that only with a page from
//! somewhere in it. A Bloom filter in memory answers it at once, and is wrong now and then in one direction only.
//! Refuses to know where the hashes come from: that is `index_filter`.

/// Bits for each hash in a new filter: enough that it may double before it has too few.
const ROOMY: usize = 16;
/// Bits for each hash at which a filter should be made anew: then about one answer in twenty is wrong.
const CROWDED: usize = 8;
/// Words of the smallest filter, 64 KiB, and of the largest, 64 MiB. With more hashes than fit a filter is wrong more
/// often, which costs time and nothing else.
const LEAST_WORDS: usize = 1 << 13;
const MOST_WORDS: usize = 1 << 23;

/// A set of hashes that may take some for members that are none.
#[derive(Debug)]
pub struct Filter {
    /// A hash has all its bits in one word.
    words: Vec<u64>,
    /// How many were added at which it should be made anew.
    enough: usize,
    added: usize,
}

impl Filter {
    /// An empty one with room for so many, and as many again.
    pub fn of(expected: usize) -> Self {
        let bits = expected.saturating_mul(ROOMY);
        let words = (bits / 64).clamp(LEAST_WORDS, MOST_WORDS).next_power_of_two();
        // The largest one does not get better for being made anew, unless most of it is of hashes that are gone.
        let enough = (words * 64 / CROWDED).max(expected.saturating_mul(2));
        Self { words: vec![0; words], enough, added: 0 }
    }

    /// Adds a hash of 32 bits.
    pub fn add(&mut self, hash: i64) {
        let (word, bits) = self.place(hash);
        self.words[word] |= bits;
        self.added += 1;
    }

    /// False if it was surely never added.
    pub fn may_have(&self, hash: i64) -> bool {
        let (word, bits) = self.place(hash);
        self.words[word] & bits == bits
    }

    /// Whether it has become wrong too often.
    pub fn is_crowded(&self) -> bool {
        self.added > self.enough
    }

    /// The word of a hash and its four bits in there.
    fn place(&self, hash: i64) -> (usize, u64) {
        // Neighbours, as a walk through an index meets them, share neither.
        let mixed = hash.cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mixed = (mixed ^ (mixed >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        let bits = (0..4).fold(0, |bits, nth| bits | 1 << ((mixed >> (6 * nth)) & 63));
        (usize::try_from(mixed >> 32).unwrap_or(0) & (self.words.len() - 1), bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers as random as hashes, none twice.
    fn hashes(from: u32, count: u32) -> impl Iterator<Item = i64> {
        (from..from + count).map(|n| i64::from(n.wrapping_mul(2_654_435_761).cast_signed()))
    }

    #[test]
    fn it_has_what_was_added_and_little_else() {
        for (expected, most) in [(200_000, 0.02), (50_000, 0.07)] {
            let mut filter = Filter::of(expected);
            hashes(0, 100_000).for_each(|hash| filter.add(hash));
            assert!(hashes(0, 100_000).all(|hash| filter.may_have(hash)));
            let wrong = hashes(100_000, 100_000).filter(|&hash| filter.may_have(hash)).count();
            #[expect(clippy::cast_precision_loss, reason = "few")]
            let part = wrong as f64 / 100_000.0;
            assert!(part < most, "{part} of the answers are wrong");
            assert!(!filter.is_crowded());
        }
    }

    #[test]
    fn it_says_when_it_is_crowded_and_has_its_bounds() {
        let mut filter = Filter::of(0);
        hashes(0, 65_536).for_each(|hash| filter.add(hash));
        assert!(!filter.is_crowded());
        filter.add(7);
        assert!(filter.is_crowded());
        let large = Filter::of(usize::MAX);
        assert_eq!((large.words.len() * 8, large.enough), (64 << 20, usize::MAX));
    }
}
