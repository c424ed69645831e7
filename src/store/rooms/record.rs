//! Recording: what came through the doors becomes events, calls and owed deliveries, in the caller's transaction.
//! Loads each call once per group, folds its events in order, writes each row once. The rules are the ledger's;
//! this file only fetches what they need and writes what they say.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use crate::store::sql::{Connection, params};

use super::ahead::{Ahead, Known};
use super::call_index::{self, CallIndex, call_hash};
use super::codec::outcome_code;
use super::config::{self, Directory};
use super::credit;
use super::fanned::Bodies;
use super::head::Head;
use super::keys::{pack, unpack};
use super::loaded::Loaded;
use super::mentioned::{Mentions, Remembered};
use super::owning::Taken;
use super::placing::{Books, Placed, named};
use super::retention;
use super::rows::{ADD_TO_SUM, INSERT_CALL, INSERT_EVENT, INSERT_OPEN, UPDATE_CALL};
use super::tallies::{Changes, Table};
use super::tombstones::{Digest, Of, Tombstones};
use crate::dialect::ReceiptKind;
use crate::ledger::hold::Beside;
use crate::ledger::{self, Change, Contribution, Received};
use crate::model::event::CORRECTED;
use crate::model::id::{self, Kind};
use crate::model::{AccountKey, Call, Event, EventBody, EventType, Text, Time};
use crate::store::packed::pack_bytes;
use crate::store::told::{Snapshot, Told, ToldCall};
use crate::store::vault::Vault;
use crate::store::{
    AccountConfig, Booked, Committed, EndpointRef, Incoming, Owned, Queues, Recorded, StoreError, Sum, What,
};

/// What is remembered of earlier transactions.
#[derive(Clone, Copy)]
pub struct Memory<'a> {
    /// Where calls are found.
    pub call_index: &'a CallIndex,
    /// The campaigns and agents that have records.
    pub remembered: &'a Remembered,
    /// What was removed and may be repeated.
    pub tombstones: &'a Tombstones,
    /// Opens what is sealed.
    pub vault: &'a Vault,
    /// The tenure under which deliveries are owned.
    pub tenure: i64,
}

/// One transaction's worth of changes, and what to tell once it is committed.
pub struct Recording<'a> {
    pub(in crate::store) db: &'a Connection,
    pub(super) queues: &'a dyn Queues,
    pub(super) now: Time,
    pub(super) committed: Committed,
    pub(super) directory: &'a Directory,
    pub(super) known: Memory<'a>,
    quota: i64,
    configs: HashMap<AccountKey, Arc<AccountConfig>>,
    /// As they were found, and as they are now.
    heads: HashMap<AccountKey, (Head, Head)>,
    calls: HashMap<(i64, Text), Loaded>,
    /// What was fetched before.
    pub(super) ahead: Ahead,
    /// Deliveries that become this process's own at the end.
    pub(super) taken: Vec<Taken>,
    /// Changes to where calls are found.
    pub(super) found: call_index::Changes,
    /// Changes to sums.
    sums: HashMap<EndpointRef, Sum>,
    /// Changes to the numbers of accounts.
    pub(super) tallies: Changes,
    mentions: Mentions,
    woken: HashSet<EndpointRef>,
    pub(super) books: Books,
    /// What calls used up of call minutes, in milliseconds.
    used: HashMap<AccountKey, i64>,
    /// What is removed, and what was received of it.
    pub(super) buried: BTreeMap<AccountKey, Vec<(Digest, Received)>>,
    /// The round trips of the connection before this began.
    began_at: u64,
}

impl<'a> Recording<'a> {
    /// Begins on an open transaction.
    pub fn new(
        db: &'a Connection,
        directory: &'a Directory,
        known: Memory<'a>,
        queues: &'a dyn Queues,
        quota: i64,
        now: Time,
    ) -> Self {
        Self {
            db,
            queues,
            now,
            directory,
            known,
            quota,
            committed: Committed::default(),
            configs: HashMap::new(),
            heads: HashMap::new(),
            calls: HashMap::new(),
            ahead: Ahead::default(),
            taken: Vec::new(),
            found: call_index::Changes::default(),
            sums: HashMap::new(),
            tallies: Changes::default(),
            mentions: Mentions::default(),
            woken: HashSet::new(),
            books: Books::default(),
            used: HashMap::new(),
            buried: BTreeMap::new(),
            began_at: db.round_trips(),
        }
    }

