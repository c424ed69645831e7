//! The embedded store: one SQLite file in a data directory that one process locks.
//! One thread writes, a few connections read, and every commit is on disk when it returns. Only this room knows SQL
//! for SQLite; it refuses to know HTTP and the rules of the ledger.

mod arriving;
mod batches;
mod books;
mod call_index;
mod codec;
mod config;
mod contacts;
mod credit;
mod erasure;
mod filter;
mod gaps;
mod holds;
mod leaving;
mod loaded;
mod log;
mod mentioned;
mod placing;
#[cfg(test)]
mod plans;
mod read;
mod readers;
mod record;
mod replay_steps;
mod replays;
mod retention;
mod rooms;
mod scheduled;
mod schema;
mod sealed;
mod settle;
mod space;
mod tallies;
mod thread;
mod transcripts;
mod upkeep;
mod watchdog;
mod writer;

use std::fs::{File, TryLockError};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::watch;

use self::call_index::{CallIndex, Recent, call_hash};
use self::config::{Changed, Directory};
use self::log::Log;
use self::mentioned::Remembered;
use self::readers::Readers;
use self::record::Recording;
use self::schema::pack;
use self::thread::{Lane, WriterThread};
use self::writer::Writer;
use super::erasure::{Erasure, digest};
use super::export::{Cursor, Exported, Import, Imported, Secrets};
use super::feed::{FeedPage, Feeds};
use super::vault::Vault;
use super::{
    AccountConfig, Answer, CallFilter, CallView, Claimed, Committed, DeliveryFilter, DeliveryView,
    EndpointRef, Group, Idempotent, Owned, Page, Place, Progress, Quarantined, Queues, Store, StoreError,
    Sum, Turned,
};
use crate::clock::random_bytes;
use crate::model::account::Account;
use crate::model::id::Tag;
use crate::model::replay::{Replay, ReplayOrder};
use crate::model::{AccountKey, ApiKey, Endpoint, Mention, Source, Time};

/// How the store is opened.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Bodies that one source may have in quarantine.
    pub quarantine_quota: i64,
    /// The size of the database in pages of 4 KiB past which it is full; `None` leaves that to the disk.
    pub most_pages: Option<u32>,
    /// Calls that are found in memory before they are filed in the index on disk.
    pub recent_calls: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { quarantine_quota: 10_000, most_pages: None, recent_calls: call_index::RECENT }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode::{ConstraintViolation, TooBig, TypeMismatch};
        match error.sqlite_error_code() {
            Some(ConstraintViolation | TooBig | TypeMismatch) => Self::Data(error.to_string()),
            Some(_) => Self::Unavailable(error.to_string()),
            // SQLite did as it was told; what it gave back is not what was written.
            None => super::packed::damaged(error),
        }
    }
}

/// The embedded store.
pub struct SqliteStore {
    writer: WriterThread<Writer>,
    readers: Readers,
    recent_calls: Arc<Recent>,
    directory: Arc<Directory>,
    vault: Arc<Vault>,
    feeds: Arc<Feeds>,
}

impl SqliteStore {
    /// Opens the store of a data directory, making it when it is not there.
    ///
    /// # Errors
    /// A sentence for the operator: locked by another process, not writable, written by a newer postcall, or sealed
    /// under another key.
    pub fn open(dir: &Path, now: Time, options: Options) -> Result<Self, String> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(|error| format!("cannot make {}: {error}", dir.display()))?;
        let lock = lock(dir)?;
        let path = dir.join("postcall.db");
        let trouble = |error: &dyn std::fmt::Display| format!("cannot open {}: {error}", path.display());
        let key_file = dir.join("master.key");
        if path.exists() && !key_file.exists() {
            // A new key would open nothing of what is there, and stand in the way of the old one's return.
            return Err(format!("{} is missing; without it nothing here can be read", key_file.display()));
        }
        let vault = Vault::of_file(&key_file).map_err(|error| error.to_string())?;
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
        if let Some(pages) = options.most_pages {
            db.pragma_update(None, "max_page_count", pages).map_err(|error| trouble(&error))?;
        }

