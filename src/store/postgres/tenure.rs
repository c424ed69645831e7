//! The lease of this node: a row with an expiry by the database's clock, renewed well before, and a new number for each
//! tenure. What a tenure owns is its own only as long as its row is there; whoever removes the row takes that over.
//! Refuses to know what is owned.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tracing::warn;

use super::notifications;
use super::predecessor::Notes;
use crate::model::Time;
use crate::store::maintenance::upkeep;
use crate::store::sql::Connection;
use crate::store::{Notification, StoreError};

/// The time of the database, in microseconds since 1970.
const NOW: &str = "(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000)::BIGINT";
/// The time of the database.
pub fn now(db: &Connection) -> Result<Time, StoreError> {
    Ok(Time::from_micros(db.prepare_cached(&format!("SELECT {NOW}"))?.query_row((), |row| row.get(0))?))
}

/// The class of advisory locks that the transactions of a tenure share, see `enter_tenure` in the schema, and that who ends
/// it wants alone.
const TENURES: i64 = 7_810_419;
/// Part of a lease after which it is renewed.
const RENEWALS: u32 = 4;
/// The longest time between two renewals: other news is asked for as often.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// This node's lease.
#[derive(Debug)]
pub struct Tenure {
    name: String,
    lease: Duration,
    /// The number of the tenure, 0 while there is none.
    number: AtomicI64,
    /// Until when it lasts, by our own clock and counted from before the renewal was asked for.
    until: Mutex<Option<Instant>>,
    /// Tenures that this node itself has no use for any more, and that nobody has ended yet.
    abandoned: Mutex<Vec<i64>>,
    is_over: AtomicBool,
    /// Tenures that ended and whose deliveries are still in queues here, as far as their owner has said.
    unemptied: AtomicUsize,
    /// Where the number is noted for the next process here.
    notes: Notes,
    news: UnboundedSender<Notification>,
    unheard: Mutex<Option<UnboundedReceiver<Notification>>>,
}

impl Tenure {
    /// A node that has no tenure yet.
    pub fn new(name: String, lease: Duration, notes: Notes) -> Self {
        let (news, unheard) = unbounded_channel();
        Self {
            notes,
            name,
            lease,
            number: AtomicI64::new(0),
            until: Mutex::new(None),
            abandoned: Mutex::default(),
            is_over: AtomicBool::new(false),
            unemptied: AtomicUsize::new(0),
            news,
            unheard: Mutex::new(Some(unheard)),
        }
    }

    /// Its number.
    pub fn number(&self) -> i64 {
        self.number.load(Ordering::Acquire)
    }

    /// What happens to it and elsewhere; given once.
    pub fn notifications(&self) -> Option<UnboundedReceiver<Notification>> {
        self.unheard.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Tells of something.
    pub fn tell(&self, news: Notification) {
        // Nobody listens in a store that is only read.
        let _ = self.news.send(news);
    }

    /// How long to wait between two renewals.
    pub fn pause(&self) -> Duration {
        (self.lease / RENEWALS).min(LONGEST_PAUSE)
    }

    /// Whether an attempt of this length may start: see [`crate::store::Claims::outlasts`].
    pub fn outlasts(&self, attempt: Duration) -> bool {
        let until = *self.until.lock().unwrap_or_else(PoisonError::into_inner);
        let needed = attempt.min(self.lease / 2);
        // What the last tenure left in queues must not go out in the next one's time.
        self.unemptied.load(Ordering::Acquire) == 0
            && until.is_some_and(|until| until.saturating_duration_since(Instant::now()) >= needed)
    }

    /// The queues were emptied after one [`Notification::Lapsed`].
    pub fn queues_emptied(&self) {
        self.unemptied.fetch_sub(1, Ordering::AcqRel);
    }

    fn hold(&self, number: i64, since: Instant) {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) = Some(since + self.lease);
        self.number.store(number, Ordering::Release);
    }

    /// Begins a tenure.
    pub fn begin(&self, db: &Connection) -> Result<(), StoreError> {
        let since = Instant::now();
        let number: i64 = db
            .prepare_cached(&format!(
                "INSERT INTO nodes (node, name, expires) VALUES (nextval('tenures'), ?, {NOW} + CAST(? AS BIGINT))
                 RETURNING node"
            ))?
            .query_row((&*self.name, self.micros()), |row| row.get(0))?;
        self.hold(number, since);
        self.notes.note(number, &self.name);
        Ok(())
    }

    fn micros(&self) -> i64 {
        i64::try_from(self.lease.as_micros()).unwrap_or(i64::MAX)
    }

    /// Renews it; begins another when it is over, and tells that everything in memory went with it.
    pub fn renew(&self, db: &Connection) -> Result<(), StoreError> {
        if self.is_over.load(Ordering::Acquire) {
            return Ok(());
        }
        self.end_abandoned(db)?;
        if self.number() == 0 {
            self.begin(db)?;
            self.tell(Notification::WakeAll);
            return Ok(());
        }
        let (since, number) = (Instant::now(), self.number());
        let renewed = db
            .prepare_cached(&format!("UPDATE nodes SET expires = {NOW} + CAST(? AS BIGINT) WHERE node = ?"))?
            .execute([self.micros(), number])?;
        if renewed == 1 {
            // Another thread may have ended this tenure meanwhile.
            if self.number() == number {
                self.hold(number, since);
                self.notes.note(number, &self.name);
            }
            return Ok(());
        }
        warn!(tenure = number, "the lease lapsed: others have taken over what was in memory here");
        self.lapse(number);
        self.renew(db)
    }

