//! The head of an account: it hands out the feed's positions and all other numbers, and whoever holds it has the account's
//! line. Refuses to know what the numbers are for.

use crate::model::AccountKey;
use crate::store::StoreError;
use crate::store::sql::{Connection, OptionalExtension};

/// The numbers that an account hands out next.
#[derive(Clone, Copy, PartialEq)]
pub struct Head {
    pub position: i64,
    pub calls: i64,
    pub deliveries: i64,
    pub quarantined: i64,
    pub slot_ends: i64,
}

impl Head {
    /// Takes the account's line, which other nodes wait for from here on, and says which revision of its configuration
    /// there is.
    pub fn take(db: &Connection, account: AccountKey) -> Result<(Self, i64), StoreError> {
        let sql = match db {
            Connection::Sqlite(_) => HEAD.to_owned(),
            Connection::Postgres(_) => format!("{HEAD} FOR UPDATE"),
        };
        let found = db.prepare_cached(&sql)?.query_row([account.0], |row| {
            let head = Self {
                position: row.get(0)?,
                calls: row.get(1)?,
                deliveries: row.get(2)?,
                quarantined: row.get(3)?,
                slot_ends: row.get(4)?,
            };
            Ok((head, row.get(5)?))
        });
        found.optional()?.ok_or_else(|| StoreError::Data(format!("account {} does not exist", account.0)))
    }

    /// Writes it.
    pub fn put(&self, db: &Connection, account: AccountKey) -> Result<(), StoreError> {
        db.prepare_cached(
            "UPDATE accounts SET position = ?, calls = ?, deliveries = ?, quarantined = ? WHERE account = ?",
        )?
        .execute([self.position, self.calls, self.deliveries, self.quarantined, account.0])?;
        Ok(())
    }
}

const HEAD: &str =
    "SELECT position, calls, deliveries, quarantined, slot_ends, revision FROM accounts WHERE account = ?";
