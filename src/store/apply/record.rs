//! What came through the doors becomes events, calls and owed deliveries: each call is loaded once per group, its steps are
//! folded in order. The rules are the ledger's; this file fetches what they need.

use std::sync::Arc;

use super::append::EventContext;
use super::recording::Recording;
use crate::dialect::ReceiptKind;
use crate::ledger::{self, Contribution};
use crate::model::{AccountKey, Call, EventBody};
use crate::store::batches::loaded::{Placed, named};
use crate::store::calls::loaded::Loaded;
use crate::store::calls::quarantine;
use crate::store::calls::tombstones::Of;
use crate::store::config::source_rows;
use crate::store::ingest::prepared::{PreparedCall, PreparedEvent};
use crate::store::layout::keys::pack;
use crate::store::{Booked, Incoming, Parsed, Recorded, StoreError};

/// Who says a step of a call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Said {
    /// A body, which may come once more.
    ByTheSource,
    /// We do, of a call that is there.
    ByUs,
}

impl Recording<'_> {
    /// Records one body.
    pub fn record(&mut self, incoming: &Incoming) -> Result<Recorded, StoreError> {
        let account = incoming.account;
        // Before anything else: without an account nothing of this can be kept, and its neighbours shall not suffer.
        self.config(account)?;
        match &incoming.parsed {
            Parsed::Events(all) => {
                let (mut kind, mut planned, mut booked) = (ReceiptKind::Duplicate, 0, Booked::default());
                for heard in all {
                    let events = match heard {
                        PreparedEvent::Call(prepared) => {
                            self.hear_call(incoming, prepared, Said::ByTheSource, &mut booked)?
                        }
                        PreparedEvent::Batch(heard) => self.hear_batch(incoming, heard)?,
                    };
                    if let Some(deliveries) = events {
                        kind = ReceiptKind::Recorded;
                        planned += deliveries;
                    }
                }
                Ok(Recorded::Done { kind, planned, booked })
            }
            Parsed::Test(heard) => {
                let at = heard.at.unwrap_or(incoming.received_at);
                let call = Call {
                    stage: heard.step.stage(),
                    outcome: match heard.step {
                        crate::model::Step::Ended(outcome) => Some(outcome),
                        _ => None,
                    },
                    ..heard.call.clone()
                };
                let body = EventBody::Call { call: Arc::new(call), changed: Vec::new() };
                let about =
                    EventContext { source: Some(incoming.source), test: true, ..EventContext::default() };
                self.append(account, heard.step.event_type(), at, about, body, None)?;
                Ok(Recorded::Done { kind: ReceiptKind::Recorded, planned: 0, booked: Booked::default() })
            }
            Parsed::Unreadable(reason) => self.quarantine(incoming, reason),
        }
    }

    /// Records a step that no body says: what a source left out for too long.
    pub fn give_up(&mut self, incoming: &Incoming, prepared: &Arc<PreparedCall>) -> Result<(), StoreError> {
        self.config(incoming.account)?;
        self.hear_call(incoming, prepared, Said::ByUs, &mut Booked::default()).map(drop)
    }

    /// Records a step of a call. Gives the deliveries planned, or `None` for a duplicate.
    fn hear_call(
        &mut self,
        incoming: &Incoming,
        prepared: &Arc<PreparedCall>,
        said: Said,
        booked: &mut Booked,
    ) -> Result<Option<usize>, StoreError> {
        let mut prepared = Arc::clone(prepared);
        let key = (pack(incoming.account, incoming.source), prepared.call_id().clone());
        let found = self.calls.take(&self.tx, &key)?;
        let is_news = found.as_ref().is_none_or(|loaded| !loaded.received().has_step(prepared.step));
        // A call that was removed may be there once more, by a step that was not received before: the others stay repeats.
        if is_news
            && said == Said::ByTheSource
            && self.received_before(key.0, Of::Call(&key.1))?.has_step(prepared.step)
        {
            if let Some(loaded) = found {
                self.calls.keep(key, loaded);
            }
            return Ok(None);
        }
        let mut loaded = match found {
            Some(loaded) => loaded,
            None => self.new_call(incoming.account)?,
        };
        let placed = self.attribute(incoming, &mut prepared, &loaded)?;
        let config = self.config(incoming.account)?;
        let used_before = loaded.book.as_ref().map_or(0, |book| ledger::credit::used(&book.call));
        let prepared = &prepared;
        let before = loaded.contribution();
        let (event, is_opened) = loaded.hear(prepared);
        let ready = if is_opened { Some(prepared.snapshot.as_ref().map_err(Clone::clone)?) } else { None };
        let call = loaded.book.as_ref().map(|book| Arc::clone(&book.call)).unwrap_or_default();
        let at = prepared.at.unwrap_or(incoming.received_at);
        if config.account.is_metered {
            self.minutes.use_up(incoming.account, ledger::credit::used(&call) - used_before);
        }
        let of_source = config.source(incoming.source).and_then(|source| source.lost_after);
        let is_new = loaded.is_first() || placed.as_ref().is_some_and(Placed::is_new);
        if is_new && call.outcome.is_none() && (placed.is_some() || of_source.is_some()) {
            self.watch(incoming.account, loaded.number, placed.as_ref(), of_source)?;
        }
        self.book(incoming, &mut loaded, before, booked);
        let number = loaded.number;
        let Some((kind, changed)) = event else {
            self.calls.keep(key, loaded);
            if let Some(placed) = placed {
                self.count(incoming.account, number, &placed, &call, at)?;
            }
            return Ok(None);
        };
        let about = EventContext {
            source: Some(incoming.source),
            call: Some(loaded.number),
            previous: (!loaded.is_first()).then_some(loaded.last_event),
            test: false,
        };
        let body = EventBody::Call { call: Arc::clone(&call), changed };
        let (position, planned) = self.append(incoming.account, kind, at, about, body, ready)?;
        loaded.last_event = position;
        loaded.differs = false;
        self.calls.keep(key, loaded);
        // Behind the call's own event: whoever hears that a batch is complete has heard of all its calls.
        if let Some(placed) = placed {
            self.count(incoming.account, number, &placed, &call, at)?;
        }
        Ok(Some(planned))
    }

    /// Finds the batch that a call counts for. What a body says of the call becomes what that comes to with what the batch
    /// knows.
    fn attribute(
        &mut self,
        incoming: &Incoming,
        prepared: &mut Arc<PreparedCall>,
        loaded: &Loaded,
    ) -> Result<Option<Placed>, StoreError> {
        let config = self.config(incoming.account)?;
        let known = loaded.book.as_ref().map(|book| &*book.call);
        let mut names = named(&prepared.book.call, &config.account);
        if let Some(all) = names
            && let Some(claiming) = self.with_claims(incoming, prepared, all)?
        {
            *prepared = claiming;
            names = named(&prepared.book.call, &config.account);
        }
        let names = names.or_else(|| known.and_then(|call| named(call, &config.account)));
        let Some(names) = names else { return Ok(None) };
        let is_first = loaded.is_first();
        let placed = self.place(incoming, loaded.number, &prepared.book.call, known, names, is_first)?;
        if let Some(placed) = &placed {
            *prepared = self.fill(placed, prepared, known)?;
        }
        Ok(placed)
    }

    /// Counts a call as it stands now in place of as it stood before.
    fn book(
        &mut self,
        incoming: &Incoming,
        loaded: &mut Loaded,
        before: Option<Contribution>,
        booked: &mut Booked,
    ) {
        let Some(book) = &loaded.book else { return };
        if book.call.outcome.is_some() && loaded.counted == Some(0) {
            loaded.counted = Some(incoming.received_at.as_micros());
        }
        self.numbers.note(incoming.account, &book.call);
        let after = loaded.contribution();
        let is_of_campaign = [&before, &after].into_iter().flatten().any(|of| of.place.campaign.is_some());
        if self.numbers.count(incoming.account, before, after) {
            booked.analytics = true;
            booked.campaign |= is_of_campaign;
        }
    }

    fn quarantine(&mut self, incoming: &Incoming, reason: &str) -> Result<Recorded, StoreError> {
        let source = pack(incoming.account, incoming.source);
        if !source_rows::may_quarantine(self.tx.db, source, self.quarantine_quota)? {
            return Ok(Recorded::QuotaExceeded);
        }
        let head = self.head(incoming.account)?;
        head.quarantined += 1;
        let id = pack(incoming.account, head.quarantined);
        quarantine::put(self.tx.db, id, source, incoming, reason)?;
        Ok(Recorded::Done { kind: ReceiptKind::Quarantined, planned: 0, booked: Booked::default() })
    }

    fn new_call(&mut self, account: AccountKey) -> Result<Loaded, StoreError> {
        let head = self.head(account)?;
        head.calls += 1;
        let number = head.calls;
        self.deliveries.call_made(pack(account, number));
        Ok(Loaded {
            number,
            book: None,
            prepared: None,
            last_event: 0,
            is_new: true,
            counted: Some(0),
            differs: false,
            dirty: true,
        })
    }
}
