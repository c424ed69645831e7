//! The head of an account: it hands out the feed's positions and all other numbers, and whoever holds it has the account's
//! line. Refuses to know what the numbers are for.

use const_format::formatcp;

use crate::model::AccountKey;
use crate::store::StoreError;
use crate::store::config::account_row;
use crate::store::layout::keys::LAST_HEAD;
use crate::store::sql::{self, Connection, OptionalExtension, Row};

/// The numbers that an account hands out next.
#[derive(Clone, Copy, PartialEq)]
pub struct Head {
    pub position: i64,
    pub calls: i64,
    pub deliveries: i64,
    pub quarantined: i64,
    pub slot_ends: i64,
    /// Whether something of the account was removed that may be repeated.
    pub has_tombstones: bool,
    /// Events up to this position have no transcript any more, whatever the account keeps from now on.
    pub transcripts_gone: i64,
}

impl Head {
    /// Takes the account's line, which other nodes wait for from here on, and says which revision of its configuration
    /// there is.
    pub fn take(db: &Connection, account: AccountKey) -> Result<(Self, i64), StoreError> {
        let sql = formatcp!("SELECT {COLUMNS} FROM accounts WHERE account = ? /*! FOR UPDATE */");
        let found = db.prepare_cached(sql)?.query_row([account.0], Self::of);
        found.optional()?.ok_or_else(|| StoreError::Data(format!("account {} does not exist", account.0)))
    }

    fn has_room(&self) -> bool {
        let heads = [self.position, self.calls, self.deliveries, self.quarantined];
        heads.iter().all(|head| (0..=LAST_HEAD).contains(head))
    }

    /// Reads [`COLUMNS`].
    pub fn of(row: &Row<'_>) -> sql::Result<(Self, i64)> {
        let head = Self {
            position: row.get(0)?,
            calls: row.get(1)?,
            deliveries: row.get(2)?,
            quarantined: row.get(3)?,
            slot_ends: row.get(4)?,
            has_tombstones: row.get(6)?,
            transcripts_gone: row.get(7)?,
        };
        if !head.has_room() {
            return Err(sql::Error::Shape("the numbers of an account are used up, or damaged".to_owned()));
        }
        Ok((head, row.get(5)?))
    }

    /// Writes it.
    pub fn put(&self, db: &Connection, account: AccountKey) -> Result<(), StoreError> {
        let numbers = [self.position, self.calls, self.deliveries, self.quarantined];
        account_row::set_head(db, account, numbers)
    }
}

/// The columns of [`Head::of`].
pub const COLUMNS: &str = "position, calls, deliveries, quarantined, slot_ends, revision, \
     tombstones_at IS NOT NULL, transcripts_gone";
