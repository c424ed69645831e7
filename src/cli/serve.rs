//! `postcall serve`: runs the server until it is told to stop.

use std::fmt::Write;
use std::io::IsTerminal;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use ipnet::IpNet;
use tokio::signal::unix::{SignalKind, signal};
use tracing::warn;

use super::terminal::say;
use crate::api::BODY_MEMORY;
use crate::api::server::Limits;
use crate::app::{App, DISK_RESERVE, DatabaseUrl, FirstStart, LEASE, Settings};
use crate::config;
use crate::delivery::dispatcher::MOST_TO_HOST;

/// Run the server.
#[derive(Args)]
pub struct Serve {
    /// Address and port to listen on.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Directory for the database, the keys and the lock; made when it is not there. With --database-url for the keys
    /// alone.
    #[arg(long, value_name = "DIR", default_value = "postcall-data")]
    data: PathBuf,
    /// Keep everything in a PostgreSQL that many nodes may share, as in postgres://user@host:5432/postcall. Also taken from
    /// POSTCALL_DATABASE_URL, which is the better place for a password.
    #[arg(long, value_name = "URL")]
    database_url: Option<String>,
    /// Room on the disk of --data that is kept in a file, in bytes: when the disk is full, what is new is refused, and erasing
    /// and retention go on with it. 0 keeps none.
    #[arg(long, value_name = "BYTES", default_value_t = DISK_RESERVE, value_parser = reserve)]
    disk_reserve: u64,
    /// After how many seconds the other nodes take over from one of which nothing more is heard.
    #[arg(long, value_name = "SECONDS", default_value_t = LEASE.as_secs(), value_parser = clap::value_parser!(u64).range(1..=3600))]
    lease: u64,
    /// The address under which the world reaches this server; every link that leaves begins with it.
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// A private network that endpoints may be in, such as 10.1.0.0/16. May be given more than once.
    #[arg(long = "allow-network", value_name = "CIDR", value_parser = network)]
    allow_networks: Vec<IpNet>,
    /// The largest body that a door takes, in bytes.
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 20)]
    max_body: usize,
    /// The memory that the bodies of all requests together may take, in bytes; at the least four of the largest. Past that
    /// the slowest loses its place. A batch of contacts may be as large as nine sixteenths of it, up to 64 MiB.
    #[arg(long, value_name = "BYTES", default_value_t = BODY_MEMORY)]
    body_memory: usize,
    /// A proxy whose X-Forwarded-For says whom a request comes from: its address, or its network. May be given more than
    /// once. Nobody else is believed.
    #[arg(long = "trusted-proxy", value_name = "CIDR", value_parser = network)]
    trusted_proxies: Vec<IpNet>,
    /// Connections at the same time. When all are taken, those that have kept the server waiting longest make way.
    #[arg(long, value_name = "COUNT", default_value_t = Limits::default().connections, value_parser = at_least_one)]
    max_connections: usize,
    /// Connections of one address at the same time. Addresses that recently sent proven bodies or used a valid key have no
    /// such limit, nor have proxies.
    #[arg(long, value_name = "COUNT", default_value_t = Limits::default().connections_per_address, value_parser = at_least_one)]
    max_connections_per_address: usize,
    /// Serve /metrics on this address and port, which only the operator reaches, and not where the world does.
    #[arg(long, value_name = "ADDR")]
    metrics_listen: Option<SocketAddr>,
    /// PEM file of root certificates that endpoints and the database may be signed by, beside the public ones.
    #[arg(long, value_name = "FILE")]
    extra_roots: Option<PathBuf>,
    /// A name server to ask for endpoints' names in place of the system's, such as 10.0.0.2 or 10.0.0.2:5353. May be given
    /// more than once.
    #[arg(long = "name-server", value_name = "ADDR", value_parser = name_server)]
    name_servers: Vec<SocketAddr>,
    /// Requests that one account may have under way to one host, all its endpoints there together; one endpoint takes half
    /// of them at the most.
    #[arg(long, value_name = "COUNT", default_value_t = MOST_TO_HOST, value_parser = places)]
    max_in_flight_per_host: usize,
}

/// A network, or an address as the network of itself.
fn network(text: &str) -> Result<IpNet, String> {
    let network = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    network.ok_or_else(|| "give a network such as 10.1.0.0/16 or ::1/128, or one address".to_owned())
}

fn at_least_one(text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|count| *count > 0);
    count.ok_or_else(|| "give a whole number of at least 1".to_owned())
}

/// The smallest room with which a full disk can be seen to.
const LEAST_RESERVE: u64 = 16 << 20;

fn reserve(text: &str) -> Result<u64, String> {
    let bytes = text.parse().ok().filter(|bytes| *bytes == 0 || *bytes >= LEAST_RESERVE);
    bytes.ok_or_else(|| format!("give 0, or at least {LEAST_RESERVE}"))
}

/// So many connections that at least half of the files that the process may open are left for the rest.
fn within_files(max_connections: usize, files: u64) -> usize {
    let half = usize::try_from(files / 2).unwrap_or(usize::MAX).max(1);
    if max_connections > half {
        warn!(
            max_connections = half,
            "the process may open {files} files: connections are bounded by half of that. Raise the limit of open files"
        );
    }
    max_connections.min(half)
}

