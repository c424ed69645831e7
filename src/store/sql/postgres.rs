//! The connection to a PostgreSQL server as the store uses it: each statement waits for its answer, all that can go out
//! together does. Its thread drives it, so an idle one costs nothing. Refuses to know what is in the database.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use tokio::runtime::Runtime;
use tokio::time::timeout;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, Row};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::bulk::{Bulk, Column};
use super::error::{Error, Result};
use super::pending::{self, Pending, Prepared};
use super::template;
use super::value::{OwnedValue, Value};

/// How long any answer may take. The server gives a statement up earlier, see [`SETTINGS`]; this is for one that is gone.
const PATIENCE: Duration = Duration::from_secs(15);
/// What every connection is set to: a statement that takes longer is a fault, and a client that is gone holds no lock. Every
/// statement has an index to go by, and plans are kept, the same whatever the values are: one that was made while a table was
/// empty may not decide for a walk over all of it, since it is still in use when there are millions of rows. Citus alone has
/// to see the values, to know whom to ask.
const SETTINGS: &str = "SET statement_timeout = '10s'; SET lock_timeout = '8s'; \
     SET idle_in_transaction_session_timeout = '3s'; SET jit = off; SET client_min_messages = warning; \
     SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; \
     SELECT set_config('plan_cache_mode', CASE WHEN EXISTS (SELECT 1 FROM pg_extension WHERE extname = 'citus') \
     THEN 'auto' ELSE 'force_generic_plan' END, false)";

/// The same for work on whole tables.
const PATIENT: &str =
    "SET statement_timeout = 0; SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0";

/// Says why a statement must not be run, if so.
pub type Check = fn(&str) -> std::result::Result<(), String>;

/// How a transaction begins.
#[derive(Debug)]
struct Begin {
    sql: &'static str,
    guard: Option<(Arc<Prepared>, i64)>,
}

/// The transaction of a connection.
#[derive(Debug, Default)]
struct Transaction {
    /// It shall begin, and nothing was sent of it.
    begins: RefCell<Option<Begin>>,
    /// It has begun, or shall begin.
    is_open: Cell<bool>,
    /// A statement of it failed; nothing of it can be committed.
    has_failed: Cell<bool>,
}

impl Transaction {
    fn begin(&self, begin: Begin) {
        self.begins.replace(Some(begin));
        self.is_open.set(true);
        self.has_failed.set(false);
    }

    /// Forgets it. True if there is one, and the server has been sent its beginning.
    fn forget(&self) -> bool {
        if !self.is_open.take() {
            return false;
        }
        let has_begun = self.begins.take().is_none();
        self.has_failed.set(false);
        has_begun
    }
}

/// A connection to a server.
#[derive(Debug)]
pub struct Wire {
    /// `None` only while this is dropped.
    runtime: Option<Runtime>,
    client: Client,
    statements: RefCell<HashMap<String, Arc<Prepared>>>,
    pending: RefCell<Vec<Pending>>,
    /// How often an answer was waited for.
    round_trips: Cell<u64>,
    transaction: Transaction,
    /// How long any answer may take; `None` is as long as it takes.
    patience: Cell<Option<Duration>>,
    /// The server fell silent; nothing that comes later can be told from what was waited for.
    is_broken: Cell<bool>,
    /// What every statement has to pass, in builds for tests.
    check: Check,
}

