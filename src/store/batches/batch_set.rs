//! The batches and contacts of a transaction: each is loaded once, changed in memory, written once. Whether one was prefetched
//! is known here alone. Does not depend on what a call does to them.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::Contact;
use super::loaded::{BATCH_COLUMNS, BatchBook, CONTACT_COLUMNS, LoadedContact, Placed};
use crate::model::{AccountKey, Time};
use crate::store::StoreError;
use crate::store::sql::{OptionalExtension, params};
use crate::store::tx::transaction::Tx;

/// How long an ended batch keeps its endpoints: late corrections are owed to them, and every event is held against
/// every endpoint of its account, so they cannot stay for ever.
const RELEASED_AFTER: Duration = Duration::from_secs(7 * 24 * 3600);

/// The batches and contacts that a transaction knows.
#[derive(Default)]
pub struct BatchSet {
    /// Batches by their keys.
    pub batches: HashMap<i64, BatchBook>,
    /// Those that were looked for and are not there.
    pub missing: HashSet<i64>,
    /// Contacts by their keys; `None` for those that are not there.
    pub contacts: HashMap<i64, Option<LoadedContact>>,
    /// What calls count for, as far as that is known.
    pub links: HashMap<i64, Option<Placed>>,
    /// The contacts under hashes, as far as they were prefetched.
    pub keys: HashMap<i64, Vec<i64>>,
    /// The last batch of an account, where that was asked for.
    newest: HashMap<AccountKey, i64>,
}

impl BatchSet {
    /// The batch of a key, to be changed.
    pub fn batch(&mut self, tx: &Tx<'_>, key: i64) -> Result<Option<&mut BatchBook>, StoreError> {
        if self.missing.contains(&key) {
            return Ok(None);
        }
        if !self.batches.contains_key(&key) {
            let sql = format!("SELECT {BATCH_COLUMNS} FROM given_batches WHERE id = ? /*account of ?1*/");
            let mut statement = tx.db.prepare_cached(&sql)?;
            let mut rows = statement.query([key])?;
            let Some(row) = rows.next()? else {
                self.missing.insert(key);
                return Ok(None);
            };
            self.batches.insert(key, BatchBook::of(&row)?);
        }
        Ok(self.batches.get_mut(&key))
    }

    /// The contact of a key, to be changed.
    pub fn contact(&mut self, tx: &Tx<'_>, key: i64) -> Result<Option<&mut LoadedContact>, StoreError> {
        if let Entry::Vacant(unknown) = self.contacts.entry(key) {
            let sql = format!("SELECT {CONTACT_COLUMNS} FROM contacts WHERE id = ? /*account of ?1*/");
            let mut statement = tx.db.prepare_cached(&sql)?;
            let mut rows = statement.query([key])?;
            unknown.insert(rows.next()?.map(|row| LoadedContact::of(&row)).transpose()?);
        }
        Ok(self.contacts.get_mut(&key).and_then(Option::as_mut))
    }

    /// What a call counts for.
    pub fn link(&self, tx: &Tx<'_>, call: i64) -> Result<Option<Placed>, StoreError> {
        if let Some(link) = self.links.get(&call) {
            return Ok(*link);
        }
        let mut statement = tx.db.prepare_cached(
            "SELECT batch, contact, counted FROM batch_calls
             WHERE call = ? /*account of ?1*/",
        )?;
        Ok(statement.query_row([call], Placed::of).optional()?)
    }

    /// The contact of a batch that is filed under a hash and fits.
    pub fn find_contact(
        &mut self,
        tx: &Tx<'_>,
        batch: i64,
        hash: i64,
        fits: impl Fn(&Contact) -> bool,
    ) -> Result<Option<i64>, StoreError> {
        let keys: Vec<i64> = match self.keys.get(&hash) {
            Some(keys) => keys.clone(),
            None => tx
                .db
                .prepare_cached("SELECT contact FROM contact_keys WHERE hash = ?1 /*account of ?2*/")?
                .query_map([hash, batch], |row| row.get(0))?
                .collect::<Result<_, _>>()?,
        };
        for key in keys {
            if self.contact(tx, key)?.is_some_and(|loaded| fits(&loaded.contact)) {
                return Ok(Some(key));
            }
        }
        Ok(None)
    }

    /// The last number of a batch that an account has handed out.
    pub fn newest(&mut self, tx: &Tx<'_>, account: AccountKey) -> Result<i64, StoreError> {
        if let Some(&newest) = self.newest.get(&account) {
            return Ok(newest);
        }
        let newest = tx
            .db
            .prepare_cached("SELECT batches FROM accounts WHERE account = ?")?
            .query_row([account.0], |row| row.get(0))?;
        self.newest.insert(account, newest);
        Ok(newest)
    }

    /// Writes what changed.
    pub fn write(&self, tx: &Tx<'_>) -> Result<(), StoreError> {
        for (key, book) in self.batches.iter().filter(|(_, book)| book.is_dirty) {
            let has_endpoints = !book.given.endpoints.is_empty();
            let release = book.ended_at.filter(|_| has_endpoints).map(|end| end.after(RELEASED_AFTER));
            let failure = book.failure.as_ref();
            tx.db.later(
                "UPDATE given_batches SET state = ?, taken_in = ?, succeeded = ?, failed = ?, started_at = ?,
                     ended_at = ?, release_at = ?, error = ?, code = ?, intake = ?
                     WHERE id = ? /*account of ?11*/",
                params![
                    book.state.code(),
                    book.taken_in,
                    book.tally.succeeded,
                    book.tally.failed,
                    book.started_at.map(Time::as_micros),
                    book.ended_at.map(Time::as_micros),
                    release.map(Time::as_micros),
                    failure.map(|why| why.error.as_bytes()),
                    failure.map(|why| why.code.as_bytes()),
                    book.has_intake,
                    key
                ],
            )?;
        }
        let dirty = |(key, loaded): (&i64, &Option<LoadedContact>)| {
            loaded.as_ref().filter(|it| it.is_dirty).map(|it| (*key, it.book, it.due))
        };
        for (key, book, due) in self.contacts.iter().filter_map(dirty) {
            tx.db.later(
                "UPDATE contacts SET heard = ?, ended = ?, completed = ?, is_open = ?, due = ?
                 WHERE id = ? /*account of ?6*/",
                params![book.heard, book.ended, book.completed, !book.is_closed, due, key],
            )?;
        }
        Ok(())
    }
}
