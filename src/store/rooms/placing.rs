//! Batches in the books: which contact a call is for, what the batch adds to the record, and the counts of contact and
//! batch, in the caller's transaction. The rules are the ledger's. Accounts whose bodies name no batch of theirs pay
//! nothing here. Refuses to know how a batch is given and taken in.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use crate::store::sql::{OptionalExtension, Row, params};
use ring::digest;

use super::keys::{pack, unpack};
use super::record::{About, Recording};
use super::retention::length;
use crate::ledger::{ContactBook, Counted, Standing};
use crate::model::account::Account;
use crate::model::id::{self, Kind};
use crate::model::json::Raw;
use crate::model::{AccountKey, Batch, Call, EventBody, EventType, Text, Time};
use crate::store::batches::{BatchState, Contact, Ended, Failure, Given, batch_of, contact_number};
use crate::store::packed::damaged;
use crate::store::told::ToldCall;
use crate::store::{Incoming, StoreError};

/// How long an ended batch keeps its endpoints: late corrections are owed to them, and every event is held against
/// every endpoint of its account, so they cannot stay for ever.
const RELEASED_AFTER: Duration = Duration::from_secs(7 * 24 * 3600);

/// The batches and contacts that a transaction has touched.
#[derive(Default)]
pub struct Books {
    pub batches: HashMap<i64, BatchBook>,
    /// Those that were looked for and are not there.
    pub missing: HashSet<i64>,
    /// The last batch of an account, where that was asked for.
    pub newest: HashMap<AccountKey, i64>,
    pub contacts: HashMap<i64, Option<LoadedContact>>,
    /// What calls count for, as far as that was fetched ahead.
    pub links: HashMap<i64, Option<Placed>>,
    /// The contacts under hashes that were fetched ahead.
    pub keys: HashMap<i64, Vec<i64>>,
}

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
    is_dirty: bool,
}