impl Wire {
    /// Connects.
    ///
    /// # Errors
    /// When the server is not there or does not let us in.
    pub fn connect(config: &Config, tls: &MakeRustlsConnect, check: Check) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Error::Shape(error.to_string()))?;
        let client = wait(&runtime, Some(PATIENCE), async {
            let (client, connection) = config.connect(tls.clone()).await?;
            tokio::spawn(connection);
            client.batch_execute(SETTINGS).await?;
            Ok(client)
        })?;
        Ok(Self {
            runtime: Some(runtime),
            client,
            statements: RefCell::default(),
            pending: RefCell::default(),
            round_trips: Cell::new(0),
            transaction: Transaction::default(),
            patience: Cell::new(Some(PATIENCE)),
            is_broken: Cell::new(false),
            check,
        })
    }

    /// Statements may take as long as they take, or no longer than usual again.
    pub fn set_patient(&self, is_patient: bool) -> Result<()> {
        self.patience.set((!is_patient).then_some(PATIENCE));
        self.execute_batch(if is_patient { PATIENT } else { SETTINGS })
    }

    /// See [`super::Connection::round_trips`].
    pub fn round_trips(&self) -> u64 {
        self.round_trips.get()
    }

    /// Whether it can be used no more.
    pub fn is_broken(&self) -> bool {
        self.is_broken.get() || self.client.is_closed()
    }

    /// The same, of one that nobody has used for a while. Nobody drove it either, so what the server said meanwhile is heard
    /// first: else the end of a server would be met only by the next statement.
    pub fn has_ended(&self) -> bool {
        if let Some(runtime) = self.runtime.as_ref().filter(|_| !self.is_broken()) {
            runtime.block_on(async {
                // One turn for the network, one for the connection.
                for _ in 0..3 {
                    tokio::task::yield_now().await;
                }
            });
        }
        self.is_broken()
    }

    fn run<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        if self.is_broken() {
            return Err(Error::Silent);
        }
        let runtime = self.runtime.as_ref().expect("it is there until the end");
        let done = wait(runtime, self.patience.get(), work);
        match &done {
            Err(Error::Silent) => self.is_broken.set(true),
            Err(_) => self.transaction.has_failed.set(self.transaction.is_open.get()),
            Ok(_) => {}
        }
        done
    }

    /// A statement with `?` for parameters, prepared once.
    pub fn prepare(&self, sql: &str) -> Result<Arc<Prepared>> {
        if let Some(known) = self.statements.borrow().get(sql) {
            return Ok(Arc::clone(known));
        }
        let (translated, takes) = template::translate(sql);
        if cfg!(debug_assertions) {
            (self.check)(&translated).map_err(Error::Shape)?;
        }
        let refused = |error: Error| match error {
            Error::Postgres(error) if error.as_db_error().is_some() => {
                Error::Refused { error, sql: translated.clone() }
            }
            error => error,
        };
        let statement = self.run(async { Ok(self.client.prepare(&translated).await?) }).map_err(refused)?;
        let prepared = Arc::new(Prepared { statement, takes });
        self.statements.borrow_mut().insert(sql.to_owned(), Arc::clone(&prepared));
        Ok(prepared)
    }

    /// Runs a statement behind everything that is pending, in one round trip.
    fn send<T>(
        &self,
        work: impl Future<Output = std::result::Result<T, tokio_postgres::Error>>,
    ) -> Result<T> {
        let pending = self.pending.take();
        let statements = pending.iter().map(|pending| match pending {
            Pending::Many(bulk, columns) => {
                let statement = self.prepare(bulk.many)?;
                let beginnings = statement.takes.beginnings(columns, Column::beginnings);
                Ok((statement, beginnings))
            }
            Pending::One(statement, _) => Ok((Arc::clone(statement), Vec::new())),
        });
        let statements: Vec<(Arc<Prepared>, Vec<Column>)> = statements.collect::<Result<_>>()?;
        let waiting = pending.iter().zip(&statements).map(|(pending, (statement, beginnings))| {
            let params: Vec<&(dyn ToSql + Sync)> = match pending {
                Pending::Many(_, columns) => statement.takes.params(columns, beginnings),
                Pending::One(_, params) => params.iter().map(|param| param as _).collect(),
            };
            (statement, params)
        });
        let waiting: Vec<(&Arc<Prepared>, Vec<&(dyn ToSql + Sync)>)> = waiting.collect();
        let begins = self.transaction.begins.take();
        self.round_trips.update(|trips| trips + 1);
        self.run(async {
            let begun = self.begun(begins.as_ref());
            let earlier = try_join_all(waiting.iter().map(|(statement, params)| async {
                self.client.execute_raw(&statement.statement, params.iter().copied()).await
            }));
            // In the order in which they are named here; a failure of an earlier one fails all.
            let (begun, earlier, done) = tokio::join!(biased; begun, earlier, work);
            begun?;
            earlier?;
            Ok(done?)
        })
    }

    /// Begins a transaction, if one shall begin.
    async fn begun(&self, begins: Option<&Begin>) -> std::result::Result<(), tokio_postgres::Error> {
        let Some(begin) = begins else { return Ok(()) };
        let guard = async {
            match &begin.guard {
                Some((statement, tenure)) => {
                    self.client.execute(&statement.statement, &[tenure]).await.map(drop)
                }
                None => Ok(()),
            }
        };
        let (begun, guarded) = tokio::join!(biased; self.client.batch_execute(begin.sql), guard);
        begun.and(guarded)
    }

    /// Runs a statement, for its rows.
    pub fn query(&self, statement: &Prepared, values: &[Value<'_>]) -> Result<Vec<Row>> {
        let beginnings = statement.takes.beginnings(values, Value::beginning);
        let params = statement.takes.params(values, &beginnings);
        self.send(self.client.query(&statement.statement, &params))
    }

    /// Runs a statement, for the number of rows that it changes.
    pub fn execute(&self, statement: &Prepared, values: &[Value<'_>]) -> Result<usize> {
        let beginnings = statement.takes.beginnings(values, Value::beginning);
        let params = statement.takes.params(values, &beginnings);
        let changed = self.send(self.client.execute(&statement.statement, &params))?;
        Ok(usize::try_from(changed).unwrap_or(usize::MAX))
    }

    /// Runs statements without parameters.
    pub fn execute_batch(&self, sql: &str) -> Result<()> {
        self.send(self.client.batch_execute(sql))
    }

    /// Runs statements with arrays for parameters, in one round trip.
    pub fn query_all(&self, queries: &[(&str, &[Column])]) -> Result<Vec<Vec<Row>>> {
        let prepared = queries.iter().map(|(sql, columns)| {
            let statement = self.prepare(sql)?;
            let beginnings = statement.takes.beginnings(columns, Column::beginnings);
            Ok((statement, beginnings))
        });
        let prepared: Vec<(Arc<Prepared>, Vec<Column>)> = prepared.collect::<Result<_>>()?;
        self.send(try_join_all(prepared.iter().zip(queries).map(
            |((statement, beginnings), (_, columns))| async move {
                let params = statement.takes.params(columns, beginnings);
                self.client.query(&statement.statement, &params).await
            },
        )))
    }

    /// Runs a statement for each of several sets of parameters, in one round trip.
    pub fn query_each<const N: usize>(&self, sql: &str, params: &[[i64; N]]) -> Result<Vec<Vec<Row>>> {
        let statement = self.prepare(sql)?;
        let values: Vec<[Value<'_>; N]> = params.iter().map(|params| params.map(Value::Int)).collect();
        let beginnings: Vec<Vec<Value<'_>>> =
            values.iter().map(|values| statement.takes.beginnings(&values[..], Value::beginning)).collect();
        self.send(try_join_all(values.iter().zip(&beginnings).map(async |(values, beginnings)| {
            self.client.query(&statement.statement, &statement.takes.params(values, beginnings)).await
        })))
    }

    /// A row more for a statement that many rows share.
    pub fn push(&self, bulk: &'static Bulk, values: &[Value<'_>]) {
        pending::push(&mut self.pending.borrow_mut(), bulk, values);
    }

    /// A statement that nobody waits for.
    pub fn push_one(&self, statement: Arc<Prepared>, values: &[Value<'_>]) {
        let beginnings = statement.takes.beginnings(values, Value::beginning);
        let taken = statement.takes.values.iter().map(|&at| values.get(at).unwrap_or(&Value::Null));
        let params = taken.chain(&beginnings).map(OwnedValue::from).collect();
        self.pending.borrow_mut().push(Pending::One(statement, params));
    }

    /// A transaction begins with the next statement.
    pub fn begin(&self, sql: &'static str) {
        self.transaction.begin(Begin { sql, guard: None });
    }

    /// The same, and a statement with this number for its parameter goes before everything else: should it fail, so does
    /// the transaction.
    pub fn begin_guarded(&self, guard: &str, number: i64) -> Result<()> {
        let guard = self.prepare(guard)?;
        self.transaction.begin(Begin { sql: "BEGIN", guard: Some((guard, number)) });
        Ok(())
    }

    /// Sends what is pending and commits.
    ///
    /// # Errors
    /// When nothing was committed; [`Error::Silent`] when nobody knows.
    pub fn commit(&self) -> Result<()> {
        if self.transaction.has_failed.get() {
            self.roll_back();
            return Err(Error::Shape("a statement failed, and with it the transaction".to_owned()));
        }
        if self.transaction.begins.borrow().is_some() && self.pending.borrow().is_empty() {
            // Nothing was asked of the server.
            self.transaction.forget();
            return Ok(());
        }
        let done = self.send(self.client.batch_execute("COMMIT"));
        if done.is_err() {
            self.roll_back();
        }
        self.transaction.is_open.set(false);
        match done {
            Err(Error::Postgres(error)) if error.is_closed() => Err(Error::Silent),
            done => done,
        }
    }

    /// Forgets the transaction, if there is one.
    pub fn roll_back(&self) {
        self.pending.take();
        if self.transaction.forget()
            && !self.is_broken()
            && let Err(error) = self.run(async { Ok(self.client.batch_execute("ROLLBACK").await?) })
        {
            tracing::debug!(%error, "a rollback failed");
            self.is_broken.set(true);
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        // Wherever this happens: a runtime that is waited for may not end inside another one.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn wait<T>(
    runtime: &Runtime,
    patience: Option<Duration>,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    match patience {
        Some(patience) => {
            runtime.block_on(async { timeout(patience, work).await.unwrap_or(Err(Error::Silent)) })
        }
        None => runtime.block_on(work),
    }
}
