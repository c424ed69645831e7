//! The embedded store: all records in one SQLite file, in a data directory that one process locks.
//! One thread writes, a few connections read, and every commit is on disk when it returns. Refuses to know HTTP and the
//! rules of the ledger.

#[cfg(test)]
mod costs;
mod log;
#[cfg(test)]
mod plans;
pub mod reserve;
mod schema;
mod space;
mod writer;

use std::fs::{File, TryLockError};
use std::path::Path;
use std::sync::Arc;

use rusqlite::{OpenFlags, OptionalExtension};

use self::log::Log;
use self::reserve::{RESERVE, Reserve, TO_OPEN};
use self::writer::Writer;
use super::condition::Condition;
use super::feed::Feeds;
use super::private_files;
use super::sql::Connection;
use super::vault::{KEY_FILES, MASTER_KEY, Vault};
use super::{Answer, StoreError};
use crate::model::{AccountKey, Time};
use crate::store::analytics::names::Remembered;
use crate::store::calls::index;
use crate::store::calls::index::{CallIndex, Recent};
use crate::store::calls::tombstones::Tombstones;
use crate::store::config::account_row;
use crate::store::config::accounts;
use crate::store::config::accounts::Directory;
use crate::store::engine::database::{Database, Desk, SqlStore, Writing};
use crate::store::engine::readers::Readers;
use crate::store::engine::store::new_tag;
use crate::store::engine::writer_thread::{Priority, WriterThread};
use crate::store::maintenance::list;
use crate::store::maintenance::upkeep;
use crate::store::tx::purpose::Purpose;

/// How the store is opened.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Bodies that one source may have in quarantine.
    pub quarantine_quota: i64,
    /// The size of the database in pages of 4 KiB past which it is full; `None` leaves that to the disk.
    pub most_pages: Option<u32>,
    /// Calls that are found in memory before they are filed in the index on disk.
    pub recent_calls: usize,
    /// Room on the disk that is kept for erasure and retention when it is full, in bytes.
    pub reserve: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { quarantine_quota: 10_000, most_pages: None, recent_calls: index::RECENT, reserve: 0 }
    }
}

/// The file that says that a store was moved elsewhere.
pub const MOVED: &str = "moved";

/// The files of the database. SQLite gives those that it makes the mode of the first.
const FILES: [&str; 7] =
    ["postcall.db", "postcall.db-wal", "postcall.db-shm", "postcall.db-journal", "lock", RESERVE, MOVED];

/// Makes the database's file where it is missing, and takes from everybody but the owner what is there.
fn make_private(dir: &Path) -> std::io::Result<()> {
    private_files::narrow_all(dir, &FILES);
    private_files::narrow_all(dir, &KEY_FILES);
    private_files::open(&dir.join("postcall.db")).map(drop)
}

/// A store that is about to be moved, up to date and with nobody else in it.
pub struct Moving {
    /// Its connection.
    pub db: Connection,
    /// Opens its secrets.
    pub vault: Vault,
    _lock: File,
}

impl Moving {
    /// Opens the store of a data directory, to be read from its beginning to its end.
    ///
    /// # Errors
    /// A sentence for the operator: nothing there, in use by another process, or written by a newer postcall.
    pub fn open(dir: &Path) -> Result<Self, String> {
        let path = dir.join("postcall.db");
        if !path.exists() {
            return Err(format!("there is no store in {}: {} is missing", dir.display(), path.display()));
        }
        let key_file = dir.join(MASTER_KEY);
        if !key_file.exists() {
            return Err(format!("{} is missing; without it nothing here can be read", key_file.display()));
        }
        let lock = lock(dir)?;
        let trouble = |error: &dyn std::fmt::Display| format!("cannot open {}: {error}", path.display());
        make_private(dir).map_err(|error| trouble(&error))?;
        let vault = Vault::of_file(&key_file).map_err(|error| error.to_string())?;
        let mut db = rusqlite::Connection::open(&path).map_err(|error| trouble(&error))?;
        schema::configure(&db).map_err(|error| trouble(&error))?;
        schema::migrate(&mut db).map_err(|error| trouble(&error))?;
        check_key(&db, &vault).map_err(|error| trouble(&error))?;
        let db = Connection::Sqlite(db);
        upkeep::disown(&db, 0).map_err(|error| trouble(&error))?;
        Ok(Self { db, vault, _lock: lock })
    }
}

/// The embedded store.
pub type SqliteStore = SqlStore<Sqlite>;

/// The threads and connections of a file.
pub struct Sqlite {
    writer: WriterThread<Writer>,
    readers: Readers,
    recent_calls: Arc<Recent>,
}

impl Database for Sqlite {
    type Writer = Writer;

