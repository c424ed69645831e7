//! `postcall demo`: the whole way on one machine, all dialects in and out, over real HTTP; then the books, checked
//! against what the receivers say. Refuses to reach into the server: it uses nothing but the API and the doors.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use data_encoding::HEXLOWER;
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::client::{Client, open_wire};
use super::demo_report::{Line, Report, Sum};
use super::dialer::sending::{Tally, Target, play};
use super::dialer::{Disorder, Script};
use super::exit::NO;
use super::progress::Progress;
use super::receivers::{Departures, Receiver};
use super::terminal::{remark, say};
use crate::app::{App, Settings};
use crate::clock::{Clock, System, random_bytes};
use crate::config;
use crate::dialect::{self, Proof};
use crate::model::secret::Credential;
use crate::model::{DialectName, Secret, Time};
use crate::store::private_files;
use crate::store::vault::ADMIN_KEY;

/// Run everything on this machine: a server, six simulated vendors, seven receivers that verify
#[derive(Debug, clap::Args)]
pub struct Demo {
    /// Address and port to listen on; 127.0.0.1:8080 unless said, or the next port that is free
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Calls of each vendor
    #[arg(long, value_name = "N", default_value_t = 200)]
    calls: u64,
    /// Which calls: the same number plays the same ones
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Stop when all is delivered; 0 only if all of it was also verified
    #[arg(long)]
    exit: bool,
}

/// How disorderly the vendors are, in percent.
const DISORDER: Disorder = Disorder { duplicates: 10.0, late: 10.0 };
/// Calls that a vendor starts per second: all of them within eight seconds, as far as these limits allow.
const RATES: (f64, f64) = (5.0, 100.0);
/// Deliveries that the seventh receiver turns away at first.
const TURNED_AWAY: usize = 25;
/// The retry delays of its endpoint, in seconds.
const SHORT_DELAYS: [f64; 3] = [0.2, 0.5, 1.0];
/// How long the last deliveries are waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at the books.
const GLANCE: Duration = Duration::from_millis(100);

/// A vendor with its door.
struct Vendor {
    target: Target,
    /// Its credential, for the lines that invite to go on.
    secret: String,
}

/// A receiver with its endpoint.
struct Customer {
    endpoint_id: String,
    name: String,
    receiver: Receiver,
}

/// Everybody around the server.
struct Cast {
    vendors: Vec<Vendor>,
    customers: Vec<Customer>,
    departures: Arc<Departures>,
}

/// Plays the demo. With `--exit` the code is 0 only when everything that was owed was delivered and verified.
///
/// # Errors
/// A sentence when the server cannot be started or its API refuses.
pub async fn run(demo: Demo) -> Result<ExitCode, String> {
    config::start_logging("error")?;
    let directory = Directory::make()?;
    let mut settings = Settings::new(demo.listen.unwrap_or_else(free_address), &directory.0);
    // Nothing is kept in it that would have to be erased.
    settings.disk_reserve = 0;
    settings.allow_networks = "127.0.0.0/8".parse().into_iter().collect();
    let app = App::start(settings).await?;
    let base = format!("http://{}", app.address());
    let made = app.first_start().and_then(|first| first.admin_key.clone());
    let key = made.ok_or("the demo's server made no admin key")?;
    say(&format!("postcall is at {base} and keeps its data in {}.\n\n", directory.0.display()))?;
    let done = tokio::select! {
        done = show(&demo, &base, &key, &directory.0) => done,
        stopped = stopped() => match stopped {
            Ok(()) if demo.exit => Err("stopped before the end; nothing is proven".to_owned()),
            stopped => stopped.map(|()| ExitCode::SUCCESS),
        },
    };
    app.stop().await;
    done
}

