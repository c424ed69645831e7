//! A report where people find it: on the terminal, as files beside the build, and in `docs/performance.md`, where the
//! tables stand between markers, so that every figure there comes from a run. Refuses to measure.

use std::fs;
use std::path::{Path, PathBuf};

use crate::plot;
use crate::report::Report;
use crate::tables;

/// The last whole run.
const WHOLE: &str = "whole.json";
/// The page that figures are published on.
const PAGE: &str = "docs/performance.md";
/// Its plot.
const PLOT: &str = "docs/performance.svg";

/// Where reports are kept, below the root of the repository.
pub fn directory(root: &Path) -> Result<PathBuf, String> {
    let directory = root.join("target/bench");
    let made = fs::create_dir_all(&directory);
    made.map(|()| directory.clone()).map_err(|error| format!("cannot make {}: {error}", directory.display()))
}

/// Prints the tables.
pub fn print(report: &Report) {
    println!("\n{}\n{}, {}", report.machine.sentence(), report.machine.postcall, report.date);
    for table in all(report) {
        println!("\n{}{}{}", table.title, if table.title.is_empty() { "" } else { "\n\n" }, table.plain());
    }
    for failure in &report.failures {
        println!("\nnot measured: {failure}");
    }
}

fn all(report: &Report) -> Vec<tables::Table> {
    let mut all = vec![tables::rows(report)];
    if !report.sweep.is_empty() {
        all.push(tables::sweep(&report.sweep));
    }
    all.extend(report.cpu.iter().map(tables::cpu));
    all
}

/// Writes `report.json`, and `report.svg` if there is something to draw.
pub fn save(report: &Report, directory: &Path) -> Result<(), String> {
    let json = serde_json::to_string_pretty(report).map_err(|error| error.to_string())? + "\n";
    write(&directory.join("report.json"), &json)?;
    if report.is_whole && report.failures.is_empty() {
        write(&directory.join(WHOLE), &json)?;
    }
    if !report.sweep.is_empty() {
        write(&directory.join("report.svg"), &drawn(report))?;
    }
    Ok(())
}

fn drawn(report: &Report) -> String {
    let machine = &report.machine;
    let caption = format!("{}, {} cores ({})", machine.postcall, machine.cores, machine.cpu);
    plot::draw(&report.sweep, &caption)
}

/// Writes the last whole run into the page and draws its plot.
pub fn publish(root: &Path) -> Result<(), String> {
    let path = directory(root)?.join(WHOLE);
    let json = fs::read_to_string(&path)
        .map_err(|_| "there is no whole run to publish; run `cargo xtask bench` first".to_owned())?;
    let report: Report = serde_json::from_str(&json)
        .map_err(|error| format!("{} is not of this version: {error}", path.display()))?;
    let page = root.join(PAGE);
    let text = fs::read_to_string(&page).map_err(|error| format!("cannot read {PAGE}: {error}"))?;
    let text = replace(&text, "run", &run(&report))?;
    let text = replace(&text, "measures", &tables::rows(&report).markdown())?;
    let text = replace(&text, "sweep", &tables::sweep(&report.sweep).markdown())?;
    let cpu: Vec<String> = report
        .cpu
        .iter()
        .map(tables::cpu)
        .map(|table| format!("{}:\n\n{}", table.title, table.markdown()))
        .collect();
    let text = replace(&text, "cpu", &cpu.join("\n"))?;
    write(&page, &text)?;
    write(&root.join(PLOT), &drawn(&report))?;
    println!("{PAGE} and {PLOT} show the run of {}", report.date);
    Ok(())
}

/// Which run it was.
fn run(report: &Report) -> String {
    let (date, _) = report.date.split_once('T').unwrap_or((&report.date, ""));
    let (machine, command) = (&report.machine, &report.command);
    format!("{}, {date}, `{command}`: {}.\n", machine.postcall, machine.sentence())
}

/// The text with something else between the markers of that name.
fn replace(text: &str, name: &str, new: &str) -> Result<String, String> {
    let (begin, end) = (format!("<!-- {name}: generated -->"), format!("<!-- {name}: end -->"));
    let missing = |marker: &str| format!("{PAGE} lacks the marker {marker}");
    let (before, rest) = text.split_once(&begin).ok_or_else(|| missing(&begin))?;
    let (_, after) = rest.split_once(&end).ok_or_else(|| missing(&end))?;
    Ok(format!("{before}{begin}\n\n{}\n\n{end}{after}", new.trim()))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_between_the_markers_changes() {
        let text = "Before.\n\n<!-- cpu: generated -->\nold\n<!-- cpu: end -->\n\nAfter.\n";
        let once = replace(text, "cpu", "| new |\n").unwrap();
        assert_eq!(once, "Before.\n\n<!-- cpu: generated -->\n\n| new |\n\n<!-- cpu: end -->\n\nAfter.\n");
        assert_eq!(replace(&once, "cpu", "| new |\n").unwrap(), once, "doing it again changes nothing");
    }

    #[test]
    fn a_missing_marker_is_named() {
        let trouble = replace("<!-- cpu: generated -->", "cpu", "").unwrap_err();
        assert!(trouble.contains("<!-- cpu: end -->"), "{trouble}");
        assert!(replace("<!-- cpu: end -->", "cpu", "").unwrap_err().contains("generated"));
    }

    #[test]
    fn the_page_has_every_marker() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let page = fs::read_to_string(root.join(PAGE)).unwrap();
        for name in ["run", "measures", "sweep", "cpu"] {
            assert!(replace(&page, name, "").is_ok(), "{name}");
        }
    }
}