    /// Records one body.
    pub fn record(&mut self, incoming: &Incoming) -> Result<Recorded, StoreError> {
        let account = incoming.account;
        // Before anything else: without an account nothing of this can be kept, and its neighbours shall not suffer.
        self.config(account)?;
        match &incoming.what {
            What::Heard(all) => {
                let (mut kind, mut planned, mut booked) = (ReceiptKind::Duplicate, 0, Booked::default());
                for heard in all {
                    let events = match heard {
                        Told::Call(told) => self.hear_call(incoming, told, Said::ByTheSource, &mut booked)?,
                        Told::Batch(heard) => self.hear_batch(incoming, heard)?,
                    };
                    if let Some(deliveries) = events {
                        kind = ReceiptKind::Recorded;
                        planned += deliveries;
                    }
                }
                Ok(Recorded::Done { kind, planned, booked })
            }
            What::Test(heard) => {
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
                let about = About { source: Some(incoming.source), test: true, ..About::default() };
                self.append(account, heard.step.event_type(), at, about, body, None)?;
                Ok(Recorded::Done { kind: ReceiptKind::Recorded, planned: 0, booked: Booked::default() })
            }
            What::Unreadable(reason) => self.quarantine(incoming, reason),
        }
    }

    /// Records a step that no body says: what a source left out for too long.
    pub(super) fn give_up(&mut self, incoming: &Incoming, told: &Arc<ToldCall>) -> Result<(), StoreError> {
        self.config(incoming.account)?;
        self.hear_call(incoming, told, Said::ByUs, &mut Booked::default()).map(drop)
    }

