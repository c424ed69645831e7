//! The maintenance jobs: what is done for accounts beside what they ask for. `job.rs` says what a job is, `jobs/turns.rs` whose
//! turn it is, and who rests after a failure. Does not depend on what a step does.

use std::sync::Mutex;

use super::job::{Find, Job, job};
use super::{batch_intake, out_of_credit, replay_steps, scheduled_batches, upkeep, watchdog};
use crate::store::apply::{deferral, repeats};
use crate::store::config::idempotency_rows;
use crate::store::jobs::turns::JobTurns;
use crate::store::lifetime::{retention, transcripts};
use crate::store::records::erase;
use crate::store::tx::purpose::Purpose;

/// All of them. In each round each has a step, if anything is due.
pub const JOBS: [Job; 14] = [
    job("kept_answers", Purpose::Free, Find::None, |recording, _| {
        idempotency_rows::forget_old(recording.tx.db, recording.tx.now)
    }),
    job("lost_calls", Purpose::Add, Find::ByTime(watchdog::LATE_CALLS), watchdog::give_up_calls),
    job("lost_requests", Purpose::Add, Find::ByTime(watchdog::LATE_REQUESTS), watchdog::give_up_requests),
    job("out_of_credit", Purpose::Add, Find::After(out_of_credit::first_after), |recording, due| {
        out_of_credit::step(recording, due.account)
    }),
    job("batch_intake", Purpose::Add, Find::After(batch_intake::first_intake), |recording, due| {
        batch_intake::step(recording, due.account)
    }),
    job("batch_endpoints", Purpose::Add, Find::ByTime(batch_intake::RELEASES), batch_intake::release),
    job("scheduled_batches", Purpose::Add, Find::ByTime(scheduled_batches::WAITING), scheduled_batches::step),
    job("overdue_holds", Purpose::Add, Find::ByTime(deferral::OVERDUE), deferral::release_overdue),
    job("replays", Purpose::Add, Find::ByTime(replay_steps::WAITING), replay_steps::step),
    job("deleted_endpoints", Purpose::Free, Find::After(upkeep::first_to_sweep), |recording, due| {
        upkeep::sweep(recording, due.account)
    }),
    job("erasure", Purpose::Free, Find::InOrder(erase::due), |recording, due| {
        erase::step(recording, due.account)
    }),
    job("retention", Purpose::Free, Find::ByTime(retention::OLD), |recording, due| {
        retention::step(recording, due.account)
    }),
    job("transcripts", Purpose::Free, Find::ByTime(transcripts::OLD), |recording, due| {
        transcripts::step(recording, due.account)
    }),
    job("tombstones", Purpose::Free, Find::ByTime(repeats::OLD), |recording, due| {
        repeats::step(recording, due.account)
    }),
];

/// The turns of all jobs at a start.
pub fn turns() -> Mutex<JobTurns> {
    Mutex::new(JobTurns::new(JOBS.len()))
}
