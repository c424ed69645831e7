//! The size of the files before and after retention has purged everything that was delivered. A postcall that has no
//! retention is no failure: the row says that it is not there.

use std::time::Duration;

use serde_json::json;

use super::measure::{Done, Measure};
use crate::bodies::{Bodies, ORDINARY};
use crate::clock::now;
use crate::database::Store;
use crate::load::{Load, Until};
use crate::part::Sink;
use crate::postcall::{Data, Postcall};
use crate::report::{Report, Row, Unit};
use crate::stage::Stage;

/// The measure.
pub struct Retention;

/// So short that everything is past it at once: about a tenth of a second.
const DAYS: f64 = 1e-6;
/// How long a purge may make no progress.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long the files must keep their size to count as purged.
const STILL: Duration = Duration::from_secs(3);

const NAME: &str = "files after retention over before";

impl Measure for Retention {
    fn name(&self) -> &'static str {
        "retention"
    }

    fn about(&self) -> &'static str {
        "the size of the files before and after retention"
    }

    fn run<'a>(&'a self, stage: &'a mut Stage, report: &'a mut Report) -> Done<'a> {
        Box::pin(async {
            if stage.store() == Store::Postgres {
                report.add(Row::missing(NAME, Unit::Ratio, "space goes back by whole days there"));
                return Ok(());
            }
            let (sink, data) = (Sink::start().await?, stage.data()?);
            let postcall = stage.postcall(&data).await?;
            let (status, answer) = set(&postcall, None).await?;
            if matches!(status, 404 | 405) {
                report.add(Row::missing(NAME, Unit::Ratio, "not there"));
                return Ok(());
            }
            if status != 200 {
                return Err(format!("PATCH /v1/account was answered {status}: {answer}"));
            }
            let door = postcall.door(&postcall.source().await?);
            let endpoint = postcall.endpoint(sink.url(), json!({})).await?;
            let count = stage.pick(10_000, 100_000);
            let bodies = Bodies::new(ORDINARY, "fresh");
            let sent = Load::of(&door, &bodies).flat_out(Until::Count(count)).await?;
            sink.complete(&sent).await?;
            postcall.balance(&[endpoint], sent.accepted).await?;
            postcall.stop().await?;
            let before = data.bytes()?;

            let postcall = stage.postcall(&data).await?;
            let start = now();
            set(&postcall, Some(DAYS)).await?;
            let purged = purged(&postcall, &data).await?;
            postcall.recount().await?;
            postcall.stop().await?;
            let after = data.bytes()?;
            #[expect(clippy::cast_precision_loss, reason = "microseconds of one run")]
            let took = (purged - start) as f64;
            report.add(Row::of("files before retention", Unit::Megabytes, &[before / 1e6]));
            report.add(Row::of("files after retention", Unit::Megabytes, &[after / 1e6]));
            report.add(Row::of(NAME, Unit::Ratio, &[after / before]));
            report.add(Row::of("the purge took", Unit::Seconds, &[took / 1e6]));
            Ok(())
        })
    }
}

async fn set(postcall: &Postcall, days: Option<f64>) -> Result<(u16, serde_json::Value), String> {
    postcall.ask("PATCH", "/v1/account", Some(json!({"retention_days": days}))).await
}

/// Waits until the feed is empty and the files keep their size; gives when that began.
async fn purged(postcall: &Postcall, data: &Data) -> Result<u64, String> {
    let (mut size, mut since) = (0.0, now());
    loop {
        let (_, feed) = postcall.ask("GET", "/v1/events?limit=1", None).await?;
        let is_empty = feed["data"].as_array().is_some_and(Vec::is_empty);
        let found = data.bytes()?;
        if f64::to_bits(found) != f64::to_bits(size) {
            (size, since) = (found, now());
        }
        let still = Duration::from_micros(now() - since);
        match is_empty {
            true if still > STILL => return Ok(since),
            false if still > PATIENCE => return Err(format!("the purge stands still: {feed}")),
            _ => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}