    /// Folds a call's step into the books. Gives the deliveries planned, or `None` for a duplicate.
    fn hear_call(
        &mut self,
        incoming: &Incoming,
        told: &Arc<ToldCall>,
        said: Said,
        booked: &mut Booked,
    ) -> Result<Option<usize>, StoreError> {
        let mut told = Arc::clone(told);
        let key = (pack(incoming.account, incoming.source), told.call_id().clone());
        let found = match self.calls.remove(&key) {
            Some(loaded) => Some(loaded),
            None => self.find_call(&key)?,
        };
        let is_news = found.as_ref().is_none_or(|loaded| !loaded.received().has_step(told.step));
        // A call that was removed may be there once more, by a step that was not received before: the others stay repeats.
        if is_news
            && said == Said::ByTheSource
            && self.received_before(key.0, Of::Call(&key.1))?.has_step(told.step)
        {
            if let Some(loaded) = found {
                self.calls.insert(key, loaded);
            }
            return Ok(None);
        }
        let mut loaded = match found {
            Some(loaded) => loaded,
            None => self.new_call(incoming.account)?,
        };
        let config = self.config(incoming.account)?;
        let own = &config.account;
        let known = loaded.book.as_ref().map(|book| &*book.call);
        let mut names = named(&told.book.call, own);
        if let Some(all) = names
            && let Some(claiming) = self.with_claims(incoming, &told, all)?
        {
            told = claiming;
            names = named(&told.book.call, own);
        }
        let names = names.or_else(|| known.and_then(|call| named(call, own)));
        let placed = match names {
            None => None,
            Some(names) => {
                let is_first = loaded.is_first();
                let placed = self.place(incoming, loaded.number, &told.book.call, known, names, is_first)?;
                if let Some(placed) = &placed {
                    told = self.fill(placed, &told, known)?;
                }
                placed
            }
        };
        let used_before = known.map_or(0, ledger::credit::used);
        let told = &told;
        let before = loaded.contribution();
        let (event, ready) = match loaded.book.take() {
            None => {
                let ready = told.snapshot.as_ref().map_err(Clone::clone)?;
                loaded.book = Some(told.book.clone());
                loaded.told = Some(Arc::clone(told));
                (Some((told.first_event(), Vec::new())), Some(ready))
            }
            Some(book) => {
                let marks_before = book.marks.clone();
                let (book, change) = ledger::hear(Some(book), told.heard());
                loaded.dirty |= book.marks != marks_before;
                loaded.book = Some(book);
                loaded.told = None;
                let event = match change {
                    Change::Step(kind) => Some((kind, Vec::new())),
                    Change::Corrected(kind) => Some((kind, vec![CORRECTED.to_owned()])),
                    Change::Updated(changed) => Some((EventType::CallUpdated, changed)),
                    Change::Renewed => {
                        loaded.differs = true;
                        None
                    }
                    Change::Nothing => None,
                };
                (event, None)
            }
        };
        loaded.dirty |= loaded.differs || event.is_some();
        let call = loaded.book.as_ref().map(|book| Arc::clone(&book.call)).unwrap_or_default();
        let at = told.at.unwrap_or(incoming.received_at);
        if config.account.is_metered {
            *self.used.entry(incoming.account).or_default() += ledger::credit::used(&call) - used_before;
        }
        let of_source = config.source(incoming.source).and_then(|source| source.lost_after);
        let is_new = loaded.is_first() || placed.as_ref().is_some_and(Placed::is_new);
        if is_new && call.outcome.is_none() && (placed.is_some() || of_source.is_some()) {
            self.watch(incoming.account, loaded.number, placed.as_ref(), of_source)?;
        }
        self.book(incoming, &mut loaded, before, booked);
        let number = loaded.number;
        let Some((kind, changed)) = event else {
            self.calls.insert(key, loaded);
            if let Some(placed) = placed {
                self.count(incoming.account, number, &placed, &call, at)?;
            }
            return Ok(None);
        };
        let about = About {
            source: Some(incoming.source),
            call: Some(loaded.number),
            previous: (!loaded.is_first()).then_some(loaded.last_event),
            test: false,
        };
        let body = EventBody::Call { call: Arc::clone(&call), changed };
        let (position, planned) = self.append(incoming.account, kind, at, about, body, ready)?;
        loaded.last_event = position;
        loaded.differs = false;
        self.calls.insert(key, loaded);
        // Behind the call's own event: whoever hears that a batch is complete has heard of all its calls.
        if let Some(placed) = placed {
            self.count(incoming.account, number, &placed, &call, at)?;
        }
        Ok(Some(planned))
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
        self.mentions.note(self.known.remembered, incoming.account, &book.call);
        let after = loaded.contribution();
        let is_of_campaign = [&before, &after].into_iter().flatten().any(|of| of.place.campaign.is_some());
        if self.tallies.book(incoming.account, before, after) {
            booked.analytics = true;
            booked.campaign |= is_of_campaign;
        }
    }

    fn quarantine(&mut self, incoming: &Incoming, reason: &str) -> Result<Recorded, StoreError> {
        let source = pack(incoming.account, incoming.source);
        let taken = self
            .db
            .prepare_cached(
                "UPDATE sources SET in_quarantine = in_quarantine + 1
                 WHERE id = ? /*! AND account = @1 */ AND in_quarantine < ?",
            )?
            .execute([source, self.quota])?;
        if taken == 0 {
            return Ok(Recorded::QuotaExceeded);
        }
        let head = self.head(incoming.account)?;
        head.quarantined += 1;
        let id = pack(incoming.account, head.quarantined);
        self.db
            .prepare_cached(
                "INSERT INTO quarantine (id, source, received_at, reason, content_type, body /*!, account */)
                 VALUES (?, ?, ?, ?, ?, ? /*!, @1 */)",
            )?
            .execute(params![
                id,
                source,
                incoming.received_at.as_micros(),
                reason,
                incoming.content_type,
                pack_bytes(&incoming.raw)?
            ])?;
        Ok(Recorded::Done { kind: ReceiptKind::Quarantined, planned: 0, booked: Booked::default() })
    }