        let call_index = CallIndex::load(&db, options.recent_calls).map_err(|error| trouble(&error))?;
        let recent_calls = call_index.recent();
        let feeds: Arc<Feeds> = Arc::default();
        let writer = Writer {
            call_index,
            log: Log::start(&path, &mut db)?,
            db,
            directory: Arc::clone(&directory),
            vault: Arc::clone(&vault),
            feeds: Arc::clone(&feeds),
            options,
            remembered: Remembered::default(),
            proven: None,
            is_durable: true,
            waited: Duration::ZERO,
            _lock: lock,
        };
        Ok(Self {
            writer: WriterThread::start(writer).map_err(|error| trouble(&error))?,
            readers: Readers::new(&path),
            recent_calls,
            directory,
            vault,
            feeds,
        })
    }

    /// Changes a setting of an account.
    fn set_account(
        &self,
        account: AccountKey,
        set: impl FnOnce(&Connection) -> Result<(), StoreError> + Send + 'static,
    ) -> Answer<'_, Option<Account>> {
        self.writer.run(Lane::Api, move |writer| {
            if writer.directory.get(account).is_none() {
                return Ok(None);
            }
            writer.transact(|db, _| Ok((set(db)?, vec![Changed::Account(account)])))?;
            Ok(writer.directory.get(account).map(|config| config.account.clone()))
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
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => {
            format!("{} is in use by another postcall; one process may have it", dir.display())
        }
        TryLockError::Error(error) => format!("cannot lock {}: {error}", path.display()),
    })?;
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

/// For work that must not take places in queues: what becomes due is claimed afterwards.
struct NoQueues;

