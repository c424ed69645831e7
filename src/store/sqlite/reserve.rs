//! Room on the disk that is kept for a full one: a file beside the database, really allocated, that is made shorter so that
//! erasure, retention and the log can go on where nothing else fits. What is new is taken in only while the reserve is
//! whole, so that it is there for what frees room. Does not depend on what is written, nor on SQLite.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{FallocateFlags, fallocate, statvfs};
use rustix::io::Errno;
use tracing::warn;

use crate::store::condition::Condition;
use crate::store::tx::purpose::Purpose;
use crate::store::{StoreError, private_files};

/// The file of the reserve, in a data directory.
pub const RESERVE: &str = "postcall.reserve";
/// What is given up at a time. Whoever else fills the disk can take what is given up, so that is never all at once.
const STEP: u64 = 2 << 20;
/// What it takes to open a database: the index of its log, and a few pages of that.
pub const TO_OPEN: u64 = 512 << 10;
/// What it takes to begin with what frees room.
pub const TO_BEGIN: u64 = STEP;
/// More than what is missing of the reserve has to be free before it is made whole: a part of it, and the least. Otherwise the
/// disk would be full again at once.
const HEADROOM_PART: u64 = 4;

/// The reserve.
#[derive(Debug)]
pub struct Reserve {
    dir: PathBuf,
    /// Nothing where none is kept.
    file: Option<File>,
    whole: u64,
    held: Mutex<u64>,
    condition: Arc<Condition>,
}

impl Reserve {
    /// The reserve of a directory, as large as an earlier process left it; none where it shall have no size.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn open(dir: &Path, whole: u64, condition: Arc<Condition>) -> io::Result<Self> {
        let path = dir.join(RESERVE);
        let (file, held) = if whole == 0 {
            let _ = std::fs::remove_file(&path);
            (None, 0)
        } else {
            let file = private_files::open(&path)?;
            let metadata = file.metadata()?;
            // A copy may have come without its blocks.
            let is_allocated = metadata.blocks() * 512 >= metadata.len();
            let held = if is_allocated { metadata.len().min(whole) } else { 0 };
            if held != metadata.len() {
                file.set_len(held)?;
            }
            (Some(file), held)
        };
        Ok(Self { dir: dir.to_owned(), file, whole, held: Mutex::new(held), condition })
    }

    /// Gives up what lacks of so many bytes, before what frees room is tried.
    pub fn make_room(&self, bytes: u64) {
        let lacking = bytes.saturating_sub(self.available());
        if lacking > 0 {
            self.shorten(lacking, 0);
        }
    }

    /// Work has met a full disk. Gives some up, so far as that is for such work: true when it is worth another try.
    pub fn ran_out(&self, purpose: Purpose) -> bool {
        if !self.condition.is_full() {
            self.condition.filled(&self.explain());
        }
        self.shorten(STEP, self.least(purpose))
    }

    /// Does work that can be done again, for as long as the disk is full for it and there is something to give up.
    pub fn with_room<T>(&self, mut work: impl FnMut() -> Result<T, StoreError>) -> Result<T, StoreError> {
        loop {
            match work() {
                Err(StoreError::Full(_)) if self.ran_out(Purpose::Free) => {}
                done => return done,
            }
        }
    }

    /// Whether work may be tried.
    ///
    /// # Errors
    /// [`StoreError::Full`] where what is left of the reserve is for other work.
    pub fn admit(&self, purpose: Purpose) -> Result<(), StoreError> {
        if !self.condition.is_full() || self.restore() {
            return Ok(());
        }
        let is_open = match purpose {
            Purpose::Add => false,
            Purpose::Settle => *self.held() >= self.least(purpose),
            Purpose::Free => true,
        };
        if is_open { Ok(()) } else { Err(StoreError::Full(self.explain())) }
    }

    /// Makes it whole where the disk has room for that, and for more. True when there is nothing to worry about.
    pub fn restore(&self) -> bool {
        let mut held = self.held();
        let missing = self.whole - *held;
        if missing == 0 && !self.condition.is_full() {
            return true;
        }
        let headroom = (self.whole / HEADROOM_PART).max(STEP);
        if self.available() < missing.saturating_add(headroom) {
            return false;
        }
        if let Some(file) = self.file.as_ref().filter(|_| missing > 0)
            && let Err(error) = allocate(file, *held, self.whole)
        {
            warn!(%error, "the reserve for a full disk cannot be made; the next time tries again");
            let _ = file.set_len(*held);
            return false;
        }
        *held = self.whole;
        self.condition.has_room();
        true
    }

    /// A sentence for the operator.
    pub fn explain(&self) -> String {
        let mebibytes = |bytes: u64| bytes >> 20;
        format!(
            "{} has {} MiB left, beside {} of {} MiB that are kept for erasure and retention. Free some room, keep less \
             (retention_days), or set --disk-reserve",
            self.dir.display(),
            mebibytes(self.available()),
            mebibytes(*self.held()),
            mebibytes(self.whole),
        )
    }

    /// What is left of it whatever work of this kind needs.
    fn least(&self, purpose: Purpose) -> u64 {
        match purpose {
            Purpose::Add => self.whole,
            Purpose::Settle => self.whole / 2,
            Purpose::Free => 0,
        }
    }

    fn shorten(&self, by: u64, least: u64) -> bool {
        let left = {
            let mut held = self.held();
            let left = held.saturating_sub(by).max(least.min(*held));
            let Some(file) = self.file.as_ref().filter(|_| left < *held) else { return false };
            // What is cut off is free for others when the file system has it in writing.
            if let Err(error) = file.set_len(left).and_then(|()| file.sync_all()) {
                warn!(%error, "the reserve for a full disk cannot be given up");
                return false;
            }
            *held = left;
            left
        };
        if left < self.whole {
            self.condition.filled(&self.explain());
        }
        true
    }

    /// What can be written on the file system yet, in bytes.
    fn available(&self) -> u64 {
        // One that does not say is not full as far as anybody knows.
        statvfs(&self.dir).map_or(u64::MAX, |it| it.f_bavail.saturating_mul(it.f_frsize))
    }

    fn held(&self) -> MutexGuard<'_, u64> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes a file so long, with blocks for all of it.
