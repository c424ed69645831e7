//! What the model knows of one account: what was told and when, what is owed to whom and who has it, who was told to look for
//! it, and what must not be said any more. It learns from what the store shows, and fails where that breaks a promise.
//! Knows no rows, no indexes, and no states but those that everybody is shown.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use postcall::ledger::{Decision, Next, hears, hold};
use postcall::model::endpoint::EndpointState;
use postcall::model::id::{self, Kind};
use postcall::model::{AccountKey, DeliveryState, Endpoint, Event, EventBody, EventType, Time};
use postcall::store::{AccountConfig, CallView, DeliveryView, EndpointRef, Owned, Sum};

use super::actions::PHONES;

/// Ages are known to the second, and looked at once in a second.
pub const A_LITTLE: Duration = Duration::from_secs(2);
/// Where nothing has an age, nobody needs to know better when it was recorded.
const HOUR: Duration = Duration::from_secs(3600);

/// Something personal that was said: of a call's transcript, of the name of a person in a body, or in a batch. Each is unique,
/// and tells by its number in which account it was said.
pub fn words_of(json: &str) -> BTreeSet<String> {
    let all = json.split(|c: char| !c.is_ascii_alphanumeric());
    let is_one = |word: &&str| {
        ["spoken", "named", "guest"].iter().any(|kind| word.starts_with(kind))
            && word.contains(char::is_numeric)
    };
    all.filter(is_one).map(str::to_owned).collect()
}

fn account_of(word: &str) -> usize {
    let number = word.trim_start_matches(char::is_alphabetic).split('n').next();
    number.and_then(|number| number.parse().ok()).expect("a word of ours")
}

fn phones_of(json: &str) -> BTreeSet<usize> {
    (0..PHONES.len()).filter(|&at| json.contains(PHONES[at].trim_start_matches('+'))).collect()
}

/// A delivery.
#[derive(Clone, Debug)]
pub struct Known {
    pub endpoint: i64,
    pub event: i64,
    /// The call whose order it keeps.
    pub line: Option<i64>,
    pub replay: Option<i64>,
    pub state: DeliveryState,
    pub is_owned: bool,
    /// A receiver asked for this pause.
    not_before: Option<Time>,
    /// It waits for more to be known of its call, until then.
    held: Option<Time>,
    /// Whether it was looked at when that time came: nothing shows whether it waits any longer.
    may_be_let_go: bool,
    attempts: u32,
    /// What its first attempt sent.
    sent: Option<Bytes>,
    /// Removed by its age.
    pub is_gone: bool,
}

impl Known {
    pub fn is_open(&self) -> bool {
        self.state == DeliveryState::Pending
    }
}

/// An event.
#[derive(Clone, Debug)]
pub struct Told {
    kind: EventType,
    call: Option<i64>,
    /// The batch that it is the end of.
    pub ends: Option<i64>,
    recorded_at: Time,
    /// The same without a clock.
    recorded_after: Duration,
    /// What the store may take it for: as long as everything is kept for ever, it need not know so well.
    seems: Option<Time>,
    said: BTreeSet<String>,
    says: BTreeSet<String>,
    /// Who was named, and who still is.
    named: BTreeSet<usize>,
    phones: BTreeSet<usize>,
    may_go: bool,
    may_be_silenced: bool,
    is_gone: bool,
}

/// Somebody who is to be erased, with what was known of him when that was asked for.
#[derive(Clone, Debug)]
pub struct Asked {
    pub number: i64,
    phone: usize,
    calls: BTreeSet<i64>,
    events: BTreeSet<usize>,
    guests: BTreeSet<String>,
    pub is_done: bool,
}

/// One look at an account.
pub struct Seen {
    pub config: Arc<AccountConfig>,
    pub feed: Vec<Event>,
    pub calls: Vec<CallView>,
    /// All deliveries, or those alone that are pending.
    pub views: Vec<DeliveryView>,
    pub are_all: bool,
    /// Those that are not there, and were pending before or are new, one by one.
    pub others: BTreeMap<i64, Option<DeliveryView>>,
    /// What was given to this process since the last look.
    pub given: BTreeSet<i64>,
    /// Whether there was maintenance since then.
    pub was_maintained: bool,
    pub recorded_at: Time,
    pub now: Time,
    /// The time that went by since the beginning.
    pub elapsed: Duration,
}

