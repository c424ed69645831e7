//! Maintenance: what is done for accounts beside what they ask for. Each job is a kind of work that goes account by account,
//! a step of a few milliseconds in a transaction of its own, so that what fails in one place stops nothing elsewhere.
//! `job_turns.rs` says whose turn it is, and who rests after a failure. Does not depend on what a step does.

use std::sync::Mutex;
use std::time::Duration;

use super::job_turns::{JobTurns, Turn};
use super::record::Recording;
use super::{
    batches, credit, erasure, holds, replay_steps, retention, scheduled, tombstones, transcripts, upkeep,
    watchdog,
};
use crate::model::{AccountKey, Time};
use crate::store::sql::Connection;
use crate::store::{EndpointRef, StoreError};

/// How a job finds the account whose turn it is.
#[derive(Debug)]
enum Find {
    /// It is for all accounts at once.
    None,
    /// The first account after this one for which something is due: by an index that goes by account.
    After(fn(&Connection, Time, AccountKey) -> Result<Option<AccountKey>, StoreError>),
    /// The accounts of so many rows that are due for the longest: by an index that goes by time. One whose rows are due later
    /// than so many of others waits for these.
    Oldest(fn(&Connection, Time, i64) -> Result<Vec<AccountKey>, StoreError>),
    /// Likewise, but one is finished before the next: at its end each goes through the whole file, and two that do would undo
    /// each other's steps for ever.
    InOrder(fn(&Connection, Time, i64) -> Result<Vec<AccountKey>, StoreError>),
}

/// Rows that are looked at for whose turn it is, and where some accounts rest, whose rows stay.
const LOOK: (i64, i64) = (100, 10_000);

/// Round trips to a database that is far away after which a step takes nothing more on, and that it may come to at the most
/// with what it has begun: the account's line is held meanwhile, and how long a trip takes nobody knows.
const ENOUGH_TRIPS: u64 = 24;
pub const MOST_TRIPS: u64 = 60;

/// Does a step for an account in the open transaction. True when there may be more to do.
type Step = fn(&mut Recording<'_>, AccountKey) -> Result<bool, StoreError>;

/// One kind of maintenance.
#[derive(Debug)]
pub struct Job {
    /// For the log and for metrics.
    pub name: &'static str,
    find: Find,
    step: Step,
}

const fn job(name: &'static str, find: Find, step: Step) -> Job {
    Job { name, find, step }
}

/// All of them. In each round each has a step, if anything is due.
pub const JOBS: [Job; 14] = [
    job("kept_answers", Find::None, |recording, _| upkeep::forget(recording)),
    job("lost_calls", Find::Oldest(watchdog::late_calls), watchdog::give_up_calls),
    job("lost_requests", Find::Oldest(watchdog::late_requests), watchdog::give_up_requests),
    job("out_of_credit", Find::After(credit::first_after), credit::step),
    job("batch_intake", Find::After(batches::first_intake), batches::step),
    job("batch_endpoints", Find::Oldest(batches::due_releases), batches::release),
    job("scheduled_batches", Find::Oldest(scheduled::due), scheduled::step),
    job("overdue_holds", Find::Oldest(holds::overdue), holds::let_overdue_go),
    job("replays", Find::Oldest(replay_steps::due), replay_steps::step),
    job("deleted_endpoints", Find::After(upkeep::first_to_sweep), upkeep::sweep),
    job("erasure", Find::InOrder(erasure::due), erasure::step),
    job("retention", Find::Oldest(retention::due), retention::step),
    job("transcripts", Find::Oldest(transcripts::due), transcripts::step),
    job("tombstones", Find::Oldest(tombstones::due), tombstones::step),
];

/// The turns of all jobs at a start.
pub fn turns() -> Mutex<JobTurns> {
    Mutex::new(JobTurns::new(JOBS.len()))
}

impl Job {
    /// Does a step for the account whose turn it is, if anything is due. `begun` hears for whom, before it begins. True when
    /// there may be more to do.
    pub fn run(
        &self,
        recording: &mut Recording<'_>,
        turn: &Turn,
        begun: impl FnOnce(AccountKey),
    ) -> Result<bool, StoreError> {
        let (db, now) = (recording.db, recording.now);
        let found = match self.find {
            Find::None => return (self.step)(recording, AccountKey::NONE),
            Find::After(first_after) => turn.first(|after| first_after(db, now, after))?,
            Find::Oldest(oldest) => {
                let most = if turn.has_resting() { LOOK.1 } else { LOOK.0 };
                turn.among(&oldest(db, now, most)?)
            }
            Find::InOrder(due) => turn.in_order(&due(db, now, LOOK.0)?),
        };
        let Some(account) = found else { return Ok(false) };
        begun(account);
        // Alone of all accounts: nobody can wait for it who holds what it wants.
        recording.enter(account)?;
        (self.step)(recording, account)
    }
}

impl Recording<'_> {
    /// Whether a step may take on more yet. True where the database is near: there a step is bounded by its rows alone.
    pub(super) fn may_go_on(&self) -> bool {
        self.round_trips() < ENOUGH_TRIPS
    }
}

/// What one job came to in one round.
#[derive(Debug, Default)]
pub struct Ran {
    /// For whom, where something was due.
    pub account: Option<AccountKey>,
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
