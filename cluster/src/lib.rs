//! PostgreSQL clusters for tests and benchmarks: each in a temporary directory of its own, on a free port of loopback,
//! under any user including root, and gone with the process that started it, however that ends.
//! Knows PostgreSQL's programs; refuses to know what is kept in the databases.

mod keeper;
mod programs;

use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use keeper::Keeper;
use programs::{Programs, output};

/// Settings for tests that are not about what a machine loses when its power goes: no waiting for disks, and room for
/// the connections of many tests at a time.
pub const FAST: &[(&str, &str)] = &[
    ("fsync", "off"),
    ("full_page_writes", "off"),
    ("max_connections", "600"),
    ("max_wal_size", "4GB"),
    ("checkpoint_timeout", "1h"),
    // Nothing is left in /dev/shm of a server that a test has killed.
    ("dynamic_shared_memory_type", "mmap"),
];

/// Ports are looked for here, below those that the kernel gives to outgoing connections: a server that is started
/// again finds its port as it left it.
const PORTS: std::ops::Range<u16> = 15_000..32_000;
/// How often a start is tried when somebody else was quicker at taking the port.
const PORT_TRIES: usize = 20;

/// How a server is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// In good order: connections are cut, what is committed is on disk.
    Fast,
    /// As a crash: at once, the log is replayed at the next start.
    Immediate,
}

/// A PostgreSQL cluster. When it is dropped, and also when this process is killed, its server is stopped and its
/// directory removed.
#[derive(Debug)]
pub struct Cluster {
    programs: Programs,
    home: PathBuf,
    port: u16,
    password: String,
    // The last field: what the others describe is gone with it.
    _keeper: Keeper,
}

impl Cluster {
    /// Makes a cluster and starts its server with these settings beside the usual ones.
    ///
    /// # Errors
    /// A sentence that says what is missing and how to install it, or what PostgreSQL said.
    pub fn start(settings: &[(&str, &str)]) -> Result<Self, String> {
        let mut cluster = Self::prepare(random_hex()?)?;
        let password_file = cluster.home.join("password");
        fs::write(&password_file, &cluster.password).map_err(|error| error.to_string())?;
        cluster.programs.give(&password_file)?;
        let mut initdb = cluster.program("initdb");
        initdb.args(["--no-sync", "--no-locale", "--encoding=UTF8", "--username=postgres"]);
        initdb.arg("--auth=password").arg("--pwfile").arg(&password_file);
        output(initdb.arg("--pgdata").arg(cluster.data()))?;
        cluster.configure(settings)?;
        cluster.first_start()?;
        Ok(cluster)
    }

