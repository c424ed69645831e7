//! PostgreSQL's own programs: where they are, and as whom they run, since the server refuses root.
//! Refuses to know what they are run for.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

const REMEDY: &str = "Install it with `apt-get install postgresql`, or put initdb, pg_ctl and psql of PostgreSQL 14 or \
                      newer on the PATH.";
/// Where Debian keeps the programs of each version.
const DEBIAN: &str = "/usr/lib/postgresql";
/// Whom Debian's package makes for the server.
const SERVER_USER: &str = "postgres";

/// The programs.
#[derive(Clone, Debug)]
pub struct Programs {
    /// Empty when they are on the path.
    folder: PathBuf,
    /// User and group of the server when we are root; otherwise it runs as we do.
    owner: Option<(u32, u32)>,
}

impl Programs {
    /// Looks where `pg_config` points, where Debian puts them, and on the path. What was found once is not looked for
    /// again.
    pub fn find() -> Result<Self, String> {
        static FOUND: OnceLock<Programs> = OnceLock::new();
        if let Some(found) = FOUND.get() {
            return Ok(found.clone());
        }
        Self::look().map(|found| FOUND.get_or_init(|| found).clone())
    }

    fn look() -> Result<Self, String> {
        let folder = folders().into_iter().find(|folder| runs(&folder.join("initdb")));
        let folder = folder.ok_or_else(|| format!("PostgreSQL's server is not installed. {REMEDY}"))?;
        if !runs(&folder.join("psql")) {
            return Err(format!("PostgreSQL's client psql is not installed. {REMEDY}"));
        }
        let is_root = id(&["-u"]) == Some(0);
        let owner = if is_root { Some(server_user()?) } else { None };
        Ok(Self { folder, owner })
    }

    /// Where a program is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A program that runs as we do.
    pub fn ours(&self, name: &str) -> Command {
        plain(self.path(name))
    }

    /// A program that runs as the server does, in a folder that the server may enter.
    pub fn servers(&self, name: impl AsRef<Path>, folder: &Path) -> Command {
        let mut command = plain(self.folder.join(name));
        command.current_dir(folder);
        if let Some((user, group)) = self.owner {
            command.uid(user).gid(group);
        }
        command
    }

    /// Gives a file or folder to the server.
    pub fn give(&self, path: &Path) -> Result<(), String> {
        let Some((user, group)) = self.owner else { return Ok(()) };
        let given = std::os::unix::fs::chown(path, Some(user), Some(group));
        given.map_err(|error| format!("cannot give {} to {SERVER_USER}: {error}", path.display()))
    }
}

/// Runs a program to its end and gives what it wrote.
pub fn output(command: &mut Command) -> Result<String, String> {
    output_of(command, "")
}

/// The same for a program that reads: a little text, which a pipe takes at once.
pub fn output_of(command: &mut Command, input: &str) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().map(|mut child| {
        let mut pipe = child.stdin.take().expect("it is piped");
        // What ends without reading says itself why.
        let _ = pipe.write_all(input.as_bytes());
        child
    });
    let output = child.and_then(|child| child.wait_with_output());
    let output = output.map_err(|error| format!("cannot run {name}: {error}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => Err(format!("{name}: {}{}", text(&output.stdout), text(&output.stderr))),
    }
}

/// English messages, and no defaults from the environment: `PGHOST` and the like are for people.
fn plain(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.env("LC_ALL", "C").env("PGTZ", "UTC");
    for variable in
        ["PGDATA", "PGHOST", "PGPORT", "PGUSER", "PGDATABASE", "PGOPTIONS", "PGSERVICE", "PGSSLMODE"]
    {
        command.env_remove(variable);
    }
    command
}

/// Folders where the programs may be, the likeliest first.
fn folders() -> Vec<PathBuf> {
    let configured = output(Command::new("pg_config").arg("--bindir")).ok();
    let configured = configured.map(|text| PathBuf::from(text.trim_end()));
    let versions = fs::read_dir(DEBIAN).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut debian: Vec<(u32, PathBuf)> = versions
        .filter_map(|path| Some((path.file_name()?.to_str()?.parse().ok()?, path.join("bin"))))
        .collect();
    debian.sort_unstable();
    let newest_first = debian.into_iter().rev().map(|(_, path)| path);
    configured.into_iter().chain(newest_first).chain([PathBuf::new()]).collect()
}

fn runs(program: &Path) -> bool {
    output(Command::new(program).arg("--version")).is_ok()
}

fn server_user() -> Result<(u32, u32), String> {
    let (user, group) = (id(&["-u", SERVER_USER]), id(&["-g", SERVER_USER]));
    user.zip(group).ok_or_else(|| {
        format!("PostgreSQL does not run as root, and there is no user {SERVER_USER} to run it as. {REMEDY}")
    })
}

fn id(arguments: &[&str]) -> Option<u32> {
    output(Command::new("id").args(arguments)).ok()?.trim_end().parse().ok()
}
