//! Bytes on disk for each delivered event, after a clean stop.

use serde_json::json;

use super::{Done, Measure};
use crate::bodies::{Bodies, ORDINARY};
use crate::load::{Load, Until};
use crate::part::Sink;
use crate::postcall::bytes_on_disk;
use crate::report::{Goal, Report, Row, Unit};
use crate::stage::Stage;

/// The measure.
pub struct Disk;

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
            let count = stage.pick(10_000, 50_000);
            let bodies = Bodies::new(ORDINARY, "fresh");
            let sent = Load::of(&door, &bodies).flat_out(Until::Count(count)).await?;
            sink.complete(&sent).await?;
            postcall.balance(&[endpoint], sent.accepted).await?;
            postcall.stop().await?;
            #[expect(clippy::cast_precision_loss, reason = "bytes of one run")]
            let each = bytes_on_disk(&data.path()) as f64 / sent.accepted as f64;
            let row = Row::of("on disk for each delivered event of 2 KB", Unit::Bytes, &[each]);
            report.add(row.goal(Goal::Below(3_000.0)));
            Ok(())
        })
    }
}
