//! Which tables can be divided by account over many machines, as Citus does it, and what a statement must say for that:
//! the account, so that one machine knows that it alone is meant. The tables say it in a column, which each of their keys
//! ends with. Nothing here divides anything: docs/scale.md says what to call. Refuses to know what the rows mean.

use super::schema::PARTITIONED;
use super::tables::TABLES;

/// The tables that stay whole on the one machine that nodes connect to: what is asked for before an account is known, what
/// is locked for several accounts at once, and what belongs to no account.
pub const LOCAL: [&str; 5] = ["accounts", "api_keys", "meta", "migrations", "nodes"];

/// The statements that do not say on purpose of which account they speak, each by how it begins. All but the last are chores
/// of one node at a time, off the hot path, which find what is due in any account by an index of its own; what is then done
/// about it names its account.
const ACROSS: &[(&str, &str)] = &[
    ("SELECT endpoint, until FROM held WHERE until >", "holds whose time is up"),
    ("SELECT call, due FROM watched WHERE due >", "calls whose end did not come in time"),
    ("SELECT id, due FROM contacts WHERE due >", "contacts that nobody called in time"),
    ("SELECT batch, due FROM scheduled WHERE due >", "batches whose time has come"),
    ("SELECT MIN(id) FROM given_batches WHERE intake = 1", "batches that are to be taken in"),
    ("SELECT id, release_at FROM given_batches WHERE release_at >", "batches whose endpoints are to go"),
    ("SELECT MIN(account) FROM out_of_credit", "accounts without call minutes, a row each"),
    ("SELECT id, next_at FROM replays WHERE next_at >", "replays that are due"),
    ("SELECT id FROM erasures WHERE room", "the erasure that is under way"),
    ("SELECT 1 FROM erasures WHERE room", "the same"),
    ("UPDATE erasures SET room = NULL, overwritten_at = $1 WHERE id = (SELECT", "the same"),
    ("SELECT created_at, account, name, sealed FROM idempotency WHERE", "kept answers, gone through by age"),
    ("DELETE FROM idempotency WHERE (account, name) IN (SELECT", "kept answers that are too old"),
    ("SELECT MIN(id) FROM endpoints WHERE deleted_at IS NOT NULL AND swept = 0", "deleted endpoints"),
    ("UPDATE open SET state = 0 WHERE state = 2 AND owner =", "what a tenure owned that has ended"),
    ("DELETE FROM idempotency WHERE status IS NULL AND owner =", "the same"),
    ("SELECT id FROM given_batches WHERE state < 3 AND state = 0 AND owner =", "the same"),
    ("SELECT endpoint, 0, MAX(id), COUNT(*),", "a recount, which reads indexes alone that lack the account"),
    ("SELECT endpoint, 1, MAX(id), COUNT(*),", "the same"),
    ("SELECT endpoint, state, MAX(id), COUNT(*),", "the same"),
];

/// Statements that move or count whole tables, while no node works.
const WHOLE: [&str; 1] = ["SELECT COUNT(*) FROM "];

/// The tables that have a column for the account.
pub fn divided() -> impl Iterator<Item = &'static str> {
    TABLES.iter().map(|(table, _)| *table).filter(|table| !LOCAL.contains(table))
}

/// The table that a partition is a part of.
fn whole(table: &str) -> &str {
    let is_week = |part: &str| part == "default" || part.bytes().all(|digit| digit.is_ascii_digit());
    match table.rsplit_once('_') {
        Some((parent, part)) if PARTITIONED.contains(&parent) && is_week(part) => parent,
        _ => table,
    }
}

/// Says what is wrong with a statement about rows of accounts that does not say of which.
pub fn check(sql: &str) -> Result<(), String> {
    let words: Vec<&str> =
        sql.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_')).collect();
    let plain = sql.split_whitespace().collect::<Vec<_>>().join(" ");
    let of_rows = words.windows(2).filter(|pair| ["FROM", "INTO", "JOIN", "UPDATE"].contains(&pair[0]));
    let tables = of_rows.filter(|pair| divided().any(|table| table == whole(pair[1]))).count();
    let mut across = ACROSS.iter().map(|(start, _)| *start).chain(WHOLE);
    if tables == 0 || across.any(|start| plain.starts_with(start)) {
        return Ok(());
    }
    // A row that is inserted gives it; every other table is tied to it by itself.
    let columns = plain.strip_prefix("INSERT INTO ").and_then(|insert| insert.split([')', '(']).nth(1));
    let given = columns.is_some_and(|columns| columns.split(',').any(|column| column.trim() == "account"));
    let said = usize::from(given) + plain.matches("account =").count();
    if said >= tables {
        return Ok(());
    }
    Err(format!(
        "it names {tables} tables that are divided by account, and the account {said} times: {plain}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::batches::states::{ARRIVING, COMPLETED};
    use crate::store::deliveries::states::{CLAIMABLE, CLAIMED, DELIVERED, PENDING};

    #[test]
    fn statements_say_whose_rows_they_are_about() {
        for good in [
            "SELECT 1 FROM accounts WHERE tag = $1",
            "SELECT body FROM events WHERE id = $1 AND account = $2",
            "SELECT 1 FROM open o JOIN shapes s ON s.endpoint = o.endpoint AND s.account = o.account WHERE o.account = ANY($1)",
            "INSERT INTO held (delivery, call , account ) VALUES ($1, $2, $3)",
            "INSERT INTO slots (account, ends, first) VALUES ($1, $2, $3)",
            "INSERT INTO settled (id, account) SELECT *, id >> 40 FROM unnest($1) AS t (id)",
            "SELECT  endpoint, until\n FROM held WHERE until > $1 ORDER BY until LIMIT $2",
        ] {
            assert_eq!(check(good), Ok(()));
        }
        for bad in [
            "SELECT body FROM events WHERE id = $1",
            "SELECT account FROM open WHERE id = $1",
            "SELECT 1 FROM open o JOIN shapes s ON s.endpoint = o.endpoint WHERE o.account = $1",
            "SELECT body FROM events_2968 WHERE id = $1",
            "DELETE FROM settled_default WHERE id = $1",
            "INSERT INTO held (delivery, call) VALUES ($1, $2)",
            "UPDATE calls SET event = t.event FROM unnest($1) AS t (event, id) WHERE calls.id = t.id",
            "DELETE FROM bodies WHERE delivery IN (SELECT delivery FROM bodies WHERE account = $1)",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_looks_at_every_account_is_still_there() {
        let mut folders = vec![std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src/store"))];
        let mut text = String::new();
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => folders.push(path),
                    false if path.ends_with("sharding_check.rs") => {}
                    false => text += &std::fs::read_to_string(path).unwrap(),
                }
            }
        }
        let states = [
            ("CLAIMABLE", CLAIMABLE),
            ("CLAIMED", CLAIMED),
            ("PENDING", PENDING),
            ("DELIVERED", DELIVERED),
            ("ARRIVING", ARRIVING),
            ("COMPLETED", COMPLETED),
        ];
        for (name, state) in states {
            text = text.replace(&format!("{{{name}}}"), &state.to_string());
        }
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        for (start, why) in ACROSS {
            assert!(text.contains(&format!("\"{}", start.replace("$1", "?"))), "{start} ({why})");
        }
    }
}