pub struct LoadedContact {
    contact: Arc<Contact>,
    book: ContactBook,
    due: Option<i64>,
    is_dirty: bool,
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
    batch: i64,
    /// `None` as long as its contact may not have been taken in yet.
    contact: Option<i64>,
    before: Option<Counted>,
    is_known: bool,
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
        let state = usize::from(row.get::<u8>(1)?);
        let failure = match (row.get::<Option<Vec<u8>>>(12)?, row.get::<Option<Vec<u8>>>(13)?) {
            (Some(error), Some(code)) => {
                Some(Failure { error: Text::from_bytes(error), code: Text::from_bytes(code) })
            }
            _ => None,
        };
        Ok(Self {
            state: *BatchState::ALL.get(state).ok_or_else(|| damaged("unknown state of a batch"))?,
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
fn bare(phone: &Text) -> &[u8] {
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

impl Recording<'_> {
    /// The batch of a key, to be changed.
    pub fn batch(&mut self, key: i64) -> Result<Option<&mut BatchBook>, StoreError> {
        if self.books.missing.contains(&key) {
            return Ok(None);
        }
        if !self.books.batches.contains_key(&key) {
            self.enter(unpack(key).0)?;
            let sql =
                format!("SELECT {BATCH_COLUMNS} FROM given_batches WHERE id = ? /*! AND account = @1 */");
            let mut statement = self.db.prepare_cached(&sql)?;
            let mut rows = statement.query([key])?;
            let Some(row) = rows.next()? else {
                self.books.missing.insert(key);
                return Ok(None);
            };
            self.books.batches.insert(key, BatchBook::of(&row)?);
        }
        Ok(self.books.batches.get_mut(&key))
    }

    fn contact(&mut self, key: i64) -> Result<Option<&mut LoadedContact>, StoreError> {
        if !self.books.contacts.contains_key(&key) {
            self.enter(unpack(key).0)?;
            let sql = format!("SELECT {CONTACT_COLUMNS} FROM contacts WHERE id = ? /*! AND account = @1 */");
            let mut statement = self.db.prepare_cached(&sql)?;
            let mut rows = statement.query([key])?;
            let loaded = rows.next()?.map(|row| LoadedContact::of(&row)).transpose()?;
            self.books.contacts.insert(key, loaded);
        }
        Ok(self.books.contacts.get_mut(&key).and_then(Option::as_mut))
    }

    /// Finds where a call counts. A call stays with the contact that it was first found for; one that comes before its
    /// contact was taken in is placed when all are there.
    pub(super) fn place(
        &mut self,
        incoming: &Incoming,
        call: i64,
        said: &Call,
        known: Option<&Call>,
        named: Named,
        is_first: bool,
    ) -> Result<Option<Placed>, StoreError> {
        let account = incoming.account;
        let link = match is_first {
            true => None,
            false => match self.books.links.get(&pack(account, call)) {
                Some(link) => *link,
                None => self
                    .db
                    .prepare_cached(
                        "SELECT batch, contact, counted FROM batch_calls
                         WHERE call = ? /*! AND account = @1 */",
                    )?
                    .query_row([pack(account, call)], Placed::of)
                    .optional()?,
            },
        };
        if let Some(link) = link.as_ref().filter(|link| link.contact.is_some()) {
            return Ok(Some(*link));
        }
        let is_known = link.is_some();
        let batch = link.map_or_else(|| pack(account, named.batch), |link| link.batch);
        if !is_known && !self.may_report(account, named.batch, incoming.source)? {
            return Ok(None);
        }
        let Some(book) = self.batch(batch)? else { return Ok(None) };
        let may_come = book.state < BatchState::Sealed;
        let mut contact = self.find_contact(batch, said, named.contact)?;
        if let (None, Some(known)) = (contact, known) {
            contact = self.find_contact(batch, known, None)?;
        }
        let placed = Placed { batch, contact, before: None, is_known };
        Ok((contact.is_some() || may_come).then_some(placed))
    }

    /// The contact of a batch that a call is for: by our id, the giver's, or the number.
    pub(super) fn find_contact(
        &mut self,
        batch: i64,
        record: &Call,
        contact: Option<i64>,
    ) -> Result<Option<i64>, StoreError> {
        if let Some(number) = contact {
            let key = pack(unpack(batch).0, number);
            if self.contact(key)?.is_some() {
                return Ok(Some(key));
            }
        }
        if let Some(id) = &record.contact.id
            && let Some(found) =
                self.look_up(batch, id_hash(batch, id), |contact| contact.id.as_ref() == Some(id))?
        {
            return Ok(Some(found));
        }
        let Some(phone) = &record.contact.phone else { return Ok(None) };
        self.look_up(batch, phone_hash(batch, phone), |contact| bare(&contact.phone) == bare(phone))
    }

    fn look_up(
        &mut self,
        batch: i64,
        hash: i64,
        fits: impl Fn(&Contact) -> bool,
    ) -> Result<Option<i64>, StoreError> {
        let keys: Vec<i64> = match self.books.keys.get(&hash) {
            Some(keys) => keys.clone(),
            None => self
                .db
                .prepare_cached("SELECT contact FROM contact_keys WHERE hash = ?1 /*! AND account = @2 */")?
                .query_map([hash, batch], |row| row.get(0))?
                .collect::<Result<_, _>>()?,
        };
        for key in keys {
            if self.contact(key)?.is_some_and(|loaded| fits(&loaded.contact)) {
                return Ok(Some(key));
            }
        }
        Ok(None)
    }

    /// Fills in what the batch knows and neither the body nor the record says.
    pub(super) fn fill(
        &mut self,
        placed: &Placed,
        told: &Arc<ToldCall>,
        known: Option<&Call>,
    ) -> Result<Arc<ToldCall>, StoreError> {
        let (account, number) = unpack(placed.batch);
        let config = self.config(account)?;
        let (tag, origin) = (config.account.tag, config.account.origin);
        let batch_id = Text::from(id::format(Kind::Batch, tag, number));
        let given = self.batch(placed.batch)?.map(|book| Arc::clone(&book.given)).unwrap_or_default();
        let contact = match placed.contact {
            Some(key) => self.contact(key)?.map(|loaded| Arc::clone(&loaded.contact)),
            None => None,
        };
        let mut heard = told.heard();
        let (said, mut has_added) = (&mut heard.call, false);
        let is_of_old = |said: &Text| {
            let id = std::str::from_utf8(said.as_bytes()).ok().and_then(|id| id::parse(Kind::Batch, id));
            id.is_some_and(|(tag, _)| Some(tag) == origin)
        };
        if said.batch_id.as_ref().is_some_and(is_of_old) {
            (said.batch_id, has_added) = (Some(batch_id.clone()), true);
        }
        let none = Call::default();
        let known = known.unwrap_or(&none);
        let mut add = |said: &mut Option<Text>, known: &Option<Text>, value: Option<&Text>| {
            if said.is_none() && known.is_none() && value.is_some() {
                *said = value.cloned();
                has_added = true;
            }
        };
        add(&mut said.batch_id, &known.batch_id, Some(&batch_id));
        add(&mut said.agent.id, &known.agent.id, given.agent_id.as_ref());
        add(&mut said.user_id, &known.user_id, given.user_id.as_ref());
        if let Some(contact) = &contact {
            add(&mut said.contact.id, &known.contact.id, contact.id.as_ref());
            add(&mut said.contact.phone, &known.contact.phone, Some(&contact.phone));
            add(&mut said.contact.name, &known.contact.name, contact.name.as_ref());
            add(&mut said.contact.email, &known.contact.email, contact.email.as_ref());
        }
        if said.metric_schema.is_none() && known.metric_schema.is_none() && given.metric_schema.is_some() {
            said.metric_schema.clone_from(&given.metric_schema);
            has_added = true;
        }
        Ok(if has_added { Arc::new(ToldCall::of(heard)) } else { Arc::clone(told) })
    }

    /// How long a call of this batch may go without its end.
    pub(super) fn patience_of(&mut self, placed: &Placed) -> Result<Option<Duration>, StoreError> {
        Ok(self.batch(placed.batch)?.and_then(|book| book.lost_after))
    }

    /// Counts what became of a call, and ends its batch if that was the last one.
    pub(super) fn count(
        &mut self,
        account: AccountKey,
        call: i64,
        placed: &Placed,
        record: &Call,
        at: Time,
    ) -> Result<(), StoreError> {
        let after = Counted::of(record);
        if placed.is_known && placed.contact.is_some() && placed.before == Some(after) {
            return Ok(());
        }
        self.db.later(
            "INSERT INTO batch_calls (call, batch, contact, counted /*!, account */)
             VALUES (?1, ?2, ?3, ?4 /*!, @1 */)
                 ON CONFLICT (call /*!, account */) DO UPDATE SET contact = ?3, counted = ?4",
            params![pack(account, call), placed.batch, placed.contact, after as i64],
        )?;
        if self.db.postgres().is_some() {
            let before = placed.contact.map(|_| after);
            let link = Placed { before, is_known: true, ..*placed };
            self.books.links.insert(pack(account, call), Some(link));
        }
        let Some(contact) = placed.contact else { return Ok(()) };
        self.change_contact(placed.batch, contact, at, |book, most| book.count(placed.before, after, most))
    }

    /// Changes the counts of a contact, those of its batch with them, and ends the batch if no contact is open.
    pub(super) fn change_contact(
        &mut self,
        batch: i64,
        contact: i64,
        at: Time,
        change: impl FnOnce(&mut ContactBook, i64),
    ) -> Result<(), StoreError> {
        let now = self.now;
        let Some(book) = self.batch(batch)? else { return Ok(()) };
        let (max_attempts, lost_after) = (book.max_attempts, book.lost_after);
        let is_over = book.state.is_over();
        let Some(loaded) = self.contact(contact)? else { return Ok(()) };
        let before = loaded.book;
        change(&mut loaded.book, max_attempts);
        let after = loaded.book;
        let waits = !after.is_closed && !after.is_under_way() && !is_over;
        loaded.due = lost_after.filter(|_| waits).map(|patience| now.after(patience).as_micros());
        loaded.is_dirty = true;
        let Some(book) = self.batch(batch)? else { return Ok(()) };
        book.tally.shift(&before, &after);
        // A vendor's clock may be wrong, but no batch starts before it was given.
        book.started_at.get_or_insert(at.min(now).max(book.created_at));
        book.is_dirty = true;
        self.complete(batch)
    }

    /// Ends a batch of which no contact is open, once.
    pub(super) fn complete(&mut self, key: i64) -> Result<(), StoreError> {
        let now = self.now;
        let Some(book) = self.batch(key)? else { return Ok(()) };
        if book.state.is_over() || !book.tally.is_complete(book.state == BatchState::Sealed) {
            return Ok(());
        }
        (book.state, book.ended_at, book.is_dirty) = (BatchState::Completed, Some(now), true);
        self.tell(key, EventType::BatchCompleted)
    }

    /// Stops a batch.
    pub(super) fn fail(&mut self, key: i64, failure: Failure) -> Result<Ended, StoreError> {
        let now = self.now;
        let Some(book) = self.batch(key)?.filter(|book| book.state != BatchState::Arriving) else {
            return Ok(Ended::Missing);
        };
        if book.state.is_over() {
            return Ok(Ended::Over);
        }
        (book.state, book.ended_at, book.failure, book.is_dirty) =
            (BatchState::Failed, Some(now), Some(failure), true);
        self.tell(key, EventType::BatchFailed)?;
        Ok(Ended::Done)
    }

    fn tell(&mut self, key: i64, kind: EventType) -> Result<(), StoreError> {
        let (account, number) = unpack(key);
        let (tag, now) = (self.config(account)?.account.tag, self.now);
        let Some(book) = self.batch(key)? else { return Ok(()) };
        let (error, code) = book.failure.clone().map(|why| (why.error, why.code)).unzip();
        let batch = Batch {
            batch_id: Text::from(id::format(Kind::Batch, tag, number)),
            agent_id: book.given.agent_id.clone(),
            user_id: book.given.user_id.clone(),
            statistics: Some(book.tally.statistics()),
            created_at: Some(book.created_at),
            started_at: book.started_at,
            completed_at: book.ended_at.filter(|_| kind == EventType::BatchCompleted),
            error,
            code,
            ..Batch::default()
        };
        self.append(account, kind, now, About::default(), EventBody::Batch(Box::new(batch)), None)?;
        Ok(())
    }

    /// What is told of a contact that has no call yet: its own id stands for the call's.
    pub(super) fn request_of(
        &mut self,
        batch: i64,
        contact: i64,
        about: &Contact,
    ) -> Result<Call, StoreError> {
        let (account, number) = unpack(batch);
        let tag = self.config(account)?.account.tag;
        let given = self.batch(batch)?.map(|book| Arc::clone(&book.given)).unwrap_or_default();
        let mut call = Call {
            call_id: Text::from(id::format(Kind::Contact, tag, unpack(contact).1)),
            batch_id: Some(Text::from(id::format(Kind::Batch, tag, number))),
            user_id: given.user_id.clone(),
            created_at: Some(self.now),
            metric_schema: given.metric_schema.clone(),
            ..Call::default()
        };
        call.agent.id.clone_from(&given.agent_id);
        call.contact.id = about.id.clone();
        call.contact.phone = Some(about.phone.clone());
        call.contact.name.clone_from(&about.name);
        call.contact.email.clone_from(&about.email);
        let details = Details { company: about.company.as_ref(), metadata: about.metadata.as_ref() };
        if details.company.is_some() || details.metadata.is_some() {
            call.contact.details = Some(Raw::from_value(&details));
        }
        Ok(call)
    }

    /// The contact of a key, if it is there.
    pub(super) fn who(&mut self, contact: i64) -> Result<Option<(Arc<Contact>, ContactBook)>, StoreError> {
        Ok(self.contact(contact)?.map(|loaded| (Arc::clone(&loaded.contact), loaded.book)))
    }

    /// Nobody waits for a call of this contact any more.
    pub(super) fn stop_waiting(&mut self, contact: i64) -> Result<(), StoreError> {
        if let Some(loaded) = self.contact(contact)? {
            (loaded.due, loaded.is_dirty) = (None, true);
        }
        Ok(())
    }

    /// Changes a batch.
    pub(super) fn change_batch(
        &mut self,
        key: i64,
        change: impl FnOnce(&mut BatchBook),
    ) -> Result<(), StoreError> {
        if let Some(book) = self.batch(key)? {
            change(book);
            book.is_dirty = true;
        }
        Ok(())
    }

    /// The vendor's word for the end of a batch that is the account's own: its failure counts, its completion does not,
    /// for that the books know themselves; of a source that may not report on it neither does. `None` when it is no batch of
    /// ours.
    pub(super) fn hear_of_given(
        &mut self,
        incoming: &Incoming,
        heard: &crate::model::event::HeardBatch,
    ) -> Result<Option<bool>, StoreError> {
        let account = incoming.account;
        let config = self.config(account)?;
        let Some(batch) = named_batch(Some(&heard.batch.batch_id), &config.account) else { return Ok(None) };
        if !self.may_report(account, batch, incoming.source)? {
            return Ok(Some(false));
        }
        let key = pack(account, batch);
        if self.batch(key)?.is_none() {
            // Its numbers are handed out once, so one that is gone by its age is known for ever.
            return Ok(self.was_given(account, batch)?.then_some(false));
        }
        if heard.kind != EventType::BatchFailed {
            return Ok(Some(false));
        }
        let failure = Failure {
            error: heard.batch.error.clone().unwrap_or_else(|| Text::from("The dialer gave up")),
            code: heard.batch.code.clone().unwrap_or_else(|| Text::from("DIALER_FAILED")),
        };
        Ok(Some(self.fail(key, failure)? == Ended::Done))
    }

    /// Writes what changed.
    pub(super) fn write_batches(&self) -> Result<(), StoreError> {
        for (key, book) in self.books.batches.iter().filter(|(_, book)| book.is_dirty) {
            let has_endpoints = !book.given.endpoints.is_empty();
            let release = book.ended_at.filter(|_| has_endpoints).map(|end| end.after(RELEASED_AFTER));
            let failure = book.failure.as_ref();
            self.db.later(
                "UPDATE given_batches SET state = ?, taken_in = ?, succeeded = ?, failed = ?, started_at = ?,
                     ended_at = ?, release_at = ?, error = ?, code = ?, intake = ?
                     WHERE id = ? /*! AND account = @11 */",
                params![
                    book.state as i64,
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
        for (key, book, due) in self.books.contacts.iter().filter_map(dirty) {
            self.db.later(
                "UPDATE contacts SET heard = ?, ended = ?, completed = ?, is_open = ?, due = ?
                 WHERE id = ? /*! AND account = @6 */",
                params![book.heard, book.ended, book.completed, !book.is_closed, due, key],
            )?;
        }
        Ok(())
    }
}

/// What a contact's request says beyond name, number and address.
#[derive(serde::Serialize)]
struct Details<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    company: Option<&'a Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a Raw>,
}

/// The keys of a batch's contacts: from the first to before the end.
pub fn contacts_of(batch: i64) -> [i64; 2] {
    let (account, number) = unpack(batch);
    [pack(account, contact_number(number, 1)), pack(account, contact_number(number + 1, 0))]
}