/// One account.
pub struct Books {
    pub key: AccountKey,
    pub source: i64,
    /// The accounts whose words may be said here.
    marks: BTreeSet<usize>,
    /// Every endpoint that ever was, and whether it is there.
    pub endpoints: BTreeMap<i64, (Arc<Endpoint>, bool)>,
    pub deliveries: BTreeMap<i64, Known>,
    pub events: Vec<Told>,
    records: BTreeSet<String>,
    /// Who was ever named in a call.
    people: BTreeMap<i64, BTreeSet<usize>>,
    pub retention: Option<Duration>,
    pub transcripts: Option<Duration>,
    /// Whether kept bodies may have been dropped.
    may_forget_bodies: bool,
    /// Whether batches may be gone, or the first of their contacts: retention that is off again leaves the others.
    pub may_forget_batches: bool,
    /// Endpoints that were said to have something, and those that will have.
    pub woken: BTreeSet<i64>,
    alarms: BTreeMap<i64, Time>,
    /// What was planned and called off between two looks, by endpoint.
    unseen: BTreeMap<i64, i64>,
    /// What this process has in memory.
    pub owned: Vec<Owned>,
    pub erasures: Vec<Asked>,
    erased: BTreeSet<i64>,
    /// What is not to be said any more, with the call that it was said of.
    gone: BTreeMap<String, Option<i64>>,
    pub batches: Vec<i64>,
    latest: Time,
    /// The end of an hour in which nobody knows better when something was recorded.
    uncertain: Option<Time>,
}

impl Books {
    pub fn new(key: AccountKey, source: i64, mark: usize, now: Time) -> Self {
        Self {
            key,
            source,
            marks: BTreeSet::from([mark]),
            endpoints: BTreeMap::new(),
            deliveries: BTreeMap::new(),
            events: Vec::new(),
            records: BTreeSet::new(),
            people: BTreeMap::new(),
            retention: None,
            transcripts: None,
            may_forget_bodies: false,
            may_forget_batches: false,
            woken: BTreeSet::new(),
            alarms: BTreeMap::new(),
            unseen: BTreeMap::new(),
            owned: Vec::new(),
            erasures: Vec::new(),
            erased: BTreeSet::new(),
            gone: BTreeMap::new(),
            batches: Vec::new(),
            latest: now,
            uncertain: None,
        }
    }

    /// The same in another account that this one was brought into: what is past is not brought, and nobody has anything.
    pub fn brought(
        &self,
        key: AccountKey,
        mark: usize,
        config: &AccountConfig,
        now: Time,
        elapsed: Duration,
    ) -> Self {
        let mut brought = Self {
            marks: self.marks.iter().copied().chain([mark]).collect(),
            source: self.source,
            deliveries: self
                .deliveries
                .iter()
                .map(|(&number, known)| (number, Known { is_owned: false, ..known.clone() }))
                .collect(),
            events: self.events.clone(),
            retention: config.account.retention,
            transcripts: config.account.transcript_retention,
            may_forget_bodies: self.may_forget_bodies,
            may_forget_batches: self.may_forget_batches,
            people: self.people.clone(),
            erased: self.erased.clone(),
            gone: self.gone.clone(),
            batches: self.batches.clone(),
            endpoints: self.endpoints.clone(),
            unseen: self.unseen.clone(),
            ..Self::new(key, self.source, mark, now)
        };
        for told in &mut brought.events {
            (told.recorded_at, told.recorded_after, told.seems) = (now, elapsed, Some(now));
            (told.may_go, told.may_be_silenced) = (told.is_gone, told.says != told.said);
        }
        brought.refresh(config);
        brought
    }

    pub fn target(&self, number: i64) -> EndpointRef {
        EndpointRef { account: self.key, number }
    }

    /// Those that are there and that no batch brought along.
    pub fn present(&self) -> Vec<i64> {
        let present =
            self.endpoints.iter().filter(|(_, (endpoint, is_there))| *is_there && !endpoint.of_batch);
        present.map(|(&number, _)| number).collect()
    }

    pub fn wake(&mut self, endpoint: i64) {
        self.woken.insert(endpoint);
    }

    pub fn wake_all(&mut self) {
        self.woken.extend(self.endpoints.keys());
    }

