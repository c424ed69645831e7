//! What a large batch costs the door: its p99 at a steady rate while the contacts are taken in, over that without; and
//! while postcall's simulator calls each of them, over that beside as many calls that are for no batch. The run counts
//! only if the batch ends with the numbers that were played, and is told once.

use std::time::Duration;

use serde_json::{Value, json};

use super::measure::{Done, Measure};
use crate::backlog::FRESH;
use crate::bodies::{Bodies, ORDINARY};
use crate::clock::{now, rate};
use crate::load::Load;
use crate::part::Sink;
use crate::postcall::Postcall;
use crate::report::{Goal, Report, Row, Unit, grouped, median};
use crate::stage::Stage;

/// The measure.
pub struct Batch;

/// Calls a second to the door that is measured.
const RATE: u32 = 1000;
/// Calls a second that the simulator begins.
const SIMULATED: u64 = 1500;
/// Between two looks at the batch.
const PAUSE: Duration = Duration::from_millis(50);

impl Measure for Batch {
    fn name(&self) -> &'static str {
        "batch"
    }

    fn about(&self) -> &'static str {
        "the door's answer while a large batch is taken in and called"
    }

    fn run<'a>(&'a self, stage: &'a mut Stage, report: &'a mut Report) -> Done<'a> {
        Box::pin(async {
            let contacts = stage.pick(5_000, 100_000);
            let (sink, customer, data) = (Sink::start().await?, Sink::start().await?, stage.data()?);
            let postcall = stage.postcall(&data).await?;
            let door = postcall.door(&postcall.source().await?);
            let endpoint = postcall.endpoint(sink.url(), json!({"campaign_id": FRESH})).await?;
            let dialer = postcall
                .api("POST", "/v1/sources", Some(json!({"name": "dialer", "dialect": "dialgen"})))
                .await?;
            let lasting = stage.seconds(1.5, 8.0);
            let bodies = Bodies::new(ORDINARY, FRESH);
            let load = Load::of(&door, &bodies);
            let mut alone = Vec::new();
            let mut quiet = async || {
                let sent = load.steady(RATE, lasting, &sink).await?;
                sink.complete(&sent).await?;
                alone.push(sent.answers.p99);
                Ok::<(), String>(())
            };

            quiet().await?;
            let given = body(contacts, customer.url());
            let (sent, (id, took_in)) =
                load.steady_beside(RATE, &sink, take_in(&postcall, given, contacts)).await?;
            let intake = sent.answers.p99;
            quiet().await?;
            let calls = (SIMULATED * stage.pick(2, 15)).to_string();
            let (sent, _) =
                load.steady_beside(RATE, &sink, play(&postcall, &dialer, &["--calls", &calls])).await?;
            let of_nobody = sent.answers.p99;
            let (sent, played) =
                load.steady_beside(RATE, &sink, play(&postcall, &dialer, &["--batch", &id])).await?;
            let called = sent.answers.p99;
            quiet().await?;

            prove(&postcall, &id, contacts, &played, &customer).await?;
            postcall.balance(&[endpoint], bodies.upcoming()).await?;
            let seconds = played["took_seconds"].as_f64().unwrap_or(f64::INFINITY);
            #[expect(clippy::cast_precision_loss, reason = "contacts of one batch")]
            let contacts = contacts as f64;
            let (quiet, of) = (median(&alone), format!("a batch of {}", grouped(contacts)));
            let over = |name: String, value: f64, other: Option<f64>| {
                let ratio = other.map(|other| value / other);
                Row::of(name, Unit::Ratio, ratio.as_slice()).goal(Goal::AtMost(1.2))
            };
            report.add(Row::of("door's answer at 1,000/s, no batch, p99", Unit::Millis, &alone));
            report.add(Row::of(format!("the same while {of} is taken in, p99"), Unit::Millis, &[intake]));
            report.add(over("the one over the other".to_owned(), intake, quiet));
            report.add(Row::of(
                "the same beside simulated calls of no batch, p99",
                Unit::Millis,
                &[of_nobody],
            ));
            report.add(Row::of(format!("the same beside those of {of}, p99"), Unit::Millis, &[called]));
            report.add(over("the one over the other".to_owned(), called, Some(of_nobody)));
            report.add(Row::of("contacts taken in", Unit::PerSecond, &[took_in]));
            report.add(Row::of("contacts called to the batch's end", Unit::PerSecond, &[contacts / seconds]));
            Ok(())
        })
    }
}

fn body(contacts: u64, told: &str) -> Value {
    let contacts: Vec<Value> =
        (0..contacts).map(|number| json!({"phone": format!("+1555{number:07}")})).collect();
    json!({"contacts": contacts, "agent_id": "agent", "webhooks": {"on_batch_complete": told}})
}

/// Gives a batch and waits until all of it is taken in. Gives its id, and contacts per second.
async fn take_in(postcall: &Postcall, given: Value, contacts: u64) -> Result<(String, f64), String> {
    let start = now();
    let made = postcall.api("POST", "/v1/batches", Some(given)).await?;
    let id = made["id"].as_str().ok_or("the batch has no id")?.to_owned();
    let address = format!("/v1/batches/{id}");
    loop {
        let batch = postcall.api("GET", &address, None).await?;
        if batch["sealed"] == true {
            return Ok((id, rate(contacts, now() - start)));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Plays calls through the dialer's door.
async fn play(postcall: &Postcall, dialer: &Value, which: &[&str]) -> Result<Value, String> {
    let (_, path) = crate::wire::split(dialer["url"].as_str().ok_or("the source has no URL")?)?;
    let (url, rate) = (postcall.door(&path), SIMULATED.to_string());
    let secret = dialer["secret"].as_str().ok_or("the source has no secret")?;
    let how = ["--url", &url, "--dialect", "dialgen", "--secret", secret, "--rate", &rate];
    postcall.simulate(&[&how, which].concat()).await
}

/// The batch has to have ended with what was played, and its customer to have heard of it once.
async fn prove(
    postcall: &Postcall,
    id: &str,
    contacts: u64,
    played: &Value,
    customer: &Sink,
) -> Result<(), String> {
    let batch = postcall.api("GET", &format!("/v1/batches/{id}"), None).await?;
    let reached = played["batch"]["calls_completed"].as_u64().ok_or("the simulator says too little")?;
    #[expect(clippy::cast_precision_loss, reason = "contacts of one batch")]
    let success_rate = (reached as f64 * 100.0 / contacts as f64 * 100.0).round() / 100.0;
    let numbers = &batch["statistics"];
    let wanted = [contacts, contacts, reached, contacts - reached];
    let counted = ["total", "processed", "succeeded", "failed"].map(|field| numbers[field].as_u64());
    let is_right = batch["status"] == "completed"
        && counted == wanted.map(Some)
        && numbers["percent_complete"].as_f64() == Some(100.0)
        && numbers["success_rate"].as_f64().is_some_and(|rate| (rate - success_rate).abs() < 0.011);
    if !is_right {
        return Err(format!("{wanted:?} were played, but the batch says {batch}"));
    }
    let heard = customer.wait_for(1, |seen| seen.requests).await?.requests;
    if heard != 1 {
        return Err(format!("the end of the batch was told {heard} times"));
    }
    Ok(())
}
