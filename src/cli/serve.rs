//! `postcall serve`: runs the server until it is told to stop.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use ipnet::IpNet;
use tokio::signal::unix::{SignalKind, signal};
use tracing::warn;

use crate::api::BODY_MEMORY;
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
    /// The memory that the bodies of all requests together may take, in bytes; at the least four of the largest. Past that
    /// the slowest loses its place. A batch of contacts may be as large as nine sixteenths of it, up to 64 MiB.
    #[arg(long, value_name = "BYTES", default_value_t = BODY_MEMORY)]
    body_memory: usize,
    /// PEM file of root certificates that endpoints and the database may be signed by, beside the public ones.
    #[arg(long, value_name = "FILE")]
    extra_roots: Option<PathBuf>,
}

/// A network, or an address as the network of itself.
fn network(text: &str) -> Result<IpNet, String> {
    let network = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    network.ok_or_else(|| "give a network such as 10.1.0.0/16 or ::1/128, or one address".to_owned())
}

/// Runs until SIGINT or SIGTERM, then finishes what is in flight.
///
/// # Errors
/// A sentence for the operator when the server cannot start.
pub async fn run(serve: Serve) -> Result<ExitCode, String> {
    config::start_logging("info")?;
    // Every connection is a file, and the limit that a process starts with is often 1,024, though it may have more.
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        warn!(%error, "the limit of open files could not be raised");
    }
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
        body_memory: serve.body_memory,
        extra_roots: serve.extra_roots,
    };
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| error.to_string())?;
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| error.to_string())?;
    let app = App::start(settings).await?;
    if let Some(first) = app.first_start() {
        show(first, app.public_url());
    }
    println!("listening on http://{}", app.address());
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
