//! The write-ahead log, kept short without stalling commits: a thread of its own copies it into the database, and waits
//! until that is on disk, while the writer goes on. The writer itself copies the little that was added meanwhile; then the
//! next commit begins the log afresh, in blocks that the file has already. Only when readers held it open for too long does
//! the writer wait for them, and not for long.
//! Refuses to know what is in it.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::Connection;
use tracing::warn;

use super::reserve::Reserve;
use super::schema;
use crate::store::StoreError;

/// Pages of 4 KiB after which the background thread copies: 2 MiB. Commits that come while the disk takes that wait for it,
/// so it is no more than a disk takes in a few milliseconds.
const COPY_PAGES: u32 = 512;
/// Length from which the log is begun afresh: 16 MiB. A page that changes often is copied less often for it.
const LONG_PAGES: u32 = 4 * 1024;
/// The same where the disk is full: 4 MiB.
const LONG_PAGES_WHEN_FULL: u32 = 1024;
/// What the writer copies itself when the thread is done, in pages: half a megabyte, as much as a few commits write.
/// While more is added during each copy of the thread, which then copies again, it is twice as much each time.
const FINISH_PAGES: u32 = 128;
/// However often that was: 4 MiB, a few milliseconds and more where the disk is slow.
const FINISH_MOST_PAGES: u32 = 1024;
/// Pages at which the writer itself copies and starts the log afresh: 256 MiB.
const FORCE_PAGES: u32 = 64 * 1024;
/// How long it waits for readers then. Reads are pages; one that takes longer must not hold up the doors.
const FORCE_PATIENCE: Duration = Duration::from_millis(100);

/// What the log needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    /// Nothing.
    Nothing,
    /// The thread shall copy.
    Copy,
    /// The thread has copied all but a little.
    Finish,
    /// It is too long, whoever is in the way.
    Force,
}

/// What was done for the log, by its length in pages. The file's length would not do: it never shrinks by itself.
#[derive(Debug)]
struct Schedule {
    /// Its length when a copy was last begun.
    copied_at: u32,
    /// Whether that copy is under way.
    copying: bool,
    /// How much may have been added meanwhile for the writer to copy it.
    finish_at: u32,
    force_at: u32,
}

impl Schedule {
    fn new() -> Self {
        Self { copied_at: 0, copying: false, finish_at: FINISH_PAGES, force_at: FORCE_PAGES }
    }

    /// What to do at this length, where `long` is too long; `is_copied` tells once that the thread has done what it was asked for.
    fn need(&mut self, pages: u32, long: u32, is_copied: bool) -> Need {
        if pages < self.copied_at {
            // The log began afresh: all of it had been copied.
            *self = Self::new();
        }
        let has_copied = self.copying && is_copied;
        self.copying &= !is_copied;
        let added = pages - self.copied_at;
        if pages >= self.force_at {
            // Should it fail, the next try is a good while off; not each commit pays for a long read.
            self.force_at = pages + FORCE_PAGES / 4;
            return Need::Force;
        }
        if has_copied && pages >= long {
            if added <= self.finish_at {
                self.copied_at = pages;
                return Need::Finish;
            }
            self.finish_at = (self.finish_at * 2).min(FINISH_MOST_PAGES);
        } else if self.copying || added < COPY_PAGES {
            return Need::Nothing;
        }
        self.copied_at = pages;
        self.copying = true;
        Need::Copy
    }
}

/// What came of emptying the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Emptied {
    /// Nothing that was written before is in it.
    Done,
    /// It is being copied; ask again.
    Soon,
    /// Somebody reads from it; ask again in a while.
    Held,
}

/// Keeps the log short. Lives with the writer.
pub struct Log {
    /// Pages in the log after the last commit.
    pages: Arc<AtomicU32>,
    schedule: Schedule,
    nudges: Option<std::sync::mpsc::SyncSender<()>>,
    /// Set by the thread when it has copied.
    copied: Arc<AtomicBool>,
    /// How often the thread has copied.
    copies: Arc<AtomicU32>,
    /// While the log is being emptied: how often it had been copied when that was asked for, and its length then.
    emptying: Option<(u32, u32)>,
    /// Held while either side copies: SQLite does not wait, it refuses the second.
    copying: Arc<Mutex<()>>,
    reserve: Arc<Reserve>,
    thread: Option<JoinHandle<()>>,
    /// The database, for the thread to wait until the disk has what was copied. It has to be closed after the writer's
    /// connection, as it is by the order of the writer's fields: by POSIX, a process that closes a file loses all its locks
    /// on it, through whatever it was opened.
    _database: Arc<File>,
}

