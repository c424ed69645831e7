//! A job of maintenance: a kind of work that goes account by account, a step of a few milliseconds in a transaction of its own,
//! so that what fails in one place stops nothing elsewhere. Does not depend on what a step does, and which jobs there are.

use std::time::Duration;

use crate::model::{AccountKey, Time};
use crate::store::apply::recording::Recording;
use crate::store::jobs::due::{self, ByTime, Due, Looked};
use crate::store::jobs::turns::Turn;
use crate::store::sql::Connection;
use crate::store::tx::purpose::Purpose;
use crate::store::{EndpointRef, StoreError};

/// How a job finds the account whose turn it is.
#[derive(Debug)]
pub enum Find {
    /// It is for all accounts at once.
    None,
    /// The first account after this one for which something is due: by an index that goes by account.
    After(fn(&Connection, Time, AccountKey) -> Result<Option<AccountKey>, StoreError>),
    /// Those with what is due for the longest: by an index that goes by time.
    ByTime(ByTime),
    /// So many in the order in which they asked. One is finished before the next: at its end each goes through the whole file, and two that do would undo
    /// each other's steps for ever.
    InOrder(fn(&Connection, Time, i64) -> Result<Vec<AccountKey>, StoreError>),
}

/// Jobs that are looked at for the first one that can be done.
const IN_ORDER: i64 = 100;

/// Round trips to a database that is far away after which a step takes nothing more on, and that it may come to at the most
/// with what it has begun: the account's line is held meanwhile, and how long a trip takes nobody knows.
const ENOUGH_TRIPS: u64 = 24;
pub const MOST_TRIPS: u64 = 60;

/// Does a step for an account in the open transaction. True when there may be more to do.
pub type Step = fn(&mut Recording<'_>, Due) -> Result<bool, StoreError>;

/// One kind of maintenance.
#[derive(Debug)]
pub struct Job {
    /// For the log and for metrics.
    pub name: &'static str,
    /// Whether it goes on where the disk is full.
    pub purpose: Purpose,
    find: Find,
    step: Step,
}

pub const fn job(name: &'static str, purpose: Purpose, find: Find, step: Step) -> Job {
    Job { name, purpose, find, step }
}

impl Job {
    /// Does a step for the account whose turn it is, if anything is due. `looked` is what was found, also when the step fails.
    /// True when there may be more to do.
    pub fn run(
        &self,
        recording: &mut Recording<'_>,
        turn: &Turn,
        looked: &mut Looked,
    ) -> Result<bool, StoreError> {
        let (db, now) = (recording.tx.db, recording.tx.now);
        let always = |account| Due { account, span: [i64::MIN, now.as_micros()] };
        *looked = match self.find {
            Find::None => return (self.step)(recording, always(AccountKey::NONE)),
            Find::After(first_after) => {
                let due = turn.first(|after| first_after(db, now, after))?.map(always);
                Looked { due, up_to: None }
            }
            Find::ByTime(by) => due::look(db, by, turn, now)?,
            Find::InOrder(due) => {
                let due = turn.in_order(&due(db, now, IN_ORDER)?).map(always);
                Looked { due, up_to: None }
            }
        };
        let Some(due) = looked.due else { return Ok(false) };
        // Alone of all accounts: nobody can wait for it who holds what it wants.
        recording.enter(due.account)?;
        (self.step)(recording, due)
    }
}

impl Recording<'_> {
    /// Whether a step may take on more yet. True where the database is near: there a step is bounded by its rows alone.
    pub fn may_go_on(&self) -> bool {
        self.tx.round_trips() < ENOUGH_TRIPS
    }
}

/// What one job came to in one round.
#[derive(Debug, Default)]
pub struct Ran {
    /// For whom, where something was due.
    pub account: Option<AccountKey>,
    /// Up to which time it looked for others, if not to the end.
    pub looked_up_to: Option<i64>,
    /// Why it was rolled back, if it was.
    pub failed: Option<StoreError>,
    /// Whether there may be more to do.
    pub more: bool,
    /// Endpoints that have something due by it.
    pub wake: Vec<EndpointRef>,
    /// Deliveries that shall not be attempted.
    pub called_off: Vec<(EndpointRef, i64)>,
    /// Whether the next round can wait a little.
    pub has_leisure: bool,
    /// How long its transaction took.
    pub took: Duration,
}