/// Waits to be told to stop, in any of the ways in which a terminal does that.
async fn stopped() -> Result<(), String> {
    let listen = |kind| signal(kind).map_err(|error| error.to_string());
    let (mut interrupt, mut terminate, mut hangup) =
        (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?, listen(SignalKind::hangup())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
    Ok(())
}

/// The demo on a running server.
async fn show(demo: &Demo, base: &str, key: &str, directory: &Path) -> Result<ExitCode, String> {
    let client = Client::new(base, key)?;
    let cast = gather(&client).await?;
    say(&format!(
        "{} calls from each of {} vendors, {}% of their events twice and {}% late, to {} endpoints:\n\n",
        demo.calls,
        cast.vendors.len(),
        DISORDER.duplicates,
        DISORDER.late,
        cast.customers.len()
    ))?;
    let started = Instant::now();
    let tallies = perform(demo, &cast).await?;
    let books = settled(&client).await?;
    let report = report(&cast, &tallies, &books, started.elapsed());
    say(&format!("{}\n", report.text()))?;
    let missing = report.missing();
    match missing.as_slice() {
        [] => say("Everything that was owed was delivered, and every signature verified.\n")?,
        _ => remark(&format!("postcall: not everything is proven: {}.", missing.join("; "))),
    }
    if demo.exit {
        return Ok(if missing.is_empty() { ExitCode::SUCCESS } else { NO });
    }
    say(&format!("{}\n", invitation(base, directory, &cast)?))?;
    std::future::pending().await
}

async fn gather(client: &Client) -> Result<Cast, String> {
    let departures = Arc::new(Departures::default());
    let (mut vendors, mut customers) = (Vec::new(), Vec::new());
    for name in DialectName::ALL {
        vendors.push(open_door(client, name).await?);
        let receiver = Receiver::start(name, 0, Arc::clone(&departures)).await?;
        let asked = json!({"url": receiver.url(), "dialect": name.as_str()});
        customers.push(open_endpoint(client, name.to_string(), receiver, &asked).await?);
    }
    let name = DialectName::Standard;
    let receiver = Receiver::start(name, TURNED_AWAY, Arc::clone(&departures)).await?;
    let asked =
        json!({"url": receiver.url(), "dialect": name.as_str(), "retry_delays_seconds": SHORT_DELAYS});
    customers.push(open_endpoint(client, format!("{name} (flaky)"), receiver, &asked).await?);
    Ok(Cast { vendors, customers, departures })
}

async fn open_door(client: &Client, name: DialectName) -> Result<Vendor, String> {
    let asked = json!({"name": format!("simulated {name}"), "dialect": name.as_str()});
    let made = client.post("/v1/sources", &asked).await?;
    let secret = credential_of(&made);
    let credential = match dialect::get(name).proof() {
        Proof::Unsigned => Credential::default(),
        Proof::Bearer => Credential::of_bearer(Secret::new(secret.as_bytes())),
        Proof::HmacHex | Proof::StandardWebhooks => Credential::of_secret(Secret::new(secret.as_bytes())),
    };
    let target = Target { url: text(&made, "url"), dialect: name, credential };
    Ok(Vendor { target, secret })
}

async fn open_endpoint(
    client: &Client,
    name: String,
    receiver: Receiver,
    asked: &Value,
) -> Result<Customer, String> {
    let made = client.post("/v1/endpoints", asked).await?;
    receiver.learn(&credential_of(&made));
    Ok(Customer { endpoint_id: text(&made, "id"), name, receiver })
}

/// The credential that an answer shows, once.
fn credential_of(made: &Value) -> String {
    let secret = text(made, "secret");
    if secret.is_empty() { text(made, "bearer_token") } else { secret }
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_default().to_owned()
}

/// All vendors at the same time; what each was answered, in their order.
async fn perform(demo: &Demo, cast: &Cast) -> Result<Vec<Tally>, String> {
    let now = System.now();
    let an_hour_ago = Time::from_micros(now.as_micros().saturating_sub(3_600_000_000));
    let whole = u64::try_from(cast.vendors.len()).unwrap_or(u64::MAX).saturating_mul(demo.calls);
    let progress = Arc::new((Progress::new("calls", whole), AtomicU64::new(0)));
    let wire = open_wire()?;
    let mut playing = JoinSet::new();
    for (number, vendor) in (0u64..).zip(&cast.vendors) {
        #[expect(clippy::cast_precision_loss, reason = "a rate, not an account")]
        let rate = (demo.calls as f64 / 8.0).clamp(RATES.0, RATES.1);
        let script = Script {
            dialect: vendor.target.dialect,
            calls: demo.calls,
            rate,
            seed: demo.seed.wrapping_add(number),
            disorder: DISORDER,
            start: an_hour_ago,
        };
        let (wire, target) = (wire.clone(), vendor.target.clone());
        let (progress, departures) = (Arc::clone(&progress), Arc::clone(&cast.departures));
        playing.spawn(async move {
            let mut begun = 0;
            let count = |calls: u64| {
                let more = calls - std::mem::replace(&mut begun, calls);
                let (progress, sum) = &*progress;
                progress.at(sum.fetch_add(more, Ordering::Relaxed) + more);
            };
            (number, play(&wire, &mut script.plan(), target, count, |said| departures.note(said)).await)
        });
    }
    let mut tallies = playing.join_all().await;
    tallies.sort_by_key(|(number, _)| *number);
    progress.0.finish();
    Ok(tallies.into_iter().map(|(_, tally)| tally).collect())
}

/// The books once nothing is pending, or when patience is at an end.
async fn settled(client: &Client) -> Result<Value, String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let books = client.get("/v1/reconciliation").await?;
        let sums = books["endpoints"].as_array();
        let is_settled = sums.is_some_and(|sums| sums.iter().all(|sum| sum["pending"] == 0));
        if is_settled || Instant::now() > deadline {
            return Ok(books);
        }
        sleep(GLANCE).await;
    }
}