impl Log {
    /// Starts the background thread and counts what `writer` commits.
    ///
    /// # Errors
    /// When the system gives no thread or the file cannot be opened.
    pub fn start(path: &Path, writer: &mut Connection, reserve: Arc<Reserve>) -> Result<Self, String> {
        let pages = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&pages);
        let hook = move |_: &mut rusqlite::hooks::Wal, pages| {
            count.store(u32::try_from(pages).unwrap_or(0), Ordering::Relaxed);
            Ok(())
        };
        writer.wal_hook(Some(hook)).map_err(|error| error.to_string())?;

        let connection = Connection::open(path).map_err(|error| error.to_string())?;
        schema::configure(&connection).map_err(|error| error.to_string())?;
        let database = Arc::new(File::open(path).map_err(|error| error.to_string())?);
        let to_sync = Arc::clone(&database);
        let copying = Arc::new(Mutex::new(()));
        let copied = Arc::new(AtomicBool::new(false));
        let (theirs, done) = (Arc::clone(&copying), Arc::clone(&copied));
        let copies = Arc::new(AtomicU32::new(0));
        let count_copies = Arc::clone(&copies);
        let their_reserve = Arc::clone(&reserve);
        let (nudges, nudged) = std::sync::mpsc::sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("postcall-log".to_owned())
            .spawn(move || {
                while nudged.recv().is_ok() {
                    let _copying = theirs.lock().unwrap_or_else(PoisonError::into_inner);
                    copy(&connection, &their_reserve);
                    // SQLite leaves that to who copies the last page, which is the writer: it would wait for all of this.
                    if let Err(error) = to_sync.sync_data() {
                        warn!(%error, "what was copied of the log is not on disk yet; the writer will wait for it");
                    }
                    done.store(true, Ordering::Release);
                    count_copies.fetch_add(1, Ordering::Release);
                }
            })
            .map_err(|error| error.to_string())?;
        Ok(Self {
            pages,
            schedule: Schedule::new(),
            nudges: Some(nudges),
            copied,
            copies,
            emptying: None,
            copying,
            reserve,
            thread: Some(thread),
            _database: database,
        })
    }

    /// Has the log copied into the database soon, however short it is.
    pub fn copy(&self) {
        // One that is asked for already is enough.
        if let Some(nudges) = &self.nudges {
            let _ = nudges.try_send(());
        }
    }

    /// Copies the log and cuts its file to nothing. The thread does most of it; the writer does the rest when that is
    /// little, and waits for nobody.
    pub fn empty(&mut self, writer: &Connection) -> Result<Emptied, StoreError> {
        let (copies, pages) = (self.copies.load(Ordering::Acquire), self.pages.load(Ordering::Relaxed));
        match self.emptying {
            // One copy may have been under way when this was asked for; the second one began later.
            Some((before, length))
                if copies.wrapping_sub(before) >= 2 && pages <= length + FINISH_MOST_PAGES =>
            {
                self.emptying = None;
            }
            Some((before, length)) if copies.wrapping_sub(before) < 2 => {
                self.copy();
                self.emptying = Some((before, length.max(pages)));
                return Ok(Emptied::Soon);
            }
            _ => {
                self.copy();
                self.emptying = Some((copies, pages));
                return Ok(Emptied::Soon);
            }
        }
        let copying = Arc::clone(&self.copying);
        let _copying = copying.lock().unwrap_or_else(PoisonError::into_inner);
        let is_held = self.reserve.with_room(|| Ok(restart_within(writer, Duration::ZERO)?))?;
        Ok(if is_held { Emptied::Held } else { Emptied::Done })
    }

    /// Does what the log needs after a commit.
    pub fn tend(&mut self, writer: &Connection, is_full: bool) {
        let is_copied = self.copied.swap(false, Ordering::Acquire);
        let long = if is_full { LONG_PAGES_WHEN_FULL } else { LONG_PAGES };
        match self.schedule.need(self.pages.load(Ordering::Relaxed), long, is_copied) {
            Need::Nothing => {}
            Need::Copy => self.copy(),
            Need::Finish => {
                let _copying = self.copying.lock().unwrap_or_else(PoisonError::into_inner);
                copy(writer, &self.reserve);
            }
            Need::Force => {
                let _copying = self.copying.lock().unwrap_or_else(PoisonError::into_inner);
                if let Err(error) = self.reserve.with_room(|| Ok(restart(writer)?)) {
                    warn!(%error, "the log could not be started afresh");
                }
            }
        }
    }
}

/// Copies what no reader is in the way of. The database may have to grow for that.
fn copy(connection: &Connection, reserve: &Reserve) {
    let copied = reserve.with_room(|| Ok(connection.execute_batch("PRAGMA wal_checkpoint(PASSIVE);")?));
    if let Err(error) = copied {
        warn!(%error, "the log was not copied; the next time tries again");
    }
}

