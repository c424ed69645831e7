//! What a database has to be: threads with connections that write, others that read, and transactions that are seen
//! by everybody once they are committed and by nobody before. Refuses to know which database it is.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedReceiver;

use super::writer_thread::Priority;
use crate::model::{AccountKey, Time};
use crate::store::analytics::names::Remembered;
use crate::store::apply::recording::{Memory, Recording};
use crate::store::calls::index::{CallIndex, Recent};
use crate::store::calls::tombstones::Tombstones;
use crate::store::condition::Condition;
use crate::store::config::accounts::{self, Changed, Directory};
use crate::store::feed::Feeds;
use crate::store::jobs::due::Looked;
use crate::store::jobs::turns::{JobTurns, Turn};
use crate::store::maintenance::job::{Job, MOST_TRIPS, Ran};
use crate::store::sql::Connection;
use crate::store::tx::purpose::Purpose;
use crate::store::tx::transaction::Tx;
use crate::store::vault::Vault;
use crate::store::{AccountConfig, Answer, Committed, EndpointRef, Owned, Place, Queues, StoreError};

/// A database with all records in it.
pub struct SqlStore<D> {
    pub(in crate::store) database: D,
    pub(in crate::store) directory: Arc<Directory>,
    pub(in crate::store) vault: Arc<Vault>,
    pub(in crate::store) feeds: Arc<Feeds>,
    pub(in crate::store) condition: Arc<Condition>,
    /// Whose turn it is in the jobs of maintenance.
    pub(in crate::store) job_turns: Mutex<JobTurns>,
}

/// A database, as far as it is a matter of its own how work gets done.
pub trait Database: Send + Sync + 'static {
    /// What its transactions run on.
    type Writer: Writing;

    /// Runs work of an account that writes, and gives its result. It is queued at once, whether or not the answer is awaited.
    fn write<T: Send + 'static>(
        &self,
        priority: Priority,
        account: AccountKey,
        work: impl FnOnce(&mut Self::Writer) -> Result<T, StoreError> + Send + 'static,
    ) -> Answer<'static, T>;
    /// Reads for an account on one snapshot from the first to the last row. The work must be one page.
    fn read<T: Send + 'static>(
        &self,
        account: AccountKey,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Answer<'static, T>;
    /// Likewise what goes through all that an account has: one at a time, beside the others.
    fn recount<T: Send + 'static>(
        &self,
        account: AccountKey,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Answer<'static, T>;
    /// The calls that are found in memory, beside those that the tables find.
    fn recent_calls(&self) -> &Recent;
    /// Finishes what is queued and closes every connection.
    fn close(&self) -> Answer<'_, ()>;
    /// See [`crate::store::Claims::notifications`].
    fn notifications(&self) -> Option<UnboundedReceiver<crate::store::Notification>> {
        None
    }
    /// See [`crate::store::Claims::outlasts`].
    fn outlasts(&self, _attempt: Duration) -> bool {
        true
    }
    /// See [`crate::store::Claims::queues_emptied`].
    fn queues_emptied(&self) {}
    /// See [`crate::store::AccountConfigs::catch_up`].
    fn catch_up(&self, _: &Arc<Directory>, _: &Arc<Vault>) -> Answer<'_, ()> {
        Box::pin(std::future::ready(Ok(())))
    }
    /// See [`crate::store::Feed::follow`]: somebody follows a feed from now on.
    fn followed(&self) {}
}

/// What a writing thread has on its desk.
pub struct Desk {
    /// The connection.
    pub db: Connection,
    /// Everybody's view of the configuration.
    pub directory: Arc<Directory>,
    /// Seals and opens secrets.
    pub vault: Arc<Vault>,
    /// Those who follow.
    pub feeds: Arc<Feeds>,
    /// What is wrong with all of it.
    pub condition: Arc<Condition>,
    /// Where calls are found.
    pub call_index: CallIndex,
    /// Campaigns and agents that have records.
    pub remembered: Remembered,
    /// What was removed and may be repeated.
    pub tombstones: Tombstones,
    /// Bodies that one source may have in quarantine.
    pub quarantine_quota: i64,
    /// The tenure under which deliveries are owned; 0 where one process has the database to itself.
    pub tenure: i64,
}

