//! The measures: one file each, in the order in which they run and are reported. A new one is a file and a line here.
//! Refuses to know how a process is started and how a figure is shown.

mod batch;
mod claims;
pub mod disk;
mod fanout;
mod growth;
mod isolation;
mod latency;
mod measure;
mod pending;
mod restart;
mod retention;
mod sharing;
pub mod statements;
mod sweep;
pub mod throughput;

use measure::Measure;

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