fn restart(writer: &Connection) -> rusqlite::Result<()> {
    if restart_within(writer, FORCE_PATIENCE)? {
        warn!("a long read keeps the log from being started afresh");
    }
    Ok(())
}

/// Copies all of the log and cuts it to nothing; true when somebody was in the way.
fn restart_within(writer: &Connection, patience: Duration) -> rusqlite::Result<bool> {
    writer.busy_timeout(patience)?;
    let is_busy = writer.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, bool>(0));
    writer.busy_timeout(schema::BUSY_PATIENCE)?;
    is_busy
}

impl Drop for Log {
    fn drop(&mut self) {
        self.nudges = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_copied_in_steps_and_forced_only_past_all_measure() {
        let mut schedule = Schedule::new();
        let mut need = |pages, is_copied| schedule.need(pages, LONG_PAGES, is_copied);
        assert_eq!(need(COPY_PAGES - 1, false), Need::Nothing);
        assert_eq!(need(COPY_PAGES, false), Need::Copy);
        assert_eq!(need(COPY_PAGES * 2, false), Need::Nothing, "not again while it is under way");
        assert_eq!(need(COPY_PAGES * 2 + 1, true), Need::Copy, "much was added meanwhile");
        assert_eq!(need(COPY_PAGES * 2 + 9, true), Need::Nothing, "it is short");
        assert_eq!(need(LONG_PAGES, false), Need::Copy);
        assert_eq!(need(LONG_PAGES + 9, true), Need::Finish);
        assert_eq!(need(LONG_PAGES + 20, false), Need::Nothing, "a reader was in the way");
        assert_eq!(need(LONG_PAGES + 9 + COPY_PAGES, false), Need::Copy);
        assert_eq!(need(LONG_PAGES + 20 + COPY_PAGES, true), Need::Finish);
        assert_eq!(need(3, false), Need::Nothing, "it began afresh");
        assert_eq!(need(COPY_PAGES + 3, false), Need::Copy);
        assert_eq!(need(FORCE_PAGES, false), Need::Force);
        assert_eq!(
            need(FORCE_PAGES + 100, false),
            Need::Nothing,
            "a reader was in the way: not again at once"
        );
        assert_eq!(need(FORCE_PAGES * 2, false), Need::Force);
        assert_eq!(need(10, false), Need::Nothing);
        assert_eq!(schedule.force_at, FORCE_PAGES);

        let mut schedule = Schedule::new();
        let long = LONG_PAGES_WHEN_FULL;
        assert_eq!(schedule.need(long, long, false), Need::Copy);
        assert_eq!(
            schedule.need(long + 9, long, true),
            Need::Finish,
            "a full disk has no room for a long one"
        );
    }

    #[test]
    fn the_writer_copies_more_where_every_commit_adds_much() {
        let mut schedule = Schedule::new();
        let mut pages = LONG_PAGES;
        assert_eq!(schedule.need(pages, LONG_PAGES, false), Need::Copy);
        let mut add = |many| {
            pages += many;
            schedule.need(pages, LONG_PAGES, true)
        };
        assert_eq!([1000; 4].map(&mut add), [Need::Copy, Need::Copy, Need::Copy, Need::Finish]);
        assert_eq!(schedule.need(1, LONG_PAGES, false), Need::Nothing);
        assert_eq!(schedule.finish_at, FINISH_PAGES, "it begins afresh with the log");
    }

    /// A connection that reads for long keeps its snapshot, and the writer does not wait for it for long.
    #[test]
    fn a_long_read_does_not_stop_the_writer() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("some.db");
        let mut writer = Connection::open(&path).unwrap();
        schema::configure(&writer).unwrap();
        let reserve = Arc::new(Reserve::open(dir.path(), 0, Arc::default()).unwrap());
        let log = Log::start(&path, &mut writer, reserve).unwrap();
        writer.execute_batch("CREATE TABLE t (a); INSERT INTO t VALUES (1);").unwrap();
        assert!(log.pages.load(Ordering::Relaxed) > 0);
        let reader = Connection::open(&path).unwrap();
        reader.execute_batch("BEGIN; SELECT a FROM t;").unwrap();
        writer.execute_batch("INSERT INTO t VALUES (2);").unwrap();
        restart(&writer).unwrap();
        writer.execute_batch("INSERT INTO t VALUES (3);").unwrap();
        let count =
            |db: &Connection| db.query_row("SELECT COUNT(*) FROM t", [], |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!((count(&reader), count(&writer)), (1, 3));
        reader.execute_batch("COMMIT").unwrap();
        restart(&writer).unwrap();
        assert_eq!(std::fs::metadata(path.with_extension("db-wal")).unwrap().len(), 0);
    }
}