    pub fn wake_at(&mut self, endpoint: i64, due: Time) {
        let alarm = self.alarms.entry(endpoint).or_insert(due);
        *alarm = due.min(*alarm);
    }

    /// The endpoints that somebody would look for something for now.
    pub fn to_look_at(&self, now: Time) -> Vec<i64> {
        let rings = self.alarms.iter().filter(|(_, at)| **at <= now).map(|(&endpoint, _)| endpoint);
        let all: BTreeSet<i64> = self.woken.iter().copied().chain(rings).collect();
        all.into_iter().filter(|&endpoint| self.is_active(endpoint)).collect()
    }

    fn is_active(&self, endpoint: i64) -> bool {
        let known = self.endpoints.get(&endpoint);
        known.is_some_and(|(known, is_there)| *is_there && known.state == EndpointState::Active)
    }

    /// Somebody looked, and took all that there was.
    pub fn looked(&mut self, endpoint: i64, next: Option<Time>, now: Time) {
        self.woken.remove(&endpoint);
        let later = self.alarms.remove(&endpoint).filter(|&at| at > now);
        if let Some(at) = [later, next].into_iter().flatten().min() {
            self.alarms.insert(endpoint, at);
        }
    }

    /// Maintenance may remove what is old by now: by the clock, or by the time that went by while it was set back.
    pub fn may_pass(&mut self, now: Time, elapsed: Duration) {
        let (retention, transcripts) = (self.retention, self.transcripts);
        for told in &mut self.events {
            let age = now.since(told.recorded_at).max(elapsed.saturating_sub(told.recorded_after));
            told.may_go |= retention.is_some_and(|kept| age >= kept);
            told.may_be_silenced |= transcripts.is_some_and(|kept| age >= kept);
        }
    }

    pub fn keep(&mut self, retention: Option<Duration>, now: Time) {
        self.retention = retention;
        self.may_forget_batches |= retention.is_some();
        self.begin_slot(now);
    }

    pub fn keep_transcripts(&mut self, kept: Option<Duration>, now: Time) {
        self.transcripts = kept;
        self.may_forget_bodies |= kept.is_some();
        self.begin_slot(now);
    }

    /// What was recorded before there were ages is taken for recorded now. Behind a clock that was set back the hour that it was
    /// recorded in has to end, also for what comes meanwhile.
    fn begin_slot(&mut self, now: Time) {
        self.uncertain = (now < self.latest).then(|| self.latest.after(HOUR));
        let at = self.uncertain.unwrap_or(now);
        for told in &mut self.events {
            told.seems.get_or_insert(at);
        }
    }

    /// A person is to be erased. `guests` are what batches call him.
    pub fn erase(&mut self, number: i64, phone: usize, guests: BTreeSet<String>) {
        let about = |told: &&Told| !told.is_gone && told.phones.contains(&phone);
        let calls = self.events.iter().filter(about).filter_map(|told| told.call).collect();
        let alone = |at: &usize| about(&&self.events[*at]) && self.events[*at].call.is_none();
        let events = (0..self.events.len()).filter(alone).collect();
        self.may_forget_bodies = true;
        self.erasures.push(Asked { number, phone, calls, events, guests, is_done: false });
    }

    /// The person is gone, and nothing that was said of him is said any more. A call of which he was named only in what went by
    /// its age meanwhile is not about him.
    pub fn erased(&mut self, at: usize) {
        self.erasures[at].is_done = true;
        let Asked { phone, calls, events, guests, .. } = self.erasures[at].clone();
        let names = |told: &&Told| !told.is_gone && told.named.contains(&phone);
        let found: BTreeSet<i64> = self.events.iter().filter(names).filter_map(|told| told.call).collect();
        let calls: BTreeSet<i64> = calls.intersection(&found).copied().collect();
        self.gone.extend(guests.into_iter().map(|word| (word, None)));
        for (at, told) in self.events.iter().enumerate() {
            let is_meant = told.call.map_or(events.contains(&at), |call| calls.contains(&call));
            if is_meant {
                self.gone.extend(told.said.iter().map(|word| (word.clone(), told.call)));
                assert!(told.is_gone || told.phones.is_empty(), "event {} names who is erased", at + 1);
            }
        }
        self.erased.extend(calls);
    }

