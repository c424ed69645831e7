//! Contacts that wait to be taken in, as rows of `intake`: some in each, under the key of the first. Does not depend on what
//! becomes of a contact that is taken in.

use super::loaded::contacts_of;
use super::{CONTACTS_IN_STEP, Contact, contact_number, write};
use crate::model::AccountKey;
use crate::store::StoreError;
use crate::store::layout::keys::pack;
use crate::store::packed::pack_bytes;
use crate::store::sql::{Connection, params};

/// Writes contacts of a batch that arrives, a row for each part, from the place `first` on.
pub fn add_parts(
    db: &Connection,
    account: AccountKey,
    batch: i64,
    first: usize,
    parts: &[Vec<Contact>],
) -> Result<(), StoreError> {
    let mut place = i64::try_from(first).unwrap_or(i64::MAX);
    for part in parts {
        add(db, pack(account, contact_number(batch, place)), part)?;
        place += i64::try_from(part.len()).unwrap_or(0);
    }
    Ok(())
}

/// Writes some contacts that lie side by side, under the key of the first.
pub fn add(db: &Connection, first: i64, part: &[Contact]) -> Result<(), StoreError> {
    let packed = pack_bytes(&write(&part)?)?;
    db.prepare_cached("INSERT INTO intake (id, packed /*!, account */) VALUES (?, ? /*!, @1 */)")?
        .execute(params![first, packed])?;
    Ok(())
}

/// Removes a row whose contacts are taken in.
pub fn delete(db: &Connection, first: i64) -> Result<(), StoreError> {
    db.prepare_cached("DELETE FROM intake WHERE id = ? /*account of ?1*/")?.execute([first])?;
    Ok(())
}

/// Removes some rows of a batch that takes no contacts in any more.
pub fn delete_some(db: &Connection, batch: i64) -> Result<(), StoreError> {
    db.prepare_cached(
        "DELETE FROM intake WHERE id IN (SELECT id FROM intake
                     WHERE id >= ? AND id < ? /*account of ?1*/
                     ORDER BY id LIMIT 32) /*account of ?1*/",
    )?
    .execute(contacts_of(batch))?;
    Ok(())
}

/// Removes all rows of a batch.
pub fn delete_all(db: &Connection, batch: i64) -> Result<(), StoreError> {
    db.execute("DELETE FROM intake WHERE id >= ? AND id < ? /*account of ?1*/", contacts_of(batch))?;
    Ok(())
}

/// A row holds as many contacts as a step takes in, whatever the caller thought.
const _: () = assert!(CONTACTS_IN_STEP <= 1000);
