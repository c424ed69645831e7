//! Bytes on disk for each delivered event, after a clean stop.

use serde_json::json;

use super::measure::{Done, Measure};
use crate::bodies::{Bodies, ORDINARY};
use crate::load::{Load, Until};
use crate::part::Sink;
use crate::report::{Goal, Report, Row, Unit};
use crate::stage::Stage;

/// The measure.
pub struct Disk;

/// What it reports.
pub const NAME: &str = "on disk for each delivered event of 2 KB";

impl Measure for Disk {
    fn name(&self) -> &'static str {
        "disk"
    }

    fn about(&self) -> &'static str {
        "bytes on disk for each delivered event of 2 KB"
    }

    fn run<'a>(&'a self, stage: &'a mut Stage, report: &'a mut Report) -> Done<'a> {
        Box::pin(async {
            let (sink, data) = (Sink::start().await?, stage.data()?);
            let postcall = stage.postcall(&data).await?;
            let door = postcall.door(&postcall.source().await?);
            let endpoint = postcall.endpoint(sink.url(), json!({})).await?;
            // PostgreSQL's catalogue is there before any event.
            let before = stage.by_store(0.0, data.bytes()?);
            let count = stage.pick(10_000, 50_000);
            let bodies = Bodies::new(ORDINARY, "fresh");
            let sent = Load::of(&door, &bodies).flat_out(Until::Count(count)).await?;
            sink.complete(&sent).await?;
            postcall.balance(&[endpoint], sent.accepted).await?;
            postcall.stop().await?;
            #[expect(clippy::cast_precision_loss, reason = "bytes of one run")]
            let each = (data.bytes()? - before) / sent.accepted as f64;
            report.add(Row::of(NAME, Unit::Bytes, &[each]).goal(Goal::Below(3_000.0)));
            Ok(())
        })
    }
}
