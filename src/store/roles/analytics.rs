//! The numbers of an account, its campaigns and its agents. Does not depend on how they are kept and who asks.

use std::collections::BTreeMap;

use crate::ledger::Tally;
use crate::ledger::tally::Dimension;
use crate::model::{AccountKey, Text, Time};
use crate::store::Answer;
use crate::store::analytics::{Grain, Mentioned, Named, Row, Setting, Span, Subject, TextPage};

/// Shows numbers by time and by campaign, batch or agent; shows campaigns and agents and sets what is said of them. Hours are
/// UTC, of the calls' ends.
pub trait Analytics: Send + Sync {
    /// The numbers of a stretch of time: one by one of that grain, or all in one. Without rows in which nothing ended.
    fn tallies(
        &self,
        account: AccountKey,
        subject: Subject,
        span: Span,
        by: Option<Grain>,
    ) -> Answer<'_, Vec<(i64, Tally)>>;
    /// The numbers of each campaign, batch or agent in which something ended, in the order of their ids. Gives also where
    /// the next page begins.
    fn tallies_by(
        &self,
        account: AccountKey,
        dimension: Dimension,
        span: Span,
        page: TextPage,
    ) -> Answer<'_, Named>;
    /// Every row of numbers that is not nothing: as it was kept, or counted anew from the calls that are there and those
    /// that are gone by their age.
    fn rows(&self, account: AccountKey, recount: bool) -> Answer<'_, BTreeMap<Row, Tally>>;
    /// A campaign or an agent by its id.
    fn mentioned(&self, account: AccountKey, what: Dimension, id: Text) -> Answer<'_, Option<Mentioned>>;
    /// Campaigns or agents, in the order of their ids.
    fn all_mentioned(
        &self,
        account: AccountKey,
        what: Dimension,
        page: TextPage,
    ) -> Answer<'_, Vec<Mentioned>>;
    /// Makes a campaign or an agent; false when it is there, and then it stays as it is.
    fn make_mentioned(
        &self,
        account: AccountKey,
        what: Dimension,
        setting: Setting,
        now: Time,
    ) -> Answer<'_, bool>;
    /// Makes a campaign or an agent, or sets what is given of one. Says whether it was made.
    fn put_mentioned(
        &self,
        account: AccountKey,
        what: Dimension,
        setting: Setting,
        now: Time,
    ) -> Answer<'_, bool>;
}
