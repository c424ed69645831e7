//! The house put together: the only place that names a concrete store and wires the parts.
//! Refuses to know the command line; it is given settings.

mod database_url;
pub mod first_start;
mod vital;

use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use ipnet::IpNet;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::Instant;
use tracing::{info, warn};
use url::Url;

pub use self::database_url::DatabaseUrl;
pub use self::first_start::FirstStart;
use self::first_start::first_start;
use self::vital::Vital;
use crate::api::server::{Limits, serve};
use crate::api::{self, ApiState, BODY_MEMORY, Courier, Sent};
use crate::clock::{Clock, System};
use crate::config;
use crate::delivery::attempt::Attempter;
use crate::delivery::dispatcher::{Dispatcher, MOST_TO_HOST};
use crate::delivery::guard::Guard;
use crate::delivery::names::Names;
use crate::delivery::resolver::SystemResolver;
use crate::delivery::wire::{Exchange, Target, Wire, check_header};
use crate::metrics::Metrics;
use crate::model::{AccountKey, Time};
use crate::store::export::WireRules;
use crate::store::ingest::group::GroupWriter;
use crate::store::outage::Outage;
use crate::store::postgres::{self, PostgresStore};
use crate::store::sqlite::{Options, SqliteStore};
use crate::store::{Maintenance, Progress, Queues, Store};

/// How long a shutdown waits for what is under way. A request takes 30 seconds at most unless configured.
const PATIENCE: Duration = Duration::from_secs(35);
/// Wait between two rounds of background work when there was nothing to do.
const MAINTENANCE_PAUSE: Duration = Duration::from_secs(1);
/// How long a lease of a node on a store of many lasts unless said otherwise.
pub const LEASE: Duration = Duration::from_secs(60);
/// The room that is kept for a full disk unless said otherwise: the log before it is copied, what the database grows by that,
/// and as much again.
pub const DISK_RESERVE: u64 = 64 << 20;
/// How long background work that has leisure rests, over what its steps took.
const LEISURE: u32 = 3;

/// What a server is started with. It cannot be printed, as it may hold the admin key.
#[derive(Clone)]
pub struct Settings {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The data directory. With a database elsewhere it holds the keys alone.
    pub data: PathBuf,
    /// The database that this node shares with others; without one everything is in the data directory.
    pub database: Option<DatabaseUrl>,
    /// Room on the disk that is kept for erasure and retention when it is full, in bytes. Without a database elsewhere alone.
    pub disk_reserve: u64,
    /// For how long the other nodes leave this one what it took on, should nothing more be heard of it.
    pub lease: Duration,
    /// What links that leave the house begin with.
    pub public_url: Option<String>,
    /// Networks that endpoints may be in though they are private.
    pub allow_networks: Vec<IpNet>,
    /// The admin key to use in place of a generated one.
    pub admin_key: Option<String>,
    /// The largest inbound body in bytes.
    pub max_body: usize,
    /// The memory that the bodies of all requests together may take, in bytes.
    pub body_memory: usize,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Connections at the same time.
    pub max_connections: usize,
    /// Connections of one address at the same time, unless it recently proved itself.
    pub max_connections_per_address: usize,
    /// Where the metrics are served in place of the public address.
    pub metrics_listen: Option<SocketAddr>,
    /// A PEM file of root certificates to trust beside the public ones, of endpoints and of the database.
    pub extra_roots: Option<PathBuf>,
    /// Name servers to ask for endpoints' names in place of the system's.
    pub name_servers: Vec<SocketAddr>,
    /// Requests that one account may have under way to one host.
    pub max_in_flight_per_host: usize,
}

impl Settings {
    /// The defaults for a data directory.
    pub fn new(listen: SocketAddr, data: impl Into<PathBuf>) -> Self {
        let limits = Limits::default();
        Self {
            listen,
            data: data.into(),
            database: None,
            disk_reserve: DISK_RESERVE,
            lease: LEASE,
            public_url: None,
            allow_networks: Vec::new(),
            admin_key: None,
            max_body: 1 << 20,
            body_memory: BODY_MEMORY,
            trusted_proxies: Vec::new(),
            max_connections: limits.connections,
            max_connections_per_address: limits.connections_per_address,
            metrics_listen: None,
            extra_roots: None,
            name_servers: Vec::new(),
            max_in_flight_per_host: MOST_TO_HOST,
        }
    }
}

/// A running server.
pub struct App {
    address: SocketAddr,
    metrics_address: Option<SocketAddr>,
    public_url: String,
    first_start: Option<FirstStart>,
    store: Arc<dyn Maintenance>,
    dispatcher: Dispatcher,
    server: Serving,
    metrics_server: Option<Serving>,
    maintenance: AbortHandle,
    vital: Vital,
}

