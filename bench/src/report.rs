//! What was measured, beside what is wanted: rows, the sweep, the CPU tables, and the machine that they are of.
//! Refuses to know how it was measured and where it is shown.

use serde::{Deserialize, Serialize};

use crate::cost::CpuTable;
use crate::database::Store;
use crate::lateness::Quantiles;
use crate::machine::Machine;

/// What a row should be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", content = "bound")]
pub enum Goal {
    /// The value at least this.
    AtLeast(f64),
    /// The value at most this.
    AtMost(f64),
    /// The value less than this.
    Below(f64),
    /// The ratio to the relay at least this.
    OfTheRelay(f64),
}

/// Whether it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It is.
    Pass,
    /// It is not.
    Short,
}

/// What a value counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unit {
    /// Calls, deliveries or requests a second.
    #[serde(rename = "/s")]
    PerSecond,
    /// Milliseconds.
    #[serde(rename = "ms")]
    Millis,
    /// Microseconds.
    #[serde(rename = "us")]
    Micros,
    /// Seconds.
    #[serde(rename = "s")]
    Seconds,
    /// Bytes.
    #[serde(rename = "bytes")]
    Bytes,
    /// 10^6 bytes.
    #[serde(rename = "MB")]
    Megabytes,
    /// One value over another.
    #[serde(rename = "ratio")]
    Ratio,
}

impl Unit {
    /// A value as people read it.
    pub fn show(self, value: f64) -> String {
        match self {
            Self::PerSecond => format!("{}/s", grouped(value)),
            Self::Millis => format!("{value:.2} ms"),
            Self::Micros => format!("{value:.1} us"),
            Self::Seconds => format!("{value:.2} s"),
            Self::Bytes => format!("{} bytes", grouped(value)),
            Self::Megabytes => format!("{value:.0} MB"),
            Self::Ratio => format!("{value:.2}"),
        }
    }
}

/// A whole number with its thousands apart.
pub fn grouped(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let first = digits.len() % 3;
    let mut shown = if value < 0.0 { "-".to_owned() } else { String::new() };
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && at % 3 == first {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// One line of the report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The measure that it belongs to, as `--only` names it.
    pub measure: String,
    /// What it is.
    pub name: String,
    /// The median of its rounds; none where there was nothing to measure.
    pub value: Option<f64>,
    /// What it counts.
    pub unit: Unit,
    /// The value over the bare relay's.
    pub of_relay: Option<f64>,
    /// What it should be.
    pub goal: Option<Goal>,
    /// Whether it is.
    pub verdict: Option<Verdict>,
    /// Every round's value.
    pub rounds: Vec<f64>,
    /// What there is to say instead of a value.
    pub note: Option<String>,
}

impl Row {
    /// The median of some rounds.
    pub fn of(name: impl Into<String>, unit: Unit, rounds: &[f64]) -> Self {
        Self { value: median(rounds), rounds: rounds.to_vec(), ..Self::without(name, unit, None) }
    }

    /// A row without a value, and why.
    pub fn missing(name: impl Into<String>, unit: Unit, why: impl Into<String>) -> Self {
        Self::without(name, unit, Some(why.into()))
    }

    fn without(name: impl Into<String>, unit: Unit, note: Option<String>) -> Self {
        Self {
            measure: String::new(),
            name: name.into(),
            value: None,
            unit,
            of_relay: None,
            goal: None,
            verdict: None,
            rounds: Vec::new(),
            note,
        }
    }

    /// Beside the bare relay's value.
    pub fn over(mut self, relay: Option<f64>) -> Self {
        self.of_relay = self.value.zip(relay).map(|(value, relay)| value / relay);
        self.judged()
    }

    /// With a goal.
    pub fn goal(mut self, goal: Goal) -> Self {
        self.goal = Some(goal);
        self.judged()
    }

    fn judged(mut self) -> Self {
        let verdict = |passed| if passed { Verdict::Pass } else { Verdict::Short };
        self.verdict = self.goal.and_then(|goal| {
            Some(verdict(match goal {
                Goal::AtLeast(bound) => self.value? >= bound,
                Goal::AtMost(bound) => self.value? <= bound,
                Goal::Below(bound) => self.value? < bound,
                Goal::OfTheRelay(bound) => self.of_relay? >= bound,
            }))
        });
        self
    }

    /// Its cells: name, value, ratio to the relay, goal, verdict.
    pub fn cells(&self) -> [String; 5] {
        let goal = self.goal.map(|goal| match goal {
            Goal::AtLeast(bound) => format!(">= {}", self.unit.show(bound)),
            Goal::AtMost(bound) => format!("<= {}", self.unit.show(bound)),
            Goal::Below(bound) => format!("< {}", self.unit.show(bound)),
            Goal::OfTheRelay(bound) => format!(">= {bound:.2} of the relay"),
        });
        let verdict = self.verdict.map(|verdict| match verdict {
            Verdict::Pass => "pass",
            Verdict::Short => "short",
        });
        [
            self.name.clone(),
            self.value.map(|value| self.unit.show(value)).or(self.note.clone()).unwrap_or_default(),
            self.of_relay.map(|ratio| format!("{ratio:.2}")).unwrap_or_default(),
            goal.unwrap_or_default(),
            verdict.unwrap_or_default().to_owned(),
        ]
    }
}

/// What the columns of the rows are called.
pub const HEAD: [&str; 5] = ["measure", "value", "of the relay", "goal", ""];

/// The middle value; between the two middle ones of an even number.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    let lower = *sorted.get((sorted.len() - 1) / 2)?;
    Some(f64::midpoint(lower, upper))
}

