//! What a claim of due deliveries costs beside a large backlog of other endpoints, over what it costs alone; in this
//! process, through the store's own trait, in turns.

use super::measure::{Done, Measure};
use crate::backlog;
use crate::bodies::{Bodies, ORDINARY};
use crate::clock::now;
use crate::embedded::{Embedded, GROUP, delivered};
use crate::report::{Goal, Report, Row, Unit, grouped, median};
use crate::stage::Stage;

/// The measure.
pub struct Claims;

/// The campaign of what is claimed.
const CAMPAIGN: &str = "claims";

impl Measure for Claims {
    fn name(&self) -> &'static str {
        "claims"
    }

    fn about(&self) -> &'static str {
        "a claim beside a million resting deliveries of other endpoints"
    }

    fn run<'a>(&'a self, stage: &'a mut Stage, report: &'a mut Report) -> Done<'a> {
        Box::pin(async {
            let backlog = backlog::take(stage).await?;
            let empty_data = stage.data()?;
            let empty = Embedded::open(&empty_data, CAMPAIGN).await?;
            let full = Embedded::open(&backlog.data, CAMPAIGN).await?;
            let (empty_bodies, full_bodies) =
                (Bodies::new(ORDINARY, CAMPAIGN), Bodies::new(ORDINARY, CAMPAIGN));
            let (mut alone, mut beside) = (Vec::new(), Vec::new());
            for _ in 0..stage.pick(40, 300) {
                alone.push(claim(&empty, &empty_bodies).await?);
                beside.push(claim(&full, &full_bodies).await?);
            }
            empty.close().await?;
            full.close().await?;
            #[expect(clippy::cast_precision_loss, reason = "deliveries of one run")]
            let pending = grouped(backlog.pending as f64);
            stage.give_back(backlog);
            let ratio = median(&beside).zip(median(&alone)).map(|(beside, alone)| beside / alone);
            report.add(Row::of(format!("claim of {GROUP}, nothing else pending"), Unit::Micros, &alone));
            report.add(Row::of(
                format!("claim of {GROUP}, {pending} pending elsewhere"),
                Unit::Micros,
                &beside,
            ));
            report.add(
                Row::of("the one over the other", Unit::Ratio, ratio.as_slice()).goal(Goal::AtMost(1.1)),
            );
            Ok(())
        })
    }
}

/// Microseconds that the claim of a group takes whose deliveries were just recorded without a place in memory.
async fn claim(store: &Embedded, bodies: &Bodies) -> Result<f64, String> {
    store.commit(store.incoming(bodies, GROUP)?, Vec::new(), false).await?;
    let start = now();
    let owned = store.claim(GROUP).await?;
    #[expect(clippy::cast_precision_loss, reason = "microseconds of one claim")]
    let took = (now() - start) as f64;
    if owned.len() != GROUP {
        return Err(format!("a claim of {GROUP} gave {}", owned.len()));
    }
    store.commit(Vec::new(), owned.iter().map(delivered).collect(), false).await?;
    Ok(took)
}
