//! A queue in which accounts take turns: in each turn an account that has something waiting is given about the same
//! amount of work, whatever the others have waiting, and within an account what came first goes first. While only one
//! account has something waiting it is a plain queue. Pure; does not depend on what waits and on clocks.
//!
//! It is a surplus round robin: each turn adds to an account's credit, and an account is served while its credit is above
//! zero. What costs more than the credit is served all the same, and the account is then passed over until its turns have
//! made up for it. So nothing has to be looked at before it is served, and a large one delays its own account alone.

use std::collections::{HashMap, VecDeque};

use crate::model::AccountKey;

/// Work that each turn adds, in bytes: four ordinary bodies.
pub const TURN: usize = 16 << 10;
/// What one of them costs beside its bytes, in bytes: the work of a small body is mostly this.
pub const FIXED_COST: usize = 2 << 10;
/// The most that one costs: a larger one takes a whole group in any case.
const MOST_COST: usize = 1 << 20;
/// For so many groups after two accounts had something in one stretch, both are taken for active.
const REMEMBERED: u64 = 1024;
/// Accounts that have nothing waiting and whose empty lines are kept, so that they need not be made again.
const KEPT_LINES: usize = 64;

/// What waits, by account.
#[derive(Debug)]
pub struct AccountTurns<T> {
    lines: HashMap<AccountKey, Line<T>>,
    /// Accounts that have something waiting; the first one's turn it is.
    order: VecDeque<AccountKey>,
    len: usize,
    /// The number of the group that is being filled.
    group: u64,
    /// Whose was the one that was taken last.
    last: Option<AccountKey>,
    /// In which group another account's than the last one's was taken.
    alternated: Option<u64>,
}

#[derive(Debug)]
struct Line<T> {
    /// What waits, with its cost.
    waiting: VecDeque<(T, usize)>,
    /// Work that it may still be given in this turn; below zero when it has been given more.
    credit: isize,
    /// The group in which something was taken last, and how much of it is this account's.
    taken: (u64, usize),
}

impl<T> Default for AccountTurns<T> {
    fn default() -> Self {
        Self { lines: HashMap::new(), order: VecDeque::new(), len: 0, group: 0, last: None, alternated: None }
    }
}

impl<T> AccountTurns<T> {
    /// Adds something of so many bytes behind what its account has waiting.
    pub fn push(&mut self, account: AccountKey, bytes: usize, item: T) {
        let cost = bytes.saturating_add(FIXED_COST).min(MOST_COST);
        let line = self.lines.entry(account).or_insert_with(Line::new);
        if line.waiting.is_empty() {
            line.credit = 0;
            self.order.push_back(account);
        }
        line.waiting.push_back((item, cost));
        self.len += 1;
    }

    /// How many are waiting.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is waiting.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The next group is filled from now on.
    pub fn begin_group(&mut self) {
        self.group += 1;
    }

    /// Whether more than one account is active.
    pub fn is_shared(&self) -> bool {
        self.order.len() > 1 || self.alternated.is_some_and(|group| self.group - group < REMEMBERED)
    }

    /// Takes the next one by turns. An account of which this group holds `most` work already, in bytes, is given nothing
    /// more; it keeps its turn.
    pub fn take(&mut self, most: usize) -> Option<T> {
        let mut full = 0;
        while full < self.order.len() {
            let account = *self.order.front()?;
            let line = self.lines.get_mut(&account)?;
            if line.taken_in(self.group) >= most {
                full += 1;
                self.order.rotate_left(1);
                continue;
            }
            if line.credit <= 0 {
                line.credit = line.credit.saturating_add_unsigned(TURN);
                if line.credit <= 0 {
                    self.order.rotate_left(1);
                    continue;
                }
            }
            return self.serve(account);
        }
        None
    }

    fn serve(&mut self, account: AccountKey) -> Option<T> {
        let line = self.lines.get_mut(&account)?;
        let (item, cost) = line.waiting.pop_front()?;
        line.taken = (self.group, line.taken_in(self.group) + cost);
        line.credit = line.credit.saturating_sub_unsigned(cost);
        self.len -= 1;
        if line.waiting.is_empty() {
            self.order.pop_front();
            if self.lines.len() > KEPT_LINES {
                self.lines.remove(&account);
            }
        } else if line.credit <= 0 {
            self.order.rotate_left(1);
        }
        if self.last.replace(account).is_some_and(|last| last != account) {
            self.alternated = Some(self.group);
        }
        Some(item)
    }
}

impl<T> Line<T> {
    fn new() -> Self {
        Self { waiting: VecDeque::new(), credit: 0, taken: (0, 0) }
    }

