//! Batches and contacts as their rows have them, what a transaction knows of them, and what of them a body names. Does not
//! depend on what a call does to them.

use std::sync::Arc;
use std::time::Duration;

use ring::digest;

use super::{BatchState, Contact, Failure, Given, batch_of, contact_number};
use crate::ledger::{ContactBook, Counted, Standing};
use crate::model::account::Account;
use crate::model::id::{self, Kind};
use crate::model::{Call, Text, Time};
use crate::store::StoreError;
use crate::store::layout::codec::length;
use crate::store::layout::keys::{pack, unpack};
use crate::store::packed::damaged;
use crate::store::sql::Row;

/// A batch as this transaction knows it.
pub struct BatchBook {
    pub state: BatchState,
    pub tally: Standing,
    pub taken_in: i64,
    pub max_attempts: i64,
    pub lost_after: Option<Duration>,
    pub created_at: Time,
    pub started_at: Option<Time>,
    pub ended_at: Option<Time>,
    pub failure: Option<Failure>,
    pub given: Arc<Given>,
    pub has_intake: bool,
    pub is_dirty: bool,
}

pub struct LoadedContact {
    pub contact: Arc<Contact>,
    pub book: ContactBook,
    pub due: Option<i64>,
    pub is_dirty: bool,
}

impl LoadedContact {
    /// Reads a row of [`CONTACT_COLUMNS`].
    pub fn of(row: &Row<'_>) -> Result<Self, StoreError> {
        let contact = Arc::new(contact_of(row)?);
        Ok(Self { contact, book: book_of(row)?, due: row.get(6)?, is_dirty: false })
    }
}

/// The columns of [`BatchBook::of`].
pub const BATCH_COLUMNS: &str = "id, state, total, taken_in, succeeded, failed, max_attempts, lost_after, created_at, \
     started_at, ended_at, given, error, code, intake";

/// The columns of [`book_of`], behind the contact's key and what was given.
pub const CONTACT_COLUMNS: &str = "id, about, heard, ended, completed, is_open, due";

/// What a body names: a batch of this account, or one of its contacts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named {
    pub batch: i64,
    pub contact: Option<i64>,
}

/// Where a call counts.
#[derive(Clone, Copy)]
pub struct Placed {
    pub batch: i64,
    /// `None` as long as its contact may not have been taken in yet.
    pub contact: Option<i64>,
    pub before: Option<Counted>,
    pub is_known: bool,
}

impl Placed {
    /// Reads a row of `batch_calls`: batch, contact, counted.
    pub fn of(row: &Row<'_>) -> crate::store::sql::Result<Self> {
        let contact: Option<i64> = row.get(1)?;
        let counted = Counted::ALL.get(usize::from(row.get::<u8>(2)?)).copied();
        let before = counted.filter(|_| contact.is_some());
        Ok(Self { batch: row.get(0)?, contact, before, is_known: true })
    }

    /// Whether the call counts here from now on only.
    pub fn is_new(&self) -> bool {
        !self.is_known
    }
}

/// Reads what a record names. Another account's ids name nothing, just as those of vendors; those that it had in another
/// house still do, dialers go on saying them.
pub fn named(call: &Call, account: &Account) -> Option<Named> {
    let contact = number(Kind::Contact, call.contact.id.as_ref(), account)
        .or_else(|| number(Kind::Contact, Some(&call.call_id), account));
    if let Some(contact) = contact {
        return Some(Named { batch: batch_of(contact), contact: Some(contact) });
    }
    let batch = named_batch(call.batch_id.as_ref(), account)
        .or_else(|| named_batch(call.campaign.id.as_ref(), account))?;
    Some(Named { batch, contact: None })
}

/// The number of a batch of this account.
pub fn named_batch(id: Option<&Text>, account: &Account) -> Option<i64> {
    number(Kind::Batch, id, account)
}

fn number(kind: Kind, text: Option<&Text>, account: &Account) -> Option<i64> {
    let text = std::str::from_utf8(text?.as_bytes()).ok()?;
    let is_own = |tag| tag == account.tag || Some(tag) == account.origin;
    id::parse(kind, text).filter(|(tag, _)| is_own(*tag)).map(|(_, number)| number)
}

impl BatchBook {
    /// Reads a row of [`BATCH_COLUMNS`].
    pub fn of(row: &Row<'_>) -> Result<Self, StoreError> {
        let state = i64::from(row.get::<u8>(1)?);
        let failure = match (row.get::<Option<Vec<u8>>>(12)?, row.get::<Option<Vec<u8>>>(13)?) {
            (Some(error), Some(code)) => {
                Some(Failure { error: Text::from_bytes(error), code: Text::from_bytes(code) })
            }
            _ => None,
        };
        Ok(Self {
            state: BatchState::from_code(state).ok_or_else(|| damaged("unknown state of a batch"))?,
            tally: Standing { total: row.get(2)?, succeeded: row.get(4)?, failed: row.get(5)? },
            taken_in: row.get(3)?,
            max_attempts: row.get(6)?,
            lost_after: row.get::<Option<i64>>(7)?.map(length),
            created_at: Time::from_micros(row.get(8)?),
            started_at: row.get::<Option<i64>>(9)?.map(Time::from_micros),
            ended_at: row.get::<Option<i64>>(10)?.map(Time::from_micros),
            given: Arc::new(serde_json::from_slice(row.blob(11)?).map_err(damaged)?),
            failure,
            has_intake: row.get(14)?,
            is_dirty: false,
        })
    }
}

/// Reads what a row of [`CONTACT_COLUMNS`] counts.
pub fn book_of(row: &Row<'_>) -> crate::store::sql::Result<ContactBook> {
    Ok(ContactBook {
        heard: row.get(2)?,
        ended: row.get(3)?,
        completed: row.get(4)?,
        is_closed: !row.get::<bool>(5)?,
    })
}

/// Reads who a row of [`CONTACT_COLUMNS`] is.
pub fn contact_of(row: &Row<'_>) -> Result<Contact, StoreError> {
    serde_json::from_slice(row.blob(1)?).map_err(damaged)
}

/// The hash under which a contact of a batch is found by its number.
pub fn phone_hash(batch: i64, phone: &Text) -> i64 {
    hash(batch, b"phone", bare(phone))
}

/// The same by the giver's own id.
pub fn id_hash(batch: i64, id: &Text) -> i64 {
    hash(batch, b"id", id.as_bytes())
}

/// A number without the plus in front, which some dialers leave out.
pub fn bare(phone: &Text) -> &[u8] {
    phone.as_bytes().strip_prefix(b"+").unwrap_or(phone.as_bytes())
}

fn hash(batch: i64, what: &[u8], text: &[u8]) -> i64 {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in [&batch.to_be_bytes(), what, b" ", text] {
        context.update(part);
    }
    let digest = context.finish();
    i64::from_be_bytes(*digest.as_ref().first_chunk::<8>().expect("SHA-256 has 32 bytes"))
}

/// The keys of a batch's contacts: from the first to before the end.
pub fn contacts_of(batch: i64) -> [i64; 2] {
    let (account, number) = unpack(batch);
    [pack(account, contact_number(number, 1)), pack(account, contact_number(number + 1, 0))]
}

pub fn keys_of(batch: i64, contact: &Contact) -> impl Iterator<Item = i64> {
    let phone = phone_hash(batch, &contact.phone);
    std::iter::once(phone).chain(contact.id.as_ref().map(|id| id_hash(batch, id)))
}
