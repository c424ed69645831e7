//! The writing side on PostgreSQL: a connection that is made again when it breaks, and transactions that only the tenure may
//! commit. Refuses to know what the work is.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::partitions::{self, Look, Sweep};
use super::server::Server;
use super::tenure::{self, Tenure};
use super::{notifications, schema};
use crate::model::Time;
use crate::store::StoreError;
use crate::store::apply::recording::Recording;
use crate::store::config::accounts::Changed;
use crate::store::engine::database::{Desk, NoQueues, Writing};
use crate::store::maintenance::job::Ran;
use crate::store::records::erase;
use crate::store::sql::{self, Connection};

/// Background work is done by one node at a time.
const CHORES: i64 = 0x6368_6f72_6573;
/// Partitions are looked at this often, and sooner when one could not be dropped.
const LOOK: Duration = Duration::from_secs(3600);
const LOOK_AGAIN: Duration = Duration::from_secs(300);
/// How long to wait before a broken connection is made again, at first and at the most.
const RECONNECT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// A writing connection and what belongs to it. Lives on its thread.
pub struct Writer {
    pub(super) desk: Desk,
    server: Server,
    tenure: Arc<Tenure>,
    waited: Duration,
    /// When the connection may be made again, and how long to wait after that.
    again: Option<(Instant, Duration)>,
    /// When partitions are looked at again.
    partitions: Option<Time>,
    /// The look for what is to be taken out of them that is under way.
    look: Option<Look>,
    /// What it found, to be taken out bit by bit.
    sweeps: VecDeque<Sweep>,
}

impl Writer {
    /// A writer with this on its desk.
    pub fn new(desk: Desk, server: Server, tenure: Arc<Tenure>) -> Self {
        Self {
            desk,
            server,
            tenure,
            waited: Duration::ZERO,
            again: None,
            partitions: None,
            look: None,
            sweeps: VecDeque::new(),
        }
    }

    /// Makes the connection again when it is broken; fails at once while it was tried just now.
    fn reconnect(&mut self) -> Result<(), StoreError> {
        if !self.desk.db.is_broken() {
            return Ok(());
        }
        let pause = match self.again {
            Some((at, _)) if Instant::now() < at => {
                return Err(StoreError::Unavailable("the database is away".to_owned()));
            }
            Some((_, pause)) => pause,
            None => RECONNECT.0,
        };
        match self.server.open() {
            Ok(db) => {
                self.desk.db = db;
                self.again = None;
                Ok(())
            }
            Err(error) => {
                self.again = Some((Instant::now() + pause, (pause * 2).min(RECONNECT.1)));
                Err(error.into())
            }
        }
    }

    /// A transaction of maintenance, which is done where no other node has the turn; nothing where one has it.
    fn in_turn(
        &mut self,
        now: Time,
        work: impl FnOnce(&mut Recording<'_>) -> Result<bool, StoreError>,
    ) -> Result<Option<bool>, StoreError> {
        let work = |recording: &mut Recording<'_>| match Self::has_turn(recording.tx.db)? {
            true => work(recording).map(Some),
            false => Ok(None),
        };
        Ok(self.recording(&NoQueues, now, work)?.0)
    }

    /// Makes partitions for the weeks to come, drops those in which nothing is needed, and begins to look for what has to be
    /// taken out of others. False when not all could be done.
    fn look_at_partitions(&mut self, now: Time) -> Result<bool, StoreError> {
        self.write(|db, _| schema::add_partitions(db, now))?;
        // Of many accounts this may take a while; nothing is locked meanwhile.
        self.desk.db.set_patient(true)?;
        let spent = partitions::spent(&self.desk.db, now);
        self.desk.db.set_patient(false)?;
        let mut are_dropped = true;
        for partition in spent? {
            let dropped = |recording: &mut Recording<'_>| partitions::drop(recording.tx.db, &partition);
            if self.in_turn(now, dropped)? != Some(true) {
                are_dropped = false;
                break;
            }
            info!(partition, "dropped: everything in it is past its retention");
        }
        if self.look.is_none() {
            self.look = Some(Look::begin(&self.desk.db)?);
        }
        Ok(are_dropped)
    }