    /// Something is given to this process to be attempted.
    pub fn take(&mut self, owned: Owned, now: Time, beside_maintenance: bool) {
        let number = owned.delivery;
        let known = self.deliveries.get(&number).unwrap_or_else(|| panic!("{number} is not owed")).clone();
        assert!(!known.is_owned, "{number} was given twice");
        if !beside_maintenance || known.is_open() {
            assert_eq!(known.state, DeliveryState::Pending, "{number} is over");
        }
        let is_early = known.not_before.max(known.held).is_some_and(|at| at > now);
        assert!(!is_early, "{number} came before its time");
        assert_eq!(owned.attempt, known.attempts + 1, "{number}");
        assert_eq!((owned.endpoint.number, owned.ordered_call), (known.endpoint, known.line), "{number}");
        let body = owned.body.get();
        assert!(
            body == known.sent || (body.is_none() && self.may_forget_bodies),
            "{number}: the bytes of the first attempt"
        );
        let is_kept = if body.is_some() { "its kept body" } else { "its event" };
        let said = body.unwrap_or_else(|| Bytes::from(owned.event.data_json()));
        let what = format!("what delivery {number} sends ({is_kept}, {})", owned.event.position);
        self.may_say(&String::from_utf8_lossy(&said), &what);
        if let Some(line) = known.line {
            let before = self.deliveries.range(..number).filter(|(_, other)| {
                other.endpoint == known.endpoint && other.line == Some(line) && other.is_open()
            });
            assert_eq!(before.count(), 0, "{number} passed an earlier one of its call");
        }
        let known = self.deliveries.get_mut(&number).expect("found above");
        (known.is_owned, known.held) = (true, None);
        self.owned.push(owned);
    }

    /// An attempt came to this.
    pub fn settle(&mut self, owned: &Owned, decision: Decision, sent: &Bytes) {
        let known = self.deliveries.get_mut(&owned.delivery).expect("it was given");
        known.is_owned = false;
        if !known.is_open() {
            return;
        }
        known.attempts = owned.attempt;
        if owned.attempt == 1 && decision.next != Next::Delivered {
            known.sent = Some(sent.clone());
        }
        match decision.next {
            Next::Delivered => known.state = DeliveryState::Delivered,
            Next::Dead => known.state = DeliveryState::Dead,
            Next::RetryAt(due) => known.not_before = Some(due),
        }
    }

    /// It is not this process's any more.
    pub fn give_back(&mut self, numbers: &BTreeSet<i64>) {
        self.owned.retain(|owned| !numbers.contains(&owned.delivery));
        for number in numbers {
            self.deliveries.get_mut(number).expect("it was given").is_owned = false;
        }
    }

    /// Whether a delivery is gone by its age, as it turns out.
    pub fn goes(&mut self, number: i64) {
        let known = self.deliveries.get_mut(&number).expect("it is there");
        assert!(known.is_gone || self.events[place(known.event)].may_go, "{number} is gone before its age");
        known.is_gone = true;
    }

    /// A delivery is to be sent now, whatever it waited for.
    pub fn hurry(&mut self, number: i64) {
        let known = self.deliveries.get_mut(&number).expect("it is there");
        known.state = DeliveryState::Pending;
        if !known.is_owned {
            (known.line, known.held, known.not_before) = (None, None, None);
        }
    }

    /// The sums are these, at all times.
    pub fn check_sums(&mut self, counted: &BTreeMap<i64, Sum>, was_maintained: bool) {
        let mut known: BTreeMap<i64, Sum> = BTreeMap::new();
        for delivery in self.deliveries.values() {
            let sum = known.entry(delivery.endpoint).or_default();
            sum.owed += 1;
            *sum.of_mut(delivery.state) += 1;
        }
        if was_maintained && self.retention.is_some() {
            // A job planned something of what another one removed in the same round.
            for (endpoint, sum) in counted {
                let owed = known.get(endpoint).map_or(0, |known| known.owed);
                let unseen = self.unseen.entry(*endpoint).or_default();
                *unseen = (sum.owed - owed).max(*unseen);
            }
        }
        for (&endpoint, &unseen) in self.unseen.iter().filter(|(_, unseen)| **unseen > 0) {
            let sum = known.entry(endpoint).or_default();
            sum.owed += unseen;
            sum.cancelled += unseen;
        }
        known.iter_mut().for_each(|(&endpoint, sum)| sum.endpoint = endpoint);
        assert_eq!(*counted, known, "the sums, at all times");
    }

