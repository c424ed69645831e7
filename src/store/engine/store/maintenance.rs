//! Rounds of maintenance, the condition of the store, and its end. What the jobs do is in `maintenance`.

use std::sync::PoisonError;

use tracing::{debug, error, info};

use crate::model::{AccountKey, Time};
use crate::store::condition::Trouble;
use crate::store::engine::database::{Database, SqlStore, Writing};
use crate::store::engine::writer_thread::Priority;
use crate::store::maintenance::list::JOBS;
use crate::store::{Answer, JobStep, Maintenance, Progress, StoreError};

impl<D: Database> SqlStore<D> {
    /// A round of maintenance: a step of each job, and one for the database itself. Each is a work of its own for the writer, so
    /// that nobody else waits for more than one of them. What is committed is in `progress`, whatever comes after it.
    async fn round(&self, now: Time, progress: &mut Progress) -> Result<(), StoreError> {
        let turns = || self.job_turns.lock().unwrap_or_else(PoisonError::into_inner);
        let none = AccountKey::NONE;
        if !self.database.write(Priority::Chore, none, move |writer| writer.begin_round(now)).await? {
            return Ok(());
        }
        for (at, job) in JOBS.iter().enumerate() {
            let Some(turn) = turns().next(at, now) else { continue };
            let run = move |writer: &mut D::Writer| writer.run_job(job, &turn, now);
            let ran = self.database.write(Priority::Chore, none, run).await?;
            turns().looked(at, ran.looked_up_to);
            let account = ran.account.unwrap_or(none);
            let (job, of) = (job.name, account.0);
            match &ran.failed {
                Some(error) if turns().failed(at, account, now) => {
                    error!(job, account = of, %error, "a job failed; it is tried again, and all else goes on");
                }
                Some(error) => debug!(job, account = of, %error, "still failing"),
                None => {
                    let was_blind = turns().found(at);
                    let was_resting = ran.account.is_some_and(|account| turns().worked(at, account));
                    if was_blind || was_resting {
                        info!(job, account = of, "works again");
                    }
                }
            }
            if ran.account.is_some() || ran.failed.is_some() || ran.more {
                progress.steps.push(JobStep { job, took: ran.took, has_failed: ran.failed.is_some() });
            }
            progress.more |= ran.more;
            progress.has_leisure |= ran.has_leisure;
            progress.wake.extend(ran.wake);
            progress.called_off.extend(ran.called_off);
        }
        let tend = move |writer: &mut D::Writer| writer.tend(now);
        let tended = self.database.write(Priority::Chore, none, tend).await;
        progress.more |= tended.inspect_err(|error| self.condition.met(error))?;
        Ok(())
    }
}

impl<D: Database> Maintenance for SqlStore<D> {
    fn maintain(&self, now: Time) -> Answer<'_, Progress> {
        Box::pin(async move {
            let mut progress = Progress::default();
            match self.round(now, &mut progress).await {
                // What was committed is told all the same; who asks again hears of it soon enough.
                Err(_) if !(progress.wake.is_empty() && progress.called_off.is_empty()) => {
                    Ok(Progress { more: true, ..progress })
                }
                Err(error) => Err(error),
                Ok(()) => Ok(progress),
            }
        })
    }

    fn ready(&self) -> Answer<'_, ()> {
        Box::pin(async move {
            self.database.write(Priority::Hot, AccountKey::NONE, Writing::prove).await?;
            self.condition.check_whole()
        })
    }

    fn trouble(&self) -> Trouble {
        self.condition.trouble()
    }

    fn close(&self) -> Answer<'_, ()> {
        self.database.close()
    }
}