/// The address of a name server; the port is 53 unless it is said.
fn name_server(text: &str) -> Result<SocketAddr, String> {
    let usual = || text.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, 53));
    let address = text.parse().ok().or_else(usual);
    address.ok_or_else(|| "give an address such as 10.0.0.2, 10.0.0.2:5353 or [::1]:53".to_owned())
}

fn places(text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|count| (1..=100_000).contains(count));
    count.ok_or_else(|| "give a number from 1 to 100000".to_owned())
}

/// Runs until SIGINT or SIGTERM, then finishes what is in flight.
///
/// # Errors
/// A sentence for the operator when the server cannot start.
pub async fn run(serve: Serve) -> Result<ExitCode, String> {
    config::start_logging("info")?;
    // Every connection is a file, and the limit that a process starts with is often 1,024, though it may have more.
    let files = rlimit::increase_nofile_limit(u64::MAX).unwrap_or_else(|error| {
        warn!(%error, "the limit of open files could not be raised");
        rlimit::Resource::NOFILE.get_soft().unwrap_or(u64::MAX)
    });
    let database = serve.database_url.or_else(|| config::variable(config::DATABASE_URL));
    let settings = Settings {
        listen: serve.listen,
        data: serve.data,
        database: database.map(DatabaseUrl::new).transpose()?,
        disk_reserve: serve.disk_reserve,
        lease: Duration::from_secs(serve.lease),
        public_url: serve.public_url,
        allow_networks: serve.allow_networks,
        admin_key: config::variable(config::ADMIN_KEY),
        max_body: serve.max_body,
        body_memory: serve.body_memory,
        trusted_proxies: serve.trusted_proxies,
        max_connections: within_files(serve.max_connections, files),
        max_connections_per_address: serve.max_connections_per_address,
        metrics_listen: serve.metrics_listen,
        extra_roots: serve.extra_roots,
        name_servers: serve.name_servers,
        max_in_flight_per_host: serve.max_in_flight_per_host,
    };
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| error.to_string())?;
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| error.to_string())?;
    let app = App::start(settings).await?;
    if let Some(first) = app.first_start() {
        say(&shown(first, app.public_url(), std::io::stdout().is_terminal()))?;
    }
    println!("listening on http://{}", app.address());
    if let Some(address) = app.metrics_address() {
        println!("metrics on http://{address}/metrics");
    }
    let broken = tokio::select! {
        _ = interrupt.recv() => None,
        _ = terminate.recv() => None,
        what = app.broken() => Some(what),
    };
    app.stop().await;
    match broken {
        None => Ok(ExitCode::SUCCESS),
        Some(what) => Err(format!(
            "{what} broke off, which is a defect of postcall; the log says more. What was answered 200 is on disk: start it again."
        )),
    }
}

/// What is said of the first start on standard output, away from the log. The secrets themselves are for a person at a
/// terminal alone: anything else may be a log that is kept.
fn shown(first: &FirstStart, public_url: &str, is_terminal: bool) -> String {
    let signs = format!("signs POST {public_url}/aiDialerCallbackWithData");
    let secrets = [
        ("admin key", first.admin_key.as_deref(), first.admin_key_file.as_deref(), None),
        (
            "dialer secret",
            Some(first.dialer_secret.as_str()),
            first.dialer_secret_file.as_deref(),
            Some(signs),
        ),
    ];
    let mut out = String::from("This is the first start. What it made:\n");
    for (name, secret, file, remark) in secrets {
        let Some(secret) = secret else { continue };
        let place = match file {
            Some(file) if is_terminal => format!("also in {}", file.display()),
            Some(file) => format!("in {}", file.display()),
            None if is_terminal => "in no file".to_owned(),
            None => "in no file, as the log says: rotate it to get another one".to_owned(),
        };
        let notes = [Some(place), remark].into_iter().flatten().collect::<Vec<_>>().join("; ");
        let _ = match is_terminal {
            true => writeln!(out, "  {name:<14} {secret}\n{:17}({notes})", ""),
            false => writeln!(out, "  {name:<14} {notes}"),
        };
    }
    out.push_str(match is_terminal {
        true => "They are not shown again.\n",
        false => "Only the owner of these files can read them.\n",
    });
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_for_a_terminal_and_files_are_named_everywhere() {
        let mut first = FirstStart {
            admin_key: Some("pck_of_this_test".to_owned()),
            admin_key_file: Some("data/admin.key".into()),
            dialer_secret: "secret of this test".to_owned(),
            dialer_secret_file: Some("data/dialer.secret".into()),
        };
        let secrets = ["pck_of_this_test", "secret of this test"];
        for is_terminal in [true, false] {
            let shown = shown(&first, "https://calls.example", is_terminal);
            assert_eq!(secrets.map(|secret| shown.contains(secret)), [is_terminal; 2], "{shown}");
            for named in
                ["data/admin.key", "data/dialer.secret", "POST https://calls.example/aiDialerCallback"]
            {
                assert!(shown.contains(named), "{shown}");
            }
        }
        (first.admin_key, first.admin_key_file, first.dialer_secret_file) = (None, None, None);
        let shown = shown(&first, "https://calls.example", false);
        assert!(!shown.contains("admin key") && shown.contains("rotate it"), "{shown}");
    }
}