    fn write<T: Send + 'static>(
        &self,
        priority: Priority,
        account: AccountKey,
        work: impl FnOnce(&mut Writer) -> Result<T, StoreError> + Send + 'static,
    ) -> Answer<'static, T> {
        self.writer.run(priority, account, move |writer| {
            // Work that broke off may have left another one.
            writer.set_purpose(Purpose::Add);
            work(writer)
        })
    }

    fn read<T: Send + 'static>(
        &self,
        account: AccountKey,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Answer<'static, T> {
        self.readers.read(account, work)
    }

    fn recount<T: Send + 'static>(
        &self,
        account: AccountKey,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Answer<'static, T> {
        self.readers.recount(account, work)
    }

    fn recent_calls(&self) -> &Recent {
        &self.recent_calls
    }

    fn close(&self) -> Answer<'_, ()> {
        let copied = self.writer.finish(|writer| writer.copy_log());
        Box::pin(async move {
            let copied = copied.await;
            self.readers.close();
            self.writer.close();
            copied
        })
    }
}

impl SqliteStore {
    /// Opens the store of a data directory, making it when it is not there.
    ///
    /// # Errors
    /// A sentence for the operator: locked by another process, not writable, written by a newer postcall, or sealed
    /// under another key.
    pub fn open(dir: &Path, now: Time, options: Options) -> Result<Self, String> {
        check_not_moved(dir)?;
        private_files::make_directory(dir)
            .map_err(|error| format!("cannot make {}: {error}", dir.display()))?;
        let lock = lock(dir)?;
        let path = dir.join("postcall.db");
        let trouble = |error: &dyn std::fmt::Display| format!("cannot open {}: {error}", path.display());
        let vault = Arc::new(open_vault(dir, &path)?);
        make_private(dir).map_err(|error| trouble(&error))?;
        let condition: Arc<Condition> = Arc::default();
        let reserve = Reserve::open(dir, options.reserve, Arc::clone(&condition));
        let reserve = Arc::new(reserve.map_err(|error| trouble(&error))?);
        // Where the disk is full, nothing can be opened without some: the log has files beside the database.
        reserve.make_room(TO_OPEN);
        let mut db = open_to_write(&path).map_err(|error| trouble(&error))?;
        schema::migrate(&mut db).map_err(|error| trouble(&error))?;
        check_key(&db, &vault).map_err(|error| trouble(&error))?;
        let log = Log::start(&path, &mut db, Arc::clone(&reserve))?;
        if let Some(pages) = options.most_pages {
            db.pragma_update(None, "max_page_count", pages).map_err(|error| trouble(&error))?;
        }
        let db = Connection::Sqlite(db);
        let prepare = || {
            upkeep::disown(&db, 0)?;
            account_row::create(&db, "default", new_tag(), now)
        };
        reserve.with_room(prepare).map_err(|error| trouble(&error))?;
        let directory = Arc::new(load_accounts(&db, &vault).map_err(|error| trouble(&error))?);
        let call_index = CallIndex::load(&db, options.recent_calls).map_err(|error| trouble(&error))?;
        let recent_calls = call_index.recent();
        let feeds: Arc<Feeds> = Arc::default();
        let desk = Desk {
            db,
            directory: Arc::clone(&directory),
            vault: Arc::clone(&vault),
            feeds: Arc::clone(&feeds),
            condition: Arc::clone(&condition),
            call_index,
            remembered: Remembered::default(),
            tombstones: Tombstones::default(),
            quarantine_quota: options.quarantine_quota,
            tenure: 0,
        };
        if !reserve.restore() {
            condition.filled(&reserve.explain());
        }
        let writer = Writer::new(desk, log, reserve, lock);
        let writer = WriterThread::start(writer).map_err(|error| trouble(&error))?;
        let readers = Readers::new(Arc::clone(&condition), move || Ok(open_to_read(&path)?));
        let database = Sqlite { writer, readers, recent_calls };
        Ok(Self { database, directory, vault, feeds, condition, job_turns: list::turns() })
    }
}

/// Refuses to open what was moved elsewhere.
fn check_not_moved(dir: &Path) -> Result<(), String> {
    let moved = dir.join(MOVED);
    if moved.exists() {
        return Err(format!(
            "this store was moved to PostgreSQL; remove {} to open what was left here all the same",
            moved.display()
        ));
    }
    Ok(())
}

/// The vault of a data directory, made with a new key where there is no database either.
fn open_vault(dir: &Path, database: &Path) -> Result<Vault, String> {
    let key_file = dir.join(MASTER_KEY);
    if database.exists() && !key_file.exists() {
        // A new key would open nothing of what is there, and stand in the way of the old one's return.
        return Err(format!("{} is missing; without it nothing here can be read", key_file.display()));
    }
    Vault::of_file(&key_file).map_err(|error| error.to_string())
}

/// The connection that writes.
fn open_to_write(path: &Path) -> rusqlite::Result<rusqlite::Connection> {
    let db = rusqlite::Connection::open(path)?;
    db.execute_batch("PRAGMA page_size = 4096; PRAGMA auto_vacuum = INCREMENTAL;")?;
    schema::configure(&db)?;
    Ok(db)
}

