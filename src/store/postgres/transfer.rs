//! An embedded store moves to PostgreSQL: table by table, in pages that are each one transaction with the place that was
//! reached, so that whatever broke off goes on where it was. At the end the sums of both are compared. The tables are the
//! same on both sides but for the account that each row has here, so this knows their names and keys alone; it refuses to
//! know what the rows mean.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::schema;
use super::server::{self, Server};
use super::tables::TABLES;
use super::tenure::transact;
use crate::model::AccountKey;
use crate::store::config::{account_row, accounts};
use crate::store::packed::damaged;
use crate::store::reads::{pages, recount};
use crate::store::sql::bulk::Column;
use crate::store::sql::{BEGINNING, Connection, OptionalExtension, Value, params};
use crate::store::sqlite::{MOVED, Moving};
use crate::store::{StoreError, Sum, private_files};

/// Rows of one page.
const PAGE: i64 = 1000;
/// Where the place is kept.
const PLACE: &str = "transfer";

/// How far it has come.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Place {
    /// Tables that are done.
    tables: usize,
    /// The key of the last row of the one that is under way, as the page that follows wants it.
    after: Vec<Part>,
    /// Rows that were moved.
    rows: u64,
    is_done: bool,
}

/// A part of a key.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Part {
    Int(i64),
    Bytes(Vec<u8>),
}

impl Part {
    fn of(value: Value<'_>) -> Result<Self, StoreError> {
        match value {
            Value::Int(number) => Ok(Self::Int(number)),
            Value::Blob(bytes) => Ok(Self::Bytes(bytes.to_vec())),
            other => Err(damaged(format!("{other:?} in a key"))),
        }
    }

    fn value(&self) -> Value<'_> {
        match self {
            Self::Int(number) => Value::Int(*number),
            Self::Bytes(bytes) => Value::Blob(bytes),
        }
    }
}

/// What was moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transferred {
    /// Rows in all, those of earlier tries with them.
    pub rows: u64,
    /// Accounts whose sums agree.
    pub accounts: usize,
    /// Deliveries that they ever owed.
    pub owed: i64,
}

/// Moves the store of a data directory to a database. Nothing may run on either meanwhile. Calls `progress` with the rows
/// that were moved and all there are. Blocks.
///
/// # Errors
/// A sentence for the operator. What was moved stays; the next try goes on from there.
pub fn transfer(
    from: &Path,
    url: &str,
    roots: Option<&[u8]>,
    progress: impl Fn(u64, u64) + Sync,
) -> Result<Transferred, String> {
    // Connections are driven by their threads; this one may be driving something else.
    let moved = std::thread::scope(|scope| scope.spawn(|| here(from, url, roots, &progress)).join());
    moved.unwrap_or_else(|_| Err("the transfer broke off".to_owned()))
}

fn here(
    from: &Path,
    url: &str,
    roots: Option<&[u8]>,
    progress: &dyn Fn(u64, u64),
) -> Result<Transferred, String> {
    let store = Moving::open(from)?;
    let server = Server::new(url, roots)?;
    let trouble =
        |error: &dyn std::fmt::Display| format!("cannot move to the database {}: {error}", server.place());
    let to = server.open().map_err(|error| trouble(&error))?;
    to.set_patient(true).map_err(|error| trouble(&error))?;
    schema::migrate(&to).map_err(|error| trouble(&error))?;
    server::check_key(&to, &store.vault).map_err(|error| trouble(&error))?;
    let mut place = match place_of(&to).map_err(|error| trouble(&error))? {
        Some(place) if place.is_done => {
            return Err(format!("everything is in the database {} already", server.place()));
        }
        Some(place) => place,
        None if is_used(&to).map_err(|error| trouble(&error))? => {
            return Err(format!(
                "the database {} holds a store already; give an empty one, or use postcall export and import",
                server.place()
            ));
        }
        None => Place::default(),
    };
    let total = count(&store.db).map_err(|error| error.to_string())?;
    // From here on no node opens the database before it is done.
    note(&to, &place).map_err(|error| trouble(&error))?;
    while place.tables < TABLES.len() {
        page(&store.db, &to, &mut place).map_err(|error| trouble(&error))?;
        progress(place.rows, total);
    }
    let transferred = compare(&store.db, &to, place.rows).map_err(|error| trouble(&error))?;
    place.is_done = true;
    finish(&to, &place).map_err(|error| trouble(&error))?;
    let moved = from.join(MOVED);
    private_files::write_whole(&moved, format!("to {}\n", server.place()).as_bytes()).map_err(|error| {
        format!("everything is moved, but {} cannot be written: {error}", moved.display())
    })?;
    Ok(transferred)
}

/// A node may not begin before everything is there.
pub fn check_finished(db: &Connection) -> Result<(), StoreError> {
    match place_of(db)? {
        Some(place) if !place.is_done => Err(StoreError::Unavailable(
            "a store is on its way into it; run postcall migrate-store again until it is done".to_owned(),
        )),
        _ => Ok(()),
    }
}

fn place_of(db: &Connection) -> Result<Option<Place>, StoreError> {
    let noted: Option<Vec<u8>> = db
        .prepare_cached("SELECT value FROM meta WHERE name = ?")?
        .query_row([PLACE], |row| row.get(0))
        .optional()?;
    noted.map(|noted| serde_json::from_slice(&noted).map_err(damaged)).transpose()
}