impl Queues for NoQueues {
    fn reserve(&self, _: EndpointRef, _: usize) -> Option<Place> {
        None
    }
    fn dispatch(&self, _: Vec<Owned>) {}
    fn wake(&self, _: Vec<EndpointRef>) {}
    fn wake_at(&self, _: EndpointRef, _: Time) {}
    fn settled(&self, _: Vec<(EndpointRef, Place)>) {}
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
            committed.waited = writer.waited;
            Ok(committed)
        })
    }

    fn claim(&self, endpoint: EndpointRef, now: Time, places: Vec<Place>) -> Answer<'_, Claimed> {
        self.writer.run(Lane::Claim, move |writer| {
            writer.transact_ownership(|db, writer| {
                let mut recording = writer.record(db, &NoQueues, now);
                let more = recording.claim(endpoint, places)?;
                Ok(Claimed { owned: recording.finish()?.0.owned, more })
            })
        })
    }

    fn release(&self, account: AccountKey, deliveries: Vec<i64>) -> Answer<'_, ()> {
        self.writer.run(Lane::Claim, move |writer| {
            writer.transact_ownership(|db, _| settle::release(db, account, &deliveries))
        })
    }

    fn next_due(&self, endpoint: EndpointRef) -> Answer<'_, Option<Time>> {
        self.readers.read(move |db| read::next_due(db, endpoint.account, endpoint.number))
    }

    fn create_account(&self, name: String, now: Time) -> Answer<'_, Option<Account>> {
        self.writer.run(Lane::Api, move |writer| {
            let made = writer.transact(|db, _| {
                let made = config::create_account(db, &name, new_tag(), now)?;
                Ok((made, made.map(Changed::Account).into_iter().collect()))
            })?;
            let config = made.and_then(|account| writer.directory.get(account));
            Ok(config.map(|config| config.account.clone()))
        })
    }

    fn set_retention(
        &self,
        account: AccountKey,
        retention: Option<Duration>,
        now: Time,
    ) -> Answer<'_, Option<Account>> {
        self.set_account(account, move |db| retention::set(db, account, retention, now))
    }

    fn set_transcript_retention(
        &self,
        account: AccountKey,
        retention: Option<Duration>,
        now: Time,
    ) -> Answer<'_, Option<Account>> {
        self.set_account(account, move |db| transcripts::set(db, account, retention, now))
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
            writer.write(|db, _| config::create_key(db, account, name, admin, &hash, now))
        })
    }

    fn find_key(&self, hash: [u8; 32]) -> Answer<'_, Option<ApiKey>> {
        self.readers.read(move |db| config::find_key(db, &hash))
    }

    fn keys(&self, account: AccountKey) -> Answer<'_, Vec<ApiKey>> {
        self.readers.read(move |db| config::keys(db, account))
    }

    fn revoke_key(&self, account: AccountKey, number: i64, now: Time) -> Answer<'_, bool> {
        self.writer
            .run(Lane::Api, move |writer| writer.write(|db, _| config::revoke_key(db, account, number, now)))
    }

    fn put_source(&self, source: Source) -> Answer<'_, Option<Arc<Source>>> {
        self.writer.run(Lane::Api, move |writer| {
            let account = source.account;
            let number = writer.transact(|db, writer| {
                let number = config::put_source(db, &writer.vault, &source)?;
                Ok((number, number.map(|number| Changed::Source(account, number)).into_iter().collect()))
            })?;
            let config = writer.directory.get(account);
            Ok(number.zip(config).and_then(|(number, config)| config.source(number).cloned()))
        })
    }

    fn delete_source(&self, account: AccountKey, number: i64, now: Time) -> Answer<'_, bool> {
        self.writer.run(Lane::Api, move |writer| {
            writer.transact(|db, _| {
                let is_done = config::delete(db, "sources", pack(account, number), now)?;
                Ok((is_done, vec![Changed::Source(account, number)]))
            })
        })
    }

    fn put_endpoint(&self, endpoint: Endpoint) -> Answer<'_, Option<Arc<Endpoint>>> {
        self.writer.run(Lane::Api, move |writer| {
            let account = endpoint.account;
            let number = writer.transact(|db, writer| {
                let number = config::put_endpoint(db, &writer.vault, &endpoint)?;
                let changed = |number| Changed::Endpoint(EndpointRef { account, number });
                Ok((number, number.map(changed).into_iter().collect()))
            })?;
            let config = writer.directory.get(account);
            Ok(number.zip(config).and_then(|(number, config)| config.endpoint(number).cloned()))
        })
    }

    fn disable_endpoint(
        &self,
        endpoint: EndpointRef,
        reason: String,
        now: Time,
    ) -> Answer<'_, Option<Vec<EndpointRef>>> {
        self.writer.run(Lane::Api, move |writer| {
            let is_there = |config: Arc<AccountConfig>| config.endpoint(endpoint.number).is_some();
            if !writer.directory.get(endpoint.account).is_some_and(is_there) {
                return Ok(None);
            }
            let work = |recording: &mut Recording<'_>| recording.disable(endpoint, &reason);
            Ok(Some(writer.recording(&NoQueues, now, work)?.1.wake))
        })
    }

    fn enable_endpoint(&self, endpoint: EndpointRef) -> Answer<'_, bool> {
        self.writer.run(Lane::Api, move |writer| {
            writer.transact(|db, _| {
                let is_there = config::enable(db, pack(endpoint.account, endpoint.number))?;
                let changed = if is_there { vec![Changed::Endpoint(endpoint)] } else { Vec::new() };
                Ok((is_there, changed))
            })
        })
    }

    fn delete_endpoint(&self, account: AccountKey, number: i64, now: Time) -> Answer<'_, bool> {
        self.writer.run(Lane::Api, move |writer| {
            writer.transact(|db, _| {
                let is_done = config::delete(db, "endpoints", pack(account, number), now)?;
                Ok((is_done, vec![Changed::Endpoint(EndpointRef { account, number })]))
            })
        })
    }

    fn call(&self, account: AccountKey, number: i64) -> Answer<'_, Option<CallView>> {
        self.readers.read(move |db| read::call(db, account, number))
    }

    fn calls(&self, account: AccountKey, filter: CallFilter, page: Page) -> Answer<'_, Vec<CallView>> {
        let CallFilter { call_id, outcome } = filter;
        let Some(call_id) = call_id else {
            return self.readers.read(move |db| read::calls(db, account, outcome, page));
        };
        Box::pin(async move {
            let look = |source| {
                let hash = call_hash(source, &call_id);
                (source, hash, self.recent_calls.of(hash))
            };
            let sources = self.readers.read(move |db| read::sources(db, account)).await?;
            let sources = sources.into_iter().map(look).collect();
            self.readers.read(move |db| read::calls_of_vendor_id(db, &call_id, sources, outcome, page)).await
        })
    }

    fn events(&self, account: AccountKey, page: Page) -> Answer<'_, Option<FeedPage>> {
        let tag = self.tag(account);
        self.readers.read(move |db| read::events(db, tag, account, page))
    }

    fn follow(&self, account: AccountKey) -> Answer<'_, watch::Receiver<i64>> {
        // First the signal, then the look: what is committed between the two is in one of them.
        let follower = self.feeds.follow(account);
        Box::pin(async move {
            let position = self.readers.read(move |db| read::position(db, account)).await?;
            self.feeds.moved(account, position);
            Ok(follower)
        })
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

    fn create_replay(
        &self,
        account: AccountKey,
        order: ReplayOrder,
        now: Time,
    ) -> Answer<'_, Option<Replay>> {
        self.writer
            .run(Lane::Api, move |writer| writer.write(|db, _| replays::create(db, account, &order, now)))
    }

    fn replay(&self, account: AccountKey, number: i64) -> Answer<'_, Option<Replay>> {
        self.readers.read(move |db| replays::replay(db, account, number))
    }

    fn replays(&self, account: AccountKey, page: Page) -> Answer<'_, Vec<Replay>> {
        self.readers.read(move |db| replays::replays(db, account, page))
    }

    fn cancel_replay(&self, account: AccountKey, number: i64, now: Time) -> Answer<'_, bool> {
        self.writer
            .run(Lane::Api, move |writer| writer.write(|db, _| replays::cancel(db, account, number, now)))
    }

    fn discard(&self, account: AccountKey, number: i64) -> Answer<'_, bool> {
        self.writer.run(Lane::Api, move |writer| writer.write(|db, _| upkeep::discard(db, account, number)))
    }

    fn begin_idempotent(
        &self,
        account: AccountKey,
        key: Vec<u8>,
        fingerprint: [u8; 32],
        now: Time,
    ) -> Answer<'_, Idempotent> {
        self.writer.run(Lane::Api, move |writer| {
            writer.write(|db, writer| {
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
            writer.write(|db, writer| upkeep::finish_idempotent(db, &writer.vault, account, &key, answer))
        })
    }

    fn erase(&self, account: AccountKey, person: Mention, now: Time) -> Answer<'_, Erasure> {
        let digest = digest(self.vault.link_key(), self.tag(account), &person);
        self.writer.run(Lane::Api, move |writer| {
            writer.write(|db, writer| erasure::create(db, &writer.vault, account, &person, &digest, now))
        })
    }

    fn erasure(&self, account: AccountKey, number: i64) -> Answer<'_, Option<Erasure>> {
        self.readers.read(move |db| erasure::find(db, account, number))
    }

    fn erasures(&self, account: AccountKey, page: Page) -> Answer<'_, Vec<Erasure>> {
        self.readers.read(move |db| erasure::list(db, account, page))
    }

    fn export(&self, account: AccountKey, secrets: Secrets, cursor: Option<Cursor>) -> Answer<'_, Exported> {
        let vault = Arc::clone(&self.vault);
        self.readers.read(move |db| leaving::export(db, &vault, account, secrets, cursor))
    }

    fn import(&self, account: AccountKey, import: Import) -> Answer<'_, Imported> {
        self.writer.run(Lane::Chore, move |writer| {
            let (imported, found) = writer.transact(|db, writer| {
                let known = arriving::Known { vault: &writer.vault, remembered: &writer.remembered };
                let (done, mut effects) = arriving::import(db, known, account, &import)?;
                writer.call_index.settle(db, &mut effects.found)?;
                Ok(((done, effects.found), effects.changed))
            })?;
            writer.call_index.apply(found);
            Ok(imported)
        })
    }

    fn chore(&self, now: Time) -> Answer<'_, Progress> {
        self.writer.run(Lane::Chore, move |writer| {
            let vault = Arc::clone(&writer.vault);
            let done = writer.recording(&NoQueues, now, |recording| upkeep::step(recording, &vault));
            // An erasure has it on; everything else pays for it with pages that it would not write.
            writer.db.pragma_update(None, "secure_delete", "FAST")?;
            let (more, Committed { wake, called_off, has_leisure, .. }) = done?;
            let more = writer.call_index.tend(&writer.db)? || more;
            let more = more || writer.finish_erasure(now)? || writer.give_back()?;
            Ok(Progress { more, wake, called_off, has_leisure })
        })
    }

    fn ready(&self) -> Answer<'_, ()> {
        self.writer.run(Lane::Hot, Writer::prove)
    }

    fn close(&self) -> Answer<'_, ()> {
        let copied = self.writer.run(Lane::Chore, |writer| {
            writer.db.execute_batch("PRAGMA wal_checkpoint(TRUNCATE);")?;
            Ok(())
        });
        Box::pin(async move {
            let copied = copied.await;
            self.readers.close();
            self.writer.close();
            copied
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(db: &Connection, name: &str) -> Result<(), StoreError> {
        db.execute("INSERT INTO meta (name, value) VALUES (?, x'')", [name])?;
        Ok(())
    }

    fn open() -> (tempfile::TempDir, SqliteStore) {
        let dir = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(dir.path(), Time::from_micros(0), Options::default()).unwrap();
        (dir, store)
    }

    #[tokio::test]
    async fn work_that_breaks_off_leaves_nothing_behind() {
        let (_dir, store) = open();
        let broken: Answer<'_, ()> = store.writer.run(Lane::Api, |writer| {
            writer.write(|db, _| {
                note(db, "half")?;
                panic!("a bug")
            })
        });
        assert!(matches!(broken.await, Err(StoreError::Unknown(_))));
        store.writer.run(Lane::Api, |writer| writer.write(|db, _| note(db, "whole"))).await.unwrap();
        let names = store.readers.read(|db| {
            let mut names = db.prepare("SELECT name FROM meta WHERE name IN ('half', 'whole')")?;
            let names: rusqlite::Result<Vec<String>> = names.raw_query().mapped(|row| row.get(0)).collect();
            Ok(names?)
        });
        assert_eq!(names.await.unwrap(), ["whole"]);
    }

    #[tokio::test]
    async fn only_a_commit_that_reached_the_disk_proves_the_store() {
        let (_dir, store) = open();
        let look = |store: &SqliteStore| {
            store.writer.run(Lane::Chore, |writer| {
                let synchronous: i64 = writer.db.pragma_query_value(None, "synchronous", |row| row.get(0))?;
                Ok((writer.proven.is_some(), synchronous))
            })
        };
        let (full, normal) = (2, 1);
        store.chore(Time::from_micros(0)).await.unwrap();
        assert_eq!(look(&store).await, Ok((false, full)), "nothing was written");
        let target = EndpointRef { account: AccountKey::DEFAULT, number: 1 };
        store.claim(target, Time::from_micros(0), Vec::new()).await.unwrap();
        assert_eq!(look(&store).await, Ok((false, normal)), "ownership does not wait for the disk");
        store.ready().await.unwrap();
        assert_eq!(look(&store).await, Ok((true, full)), "everything else does");
        store.writer.run(Lane::Api, |writer| writer.write(|db, _| note(db, "ready"))).await.unwrap_err();
        assert_eq!(
            look(&store).await,
            Ok((true, full)),
            "data that does not fit says nothing about the store"
        );
    }

    #[tokio::test]
    async fn space_can_be_given_back_to_the_disk() {
        let (_dir, store) = open();
        let incremental = 2;
        let mode = store.readers.read(|db| Ok(db.pragma_query_value(None, "auto_vacuum", |row| row.get(0))?));
        assert_eq!(mode.await, Ok(incremental));
    }
}