fn report(cast: &Cast, tallies: &[Tally], books: &Value, took: Duration) -> Report {
    let lines = cast.customers.iter().enumerate().map(|(at, customer)| {
        let sums = books["endpoints"].as_array();
        let sum = sums.and_then(|sums| {
            sums.iter().find(|sum| sum["endpoint_id"].as_str() == Some(&customer.endpoint_id))
        });
        let of = |field: &str| sum.and_then(|sum| sum[field].as_u64()).unwrap_or_default();
        Line {
            name: customer.name.clone(),
            // The vendors stand in the same order; the last customer has none.
            arrived: tallies.get(at).cloned(),
            sum: Sum {
                owed: of("owed"),
                delivered: of("delivered"),
                pending: of("pending"),
                dead: of("dead"),
                cancelled: of("cancelled"),
            },
            count: customer.receiver.count(),
        }
    });
    Report { lines: lines.collect(), quarantined: books["quarantined"].as_u64().unwrap_or_default(), took }
}

/// What to try next. Secrets are read from files: what is printed may be kept as a log.
fn invitation(base: &str, directory: &Path, cast: &Cast) -> Result<String, String> {
    let mut lines = vec![
        format!("It stays up at {base} until you press ctrl-c. To go on:\n"),
        format!(
            "  export POSTCALL_URL={base} POSTCALL_KEY=\"$(cat '{}')\"",
            directory.join(ADMIN_KEY).display()
        ),
        "  curl -sH \"Authorization: Bearer $POSTCALL_KEY\" \"$POSTCALL_URL/v1/reconciliation\"".to_owned(),
        "  curl -sH \"Authorization: Bearer $POSTCALL_KEY\" \"$POSTCALL_URL/v1/calls?limit=1\"".to_owned(),
    ];
    if let Some(failing) = cast.customers.last() {
        lines.push(format!(
            "  curl -sH \"Authorization: Bearer $POSTCALL_KEY\" \\\n    \"$POSTCALL_URL/v1/deliveries?endpoint_id={}&limit=1\"",
            failing.endpoint_id
        ));
    }
    if let Some(vendor) = cast.vendors.first() {
        let file = directory.join("vendor.secret");
        private_files::write_whole(&file, vendor.secret.as_bytes())
            .map_err(|error| format!("cannot write {}: {error}", file.display()))?;
        lines.push(format!(
            "  postcall simulate --dialect {} --url {} \\\n    --secret \"$(cat '{}')\" --seed 77",
            vendor.target.dialect,
            vendor.target.url,
            file.display()
        ));
    }
    lines.push("  postcall keys list".to_owned());
    lines.push(format!("\nThe API is described at {base}/docs."));
    Ok(lines.join("\n"))
}

/// A directory of the demo's own, gone with it.
struct Directory(PathBuf);

impl Directory {
    fn make() -> Result<Self, String> {
        let name = format!("postcall-demo-{}", HEXLOWER.encode(&random_bytes::<6>()));
        let path = std::env::temp_dir().join(name);
        // Never one that is there already: the directory for temporary files is everybody's.
        let made = std::fs::DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|error| format!("cannot make the directory {}: {error}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What cannot be removed stays in the directory for temporary files, and its name says whose it is.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The first free port from 8080 on; any other when all of a score are taken.
fn free_address() -> SocketAddr {
    let address = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let is_free = |port: &u16| TcpListener::bind(address(*port)).is_ok();
    address((8080..8100).find(is_free).unwrap_or(0))
}
