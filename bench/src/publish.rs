//! A report where people find it: on the terminal, as files beside the build, and in `docs/performance.md` and
//! `docs/scale.md`, where the tables stand between markers, so that every figure there comes from a run.
//! Refuses to measure.

use std::fs;
use std::path::{Path, PathBuf};

use crate::billion;
use crate::database::Store;
use crate::plot;
use crate::report::Report;
use crate::tables;

/// The last whole run over a store.
fn whole(store: Store) -> &'static str {
    match store {
        Store::Sqlite => "whole.json",
        Store::Postgres => "whole-postgres.json",
    }
}
/// The page that figures are published on.
const PAGE: &str = "docs/performance.md";
/// The page about sizes that nobody has on a desk.
const SCALE: &str = "docs/scale.md";
/// The plot of the run over SQLite.
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
    if let Some(database) = &report.database {
        println!("{database}");
    }
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
        write(&directory.join(whole(report.store)), &json)?;
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

/// Writes the last whole run over a store into the pages and draws its plot.
pub fn publish(root: &Path, store: Store) -> Result<(), String> {
    let path = directory(root)?.join(whole(store));
    let json = fs::read_to_string(&path)
        .map_err(|_| "there is no whole run to publish; run `cargo xtask bench` first".to_owned())?;
    let report: Report = serde_json::from_str(&json)
        .map_err(|error| format!("{} is not of this version: {error}", path.display()))?;
    match store {
        Store::Sqlite => {
            change(root, PAGE, |text| tables_in(text, "", &report))?;
            write(&root.join(PLOT), &drawn(&report))?;
            println!("{PAGE} and {PLOT} show the run of {}", report.date);
        }
        Store::Postgres => {
            let (carries, billion) = (billion::carries(&report)?, billion::billion(&report)?);
            change(root, PAGE, |text| tables_in(text, "postgres-", &report))?;
            change(root, SCALE, |text| {
                let text = replace(&text, "carries", &format!("{}\n{}", carries.markdown(), run(&report)))?;
                replace(&text, "billion", &billion.markdown())
            })?;
            println!("{PAGE} and {SCALE} show the run of {}", report.date);
        }
    }
    Ok(())
}

/// Changes the text of a page.
fn change(
    root: &Path,
    page: &str,
    change: impl FnOnce(String) -> Result<String, String>,
) -> Result<(), String> {
    let path = root.join(page);
    let text = fs::read_to_string(&path).map_err(|error| format!("cannot read {page}: {error}"))?;
    write(&path, &change(text).map_err(|why| format!("{page} {why}"))?)
}

/// The page with the tables of a run between the markers whose names begin so.
fn tables_in(text: String, prefix: &str, report: &Report) -> Result<String, String> {
    let text = replace(&text, &format!("{prefix}run"), &run(report))?;
    let text = replace(&text, &format!("{prefix}measures"), &tables::rows(report).markdown())?;
    let text = replace(&text, &format!("{prefix}sweep"), &tables::sweep(&report.sweep).markdown())?;
    let cpu: Vec<String> = report
        .cpu
        .iter()
        .map(tables::cpu)
        .map(|table| format!("{}:\n\n{}", table.title, table.markdown()))
        .collect();
    replace(&text, &format!("{prefix}cpu"), &cpu.join("\n"))
}

/// Which run it was.
fn run(report: &Report) -> String {
    let (date, _) = report.date.split_once('T').unwrap_or((&report.date, ""));
    let (machine, command) = (&report.machine, &report.command);
    let database = report.database.as_ref().map(|database| format!("; {database}")).unwrap_or_default();
    format!("{}, {date}, `{command}`: {}{database}.\n", machine.postcall, machine.sentence())
}

/// The text with something else between the markers of that name.
fn replace(text: &str, name: &str, new: &str) -> Result<String, String> {
    let (begin, end) = (format!("<!-- {name}: generated -->"), format!("<!-- {name}: end -->"));
    let missing = |marker: &str| format!("lacks the marker {marker}");
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
    fn the_pages_have_every_marker() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let tables = ["run", "measures", "sweep", "cpu"].map(str::to_owned);
        let of_postgres = tables.clone().map(|name| format!("postgres-{name}"));
        let of_scale = ["carries", "billion"].map(str::to_owned);
        for (page, names) in [(PAGE, &tables[..]), (PAGE, &of_postgres), (SCALE, &of_scale)] {
            let text = fs::read_to_string(root.join(page)).unwrap();
            for name in names {
                assert!(replace(&text, name, "").is_ok(), "{page}: {name}");
            }
        }
    }
}
