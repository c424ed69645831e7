//! The gaps in pages. Where SQLite moves rows from page to page, copies of them stay behind between the rows that are
//! there, and no deletion reaches those. Here they are filled with zeros, a few pages at a time. Knows how SQLite lays out
//! a page (its file format, "B-tree Pages"); refuses to know what the rows are.

use std::ops::Range;

use rusqlite::{Connection, OptionalExtension, params};
use tracing::warn;

use crate::store::StoreError;

/// Pages that one step looks at: about a millisecond.
const STEP: i64 = 256;
/// The page that SQLite locks by and never uses.
const LOCK_BYTE: usize = 0x4000_0000;

/// Clears the pages after one. Gives the last one that was looked at, or nothing at the end of the file.
pub fn clear(db: &Connection, after: i64) -> Result<Option<i64>, StoreError> {
    if !can_see_pages(db)? {
        warn!(
            "this build of SQLite does not show its pages; copies between rows stay until their pages are used"
        );
        return Ok(None);
    }
    let pages: i64 = db.pragma_query_value(None, "page_count", |row| row.get(0))?;
    let last = pages.min(after + STEP);
    let mut read = db.prepare_cached("SELECT data FROM sqlite_dbpage WHERE pgno = ?")?;
    let mut write = db.prepare_cached("UPDATE sqlite_dbpage SET data = ? WHERE pgno = ?")?;
    for number in after + 1..=last {
        let page: Option<Vec<u8>> = read.query_row([number], |row| row.get(0)).optional()?;
        let Some(mut page) = page else { continue };
        let gap = gap(&page, usize::try_from(number).unwrap_or(0)).unwrap_or_default();
        if page[gap.clone()].iter().any(|&byte| byte != 0) {
            page[gap].fill(0);
            write.execute(params![page, number])?;
        }
    }
    Ok((last < pages).then_some(last))
}

fn can_see_pages(db: &Connection) -> Result<bool, StoreError> {
    Ok(db.prepare_cached("SELECT 1 FROM pragma_module_list WHERE name = 'sqlite_dbpage'")?.exists([])?)
}

/// Where a page of a tree holds nothing: between the list of its cells and the first of them. Nothing for a page that is
/// of no tree.
fn gap(page: &[u8], number: usize) -> Option<Range<usize>> {
    let size = page.len();
    // In a file that can shrink, every so many pages one says which pages belong to which.
    let is_map = number >= 2 && (number - 2).is_multiple_of(size / 5 + 1);
    if is_map || number == LOCK_BYTE / size + 1 {
        return None;
    }
    // The first page begins with the header of the file.
    let header = if number == 1 { 100 } else { 0 };
    let list = match page.get(header)? {
        2 | 5 => header + 12,
        10 | 13 => header + 8,
        _ => return None,
    };
    let word = |at: usize| Some(usize::from(u16::from_be_bytes(page.get(at..at + 2)?.try_into().ok()?)));
    let (cells, first) = (word(header + 3)?, word(header + 5)?);
    let first = if first == 0 { 1 << 16 } else { first };
    let end = list + 2 * cells;
    let are_cells = (0..cells).all(|cell| word(list + 2 * cell).is_some_and(|at| at >= first && at < size));
    (are_cells && end <= first && first <= size).then_some(end..first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moved_rows_leave_behind_is_gone_and_all_rows_are_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        let mut db = Connection::open(&path).unwrap();
        db.execute_batch(
            "PRAGMA page_size = 4096; PRAGMA auto_vacuum = INCREMENTAL; PRAGMA secure_delete = ON;
             CREATE TABLE rows (id INTEGER PRIMARY KEY, said TEXT); CREATE INDEX by_said ON rows (said);
             WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 3000)
             INSERT INTO rows SELECT (x * 7919) % 3001, printf('SECRET %d %.*c', x, x % 300, 'x') FROM n;
             UPDATE rows SET said = 'nothing' WHERE id % 3 <> 0; DELETE FROM rows WHERE id % 7 = 0;",
        )
        .unwrap();
        let sum = "SELECT COUNT(*), SUM(id), SUM(length(said)) FROM rows";
        let look = |db: &Connection| {
            let row = |row: &rusqlite::Row<'_>| <(i64, i64, i64)>::try_from(row);
            db.query_row(sum, [], row).unwrap()
        };
        let before = look(&db);
        let transaction = db.transaction().unwrap();
        let mut place = Some(0);
        while let Some(after) = place {
            place = clear(&transaction, after).unwrap();
        }
        transaction.commit().unwrap();
        assert_eq!(look(&db), before);
        let sound: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(sound, "ok");
        drop(db);
        let file = std::fs::read(&path).unwrap();
        for (number, page) in (1..).zip(file.chunks(4096)) {
            let gap = gap(page, number).unwrap_or_default();
            assert!(page[gap].iter().all(|&byte| byte == 0), "page {number}");
        }
        let trees = (1..).zip(file.chunks(4096)).filter(|(number, page)| gap(page, *number).is_some());
        assert!(trees.count() > 50, "they were pages of trees");
    }
}
