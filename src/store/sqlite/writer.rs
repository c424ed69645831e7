//! The writing connection with what belongs to it, and how work becomes one transaction: begun, committed, and only then
//! seen by anybody. Refuses to know what the work is.

use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::Options;
use super::call_index::CallIndex;
use super::config::{self, Changed, Directory};
use super::erasure;
use super::log::{Emptied, Log};
use super::mentioned::Remembered;
use super::record::{Known, Recording};
use super::space::{self, Space};
use crate::model::Time;
use crate::store::feed::Feeds;
use crate::store::vault::Vault;
use crate::store::{AccountConfig, Committed, Queues, StoreError};

/// How long a commit proves that the store can be written. Anybody may ask whether it can; not every time shall
/// cost an fsync.
const PROVEN: Duration = Duration::from_secs(1);

/// The writing connection and what belongs to it. Lives on the writer thread and is dropped there, field by field.
pub(super) struct Writer {
    pub(super) db: Connection,
    pub(super) log: Log,
    pub(super) call_index: CallIndex,
    pub(super) directory: Arc<Directory>,
    pub(super) vault: Arc<Vault>,
    pub(super) feeds: Arc<Feeds>,
    pub(super) options: Options,
    pub(super) remembered: Remembered,
    /// The last commit, unless something failed since.
    pub(super) proven: Option<Instant>,
    /// Whether commits wait for the disk.
    pub(super) is_durable: bool,
    /// How long the last one waited.
    pub(super) waited: Duration,
    /// Held for as long as anything may be written: a second process would break ownership, which lives in memory.
    pub(super) _lock: File,
}

impl Writer {
    /// Runs work in one transaction. What it says that it changed of the configuration is read in the same
    /// transaction and shown after the commit: once something is on disk, nothing may fail any more.
    pub(super) fn transact<T>(
        &mut self,
        work: impl FnOnce(&Connection, &Self) -> Result<(T, Vec<Changed>), StoreError>,
    ) -> Result<T, StoreError> {
        self.run(true, work)
    }

    /// The same for who owns what: nobody owns anything after a start, so it need not outlive a power cut and no door
    /// has to wait for the disk to keep it.
    pub(super) fn transact_ownership<T>(
        &mut self,
        work: impl FnOnce(&Connection, &Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.run(false, |db, writer| Ok((work(db, writer)?, Vec::new())))
    }

    pub(super) fn run<T>(
        &mut self,
        is_durable: bool,
        work: impl FnOnce(&Connection, &Self) -> Result<(T, Vec<Changed>), StoreError>,
    ) -> Result<T, StoreError> {
        // Work that broke off may have left a transaction open.
        self.roll_back();
        self.remembered.begin();
        let proven = self.proven.take();
        if self.is_durable != is_durable {
            // Should this fail, so does the transaction; nothing is taken for durable that is not.
            self.db.pragma_update(None, "synchronous", if is_durable { "FULL" } else { "NORMAL" })?;
            self.is_durable = is_durable;
        }
        let changes = self.db.total_changes();
        self.db.execute_batch("BEGIN IMMEDIATE")?;
        let (done, configs) =
            match work(&self.db, self).and_then(|(done, changed)| Ok((done, self.reload(&changed)?))) {
                Ok(done) => done,
                Err(error) => {
                    self.roll_back();
                    // Data that does not fit says nothing about the store.
                    self.proven = proven.filter(|_| matches!(error, StoreError::Data(_)));
                    return Err(error);
                }
            };
        let start = Instant::now();
        let ended = self.db.execute_batch("COMMIT");
        self.waited = start.elapsed();
        if let Err(error) = ended {
            // Rolled back, it is not committed as far as anybody can see while this process lives. Should the log have
            // reached the disk all the same, the next start finds it committed and dedupe meets the sender's retry.
            self.roll_back();
            return Err(StoreError::Unavailable(error.to_string()));
        }
        // A commit of nothing touches no disk, so it proves nothing.
        let has_written = self.db.total_changes() != changes;
        self.proven = if is_durable && has_written { Some(Instant::now()) } else { proven };
        self.remembered.committed();
        for config in configs {
            self.directory.put(config);
        }
        self.log.tend(&self.db);
        Ok(done)
    }

    /// Runs work in one transaction that changes no configuration.
    pub(super) fn write<T>(
        &mut self,
        work: impl FnOnce(&Connection, &Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.transact(|db, writer| Ok((work(db, writer)?, Vec::new())))
    }

    pub(super) fn roll_back(&self) {
        if !self.db.is_autocommit()
            && let Err(error) = self.db.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "a rollback failed");
        }
    }

