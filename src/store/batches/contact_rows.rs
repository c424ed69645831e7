//! Contacts of batches as rows of `contacts`, and the hashes by which they are found, as rows of `contact_keys`. Does not depend
//! on how contacts wait before they are taken in, nor on what a call does to them: what it changes is written by `batch_set`.

use super::loaded::keys_of;
use super::{Contact, write};
use crate::ledger::ContactBook;
use crate::store::StoreError;
use crate::store::sql::{Connection, params};

/// Writes a contact that is taken in: open, with no call counted, to be called by `due`.
pub fn add(
    db: &Connection,
    batch: i64,
    id: i64,
    contact: &Contact,
    due: Option<i64>,
) -> Result<(), StoreError> {
    db.later(
        "INSERT INTO contacts (id, about, heard, ended, completed, is_open, due /*!, account */)
             VALUES (?, ?, 0, 0, 0, 1, ? /*!, @1 */)",
        params![id, write(contact)?, due],
    )?;
    add_keys(db, batch, id, contact)
}

/// Writes an imported contact with its counts. One that was erased is not to be found.
pub fn import(
    db: &Connection,
    batch: i64,
    id: i64,
    contact: &Contact,
    book: ContactBook,
    due: Option<i64>,
) -> Result<(), StoreError> {
    db.prepare_cached(
        "INSERT INTO contacts (id, about, heard, ended, completed, is_open, due /*!, account */)
         VALUES (?, ?, ?, ?, ?, ?, ? /*!, @1 */)",
    )?
    .execute(params![
        id,
        write(contact)?,
        book.heard,
        book.ended,
        book.completed,
        !book.is_closed,
        due
    ])?;
    if contact.is_erased() {
        return Ok(());
    }
    add_keys(db, batch, id, contact)
}

/// Removes a contact.
pub fn delete(db: &Connection, batch: i64, id: i64, contact: &Contact) -> Result<(), StoreError> {
    delete_keys(db, batch, id, contact)?;
    db.later("DELETE FROM contacts WHERE id = ? /*account of ?1*/", [id])?;
    Ok(())
}

/// Takes out of a contact's row who it is. The row stays, with its counts.
pub fn erase(db: &Connection, batch: i64, id: i64, contact: &Contact) -> Result<(), StoreError> {
    delete_keys(db, batch, id, contact)?;
    db.prepare_cached("UPDATE contacts SET about = ? WHERE id = ? /*account of ?2*/")?
        .execute(params![write(&Contact::default())?, id])?;
    Ok(())
}

fn add_keys(db: &Connection, batch: i64, id: i64, contact: &Contact) -> Result<(), StoreError> {
    for hash in keys_of(batch, contact) {
        let sql = "INSERT INTO contact_keys (hash, contact /*!, account */) VALUES (?, ? /*!, @2 */)
                 ON CONFLICT DO NOTHING";
        db.later(sql, [hash, id])?;
    }
    Ok(())
}

fn delete_keys(db: &Connection, batch: i64, id: i64, contact: &Contact) -> Result<(), StoreError> {
    for hash in keys_of(batch, contact) {
        db.later("DELETE FROM contact_keys WHERE hash = ? AND contact = ? /*account of ?2*/", [hash, id])?;
    }
    Ok(())
}