    /// Makes a standby that follows this cluster and starts it; it calls itself `name` to its primary, as
    /// `synchronous_standby_names` wants it.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn standby(&self, name: &str, settings: &[(&str, &str)]) -> Result<Self, String> {
        let mut standby = Self::prepare(self.password.clone())?;
        let primary = format!("{}?application_name={name}", self.url("postgres"));
        let mut backup = standby.program("pg_basebackup");
        backup.args(["--no-sync", "--checkpoint=fast", "--wal-method=stream", "--write-recovery-conf"]);
        output(backup.args(["--dbname", &primary]).arg("--pgdata").arg(standby.data()))?;
        standby.configure(settings)?;
        standby.first_start()?;
        Ok(standby)
    }

    /// The URL of a database, with user and password.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres:{}@127.0.0.1:{}/{database}", self.password, self.port)
    }

    /// The port on 127.0.0.1; it stays the same over restarts.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.home.join("data")
    }

    /// Everything that the server has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// The process id of the server, for signals.
    ///
    /// # Errors
    /// When no server runs.
    pub fn pid(&self) -> Result<u32, String> {
        let file = fs::read_to_string(self.data().join("postmaster.pid"));
        let first = file.ok().and_then(|text| text.lines().next().and_then(|line| line.trim().parse().ok()));
        first.ok_or_else(|| "the server does not run".to_owned())
    }

    /// Runs statements in a database, as superuser: [`sql`].
    ///
    /// # Errors
    /// What PostgreSQL said.
    pub fn sql(&self, database: &str, statements: &str) -> Result<String, String> {
        sql(&self.url(database), statements)
    }

    /// Changes a setting for good, also one that a restart has to follow (`restart`); the others count at once.
    ///
    /// # Errors
    /// What PostgreSQL said.
    pub fn set(&self, setting: &str, value: &str) -> Result<(), String> {
        let value = value.replace('\'', "''");
        let change = format!("ALTER SYSTEM SET {setting} = '{value}'; SELECT pg_reload_conf();");
        self.sql("postgres", &change).map(drop)
    }

    /// Stops the server.
    ///
    /// # Errors
    /// What `pg_ctl` said.
    pub fn stop(&self, how: Stop) -> Result<(), String> {
        let mode = match how {
            Stop::Fast => "--mode=fast",
            Stop::Immediate => "--mode=immediate",
        };
        self.control(&["stop", mode, "--wait"])
    }

    /// Starts the server again after [`Self::stop`], or after it was killed.
    ///
    /// # Errors
    /// What `pg_ctl` and the server said.
    pub fn resume(&self) -> Result<(), String> {
        let before = self.log().len();
        self.control(&["start", "--wait", "--timeout=60"])
            .map_err(|error| format!("{error}\n{}", self.log().get(before..).unwrap_or_default()))
    }

    /// Stops the server and starts it again.
    ///
    /// # Errors
    /// As [`Self::stop`] and [`Self::resume`].
    pub fn restart(&self, how: Stop) -> Result<(), String> {
        self.stop(how)?;
        self.resume()
    }

    /// Makes a standby a primary. It takes writes when this returns.
    ///
    /// # Errors
    /// What `pg_ctl` said.
    pub fn promote(&self) -> Result<(), String> {
        self.control(&["promote", "--wait"])
    }

    /// A directory with a keeper, and nothing in it yet.
    fn prepare(password: String) -> Result<Self, String> {
        let programs = Programs::find()?;
        let home = make_home()?;
        let made = programs.give(&home).and_then(|()| Keeper::start(&programs, &home));
        let keeper = made.inspect_err(|_| drop(fs::remove_dir(&home)))?;
        Ok(Self { programs, home, port: 0, password, _keeper: keeper })
    }

    fn configure(&self, settings: &[(&str, &str)]) -> Result<(), String> {
        let sockets = format!("unix_socket_directories = '{}'\n", self.home.display());
        let settings =
            settings.iter().map(|(name, value)| format!("{name} = '{}'\n", value.replace('\'', "''")));
        let usual =
            "listen_addresses = '127.0.0.1'\nlogging_collector = off\ncluster_name = 'postcall-test'\n";
        let text = [usual.to_owned(), sockets].into_iter().chain(settings).collect::<String>();
        self.append("postgresql.conf", &text)
    }

    /// Starts on a port that is free; what a caller sees of the port is only what it was given.
    fn first_start(&mut self) -> Result<(), String> {
        let mut tried = 0;
        loop {
            tried += 1;
            self.port = free_port()?;
            self.append("postgresql.conf", &format!("port = {}\n", self.port))?;
            match self.resume() {
                Err(why) if why.contains("could not bind") && tried < PORT_TRIES => continue,
                outcome => return outcome,
            }
        }
    }

    fn append(&self, file: &str, text: &str) -> Result<(), String> {
        let path = self.data().join(file);
        let appended = fs::OpenOptions::new().append(true).open(&path);
        let appended = appended.and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes()));
        appended.map_err(|error| format!("cannot write {}: {error}", path.display()))
    }

    fn log_file(&self) -> PathBuf {
        self.home.join("log")
    }

    fn program(&self, name: &str) -> Command {
        self.programs.servers(name, &self.home)
    }

    fn control(&self, arguments: &[&str]) -> Result<(), String> {
        let mut command = self.program("pg_ctl");
        command.args(arguments).arg("--pgdata").arg(self.data()).arg("--log").arg(self.log_file());
        output(&mut command).map(drop)
    }
}

/// Whether PostgreSQL's programs are here.
///
/// # Errors
/// A sentence that says how to install them.
pub fn check() -> Result<(), String> {
    Programs::find().map(drop)
}

/// Runs statements at a URL, each in a transaction of its own; gives rows as lines, columns divided by `|`.
///
/// # Errors
/// What PostgreSQL said.
pub fn sql(url: &str, statements: &str) -> Result<String, String> {
    let mut psql = Programs::find()?.ours("psql");
    psql.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1"]);
    programs::output_of(psql.args(["--dbname", url]), statements).map(|text| text.trim_end().to_owned())
}

/// A new directory that only its owner looks into.
fn make_home() -> Result<PathBuf, String> {
    use std::os::unix::fs::DirBuilderExt;
    let parent = std::env::temp_dir();
    // The keeper compares it with what the kernel says.
    let parent = fs::canonicalize(&parent).map_err(|error| format!("{}: {error}", parent.display()))?;
    let path = parent.join(format!("postcall-pg-{}", random_hex()?));
    let made = fs::DirBuilder::new().mode(0o700).create(&path);
    made.map_err(|error| format!("cannot make {}: {error}", path.display()))?;
    Ok(path)
}

/// Nobody else on this machine shall guess it: a superuser of PostgreSQL runs programs.
fn random_hex() -> Result<String, String> {
    let mut bytes = [0; 12];
    let read = fs::File::open(Path::new("/dev/urandom")).and_then(|mut file| file.read_exact(&mut bytes));
    read.map_err(|error| format!("cannot read /dev/urandom: {error}"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn free_port() -> Result<u16, String> {
    let mut dice = [0; 2];
    let random = fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut dice));
    random.map_err(|error| format!("cannot read /dev/urandom: {error}"))?;
    let count = PORTS.end - PORTS.start;
    let first = u16::from_ne_bytes(dice) % count;
    let mut ports = (0..count).map(|step| PORTS.start + (first + step) % count);
    let free = ports.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    free.ok_or_else(|| "no port is free".to_owned())
}