    /// What is done for the tables themselves. True when there is more.
    fn tidy(&mut self, now: Time) -> Result<bool, StoreError> {
        if let Some(mut sweep) = self.sweeps.pop_front() {
            let swept = |recording: &mut Recording<'_>| partitions::sweep(recording.tx.db, &mut sweep);
            if self.in_turn(now, swept)? == Some(true) {
                self.sweeps.push_front(sweep);
            }
            return Ok(true);
        }
        if let Some(mut look) = self.look.take() {
            // One that fails is begun anew with the next look.
            if let Some(found) = look.step(&self.desk.db, now)? {
                self.sweeps.extend(found);
                self.look = Some(look);
            }
            return Ok(true);
        }
        if erase::waits_for_log(&self.desk.db)? {
            // What is deleted lies in its pages until they are tidied up.
            self.desk.db.set_patient(true)?;
            let tidied = self.desk.db.execute_batch(
                "VACUUM events, settled, calls, open, bodies, contacts, contact_keys, intake, quarantine, idempotency, \
                 erasures",
            );
            self.desk.db.set_patient(false)?;
            tidied?;
            self.write(|db, _| erase::finish(db, now))?;
            return Ok(true);
        }
        Ok(false)
    }
}

impl Writing for Writer {
    fn desk(&self) -> &Desk {
        &self.desk
    }

    fn desk_mut(&mut self) -> &mut Desk {
        &mut self.desk
    }

    fn begin(&mut self, _: bool) -> Result<(), StoreError> {
        self.reconnect()?;
        self.desk.db.roll_back();
        self.desk.tenure = self.tenure.number();
        tenure::enter(&self.desk.db, self.desk.tenure)
    }

    fn commit(&mut self, _: bool, changed: &[Changed]) -> Result<(), StoreError> {
        let Some(wire) = self.desk.db.postgres() else { return Ok(()) };
        notifications::tell_of_changes(&self.desk.db, changed)?;
        let start = Instant::now();
        let ended = wire.commit();
        self.waited = start.elapsed();
        match ended {
            Ok(()) => {
                self.desk.condition.has_room();
                Ok(())
            }
            Err(sql::Error::Silent) => {
                // Should it have been committed, this node owns deliveries that it does not hold. Others take them over.
                self.tenure.lapse(self.desk.tenure);
                Err(StoreError::Unknown("the database fell silent while it committed".to_owned()))
            }
            Err(error) => {
                let error = error.into();
                self.roll_back(&error);
                Err(error)
            }
        }
    }

    fn roll_back(&mut self, why: &StoreError) {
        self.desk.db.roll_back();
        if let StoreError::Lapsed(_) = why {
            self.tenure.lapse(self.desk.tenure);
        }
    }

    fn waited(&self) -> Duration {
        self.waited
    }

    fn begin_round(&mut self, now: Time) -> Result<bool, StoreError> {
        let end_lapsed = |recording: &mut Recording<'_>| {
            let has_ended = tenure::end_lapsed(recording.tx.db)?;
            if has_ended {
                notifications::tell_of_a_gone_node(recording.tx.db)?;
            }
            Ok(has_ended)
        };
        Ok(self.in_turn(now, end_lapsed)?.is_some())
    }

    fn has_turn(db: &Connection) -> Result<bool, StoreError> {
        Ok(db
            .prepare_cached("SELECT 1 WHERE pg_try_advisory_xact_lock(CAST(? AS BIGINT))")?
            .exists([CHORES])?)
    }

    fn end_job(&mut self, ran: &Ran) -> Result<(), StoreError> {
        match ran.called_off.as_slice() {
            [] => Ok(()),
            called_off => self.write(|db, _| notifications::tell_of_called_off(db, called_off)),
        }
    }

    fn tend(&mut self, now: Time) -> Result<bool, StoreError> {
        // Also where there is always more to do.
        if self.partitions.is_none_or(|next| now >= next) {
            let looked = self.look_at_partitions(now);
            let is_done = looked.unwrap_or_else(|error| {
                warn!(%error, "the partitions of past weeks could not be looked at; tried again in some minutes");
                false
            });
            self.partitions = Some(now.after(if is_done { LOOK } else { LOOK_AGAIN }));
        }
        self.tidy(now)
    }

    fn prove(&mut self) -> Result<(), StoreError> {
        self.write(|db, _| Ok(db.execute("UPDATE nodes SET name = name WHERE node = ?", [0])?)).map(drop)
    }
}
