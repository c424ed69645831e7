//! The numbers of an account, and the campaigns and agents that it knows, as they go in and out of the store. Does not
//! depend on how they are kept and who asks.

pub(in crate::store) mod names;
pub(in crate::store) mod number_set;
pub(in crate::store) mod rollups;

use crate::ledger::Tally;
use crate::ledger::tally::{Dimension, begin_of};
use crate::model::{Text, Time};

/// Hours of a day.
const DAY: i64 = 24;

/// What numbers are of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// All calls of the account.
    Account,
    /// The calls of one campaign, batch or agent.
    Of(Dimension, Text),
}

/// Which stretch of time one row of numbers is of. Hours and days are UTC, of the calls' ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grain {
    /// None: calls that have not ended.
    Open,
    /// A day.
    Day,
    /// An hour.
    Hour,
}

impl Grain {
    /// Where the stretch of this grain begins that an hour lies in.
    pub fn begin(self, hour: i64) -> i64 {
        match self {
            Self::Open => 0,
            Self::Day => hour.div_euclid(DAY) * DAY,
            Self::Hour => hour,
        }
    }
}

/// Whole hours, in hours since 1970: `from` and what comes after it, without `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first hour.
    pub from: i64,
    /// The hour after the last.
    pub to: i64,
}

impl Span {
    /// How many hours.
    pub fn hours(self) -> i64 {
        self.to.saturating_sub(self.from)
    }

    /// Where it begins and ends.
    pub fn times(self) -> (Time, Time) {
        (begin_of(self.from), begin_of(self.to))
    }

    /// The rows that make it up, as few as can be: whole days, and the hours at either end.
    pub fn cover(self, finest: Grain) -> Vec<(Grain, Self)> {
        let first = self.from.div_euclid(DAY) + i64::from(self.from.rem_euclid(DAY) > 0);
        let (first, last) = (first * DAY, self.to.div_euclid(DAY) * DAY);
        let parts = if finest == Grain::Hour || first >= last {
            vec![(Grain::Hour, self)]
        } else {
            vec![
                (Grain::Hour, Self { from: self.from, to: first }),
                (Grain::Day, Self { from: first, to: last }),
                (Grain::Hour, Self { from: last, to: self.to }),
            ]
        };
        parts.into_iter().filter(|(_, part)| part.hours() > 0).collect()
    }
}

/// A page of records that go by a text of their own: what comes after `after`, at most `limit`.
#[derive(Clone, Debug)]
pub struct TextPage {
    /// The id of the last record that was seen.
    pub after: Option<Text>,
    /// How many.
    pub limit: usize,
}

/// A campaign or an agent: told of by a call, or through the API.
#[derive(Clone, Debug, PartialEq)]
pub struct Mentioned {
    /// The vendor's id.
    pub id: Text,
    /// Its name: as set through the API, else as last heard.
    pub name: Option<Text>,
    /// How many calls it will have, where somebody said.
    pub expected_calls: Option<u32>,
    /// When it was first heard of.
    pub created_at: Time,
    /// The numbers of all its calls.
    pub tally: Tally,
}

/// What is set of a campaign or an agent through the API.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The vendor's id.
    pub id: Text,
    /// Its name; `None` leaves it as it is, `Some(None)` to what calls say.
    pub name: Option<Option<Text>>,
    /// How many calls it will have; `None` leaves it as it is, `Some(None)` says that nobody knows.
    pub expected_calls: Option<Option<u32>>,
}

/// The numbers of some campaigns, batches or agents by their ids, and where the next page begins.
pub type Named = (Vec<(Text, Tally)>, Option<Text>);

/// One row of numbers: of what, of which grain, and the hour in which it begins.
pub type Row = (Subject, Grain, i64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_covered_once_and_by_few_rows() {
        for (from, to, rows) in
            [(0, 24, 1), (1, 25, 24), (1, 49, 25), (-25, 23, 25), (5, 5, 0), (23, 25, 2), (0, 8760, 365)]
        {
            let span = Span { from, to };
            let parts = span.cover(Grain::Day);
            let mut hours = Vec::new();
            let mut count = 0;
            for (grain, part) in parts {
                hours.extend(part.from..part.to);
                count += part.hours() / if grain == Grain::Day { DAY } else { 1 };
                assert!(
                    grain == Grain::Hour || part.from.rem_euclid(DAY) == 0 && part.to.rem_euclid(DAY) == 0
                );
            }
            assert_eq!(hours, (from..to).collect::<Vec<_>>());
            assert_eq!(count, rows, "{from} {to}");
        }
    }
}
