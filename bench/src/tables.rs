//! The tables of a report as cells, and as text for a terminal or a page. Pure; refuses to know how it was measured.

use crate::cost::CpuTable;
use crate::report::{HEAD, Report, Step, grouped};

/// A table: what it is, its head and its rows. The first column is text, the others are figures.
pub struct Table {
    /// What it is.
    pub title: String,
    /// What the columns are called.
    pub head: Vec<String>,
    /// The cells.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// A table of these rows.
    pub fn new(title: impl Into<String>, head: &[&str], rows: Vec<Vec<String>>) -> Self {
        Self { title: title.into(), head: head.iter().map(|&name| name.to_owned()).collect(), rows }
    }

    /// For a terminal.
    pub fn plain(&self) -> String {
        let mut table = comfy_table::Table::new();
        table.load_style(comfy_table::presets::NOTHING).set_header(&self.head);
        for row in &self.rows {
            table.add_row(row);
        }
        table.to_string()
    }

    /// For a page.
    pub fn markdown(&self) -> String {
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let rule = format!("|---|{}\n", "---:|".repeat(self.head.len().saturating_sub(1)));
        let rows: String = self.rows.iter().map(|row| line(row)).collect();
        format!("{}{rule}{rows}", line(&self.head))
    }
}

/// What was measured, beside what is wanted.
pub fn rows(report: &Report) -> Table {
    Table::new("", &HEAD, report.rows.iter().map(|row| row.cells().into()).collect())
}

/// The sweep.
pub fn sweep(steps: &[Step]) -> Table {
    let row = |step: &Step| {
        let mut cells = vec![grouped(step.offered)];
        for served in [step.relay, step.postcall] {
            cells.push(grouped(served.delivered));
            cells.push(format!("{:.2}", served.late.p50));
            cells.push(format!("{:.2}", served.late.p99));
        }
        cells
    };
    let head = ["offered /s", "relay /s", "p50 ms", "p99 ms", "postcall /s", "p50 ms", "p99 ms"];
    Table::new("Throughput and latency over offered load", &head, steps.iter().map(row).collect())
}

/// Where one event's microseconds go.
pub fn cpu(table: &CpuTable) -> Table {
    let micros = |value: f64| format!("{value:.1}");
    let mut rows = Vec::new();
    let mut known = 0.0;
    for line in &table.lines {
        let total = line.user + line.system;
        known += total;
        let name = format!("{}: {}", line.part, line.thread);
        rows.push(vec![name, micros(line.user), micros(line.system), micros(total)]);
    }
    let sum = |name: &str, value: f64| vec![name.to_owned(), String::new(), String::new(), micros(value)];
    rows.push(sum("all parts", known));
    rows.push(sum("rest of the machine", table.others));
    rows.push(sum("idle, or waiting for the disk", table.idle));
    let cores = grouped(table.cores);
    rows.push(sum(&format!("{cores} cores x {:.1} us that passed", table.wall), table.cores * table.wall));
    let title = format!("CPU microseconds of one 2 KB event through {}", table.through);
    Table::new(title, &["part: thread", "user", "system", "both"], rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::CpuLine;

    #[test]
    fn the_cpu_table_shows_what_adds_up() {
        let line = |part: &str, user, system| CpuLine {
            part: part.to_owned(),
            thread: "main".to_owned(),
            user,
            system,
        };
        let table = CpuTable {
            through: "postcall".to_owned(),
            events: 10,
            lines: vec![line("postcall", 20.0, 10.0), line("sink", 5.0, 5.0)],
            others: 2.0,
            idle: 8.0,
            cores: 2.0,
            wall: 25.0,
        };
        let last: Vec<String> = cpu(&table).rows.iter().filter_map(|row| row.last().cloned()).collect();
        assert_eq!(last, ["30.0", "10.0", "40.0", "2.0", "8.0", "50.0"]);
    }

    #[test]
    fn a_page_gets_a_table_whose_figures_stand_right() {
        let table = Table::new("", &["a", "b"], vec![vec!["x".to_owned(), "1".to_owned()]]);
        assert_eq!(table.markdown(), "| a | b |\n|---|---:|\n| x | 1 |\n");
    }
}
