//! What was measured, beside what is wanted.

use comfy_table::Table;
use comfy_table::presets::NOTHING;

/// What a measure should be.
#[derive(Clone, Copy)]
pub enum Goal {
    /// At least this.
    AtLeast(f64),
    /// Less than this.
    Below(f64),
}

/// One line of the report.
pub struct Measure {
    name: String,
    value: f64,
    unit: &'static str,
    decimals: usize,
    goal: Option<Goal>,
}

impl Measure {
    /// Calls per second.
    pub fn rate(name: impl Into<String>, value: f64) -> Self {
        Self { name: name.into(), value, unit: "/s", decimals: 0, goal: None }
    }

    /// A part of the relay's.
    pub fn ratio(name: impl Into<String>, value: f64, goal: Option<Goal>) -> Self {
        Self { name: name.into(), value, unit: "", decimals: 2, goal }
    }

    /// Milliseconds.
    pub fn millis(name: impl Into<String>, value: f64, goal: Option<Goal>) -> Self {
        Self { name: name.into(), value, unit: " ms", decimals: 2, goal }
    }

    fn shown(&self, value: f64) -> String {
        format!("{value:.*}{}", self.decimals, self.unit)
    }
}

/// Everything that was measured.
#[derive(Default)]
pub struct Report(Vec<Measure>);

impl Report {
    /// One more.
    pub fn add(&mut self, measure: Measure) {
        self.0.push(measure);
    }

    /// Prints the table.
    pub fn print(&self) {
        let mut table = Table::new();
        table.load_style(NOTHING).set_header(["measure", "value", "goal", ""]);
        for measure in &self.0 {
            let (goal, verdict) = match measure.goal {
                None => (String::new(), ""),
                Some(Goal::AtLeast(goal)) => {
                    (format!(">= {}", measure.shown(goal)), pass(measure.value >= goal))
                }
                Some(Goal::Below(goal)) => (format!("< {}", measure.shown(goal)), pass(measure.value < goal)),
            };
            table.add_row([measure.name.clone(), measure.shown(measure.value), goal, verdict.to_owned()]);
        }
        println!("{table}");
    }
}

fn pass(passed: bool) -> &'static str {
    if passed { "pass" } else { "short" }
}

/// The middle value.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
