//! The process that had this data directory before, and the tenure that it noted there. Who has the lock on the note knows that
//! this process is gone, so a node that was killed and starts again need not wait for the end of its own old lease.
//! Refuses to know how a tenure is ended.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use tracing::debug;

/// The file: the number of a tenure, and the name of its node.
const FILE: &str = "tenure";

/// The note of this process, locked as long as it lives.
#[derive(Debug)]
pub struct Note(File);

impl Note {
    /// Takes the note of a data directory over, with the tenure and the name that the last process noted. `None` where another
    /// process has it, or it cannot be written: then leases are waited for, as those of other machines are.
    pub fn take(data: &Path) -> Option<(Self, Option<(i64, String)>)> {
        let path = data.join(FILE);
        let opened =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let mut file = opened.inspect_err(|error| debug!(%error, "tenures are not noted")).ok()?;
        file.try_lock().ok()?;
        let mut noted = String::new();
        // What cannot be read names nobody.
        let last = file.read_to_string(&mut noted).ok().and_then(|_| {
            let (number, name) = noted.trim_end().split_once(' ')?;
            Some((number.parse().ok()?, name.to_owned()))
        });
        Some((Self(file), last))
    }

    /// Notes a tenure. It need not outlive a power cut: what is lost then is a wait.
    pub fn write(&self, tenure: i64, name: &str) {
        let written =
            self.0.set_len(0).and_then(|()| self.0.write_all_at(format!("{tenure} {name}\n").as_bytes(), 0));
        if let Err(error) = written {
            debug!(%error, "a tenure was not noted");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_found_by_the_next_process_alone() {
        let data = tempfile::tempdir().unwrap();
        let (note, last) = Note::take(data.path()).unwrap();
        assert_eq!(last, None);
        note.write(123_456, "a node with a long name:8080");
        note.write(7, "node:80");
        assert!(Note::take(data.path()).is_none(), "it lives");
        drop(note);
        assert_eq!(Note::take(data.path()).unwrap().1, Some((7, "node:80".to_owned())));
        for nonsense in ["nonsense", "seven node:80", "7", ""] {
            std::fs::write(data.path().join(FILE), nonsense).unwrap();
            assert_eq!(Note::take(data.path()).unwrap().1, None, "{nonsense}");
        }
        assert!(Note::take(&data.path().join("nowhere")).is_none());
    }
}
