//! Files that their owner alone may read: how each is made, and what becomes of one that others can read.
//! Does not depend on what is in them.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use tracing::warn;

/// The mode of a file: read and write for its owner.
const FILE_MODE: u32 = 0o600;
/// The mode of a directory.
const DIRECTORY_MODE: u32 = 0o700;
/// The bits of a mode that say what its owner and its group may do.
const OWNER: u32 = 0o700;
const GROUP: u32 = 0o070;
/// The bit of a directory that says that what is in it belongs to its group.
const SET_GROUP_ID: u32 = 0o2000;

/// Makes a directory and those above it where they are missing. One that is there stays as it is.
///
/// # Errors
/// When the system refuses.
pub fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(path)
}

/// Opens a file to be written, with what is in it, and makes it when it is missing.
///
/// # Errors
/// When the system refuses.
pub fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(FILE_MODE).open(path)
}

/// Opens a file to be written from its beginning, and makes it when it is missing. One that is there keeps its mode.
///
/// # Errors
/// When the system refuses.
pub fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(FILE_MODE).open(path)
}

/// Writes a file that is there whole or not at all, also after a power cut.
///
/// # Errors
/// When the system refuses.
pub fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    // One that a start left behind may have any mode.
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

/// Takes from a file what others than its owner may do with it. In a directory that is shared by a group on purpose (its
/// set-group-id bit is set: `chmod g+s`) the group keeps what it may do. Gives the mode that the file had if it was wider.
///
/// # Errors
/// When there is no such file, or its mode cannot be changed.
pub fn narrow(path: &Path) -> io::Result<Option<u32>> {
    let mode_of = |path: &Path| Ok::<u32, io::Error>(std::fs::metadata(path)?.permissions().mode());
    let mode = mode_of(path)? & 0o777;
    if mode & !OWNER == 0 {
        return Ok(None);
    }
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let is_shared = mode_of(directory.unwrap_or(Path::new(".")))? & SET_GROUP_ID != 0;
    let narrow = mode & if is_shared { OWNER | GROUP } else { OWNER };
    if narrow == mode {
        return Ok(None);
    }
    std::fs::set_permissions(path, Permissions::from_mode(narrow))?;
    Ok(Some(mode))
}

/// Narrows those of these files that are there, and says in the log which could be read by others, and what to do where
/// that cannot be changed from here.
pub fn narrow_all(directory: &Path, names: &[&str]) {
    for path in names.iter().map(|name| directory.join(name)) {
        match narrow(&path) {
            Ok(None) => {}
            Ok(Some(mode)) => warn!(
                file = %path.display(),
                mode = format!("{mode:04o}"),
                "other users of this machine could read this file; now its owner alone can"
            ),
            // On a read-only mount, whoever mounted it decides who reads it.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ReadOnlyFilesystem) => {}
            Err(error) => warn_of(&path, &error),
        }
    }
}

/// A file of another owner that this process may read through its group alone is shared with it on purpose.
fn warn_of(path: &Path, error: &io::Error) {
    let is_for_all = std::fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o007 != 0);
    if is_for_all {
        let path = path.display();
        warn!(%error, "every user of this machine can read {path}; as its owner run: chmod 600 {path}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    fn set(path: &Path, mode: u32) {
        std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_file_is_whole_and_private_whatever_lay_in_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("some.key");
        for name in ["some.new", "some.key"] {
            std::fs::write(dir.path().join(name), "old").unwrap();
            set(&dir.path().join(name), 0o666);
        }
        write_whole(&path, b"new").unwrap();
        assert_eq!((std::fs::read(&path).unwrap(), mode(&path)), (b"new".to_vec(), 0o600));
        assert!(!dir.path().join("some.new").exists());
    }

    #[test]
    fn a_wide_file_is_narrowed_and_a_group_that_shares_the_directory_keeps_its_part() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("some.db");
        assert_eq!(narrow(&path).unwrap_err().kind(), ErrorKind::NotFound);
        drop(open(&path).unwrap());
        assert_eq!((narrow(&path).unwrap(), mode(&path)), (None, 0o600));
        set(&path, 0o644);
        assert_eq!((narrow(&path).unwrap(), mode(&path)), (Some(0o644), 0o600));
        set(dir.path(), 0o2750);
        set(&path, 0o640);
        assert_eq!((narrow(&path).unwrap(), mode(&path)), (None, 0o640), "shared on purpose");
        set(&path, 0o664);
        assert_eq!((narrow(&path).unwrap(), mode(&path)), (Some(0o664), 0o660), "and with nobody else");
    }
}