    /// Writes an event at the head of the feed and plans what it owes. Gives its position and the number of
    /// deliveries.
    pub(super) fn append(
        &mut self,
        account: AccountKey,
        kind: EventType,
        at: Time,
        about: About,
        body: EventBody,
        ready: Option<&Snapshot>,
    ) -> Result<(i64, usize), StoreError> {
        let config = self.config(account)?;
        let (db, now) = (self.db, self.now);
        let head = self.head(account)?;
        head.position += 1;
        let position = head.position;
        if now.as_micros() >= head.slot_ends {
            head.slot_ends = {
                let kept = config.account.shortest_retention();
                retention::begin_slot(db, account, kept, position, now)?
            };
        }
        let first_delivery = head.deliveries + 1;
        let tag = config.account.tag;
        let event = Arc::new(Event {
            position,
            id: id::format(Kind::Event, tag, position),
            kind,
            at,
            test: about.test,
            source_id: about.source.map(|number| id::format(Kind::Source, tag, number)),
            body,
        });

        let made;
        let snapshot = match ready {
            Some(ready) => ready,
            None => {
                made = Snapshot::of(&event.body)?;
                &made
            }
        };
        let mut planned = 0;
        let mut bodies = Bodies::default();
        let (beside, mut completed) = (ledger::hold::beside(&event), Vec::new());
        for endpoint in &config.endpoints {
            if let (Some(wait), Some(call)) = (&endpoint.delivering.wait, about.call)
                && beside != Beside::Nothing
                && let Some(held) = self.held(EndpointRef { account, number: endpoint.number }, call)?
            {
                completed.push((held, endpoint.number, wait));
                if beside == Beside::Part {
                    continue;
                }
            }
            if ledger::hears(endpoint, &event) {
                let delivery = first_delivery + planned;
                self.plan(endpoint, &event, snapshot.size, delivery, &about, &mut bodies)?;
                planned += 1;
            }
        }
        self.head(account)?.deliveries += planned;
        self.db.bulk(
            &INSERT_EVENT,
            params![
                pack(account, position),
                kind.code(),
                at.as_micros(),
                about.source,
                about.call,
                about.previous,
                about.test,
                first_delivery,
                planned,
                snapshot.packed
            ],
        )?;
        for (held, number, wait) in completed {
            if matches!(&event.body, EventBody::Call { call, .. } if !ledger::hold::misses(wait, call)) {
                self.let_go(held, EndpointRef { account, number }, position)?;
            }
        }
        Ok((position, usize::try_from(planned).unwrap_or(0)))
    }

    fn plan(
        &mut self,
        endpoint: &Arc<crate::model::Endpoint>,
        event: &Arc<Event>,
        bytes: usize,
        delivery: i64,
        about: &About,
        bodies: &mut Bodies,
    ) -> Result<(), StoreError> {
        let account = endpoint.account;
        let target = EndpointRef { account, number: endpoint.number };
        let ordered_call = about.call.filter(|_| endpoint.ordered);
        // A call's first event cannot stand behind another one.
        let waits = match ordered_call {
            Some(call) if about.previous.is_some() => self.has_open(target, call)?,
            _ => false,
        };
        let hold = about.call.zip(ledger::hold::holds(endpoint, event));
        let place = if waits || hold.is_some() {
            None
        } else {
            bodies.place(|bytes| self.queues.reserve(target, bytes), bytes)
        };
        let (state, due) = match (&place, waits, hold) {
            (_, _, Some((_, wait))) => (HELD, self.now.after(wait.up_to)),
            (_, true, None) => (WAITING, self.now),
            (Some(_), false, None) => (OWNED, self.now),
            (None, false, None) => (CLAIMABLE, self.now),
        };
        let id = pack(account, delivery);
        let line = ordered_call.map(|call| pack(account, call));
        self.db.bulk(
            &INSERT_OPEN,
            params![
                id,
                pack(account, endpoint.number),
                event.position,
                line,
                endpoint.revision,
                state,
                due.as_micros(),
                self.known.tenure
            ],
        )?;
        if let Some(call) = line {
            self.ahead.line_up(call, pack(account, endpoint.number), id, state);
        }
        if let Some((call, _)) = hold {
            self.hold(pack(account, delivery), target, call, due.as_micros())?;
        }
        let sum = self.sum(target);
        sum.owed += 1;
        sum.pending += 1;
        match place {
            Some(place) => self.committed.owned.push(Owned {
                endpoint: target,
                delivery,
                ordered_call,
                attempt: 1,
                event: Arc::clone(event),
                dialect: endpoint.dialect,
                shape: endpoint.shape.clone(),
                revision: endpoint.revision,
                call: about.call,
                body: bodies.of(endpoint.dialect, &endpoint.shape),
                place,
            }),
            None if state == CLAIMABLE => self.wake(target),
            None => {}
        }
        Ok(())
    }

