//! The embedded store: one SQLite file in a data directory that one process locks.
//! One thread writes, a few connections read, and every commit is on disk when it returns. Only this room knows SQL
//! for SQLite; it refuses to know HTTP and the rules of the ledger.

mod codec;
mod config;
mod read;
mod record;
mod schema;
mod settle;
mod thread;
mod upkeep;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::Connection;

use self::config::Directory;
use self::record::Recording;
use self::schema::pack;
use self::thread::{Checkpointer, Lane, Readers, WriterThread};
use super::vault::Vault;
use super::{
    AccountConfig, Answer, CallFilter, CallView, Claimed, Committed, DeliveryFilter, DeliveryView,
    EndpointRef, Group, Idempotent, Owned, Page, Place, Quarantined, Queues, Store, StoreError, Sum, Turned,
};
use crate::clock::random_bytes;
use crate::model::account::Account;
use crate::model::id::Tag;
use crate::model::{AccountKey, ApiKey, Endpoint, Event, Source, Time};

/// Pages of the log after which the background thread is asked to checkpoint: 16 MiB of 4 KiB pages.
const CHECKPOINT_BYTES: u64 = 16 * 1024 * 1024;
/// Size of the log at which the writer itself checkpoints and waits: readers held it open too long.
const FORCE_CHECKPOINT_BYTES: u64 = 256 * 1024 * 1024;

/// How the store is opened.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Bodies that one source may have in quarantine.
    pub quarantine_quota: i64,
}

impl Default for Options {
    fn default() -> Self {
        Self { quarantine_quota: 10_000 }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode::{ConstraintViolation, TooBig, TypeMismatch};
        match error.sqlite_error_code() {
            Some(ConstraintViolation | TooBig | TypeMismatch) => Self::Data(error.to_string()),
            _ => Self::Unavailable(error.to_string()),
        }
    }
}

/// The writing connection and what belongs to it. Lives on the writer thread.
struct Writer {
    db: Connection,
    wal: PathBuf,
    directory: Arc<Directory>,
    vault: Arc<Vault>,
    checkpointer: Checkpointer,
    options: Options,
}

/// The embedded store.
pub struct SqliteStore {
    writer: WriterThread<Writer>,
    readers: Readers,
    directory: Arc<Directory>,
    vault: Arc<Vault>,
    /// Held until the store is closed: a second process would break ownership, which lives in memory.
    lock: File,
}

impl SqliteStore {
    /// Opens the store of a data directory, making it when it is not there.
    ///
    /// # Errors
    /// A sentence for the operator: locked by another process, not writable, written by a newer postcall, or sealed
    /// under another key.
    pub fn open(dir: &Path, now: Time, options: Options) -> Result<Self, String> {
        std::fs::create_dir_all(dir).map_err(|error| format!("cannot make {}: {error}", dir.display()))?;
        let lock = lock(dir)?;
        let vault = Vault::of_file(&dir.join("master.key")).map_err(|error| error.to_string())?;
        let path = dir.join("postcall.db");
        let trouble = |error: &dyn std::fmt::Display| format!("cannot open {}: {error}", path.display());
        let mut db = Connection::open(&path).map_err(|error| trouble(&error))?;
        db.execute_batch("PRAGMA page_size = 4096; PRAGMA auto_vacuum = INCREMENTAL;")
            .map_err(|error| trouble(&error))?;
        schema::configure(&db).map_err(|error| trouble(&error))?;
        schema::migrate(&mut db).map_err(|error| trouble(&error))?;

        let directory = Arc::new(Directory::default());
        let vault = Arc::new(vault);
        check_key(&db, &vault).map_err(|error| trouble(&error))?;
        upkeep::disown(&db).map_err(|error| trouble(&error))?;
        config::create_account(&db, "default", new_tag(), now).map_err(|error| trouble(&error))?;
        for account in config::account_keys(&db).map_err(|error| trouble(&error))? {
            directory.put(config::load(&db, &vault, account).map_err(|error| trouble(&error))?);
        }

        let writer = Writer {
            db,
            wal: dir.join("postcall.db-wal"),
            directory: Arc::clone(&directory),
            vault: Arc::clone(&vault),
            checkpointer: Checkpointer::start(&path)?,
            options,
        };
        Ok(Self {
            writer: WriterThread::start(writer).map_err(|error| trouble(&error))?,
            readers: Readers::new(&path),
            directory,
            vault,
            lock,
        })
    }

