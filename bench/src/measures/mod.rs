//! The measures: one file each, in the order in which they run and are reported. A new one is a file and a line here.
//! Refuses to know how a process is started and how a figure is shown.

mod batch;
mod claims;
pub mod disk;
mod fanout;
mod growth;
mod isolation;
mod latency;
mod pending;
mod restart;
mod retention;
mod sharing;
pub mod statements;
mod sweep;
pub mod throughput;

use std::pin::Pin;

use crate::database::Store;
use crate::part::Part;
use crate::report::Report;
use crate::stage::Stage;

/// What a measure's run gives back.
pub type Done<'a> = Pin<Box<dyn Future<Output = Result<(), String>> + 'a>>;

/// Something to measure.
pub trait Measure: Sync {
    /// What `--only` calls it.
    fn name(&self) -> &'static str;
    /// What it measures, in a few words.
    fn about(&self) -> &'static str;
    /// Whether there is anything to measure over a store.
    fn is_for(&self, _store: Store) -> bool {
        true
    }
    /// Measures and reports.
    fn run<'a>(&'a self, stage: &'a mut Stage, report: &'a mut Report) -> Done<'a>;
}

/// Every measure, in order.
pub static ALL: &[&dyn Measure] = &[
    &throughput::Throughput,
    &latency::Latency,
    &sweep::Sweep,
    &pending::Pending,
    &restart::Restart,
    &claims::Claims,
    &isolation::Isolation,
    &sharing::Sharing,
    &fanout::FanOut,
    &batch::Batch,
    &disk::Disk,
    &statements::Statements,
    &retention::Retention,
    &growth::Growth,
];

/// Their names.
pub fn names() -> Vec<&'static str> {
    ALL.iter().map(|measure| measure.name()).collect()
}

/// The bare relay before a sink.
pub async fn bare_relay(sink: &str) -> Result<Part, String> {
    Part::start(&["relay", sink]).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_measure_has_a_name_of_its_own() {
        let mut names = names();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
    }
}
