//! Delivered calls and latency over offered load: an open loop in steps, at each of them the bare relay, then postcall.
//! Past what one can take, calls wait from when they were due, so latency there says how long the step was.

use serde_json::json;

use super::measure::{Done, Measure};
use crate::bodies::{Bodies, ORDINARY};
use crate::clock::rate;
use crate::load::Load;
use crate::part::{Sink, bare_relay};
use crate::report::{Report, Row, Served, Step, Unit};
use crate::sent::Sent;
use crate::stage::Stage;

/// The measure.
pub struct Sweep;

/// Calls a second, step by step.
const WHOLE: &[u32] = &[1_000, 2_000, 4_000, 8_000, 12_000, 16_000, 20_000, 24_000, 28_000];
/// The same in a quick run.
const QUICK: &[u32] = &[1_000, 4_000, 12_000, 20_000];
/// What part of an offered load has to be delivered in its time to count as delivered.
const IN_FULL: f64 = 0.97;

impl Measure for Sweep {
    fn name(&self) -> &'static str {
        "sweep"
    }

    fn about(&self) -> &'static str {
        "throughput and latency over offered load"
    }

    fn run<'a>(&'a self, stage: &'a mut Stage, report: &'a mut Report) -> Done<'a> {
        Box::pin(async {
            let lasting = stage.seconds(0.7, 3.0);
            let relay_sink = Sink::start().await?;
            let relay = bare_relay(relay_sink.url()).await?;
            let through_relay = Bodies::new(ORDINARY, "fresh");
            let (sink, data) = (Sink::start().await?, stage.data()?);
            let postcall = stage.postcall(&data).await?;
            let door = postcall.door(&postcall.source().await?);
            let endpoint = postcall.endpoint(sink.url(), json!({})).await?;
            let through_postcall = Bodies::new(ORDINARY, "fresh");
            let mut accepted = 0;
            for &offered in stage.pick(QUICK, WHOLE) {
                stage.note(&format!("{offered}/s"));
                let sent = Load::of(&relay.url, &through_relay).steady(offered, lasting, &relay_sink).await?;
                let relay = served(&relay_sink, &sent).await?;
                let sent = Load::of(&door, &through_postcall).steady(offered, lasting, &sink).await?;
                let postcall = served(&sink, &sent).await?;
                accepted += sent.accepted;
                report.sweep.push(Step { offered: f64::from(offered), relay, postcall });
            }
            postcall.balance(&[endpoint], accepted).await?;
            let highest = |served: fn(&Step) -> Served| {
                let in_full =
                    report.sweep.iter().filter(|step| served(step).delivered >= IN_FULL * step.offered);
                in_full.map(|step| step.offered).fold(0.0, f64::max)
            };
            let (relay, ours) = (highest(|step| step.relay), highest(|step| step.postcall));
            report.add(Row::of(
                "highest step that the bare relay delivered in full",
                Unit::PerSecond,
                &[relay],
            ));
            report.add(
                Row::of("highest step that was delivered in full", Unit::PerSecond, &[ours])
                    .over(Some(relay)),
            );
            Ok(())
        })
    }
}

async fn served(sink: &Sink, sent: &Sent) -> Result<Served, String> {
    let seen = sink.complete(sent).await?;
    Ok(Served { delivered: rate(seen.distinct, seen.last_new.saturating_sub(sent.start)), late: seen.late })
}
