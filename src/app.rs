//! The house put together: the only place that names a concrete store and wires the parts.
//! Refuses to know the command line; it is given settings.

use std::future::Future;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use ipnet::IpNet;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{info, warn};
use url::Url;

use crate::api::{self, ApiState, Courier, Sent};
use crate::clock::{Clock, System, random_bytes};
use crate::delivery::attempt::Attempter;
use crate::delivery::dispatcher::Dispatcher;
use crate::delivery::guard::Guard;
use crate::delivery::wire::{Exchange, Target, Wire, check_header};
use crate::metrics::Metrics;
use crate::model::secret::{Credential, Secret};
use crate::model::{AccountKey, DialectName, Source};
use crate::store::group::GroupWriter;
use crate::store::sqlite::{Options, SqliteStore};
use crate::store::vault::hash_api_key;
use crate::store::{Progress, Queues, Store, StoreError};

/// How long a shutdown waits for what is under way. A request takes 30 seconds at most unless configured.
const PATIENCE: Duration = Duration::from_secs(35);
/// Wait between two rounds of background work when there was nothing to do.
const CHORE_PAUSE: Duration = Duration::from_secs(1);
/// How long background work that has leisure rests, over what a step of it took.
const LEISURE: u32 = 3;
/// The shortest admin key that may be set by hand.
const SHORTEST_KEY: usize = 16;

/// What a server is started with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The data directory.
    pub data: PathBuf,
    /// What links that leave the house begin with.
    pub public_url: Option<String>,
    /// Networks that endpoints may be in though they are private.
    pub allow_networks: Vec<IpNet>,
    /// The admin key to use in place of a generated one.
    pub admin_key: Option<String>,
    /// The largest inbound body in bytes.
    pub max_body: usize,
    /// A PEM file of root certificates to trust beside the public ones.
    pub extra_roots: Option<PathBuf>,
}

impl Settings {
    /// The defaults for a data directory.
    pub fn new(listen: SocketAddr, data: impl Into<PathBuf>) -> Self {
        Self {
            listen,
            data: data.into(),
            public_url: None,
            allow_networks: Vec::new(),
            admin_key: None,
            max_body: 1 << 20,
            extra_roots: None,
        }
    }
}

/// What the first start of a data directory made. Shown once.
#[derive(Clone, Debug)]
pub struct FirstStart {
    /// The admin key, unless it was given.
    pub admin_key: Option<String>,
    /// Where it was written.
    pub admin_key_file: Option<PathBuf>,
    /// The secret of the source behind `POST /aiDialerCallbackWithData`.
    pub dialer_secret: String,
}

/// A running server.
pub struct App {
    address: SocketAddr,
    first_start: Option<FirstStart>,
    store: Arc<dyn Store>,
    dispatcher: Dispatcher,
    shut_down: oneshot::Sender<()>,
    server: JoinHandle<()>,
    chores: JoinHandle<()>,
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
        let wire = Wire::new(guard.clone(), roots.as_deref()).map_err(|error| error.to_string())?;
        let listener = TcpListener::bind(settings.listen).await.map_err(|error| {
            format!("cannot listen on {}: {error}. Choose another address with --listen.", settings.listen)
        })?;
        let address = listener.local_addr().map_err(|error| error.to_string())?;
        let store: Arc<dyn Store> =
            Arc::new(SqliteStore::open(&settings.data, clock.now(), Options::default())?);
        let first_start = first_start(&store, clock.as_ref(), &settings).await?;

        let mut api = api::Settings::new(settings.public_url.as_deref(), address);
        api.max_body = settings.max_body;
        // Also the largest body has to fit, and a few beside it.
        api.max_load = api.max_load.max(settings.max_body.saturating_mul(4));

        let attempter = Attempter {
            wire: wire.clone(),
            clock: Arc::clone(&clock),
            metrics: Arc::clone(&metrics),
            store: Arc::clone(&store),
            public_url: api.public_url.clone(),
        };
        let dispatcher =
            Dispatcher::new(Arc::clone(&store), Arc::clone(&clock), Arc::clone(&metrics), attempter);
        let queues: Arc<dyn Queues> = Arc::new(dispatcher.clone());
        let (writer, _) = GroupWriter::start(
            Arc::clone(&store),
            Arc::clone(&queues),
            Arc::clone(&clock),
            Arc::clone(&metrics),
        );
        dispatcher.start(writer.clone());

        let chores = tokio::spawn(chores(Arc::clone(&store), Arc::clone(&queues), Arc::clone(&clock)));
        let courier = Arc::new(WireCourier { wire, guard });
        let state = ApiState::new(Arc::clone(&store), writer, queues, clock, metrics, courier, api);
        let (shut_down, shutting_down) = oneshot::channel::<()>();
        let streams = state.streams.clone();
        let server = tokio::spawn(api::server::serve(listener, api::router(state), async move {
            let _ = shutting_down.await;
            streams.end();
        }));
        info!(%address, data = %settings.data.display(), "listening");
        Ok(Self { address, first_start, store, dispatcher, shut_down, server, chores })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What the first start made, if this was it.
    pub fn first_start(&self) -> Option<&FirstStart> {
        self.first_start.as_ref()
    }

