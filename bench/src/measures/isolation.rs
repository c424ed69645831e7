//! What a hanging and a refusing endpoint, each owed very much and tried all the time, cost a healthy one: its latency
//! beside them over its latency while they are disabled, in turns in one process.

use std::time::Duration;

use serde_json::json;

use super::measure::{Done, Measure};
use crate::backlog::{CLOSED, FRESH, RESTING};
use crate::bodies::{Bodies, ORDINARY};
use crate::clock::{now, rate};
use crate::load::{Load, Until};
use crate::part::{Part, Sink};
use crate::report::{Goal, Report, Row, Unit, median};
use crate::stage::Stage;

/// The measure.
pub struct Isolation;

/// Calls a second to the healthy endpoint.
const RATE: u32 = 1000;
/// After the bad ones were enabled or disabled, until that has its effect.
const SETTLING: Duration = Duration::from_millis(500);

impl Measure for Isolation {
    fn name(&self) -> &'static str {
        "isolation"
    }

    fn about(&self) -> &'static str {
        "a healthy endpoint's latency beside a hanging and a refusing one"
    }

    fn run<'a>(&'a self, stage: &'a mut Stage, report: &'a mut Report) -> Done<'a> {
        Box::pin(async {
            let owed = stage.pick(5_000, 100_000);
            let (sink, hanging) = (Sink::start().await?, Part::start(&["hang"]).await?);
            let data = stage.data()?;
            let postcall = stage.postcall(&data).await?;
            let door = postcall.door(&postcall.source().await?);
            // Tried again soon and for long: there is always something to try.
            let delays = vec![1; 50];
            let bad = json!({"campaign_id": RESTING, "retry_delays_seconds": delays, "timeout_seconds": 5});
            let bad =
                [postcall.endpoint(&hanging.url, bad.clone()).await?, postcall.endpoint(CLOSED, bad).await?];
            for endpoint in &bad {
                postcall.disable(endpoint).await?;
            }
            stage.note(&format!("filling {owed} each for two bad endpoints"));
            let backlog = Bodies::new(ORDINARY, RESTING);
            Load::of(&door, &backlog).flat_out(Until::Count(owed)).await?;
            let healthy = postcall.endpoint(sink.url(), json!({"campaign_id": FRESH})).await?;

            let lasting = stage.seconds(1.5, 4.0);
            let bodies = Bodies::new(ORDINARY, FRESH);
            let (mut alone, mut beside, mut tried) = (Vec::new(), Vec::new(), Vec::new());
            // What filling left to the disk is not the endpoints' doing.
            let sent = Load::of(&door, &bodies).steady(RATE, lasting, &sink).await?;
            sink.complete(&sent).await?;
            for _ in 0..stage.pick(1, 4) {
                alone.push({
                    let sent = Load::of(&door, &bodies).steady(RATE, lasting, &sink).await?;
                    sink.complete(&sent).await?.late.p99
                });
                for endpoint in &bad {
                    postcall.enable(endpoint).await?;
                }
                tokio::time::sleep(SETTLING).await;
                let (start, before) = (now(), postcall.attempts().await?);
                beside.push({
                    let sent = Load::of(&door, &bodies).steady(RATE, lasting, &sink).await?;
                    let late = sink.complete(&sent).await?.late.p99;
                    let attempts = postcall.attempts().await? - before;
                    tried.push(rate(attempts.saturating_sub(sent.accepted), now() - start));
                    late
                });
                for endpoint in &bad {
                    postcall.disable(endpoint).await?;
                }
                tokio::time::sleep(SETTLING).await;
            }
            for endpoint in &bad {
                let sum = postcall.sum(endpoint).await?;
                if sum.pending != owed {
                    return Err(format!("{owed} were to stay pending, but the books say {sum:?}"));
                }
            }
            postcall.balance(&[healthy], bodies.upcoming()).await?;
            let ratio = median(&beside).zip(median(&alone)).map(|(beside, alone)| beside / alone);
            report.add(Row::of("healthy endpoint at 1,000/s, p99", Unit::Millis, &alone));
            report.add(Row::of("the same beside a hanging and a refusing one, p99", Unit::Millis, &beside));
            report.add(
                Row::of("the one over the other", Unit::Ratio, ratio.as_slice()).goal(Goal::AtMost(1.2)),
            );
            report.add(Row::of("attempts on the two bad ones meanwhile", Unit::PerSecond, &tried));
            Ok(())
        })
    }
}
