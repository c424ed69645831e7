//! The process that had this data directory before, and the tenure that it noted there. Who has the lock on the note knows that
//! this process is gone, so a node that was killed and starts again need not wait for the end of its own old lease.
//! Refuses to know how a tenure is ended.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use tracing::debug;

use crate::store::private_files;

/// The file: the number of a tenure, and the name of its node.
pub const FILE: &str = "tenure";

/// The notes in a data directory. Whoever has them locks them as long as it lives.
#[derive(Debug)]
pub struct Notes {
    path: PathBuf,
    ours: Mutex<Option<Ours>>,
}

#[derive(Debug)]
struct Ours {
    file: File,
    /// The tenure that is noted.
    tenure: i64,
}

impl Notes {
    /// Takes the notes of a data directory over, with the tenure and the name that the last process noted: nothing as long as
    /// another process has them, or where they cannot be written. Then leases are waited for, as those of other machines are.
    pub fn take(data: &Path) -> (Self, Option<(i64, String)>) {
        let path = data.join(FILE);
        let (file, last) = take(&path).unzip();
        let ours = Mutex::new(file.map(|file| Ours { file, tenure: 0 }));
        (Self { path, ours }, last.flatten())
    }

    /// Notes a tenure, if it is not noted yet. It need not outlive a power cut: what is lost then is a wait. A process that was
    /// still at its end when this one began is gone some time, and then the notes are free.
    pub fn note(&self, tenure: i64, name: &str) {
        let mut ours = self.ours.lock().unwrap_or_else(PoisonError::into_inner);
        if ours.is_none() {
            *ours = take(&self.path).map(|(file, _)| Ours { file, tenure: 0 });
        }
        let Some(ours) = ours.as_mut().filter(|ours| ours.tenure != tenure) else { return };
        let line = format!("{tenure} {name}\n");
        match ours.file.set_len(0).and_then(|()| ours.file.write_all_at(line.as_bytes(), 0)) {
            Ok(()) => ours.tenure = tenure,
            Err(error) => debug!(%error, "a tenure was not noted"),
        }
    }
}

fn take(path: &Path) -> Option<(File, Option<(i64, String)>)> {
    let mut file =
        private_files::open(path).inspect_err(|error| debug!(%error, "tenures are not noted")).ok()?;
    file.try_lock().ok()?;
    let mut noted = String::new();
    // What cannot be read names nobody.
    let last = file.read_to_string(&mut noted).ok().and_then(|_| {
        let (number, name) = noted.trim_end().split_once(' ')?;
        Some((number.parse().ok()?, name.to_owned()))
    });
    Some((file, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_found_by_the_next_process_alone() {
        let data = tempfile::tempdir().unwrap();
        let (notes, last) = Notes::take(data.path());
        assert_eq!(last, None);
        notes.note(123_456, "a node with a long name:8080");
        notes.note(7, "node:80");
        let (second, last) = Notes::take(data.path());
        assert_eq!(last, None, "it lives");
        second.note(8, "node:81");
        drop(notes);
        let (third, last) = Notes::take(data.path());
        assert_eq!(last, Some((7, "node:80".to_owned())));
        drop(third);
        second.note(8, "node:81");
        drop(second);
        assert_eq!(Notes::take(data.path()).1, Some((8, "node:81".to_owned())), "as soon as they were free");
        for nonsense in ["nonsense", "seven node:80", "7", ""] {
            std::fs::write(data.path().join(FILE), nonsense).unwrap();
            assert_eq!(Notes::take(data.path()).1, None, "{nonsense}");
        }
        assert_eq!(Notes::take(&data.path().join("nowhere")).1, None);
    }
}
