//! The store of many nodes: all records in one PostgreSQL database. Some threads with a connection each write, a few read,
//! another keeps the lease and hears what other nodes do. Refuses to know HTTP and the rules of the ledger.

mod configuration;
mod keeper;
mod notifications;
mod partitions;
mod predecessor;
mod schema;
mod server;
pub mod sharding_check;
pub mod tables;
mod tenure;
pub mod transfer;
mod writer;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;

use self::configuration::{Looks, read_changed};
use self::keeper::{Keeper, Kept};
use self::predecessor::Notes;
use self::server::Server;
use self::tenure::Tenure;
use self::writer::Writer;
use super::condition::Condition;
use super::feed::Feeds;
use super::private_files;
use super::sql::Connection;
use super::vault::{KEY_FILES, MASTER_KEY, Vault};
use super::{Answer, Notification, StoreError};
use crate::model::AccountKey;
use crate::store::analytics::names::Remembered;
use crate::store::calls::index::{CallIndex, Recent};
use crate::store::calls::tombstones::Tombstones;
use crate::store::config::account_row;
use crate::store::config::accounts;
use crate::store::config::accounts::Directory;
use crate::store::engine::database::{Database, Desk, SqlStore};
use crate::store::engine::readers::Readers;
use crate::store::engine::store::new_tag;
use crate::store::engine::writer_thread::{Priority, WriterThread};
use crate::store::maintenance::list;

/// How the store is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bodies that one source may have in quarantine.
    pub quarantine_quota: i64,
    /// How long other nodes leave this one what it owns when nothing is heard of it.
    pub lease: Duration,
    /// The node's name, for people.
    pub name: String,
    /// Root certificates to trust beside the public ones, as PEM.
    pub roots: Option<Vec<u8>>,
}

/// The store of many nodes.
pub type PostgresStore = SqlStore<Postgres>;

/// For how long a node is not ready after damage was met.
const DAMAGE: Duration = Duration::from_secs(60);

/// The threads and connections of a node.
pub struct Postgres {
    /// Groups and claims: what doors and endpoints wait for.
    hot: WriterThread<Writer>,
    /// What people wait for.
    api: WriterThread<Writer>,
    /// What nobody waits for.
    chores: WriterThread<Writer>,
    readers: Readers,
    recent_calls: Arc<Recent>,
    tenure: Arc<Tenure>,
    keeper: Mutex<Keeper>,
    looks: Looks,
}

impl Database for Postgres {
    type Writer = Writer;

    fn write<T: Send + 'static>(
        &self,
        priority: Priority,
        account: AccountKey,
        work: impl FnOnce(&mut Writer) -> Result<T, StoreError> + Send + 'static,
    ) -> Answer<'static, T> {
        match priority {
            Priority::Hot | Priority::Claim => self.hot.run(priority, account, work),
            Priority::Api => self.api.run(priority, account, work),
            Priority::Chore => self.chores.run(priority, account, work),
        }
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
        Box::pin(async move {
            let threads = [&self.hot, &self.api, &self.chores];
            for last in threads.map(|thread| thread.finish(|_| Ok(()))) {
                let _ = last.await;
            }
            self.readers.close();
            threads.into_iter().for_each(WriterThread::close);
            self.keeper.lock().unwrap_or_else(PoisonError::into_inner).stop();
            Ok(())
        })
    }

    fn notifications(&self) -> Option<UnboundedReceiver<Notification>> {
        self.tenure.notifications()
    }

    fn outlasts(&self, attempt: Duration) -> bool {
        self.tenure.outlasts(attempt)
    }

    fn queues_emptied(&self) {
        self.tenure.queues_emptied();
    }

    fn catch_up(&self, directory: &Arc<Directory>, vault: &Arc<Vault>) -> Answer<'_, ()> {
        let (directory, vault) = (Arc::clone(directory), Arc::clone(vault));
        let look = move || async move {
            let endpoints =
                self.readers.read(AccountKey::NONE, move |db| read_changed(db, &directory, &vault)).await?;
            if !endpoints.is_empty() {
                self.tenure.tell(Notification::Wake(endpoints));
            }
            Ok(())
        };
        Box::pin(self.looks.share(look))
    }

    fn followed(&self) {
        self.keeper.lock().unwrap_or_else(PoisonError::into_inner).followed();
    }
}

