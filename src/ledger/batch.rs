//! The rules of the batches that an account gives: what a call counts for, when a contact closes, when a batch is
//! complete, and its numbers (seed 002 `statistics`). Pure: counts in, counts out.
//! Refuses to know how a call finds its contact, and batches that vendors report themselves (`merge::BatchBook`).

use crate::model::batch::Statistics;
use crate::model::json::Raw;
use crate::model::{Call, Outcome};

/// What a call counts for its contact. Each includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Counted {
    /// It is under way.
    Heard,
    /// It is over, one way or another: an attempt is used up.
    Ended,
    /// Somebody talked.
    Completed,
}

impl Counted {
    /// Every value; the place in this list is the number in the store.
    pub const ALL: [Self; 3] = [Self::Heard, Self::Ended, Self::Completed];

    /// What the record of a call counts for.
    pub fn of(call: &Call) -> Self {
        match call.outcome {
            None => Self::Heard,
            Some(Outcome::Completed) => Self::Completed,
            Some(_) => Self::Ended,
        }
    }
}

/// A contact in the books.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ContactBook {
    /// Calls that were heard of.
    pub heard: i64,
    /// Attempts that are used up: calls that ended, and requests that nobody answered with a call.
    pub ended: i64,
    /// Calls with outcome completed.
    pub completed: i64,
    /// Closed at the first completed call or the last allowed attempt; never opens again.
    pub is_closed: bool,
}

impl ContactBook {
    /// Counts a call that counted for `before` so far and counts for `after` now. Counting the same again changes
    /// nothing.
    pub fn count(&mut self, before: Option<Counted>, after: Counted, max_attempts: i64) {
        let step =
            |least: Counted| i64::from(after >= least) - i64::from(before.is_some_and(|it| it >= least));
        self.heard += step(Counted::Heard);
        self.ended += step(Counted::Ended);
        self.completed += step(Counted::Completed);
        self.close(max_attempts);
    }

    /// A request was answered by no call in time: an attempt is used up.
    pub fn give_up(&mut self, max_attempts: i64) {
        self.heard += 1;
        self.ended += 1;
        self.close(max_attempts);
    }

    fn close(&mut self, max_attempts: i64) {
        self.is_closed |= self.completed > 0 || self.ended >= max_attempts;
    }

    /// Whether a call of it has not ended yet.
    pub fn is_under_way(&self) -> bool {
        self.heard > self.ended
    }

    /// Whether it was reached. Says nothing while the contact is open.
    pub fn is_reached(&self) -> bool {
        self.completed > 0
    }
}

/// The numbers of a batch. They are kept as calls come, and equal a recount of the contacts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Contacts that the batch was given.
    pub total: i64,
    /// Closed contacts that were reached.
    pub succeeded: i64,
    /// Closed contacts that were not.
    pub failed: i64,
}

impl Standing {
    /// Takes in how a contact changed.
    pub fn shift(&mut self, before: &ContactBook, after: &ContactBook) {
        self.add(before, -1);
        self.add(after, 1);
    }

    fn add(&mut self, contact: &ContactBook, one: i64) {
        match (contact.is_closed, contact.is_reached()) {
            (false, _) => {}
            (true, true) => self.succeeded += one,
            (true, false) => self.failed += one,
        }
    }

    /// Closed contacts.
    pub fn processed(&self) -> i64 {
        self.succeeded + self.failed
    }

    /// Whether no contact is open. Only a sealed batch can be complete: of another one more contacts may come.
    pub fn is_complete(&self, is_sealed: bool) -> bool {
        is_sealed && self.processed() >= self.total
    }

    /// The numbers as seed 002 prints them. Rates have at most two places; `percentComplete` is cut, so that it is 100
    /// only when all is done, `successRate` is rounded. Without contacts that are done the rate is 0.
    pub fn statistics(&self) -> Statistics {
        let whole = |number: i64| Some(Raw::from_value(&number));
        let processed = self.processed();
        Statistics {
            total: whole(self.total),
            processed: whole(processed),
            succeeded: whole(self.succeeded),
            failed: whole(self.failed),
            percent_complete: Some(hundredths(processed * 10_000 / self.total.max(1))),
            success_rate: Some(hundredths((self.succeeded * 20_000 + processed) / (2 * processed.max(1)))),
        }
    }
}

