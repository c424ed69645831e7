//! Start-up with a large backlog, and recovery after kill -9 under load: until it is ready, and until the first of what
//! was in flight is sent again. Everything that was answered 200 before the kill has to arrive.

use std::time::Duration;

use serde_json::json;

use super::measure::{Done, Measure};
use crate::backlog;
use crate::bodies::{Bodies, ORDINARY};
use crate::clock::seconds;
use crate::load::{Load, Until};
use crate::part::Sink;
use crate::report::{Goal, Report, Row, Unit, grouped};
use crate::stage::{Backlog, Stage};

/// The measure.
pub struct Restart;

/// The campaign of what is in flight when it is killed.
const CAMPAIGN: &str = "restart";
/// Seconds that a start may take.
const GOAL: Goal = Goal::Below(2.0);
/// After a kill, until what was sent before it has arrived.
const STRAGGLERS: Duration = Duration::from_millis(200);

impl Measure for Restart {
    fn name(&self) -> &'static str {
        "restart"
    }

    fn about(&self) -> &'static str {
        "start-up and recovery after kill -9 with a million pending deliveries"
    }

    fn run<'a>(&'a self, stage: &'a mut Stage, report: &'a mut Report) -> Done<'a> {
        Box::pin(async {
            let backlog = backlog::take(stage).await?;
            let rounds = stage.pick(1, 3);
            let mut started = Vec::new();
            for _ in 0..rounds {
                let postcall = stage.postcall(&backlog.data).await?;
                started.push(seconds(postcall.took));
                postcall.stop().await?;
            }
            let (ready, redelivered) = recover(stage, &backlog, rounds).await?;
            #[expect(clippy::cast_precision_loss, reason = "deliveries of one run")]
            let pending = grouped(backlog.pending as f64);
            stage.give_back(backlog);
            let row = |name: String, rounds: &[f64]| Row::of(name, Unit::Seconds, rounds).goal(GOAL);
            report.add(row(format!("start with {pending} pending, until ready"), &started));
            report.add(row(format!("start after kill -9 with {pending} pending, until ready"), &ready));
            report.add(row("the same, until the first redelivery".to_owned(), &redelivered));
            Ok(())
        })
    }
}

/// Kills it under load and starts it again; gives how long it took until it was ready, and until the first redelivery.
async fn recover(stage: &Stage, backlog: &Backlog, rounds: usize) -> Result<(Vec<f64>, Vec<f64>), String> {
    let (mut ready, mut redelivered) = (Vec::new(), Vec::new());
    let sink = Sink::start().await?;
    let bodies = Bodies::new(ORDINARY, CAMPAIGN);
    let mut postcall = stage.postcall(&backlog.data).await?;
    let endpoint = postcall.endpoint(sink.url(), json!({"campaign_id": CAMPAIGN})).await?;
    for _ in 0..rounds {
        sink.begin(None).await?;
        let door = postcall.door(&backlog.door);
        let load = Load::of(&door, &bodies);
        let kill = async {
            tokio::time::sleep(stage.seconds(1.0, 3.0)).await;
            postcall.kill().await
        };
        let (sent, killed) = tokio::join!(load.flat_out(Until::Cut), kill);
        killed?;
        let sent = sent?;
        tokio::time::sleep(STRAGGLERS).await;
        sink.mark().await?;
        postcall = stage.postcall(&backlog.data).await?;
        ready.push(seconds(postcall.took));
        let seen = sink.wait_for(1, |seen| seen.first_since_mark).await?;
        redelivered.push(seconds(seen.first_since_mark.saturating_sub(postcall.started)));
        sink.complete(&sent).await?;
        let is_done = |sums: &[_]| {
            sums.iter().all(|sum: &crate::postcall::Sum| sum.endpoint_id != endpoint || sum.pending == 0)
        };
        postcall.until(is_done).await?;
    }
    postcall.recount().await?;
    postcall.stop().await?;
    Ok((ready, redelivered))
}
