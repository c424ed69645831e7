//! The template in which each statement is written once for both databases. Does not depend on what a statement is about.
//!
//! A key is a whole number whose upper bits are its account. SQLite needs nothing else. On PostgreSQL every table that can be
//! divided over machines also has a column `account`, and every statement has to name it, so that one machine can be asked
//! instead of all (`postgres/sharding_check.rs` refuses, in tests, what does not). What PostgreSQL alone reads is a comment to
//! SQLite, so SQLite takes each statement as it stands, at no cost:
//!
//! | written | SQLite reads | PostgreSQL reads |
//! |---|---|---|
//! | `WHERE id = ? /*account of ?1*/` | `WHERE id = ?` | `WHERE id = $1 AND account = $2` |
//! | `(id, due /*!, account */) VALUES (?, ? /*!, @1 */)` | `(id, due) VALUES (?, ?)` | `(id, due, account) VALUES ($1, $2, $3)` |
//! | `ON b.delivery = o.id /*! AND b.account = o.account */` | `ON b.delivery = o.id` | `ON b.delivery = o.id AND b.account = o.account` |
//!
//! - `/*account of ?N*/` is the usual case: and the row's account is that of the key which parameter N is. It stands behind a
//!   condition.
//! - `@N` is the account of the key that parameter N is; of an array of keys, each account once: `account = ANY(@1)`.
//! - `/*! ... */` is for all else: the column of a row that is inserted, the accounts of tables that are joined.
//!
//! `?` is one more than the largest parameter so far, `?2` is the second, as SQLite has it. A parameter need not be used by
//! both databases: those that PostgreSQL's part alone names stand last.

use std::borrow::Cow;

use tokio_postgres::types::ToSql;

use super::value::Value;

/// How the usual case begins; the number of a parameter follows.
const ACCOUNT_OF: &str = "/*account of ?";

/// Where the parameters of a statement come from.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Takes {
    /// Which value each of the first parameters takes.
    pub values: Vec<usize>,
    /// Of which value each of the others takes what it begins with.
    pub beginnings: Vec<usize>,
}

impl Takes {
    /// The values behind the others: what some of these begin with.
    pub fn beginnings<T>(&self, values: &[T], beginning: impl Fn(&T) -> T) -> Vec<T> {
        self.beginnings.iter().filter_map(|&at| values.get(at)).map(beginning).collect()
    }

    /// All of them, in the order in which the statement numbers them.
    pub fn params<'v, T: ToSql + Sync>(
        &self,
        values: &'v [T],
        beginnings: &'v [T],
    ) -> Vec<&'v (dyn ToSql + Sync)> {
        let values = self.values.iter().map(|&at| values.get(at).map_or(&Value::Null as _, |it| it as _));
        values.chain(beginnings.iter().map(|it| it as _)).collect()
    }
}

/// The statement as PostgreSQL reads it, and where its parameters come from: first the values, each under one number however
/// often it stands there, then what values begin with.
pub fn translate(sql: &str) -> (String, Takes) {
    let opened = if sql.contains("/*") {
        Cow::Owned(sql.replace(ACCOUNT_OF, "AND account = @").replace("/*!", "").replace("*/", ""))
    } else {
        Cow::Borrowed(sql)
    };
    let (mut takes, mut largest) = (Takes::default(), 0);
    let mut texts = Vec::new();
    let mut rest = &*opened;
    while let Some(at) = rest.find(['?', '@']) {
        let (text, marked) = rest.split_at(at);
        let digits = marked[1..].bytes().take_while(u8::is_ascii_digit).count();
        let value = marked[1..=digits].parse::<usize>().unwrap_or(largest + 1);
        let of_beginning = marked.starts_with('@');
        let known = if of_beginning { &mut takes.beginnings } else { &mut takes.values };
        let at = known.iter().position(|&known| known + 1 == value).unwrap_or_else(|| {
            known.push(value.saturating_sub(1));
            known.len() - 1
        });
        if !of_beginning {
            largest = value.max(largest);
        }
        texts.push((text, of_beginning, at));
        rest = &marked[1 + digits..];
    }
    let mut written = String::with_capacity(opened.len() + 2 * texts.len());
    for (text, of_beginning, at) in texts {
        let before = if of_beginning { takes.values.len() } else { 0 };
        written.push_str(&format!("{text}${}", before + at + 1));
    }
    written.push_str(rest);
    (written, takes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_numbered() {
        for (sql, written, values, beginnings) in [
            (
                "SELECT ? + ?, x FROM t WHERE y = ?",
                "SELECT $1 + $2, x FROM t WHERE y = $3",
                vec![0, 1, 2],
                vec![],
            ),
            (
                "SET a = ?2, b = ?1, c = ?2 LIMIT ?10",
                "SET a = $1, b = $2, c = $1 LIMIT $3",
                vec![1, 0, 9],
                vec![],
            ),
            ("SELECT 1", "SELECT 1", vec![], vec![]),
            // SQLite's rule for plain ones behind numbered ones.
            ("a = ?2 AND b = ? AND c = ?1", "a = $1 AND b = $2 AND c = $3", vec![1, 2, 0], vec![]),
            ("a = ? /*account of ?1*/ AND b = ?", "a = $1 AND account = $3 AND b = $2", vec![0, 1], vec![0]),
            // The worked examples above.
            ("WHERE id = ? /*account of ?1*/", "WHERE id = $1 AND account = $2", vec![0], vec![0]),
            (
                "(id, due /*!, account */) VALUES (?, ? /*!, @1 */)",
                "(id, due , account ) VALUES ($1, $2 , $3 )",
                vec![0, 1],
                vec![0],
            ),
            (
                "ON b.delivery = o.id /*! AND b.account = o.account */",
                "ON b.delivery = o.id  AND b.account = o.account ",
                vec![],
                vec![],
            ),
            (
                "(a, b /*!, account */) VALUES (?, ? /*!, @2 */) ON CONFLICT (a /*!, account */) DO x = @2",
                "(a, b , account ) VALUES ($1, $2 , $3 ) ON CONFLICT (a , account ) DO x = $3",
                vec![0, 1],
                vec![1],
            ),
            // A beginning is no value: the plain one after it is the second.
            (
                "x = @7 AND y = ?1 AND z = ? AND @1",
                "x = $3 AND y = $1 AND z = $2 AND $4",
                vec![0, 1],
                vec![6, 0],
            ),
        ] {
            assert_eq!(translate(sql), (written.to_owned(), Takes { values, beginnings }), "{sql}");
        }
    }

    #[test]
    fn sqlite_numbers_them_alike() {
        let db = rusqlite::Connection::open_in_memory().unwrap();
        let sql = "SELECT ?2 || ? || ?1 || ? WHERE ?1 = ?1 /*account of ?1*/";
        let given = ["a", "b", "c", "d"];
        let told: String = db.query_row(sql, given, |row| row.get(0)).unwrap();
        let takes = translate(sql).1;
        assert_eq!(takes.values.iter().map(|&at| given[at]).collect::<String>(), told);
    }
}