impl Desk {
    /// Begins to record in the transaction that is open.
    pub fn record<'a>(&'a self, queues: &'a dyn Queues, now: Time) -> Recording<'a> {
        let memory = Memory {
            call_index: &self.call_index,
            remembered: &self.remembered,
            tombstones: &self.tombstones,
        };
        let tx = Tx::new(&self.db, now, queues, &self.directory, &self.vault, self.tenure);
        Recording::new(tx, memory, self.quarantine_quota)
    }

    /// The accounts as they are after these changes, one for each account. Other nodes see by the revision that theirs is
    /// not the newest.
    fn reload(&self, changed: &[Changed]) -> Result<Vec<AccountConfig>, StoreError> {
        let mut configs: Vec<AccountConfig> = Vec::new();
        for &change in changed {
            let account = change.account();
            let earlier = configs.iter().position(|config| config.account.key == account);
            let earlier = earlier.map(|at| configs.swap_remove(at));
            let shown = self.directory.get(account);
            let known = earlier.as_ref().or(shown.as_deref());
            configs.push(accounts::reload(&self.db, &self.vault, known, change)?);
        }
        Ok(configs)
    }
}

/// The writing side of a database: one connection, one transaction at a time.
pub trait Writing: Send + 'static {
    /// The desk.
    fn desk(&self) -> &Desk;
    /// The same, to change what is on it.
    fn desk_mut(&mut self) -> &mut Desk;
    /// Begins a transaction, whatever an earlier one left behind.
    fn begin(&mut self, is_durable: bool) -> Result<(), StoreError>;
    /// Commits it. What of the configuration it changed is told, for other nodes.
    fn commit(&mut self, is_durable: bool, changed: &[Changed]) -> Result<(), StoreError>;
    /// Gives it up.
    fn roll_back(&mut self, why: &StoreError);
    /// What the transactions from here on are for. A store that has no room of its own to look after need not know.
    fn set_purpose(&mut self, _: Purpose) {}
    /// Makes room for what frees room, where there is none.
    fn make_room(&mut self) {}
    /// A transaction failed.
    fn failed(&mut self, why: &StoreError) {
        self.desk().condition.met(why);
    }
    /// How long the last commit waited for the disk.
    fn waited(&self) -> Duration;
    /// Begins a round of maintenance: what comes before all jobs. False when another node does it.
    fn begin_round(&mut self, _now: Time) -> Result<bool, StoreError> {
        Ok(true)
    }
    /// Whether a job may be done in the open transaction: of many nodes one does them.
    fn has_turn(_db: &Connection) -> Result<bool, StoreError> {
        Ok(true)
    }
    /// Leaves the connection as others expect it after a job, and tells other nodes what that called off.
    fn end_job(&mut self, ran: &Ran) -> Result<(), StoreError>;
    /// Ends a round of maintenance: a step of what is done for the database itself. True when there is more.
    fn tend(&mut self, now: Time) -> Result<bool, StoreError>;
    /// Whether it can write.
    fn prove(&mut self) -> Result<(), StoreError>;

    /// Runs work in one transaction. What it says that it changed of the configuration is read in the same
    /// transaction and shown after the commit: once something is on disk, nothing may fail any more.
    fn run<T>(
        &mut self,
        is_durable: bool,
        work: impl FnOnce(&Connection, &Desk) -> Result<(T, Vec<Changed>), StoreError>,
    ) -> Result<T, StoreError> {
        let done = self.run_once(is_durable, work);
        if let Err(error) = &done {
            self.failed(error);
        }
        done
    }

    /// See [`Self::run`].
    fn run_once<T>(
        &mut self,
        is_durable: bool,
        work: impl FnOnce(&Connection, &Desk) -> Result<(T, Vec<Changed>), StoreError>,
    ) -> Result<T, StoreError> {
        self.desk().remembered.begin();
        self.begin(is_durable)?;
        let desk = self.desk();
        let worked = work(&desk.db, desk).and_then(|(done, changed)| {
            let configs = desk.reload(&changed)?;
            Ok((done, changed, configs))
        });
        let (done, changed, configs) = match worked {
            Ok(done) => done,
            Err(error) => {
                self.roll_back(&error);
                return Err(error);
            }
        };
        self.commit(is_durable, &changed)?;
        let desk = self.desk();
        desk.remembered.committed();
        for config in configs {
            desk.directory.put(config);
        }
        Ok(done)
    }

    /// Runs work whose transactions are for this.
    fn for_purpose<T>(
        &mut self,
        purpose: Purpose,
        work: impl FnOnce(&mut Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.set_purpose(purpose);
        let done = work(self);
        self.set_purpose(Purpose::Add);
        done
    }

    /// Runs work that somebody asked for and that frees room, or must not wait until there is some.
    fn freeing<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.make_room();
        self.for_purpose(Purpose::Free, work)
    }

    /// The same, on disk when it returns.
    fn transact<T>(
        &mut self,
        work: impl FnOnce(&Connection, &Desk) -> Result<(T, Vec<Changed>), StoreError>,
    ) -> Result<T, StoreError> {
        self.run(true, work)
    }

    /// The same for who owns what: nobody owns anything after a start, so it need not outlive a power cut and no door
    /// has to wait for the disk to keep it.
    fn transact_ownership<T>(
        &mut self,
        work: impl FnOnce(&Connection, &Desk) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.run(false, |db, desk| Ok((work(db, desk)?, Vec::new())))
    }

    /// Runs work in one transaction that changes no configuration.
    fn write<T>(
        &mut self,
        work: impl FnOnce(&Connection, &Desk) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.transact(|db, desk| Ok((work(db, desk)?, Vec::new())))
    }

    /// Runs a job of maintenance for the account whose turn it is, in a transaction of its own. Whatever goes wrong in it is
    /// that job's and that account's.
    ///
    /// # Errors
    /// When the database does not answer, or this node's lease is over.
    fn run_job(&mut self, job: &Job, turn: &Turn, now: Time) -> Result<Ran, StoreError> {
        let (start, trips) = (Instant::now(), self.desk().db.round_trips());
        let (mut looked, mut has_begun) = (Looked::default(), false);
        let work = |recording: &mut Recording<'_>| {
            let has_turn = Self::has_turn(recording.tx.db)?;
            // The database answers: what goes wrong from here on is the job's.
            has_begun = true;
            match has_turn {
                true => job.run(recording, turn, &mut looked),
                false => Ok(false),
            }
        };
        let done = catch_unwind(AssertUnwindSafe(|| {
            self.for_purpose(job.purpose, |writer| writer.recording(&NoQueues, now, work))
        }));
        let trips = self.desk().db.round_trips().saturating_sub(trips);
        debug_assert!(trips <= MOST_TRIPS, "a step of {} made {trips} round trips", job.name);
        let mut ran = match done {
            Ok(Ok((more, Committed { wake, called_off, has_leisure, .. }))) => {
                Ran { more, wake, called_off, has_leisure, ..Ran::default() }
            }
            // Nobody's fault, and the store has told of it.
            Ok(Err(StoreError::Full(_))) => Ran::default(),
            Ok(Err(error)) if !has_begun => return Err(error),
            Ok(Err(error)) => Ran { failed: Some(error), ..Ran::default() },
            Err(_) => {
                Ran { failed: Some(StoreError::Data("it broke off: a defect".to_owned())), ..Ran::default() }
            }
        };
        ran.account = looked.due.map(|due| due.account);
        (ran.looked_up_to, ran.took) = (looked.up_to, start.elapsed());
        if let Err(error) = self.end_job(&ran) {
            ran.failed.get_or_insert(error);
        }
        Ok(ran)
    }

    /// Runs work that records or settles, in one transaction.
    fn recording<T>(
        &mut self,
        queues: &dyn Queues,
        now: Time,
        work: impl FnOnce(&mut Recording<'_>) -> Result<T, StoreError>,
    ) -> Result<(T, Committed), StoreError> {
        let (done, committed, found) = self.transact(|_, desk| {
            let mut recording = desk.record(queues, now);
            let done = work(&mut recording)?;
            let (committed, found) = recording.finish()?;
            let changed = committed.disabled.iter().map(|&endpoint| Changed::Endpoint(endpoint)).collect();
            Ok(((done, committed, found), changed))
        })?;
        let desk = self.desk_mut();
        if desk.db.files_hashes() {
            desk.call_index.apply(found);
        }
        committed.feeds.iter().for_each(|&(account, position)| desk.feeds.moved(account, position));
        Ok((done, committed))
    }
}

/// For work that must not take places in queues: what becomes due is claimed afterwards.
pub struct NoQueues;

impl Queues for NoQueues {
    fn reserve(&self, _: EndpointRef, _: usize) -> Option<Place> {
        None
    }
    fn dispatch(&self, _: Vec<Owned>) {}
    fn wake(&self, _: Vec<EndpointRef>) {}
    fn wake_at(&self, _: EndpointRef, _: Time) {}
    fn settled(&self, _: Vec<(EndpointRef, Place)>) {}
}
