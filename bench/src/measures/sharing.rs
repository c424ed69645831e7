//! What an account that sends as fast as it is answered costs another one: the latency of the quiet one's ingest beside it
//! over its latency alone, in turns in one process. Beside it what the same account costs that sends to a server of its own:
//! that much is the machine's, whose cores all of them share.

use std::time::Duration;

use serde_json::json;

use super::measure::{Done, Measure};
use crate::attacks::{self, Target};
use crate::bodies::{Bodies, ORDINARY};
use crate::clock::{now, rate};
use crate::load::Load;
use crate::part::Sink;
use crate::report::{Goal, Report, Row, Unit, median};
use crate::stage::Stage;

/// The measure.
pub struct Sharing;

/// Calls a second of the quiet account.
const RATE: u32 = 200;
/// Between two rounds.
const SETTLING: Duration = Duration::from_millis(500);

impl Measure for Sharing {
    fn name(&self) -> &'static str {
        "sharing"
    }

    fn about(&self) -> &'static str {
        "a quiet account's answers beside another account at full speed"
    }

    fn run<'a>(&'a self, stage: &'a mut Stage, report: &'a mut Report) -> Done<'a> {
        Box::pin(async {
            let (sink, data) = (Sink::start().await?, stage.data()?);
            let postcall = stage.postcall(&data).await?;
            let source = postcall.source().await?;
            let door = postcall.door(&source);
            postcall.endpoint(sink.url(), json!({})).await?;
            let neighbour = Target::of(&postcall, source, String::new()).await?;
            let (elsewhere, other_data) = (Sink::start().await?, stage.data()?);
            let other = stage.postcall(&other_data).await?;
            let other_source = other.source().await?;
            other.endpoint(elsewhere.url(), json!({})).await?;
            let stranger = Target::of(&other, other_source, String::new()).await?;
            let (lasting, bodies) = (stage.seconds(2.0, 5.0), Bodies::new(ORDINARY, "quiet"));
            let quiet = async || {
                let sent = Load::of(&door, &bodies).steady(RATE, lasting, &sink).await?;
                sink.complete(&sent).await.map(|seen| (sent.answers, seen.late))
            };
            quiet().await?;
            let (mut alone, mut beside) = (Vec::new(), Vec::new());
            let (mut alone_late, mut beside_late, mut accepted) = (Vec::new(), Vec::new(), Vec::new());
            let mut apart = Vec::new();
            for _ in 0..stage.pick(1, 4) {
                let (answers, late) = quiet().await?;
                alone.push(answers);
                alone_late.push(late.p99);
                let start = now();
                let crowd = attacks::beside(&attacks::NEIGHBOUR, &neighbour, false, quiet());
                let ((answers, late), tally) = crowd.await?;
                beside.push(answers);
                beside_late.push(late.p99);
                accepted.push(rate(tally.statuses.get(&200).copied().unwrap_or_default(), now() - start));
                tokio::time::sleep(SETTLING).await;
                let crowd = attacks::beside(&attacks::NEIGHBOUR, &stranger, false, quiet());
                apart.push(crowd.await?.0.0);
                tokio::time::sleep(SETTLING).await;
            }
            let p50 = |all: &[crate::lateness::Quantiles]| all.iter().map(|it| it.p50).collect::<Vec<f64>>();
            let p99 = |all: &[crate::lateness::Quantiles]| all.iter().map(|it| it.p99).collect::<Vec<f64>>();
            let ratio = median(&p99(&beside)).zip(median(&p99(&alone))).map(|(beside, alone)| beside / alone);
            let row = |name: &str, rounds: &[f64]| Row::of(name, Unit::Millis, rounds);
            report.add(row("a quiet account's answer at 200/s, p50", &p50(&alone)));
            report.add(row("a quiet account's answer at 200/s, p99", &p99(&alone)));
            report.add(row("the same beside an account at full speed, p50", &p50(&beside)));
            report.add(row("the same beside an account at full speed, p99", &p99(&beside)));
            report.add(row("beside an account at full speed on a server of its own, p99", &p99(&apart)));
            report.add(
                Row::of("the one p99 over the other", Unit::Ratio, ratio.as_slice()).goal(Goal::AtMost(2.0)),
            );
            report.add(row("a quiet account's event to its endpoint, p99", &alone_late));
            report.add(row("the same beside an account at full speed, p99", &beside_late));
            report.add(Row::of("accepted of the account at full speed", Unit::PerSecond, &accepted));
            Ok(())
        })
    }
}