    /// Whether this may be said in this account.
    pub fn may_say(&self, json: &str, what: &str) {
        for word in words_of(json) {
            assert!(
                self.marks.contains(&account_of(&word)),
                "{what} says what another account's does: {word}"
            );
            assert!(!self.gone.contains_key(&word), "{what} says what is gone: {word}");
        }
    }

    fn refresh(&mut self, config: &AccountConfig) {
        self.endpoints.values_mut().for_each(|(_, is_there)| *is_there = false);
        for endpoint in &config.endpoints {
            self.endpoints.insert(endpoint.number, (Arc::clone(endpoint), true));
        }
    }

    /// What the store shows of the account now.
    pub fn learn(&mut self, seen: &Seen) {
        let before: Vec<i64> =
            self.endpoints.iter().filter(|(_, known)| known.1).map(|(&it, _)| it).collect();
        self.refresh(&seen.config);
        let news = self.learn_events(seen);
        self.learn_deliveries(seen, news, &before);
        self.records.clear();
        for view in &seen.calls {
            let json = serde_json::to_string(&view.call).unwrap();
            self.may_say(&json, "the record of a call");
            self.records.extend(words_of(&json));
        }
        self.nothing_is_stranded(seen);
    }

    /// Gives the position of the first new event.
    fn learn_events(&mut self, seen: &Seen) -> usize {
        let known = self.events.len();
        let first = seen.feed.first().map_or(known + 1, |event| place(event.position) + 1);
        for (at, told) in self.events.iter_mut().enumerate().take(first - 1) {
            assert!(told.is_gone || told.may_go, "event {} is gone before its age", at + 1);
            (told.is_gone, told.says) = (true, BTreeSet::new());
        }
        for event in &seen.feed {
            let json = event.data_json();
            let (words, phones) = (words_of(&json), phones_of(&json));
            let what = format!("event {}", event.position);
            if let Some(told) = self.events.get_mut(place(event.position)) {
                let people = told.call.and_then(|call| self.people.get(&call)).unwrap_or(&told.named);
                let may_be_erased = self.erasures.iter().any(|asked| people.contains(&asked.phone));
                for word in told.says.difference(&words) {
                    let is_transcript = word.starts_with("spoken");
                    assert!(
                        may_be_erased || (is_transcript && told.may_be_silenced),
                        "{what} said {word}, and it is not old"
                    );
                }
                assert!(words.is_subset(&told.said), "{what} says more than it did");
                (told.says, told.phones) = (words, phones);
                self.may_say(&json, &what);
                continue;
            }
            assert_eq!(place(event.position), self.events.len(), "the feed has a gap");
            let call = event.call_id().and_then(|id| seen.calls.iter().find(|view| view.call.call_id == *id));
            let call = call.map(|view| view.number);
            if call.is_some_and(|call| self.erased.contains(&call)) {
                assert!(words.is_empty() && phones.is_empty(), "{what} says who is erased: {json}");
            }
            for word in &words {
                // A call that is there once more after its removal says it anew.
                let is_anew =
                    self.gone.get(word).is_some_and(|of| of.is_some() && call.is_some() && *of != call);
                if is_anew {
                    self.gone.remove(word);
                }
            }
            self.may_say(&json, &what);
            let ends = match &event.body {
                EventBody::Batch(batch) => {
                    id::parse(Kind::Batch, &batch.batch_id.to_str()).map(|(_, number)| number)
                }
                _ => None,
            };
            if let Some(call) = call {
                self.people.entry(call).or_default().extend(&phones);
            }
            self.latest = self.latest.max(seen.recorded_at);
            let has_slots = self.retention.is_some() || self.transcripts.is_some();
            self.events.push(Told {
                kind: event.kind,
                call,
                ends,
                recorded_at: seen.recorded_at,
                recorded_after: seen.elapsed,
                seems: has_slots
                    .then_some(self.uncertain.filter(|&end| self.latest <= end).unwrap_or(self.latest)),
                said: words.clone(),
                says: words,
                named: phones.clone(),
                phones,
                may_go: false,
                may_be_silenced: false,
                is_gone: false,
            });
        }
        known
    }

