//! Pages of batches, of their contacts and of the calls that count for them. Does not depend on how they are taken in.

use super::pages;
use crate::model::AccountKey;
use crate::store::batches::loaded::{
    BATCH_COLUMNS, BatchBook, CONTACT_COLUMNS, book_of, contact_of, contacts_of,
};
use crate::store::batches::{BatchState, BatchView, ContactView};
use crate::store::layout::keys::{pack, unpack};
use crate::store::sql::Connection;
use crate::store::{CallView, Page, StoreError};

/// Calls that count for a batch, newest first.
pub fn calls(
    db: &Connection,
    account: AccountKey,
    batch: i64,
    page: Page,
) -> Result<Vec<CallView>, StoreError> {
    let before = page.after.map_or_else(|| pack(next(account), 0), |call| pack(account, call));
    let calls: Vec<i64> = db
        .prepare_cached(
            "SELECT call FROM batch_calls WHERE batch = ? /*account of ?1*/ AND call < ?
             ORDER BY call DESC LIMIT ?",
        )?
        .query_map([pack(account, batch), before, limit(page.limit)], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let found = calls.into_iter().map(|call| pages::call(db, account, unpack(call).1));
    Ok(found.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
}

/// Batches of a range of keys, newest first.
pub fn views(
    db: &Connection,
    condition: &str,
    range: [i64; 2],
    most: usize,
) -> Result<Vec<BatchView>, StoreError> {
    let sql = format!(
        "SELECT {BATCH_COLUMNS} FROM given_batches WHERE {condition} /*account of ?1*/
         ORDER BY id DESC LIMIT ?3"
    );
    let mut statement = db.prepare_cached(&sql)?;
    let mut rows = statement.query([range[0], range[1], limit(most)])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let book = BatchBook::of(&row)?;
        if book.state == BatchState::Arriving {
            continue;
        }
        found.push(BatchView {
            number: unpack(row.get(0)?).1,
            state: book.state,
            given: (*book.given).clone(),
            tally: book.tally,
            taken_in: book.taken_in,
            max_attempts: book.max_attempts,
            lost_after: book.lost_after,
            created_at: book.created_at,
            started_at: book.started_at,
            ended_at: book.ended_at,
            failure: book.failure,
        });
    }
    Ok(found)
}

/// Contacts of a batch in the order given.
pub fn contacts(
    db: &Connection,
    batch: i64,
    only_open: bool,
    page: Page,
) -> Result<Vec<ContactView>, StoreError> {
    let (account, [first, end]) = (unpack(batch).0, contacts_of(batch));
    let after = page.after.map_or(first - 1, |number| pack(account, number).max(first - 1));
    // Spelled out, so that each goes by the index that has its rows in order.
    let condition = if only_open { "is_open = 1 AND id" } else { "id" };
    let sql = format!(
        "SELECT {CONTACT_COLUMNS} FROM contacts WHERE {condition} > ? AND id < ? /*account of ?1*/
         ORDER BY id LIMIT ?"
    );
    let mut statement = db.prepare_cached(&sql)?;
    let mut rows = statement.query([after, end, limit(page.limit)])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let number = unpack(row.get(0)?).1;
        found.push(ContactView { number, contact: contact_of(&row)?, book: book_of(&row)? });
    }
    Ok(found)
}

pub fn next(account: AccountKey) -> AccountKey {
    AccountKey(account.0 + 1)
}

pub fn limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
