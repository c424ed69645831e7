//! Latency at a quiet 1,000 calls a second: from when a request was due to its arrival at the endpoint, and to the
//! door's answer; in turns with the bare relay.

use serde_json::json;

use super::measure::{Done, Measure};
use crate::bodies::{Bodies, ORDINARY};
use crate::lateness::Quantiles;
use crate::load::Load;
use crate::part::{Sink, bare_relay};
use crate::report::{Goal, Report, Row, Unit, median};
use crate::stage::Stage;

/// The measure.
pub struct Latency;

/// Calls a second.
const RATE: u32 = 1000;

impl Measure for Latency {
    fn name(&self) -> &'static str {
        "latency"
    }

    fn about(&self) -> &'static str {
        "door to endpoint, and the door's answer, at 1,000 calls a second"
    }

    fn run<'a>(&'a self, stage: &'a mut Stage, report: &'a mut Report) -> Done<'a> {
        Box::pin(async {
            let lasting = stage.seconds(2.0, 6.0);
            let (mut relay, mut ours, mut answers) = (Vec::new(), Vec::new(), Vec::new());
            for _ in 0..stage.pick(1, 3) {
                let sink = Sink::start().await?;
                let bare = bare_relay(sink.url()).await?;
                let sent =
                    Load::of(&bare.url, &Bodies::new(ORDINARY, "fresh")).steady(RATE, lasting, &sink).await?;
                relay.push(sink.complete(&sent).await?.late);

                let (sink, data) = (Sink::start().await?, stage.data()?);
                let postcall = stage.postcall(&data).await?;
                let door = postcall.door(&postcall.source().await?);
                let endpoint = postcall.endpoint(sink.url(), json!({})).await?;
                let sent =
                    Load::of(&door, &Bodies::new(ORDINARY, "fresh")).steady(RATE, lasting, &sink).await?;
                ours.push(sink.complete(&sent).await?.late);
                answers.push(sent.answers);
                postcall.balance(&[endpoint], sent.accepted).await?;
            }
            let p50 = |all: &[Quantiles]| all.iter().map(|late| late.p50).collect::<Vec<f64>>();
            let p99 = |all: &[Quantiles]| all.iter().map(|late| late.p99).collect::<Vec<f64>>();
            let (relay50, relay99) = (p50(&relay), p99(&relay));
            let row = |name: &str, rounds: &[f64]| Row::of(name, Unit::Millis, rounds);
            report.add(row("through the bare relay at 1,000/s, p50", &relay50));
            report.add(row("through the bare relay at 1,000/s, p99", &relay99));
            report.add(
                row("door to endpoint at 1,000/s, p50", &p50(&ours))
                    .over(median(&relay50))
                    .goal(Goal::Below(3.0)),
            );
            report.add(
                row("door to endpoint at 1,000/s, p99", &p99(&ours))
                    .over(median(&relay99))
                    .goal(Goal::Below(15.0)),
            );
            report.add(row("door's answer at 1,000/s, p50", &p50(&answers)));
            report.add(row("door's answer at 1,000/s, p99", &p99(&answers)));
            Ok(())
        })
    }
}