/// A number of hundredths as JSON: `85`, `66.67`, `0.5`.
fn hundredths(number: i64) -> Raw {
    let (whole, rest) = (number / 100, number % 100);
    let text = match rest {
        0 => whole.to_string(),
        _ => format!("{whole}.{rest:02}").trim_end_matches('0').to_owned(),
    };
    Raw::parse(&text).unwrap_or_else(|| Raw::from_value(&whole))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rates(total: i64, succeeded: i64, failed: i64) -> [String; 2] {
        let numbers = Standing { total, succeeded, failed }.statistics();
        [numbers.percent_complete, numbers.success_rate].map(|rate| rate.unwrap().get().to_owned())
    }

    /// Seed 002 prints the first one.
    #[test]
    fn rates_are_written_as_the_seed_does() {
        assert_eq!(rates(1000, 850, 150), ["100", "85"]);
        assert_eq!(rates(3, 2, 1), ["100", "66.67"]);
        assert_eq!(rates(100_000, 99_999, 0), ["99.99", "100"], "not all is done");
        assert_eq!(rates(8, 1, 0), ["12.5", "100"]);
        assert_eq!(rates(1000, 0, 5), ["0.5", "0"]);
        assert_eq!(rates(5, 0, 0), ["0", "0"]);
    }

    #[test]
    fn a_contact_closes_once() {
        let mut book = ContactBook::default();
        book.count(None, Counted::Heard, 2);
        assert!(book.is_under_way() && !book.is_closed);
        book.count(Some(Counted::Heard), Counted::Ended, 2);
        assert!(!book.is_under_way() && !book.is_closed, "one attempt is left");
        book.give_up(2);
        assert!(book.is_closed && !book.is_reached());
        book.count(Some(Counted::Ended), Counted::Completed, 2);
        assert!(book.is_closed && book.is_reached(), "the real end of a call that was given up");
        book.count(Some(Counted::Completed), Counted::Ended, 2);
        assert!(book.is_closed && !book.is_reached(), "a correction opens nothing");
    }

    proptest! {
        /// Calls of three contacts in any order, each said again and again: the numbers are those of a recount, and no
        /// count is ever below zero.
        #[test]
        fn the_tally_is_a_recount(
            said in prop::collection::vec((0..9usize, prop::sample::select(Counted::ALL.to_vec())), 0..60),
            max_attempts in 1..4i64,
        ) {
            let mut contacts = [ContactBook::default(); 3];
            let mut calls: [Option<Counted>; 9] = [None; 9];
            let mut tally = Standing { total: 3, ..Standing::default() };
            let mut was_closed = [false; 3];
            for (call, after) in said {
                let contact = &mut contacts[call % 3];
                let before = *contact;
                contact.count(calls[call], after, max_attempts);
                calls[call] = Some(after);
                tally.shift(&before, contact);
                let of = |least: Counted| {
                    let counts = (0..9).filter(|at| at % 3 == call % 3 && calls[*at] >= Some(least)).count();
                    i64::try_from(counts).unwrap()
                };
                let recount = (of(Counted::Heard), of(Counted::Ended), of(Counted::Completed));
                prop_assert_eq!((contact.heard, contact.ended, contact.completed), recount);
                was_closed[call % 3] |= recount.2 > 0 || recount.1 >= max_attempts;
                prop_assert_eq!(contact.is_closed, was_closed[call % 3]);
            }
            let closed = |reached: bool| {
                contacts.iter().filter(|it| it.is_closed && it.is_reached() == reached).count()
            };
            prop_assert_eq!(tally.succeeded, i64::try_from(closed(true)).unwrap());
            prop_assert_eq!(tally.failed, i64::try_from(closed(false)).unwrap());
        }
    }
}
