//! Throughput and memory with a large backlog at rest: in turns with a store that has the same endpoints and owes
//! nothing, so that only the backlog differs.

use serde_json::json;

use super::measure::{Done, Measure};
use crate::backlog::{self, CLOSED, FRESH};
use crate::bodies::{Bodies, ORDINARY};
use crate::load::{Load, Until};
use crate::part::Sink;
use crate::postcall::{Data, Postcall};
use crate::procfs::{Memory, memory, shared};
use crate::report::{Goal, Report, Row, Unit, grouped};
use crate::stage::Stage;

/// The measure.
pub struct Pending;

/// Megabytes that it may take.
const MEMORY: f64 = 200.0;

impl Measure for Pending {
    fn name(&self) -> &'static str {
        "pending"
    }

    fn about(&self) -> &'static str {
        "throughput and memory with a million pending deliveries"
    }

    fn run<'a>(&'a self, stage: &'a mut Stage, report: &'a mut Report) -> Done<'a> {
        Box::pin(async {
            let backlog = backlog::take(stage).await?;
            let until = Until::Time(stage.seconds(1.5, 6.0));
            let empty_data = stage.data()?;
            let empty = Side::start(stage, &empty_data, None).await?;
            let full = Side::start(stage, &backlog.data, Some(&backlog.door)).await?;
            let rested = memory(full.postcall.pid());
            let (mut over_empty, mut over_full) = (Vec::new(), Vec::new());
            for _ in 0..stage.pick(1, 3) {
                over_empty.push(empty.flat_out(until).await?);
                over_full.push(full.flat_out(until).await?);
            }
            let loaded = memory(full.postcall.pid());
            let (databases, database) = (backlog.data.servers(), backlog.data.database().is_some());
            let kept = shared(&databases);
            empty.end().await?;
            full.end().await?;
            #[expect(clippy::cast_precision_loss, reason = "deliveries of one run")]
            let pending = grouped(backlog.pending as f64);
            stage.give_back(backlog);

            let ratios: Vec<f64> =
                over_full.iter().zip(&over_empty).map(|(full, empty)| full / empty).collect();
            report.add(Row::of("delivered, nothing else pending", Unit::PerSecond, &over_empty));
            report.add(Row::of(format!("delivered, {pending} pending"), Unit::PerSecond, &over_full));
            report.add(
                Row::of(format!("{pending} pending over nothing pending"), Unit::Ratio, &ratios)
                    .goal(Goal::AtLeast(0.9)),
            );
            for (name, memory) in [
                (
                    format!("memory after a start with {pending} pending"),
                    rested.map(|memory| memory.resident),
                ),
                (format!("memory under load with {pending} pending"), loaded.map(|memory| memory.resident)),
                (format!("the most memory with {pending} pending"), loaded.map(|Memory { most, .. }| most)),
            ] {
                report.add(match memory {
                    Some(megabytes) => Row::of(name, Unit::Megabytes, &[megabytes]).goal(Goal::Below(MEMORY)),
                    None => Row::missing(name, Unit::Megabytes, "not told here"),
                });
            }
            if database {
                let name = "PostgreSQL's memory meanwhile, for both";
                report.add(match kept {
                    Some(megabytes) => Row::of(name, Unit::Megabytes, &[megabytes]),
                    None => Row::missing(name, Unit::Megabytes, "not told here"),
                });
            }
            Ok(())
        })
    }
}

/// One of the two postcalls, with an endpoint for fresh events.
struct Side {
    postcall: Postcall,
    sink: Sink,
    door: String,
    endpoint: String,
    bodies: std::rc::Rc<Bodies>,
}

impl Side {
    async fn start(stage: &Stage, data: &Data, door: Option<&str>) -> Result<Self, String> {
        let (sink, postcall) = (Sink::start().await?, stage.postcall(data).await?);
        let door = match door {
            Some(door) => postcall.door(door),
            None => {
                backlog::endpoints(&postcall, backlog::size(stage).0, CLOSED).await?;
                postcall.door(&postcall.source().await?)
            }
        };
        let endpoint = postcall.endpoint(sink.url(), json!({"campaign_id": FRESH})).await?;
        Ok(Self { postcall, sink, door, endpoint, bodies: Bodies::new(ORDINARY, FRESH) })
    }

    async fn flat_out(&self, until: Until) -> Result<f64, String> {
        self.sink.begin(None).await?;
        let sent = Load::of(&self.door, &self.bodies).flat_out(until).await?;
        self.sink.delivered_per_second(&sent).await
    }

    async fn end(self) -> Result<(), String> {
        self.postcall.balance(&[self.endpoint], self.bodies.upcoming()).await?;
        self.postcall.stop().await
    }
}