    fn learn_deliveries(&mut self, seen: &Seen, news: usize, before: &[i64]) {
        let mut planned: BTreeMap<i64, BTreeSet<i64>> = BTreeMap::new();
        for view in seen.views.iter().rev().chain(seen.others.values().flatten()) {
            if self.deliveries.contains_key(&view.number) {
                continue;
            }
            let event = seen.feed.iter().find(|event| event.position == view.event);
            let (endpoint, _) = &self.endpoints[&view.endpoint];
            let is_own = view.replay.is_none();
            let line = self.events[place(view.event)].call.filter(|_| is_own && endpoint.ordered);
            let wait = event.filter(|_| is_own).and_then(|event| hold::holds(endpoint, event));
            if is_own {
                assert!(place(view.event) >= news, "{} is owed late", view.number);
                assert!(
                    planned.entry(view.event).or_default().insert(view.endpoint),
                    "{} is owed twice",
                    view.number
                );
            }
            self.deliveries.insert(
                view.number,
                Known {
                    endpoint: view.endpoint,
                    event: view.event,
                    line,
                    replay: view.replay,
                    state: DeliveryState::Pending,
                    is_owned: false,
                    not_before: None,
                    held: wait.map(|wait| seen.recorded_at.after(wait.up_to)),
                    may_be_let_go: false,
                    attempts: 0,
                    sent: None,
                    is_gone: false,
                },
            );
        }
        for event in seen.feed.iter().filter(|event| place(event.position) >= news) {
            let told = planned.remove(&event.position).unwrap_or_default();
            for (number, (endpoint, is_there)) in &self.endpoints {
                let is_heard = hears(endpoint, event);
                let may_be_folded =
                    endpoint.delivering.wait.is_some() && event.kind == EventType::CallUpdated;
                let must = is_heard && *is_there && before.contains(number) && !may_be_folded;
                assert!(is_heard || !told.contains(number), "{event:?} is owed to {number}");
                assert!(!must || told.contains(number), "{event:?} is not owed to {number}");
            }
        }
        let views: BTreeMap<i64, &DeliveryView> = seen.views.iter().map(|view| (view.number, view)).collect();
        let numbers: Vec<i64> = self.deliveries.keys().copied().collect();
        for number in numbers {
            let view = match (views.get(&number), seen.others.get(&number)) {
                (Some(view), _) => Some(*view),
                (None, Some(view)) => view.as_ref(),
                (None, None) if seen.are_all => None,
                (None, None) => continue,
            };
            self.learn_delivery(number, view, seen, news);
        }
    }

    fn learn_delivery(&mut self, number: i64, view: Option<&DeliveryView>, seen: &Seen, news: usize) {
        let known = self.deliveries.get_mut(&number).expect("one of these");
        let told = &self.events[place(known.event)];
        let Some(view) = view else {
            assert!(known.is_gone || told.may_go, "{number} is gone before its age");
            known.is_gone = true;
            if known.is_open() {
                known.state = DeliveryState::Cancelled;
            }
            return;
        };
        assert!(!known.is_gone, "{number} came back");
        assert_eq!((view.endpoint, view.event, view.replay), (known.endpoint, known.event, known.replay));
        if known.is_open() && view.state == DeliveryState::Cancelled {
            assert!(seen.was_maintained, "{number} was called off by nobody");
            known.state = DeliveryState::Cancelled;
        }
        assert_eq!(view.state, known.state, "{number}");
        if !known.is_open() {
            return;
        }
        assert_eq!(view.attempts.len(), known.attempts as usize, "{number}");
        let is_owned = known.is_owned || seen.given.contains(&number);
        if let Some(until) = known.held.filter(|_| is_owned || view.next_attempt_at != known.held) {
            let of_call =
                |told: &Told| told.call.is_some() && told.call == self.events[place(known.event)].call;
            let heard = self.events[news..].iter().any(of_call);
            assert!(
                heard || (seen.was_maintained && until <= seen.now),
                "{number} waits no more, for no reason"
            );
            known.held = None;
        }
        // What is let go at the very time until which it was held looks as if it still were.
        known.may_be_let_go |= known.held == Some(seen.now);
        let known = known.clone();
        assert!(
            !is_owned || view.next_attempt_at.is_none(),
            "{number} is under way, and is said to be sent again"
        );
        if let Some(until) = known.held {
            let (endpoint, is_there) = &self.endpoints[&known.endpoint];
            // One that is removed has its deliveries called off by maintenance, whatever they waited for.
            let news = seen.feed.iter().filter(|event| *is_there && place(event.position) >= news);
            let of_call = news.filter(|event| {
                self.events[place(event.position)].call == self.events[place(known.event)].call
            });
            for event in of_call.filter(|event| event.position > known.event) {
                let EventBody::Call { call, .. } = &event.body else { continue };
                let misses = endpoint.delivering.wait.as_ref().is_none_or(|wait| hold::misses(wait, call));
                assert!(
                    misses || known.may_be_let_go,
                    "{number} is held until {until:?}, it is {:?}, and event {} has everything",
                    seen.now,
                    event.position
                );
            }
        } else if !is_owned && view.next_attempt_at.is_none() {
            let before = self.deliveries.range(..number).any(|(_, other)| {
                other.is_open()
                    && other.endpoint == known.endpoint
                    && other.line.is_some()
                    && other.line == known.line
            });
            assert!(before, "{number} waits for nothing");
        }
    }