fn note(db: &Connection, place: &Place) -> Result<(), StoreError> {
    let place = serde_json::to_vec(place).map_err(damaged)?;
    db.execute(
        "INSERT INTO meta (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2",
        params![PLACE, place],
    )?;
    Ok(())
}

fn is_used(db: &Connection) -> Result<bool, StoreError> {
    Ok(db.prepare_cached("SELECT 1 FROM accounts UNION ALL SELECT 1 FROM nodes LIMIT 1")?.exists(())?)
}

fn count(db: &Connection) -> Result<u64, StoreError> {
    let mut total = 0;
    for (table, _) in TABLES {
        let rows: i64 =
            db.prepare_cached(&format!("SELECT COUNT(*) FROM {table}"))?.query_row((), |row| row.get(0))?;
        total += u64::try_from(rows).unwrap_or(0);
    }
    Ok(total)
}

/// The columns that a table has on both sides, with the types of PostgreSQL.
fn columns(to: &Connection, table: &str) -> Result<Vec<(String, String)>, StoreError> {
    // When a row was recorded is not known; it counts from now.
    let sql = "SELECT CAST(column_name AS TEXT), CAST(udt_name AS TEXT) FROM information_schema.columns
         WHERE table_schema = current_schema() AND table_name = CAST(? AS TEXT) AND column_name <> 'week'
         ORDER BY ordinal_position";
    let mut statement = to.prepare_cached(sql)?;
    let columns = statement.query_map([table], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(columns.collect::<Result<_, _>>()?)
}

/// Moves one page of the table that is under way.
fn page(from: &Connection, to: &Connection, place: &mut Place) -> Result<(), StoreError> {
    let (table, key) = TABLES[place.tables];
    let columns = columns(to, table)?;
    let names: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
    // There each row says its account, which here is said by its key alone. A hash belongs to no account.
    let has_account =
        from.prepare_cached("SELECT 1 FROM pragma_table_info(?) WHERE name = 'account'")?.exists([table])?;
    let first = key.iter().find(|part| **part != "hash").unwrap_or(&key[0]);
    let beginning = format!("{first} >> {BEGINNING}");
    let here: Vec<&str> = names
        .iter()
        .map(|&name| match name {
            "account" if !has_account => &beginning[..],
            _ => name,
        })
        .collect();
    let after = match place.after.is_empty() {
        true => String::new(),
        false => format!("WHERE ({}) > ({})", key.join(", "), vec!["?"; key.len()].join(", ")),
    };
    let select = format!(
        "SELECT {}, {} FROM {table} {after} ORDER BY {} LIMIT {PAGE}",
        here.join(", "),
        key.join(", "),
        key.join(", ")
    );
    let mut statement = from.prepare_cached(&select)?;
    let values: Vec<Value<'_>> = place.after.iter().map(Part::value).collect();
    let mut rows = statement.query(&values[..])?;
    let mut arrays: Vec<Column> = columns.iter().map(|_| Column::default()).collect();
    let (mut found, mut last) = (0, Vec::new());
    while let Some(row) = rows.next()? {
        for (at, array) in arrays.iter_mut().enumerate() {
            array.push(&row.value(at)?);
        }
        last = (names.len()..names.len() + key.len())
            .map(|at| row.value(at).map_err(StoreError::from).and_then(Part::of))
            .collect::<Result<_, _>>()?;
        found += 1;
    }
    drop(rows);
    match found < PAGE {
        true => (place.tables, place.after) = (place.tables + 1, Vec::new()),
        false => place.after = last,
    }
    place.rows += u64::try_from(found).unwrap_or(0);
    let arrays_of: Vec<String> = columns.iter().map(|(_, ty)| format!("CAST(? AS {ty}[])")).collect();
    let insert =
        format!("INSERT INTO {table} ({}) SELECT * FROM unnest({})", names.join(", "), arrays_of.join(", "));
    transact(to, || {
        if found > 0 {
            to.execute_many(&insert, &arrays)?;
        }
        note(to, place)
    })
}

/// Compares what both stores say was owed and what became of it, counted anew from their rows.
fn compare(from: &Connection, to: &Connection, rows: u64) -> Result<Transferred, StoreError> {
    let moved = count(to)?;
    if moved != count(from)? {
        return Err(damaged(format!("{moved} rows arrived, and there are {}", count(from)?)));
    }
    let accounts = accounts::account_keys(from)?;
    let mut owed = 0;
    for &account in &accounts {
        let sums = |db: &Connection| -> Result<[Vec<Sum>; 2], StoreError> {
            Ok([pages::sums(db, account)?, recount::sums(db, account)?])
        };
        let (here, there) = (sums(from)?, sums(to)?);
        if here != there {
            return Err(damaged(format!("the sums of account {} differ", AccountKey(account.0).0)));
        }
        owed += here[0].iter().map(|sum| sum.owed).sum::<i64>();
    }
    Ok(Transferred { rows, accounts: accounts.len(), owed })
}

fn finish(to: &Connection, place: &Place) -> Result<(), StoreError> {
    transact(to, || {
        // Events may have been passed over when others went, because something of them was under way.
        account_row::reopen_feeds(to)?;
        to.prepare_cached(
            "SELECT setval(pg_get_serial_sequence('accounts', 'account'), (SELECT MAX(account) FROM accounts))",
        )?
        .exists(())?;
        note(to, place)
    })?;
    Ok(to.execute_batch("ANALYZE")?)
}
