//! One event to many endpoints, all of them at the sink: deliveries per second, over the bare relay's POSTs per second.
//! The sink counts requests here, since each call comes once for each endpoint; the books say that each of them got all.

use serde_json::json;

use super::measure::{Done, Measure};
use crate::bodies::{Bodies, ORDINARY};
use crate::clock::rate;
use crate::load::{Load, Until};
use crate::part::{Sink, bare_relay};
use crate::report::{Goal, Report, Row, Unit, median};
use crate::stage::Stage;

/// The measure.
pub struct FanOut;

/// Endpoints that one event goes to.
const WIDTHS: [u64; 3] = [1, 10, 100];

impl Measure for FanOut {
    fn name(&self) -> &'static str {
        "fanout"
    }

    fn about(&self) -> &'static str {
        "deliveries per second of one event to 1, 10 and 100 endpoints"
    }

    fn run<'a>(&'a self, stage: &'a mut Stage, report: &'a mut Report) -> Done<'a> {
        Box::pin(async {
            let deliveries = stage.pick(20_000, 100_000);
            let mut relay = Vec::new();
            let mut by_width = WIDTHS.map(|_| Vec::new());
            for _ in 0..stage.pick(1, 2) {
                relay.push(posts(deliveries).await?);
                for (width, rates) in WIDTHS.into_iter().zip(&mut by_width) {
                    rates.push(fan_out(stage, width, deliveries).await?);
                }
            }
            report.add(Row::of("bare relay, POSTs", Unit::PerSecond, &relay));
            for (width, rates) in WIDTHS.into_iter().zip(&by_width) {
                let row = Row::of(format!("deliveries, one event to {width}"), Unit::PerSecond, rates);
                let row = row.over(median(&relay));
                report.add(if width == 100 { row.goal(Goal::OfTheRelay(0.6)) } else { row });
            }
            Ok(())
        })
    }
}

async fn posts(count: u64) -> Result<f64, String> {
    let sink = Sink::start().await?;
    let relay = bare_relay(sink.url()).await?;
    let sent = Load::of(&relay.url, &Bodies::new(ORDINARY, "fresh")).flat_out(Until::Count(count)).await?;
    sink.delivered_per_second(&sent).await
}

async fn fan_out(stage: &Stage, width: u64, deliveries: u64) -> Result<f64, String> {
    let (sink, data) = (Sink::start().await?, stage.data()?);
    let postcall = stage.postcall(&data).await?;
    let door = postcall.door(&postcall.source().await?);
    let mut endpoints = Vec::new();
    for number in 0..width {
        endpoints.push(postcall.endpoint(&format!("{}/{number}", sink.url()), json!({})).await?);
    }
    let bodies = Bodies::new(ORDINARY, "fresh");
    let sent = Load::of(&door, &bodies).flat_out(Until::Count(deliveries / width)).await?;
    let seen = sink.wait_for(sent.accepted * width, |seen| seen.requests).await?;
    postcall.balance(&endpoints, sent.accepted).await?;
    Ok(rate(seen.requests, seen.last.saturating_sub(sent.start)))
}
