//! How many endpoints, sources and keys an account may have. Counted in the transaction that makes one, after its account's
//! head was taken, so that no two pass together. Does not depend on who may set a limit.

use crate::model::AccountKey;
use crate::model::account::{Limited, Limits};
use crate::store::StoreError;
use crate::store::layout::keys::pack;
use crate::store::sql::{Connection, OptionalExtension, Row};

/// `of_batch` is 1 for an endpoint that a batch brought along: it goes with its batch, and is not counted.
pub const COLUMNS: &str = r"
ALTER TABLE accounts ADD COLUMN endpoint_limit INTEGER;
ALTER TABLE accounts ADD COLUMN source_limit INTEGER;
ALTER TABLE accounts ADD COLUMN key_limit INTEGER;
ALTER TABLE endpoints ADD COLUMN of_batch INTEGER NOT NULL DEFAULT 0;
CREATE INDEX endpoints_there ON endpoints (id, of_batch) WHERE deleted_at IS NULL;
CREATE INDEX sources_there ON sources (id) WHERE deleted_at IS NULL;
CREATE INDEX api_keys_there ON api_keys (id) WHERE revoked_at IS NULL;
";

/// An account's own limits, as columns of its row.
pub const OF_ACCOUNT: &str = "endpoint_limit, source_limit, key_limit";

/// Reads [`OF_ACCOUNT`], from this column on.
pub fn read(row: &Row<'_>, first: usize) -> crate::store::sql::Result<Limits> {
    let own = |at: usize| row.get::<Option<i64>>(first + at);
    let limit = |own: Option<i64>| own.and_then(|limit| u32::try_from(limit).ok());
    Ok(Limits { endpoints: limit(own(0)?), sources: limit(own(1)?), keys: limit(own(2)?) })
}

/// Lets an account have one more of a kind. The account's row must be locked by the transaction.
pub fn check(db: &Connection, account: AccountKey, kind: Limited) -> Result<(), StoreError> {
    check_count(db, account, kind, count(db, account, kind)?)
}

/// Lets an import bring one more endpoint that says that it is a batch's. That nobody can prove, so there may be as many
/// of these as of others.
pub fn check_of_batch(db: &Connection, account: AccountKey) -> Result<(), StoreError> {
    let there: i64 = db
        .prepare_cached(
            "SELECT COUNT(*) FROM endpoints
             WHERE id > ? AND id < ? /*account of ?1*/ AND deleted_at IS NULL AND of_batch = 1",
        )?
        .query_row(range(account), |row| row.get(0))?;
    check_count(db, account, Limited::Endpoints, there)
}

fn check_count(db: &Connection, account: AccountKey, kind: Limited, there: i64) -> Result<(), StoreError> {
    let limits = db
        .prepare_cached(&format!("SELECT {OF_ACCOUNT} FROM accounts WHERE account = ?"))?
        .query_row([account.0], |row| read(row, 0))
        .optional()?;
    let most = limits.unwrap_or_default().of(kind);
    match there < i64::from(most) {
        true => Ok(()),
        false => Err(StoreError::LimitReached(kind, most)),
    }
}

fn count(db: &Connection, account: AccountKey, kind: Limited) -> Result<i64, StoreError> {
    let sql = match kind {
        Limited::Endpoints => {
            "SELECT COUNT(*) FROM endpoints
             WHERE id > ? AND id < ? /*account of ?1*/ AND deleted_at IS NULL AND of_batch = 0"
        }
        Limited::Sources => {
            "SELECT COUNT(*) FROM sources
             WHERE id > ? AND id < ? /*account of ?1*/ AND deleted_at IS NULL"
        }
        Limited::Keys => "SELECT COUNT(*) FROM api_keys WHERE id > ? AND id < ? AND revoked_at IS NULL",
    };
    Ok(db.prepare_cached(sql)?.query_row(range(account), |row| row.get(0))?)
}

fn range(account: AccountKey) -> [i64; 2] {
    [pack(account, 0), pack(AccountKey(account.0 + 1), 0)]
}
