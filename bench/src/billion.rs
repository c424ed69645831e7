//! What one database carries, and what a billion calls a day would take: arithmetic from the figures of a run over
//! PostgreSQL, for `docs/scale.md`. Pure; refuses to know how they were measured.

use crate::measures::{disk, statements, throughput};
use crate::report::{Report, Unit, grouped};
use crate::tables::Table;

/// Calls a second of a billion a day, in the busiest hour: three times the mean.
const PEAK: f64 = 3.0 * MEAN;
const MEAN: f64 = 1e9 / 86_400.0;
/// What is planned to be used at the peak, of anything.
const HALF: f64 = 0.5;
/// Cores of a node, and of a database, in the arithmetic.
const NODE_CORES: f64 = 8.0;
const DATABASE_CORES: f64 = 16.0;
/// Bytes of log a second that standbys and an archive of one database are expected to keep up with, and bytes that are restored
/// from a backup within a day.
const DATABASE_LOG: f64 = 50e6;
const DATABASE_SIZE: f64 = 10e12;
/// Days that are kept.
const DAYS: f64 = 30.0;
/// Connections of a node, all its readers among them.
const CONNECTIONS: f64 = 9.0;
/// Bytes that PostgreSQL writes at a time.
const PAGE: f64 = 8192.0;

/// What one event costs, as it was measured.
struct Cost {
    /// Events a second that were taken in and delivered.
    rate: f64,
    /// Microseconds of CPU of a node, and of PostgreSQL.
    node: f64,
    database: f64,
    /// Statements and commits.
    statements: f64,
    commits: f64,
    /// Bytes of log, and of tables and indexes.
    log: f64,
    disk: f64,
}

impl Cost {
    fn of(report: &Report) -> Result<Self, String> {
        let row = |name: &str| {
            let value = report.rows.iter().find(|row| row.name == name).and_then(|row| row.value);
            value.ok_or_else(|| format!("the run has no figure for \"{name}\""))
        };
        let through = report.cpu.iter().find(|table| table.through == "postcall");
        let cpu = |part: &str| {
            let lines = through.map(|table| table.lines.as_slice()).unwrap_or_default();
            let used: f64 =
                lines.iter().filter(|line| line.part == part).map(|line| line.user + line.system).sum();
            if used > 0.0 { Ok(used) } else { Err(format!("the run has no CPU time of {part}")) }
        };
        Ok(Self {
            rate: row(throughput::OURS)?,
            node: cpu("postcall")?,
            database: cpu("postgres")?,
            statements: row(statements::STATEMENTS)?,
            commits: row(statements::COMMITS)?,
            log: row(statements::LOG)?,
            disk: row(disk::NAME)?,
        })
    }
}

/// What was measured.
pub fn carries(report: &Report) -> Result<Table, String> {
    let cost = Cost::of(report)?;
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    let rows = vec![
        row("events accepted, on disk and delivered", Unit::PerSecond.show(cost.rate)),
        row("the node's CPU for each", Unit::Micros.show(cost.node)),
        row("PostgreSQL's CPU for each", Unit::Micros.show(cost.database)),
        row("statements for each", format!("{:.3}", cost.statements)),
        row("events in a commit", format!("{:.0}", 1.0 / cost.commits)),
        row("log for each", Unit::Bytes.show(cost.log)),
        row("tables and indexes for each", Unit::Bytes.show(cost.disk)),
    ];
    Ok(Table::new("", &["one account, flat out", "measured"], rows))
}