impl PostgresStore {
    /// Joins the nodes on a database, making its tables when they are not there. `data` holds `master.key`, the same on
    /// every node. Blocks until it is done.
    ///
    /// # Errors
    /// A sentence for the operator: not reachable, changed by a newer postcall, or sealed under another key.
    pub fn open(url: &str, data: &Path, options: Options) -> Result<Self, String> {
        // Connections are driven by their threads; this one may be driving something else.
        let opened = std::thread::scope(|scope| scope.spawn(|| Self::open_here(url, data, options)).join());
        opened.unwrap_or_else(|_| Err("opening the database broke off".to_owned()))
    }

    fn open_here(url: &str, data: &Path, options: Options) -> Result<Self, String> {
        let server = Server::new(url, options.roots.as_deref())?;
        let trouble =
            |error: &dyn std::fmt::Display| format!("cannot use the database {}: {error}", server.place());
        private_files::make_directory(data)
            .map_err(|error| format!("cannot make {}: {error}", data.display()))?;
        private_files::narrow_all(data, &KEY_FILES);
        private_files::narrow_all(data, &[predecessor::FILE]);
        let db = server.open().map_err(|error| trouble(&error))?;
        server::check_schema(&db).map_err(|error| trouble(&error))?;
        let vault = Arc::new(vault_of(&db, data, &server)?);
        schema::migrate(&db).map_err(|error| trouble(&error))?;
        db.set_patient(false).map_err(|error| trouble(&error))?;
        server::check_key(&db, &vault).map_err(|error| trouble(&error))?;
        transfer::check_finished(&db).map_err(|error| trouble(&error))?;
        let (directory, feeds): (Arc<Directory>, Arc<Feeds>) = Default::default();
        let now = tenure::now(&db).map_err(|error| trouble(&error))?;
        account_row::create(&db, "default", new_tag(), now).map_err(|error| trouble(&error))?;
        for account in accounts::account_keys(&db).map_err(|error| trouble(&error))? {
            directory.put(accounts::load(&db, &vault, account).map_err(|error| trouble(&error))?);
        }
        let (notes, last) = Notes::take(data);
        tenure::end_lapsed_at_start(&db, last, &options.name).map_err(|error| trouble(&error))?;
        let tenure = Arc::new(Tenure::new(options.name, options.lease, notes));
        tenure.begin(&db).map_err(|error| trouble(&error))?;

        // Others may repair the database while this node runs.
        let condition = Arc::new(Condition::remembering(DAMAGE));
        let recent_calls = CallIndex::in_the_table().recent();
        let thread = || -> Result<WriterThread<Writer>, String> {
            let desk = Desk {
                db: server.open().map_err(|error| trouble(&error))?,
                directory: Arc::clone(&directory),
                vault: Arc::clone(&vault),
                feeds: Arc::clone(&feeds),
                condition: Arc::clone(&condition),
                call_index: CallIndex::in_the_table(),
                remembered: Remembered::default(),
                tombstones: Tombstones::default(),
                quarantine_quota: options.quarantine_quota,
                tenure: tenure.number(),
            };
            let writer = Writer::new(desk, server.clone(), Arc::clone(&tenure));
            WriterThread::start(writer).map_err(|error| trouble(&error))
        };
        let (hot, api, chores) = (thread()?, thread()?, thread()?);
        let kept = Kept {
            server: server.clone(),
            tenure: Arc::clone(&tenure),
            directory: Arc::clone(&directory),
            vault: Arc::clone(&vault),
            feeds: Arc::clone(&feeds),
        };
        let keeper = Keeper::start(kept, db).map_err(|error| trouble(&error))?;
        let readers = {
            let server = server.clone();
            Readers::new(Arc::clone(&condition), move || Ok(server.open()?))
        };
        let database = Postgres {
            hot,
            api,
            chores,
            readers,
            recent_calls,
            tenure,
            keeper: Mutex::new(keeper),
            looks: Looks::default(),
        };
        Ok(Self { database, directory, vault, feeds, condition, job_turns: list::turns() })
    }
}

/// The vault of the key file. It is made for a database without tables alone: a node that joins others needs theirs.
fn vault_of(db: &Connection, data: &Path, server: &Server) -> Result<Vault, String> {
    let file = data.join(MASTER_KEY);
    let has_tables = db
        .prepare_cached("SELECT 1 WHERE to_regclass('meta') IS NOT NULL")
        .and_then(|mut statement| statement.exists(()))
        .map_err(|error| format!("cannot use the database {}: {error}", server.place()))?;
    if has_tables && !file.exists() {
        return Err(format!(
            "{} is missing; copy it from another node of this database, every node needs the same one",
            file.display()
        ));
    }
    Vault::of_file(&file).map_err(|error| error.to_string())
}
