//! What one event asks of PostgreSQL: statements and commits, and bytes of its log; flat out, when groups are large, and
//! at a quiet 1,000 calls a second, when they are small. On a server of its own, since counting costs a little.

use serde_json::json;

use super::measure::{Done, Measure};
use crate::bodies::{Bodies, ORDINARY};
use crate::database::{Counts, Server, Store};
use crate::load::{Load, Until};
use crate::part::Sink;
use crate::report::{Report, Row, Unit};
use crate::stage::Stage;

/// The measure.
pub struct Statements;

/// Calls a second when it is quiet.
const RATE: u32 = 1000;
/// What it reports of a full load, for whoever reckons with it.
pub const STATEMENTS: &str = "statements for each event, flat out";
/// The same.
pub const COMMITS: &str = "commits for each event, flat out";
/// The same.
pub const LOG: &str = "log for each event, flat out";

impl Measure for Statements {
    fn name(&self) -> &'static str {
        "statements"
    }

    fn about(&self) -> &'static str {
        "statements and bytes of log for each event"
    }

    fn is_for(&self, store: Store) -> bool {
        store == Store::Postgres
    }

    fn run<'a>(&'a self, stage: &'a mut Stage, report: &'a mut Report) -> Done<'a> {
        Box::pin(async {
            let server = Server::counting()?;
            let (sink, data) = (Sink::start().await?, stage.data_in(&server)?);
            let database = data.database().ok_or("no database")?;
            let postcall = stage.postcall(&data).await?;
            let door = postcall.door(&postcall.source().await?);
            let endpoint = postcall.endpoint(sink.url(), json!({})).await?;
            let bodies = Bodies::new(ORDINARY, "fresh");
            let lasting = stage.seconds(2.0, 8.0);
            // What only the first events need is not what each needs.
            let sent = Load::of(&door, &bodies).flat_out(Until::Count(2_000)).await?;
            sink.complete(&sent).await?;
            let mut accepted = sent.accepted;

            let mut counted = Vec::new();
            for is_quiet in [false, true] {
                settled(&postcall, &endpoint, accepted).await?;
                sink.begin(None).await?;
                let before = database.counts()?;
                let load = Load::of(&door, &bodies);
                let sent = match is_quiet {
                    false => load.flat_out(Until::Time(lasting)).await?,
                    true => load.steady(RATE, lasting, &sink).await?,
                };
                sink.complete(&sent).await?;
                accepted += sent.accepted;
                settled(&postcall, &endpoint, accepted).await?;
                counted.push(database.counts()?.each(before, sent.accepted));
            }
            for line in database.busiest(12)?.lines() {
                stage.note(line);
            }
            postcall.balance(&[endpoint], accepted).await?;
            let [flat_out, quiet] = counted[..] else { return Err("two loads".to_owned()) };
            add(report, [STATEMENTS, COMMITS, LOG], flat_out);
            let names =
                ["statements", "commits", "log"].map(|what| format!("{what} for each event, at 1,000/s"));
            add(report, names, quiet);
            Ok(())
        })
    }
}

/// What was delivered has to be in the books before anything is counted.
async fn settled(postcall: &crate::postcall::Postcall, endpoint: &str, count: u64) -> Result<(), String> {
    let is_done = |sum: &crate::postcall::Sum| sum.endpoint_id != endpoint || sum.delivered >= count;
    postcall.until(|sums| sums.iter().all(is_done)).await.map(drop)
}

fn add(report: &mut Report, names: [impl Into<String>; 3], each: Counts) {
    let [statements, commits, log] = names.map(Into::into);
    report.add(Row::of(statements, Unit::Ratio, &[each.statements]));
    report.add(Row::of(commits, Unit::Ratio, &[each.commits]));
    report.add(Row::of(log, Unit::Bytes, &[each.log]));
}