impl App {
    /// Opens the store, listens, and begins to deliver.
    ///
    /// # Errors
    /// A sentence for the operator: what is wrong and what to do.
    pub async fn start(settings: Settings) -> Result<Self, String> {
        let clock = System::shared();
        let metrics = Arc::new(Metrics::new());
        // Whatever may be wrong with the settings comes before the first start: what that makes is shown only once.
        settings.public_url.as_deref().map_or(Ok(()), check_public_url)?;
        let guard = Guard::new(settings.allow_networks.clone());
        let roots = settings.extra_roots.as_deref().map(read_roots).transpose()?;
        let names = Names::new(SystemResolver::new(settings.name_servers.clone()), Arc::clone(&metrics));
        let wire = Wire::with_names(guard.clone(), names, roots.as_deref());
        let wire = wire.map_err(|error| error.to_string())?;
        let (listener, address) = listen(settings.listen, "--listen").await?;
        let metrics_listener = match settings.metrics_listen {
            Some(address) => Some(listen(address, "--metrics-listen").await?),
            None => None,
        };
        let store = open_store(&settings, clock.now(), address, roots).await?;
        let key = settings.admin_key.as_deref();
        let first_start = first_start(store.as_ref(), clock.as_ref(), &settings.data, key).await?;

        let mut api = api::Settings::new(settings.public_url.as_deref(), address);
        api.max_body = settings.max_body;
        api.limits.connections = settings.max_connections;
        api.limits.connections_per_address = settings.max_connections_per_address;
        api.trusted_proxies = settings.trusted_proxies;
        api.hides_metrics = metrics_listener.is_some();
        // Also the largest body has to fit, and a few beside it.
        api.max_load = settings.body_memory.max(settings.max_body.saturating_mul(4));

        let attempter = Attempter {
            wire: wire.clone(),
            clock: Arc::clone(&clock),
            metrics: Arc::clone(&metrics),
            configs: store.clone(),
            public_url: api.public_url.clone(),
        };
        let dispatcher = Dispatcher::with_most_to_host(
            store.clone(),
            store.clone(),
            Arc::clone(&clock),
            Arc::clone(&metrics),
            attempter,
            settings.max_in_flight_per_host,
        );
        let queues: Arc<dyn Queues> = Arc::new(dispatcher.clone());
        let vital = Vital::new();
        let (writer, writing) =
            GroupWriter::start(store.clone(), Arc::clone(&queues), Arc::clone(&clock), Arc::clone(&metrics));
        vital.watch("the writing of what comes in", writing);
        for task in dispatcher.start(writer.clone()) {
            vital.watch("the delivery of what is owed", task);
        }

        let maintaining = tokio::spawn(maintain(
            store.clone(),
            Arc::clone(&queues),
            Arc::clone(&clock),
            Arc::clone(&metrics),
        ));
        let maintenance = maintaining.abort_handle();
        vital.watch("background work", maintaining);
        let courier = Arc::new(WireCourier { wire, guard });
        let public_url = api.public_url.clone();
        let state = ApiState::new(Arc::clone(&store), writer, queues, clock, metrics, courier, api);
        let metrics_address = metrics_listener.as_ref().map(|(_, address)| *address);
        let metrics_server = metrics_listener.map(|(listener, _)| {
            Serving::start(listener, api::metrics_router(state.clone()), state.clone(), || ())
        });
        let streams = state.streams.clone();
        let server = Serving::start(listener, api::router(state.clone()), state, move || streams.end());
        let store_kind = if settings.database.is_some() { "PostgreSQL" } else { "SQLite" };
        info!(%address, data = %settings.data.display(), store = store_kind, "listening");
        Ok(Self {
            address,
            metrics_address,
            public_url,
            first_start,
            store,
            dispatcher,
            server,
            metrics_server,
            maintenance,
            vital,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it serves its metrics, if not there.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_address
    }

    /// Where the world reaches it.
    pub fn public_url(&self) -> &str {
        &self.public_url
    }

    /// What the first start made, if this was it.
    pub fn first_start(&self) -> Option<&FirstStart> {
        self.first_start.as_ref()
    }

    /// Waits until a task breaks off without which it is of no use, and says which. It has to be stopped then.
    pub async fn broken(&self) -> &'static str {
        self.vital.broken().await
    }

    /// Stops accepting, finishes what is in flight, commits, closes the store.
    pub async fn stop(self) {
        info!("shutting down: finishing what is in flight");
        self.server.stop().await;
        self.maintenance.abort();
        if !self.dispatcher.stop(PATIENCE).await {
            warn!("some attempts were still under way; they are made again after the next start");
        }
        // On a store of many nodes this gives the lease up: the others take over at once.
        match tokio::time::timeout(PATIENCE, self.store.close()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!(%error, "the store did not close cleanly; nothing committed is lost"),
            Err(_) => warn!("the store does not answer; nothing committed is lost"),
        }
        // To the end it can be seen how the stop goes.
        if let Some(server) = self.metrics_server {
            server.stop().await;
        }
        info!("stopped");
    }
}

/// A server under way, and the way to stop it.
struct Serving {
    shut_down: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Serving {
    /// Serves until it is stopped; `stopping` runs once that begins.
    fn start(
        listener: TcpListener,
        router: Router,
        state: ApiState,
        stopping: impl FnOnce() + Send + 'static,
    ) -> Self {
        let (shut_down, shutting_down) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            let stopped = async {
                let _ = shutting_down.await;
                stopping();
            };
            serve(listener, router, &state, stopped).await;
        });
        Self { shut_down, task }
    }