    fn end_abandoned(&self, db: &Connection) -> Result<(), StoreError> {
        let abandoned = self.abandoned.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for number in abandoned {
            end(db, number)?;
            self.abandoned.lock().unwrap_or_else(PoisonError::into_inner).retain(|&other| other != number);
        }
        Ok(())
    }

    /// A tenure is over: nothing starts before there is another one.
    pub fn lapse(&self, number: i64) {
        // Before the next tenure can begin.
        self.unemptied.fetch_add(1, Ordering::AcqRel);
        let is_ours = number != 0
            && self.number.compare_exchange(number, 0, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if is_ours {
            *self.until.lock().unwrap_or_else(PoisonError::into_inner) = None;
            self.abandoned.lock().unwrap_or_else(PoisonError::into_inner).push(number);
            self.tell(Notification::Lapsed);
        } else {
            self.queues_emptied();
        }
    }

    /// Gives it up, so that others need not wait for its end.
    pub fn end(&self, db: &Connection) -> Result<(), StoreError> {
        self.is_over.store(true, Ordering::Release);
        let number = self.number.swap(0, Ordering::AcqRel);
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) = None;
        end(db, number)?;
        self.end_abandoned(db)
    }
}

/// Ends a tenure, and tells the others that there is something to take over.
fn end(db: &Connection, number: i64) -> Result<(), StoreError> {
    transact(db, || {
        take_over(db, number)?;
        notifications::tell_of_a_gone_node(db)
    })
}

/// A node that starts need not wait for anybody to end leases that are over, nor for that of the process before it here, which
/// is gone.
pub fn end_lapsed_at_start(
    db: &Connection,
    last: Option<(i64, String)>,
    name: &str,
) -> Result<(), StoreError> {
    if let Some((number, noted)) = last.filter(|(_, noted)| host(noted) == host(name))
        && let Err(error) = end_predecessor(db, number, &noted)
    {
        warn!(%error, tenure = number, "the lease of the process before this one was not ended; it ends by itself");
    }
    transact(db, || end_lapsed(db).map(drop))
}

/// The directory may have been used with another database: the name has to be that of the number. Should it be a node's that
/// lives, that begins another tenure.
fn end_predecessor(db: &Connection, number: i64, name: &str) -> Result<(), StoreError> {
    let is_there = "SELECT 1 FROM nodes WHERE node = ? AND name = ?";
    match db.prepare_cached(is_there)?.exists((number, name))? {
        true => end(db, number),
        false => Ok(()),
    }
}

/// The machine of a node's name: the port may be another one after each start, the machine is not where a directory was copied.
fn host(name: &str) -> &str {
    name.rsplit_once(':').map_or(name, |(host, _)| host)
}

/// Runs work in a transaction that no tenure guards.
pub fn transact(db: &Connection, work: impl FnOnce() -> Result<(), StoreError>) -> Result<(), StoreError> {
    let Some(wire) = db.postgres() else { return Ok(()) };
    wire.begin("BEGIN");
    match work() {
        Ok(()) => Ok(wire.commit()?),
        Err(error) => {
            wire.roll_back();
            Err(error)
        }
    }
}

/// Begins a transaction that only a tenure may commit: whoever wants to end it waits until this is over, and if it was
/// ended before, [`StoreError::Lapsed`] comes of the first statement.
pub fn enter(db: &Connection, number: i64) -> Result<(), StoreError> {
    match db.postgres() {
        Some(wire) => Ok(wire.begin_guarded("SELECT enter_tenure(?)", number)?),
        None => Ok(()),
    }
}

/// Ends a tenure and gives what it owned to everybody. The caller's transaction, if there is one.
fn take_over(db: &Connection, number: i64) -> Result<(), StoreError> {
    db.prepare_cached("SELECT pg_advisory_xact_lock(CAST(? AS BIGINT) * 4294967296 + CAST(? AS BIGINT))")?
        .exists([TENURES, number])?;
    db.prepare_cached("DELETE FROM nodes WHERE node = ?")?.execute([number])?;
    upkeep::disown(db, number)
}

/// Ends the tenures whose leases are over. True if there was one: then anything may be due.
pub fn end_lapsed(db: &Connection) -> Result<bool, StoreError> {
    let lapsed: Vec<i64> = db
        .prepare_cached(&format!("SELECT node FROM nodes WHERE expires < {NOW} ORDER BY node"))?
        .query_map((), |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for &number in &lapsed {
        // It may have been renewed until the lock was there.
        db.prepare_cached(
            "SELECT pg_advisory_xact_lock(CAST(? AS BIGINT) * 4294967296 + CAST(? AS BIGINT))",
        )?
        .exists([TENURES, number])?;
        let is_over = db
            .prepare_cached(&format!("SELECT 1 FROM nodes WHERE node = ? AND expires < {NOW} FOR UPDATE"))?
            .exists([number])?;
        if is_over {
            take_over(db, number)?;
            warn!(tenure = number, "a node's lease is over; what it owned is taken over");
        }
    }
    Ok(!lapsed.is_empty())
}