/// The configuration of all accounts.
fn load_accounts(db: &Connection, vault: &Vault) -> Result<Directory, StoreError> {
    let directory = Directory::default();
    for account in accounts::account_keys(db)? {
        directory.put(accounts::load(db, vault, account)?);
    }
    Ok(directory)
}

/// A connection that only reads, with a cache of 8 MiB.
fn open_to_read(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = rusqlite::Connection::open_with_flags(path, flags)?;
    connection.execute_batch("PRAGMA busy_timeout = 5000; PRAGMA cache_size = -8192;")?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(Connection::Sqlite(connection))
}

fn lock(dir: &Path) -> Result<File, String> {
    let path = dir.join("lock");
    let file =
        private_files::open(&path).map_err(|error| format!("cannot write in {}: {error}", dir.display()))?;
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => {
            format!("{} is in use by another postcall; one process may have it", dir.display())
        }
        TryLockError::Error(error) => format!("cannot lock {}: {error}", path.display()),
    })?;
    Ok(file)
}

/// Refuses to start under another key than the data was sealed with.
fn check_key(db: &rusqlite::Connection, vault: &Vault) -> Result<(), StoreError> {
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

/// An empty database in memory, for tests.
#[cfg(test)]
pub(super) fn migrated() -> Connection {
    let mut db = rusqlite::Connection::open_in_memory().unwrap();
    schema::migrate(&mut db).unwrap();
    Connection::Sqlite(db)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::AccountKey;
    use crate::store::{Claims, EndpointRef, Maintenance};

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
        let broken: Answer<'_, ()> = store.database.write(Priority::Api, AccountKey::NONE, |writer| {
            writer.write(|db, _| {
                note(db, "half")?;
                panic!("a bug")
            })
        });
        assert!(matches!(broken.await, Err(StoreError::Unknown(_))));
        store
            .database
            .write(Priority::Api, AccountKey::NONE, |writer| writer.write(|db, _| note(db, "whole")))
            .await
            .unwrap();
        let names = store.database.read(AccountKey::NONE, |db| {
            let mut names = db.prepare_cached("SELECT name FROM meta WHERE name IN ('half', 'whole')")?;
            Ok(names.query_map((), |row| row.get::<String>(0))?.collect::<Result<Vec<_>, _>>()?)
        });
        assert_eq!(names.await.unwrap(), ["whole"]);
    }

    #[tokio::test]
    async fn only_a_commit_that_reached_the_disk_proves_the_store() {
        let (_dir, store) = open();
        let look = |store: &SqliteStore| {
            store.database.write(Priority::Chore, AccountKey::NONE, |writer| {
                let synchronous: i64 =
                    writer.db().pragma_query_value(None, "synchronous", |row| row.get(0))?;
                Ok((writer.proven.is_some(), synchronous))
            })
        };
        let (full, normal) = (2, 1);
        store.maintain(Time::from_micros(0)).await.unwrap();
        assert_eq!(look(&store).await, Ok((false, full)), "nothing was written");
        let target = EndpointRef { account: AccountKey::DEFAULT, number: 1 };
        store.claim(target, Time::from_micros(0), Vec::new()).await.unwrap();
        assert_eq!(look(&store).await, Ok((false, normal)), "ownership does not wait for the disk");
        store.ready().await.unwrap();
        assert_eq!(look(&store).await, Ok((true, full)), "everything else does");
        store
            .database
            .write(Priority::Api, AccountKey::NONE, |writer| writer.write(|db, _| note(db, "ready")))
            .await
            .unwrap_err();
        assert_eq!(
            look(&store).await,
            Ok((true, full)),
            "data that does not fit says nothing about the store"
        );
    }

    #[test]
    fn every_table_moves_elsewhere() {
        let db = migrated();
        let own = ["meta", "call_hashes", "overwritten"];
        let sql = "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name";
        let mut statement = db.prepare_cached(sql).unwrap();
        let tables = statement.query_map((), |row| row.get::<String>(0)).unwrap();
        let tables: Vec<String> =
            tables.map(Result::unwrap).filter(|table| !own.contains(&table.as_str())).collect();
        let mut moved: Vec<&str> =
            crate::store::postgres::tables::TABLES.iter().map(|(table, _)| *table).collect();
        moved.sort_unstable();
        assert_eq!(tables, moved);
    }

    #[tokio::test]
    async fn space_can_be_given_back_to_the_disk() {
        let (_dir, store) = open();
        let incremental = 2;
        let mode = store.database.read(AccountKey::NONE, |db| {
            Ok(db.sqlite().pragma_query_value(None, "auto_vacuum", |row| row.get(0))?)
        });
        assert_eq!(mode.await, Ok(incremental));
    }
}
