//! The writing connection with what belongs to it: how a transaction begins and ends on a file, and what is done for the
//! file beside that of the records. Refuses to know what the work is.

use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::log::{Emptied, Log};
use super::reserve::{Reserve, TO_BEGIN};
use super::space::{self, Space};
use crate::model::Time;
use crate::store::StoreError;
use crate::store::config::accounts::Changed;
use crate::store::engine::database::{Desk, Writing};
use crate::store::maintenance::job::Ran;
use crate::store::records::erase;
use crate::store::tx::purpose::Purpose;

/// How long a commit proves that the store can be written. Anybody may ask whether it can; not every time shall
/// cost an fsync.
const PROVEN: Duration = Duration::from_secs(1);

/// The writing connection and what belongs to it. Lives on the writer thread and is dropped there, field by field.
pub struct Writer {
    pub(super) desk: Desk,
    log: Log,
    reserve: Arc<Reserve>,
    /// What transactions are for.
    purpose: Purpose,
    /// The last commit, unless something failed since.
    pub(super) proven: Option<Instant>,
    /// Whether commits wait for the disk.
    is_durable: bool,
    /// How long the last one waited.
    waited: Duration,
    /// Rows that were changed before the transaction.
    changes: u64,
    /// The last commit before the transaction.
    proven_before: Option<Instant>,
    /// Held for as long as anything may be written: a second process would break ownership, which lives in memory.
    _lock: File,
}

impl Writer {
    /// A writer with this on its desk.
    pub(super) fn new(desk: Desk, log: Log, reserve: Arc<Reserve>, lock: File) -> Self {
        Self {
            desk,
            log,
            reserve,
            purpose: Purpose::Add,
            proven: None,
            is_durable: true,
            waited: Duration::ZERO,
            changes: 0,
            proven_before: None,
            _lock: lock,
        }
    }

    pub(super) fn db(&self) -> &rusqlite::Connection {
        self.desk.db.sqlite()
    }

    /// Copies all of the log into the file.
    pub(super) fn copy_log(&self) -> Result<(), StoreError> {
        self.reserve.with_room(|| Ok(self.db().execute_batch("PRAGMA wal_checkpoint(TRUNCATE);")?))
    }

    /// Gives some free space back to the disk; true when there is more. The file itself is cut when the log is copied
    /// into it, so the last step sees to that.
    fn give_back(&mut self) -> Result<bool, StoreError> {
        let is_full = self.desk.condition.is_full();
        let given = self.for_purpose(Purpose::Free, |writer| {
            writer.write(|db, _| space::give_back(db.sqlite(), is_full))
        })?;
        if given == Space::Given {
            self.log.copy();
        }
        Ok(given == Space::More)
    }

    /// Has nothing of what was erased left in the log, which is what ends an erasure; true when there is more to do now.
    fn finish_erasure(&mut self, now: Time) -> Result<bool, StoreError> {
        if !erase::waits_for_log(&self.desk.db)? {
            return Ok(false);
        }
        match self.log.empty(self.desk.db.sqlite())? {
            Emptied::Done => {
                self.for_purpose(Purpose::Free, |writer| writer.write(|db, _| erase::finish(db, now)))?;
                Ok(true)
            }
            Emptied::Soon => Ok(true),
            Emptied::Held => Ok(false),
        }
    }
}

impl Writing for Writer {
    fn desk(&self) -> &Desk {
        &self.desk
    }

    fn desk_mut(&mut self) -> &mut Desk {
        &mut self.desk
    }

    fn begin(&mut self, is_durable: bool) -> Result<(), StoreError> {
        // Work that broke off may have left a transaction open.
        self.desk.db.roll_back();
        self.proven_before = self.proven.take();
        self.reserve.admit(self.purpose)?;
        if self.is_durable != is_durable {
            // Should this fail, so does the transaction; nothing is taken for durable that is not.
            self.db().pragma_update(None, "synchronous", if is_durable { "FULL" } else { "NORMAL" })?;
            self.is_durable = is_durable;
        }
        self.changes = self.db().total_changes();
        Ok(self.db().execute_batch("BEGIN IMMEDIATE")?)
    }

    fn commit(&mut self, is_durable: bool, _: &[Changed]) -> Result<(), StoreError> {
        let start = Instant::now();
        let ended = self.db().execute_batch("COMMIT");
        self.waited = start.elapsed();
        if let Err(error) = ended {
            // Rolled back, it is not committed as far as anybody can see while this process lives. Should the log have
            // reached the disk all the same, the next start finds it committed and dedupe meets the sender's retry.
            self.desk.db.roll_back();
            return Err(error.into());
        }
        // A commit of nothing touches no disk, so it proves nothing; nor does one that has the reserve to itself.
        let has_written = self.purpose == Purpose::Add && self.db().total_changes() != self.changes;
        self.proven = if is_durable && has_written { Some(Instant::now()) } else { self.proven_before };
        self.log.tend(self.desk.db.sqlite(), self.desk.condition.is_full());
        Ok(())
    }

    fn roll_back(&mut self, why: &StoreError) {
        self.desk.db.roll_back();
        // Data that does not fit says nothing about the store.
        self.proven =
            self.proven_before.filter(|_| matches!(why, StoreError::Data(_) | StoreError::LimitReached(..)));
    }

    fn set_purpose(&mut self, purpose: Purpose) {
        self.purpose = purpose;
    }

    fn make_room(&mut self) {
        self.reserve.make_room(TO_BEGIN);
    }

    fn failed(&mut self, why: &StoreError) {
        match why {
            StoreError::Full(_) => {
                self.reserve.ran_out(self.purpose);
            }
            _ => self.desk.condition.met(why),
        }
    }

    fn waited(&self) -> Duration {
        self.waited
    }

    fn end_job(&mut self, _: &Ran) -> Result<(), StoreError> {
        // A step that broke off may have left its transaction open, in which this has no effect.
        self.desk.db.roll_back();
        // An erasure has it on; everything else pays for it with pages that it would not write.
        Ok(self.db().pragma_update(None, "secure_delete", "FAST")?)
    }

    fn tend(&mut self, now: Time) -> Result<bool, StoreError> {
        self.reserve.restore();
        let Desk { call_index, tombstones, db, .. } = &mut self.desk;
        let more = call_index.tend(db)?;
        let more = tombstones.tend(db)? || more;
        Ok(more || self.finish_erasure(now)? || self.give_back()?)
    }

    /// Writes something so that it can be seen whether that works, unless it was just seen.
    fn prove(&mut self) -> Result<(), StoreError> {
        if self.proven.is_some_and(|proven| proven.elapsed() < PROVEN) {
            return Ok(());
        }
        self.write(|db, _| {
            db.sqlite().execute("INSERT OR REPLACE INTO meta (name, value) VALUES ('ready', x'')", [])?;
            Ok(())
        })
    }
}