    fn has_open(&self, endpoint: EndpointRef, call: i64) -> Result<bool, StoreError> {
        let key = (pack(endpoint.account, call), pack(endpoint.account, endpoint.number));
        if let Known::Is(first) = self.ahead.first_in_line(key.0, key.1) {
            return Ok(first.is_some());
        }
        let mut statement = self.db.prepare_cached(
            "SELECT 1 FROM open WHERE call = ? AND endpoint = ? /*! AND account = @2 */ LIMIT 1",
        )?;
        Ok(statement.exists([key.0, key.1])?)
    }

    pub(super) fn wake(&mut self, endpoint: EndpointRef) {
        self.woken.insert(endpoint);
    }

    pub(super) fn sum(&mut self, endpoint: EndpointRef) -> &mut Sum {
        self.sums.entry(endpoint).or_default()
    }

    pub(super) fn config(&mut self, account: AccountKey) -> Result<Arc<AccountConfig>, StoreError> {
        if let Some(config) = self.configs.get(&account) {
            return Ok(Arc::clone(config));
        }
        self.enter(account)?;
        let config = self
            .directory
            .get(account)
            .ok_or_else(|| StoreError::Data(format!("account {} does not exist", account.0)))?;
        self.configs.insert(account, Arc::clone(&config));
        Ok(config)
    }

    /// The number of one more delivery.
    pub(super) fn next_delivery(&mut self, account: AccountKey) -> Result<i64, StoreError> {
        let head = self.head(account)?;
        head.deliveries += 1;
        Ok(head.deliveries)
    }

    /// The account's line is taken. The configuration is read anew when another node changed it.
    pub(super) fn head_taken(
        &mut self,
        account: AccountKey,
        head: Head,
        revision: i64,
    ) -> Result<(), StoreError> {
        self.heads.insert(account, (head, head));
        self.known.tombstones.note(account, head.has_tombstones);
        if self.directory.get(account).is_none_or(|known| known.revision != revision) {
            self.directory.put(config::load(self.db, self.known.vault, account)?);
        }
        Ok(())
    }

    /// How often it has waited for a database that is far away.
    pub(super) fn round_trips(&self) -> u64 {
        self.db.round_trips() - self.began_at
    }

    /// Takes the account's line, before anything of its books is looked at: on a store of many nodes whatever was read
    /// earlier may be different by now.
    pub(super) fn enter(&mut self, account: AccountKey) -> Result<(), StoreError> {
        self.head(account).map(drop)
    }

    pub(super) fn head(&mut self, account: AccountKey) -> Result<&mut Head, StoreError> {
        if !self.heads.contains_key(&account) {
            let (head, revision) = Head::take(self.db, account)?;
            self.head_taken(account, head, revision)?;
        }
        Ok(&mut self.heads.get_mut(&account).expect("inserted above").1)
    }

    fn find_call(&mut self, key: &(i64, Text)) -> Result<Option<Loaded>, StoreError> {
        let db = self.db;
        let look = |call| Loaded::known(db, call, key);
        match self.ahead.take_call(key) {
            Known::Is(known) => Ok(known),
            Known::Unknown => self.known.call_index.find(db, call_hash(key.0, &key.1), key.0, look),
        }
    }

