//! What of an account is gone by its age although its rows may lie there yet: on a database that drops whole partitions,
//! retention moves two edges, and what is behind them is gone for everybody who asks. Refuses to know who moves them, and
//! when the rows go.

use crate::model::AccountKey;
use crate::store::StoreError;
use crate::store::layout::keys::{pack, unpack};
use crate::store::sql::{Connection, OptionalExtension};

/// The edge of deliveries; that of events is `purged`, which was there before.
pub const COLUMNS: &str = r"
-- Deliveries up to this number are gone. Moves only where rows go with their partition.
ALTER TABLE accounts ADD COLUMN purged_deliveries INTEGER NOT NULL DEFAULT 0;
-- When the retention was set last. Rows that were past another one are not left where they lie for the length of this.
ALTER TABLE accounts ADD COLUMN retention_set_at INTEGER NOT NULL DEFAULT 0;
";

/// The edges of an account. Where rows are removed one by one they hide nothing.
#[derive(Clone, Copy, Debug)]
pub struct Watermarks {
    account: AccountKey,
    /// The last event of the feed that is gone.
    pub events: i64,
    /// The last delivery that is gone.
    pub deliveries: i64,
}

impl Watermarks {
    /// As they are in the transaction, or on the snapshot.
    pub fn of(db: &Connection, account: AccountKey) -> Result<Self, StoreError> {
        let found = match db.drops_by_age() {
            true => db
                .prepare_cached("SELECT purged, purged_deliveries FROM accounts WHERE account = ?")?
                .query_row([account.0], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?,
            false => None,
        };
        let (events, deliveries) = found.unwrap_or((0, 0));
        Ok(Self { account, events, deliveries })
    }

    /// Whether an event is not gone, if it lies there.
    pub fn has_event(&self, position: i64) -> bool {
        position > self.events
    }

    /// The same of a settled delivery, by its key. What is open is never gone.
    pub fn has_delivery(&self, id: i64) -> bool {
        unpack(id).1 > self.deliveries
    }

    /// The key after which events are there.
    pub fn before_events(&self) -> i64 {
        pack(self.account, self.events)
    }

    /// The key after which settled deliveries are there.
    pub fn before_deliveries(&self) -> i64 {
        pack(self.account, self.deliveries)
    }
}
