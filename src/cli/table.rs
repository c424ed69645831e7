//! Tables: with lines on a terminal, plain columns anywhere else. Does not know what is in them: a cell may hold anything
//! that a vendor has written, and is shown on one line, with nothing in it that a terminal would obey.

use std::io::IsTerminal;

use comfy_table::{CellAlignment, ContentArrangement, presets};
use serde_json::Value;

use crate::model::printable;

/// A table whose cells are printable.
pub struct Table(comfy_table::Table);

impl Table {
    /// Adds a row at the end.
    pub fn add_row<T: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = T>) {
        let cells: Vec<String> =
            cells.into_iter().map(|cell| printable::line(cell.as_ref()).into_owned()).collect();
        self.0.add_row(cells);
    }
}

/// A table with these columns; those from `numbers` on hold numbers and stand to the right.
pub fn new(columns: &[&str], numbers: usize) -> Table {
    let mut table = comfy_table::Table::new();
    let style = if std::io::stdout().is_terminal() {
        presets::UTF8_FULL_CONDENSED.with_rounded_corners()
    } else {
        presets::NOTHING
    };
    table.load_style(style).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(columns.iter().map(|name| printable::line(name)));
    for column in table.column_iter_mut().skip(numbers) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    Table(table)
}

/// The table as text, two blanks in.
pub fn text(table: &Table) -> String {
    table.0.lines().map(|line| format!("  {}\n", line.trim_end())).collect()
}

/// A JSON value in a cell or a line: a text without its quotes, nothing for `null`.
pub fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => printable::line(text).into_owned(),
        other => printable::line(&other.to_string()).into_owned(),
    }
}

/// The table of a page, with a word when there is more.
pub fn listed(table: &Table, page: &Value) -> String {
    let more = match page["next_cursor"].as_str() {
        Some(cursor) => format!("  there is more: --cursor {cursor}\n"),
        None => String::new(),
    };
    text(table) + &more
}
