//! Tables: with lines on a terminal, plain columns anywhere else. Refuses to know what is in them.

use std::io::IsTerminal;

use comfy_table::{Attribute, Cell, CellAlignment, ContentArrangement, Table, presets};
use serde_json::Value;

/// A table with these columns; those from `numbers` on hold numbers and stand to the right.
pub fn new(columns: &[&str], numbers: usize) -> Table {
    let mut table = Table::new();
    let style = if std::io::stdout().is_terminal() {
        presets::UTF8_FULL_CONDENSED.with_rounded_corners()
    } else {
        presets::NOTHING
    };
    table.load_style(style).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(columns.iter().map(|name| Cell::new(name).add_attribute(Attribute::Bold)));
    for column in table.column_iter_mut().skip(numbers) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// The table as text, two blanks in.
pub fn text(table: &Table) -> String {
    table.lines().map(|line| format!("  {}\n", line.trim_end())).collect()
}

/// A JSON value in a cell: a text without its quotes, nothing for `null`.
pub fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
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