    fn new_call(&mut self, account: AccountKey) -> Result<Loaded, StoreError> {
        let head = self.head(account)?;
        head.calls += 1;
        let number = head.calls;
        self.ahead.call_made(pack(account, number));
        Ok(Loaded {
            number,
            book: None,
            told: None,
            last_event: 0,
            is_new: true,
            counted: Some(0),
            differs: false,
            dirty: true,
        })
    }

    /// Writes what was gathered: calls, sums, heads. The caller commits, and then the index takes in its changes.
    pub fn finish(mut self) -> Result<(Committed, call_index::Changes), StoreError> {
        self.load_taken()?;
        self.committed.wake = self.woken.drain().collect();
        self.write_batches()?;
        self.write_tombstones()?;
        let now = self.now.as_micros();
        for ((source, call_id), loaded) in &self.calls {
            let Some(book) = loaded.book.as_ref().filter(|_| loaded.dirty) else { continue };
            let id = pack(unpack(*source).0, loaded.number);
            let made;
            let marks = match &loaded.told {
                Some(told) => &told.marks,
                None => {
                    made = serde_json::to_vec(&book.marks).map_err(|e| StoreError::Data(e.to_string()))?;
                    &made
                }
            };
            let record = match loaded.differs {
                true => Some(pack_bytes(
                    &serde_json::to_vec(&*book.call).map_err(|e| StoreError::Data(e.to_string()))?,
                )?),
                false => None,
            };
            let outcome = book.call.outcome.map(outcome_code);
            if loaded.is_new {
                let hash = call_hash(*source, call_id);
                self.found.add(hash, id);
                self.db.bulk(
                    &INSERT_CALL,
                    params![
                        id,
                        hash,
                        source,
                        call_id.as_bytes(),
                        outcome,
                        loaded.last_event,
                        marks,
                        record,
                        now,
                        loaded.counted
                    ],
                )?;
            } else {
                let changed = params![outcome, loaded.last_event, marks, record, now, loaded.counted, id];
                self.db.bulk(&UPDATE_CALL, changed)?;
            }
        }
        for (endpoint, sum) in &self.sums {
            let endpoint = pack(endpoint.account, endpoint.number);
            self.db.bulk(
                &ADD_TO_SUM,
                [sum.owed, sum.delivered, sum.pending, sum.dead, sum.cancelled, endpoint],
            )?;
        }
        self.tallies.write(self.db, Table::Standing)?;
        self.mentions.write(self.db, self.known.remembered, self.now)?;
        for (account, (began, head)) in self.heads.iter().filter(|(_, (began, head))| began != head) {
            head.put(self.db, *account)?;
            if head.position > began.position {
                self.committed.feeds.push((*account, head.position));
            }
        }
        for (&account, &millis) in self.used.iter().filter(|(_, millis)| **millis != 0) {
            credit::use_up(self.db, account, millis)?;
        }
        self.known.call_index.settle(self.db, &mut self.found)?;
        Ok((self.committed, self.found))
    }
}

/// Who says a step of a call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Said {
    /// A body, which may come once more.
    ByTheSource,
    /// We do, of a call that is there.
    ByUs,
}

/// What an event stands beside.
#[derive(Clone, Copy, Debug, Default)]
pub struct About {
    /// The source that told.
    pub source: Option<i64>,
    /// The call.
    pub call: Option<i64>,
    /// The call's event before this one.
    pub previous: Option<i64>,
    /// An inbound test.
    pub test: bool,
}

/// `open.state`: may be claimed when due.
pub const CLAIMABLE: i64 = 0;
/// `open.state`: an earlier delivery of the same call to the same endpoint goes first.
pub const WAITING: i64 = 1;
/// `open.state`: in this process's memory.
pub const OWNED: i64 = 2;

/// `open.state`: a replay; claimed when nothing else is due.
pub const BEHIND: i64 = 3;
/// `open.state`: waits for what its endpoint wants with it.
pub const HELD: i64 = 4;
