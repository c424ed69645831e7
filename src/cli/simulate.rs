//! `postcall simulate`: plays a vendor's calls against one door and tells how it answered. Refuses to know what is
//! behind the URL: any postcall, or any receiver of that dialect. Whom a batch calls, `simulate_batch` asks.

use std::process::ExitCode;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::arguments::dialect_name;
use super::client::{connect, open_wire};
use super::dialer::sending::{Tally, Target, play};
use super::dialer::{Disorder, Script};
use super::exit::NO;
use super::progress::Progress;
use super::simulate_batch::{self, Outcome};
use super::terminal::say;
use crate::dialect::{self, Proof};
use crate::model::secret::Credential;
use crate::model::{DialectName, Secret, Time};

/// Play a vendor's calls against a door: whole lifecycles, signed, late and twice if wanted
#[derive(Debug, clap::Args)]
pub struct Simulate {
    /// The door: the `url` of a source
    #[arg(long, value_name = "URL")]
    url: String,
    /// Which vendor: voicegenie, cllr, dialgen, aloro, air or standard
    #[arg(long, value_name = "DIALECT", value_parser = dialect_name)]
    dialect: DialectName,
    /// The signing secret of the source; left out, nothing is signed
    #[arg(long, value_name = "SECRET", allow_hyphen_values = true, conflicts_with = "bearer")]
    secret: Option<String>,
    /// The bearer token of the source, for air
    #[arg(long, value_name = "TOKEN", allow_hyphen_values = true)]
    bearer: Option<String>,
    /// Call the open contacts of this batch, each until it closes, and compare the batch's numbers with what was played
    #[arg(long, value_name = "ID", conflicts_with = "calls")]
    batch: Option<String>,
    /// Where the batch is kept; the server of the door unless said
    #[arg(long, value_name = "URL", requires = "batch")]
    server: Option<String>,
    /// The API key that reads the batch; POSTCALL_KEY or POSTCALL_ADMIN_KEY unless said
    #[arg(long, value_name = "KEY", allow_hyphen_values = true, requires = "batch")]
    key: Option<String>,
    /// How many calls; one call is up to five events
    #[arg(long, value_name = "N", default_value_t = 100)]
    calls: u64,
    /// Calls started per second
    #[arg(long, value_name = "R", default_value_t = 20.0)]
    rate: f64,
    /// Which calls: the same number plays the same ones
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Events sent a second time, in percent
    #[arg(long, value_name = "PCT", default_value_t = 0.0)]
    duplicates: f64,
    /// Events that come late, so that later ones overtake them, in percent
    #[arg(long, value_name = "PCT", default_value_t = 0.0)]
    disorder: f64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// When the first simulated call was placed. Not now: a seed that is played again has to say the same again.
fn first_call() -> Time {
    const MONDAY_MORNING: i64 = 1_737_363_600;
    Time::from_seconds(MONDAY_MORNING).unwrap_or(Time::MIN)
}

/// Exits with 0 when every request was answered with 2xx and the batch, if there is one, counted what was played; with
/// 1 when not.
///
/// # Errors
/// A sentence when an option makes no sense, or the batch cannot be called.
pub async fn run(simulate: Simulate) -> Result<ExitCode, String> {
    let (script, target) = prepare(&simulate)?;
    let wire = open_wire()?;
    if let Some(id) = &simulate.batch {
        let server = simulate.server.clone().unwrap_or_else(|| simulate_batch::server_of(&simulate.url));
        let client = connect("--server", &server, simulate.key.clone())?;
        let outcome = simulate_batch::run(&client, id, &wire, script, target).await?;
        return tell(&simulate, outcome.played.calls, &outcome.tally, Some(&outcome));
    }
    let progress = Progress::new("calls", simulate.calls);
    let tally = play(&wire, &mut script.plan(), target, |calls| progress.at(calls), |_| {}).await;
    progress.finish();
    tell(&simulate, simulate.calls, &tally, None)
}

fn tell(simulate: &Simulate, calls: u64, tally: &Tally, batch: Option<&Outcome>) -> Result<ExitCode, String> {
    let text = match simulate.json {
        true => json(tally, batch),
        false => summary(simulate, calls, tally) + &batch.map(Outcome::text).unwrap_or_default(),
    };
    say(&text)?;
    let is_well = tally.other.is_empty() && batch.is_none_or(|batch| batch.differences().is_empty());
    Ok(if is_well { ExitCode::SUCCESS } else { NO })
}

fn prepare(simulate: &Simulate) -> Result<(Script, Target), String> {
    if !(simulate.rate > 0.0 && simulate.rate.is_finite()) {
        return Err("--rate needs a number of calls per second above 0".to_owned());
    }
    for (option, percent) in [("--duplicates", simulate.duplicates), ("--disorder", simulate.disorder)] {
        if !(0.0..=100.0).contains(&percent) {
            return Err(format!("{option} needs a number of percent from 0 to 100"));
        }
    }
    crate::delivery::guard::parse_url(&simulate.url)?;
    let dialect = dialect::get(simulate.dialect);
    let credential = match (dialect.proof(), simulate.secret.as_ref().or(simulate.bearer.as_ref())) {
        (_, None) | (Proof::Unsigned, _) => Credential::default(),
        (proof, Some(secret)) => {
            dialect::signature::check_signing_secret(proof, secret)?;
            match proof {
                Proof::Bearer => Credential::of_bearer(Secret::new(secret.as_bytes())),
                _ => Credential::of_secret(Secret::new(secret.as_bytes())),
            }
        }
    };
    let script = Script {
        dialect: simulate.dialect,
        calls: simulate.calls,
        rate: simulate.rate,
        seed: simulate.seed,
        disorder: Disorder { duplicates: simulate.duplicates, late: simulate.disorder },
        start: first_call(),
    };
    Ok((script, Target { url: simulate.url.clone(), dialect: simulate.dialect, credential }))
}

fn summary(simulate: &Simulate, calls: u64, tally: &Tally) -> String {
    let percentile = |percent| milliseconds(&tally.latency, percent);
    let mut lines = vec![
        format!("{calls} calls as {} in {:.1} s", simulate.dialect, tally.took.as_secs_f64()),
        format!("  sent         {}", tally.sent),
        format!("  2xx          {}", tally.accepted),
        format!("  duplicates   {}", tally.duplicates),
        format!("  quarantined  {}", tally.quarantined),
        format!("  other        {}", tally.other.values().sum::<u64>()),
    ];
    lines.extend(tally.other.iter().map(|(what, count)| format!("    {what}: {count}")));
    lines.push(format!("  p50          {}", percentile(50.0)));
    lines.push(format!("  p99          {}", percentile(99.0)));
    if tally.other.contains_key("401") {
        let option = if simulate.dialect == DialectName::Air { "--bearer" } else { "--secret" };
        lines.push(format!("401 means that the door does not know the sender: is {option} the source's?"));
    }
    lines.join("\n") + "\n"
}

/// A percentile for people: `2.3 ms`; `-` when nothing was measured.
pub fn milliseconds(latency: &Histogram<u64>, percent: f64) -> String {
    if latency.is_empty() {
        return "-".to_owned();
    }
    let length = Duration::from_micros(latency.value_at_percentile(percent));
    format!("{:.1} ms", length.as_secs_f64() * 1000.0)
}

fn json(tally: &Tally, batch: Option<&Outcome>) -> String {
    let seconds = |percent| {
        let length = Duration::from_micros(tally.latency.value_at_percentile(percent));
        (!tally.latency.is_empty()).then_some(length.as_secs_f64())
    };
    let mut document = serde_json::json!({
        "sent": tally.sent,
        "accepted": tally.accepted,
        "duplicates": tally.duplicates,
        "quarantined": tally.quarantined,
        "other": tally.other,
        "p50_seconds": seconds(50.0),
        "p99_seconds": seconds(99.0),
        "took_seconds": tally.took.as_secs_f64(),
    });
    if let Some(batch) = batch {
        document["batch"] = batch.json();
    }
    format!("{document}\n")
}
