//! Erasing a person among the contacts of batches. The contact stays for the batch's numbers, and nobody can tell who it
//! was. One that is open is closed: whoever asks to be forgotten is called no more, and the batch can end.
//! Refuses to know how batches are counted.

use super::erasing::{Erasing, rest};
use crate::store::StoreError;
use crate::store::batches::loaded::contact_of;
use crate::store::batches::{batch_of, contact_rows};
use crate::store::layout::keys::{pack, unpack};
use crate::store::sql::params;

/// Contacts that one step looks at.
const STEP: i64 = 250;

/// One step; true when there is more.
pub fn erase(erasing: &mut Erasing<'_, '_>) -> Result<bool, StoreError> {
    let (db, range) = (erasing.recording.tx.db, rest(erasing));
    let account = erasing.account;
    // Contacts on their way in are looked at once they are.
    let arriving = "SELECT 1 FROM given_batches WHERE intake = 1 AND account = ?";
    if db.prepare_cached(arriving)?.exists([account.0])? {
        return Ok(true);
    }
    let mut statement = db.prepare_cached(
        "SELECT id, about FROM contacts WHERE id > ? AND id < ? /*account of ?1*/ ORDER BY id LIMIT ?",
    )?;
    let mut rows = statement.query(params![range[0], range[1], STEP])?;
    let (mut seen, mut found) = (0, Vec::new());
    while let Some(row) = rows.next()? {
        let about = row.blob(1)?;
        let id: i64 = row.get(0)?;
        (erasing.place, seen) = (unpack(id).1, seen + 1);
        if erasing.person.is_in(about) {
            found.push((id, contact_of(&row)?));
        }
    }
    drop(rows);
    for (id, contact) in &found {
        let batch = pack(account, batch_of(unpack(*id).1));
        contact_rows::erase(db, batch, *id, contact)?;
        let now = erasing.recording.tx.now;
        erasing.recording.change_contact(batch, *id, now, |book, _| book.is_closed = true)?;
    }
    erasing.count("contacts", i64::try_from(found.len()).unwrap_or(0));
    Ok(seen == STEP)
}