    /// The tag of an account, for ids.
    fn tag(&self, account: AccountKey) -> Tag {
        self.directory.get(account).map_or(Tag(0), |config| config.account.tag)
    }
}

fn new_tag() -> Tag {
    Tag::from_random(u64::from_be_bytes(random_bytes()))
}

fn lock(dir: &Path) -> Result<File, String> {
    let path = dir.join("lock");
    let file = File::create(&path).map_err(|error| format!("cannot write in {}: {error}", dir.display()))?;
    file.try_lock()
        .map_err(|_| format!("{} is in use by another postcall; one process may have it", dir.display()))?;
    Ok(file)
}

/// Refuses to start under another key than the data was sealed with.
fn check_key(db: &Connection, vault: &Vault) -> Result<(), StoreError> {
    use rusqlite::OptionalExtension;
    let known: Option<Vec<u8>> =
        db.query_row("SELECT value FROM meta WHERE name = 'key check'", [], |row| row.get(0)).optional()?;
    match known {
        None => {
            db.execute("INSERT INTO meta (name, value) VALUES ('key check', ?)", [vault.seal(b"postcall")])?;
            Ok(())
        }
        Some(sealed) => vault.open(&sealed).map(drop).map_err(|_| {
            StoreError::Unavailable(
                "the data was sealed under another master.key than the one beside it".to_owned(),
            )
        }),
    }
}

impl Writer {
    /// Runs work in one transaction. What it changed in accounts is read again after the commit.
    fn transact<T>(
        &mut self,
        accounts: &[AccountKey],
        work: impl FnOnce(&Connection, &Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.db.execute_batch("BEGIN IMMEDIATE")?;
        let done = match work(&self.db, self) {
            Ok(done) => done,
            Err(error) => {
                self.roll_back();
                return Err(error);
            }
        };
        if let Err(error) = self.db.execute_batch("COMMIT") {
            // Rolled back, it is not committed as far as anybody can see while this process lives. Should the log have
            // reached the disk all the same, the next start finds it committed and dedupe meets the sender's retry.
            self.roll_back();
            return Err(StoreError::Unavailable(error.to_string()));
        }
        for &account in accounts {
            self.refresh(account)?;
        }
        self.tend_log();
        Ok(done)
    }

    fn roll_back(&self) {
        if !self.db.is_autocommit()
            && let Err(error) = self.db.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "a rollback failed");
        }
    }

    fn refresh(&self, account: AccountKey) -> Result<(), StoreError> {
        self.directory.put(config::load(&self.db, &self.vault, account)?);
        Ok(())
    }

    /// Keeps the log short: beside the commits as a rule, in their way only when it outgrew all measure.
    fn tend_log(&self) {
        let size = std::fs::metadata(&self.wal).map_or(0, |file| file.len());
        if size > FORCE_CHECKPOINT_BYTES {
            if let Err(error) = self.db.execute_batch("PRAGMA wal_checkpoint(TRUNCATE);") {
                tracing::warn!(%error, size, "the log could not be truncated");
            }
        } else if size > CHECKPOINT_BYTES {
            self.checkpointer.nudge();
        }
    }

    /// Runs work that records or settles, in one transaction.
    fn recording<T>(
        &mut self,
        queues: &dyn Queues,
        now: Time,
        work: impl FnOnce(&mut Recording<'_>) -> Result<T, StoreError>,
    ) -> Result<(T, Committed), StoreError> {
        let quota = self.options.quarantine_quota;
        let (done, committed) = self.transact(&[], |db, writer| {
            let mut recording = Recording::new(db, &writer.directory, queues, quota, now);
            let done = work(&mut recording)?;
            Ok((done, recording.finish()?))
        })?;
        for endpoint in &committed.disabled {
            self.refresh(endpoint.account)?;
        }
        Ok((done, committed))
    }
}

/// For work that must not take places in queues: what becomes due is claimed afterwards.
struct NoQueues;

impl Queues for NoQueues {
    fn reserve(&self, _: EndpointRef, _: usize) -> Option<Place> {
        None
    }
    fn dispatch(&self, _: Vec<Owned>) {}
    fn wake(&self, _: Vec<EndpointRef>) {}
    fn wake_at(&self, _: EndpointRef, _: Time) {}
}

impl Store for SqliteStore {
    fn config(&self, account: AccountKey) -> Option<Arc<AccountConfig>> {
        self.directory.get(account)
    }

    fn config_by_tag(&self, tag: Tag) -> Option<Arc<AccountConfig>> {
        self.directory.by_tag(tag)
    }