    /// Stops accepting, finishes what is in flight, commits, closes the store.
    pub async fn stop(self) {
        info!("shutting down: finishing what is in flight");
        let _ = self.shut_down.send(());
        if tokio::time::timeout(PATIENCE, self.server).await.is_err() {
            warn!("some requests were still under way and were cut off");
        }
        self.chores.abort();
        if !self.dispatcher.stop(PATIENCE).await {
            warn!("some attempts were still under way; they are made again after the next start");
        }
        if let Err(error) = self.store.close().await {
            warn!(%error, "the store did not close cleanly; nothing committed is lost");
        }
        info!("stopped");
    }
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

/// Background work in small steps, behind everything else.
async fn chores(store: Arc<dyn Store>, queues: Arc<dyn Queues>, clock: Arc<dyn Clock>) {
    loop {
        let began = Instant::now();
        match store.chore(clock.now()).await {
            Ok(Progress { more, wake, called_off, has_leisure }) => {
                queues.call_off(&called_off);
                queues.wake(wake);
                match more {
                    true if has_leisure => tokio::time::sleep(began.elapsed() * LEISURE).await,
                    true => tokio::task::yield_now().await,
                    false => tokio::time::sleep(CHORE_PAUSE).await,
                }
            }
            Err(error) => {
                warn!(%error, "background work failed; it is tried again");
                tokio::time::sleep(CHORE_PAUSE).await;
            }
        }
    }
}

/// Makes what a new data directory needs: the source of `POST /aiDialerCallbackWithData`, and an admin key.
async fn first_start(
    store: &Arc<dyn Store>,
    clock: &dyn Clock,
    settings: &Settings,
) -> Result<Option<FirstStart>, String> {
    let trouble = |error: StoreError| error.to_string();
    let account = AccountKey::DEFAULT;
    if settings.admin_key.as_ref().is_some_and(|key| key.len() < SHORTEST_KEY) {
        return Err(format!("the admin key that was set is shorter than {SHORTEST_KEY} characters"));
    }
    let is_first = store.keys(account).await.map_err(trouble)?.is_empty();
    // The keys come last: until there is one, a start that broke off begins anew.
    let dialer_secret =
        if is_first { Some(dialer_secret(store, clock).await.map_err(trouble)?) } else { None };
    if let Some(key) = &settings.admin_key
        && store.find_key(hash_api_key(key)).await.map_err(trouble)?.is_none()
    {
        let name = "admin (set by hand)".to_owned();
        store.create_key(account, name, true, hash_api_key(key), clock.now()).await.map_err(trouble)?;
    }
    let Some(dialer_secret) = dialer_secret else { return Ok(None) };
    let mut made = FirstStart { admin_key: None, admin_key_file: None, dialer_secret };
    if settings.admin_key.is_none() {
        let key = api::auth::new_api_key();
        let file = settings.data.join("admin.key");
        write_private(&file, &key).map_err(|error| format!("cannot write {}: {error}", file.display()))?;
        let name = "admin".to_owned();
        store.create_key(account, name, true, hash_api_key(&key), clock.now()).await.map_err(trouble)?;
        made.admin_key = Some(key);
        made.admin_key_file = Some(file);
    }
    Ok(Some(made))
}

/// The secret of the source behind `POST /aiDialerCallbackWithData`, which is made unless an earlier start got so far.
async fn dialer_secret(store: &Arc<dyn Store>, clock: &dyn Clock) -> Result<String, StoreError> {
    let (account, dialect, now) = (AccountKey::DEFAULT, DialectName::Voicegenie, clock.now());
    let config = store.config(account);
    let earlier = config.as_ref().and_then(|config| config.sources.iter().find(|it| it.dialect == dialect));
    if let Some(secret) = earlier.and_then(|source| source.credential.signing(now)) {
        return Ok(String::from_utf8_lossy(secret.expose()).into_owned());
    }
    let secret = data_encoding::HEXLOWER.encode(&random_bytes::<32>());
    let source = Source {
        account,
        number: 0,
        id: String::new(),
        name: "AI dialer callback".to_owned(),
        dialect,
        credential: Credential::of_secret(Secret::new(secret.clone())),
        url_token: None,
        lost_after: None,
        created_at: now,
    };
    store.put_source(source).await?;
    Ok(secret)
}

fn write_private(path: &Path, key: &str) -> std::io::Result<()> {
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    writeln!(file, "{key}")?;
    file.sync_all()
}

/// Lends the API the wire that deliveries use.
pub struct WireCourier {
    /// What sends.
    pub wire: Wire,
    /// What may be sent to.
    pub guard: Guard,
}

impl Courier for WireCourier {
    fn check_url(&self, url: &str) -> Result<(), String> {
        self.guard.check_url(url).map(drop)
    }

    fn check_header(&self, name: &str, value: &str) -> Result<(), String> {
        check_header(name, value).map(drop)
    }

    fn send<'a>(
        &'a self,
        url: &'a str,
        headers: Vec<(HeaderName, HeaderValue)>,
        body: Bytes,
        timeout: Duration,
    ) -> Pin<Box<dyn Future<Output = Sent> + Send + 'a>> {
        Box::pin(async move {
            let answer = self.wire.post(Exchange { target: Target::of(url), headers, body, timeout }).await;
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