    /// Stops accepting, and finishes what is under way.
    async fn stop(self) {
        let _ = self.shut_down.send(());
        if tokio::time::timeout(PATIENCE, self.task).await.is_err() {
            warn!("some requests were still under way and were cut off");
        }
    }
}

/// Listens on an address that an option gave.
async fn listen(address: SocketAddr, option: &str) -> Result<(TcpListener, SocketAddr), String> {
    let listener = TcpListener::bind(address).await.map_err(|error| {
        format!("cannot listen on {address}: {error}. Choose another address with {option}.")
    })?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    Ok((listener, address))
}

/// Links are made by appending a path.
fn check_public_url(given: &str) -> Result<(), String> {
    let url = Url::parse(given).ok().filter(|url| matches!(url.scheme(), "https" | "http"));
    match url {
        Some(url) if url.has_host() && url.query().is_none() && url.fragment().is_none() => Ok(()),
        _ => Err(format!(
            "the public URL {given:?} cannot begin a link; write it like https://calls.example.com"
        )),
    }
}

fn read_roots(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

/// Opens the store that the settings name.
async fn open_store(
    settings: &Settings,
    now: Time,
    address: SocketAddr,
    roots: Option<Vec<u8>>,
) -> Result<Arc<dyn Store>, String> {
    let Some(url) = &settings.database else {
        let options = Options { reserve: settings.disk_reserve, ..Options::default() };
        return Ok(Arc::new(SqliteStore::open(&settings.data, now, options)?));
    };
    let (url, data) = (url.clone(), settings.data.clone());
    let (lease, name) = (settings.lease, format!("{}:{}", config::host_name(), address.port()));
    // It connects and brings the schema up to date; nothing else of this process has to wait for that.
    let opening = tokio::task::spawn_blocking(move || open_postgres(&url, &data, lease, name, roots));
    opening.await.map_err(|error| error.to_string())?
}

/// Joins the nodes on a database. `name` is this node's, for people who look at it.
fn open_postgres(
    url: &DatabaseUrl,
    data: &Path,
    lease: Duration,
    name: String,
    roots: Option<Vec<u8>>,
) -> Result<Arc<dyn Store>, String> {
    let quarantine_quota = Options::default().quarantine_quota;
    let options = postgres::Options { quarantine_quota, lease, name, roots };
    Ok(Arc::new(PostgresStore::open(url.expose(), data, options)?))
}

/// Background work in small steps, behind everything else. Every node asks for it; a store of many decides whose turn it is.
async fn maintain(
    store: Arc<dyn Maintenance>,
    queues: Arc<dyn Queues>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
) {
    const WORK: &str = "background work";
    let outage = Outage::default();
    loop {
        match store.maintain(clock.now()).await {
            Ok(Progress { more, wake, called_off, has_leisure, steps }) => {
                outage.worked(WORK);
                let took: Duration = steps.iter().map(|step| step.took).sum();
                steps.iter().for_each(|step| metrics.maintained(step.job, step.took, step.has_failed));
                queues.call_off(&called_off);
                queues.wake(wake);
                match more {
                    true if has_leisure => tokio::time::sleep(took * LEISURE).await,
                    true => tokio::task::yield_now().await,
                    false => tokio::time::sleep(MAINTENANCE_PAUSE).await,
                }
            }
            Err(error) => {
                outage.failed(WORK, &error);
                tokio::time::sleep(MAINTENANCE_PAUSE).await;
            }
        }
    }
}

/// Lends the API the wire that deliveries use.
pub struct WireCourier {
    /// What sends.
    pub wire: Wire,
    /// What may be sent to.
    pub guard: Guard,
}

impl WireRules for WireCourier {
    fn check_url(&self, url: &str) -> Result<(), String> {
        self.guard.check_url(url).map(drop)
    }

    fn check_header(&self, name: &str, value: &str) -> Result<(), String> {
        check_header(name, value).map(drop)
    }
}

impl Courier for WireCourier {
    fn send<'a>(
        &'a self,
        account: AccountKey,
        url: &'a str,
        headers: Vec<(HeaderName, HeaderValue)>,
        body: Bytes,
        timeout: Duration,
    ) -> Pin<Box<dyn Future<Output = Sent> + Send + 'a>> {
        Box::pin(async move {
            let target = Target::of(url);
            let start = Instant::now();
            let answer = self.wire.post(Exchange { target, headers, body, start, timeout, account }).await;
            let mut sent = Sent { latency: answer.latency, ..Sent::default() };
            match answer.result {
                Ok(response) => {
                    sent.status = Some(response.status);
                    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
                    sent.headers = response
                        .headers
                        .iter()
                        .map(|(name, value)| (name.to_string(), text(value)))
                        .collect();
                    sent.body = response.body;
                }
                Err(trouble) => sent.error = Some(trouble.to_string()),
            }
            sent
        })
    }
}