    /// Work of this account in a group.
    fn taken_in(&self, group: u64) -> usize {
        if self.taken.0 == group { self.taken.1 } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn account(number: usize) -> AccountKey {
        AccountKey(i64::try_from(number).unwrap())
    }

    fn drain<T>(turns: &mut AccountTurns<T>) -> Vec<T> {
        std::iter::from_fn(|| turns.take(usize::MAX)).collect()
    }

    #[test]
    fn one_account_alone_has_a_plain_queue() {
        let mut turns = AccountTurns::default();
        (0..1000).for_each(|number| turns.push(account(1), number * 1000, number));
        assert_eq!(drain(&mut turns), (0..1000).collect::<Vec<_>>());
        assert!(turns.is_empty() && !turns.is_shared());
    }

    #[test]
    fn a_quiet_account_waits_for_one_turn_of_a_busy_one() {
        let mut turns = AccountTurns::default();
        (0..1000).for_each(|_| turns.push(account(1), 2048, "busy"));
        assert_eq!(turns.take(usize::MAX), Some("busy"));
        turns.push(account(2), 2048, "quiet");
        let before = (0..).take_while(|_| turns.take(usize::MAX) == Some("busy")).count();
        assert!(before < TURN / (FIXED_COST + 2048), "{before} of the busy one first");
        assert!(turns.is_shared());
    }

    #[test]
    fn a_group_takes_only_so_much_of_each_account() {
        let mut turns = AccountTurns::default();
        (0..100).for_each(|_| turns.push(account(1), 0, 1));
        (0..3).for_each(|_| turns.push(account(2), 0, 2));
        turns.begin_group();
        let group: Vec<_> = std::iter::from_fn(|| turns.take(8 * FIXED_COST)).collect();
        let of = |number| group.iter().filter(|it| **it == number).count();
        assert_eq!((of(1), of(2)), (8, 3));
        assert_eq!(turns.len(), 92);
        turns.begin_group();
        assert_eq!(std::iter::from_fn(|| turns.take(8 * FIXED_COST)).count(), 8, "and of the next one again");
    }

    #[test]
    fn who_was_active_is_remembered_for_some_groups() {
        let mut turns = AccountTurns::default();
        turns.push(account(1), 0, ());
        turns.push(account(2), 0, ());
        drain(&mut turns);
        for _ in 0..REMEMBERED {
            assert!(turns.is_shared());
            turns.begin_group();
            turns.push(account(2), 0, ());
            drain(&mut turns);
        }
        assert!(!turns.is_shared());
    }

    #[test]
    fn lines_of_accounts_that_have_gone_are_not_kept() {
        let mut turns = AccountTurns::default();
        for number in 0..10_000 {
            turns.push(account(number), 0, ());
            turns.take(usize::MAX);
        }
        assert!(turns.lines.len() <= KEPT_LINES + 1, "{}", turns.lines.len());
    }

    proptest! {
        /// Something is given out for as long as anything waits, each once, and in the order of its account.
        #[test]
        fn nothing_is_lost_doubled_or_overtaken(
            pushed in prop::collection::vec((0..5_usize, 0..(2_usize << 20), 0..3_usize), 0..300),
        ) {
            let mut turns = AccountTurns::default();
            let (mut given, mut waiting) = (Vec::new(), 0);
            for (number, &(of, bytes, takes)) in pushed.iter().enumerate() {
                turns.push(account(of), bytes, (of, number));
                waiting += 1;
                for _ in 0..takes {
                    let next = turns.take(usize::MAX);
                    prop_assert_eq!(next.is_some(), waiting > 0);
                    waiting -= usize::from(next.is_some());
                    given.extend(next);
                }
                prop_assert_eq!(turns.len(), waiting);
            }
            given.extend(drain(&mut turns));
            prop_assert_eq!(given.len(), pushed.len());
            for of in 0..5 {
                let its = given.iter().filter(|(account, _)| *account == of).map(|(_, number)| number);
                prop_assert!(its.is_sorted_by(|one, next| one < next));
            }
        }

        /// While all of them have something waiting, no account is given more work than another but for one turn and one
        /// piece of work.
        #[test]
        fn all_are_given_the_same_work(
            bytes in prop::collection::vec(0..(1_usize << 20), 2..8), taken in 1..300_usize,
        ) {
            let mut turns = AccountTurns::default();
            for (number, &bytes) in bytes.iter().enumerate() {
                (0..taken).for_each(|_| turns.push(account(number), bytes, number));
            }
            let cost = |number: usize| (bytes[number] + FIXED_COST).min(MOST_COST);
            let mut work = vec![0; bytes.len()];
            for _ in 0..taken {
                let number = turns.take(usize::MAX).unwrap();
                work[number] += cost(number);
                let (least, most) = (work.iter().min().unwrap(), work.iter().max().unwrap());
                let largest = (0..bytes.len()).map(cost).max().unwrap();
                prop_assert!(most - least <= TURN + largest, "{:?}", work);
            }
        }

        /// An account with something waiting is passed over at most once by each of the others, if none brings more
        /// than a turn's work at once.
        #[test]
        fn nobody_is_passed_over_twice(
            crowd in prop::collection::vec((1..6_usize, 0..(TURN - FIXED_COST)), 1..200), late in 0..200_usize,
        ) {
            let mut turns = AccountTurns::default();
            crowd.iter().for_each(|&(of, bytes)| turns.push(account(of), bytes, of));
            let mut taken = (0..late.min(crowd.len())).filter_map(|_| turns.take(usize::MAX));
            prop_assert!(taken.all(|of| of > 0));
            turns.push(account(0), 0, 0);
            let before: Vec<_> = std::iter::from_fn(|| turns.take(usize::MAX)).take_while(|of| *of != 0).collect();
            let mut begun: Vec<_> = before.clone();
            begun.dedup();
            let stretches = begun.len();
            begun.sort_unstable();
            begun.dedup();
            prop_assert_eq!(stretches, begun.len(), "{:?}", before);
        }
    }
}
