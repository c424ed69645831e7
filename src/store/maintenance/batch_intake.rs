//! Batches on their way in: begun with endpoints of their own, their contacts taken in step by step by maintenance; the endpoints
//! go some time after their end. Does not depend on what a call does to a batch: that is `apply/attribution.rs`.

use super::scheduled_batches;
use crate::ledger::Counted;
use crate::model::secret::Credential;
use crate::model::{AccountKey, Endpoint, Secret, Time};
use crate::store::apply::recording::Recording;
use crate::store::batches::loaded::contacts_of;
use crate::store::batches::{
    BatchState, Contact, Failure, batch_call_rows, batch_rows, contact_rows, intake_rows, schedule,
};
use crate::store::config::accounts::Changed;
use crate::store::config::{account_row, endpoint_rows};
use crate::store::jobs::due::{ByTime, Due};
use crate::store::layout::keys::{beyond, keys_of as keys_of_account, pack, unpack};
use crate::store::lifetime::old_batches;
use crate::store::packed::{damaged, unpack_bytes};
use crate::store::reads::pages;
use crate::store::sql::{Connection, OptionalExtension};
use crate::store::vault::Vault;
use crate::store::{EndpointRef, StoreError};

/// Makes a batch's endpoints and lets its intake begin. Gives the secret that they sign with where it is the fresh one.
pub fn begin_batch(
    db: &Connection,
    vault: &Vault,
    (account, batch): (AccountKey, i64),
    endpoints: Vec<Endpoint>,
    fresh: Secret,
) -> Result<(Option<Secret>, Vec<Changed>), StoreError> {
    let known: Option<Vec<u8>> = db
        .prepare_cached("SELECT batch_secret FROM accounts WHERE account = ?")?
        .query_row([account.0], |row| row.get(0))?;
    let (secret, shown) = match known {
        Some(sealed) => (Secret::new(vault.open(&sealed).map_err(damaged)?), None),
        None if endpoints.is_empty() => (fresh, None),
        None => {
            account_row::set_batch_secret(db, vault, account, &fresh)?;
            (fresh.clone(), Some(fresh))
        }
    };
    let mut numbers = Vec::new();
    for mut endpoint in endpoints {
        endpoint.credential = Credential::of_secret(secret.clone());
        endpoint.of_batch = true;
        numbers.extend(endpoint_rows::put(db, vault, &endpoint)?);
    }
    let changed = |&number: &i64| Changed::Endpoint(EndpointRef { account, number });
    let changes = numbers.iter().map(changed).collect();
    batch_rows::begin(db, pack(account, batch), numbers)?;
    Ok((shown, changes))
}

/// The first account after this one with a batch that is to be taken in.
pub fn first_intake(db: &Connection, _: Time, after: AccountKey) -> Result<Option<AccountKey>, StoreError> {
    let batch: Option<i64> = db
        .prepare_cached("SELECT MIN(id) FROM given_batches WHERE intake = 1 AND id >= ?")?
        .query_row([beyond(after)], |row| row.get(0))?;
    Ok(batch.map(|batch| unpack(batch).0))
}

