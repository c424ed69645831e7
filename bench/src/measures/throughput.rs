//! Accepted and delivered per second, flat out, in turns with the relays; and where the CPU time of one event goes
//! meanwhile. A round of postcall's counts only if everything accepted was delivered and the books balance.

use serde_json::json;

use super::measure::{Done, Measure};
use crate::bodies::{Bodies, LARGE, ORDINARY};
use crate::cost::{Cost, Reading};
use crate::load::{Load, Until};
use crate::part::{Part, Sink};
use crate::report::{Goal, Report, Row, Unit, median};
use crate::stage::Stage;

/// The measure.
pub struct Throughput;

/// The row that others are compared with.
pub const BARE: &str = "bare relay, 2 KB";
/// The row that says how fast postcall is.
pub const OURS: &str = "accepted and delivered, 2 KB";

impl Measure for Throughput {
    fn name(&self) -> &'static str {
        "throughput"
    }

    fn about(&self) -> &'static str {
        "calls accepted and delivered per second, and the CPU time of one"
    }

    fn run<'a>(&'a self, stage: &'a mut Stage, report: &'a mut Report) -> Done<'a> {
        Box::pin(async {
            ordinary(stage, report).await?;
            large(stage, report).await
        })
    }
}

/// 2 KB bodies, with both relays.
async fn ordinary(stage: &Stage, report: &mut Report) -> Result<(), String> {
    let until = Until::Time(stage.seconds(2.0, 8.0));
    let (mut bare, mut thinnest, mut ours) = (Vec::new(), Vec::new(), Vec::new());
    let mut costs = [Cost::default(), Cost::default(), Cost::default()];
    for _ in 0..stage.pick(1, 3) {
        bare.push(relayed("relay", ORDINARY, until, &mut costs[0]).await?);
        thinnest.push(relayed("thinnest", ORDINARY, until, &mut costs[1]).await?);
        ours.push(through_postcall(stage, ORDINARY, until, &mut costs[2]).await?);
    }
    let (relay, least) = (median(&bare), median(&thinnest));
    report.add(Row::of(BARE, Unit::PerSecond, &bare));
    report.add(Row::of("thinnest relay, 2 KB", Unit::PerSecond, &thinnest).over(relay));
    let ours = Row::of(OURS, Unit::PerSecond, &ours).over(relay);
    let over_least = ours.value.zip(least).map(|(ours, least)| ours / least);
    report.add(ours.goal(Goal::OfTheRelay(stage.by_store(0.45, 0.20))));
    report.add(Row::of("the same over the thinnest relay's", Unit::Ratio, over_least.as_slice()));
    #[expect(clippy::cast_precision_loss, reason = "a few cores")]
    let cores = report.machine.cores as f64;
    let through = ["the bare relay", "the thinnest relay", "postcall"];
    report.cpu.extend(costs.iter().zip(through).filter_map(|(cost, through)| cost.table(through, cores)));
    Ok(())
}

/// 40 KB bodies.
async fn large(stage: &Stage, report: &mut Report) -> Result<(), String> {
    let until = Until::Time(stage.seconds(1.5, 5.0));
    let (mut bare, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..stage.pick(1, 3) {
        bare.push(relayed("relay", LARGE, until, &mut Cost::default()).await?);
        ours.push(through_postcall(stage, LARGE, until, &mut Cost::default()).await?);
    }
    report.add(Row::of("bare relay, 40 KB", Unit::PerSecond, &bare));
    report.add(Row::of("accepted and delivered, 40 KB", Unit::PerSecond, &ours).over(median(&bare)));
    Ok(())
}

async fn relayed(which: &'static str, size: usize, until: Until, cost: &mut Cost) -> Result<f64, String> {
    let sink = Sink::start().await?;
    let relay = Part::start(&[which, sink.url()]).await?;
    let bodies = Bodies::new(size, "fresh");
    let parts = [("generator", std::process::id()), (which, relay.pid()), ("sink", sink.pid())];
    let reading = Reading::before(&parts);
    let sent = Load::of(&relay.url, &bodies).flat_out(until).await?;
    let rate = sink.delivered_per_second(&sent).await?;
    cost.after(&reading, sent.accepted);
    Ok(rate)
}

async fn through_postcall(stage: &Stage, size: usize, until: Until, cost: &mut Cost) -> Result<f64, String> {
    let (sink, data) = (Sink::start().await?, stage.data()?);
    let postcall = stage.postcall(&data).await?;
    let door = postcall.door(&postcall.source().await?);
    let endpoint = postcall.endpoint(sink.url(), json!({})).await?;
    let bodies = Bodies::new(size, "fresh");
    let mut parts =
        vec![("generator", std::process::id()), ("postcall", postcall.pid()), ("sink", sink.pid())];
    parts.extend(data.servers().into_iter().map(|pid| ("postgres", pid)));
    let reading = Reading::before(&parts);
    let sent = Load::of(&door, &bodies).flat_out(until).await?;
    let rate = sink.delivered_per_second(&sent).await?;
    cost.after(&reading, sent.accepted);
    postcall.balance(&[endpoint], sent.accepted).await?;
    Ok(rate)
}
