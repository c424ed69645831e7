//! `postcall serve`: runs the server until it is told to stop.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use ipnet::IpNet;
use tokio::signal::unix::{SignalKind, signal};
use tracing::warn;

use crate::api::server::Limits;
use crate::app::{App, DatabaseUrl, FirstStart, LEASE, Settings};
use crate::config;

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
        lease: Duration::from_secs(serve.lease),
        public_url: serve.public_url,
        allow_networks: serve.allow_networks,
        admin_key: config::variable(config::ADMIN_KEY),
        max_body: serve.max_body,
        trusted_proxies: serve.trusted_proxies,
        max_connections: within_files(serve.max_connections, files),
        max_connections_per_address: serve.max_connections_per_address,
        metrics_listen: serve.metrics_listen,
        extra_roots: serve.extra_roots,
    };
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| error.to_string())?;
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| error.to_string())?;
    let app = App::start(settings).await?;
    if let Some(first) = app.first_start() {
        show(first, app.public_url());
    }
    println!("listening on http://{}", app.address());
    if let Some(address) = app.metrics_address() {
        println!("metrics on http://{address}/metrics");
    }
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    app.stop().await;
    Ok(ExitCode::SUCCESS)
}

/// The only time that these are shown. On standard output, away from the log.
fn show(first: &FirstStart, public_url: &str) {
    println!("This is the first start.");
    if let (Some(key), Some(file)) = (&first.admin_key, &first.admin_key_file) {
        println!("  admin key      {key}");
        println!("                 (also in {})", file.display());
    }
    println!("  dialer secret  {}", first.dialer_secret);
    println!("                 (signs POST {public_url}/aiDialerCallbackWithData)");
    println!("They are not shown again.");
}