/// One step of an intake. True when there is more.
pub fn step(recording: &mut Recording<'_>, account: AccountKey) -> Result<bool, StoreError> {
    let db = recording.tx.db;
    let batch: Option<i64> = db
        .prepare_cached(
            "SELECT id FROM given_batches WHERE intake = 1 AND id >= ? AND id < ? /*account of ?1*/
             ORDER BY id LIMIT 1",
        )?
        .query_row(keys_of_account(account), |row| row.get(0))
        .optional()?;
    let Some(batch) = batch else { return Ok(false) };
    let is_over = recording.batch(batch)?.is_some_and(|book| book.state.is_over());
    let [first, end] = contacts_of(batch);
    let part: Option<(i64, Vec<u8>)> = db
        .prepare_cached(
            "SELECT id, packed FROM intake WHERE id >= ? AND id < ? /*account of ?1*/
             ORDER BY id LIMIT 1",
        )?
        .query_row([first, end], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    match part {
        Some(_) if is_over => intake_rows::delete_some(db, batch)?,
        None if is_over => recording.change_batch(batch, |book| book.has_intake = false)?,
        Some((id, packed)) => {
            let contacts: Vec<Contact> = serde_json::from_slice(&unpack_bytes(&packed)?).map_err(damaged)?;
            take_in(recording, batch, id, &contacts)?;
            intake_rows::delete(db, id)?;
        }
        None if place_early(recording, batch)? => {}
        None if recording.batch(batch)?.is_some_and(|book| book.taken_in < book.tally.total) => {
            recording.fail(batch, Failure::incomplete())?;
        }
        None => {
            recording.change_batch(batch, |book| {
                (book.state, book.has_intake) = (BatchState::Sealed, false);
            })?;
            recording.complete(batch)?;
        }
    }
    Ok(true)
}

fn take_in(
    recording: &mut Recording<'_>,
    batch: i64,
    first: i64,
    contacts: &[Contact],
) -> Result<(), StoreError> {
    let (db, now) = (recording.tx.db, recording.tx.now);
    let patience = recording.batch(batch)?.and_then(|book| book.lost_after);
    let scheduled = schedule::find(db, batch)?.map(|waiting| waiting.due);
    // Nobody is late before the batch's time.
    let due = patience.map(|patience| scheduled.unwrap_or(now).max(now).after(patience).as_micros());
    for (id, contact) in (first..).zip(contacts) {
        contact_rows::add(db, batch, id, contact, due)?;
        if scheduled.is_none() {
            scheduled_batches::request(recording, batch, id, contact)?;
        }
    }
    recording.committed.has_leisure = true;
    let count = i64::try_from(contacts.len()).unwrap_or(0);
    recording.change_batch(batch, |book| book.taken_in += count)
}

/// Places calls that were heard of before their contacts were taken in. Those of nobody are let go. True if there were
/// any.
fn place_early(recording: &mut Recording<'_>, batch: i64) -> Result<bool, StoreError> {
    let (db, account) = (recording.tx.db, unpack(batch).0);
    let early: Vec<i64> = db
        .prepare_cached(
            "SELECT call FROM batch_calls WHERE batch = ? /*account of ?1*/ AND contact IS NULL
             ORDER BY call LIMIT 50",
        )?
        .query_map([batch], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for &call in &early {
        if !recording.may_go_on() {
            break;
        }
        let view = pages::call(db, account, unpack(call).1)?;
        let contact = match &view {
            Some(view) => recording.find_contact(batch, &view.call, None)?,
            None => None,
        };
        let (Some(view), Some(contact)) = (view, contact) else {
            batch_call_rows::delete(db, call)?;
            continue;
        };
        let after = Counted::of(&view.call);
        batch_call_rows::set_contact(db, call, contact, after)?;
        recording
            .change_contact(batch, contact, view.updated_at, |book, most| book.count(None, after, most))?;
    }
    Ok(!early.is_empty())
}

/// Batches whose endpoints are to go.
pub const RELEASES: ByTime = ByTime::Keys(
    "SELECT id, release_at FROM given_batches WHERE release_at > ? AND release_at <= ? ORDER BY release_at LIMIT ?",
);

/// Takes the endpoints of a batch away that ended some time ago. True if there was one.
pub fn release(recording: &mut Recording<'_>, due: Due) -> Result<bool, StoreError> {
    let (db, [from, until], [first, end]) = (recording.tx.db, due.span, keys_of_account(due.account));
    let due: Option<i64> = db
        .prepare_cached(
            "SELECT id FROM given_batches
             WHERE release_at >= ? AND release_at <= ? AND +id >= ? AND +id < ? /*account of ?3*/
             ORDER BY release_at LIMIT 1",
        )?
        .query_row([from, until, first, end], |row| row.get(0))
        .optional()?;
    let Some(batch) = due else { return Ok(false) };
    old_batches::delete_endpoints(recording, batch)?;
    batch_rows::clear_release(db, batch)?;
    Ok(true)
}