/// What came of one offered load.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Calls due a second.
    pub offered: f64,
    /// What the bare relay made of it.
    pub relay: Served,
    /// What postcall made of it.
    pub postcall: Served,
}

/// What became of an offered load.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Served {
    /// Calls delivered a second.
    pub delivered: f64,
    /// From when a call was due to its arrival at the endpoint, in milliseconds.
    pub late: Quantiles,
}

/// A run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// When.
    pub date: String,
    /// How it was started.
    pub command: String,
    /// Whether it was a whole one: every measure at its full length.
    pub is_whole: bool,
    /// Over which store.
    #[serde(default)]
    pub store: Store,
    /// The server that kept the books, and how it was set.
    #[serde(default)]
    pub database: Option<String>,
    /// Where.
    pub machine: Machine,
    /// What was measured.
    pub rows: Vec<Row>,
    /// Latency and throughput over offered load.
    pub sweep: Vec<Step>,
    /// Where the microseconds of one event go.
    pub cpu: Vec<CpuTable>,
    /// Measures that could not be finished, and why.
    pub failures: Vec<String>,
}

impl Report {
    /// A run of which nothing is known yet.
    pub fn new(date: String, command: String, is_whole: bool, machine: Machine) -> Self {
        Self {
            date,
            command,
            is_whole,
            store: Store::default(),
            database: None,
            machine,
            rows: Vec::new(),
            sweep: Vec::new(),
            cpu: Vec::new(),
            failures: Vec::new(),
        }
    }

    /// One more row.
    pub fn add(&mut self, row: Row) {
        self.rows.push(row);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_an_even_number_lies_between_two() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn thousands_stand_apart() {
        let shown: Vec<String> = [0.0, 999.4, 1000.0, 12345.6, 1_234_567.0].map(grouped).into();
        assert_eq!(shown, ["0", "999", "1,000", "12,346", "1,234,567"]);
    }

    #[test]
    fn goals_are_judged_whatever_order_they_come_in() {
        let row = || Row::of("rate", Unit::PerSecond, &[40.0, 50.0, 60.0]);
        let verdict = |row: Row| row.verdict;
        assert_eq!(verdict(row().over(Some(100.0)).goal(Goal::OfTheRelay(0.5))), Some(Verdict::Pass));
        assert_eq!(verdict(row().goal(Goal::OfTheRelay(0.51)).over(Some(100.0))), Some(Verdict::Short));
        assert_eq!(verdict(row().goal(Goal::OfTheRelay(0.5))), None, "without a relay there is no ratio");
        assert_eq!(verdict(row().goal(Goal::Below(50.0))), Some(Verdict::Short));
        assert_eq!(verdict(row().goal(Goal::AtMost(50.0))), Some(Verdict::Pass));
        assert_eq!(verdict(row().goal(Goal::AtLeast(50.1))), Some(Verdict::Short));
        let missing = Row::missing("size", Unit::Ratio, "not there").goal(Goal::AtMost(1.0));
        assert_eq!(missing.verdict, None);
        assert_eq!(missing.cells(), ["size", "not there", "", "<= 1.00", ""]);
    }
}
