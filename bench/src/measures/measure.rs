//! What a measure is. Does not depend on which measures there are.

use std::pin::Pin;

use crate::database::Store;
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
