//! Batch attribution: which contact a call is for, what the batch adds to the record, and the counts of contact and batch, in
//! the caller's transaction. The rules are the ledger's. Accounts whose bodies name no batch of theirs pay nothing here. Does
//! not depend on how a batch is given and taken in.

use std::sync::Arc;
use std::time::Duration;

use super::append::EventContext;
use super::recording::Recording;
use crate::ledger::{ContactBook, Counted};
use crate::model::id::{self, Kind};
use crate::model::json::Raw;
use crate::model::{AccountKey, Batch, Call, EventBody, EventType, Text, Time};
use crate::store::batches::loaded::{
    BatchBook, LoadedContact, Named, Placed, bare, id_hash, named_batch, phone_hash,
};
use crate::store::batches::{BatchState, Contact, Ended, Failure, batch_call_rows};
use crate::store::ingest::prepared::PreparedCall;
use crate::store::layout::keys::{pack, unpack};
use crate::store::{Incoming, StoreError};

impl Recording<'_> {
    /// The batch of a key, to be changed.
    pub fn batch(&mut self, key: i64) -> Result<Option<&mut BatchBook>, StoreError> {
        self.enter(unpack(key).0)?;
        self.batches.batch(&self.tx, key)
    }

    fn contact(&mut self, key: i64) -> Result<Option<&mut LoadedContact>, StoreError> {
        self.enter(unpack(key).0)?;
        self.batches.contact(&self.tx, key)
    }

    /// Finds where a call counts. A call stays with the contact that it was first found for; one that comes before its
    /// contact was taken in is placed when all are there.
    pub fn place(
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
            false => self.batches.link(&self.tx, pack(account, call))?,
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
    pub fn find_contact(
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
                self.batches.find_contact(&self.tx, batch, id_hash(batch, id), |contact| {
                    contact.id.as_ref() == Some(id)
                })?
        {
            return Ok(Some(found));
        }
        let Some(phone) = &record.contact.phone else { return Ok(None) };
        self.batches.find_contact(&self.tx, batch, phone_hash(batch, phone), |contact| {
            bare(&contact.phone) == bare(phone)
        })
    }

    /// Fills in what the batch knows and neither the body nor the record says.
    pub fn fill(
        &mut self,
        placed: &Placed,
        prepared: &Arc<PreparedCall>,
        known: Option<&Call>,
    ) -> Result<Arc<PreparedCall>, StoreError> {
        let (account, number) = unpack(placed.batch);
        let config = self.config(account)?;
        let (tag, origin) = (config.account.tag, config.account.origin);
        let batch_id = Text::from(id::format(Kind::Batch, tag, number));
        let given = self.batch(placed.batch)?.map(|book| Arc::clone(&book.given)).unwrap_or_default();
        let contact = match placed.contact {
            Some(key) => self.contact(key)?.map(|loaded| Arc::clone(&loaded.contact)),
            None => None,
        };
        let mut heard = prepared.heard();
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
        Ok(if has_added { Arc::new(PreparedCall::of(heard)) } else { Arc::clone(prepared) })
    }

    /// How long a call of this batch may go without its end.
    pub fn patience_of(&mut self, placed: &Placed) -> Result<Option<Duration>, StoreError> {
        Ok(self.batch(placed.batch)?.and_then(|book| book.lost_after))
    }

    /// Counts what became of a call, and ends its batch if that was the last one.
    pub fn count(
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
        batch_call_rows::put(self.tx.db, pack(account, call), placed, after)?;
        if self.tx.db.postgres().is_some() {
            let before = placed.contact.map(|_| after);
            let link = Placed { before, is_known: true, ..*placed };
            self.batches.links.insert(pack(account, call), Some(link));
        }
        let Some(contact) = placed.contact else { return Ok(()) };
        self.change_contact(placed.batch, contact, at, |book, most| book.count(placed.before, after, most))
    }

    /// Changes the counts of a contact, those of its batch with them, and ends the batch if no contact is open.
    pub fn change_contact(
        &mut self,
        batch: i64,
        contact: i64,
        at: Time,
        change: impl FnOnce(&mut ContactBook, i64),
    ) -> Result<(), StoreError> {
        let now = self.tx.now;
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
    pub fn complete(&mut self, key: i64) -> Result<(), StoreError> {
        let now = self.tx.now;
        let Some(book) = self.batch(key)? else { return Ok(()) };
        if book.state.is_over() || !book.tally.is_complete(book.state == BatchState::Sealed) {
            return Ok(());
        }
        (book.state, book.ended_at, book.is_dirty) = (BatchState::Completed, Some(now), true);
        self.tell(key, EventType::BatchCompleted)
    }

    /// Stops a batch.
    pub fn fail(&mut self, key: i64, failure: Failure) -> Result<Ended, StoreError> {
        let now = self.tx.now;
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
        let (tag, now) = (self.config(account)?.account.tag, self.tx.now);
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
        self.append(account, kind, now, EventContext::default(), EventBody::Batch(Box::new(batch)), None)?;
        Ok(())
    }

    /// What is told of a contact that has no call yet: its own id stands for the call's.
    pub fn request_of(&mut self, batch: i64, contact: i64, about: &Contact) -> Result<Call, StoreError> {
        let (account, number) = unpack(batch);
        let tag = self.config(account)?.account.tag;
        let given = self.batch(batch)?.map(|book| Arc::clone(&book.given)).unwrap_or_default();
        let mut call = Call {
            call_id: Text::from(id::format(Kind::Contact, tag, unpack(contact).1)),
            batch_id: Some(Text::from(id::format(Kind::Batch, tag, number))),
            user_id: given.user_id.clone(),
            created_at: Some(self.tx.now),
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
    pub fn who(&mut self, contact: i64) -> Result<Option<(Arc<Contact>, ContactBook)>, StoreError> {
        Ok(self.contact(contact)?.map(|loaded| (Arc::clone(&loaded.contact), loaded.book)))
    }

    /// Nobody waits for a call of this contact any more.
    pub fn stop_waiting(&mut self, contact: i64) -> Result<(), StoreError> {
        if let Some(loaded) = self.contact(contact)? {
            (loaded.due, loaded.is_dirty) = (None, true);
        }
        Ok(())
    }

    /// Changes a batch.
    pub fn change_batch(&mut self, key: i64, change: impl FnOnce(&mut BatchBook)) -> Result<(), StoreError> {
        if let Some(book) = self.batch(key)? {
            change(book);
            book.is_dirty = true;
        }
        Ok(())
    }

    /// The vendor's word for the end of a batch that is the account's own: its failure counts, its completion does not,
    /// for that the books know themselves; of a source that may not report on it neither does. `None` when it is no batch of
    /// ours.
    pub fn hear_of_given(
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
}

/// What a contact's request says beyond name, number and address.
#[derive(serde::Serialize)]
struct Details<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    company: Option<&'a Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a Raw>,
}