    /// The accounts as they are after these changes, one for each account.
    pub(super) fn reload(&self, changed: &[Changed]) -> Result<Vec<AccountConfig>, StoreError> {
        let mut configs: Vec<AccountConfig> = Vec::new();
        for &change in changed {
            let account = change.account();
            let earlier = configs.iter().position(|config| config.account.key == account);
            let earlier = earlier.map(|at| configs.swap_remove(at));
            let shown = self.directory.get(account);
            let known = earlier.as_ref().or(shown.as_deref());
            configs.push(config::reload(&self.db, &self.vault, known, change)?);
        }
        Ok(configs)
    }

    pub(super) fn record<'a>(
        &'a self,
        db: &'a Connection,
        queues: &'a dyn Queues,
        now: Time,
    ) -> Recording<'a> {
        let known = Known { call_index: &self.call_index, remembered: &self.remembered };
        Recording::new(db, &self.directory, known, queues, self.options.quarantine_quota, now)
    }

    /// Runs work that records or settles, in one transaction.
    pub(super) fn recording<T>(
        &mut self,
        queues: &dyn Queues,
        now: Time,
        work: impl FnOnce(&mut Recording<'_>) -> Result<T, StoreError>,
    ) -> Result<(T, Committed), StoreError> {
        let (done, committed, found) = self.transact(|db, writer| {
            let mut recording = writer.record(db, queues, now);
            let done = work(&mut recording)?;
            let (committed, found) = recording.finish()?;
            let changed = committed.disabled.iter().map(|&endpoint| Changed::Endpoint(endpoint)).collect();
            Ok(((done, committed, found), changed))
        })?;
        self.call_index.apply(found);
        committed.feeds.iter().for_each(|&(account, position)| self.feeds.moved(account, position));
        Ok((done, committed))
    }

    /// Gives some free space back to the disk; true when there is more. The file itself is cut when the log is copied
    /// into it, so the last step sees to that.
    pub(super) fn give_back(&mut self) -> Result<bool, StoreError> {
        let given = self.write(|db, _| space::give_back(db))?;
        if given == Space::Given {
            self.log.copy();
        }
        Ok(given == Space::More)
    }

    /// Has nothing of what was erased left in the log, which is what ends an erasure; true when there is more to do now.
    pub(super) fn finish_erasure(&mut self, now: Time) -> Result<bool, StoreError> {
        if !erasure::waits_for_log(&self.db)? {
            return Ok(false);
        }
        match self.log.empty(&self.db)? {
            Emptied::Done => self.write(|db, _| erasure::finish(db, now)).map(|()| true),
            Emptied::Soon => Ok(true),
            Emptied::Held => Ok(false),
        }
    }

    /// Writes something so that it can be seen whether that works, unless it was just seen.
    pub(super) fn prove(&mut self) -> Result<(), StoreError> {
        if self.proven.is_some_and(|proven| proven.elapsed() < PROVEN) {
            return Ok(());
        }
        self.write(|db, _| {
            db.execute("INSERT OR REPLACE INTO meta (name, value) VALUES ('ready', x'')", [])?;
            Ok(())
        })
    }
}