/// What follows from it at that size.
pub fn billion(report: &Report) -> Result<Table, String> {
    let cost = Cost::of(report)?;
    let cores = |micros: f64| PEAK * micros / 1e6;
    let [by_cpu, by_log, by_size] = [
        cores(cost.database) / (DATABASE_CORES * HALF),
        PEAK * cost.log / DATABASE_LOG,
        1e9 * cost.disk * DAYS / DATABASE_SIZE,
    ]
    .map(f64::ceil);
    let databases = by_cpu.max(by_log).max(by_size).max(1.0);
    let nodes = (cores(cost.node) / (NODE_CORES * HALF)).ceil().max(2.0);
    let log = PEAK * cost.log / 1e6;
    let row = |what: &str, how: String, value: String| vec![what.to_owned(), how, value];
    let terabytes = |bytes: f64| format!("{:.1} TB", bytes / 1e12);
    let of_peak = |each: String| format!("{}/s x {each}", grouped(PEAK));
    let rows = vec![
        row("nodes' CPU", of_peak(Unit::Micros.show(cost.node)), format!("{:.1} cores", cores(cost.node))),
        row("nodes", format!("{NODE_CORES} cores each, half used; two at the least"), grouped(nodes)),
        row(
            "databases' CPU",
            of_peak(Unit::Micros.show(cost.database)),
            format!("{:.1} cores", cores(cost.database)),
        ),
        row("databases, by CPU", format!("{DATABASE_CORES} cores each, half used"), grouped(by_cpu)),
        row("databases, by log", format!("{:.0} MB/s each", DATABASE_LOG / 1e6), grouped(by_log)),
        row(
            "databases, by size",
            format!("{} each, {DAYS} days kept", terabytes(DATABASE_SIZE)),
            grouped(by_size),
        ),
        row("databases", "the most of these".to_owned(), grouped(databases)),
        row(
            "statements",
            of_peak(format!("{:.3}", cost.statements)),
            Unit::PerSecond.show(PEAK * cost.statements),
        ),
        row(
            "flushes of the log",
            of_peak(format!("{:.4} commits", cost.commits)),
            Unit::PerSecond.show(PEAK * cost.commits),
        ),
        row("log at the peak", of_peak(Unit::Bytes.show(cost.log)), format!("{log:.0} MB/s")),
        row(
            "the same of one database",
            format!("/ {}", grouped(databases)),
            format!("{:.0} MB/s", log / databases),
        ),
        row(
            "log a day, for each standby and archive",
            format!("10^9 x {}", Unit::Bytes.show(cost.log)),
            terabytes(1e9 * cost.log),
        ),
        row(
            "pages written by checkpoints at the peak",
            of_peak(format!("{} / 8 KB", Unit::Bytes.show(cost.disk))),
            Unit::PerSecond.show(PEAK * cost.disk / PAGE),
        ),
        row(
            "tables and indexes a day",
            format!("10^9 x {}", Unit::Bytes.show(cost.disk)),
            terabytes(1e9 * cost.disk),
        ),
        row(
            "the same of one database, kept 30 days",
            format!("x {DAYS} / {}", grouped(databases)),
            terabytes(1e9 * cost.disk * DAYS / databases),
        ),
        row(
            "connections of one database",
            format!("all nodes x {CONNECTIONS}, were they all on it"),
            grouped(nodes * CONNECTIONS),
        ),
        row(
            "the largest account, flat out",
            "one line, as measured".to_owned(),
            Unit::PerSecond.show(cost.rate),
        ),
    ];
    Ok(Table::new("", &["what", "how", "reasoned"], rows))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::{CpuLine, CpuTable};
    use crate::machine::Machine;
    use crate::report::Row;

    fn report() -> Report {
        let machine = Machine::this(std::path::Path::new("true"), std::path::Path::new("/"));
        let mut report = Report::new(String::new(), String::new(), true, machine);
        for (name, unit, value) in [
            (throughput::OURS, Unit::PerSecond, 10_000.0),
            (statements::STATEMENTS, Unit::Ratio, 0.1),
            (statements::COMMITS, Unit::Ratio, 0.01),
            (statements::LOG, Unit::Bytes, 4_000.0),
            (disk::NAME, Unit::Bytes, 2_000.0),
        ] {
            report.add(Row::of(name, unit, &[value]));
        }
        let line = |part: &str, user| CpuLine {
            part: part.to_owned(),
            thread: "any".to_owned(),
            user,
            system: 10.0,
        };
        report.cpu.push(CpuTable {
            through: "postcall".to_owned(),
            events: 1,
            lines: vec![line("postcall", 90.0), line("postgres", 240.0), line("postgres", 240.0)],
            others: 0.0,
            idle: 0.0,
            cores: 2.0,
            wall: 300.0,
        });
        report
    }

    /// By hand: 10^9 / 86,400 x 3 = 34,722 a second.
    #[test]
    fn a_billion_calls_add_up() {
        let table = billion(&report()).unwrap();
        let value = |what: &str| table.rows.iter().find(|row| row[0] == what).unwrap()[2].clone();
        assert_eq!(value("nodes' CPU"), "3.5 cores");
        assert_eq!(value("nodes"), "2");
        assert_eq!(value("databases' CPU"), "17.4 cores");
        assert_eq!(value("databases, by CPU"), "3");
        assert_eq!(value("databases, by log"), "3");
        assert_eq!(value("databases, by size"), "6");
        assert_eq!(value("databases"), "6");
        assert_eq!(value("flushes of the log"), "347/s");
        assert_eq!(value("log at the peak"), "139 MB/s");
        assert_eq!(value("the same of one database"), "23 MB/s");
        assert_eq!(value("tables and indexes a day"), "2.0 TB");
        assert_eq!(value("the same of one database, kept 30 days"), "10.0 TB");
        assert_eq!(value("pages written by checkpoints at the peak"), "8,477/s");
    }

    #[test]
    fn what_was_not_measured_is_named() {
        let mut report = report();
        report.rows.retain(|row| row.name != statements::LOG);
        assert!(carries(&report).err().unwrap().contains(statements::LOG));
    }
}