    /// Whoever has something that may be sent was told so, or will look in time.
    fn nothing_is_stranded(&self, seen: &Seen) {
        for view in &seen.views {
            let known = &self.deliveries[&view.number];
            let Some(at) = view.next_attempt_at.filter(|_| known.is_open() && known.held.is_none()) else {
                continue;
            };
            if !self.is_active(known.endpoint) || self.woken.contains(&known.endpoint) {
                continue;
            }
            let alarm = self.alarms.get(&known.endpoint);
            assert!(
                alarm.is_some_and(|&alarm| alarm <= at.max(seen.now)),
                "{}: nobody was told that there is something for endpoint {} at {at:?}, next look {alarm:?}",
                view.number,
                known.endpoint
            );
        }
    }

    /// Maintenance has nothing more to do, a while after the last look: what is old is gone.
    pub fn at_rest(&mut self, now: Time, is_clock_right: bool, passes_over: bool) {
        for (number, known) in self.deliveries.iter_mut().filter(|(_, known)| known.is_open()) {
            known.held = known.held.filter(|&until| until > now);
            assert!(self.endpoints[&known.endpoint].1, "{number} is owed to nobody");
        }
        assert!(self.erasures.iter().all(|asked| asked.is_done), "somebody is not erased");
        if !is_clock_right {
            return;
        }
        let is_old =
            |told: &Told, kept: Duration| told.seems.is_some_and(|at| now.since(at) >= kept + A_LITTLE);
        if let Some(kept) = self.retention {
            let under_way: BTreeSet<i64> = self
                .deliveries
                .values()
                .filter(|known| known.is_owned && known.is_open())
                .map(|known| known.event)
                .collect();
            for (position, told) in (1i64..).zip(&self.events) {
                if !passes_over && under_way.contains(&position) {
                    break;
                }
                assert!(told.is_gone || !is_old(told, kept), "event {position} should be gone");
            }
        }
        if let Some(kept) = self.transcripts {
            let is_past = |told: &Told| told.is_gone || is_old(told, kept);
            let young: BTreeSet<&String> =
                self.events.iter().filter(|told| !is_past(told)).flat_map(|told| &told.said).collect();
            let old = self.events.iter().filter(|told| !told.is_gone && is_past(told));
            let old: Vec<(String, Option<i64>)> = old
                .flat_map(|told| told.said.iter().map(|word| (word, told.call)))
                .filter(|(word, _)| word.starts_with("spoken") && !young.contains(word))
                .map(|(word, call)| (word.clone(), call))
                .collect();
            for (word, call) in old {
                let at = self.events.iter().position(|told| told.says.contains(&word));
                assert_eq!(at, None, "an event says {word} past its age");
                assert!(!self.records.contains(&word), "a record says {word} past its age");
                self.gone.insert(word, call);
            }
        }
    }

    /// How many events of this kind ended a batch.
    pub fn ends(&self, batch: i64, kind: EventType) -> usize {
        self.events.iter().filter(|told| told.ends == Some(batch) && told.kind == kind).count()
    }
}

/// The place of a position among the events.
fn place(position: i64) -> usize {
    usize::try_from(position - 1).expect("positions begin with 1")
}