    fn accounts(&self) -> Vec<Arc<AccountConfig>> {
        self.directory.all()
    }

    fn link_key(&self) -> &ring::hmac::Key {
        self.vault.link_key()
    }

    fn commit<'a>(&'a self, group: Arc<Group>, queues: Arc<dyn Queues>) -> Answer<'a, Committed> {
        self.writer.run(Lane::Hot, move |writer| {
            let work = |recording: &mut Recording<'_>| {
                let recorded = group.incoming.iter().map(|incoming| recording.record(incoming));
                let recorded = recorded.collect::<Result<Vec<_>, _>>()?;
                group.settlements.iter().try_for_each(|settlement| recording.settle(settlement))?;
                Ok(recorded)
            };
            let (recorded, mut committed) = writer.recording(queues.as_ref(), group.now, work)?;
            committed.recorded = recorded;
            Ok(committed)
        })
    }

    fn claim(&self, endpoint: EndpointRef, now: Time, places: Vec<Place>) -> Answer<'_, Claimed> {
        self.writer.run(Lane::Hot, move |writer| {
            Ok(writer.recording(&NoQueues, now, |recording| recording.claim(endpoint, places))?.0)
        })
    }

    fn release(&self, account: AccountKey, deliveries: Vec<i64>) -> Answer<'_, ()> {
        self.writer.run(Lane::Hot, move |writer| {
            writer.transact(&[], |db, _| settle::release(db, account, &deliveries))
        })
    }

    fn next_due(&self, endpoint: EndpointRef) -> Answer<'_, Option<Time>> {
        self.readers.read(move |db| read::next_due(db, endpoint.account, endpoint.number))
    }

    fn create_account(&self, name: String, now: Time) -> Answer<'_, Option<Account>> {
        self.writer.run(Lane::Api, move |writer| {
            let made = writer.transact(&[], |db, _| config::create_account(db, &name, new_tag(), now))?;
            let Some(account) = made else { return Ok(None) };
            writer.refresh(account)?;
            Ok(writer.directory.get(account).map(|config| config.account.clone()))
        })
    }

    fn create_key(
        &self,
        account: AccountKey,
        name: String,
        admin: bool,
        hash: [u8; 32],
        now: Time,
    ) -> Answer<'_, ApiKey> {
        self.writer.run(Lane::Api, move |writer| {
            writer.transact(&[], |db, _| config::create_key(db, account, name, admin, &hash, now))
        })
    }

    fn find_key(&self, hash: [u8; 32]) -> Answer<'_, Option<ApiKey>> {
        self.readers.read(move |db| config::find_key(db, &hash))
    }

    fn keys(&self, account: AccountKey) -> Answer<'_, Vec<ApiKey>> {
        self.readers.read(move |db| config::keys(db, account))
    }

    fn revoke_key(&self, account: AccountKey, number: i64, now: Time) -> Answer<'_, bool> {
        self.writer.run(Lane::Api, move |writer| {
            writer.transact(&[], |db, _| config::revoke_key(db, account, number, now))
        })
    }

    fn put_source(&self, source: Source) -> Answer<'_, Option<Arc<Source>>> {
        self.writer.run(Lane::Api, move |writer| {
            let account = source.account;
            let number =
                writer.transact(&[account], |db, writer| config::put_source(db, &writer.vault, &source))?;
            let config = writer.directory.get(account);
            Ok(number.zip(config).and_then(|(number, config)| config.source(number).cloned()))
        })
    }

    fn delete_source(&self, account: AccountKey, number: i64, now: Time) -> Answer<'_, bool> {
        self.writer.run(Lane::Api, move |writer| {
            writer.transact(&[account], |db, _| config::delete(db, "sources", pack(account, number), now))
        })
    }

    fn put_endpoint(&self, endpoint: Endpoint) -> Answer<'_, Option<Arc<Endpoint>>> {
        self.writer.run(Lane::Api, move |writer| {
            let account = endpoint.account;
            let number = writer
                .transact(&[account], |db, writer| config::put_endpoint(db, &writer.vault, &endpoint))?;
            let config = writer.directory.get(account);
            Ok(number.zip(config).and_then(|(number, config)| config.endpoint(number).cloned()))
        })
    }

    fn delete_endpoint(&self, account: AccountKey, number: i64, now: Time) -> Answer<'_, bool> {
        self.writer.run(Lane::Api, move |writer| {
            writer.transact(&[account], |db, _| config::delete(db, "endpoints", pack(account, number), now))
        })
    }

    fn call(&self, account: AccountKey, number: i64) -> Answer<'_, Option<CallView>> {
        self.readers.read(move |db| read::call(db, account, number))
    }

    fn calls(&self, account: AccountKey, filter: CallFilter, page: Page) -> Answer<'_, Vec<CallView>> {
        self.readers.read(move |db| read::calls(db, account, &filter, page))
    }

    fn events(&self, account: AccountKey, page: Page) -> Answer<'_, Vec<Event>> {
        let tag = self.tag(account);
        self.readers.read(move |db| read::events(db, tag, account, page))
    }

    fn deliveries(
        &self,
        account: AccountKey,
        filter: DeliveryFilter,
        page: Page,
    ) -> Answer<'_, Vec<DeliveryView>> {
        let tag = self.tag(account);
        self.readers.read(move |db| read::deliveries(db, tag, account, &filter, page))
    }

    fn delivery(&self, account: AccountKey, number: i64) -> Answer<'_, Option<DeliveryView>> {
        let tag = self.tag(account);
        self.readers.read(move |db| read::delivery(db, tag, account, number))
    }

    fn sums(&self, account: AccountKey, recount: bool) -> Answer<'_, Vec<Sum>> {
        self.readers.read(move |db| match recount {
            true => read::recount(db, account),
            false => read::sums(db, account),
        })
    }

    fn quarantine(&self, account: AccountKey, page: Page) -> Answer<'_, Vec<Quarantined>> {
        self.readers.read(move |db| read::quarantine(db, account, page))
    }

    fn quarantined(&self, account: AccountKey, number: i64) -> Answer<'_, Option<Quarantined>> {
        self.readers.read(move |db| read::quarantined(db, account, number))
    }

    fn quarantine_size(&self, account: AccountKey) -> Answer<'_, i64> {
        self.readers.read(move |db| read::quarantine_size(db, account))
    }

    fn retry(&self, account: AccountKey, delivery: i64, now: Time) -> Answer<'_, Turned> {
        self.writer.run(Lane::Api, move |writer| {
            let work = |recording: &mut Recording<'_>| recording.retry_by_hand(account, delivery);
            Ok(writer.recording(&NoQueues, now, work)?.0)
        })
    }

    fn cancel(&self, account: AccountKey, delivery: i64, now: Time) -> Answer<'_, Turned> {
        self.writer.run(Lane::Api, move |writer| {
            let work = |recording: &mut Recording<'_>| recording.cancel(account, delivery);
            Ok(writer.recording(&NoQueues, now, work)?.0)
        })
    }

    fn discard(&self, account: AccountKey, number: i64) -> Answer<'_, bool> {
        self.writer
            .run(Lane::Api, move |writer| writer.transact(&[], |db, _| upkeep::discard(db, account, number)))
    }

    fn begin_idempotent(
        &self,
        account: AccountKey,
        key: Vec<u8>,
        fingerprint: [u8; 32],
        now: Time,
    ) -> Answer<'_, Idempotent> {
        self.writer.run(Lane::Api, move |writer| {
            writer.transact(&[], |db, writer| {
                upkeep::begin_idempotent(db, &writer.vault, account, &key, &fingerprint, now)
            })
        })
    }

    fn finish_idempotent(
        &self,
        account: AccountKey,
        key: Vec<u8>,
        answer: Option<(u16, Vec<u8>)>,
    ) -> Answer<'_, ()> {
        self.writer.run(Lane::Api, move |writer| {
            writer.transact(&[], |db, writer| {
                upkeep::finish_idempotent(db, &writer.vault, account, &key, answer)
            })
        })
    }

    fn chore(&self, now: Time) -> Answer<'_, bool> {
        self.writer.run(Lane::Chore, move |writer| Ok(writer.recording(&NoQueues, now, upkeep::step)?.0))
    }

    fn ready(&self) -> Answer<'_, ()> {
        self.writer.run(Lane::Hot, |writer| {
            writer.transact(&[], |db, _| {
                db.execute("INSERT OR REPLACE INTO meta (name, value) VALUES ('ready', x'')", [])?;
                Ok(())
            })
        })
    }

    fn close(&self) -> Answer<'_, ()> {
        let done = self.writer.run(Lane::Chore, |writer| {
            writer.db.execute_batch("PRAGMA wal_checkpoint(TRUNCATE);")?;
            Ok(())
        });
        Box::pin(async move {
            done.await?;
            self.readers.close();
            self.writer.close();
            self.lock.unlock().map_err(|error| StoreError::Unavailable(error.to_string()))
        })
    }
}
