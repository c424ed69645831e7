//! How much of a bounded memory each account may hold: never more than a multiple of what is still free. An account that is
//! alone gets nearly all of it; the more others hold, the less each may add, so a newcomer always finds room. This is the
//! dynamic threshold that switches share their buffers by. Pure; does not depend on what is held and who waits for it.

use std::collections::HashMap;

use crate::model::AccountKey;

/// An account may hold so many times what is free. Alone it then gets 8/9 of what is shared, with a second one that wants
/// as much 8/17 each.
const TIMES_FREE: usize = 8;
/// One part of so many is not shared out by what is free: it is for accounts that hold little.
const RESERVED_PART: usize = 8;
/// An account that holds less than one part of so many holds little: it is let in for as long as there is any room.
const LITTLE_PART: usize = 64;

/// A number of things, and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// How many.
    pub count: usize,
    /// How many bytes.
    pub bytes: usize,
}

impl Amount {
    fn plus(self, more: Self) -> Self {
        Self { count: self.count + more.count, bytes: self.bytes + more.bytes }
    }

    fn minus(self, less: Self) -> Self {
        Self { count: self.count.saturating_sub(less.count), bytes: self.bytes.saturating_sub(less.bytes) }
    }
}

/// What all accounts hold of a bounded amount.
#[derive(Debug)]
pub struct Shares {
    bound: Amount,
    total: Amount,
    /// Accounts that hold something.
    held: HashMap<AccountKey, Amount>,
}

impl Shares {
    /// Nothing is held yet.
    pub fn new(bound: Amount) -> Self {
        Self { bound, total: Amount::default(), held: HashMap::new() }
    }

    /// Takes room for one thing of so many bytes, unless the account or all accounts together hold too much already. What
    /// is larger than the whole bound takes all of it.
    #[must_use]
    pub fn take(&mut self, account: AccountKey, bytes: usize) -> bool {
        let one = Amount { count: 1, bytes: bytes.min(self.bound.bytes) };
        let held = self.held.get(&account).copied().unwrap_or_default();
        let total = self.total.plus(one);
        let fits = total.count <= self.bound.count && total.bytes <= self.bound.bytes;
        let may = may_add(held.count, self.total.count, self.bound.count)
            && may_add(held.bytes, self.total.bytes, self.bound.bytes);
        if fits && may {
            self.total = total;
            self.held.insert(account, held.plus(one));
        }
        fits && may
    }

    /// Gives back room that [`Self::take`] took.
    pub fn give_back(&mut self, account: AccountKey, bytes: usize) {
        let one = Amount { count: 1, bytes: bytes.min(self.bound.bytes) };
        self.total = self.total.minus(one);
        if let Some(held) = self.held.get_mut(&account) {
            *held = held.minus(one);
            if held.count == 0 {
                self.held.remove(&account);
            }
        }
    }
}

/// Whether who holds so much may add to it, while all together hold `total` of `bound`.
pub fn may_add(held: usize, total: usize, bound: usize) -> bool {
    let shared = bound - bound / RESERVED_PART;
    held < bound / LITTLE_PART || held < shared.saturating_sub(total).saturating_mul(TIMES_FREE)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOUND: Amount = Amount { count: 8192, bytes: 64 << 20 };

    fn account(number: i64) -> AccountKey {
        AccountKey(number)
    }

    /// Takes things of so many bytes until one is refused; gives how many were taken.
    fn fill(shares: &mut Shares, account: AccountKey, bytes: usize) -> usize {
        (0..).take_while(|_| shares.take(account, bytes)).count()
    }

    #[test]
    fn an_account_alone_gets_most_of_it() {
        for bytes in [0, 1 << 10, 1 << 20] {
            let mut shares = Shares::new(BOUND);
            let taken = fill(&mut shares, account(1), bytes);
            let part = (taken * 100 / BOUND.count).max(taken * bytes * 100 / BOUND.bytes);
            assert!((75..=100).contains(&part), "{part} % in pieces of {bytes} bytes");
        }
    }

    #[test]
    fn two_that_want_all_of_it_get_the_same_in_the_end() {
        let mut shares = Shares::new(BOUND);
        let mut held = [fill(&mut shares, account(0), 2048), 0];
        // The first gives back what is written and takes what it may; the second takes what it may.
        for _ in 0..10_000 {
            for (number, held) in held.iter_mut().enumerate() {
                let account = account(i64::try_from(number).unwrap());
                if *held > 0 {
                    shares.give_back(account, 2048);
                    *held -= 1;
                }
                *held += fill(&mut shares, account, 2048);
            }
        }
        assert!(held[0].abs_diff(held[1]) <= BOUND.count / 20, "{held:?}");
        assert!(held[0] + held[1] > BOUND.count * 3 / 4, "{held:?}");
    }

    #[test]
    fn what_is_larger_than_the_bound_takes_all_of_it_alone() {
        let mut shares = Shares::new(BOUND);
        assert!(shares.take(account(1), usize::MAX));
        assert!(!shares.take(account(2), 1));
        shares.give_back(account(1), usize::MAX);
        assert_eq!((shares.total, shares.held.len()), (Amount::default(), 0));
        assert!(shares.take(account(2), 1));
    }

    proptest! {
        /// Whoever takes and gives back, the bound holds, what is given back is free, and an account that holds nothing
        /// is let in beside a few that take all they get.
        #[test]
        fn a_newcomer_finds_room_and_the_bound_holds(
            greedy in prop::collection::vec((0..3_i64, 0..(1_usize << 20), any::<bool>()), 1..100),
            small in 0..(64_usize << 10),
        ) {
            let mut shares = Shares::new(BOUND);
            let mut held: Vec<(AccountKey, usize)> = Vec::new();
            let mut bytes = 0;
            for (number, size, is_back) in greedy {
                if is_back && let Some((account, size)) = held.pop() {
                    shares.give_back(account, size);
                    bytes -= size;
                }
                for _ in 0..64 {
                    if shares.take(account(number), size) {
                        held.push((account(number), size));
                        bytes += size;
                    }
                }
                prop_assert_eq!(shares.total, Amount { count: held.len(), bytes });
                prop_assert!(held.len() <= BOUND.count && bytes <= BOUND.bytes);
                prop_assert!(shares.take(account(99), small), "{:?}", shares.total);
                shares.give_back(account(99), small);
            }
            for (account, bytes) in held {
                shares.give_back(account, bytes);
            }
            prop_assert_eq!(shares.total, Amount::default());
            prop_assert!(shares.held.is_empty());
        }
    }
}