fn allocate(file: &File, from: u64, to: u64) -> io::Result<()> {
    match fallocate(file, FallocateFlags::empty(), from, to - from) {
        Ok(()) => {}
        // Not every file system knows how.
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
            let zeros = vec![0; 1 << 20];
            let mut end = file;
            end.seek(SeekFrom::Start(from))?;
            let mut left = usize::try_from(to - from).unwrap_or(usize::MAX);
            while left > 0 {
                let part = left.min(zeros.len());
                end.write_all(&zeros[..part])?;
                left -= part;
            }
        }
        Err(error) => return Err(error.into()),
    }
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn length(dir: &Path) -> u64 {
        std::fs::metadata(dir.join(RESERVE)).unwrap().len()
    }

    #[test]
    fn it_is_given_up_step_by_step_and_half_of_it_only_for_what_frees_room() {
        let dir = tempfile::tempdir().unwrap();
        let condition: Arc<Condition> = Arc::default();
        let open = || Reserve::open(dir.path(), 4 * STEP, Arc::clone(&condition)).unwrap();
        let reserve = open();
        assert!(reserve.restore() && reserve.admit(Purpose::Add).is_ok());
        let blocks = std::fs::metadata(dir.path().join(RESERVE)).unwrap().blocks() * 512;
        assert!(length(dir.path()) == 4 * STEP && blocks >= 4 * STEP, "{blocks} bytes are allocated");

        assert!(!reserve.ran_out(Purpose::Add) && condition.is_full(), "nothing for what is new");
        let given = std::iter::repeat_with(|| reserve.ran_out(Purpose::Settle)).take_while(|given| *given);
        assert_eq!((given.count(), length(dir.path())), (2, 2 * STEP));
        assert!(
            reserve.ran_out(Purpose::Free)
                && reserve.ran_out(Purpose::Free)
                && !reserve.ran_out(Purpose::Free)
        );
        drop(reserve);
        assert_eq!(length(dir.path()), 0);

        // This disk has room: the next one finds out.
        let reserve = open();
        assert!(reserve.admit(Purpose::Settle).is_ok());
        assert_eq!((length(dir.path()), condition.is_full()), (4 * STEP, false));
    }

    #[test]
    fn one_without_blocks_is_none() {
        let dir = tempfile::tempdir().unwrap();
        File::create(dir.path().join(RESERVE)).unwrap().set_len(STEP).unwrap();
        let reserve = Reserve::open(dir.path(), STEP, Arc::default()).unwrap();
        assert_eq!(*reserve.held(), 0);
        drop(Reserve::open(dir.path(), 0, Arc::default()).unwrap());
        assert!(!dir.path().join(RESERVE).exists(), "nobody wants one");
    }
}
