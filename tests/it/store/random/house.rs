//! A store with some accounts, what is done to it, and the model beside it: each action is done to both, and then they are
//! compared. Everybody who should hear of something hears of it from the store alone, as the dispatcher does.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use postcall::ledger::{Decision, Next};
use postcall::model::endpoint::{Part, Wait};
use postcall::model::event::Heard;
use postcall::model::id::{self, Kind};
use postcall::model::replay::{ReplayOrder, Selection};
use postcall::model::{AccountKey, DeliveryState, Endpoint, Mention, Secret, Text, Time};
use postcall::store::batches::{CANCELLED, Contact, Ended, Failure, Given, NewBatch, Opened};
use postcall::store::export::{Import, Secrets};
use postcall::store::{
    CallFilter, Committed, EndpointRef, Incoming, ManualOutcome, Owned, Page, Parsed, Progress, Settlement,
    Store,
};

use super::actions::{Action, Body, Both, Came, PHONES, Says, Settles, Which, Wish};
use super::books::{Books, words_of};
use crate::store::carrying::{ByForm, export};
use crate::store::scene::{Fixture, Scene, attempted, endpoint, heard, some_time, source};

pub(super) const ALL: Page = Page { after: None, limit: 10_000 };
const MOST_ACCOUNTS: usize = 3;
const MOST_ENDPOINTS: usize = 3;
/// After so many bodies calls are others.
const BODIES_OF_CALLS: usize = 24;
/// When a source's call is given up as lost.
const LOST_AFTER: Duration = Duration::from_secs(7);

/// How often something happened.
pub type Counts = BTreeMap<&'static str, u64>;

/// One of them, if there are any.
fn pick<T: Clone>(of: &[T], at: usize) -> Option<T> {
    (!of.is_empty()).then(|| of[at % of.len()].clone())
}

/// What happened since the last look.
#[derive(Default)]
pub(super) struct Since {
    pub(super) given: Vec<Owned>,
    pub(super) was_maintained: bool,
    /// Whether everything is looked at, and not what is open alone.
    pub(super) is_whole: bool,
    /// The time that maintenance had, if it was another.
    pub(super) at: Option<Time>,
}

pub struct House<F> {
    pub(super) scene: Scene<F>,
    pub(super) accounts: Vec<Books>,
    /// Every body, with the number of its words and its batch.
    said: Vec<(Says, usize, Option<i64>)>,
    words: usize,
    places: usize,
    /// The account and the replay whose row cannot be read.
    pub(super) damaged: Option<(usize, i64)>,
    pub(super) latest: Time,
    /// The time that went by, whatever the clock said.
    pub(super) elapsed: Duration,
    pub(super) counts: Counts,
}

impl<F: Fixture> House<F> {
    pub async fn new() -> Self {
        let mut scene = Scene::<F>::new().await;
        // A crash may have something done at the time that the scene begins with.
        scene.wait(1000);
        let mut house = Self {
            latest: scene.now,
            elapsed: Duration::ZERO,
            scene,
            accounts: Vec::new(),
            said: Vec::new(),
            words: 0,
            places: usize::MAX,
            damaged: None,
            counts: Counts::new(),
        };
        for at in 0..2 {
            let account = match at {
                0 => house.scene.account,
                _ => house.scene.other_account("other").await,
            };
            let source = postcall::model::Source { lost_after: Some(LOST_AFTER), ..source(account) };
            let source = house.scene.store.put_source(source, None).await.unwrap().unwrap().number;
            house.accounts.push(Books::new(account, source, at, house.scene.now));
        }
        for (at, part) in [(0, Some(Part::Recording)), (1, None), (1, Some(Part::Transcript))] {
            let waits = part.map(|part| (vec![part], 8));
            house.make_endpoint(at, &Wish { ordered: true, waits }).await;
        }
        house.keep_transcripts(1, Some(5)).await;
        house.look(Since::default()).await;
        house
    }

    pub(super) fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.scene.store)
    }

    pub(super) fn count(&mut self, what: &'static str, many: usize) {
        *self.counts.entry(what).or_default() += many as u64;
    }

    fn at(&self, account: usize) -> usize {
        account % self.accounts.len()
    }

    async fn make_endpoint(&mut self, account: usize, wish: &Wish) {
        let at = self.at(account);
        if self.accounts[at].present().len() < MOST_ENDPOINTS {
            let made = endpoint(self.accounts[at].key);
            let made = self.store().put_endpoint(wished(made, wish), None).await.unwrap().unwrap();
            self.accounts[at].wake(made.number);
        }
    }

    /// A body as it comes in, with its account and call.
    fn body(&mut self, body: &Body) -> Option<(usize, Text, Incoming)> {
        let (says, number, batch) = match body {
            Body::New(says) | Body::Next(says) => {
                let mut says = Says { account: self.at(says.account), ..says.clone() };
                if let Body::Next(_) = body {
                    let call = (says.account, name(&says, self.words + 1));
                    let of_call =
                        |(said, number, _): &&(Says, usize, _)| (said.account, name(said, *number)) == call;
                    let before = self.said.iter().rev().find(of_call).map(|(said, ..)| said.step);
                    says.go_on_after(before);
                }
                let batch = says.batch.and_then(|at| pick(&self.accounts[says.account].batches, at));
                self.words += 1;
                self.said.push((says, self.words, batch));
                self.said.last().cloned()?
            }
            Body::Again(at) => pick(&self.said, *at)?,
        };
        let at = says.account;
        let books = &self.accounts[at];
        let mut body = heard(&name(&says, number), says.step);
        body.at = says.at.and_then(Time::from_seconds);
        let call = &mut body.call;
        if let Some(phone) = says.phone {
            call.contact.phone = Some(Text::from(PHONES[phone]));
            call.contact.name = Some(Text::from(format!("named{at}n{number}")));
        }
        call.transcript.text = says.transcript.then(|| Text::from(format!("spoken{at}n{number}")));
        call.recording.url =
            says.recording.then(|| Text::from(format!("https://r.example/{}?signed={number}", says.call)));
        let tag = self.scene.store.config(books.key).unwrap().account.tag;
        call.batch_id = batch.map(|batch| Text::from(id::format(Kind::Batch, tag, batch)));
        let what = Parsed::events([Heard::Call(Box::new(body))]);
        let incoming = Incoming { account: books.key, source: books.source, ..self.scene.incoming(what) };
        Some((at, Text::from(name(&says, number)), incoming))
    }

    /// The bodies of a group, and what it settles: that is settled in the model.
    fn both(&mut self, both: &Both) -> (Vec<Incoming>, Vec<Settlement>) {
        let bodies: Vec<_> = both.bodies.iter().filter_map(|body| self.body(body)).collect();
        let first = bodies.first().map(|(account, call, _)| (*account, call.clone()));
        let mut settlements = Vec::new();
        for &Settles { of_first_call, at, came } in &both.settled {
            let of_account = |(at, books): (usize, &Books)| -> Vec<(usize, usize)> {
                let is_meant = |owned: &Owned| match (&first, of_first_call) {
                    (Some((account, call)), true) => *account == at && owned.event.call_id() == Some(call),
                    _ => true,
                };
                let meant = books.owned.iter().enumerate().filter(|(_, owned)| is_meant(owned));
                meant.map(|(place, _)| (at, place)).collect()
            };
            let open: Vec<_> = self.accounts.iter().enumerate().flat_map(of_account).collect();
            let Some((account, place)) = pick(&open, at) else { continue };
            let owned = self.accounts[account].owned.swap_remove(place);
            settlements.push(self.came(account, &owned, came));
        }
        (bodies.into_iter().map(|(_, _, incoming)| incoming).collect(), settlements)
    }

    pub(super) fn came(&mut self, account: usize, owned: &Owned, came: Came) -> Settlement {
        let next = match came {
            Came::Delivered => Next::Delivered,
            Came::Failed(seconds) => Next::RetryAt(self.scene.later(seconds)),
            Came::Dead | Came::Gone => Next::Dead,
        };
        let decision = Decision { next, disable_endpoint: matches!(came, Came::Gone) };
        let body = owned.body.get().unwrap_or_else(|| owned.event.data_json().into());
        self.accounts[account].settle(owned, decision, &body);
        Settlement { decision, body, ..attempted(owned, self.scene.now, next) }
    }

    pub(super) fn books(&mut self, account: AccountKey) -> &mut Books {
        self.accounts.iter_mut().find(|books| books.key == account).expect("one of ours")
    }

    /// What the store says is heard by whom it is about.
    fn wake(&mut self, endpoints: Vec<EndpointRef>) {
        for EndpointRef { account, number } in endpoints {
            self.books(account).wake(number);
        }
    }

    pub(super) fn committed(&mut self, committed: Committed) -> Vec<Owned> {
        self.wake(committed.wake);
        for (EndpointRef { account, number }, due) in committed.wake_at {
            self.books(account).wake_at(number, due);
        }
        self.call_off(&committed.called_off);
        committed.owned
    }

    fn call_off(&mut self, called_off: &[(EndpointRef, i64)]) {
        for &(EndpointRef { account, .. }, number) in called_off {
            self.books(account).give_back(&BTreeSet::from([number]));
        }
    }

    async fn commit(&mut self, both: &Both) {
        let (incoming, settlements) = self.both(both);
        let committed = self.scene.commit(incoming, settlements).await;
        let given = self.committed(committed);
        self.look(Since { given, ..Since::default() }).await;
    }

    async fn together(&mut self, both: &Both) {
        let (incoming, settlements) = self.both(both);
        let (scene, is_over) = (&self.scene, Cell::new(false));
        let maintenance = async {
            let progress = scene.store.maintain(scene.now).await;
            is_over.set(true);
            progress
        };
        let commits = async {
            let mut all = Vec::new();
            while !is_over.get() || all.is_empty() {
                all.push(scene.commit(incoming.clone(), settlements.clone()).await);
            }
            all
        };
        let elapsed = self.elapsed;
        self.accounts.iter_mut().for_each(|books| books.may_pass(scene.now, elapsed));
        let (progress, all) = tokio::join!(maintenance, commits);
        self.count("commits beside maintenance", all.len());
        let mut given = Vec::new();
        for committed in all {
            given.extend(self.committed(committed));
        }
        let called_off = self.maintained(progress);
        self.look(Since { given, was_maintained: true, ..Since::default() }).await;
        self.call_off(&called_off);
    }

    /// Hears what a round came to. Gives what was called off by it.
    fn maintained(
        &mut self,
        progress: Result<Progress, postcall::store::StoreError>,
    ) -> Vec<(EndpointRef, i64)> {
        let progress = match progress {
            Err(_) if self.damaged.is_some() => return Vec::new(),
            progress => progress.unwrap(),
        };
        for step in progress.steps.iter().filter(|step| step.has_failed) {
            assert!(self.damaged.is_some() && step.job == "replays", "the job {} failed", step.job);
            self.count("failed jobs", 1);
        }
        self.wake(progress.wake);
        progress.called_off
    }

    /// One round of maintenance. True when there may be more to do.
    async fn maintain(&mut self) -> bool {
        let now = self.scene.now;
        let elapsed = self.elapsed;
        self.accounts.iter_mut().for_each(|books| books.may_pass(now, elapsed));
        let progress = self.store().maintain(now).await;
        let more = progress.as_ref().is_ok_and(|progress| progress.more);
        let called_off = self.maintained(progress);
        self.call_off(&called_off);
        self.look(Since { was_maintained: true, ..Since::default() }).await;
        more
    }

    pub(super) async fn chores(&mut self) {
        let is_clock_right = self.scene.now >= self.latest;
        // The store looks once a second for what is old, and where it does not pass over an event, once more for what it
        // was to wait for.
        for _ in 0..if F::PASSES_OVER { 1 } else { 2 } {
            self.wait(2);
            while self.maintain().await {}
        }
        self.look(Since { was_maintained: true, is_whole: true, ..Since::default() }).await;
        let now = self.scene.now;
        for books in &mut self.accounts {
            books.at_rest(now, is_clock_right, F::PASSES_OVER);
        }
    }

    pub(super) fn wait(&mut self, seconds: i64) {
        let moved = Time::from_micros(self.scene.now.as_micros() + seconds * 1_000_000);
        self.elapsed += Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        self.scene.now = moved.max(some_time().after(Duration::from_secs(500)));
        self.latest = self.latest.max(self.scene.now);
    }

    /// Looks for something for an endpoint, as whoever was told to.
    pub(super) async fn claim(&mut self, at: usize, endpoint: i64, places: usize) {
        let (store, now) = (self.store(), self.scene.now);
        let target = self.accounts[at].target(endpoint);
        let claimed = store.claim(target, now, self.scene.room.places(places)).await.unwrap();
        assert!(claimed.owned.len() <= places);
        self.count("claimed", claimed.owned.len());
        if !claimed.more {
            let next = store.next_due(target).await.unwrap();
            self.accounts[at].looked(endpoint, next, now);
        }
        for owned in claimed.owned {
            self.accounts[at].take(owned, now, false);
        }
    }

    pub(super) fn to_look_at(&self) -> Vec<(usize, i64)> {
        let of = |(at, books): (usize, &Books)| {
            books
                .to_look_at(self.scene.now)
                .into_iter()
                .map(move |endpoint| (at, endpoint))
                .collect::<Vec<_>>()
        };
        self.accounts.iter().enumerate().flat_map(of).collect()
    }

    /// A delivery of an account that has not gone by its age.
    fn delivery(&self, account: usize, at: usize) -> Option<(usize, i64)> {
        let account = self.at(account);
        let there: Vec<i64> = self.accounts[account].deliveries.keys().copied().collect();
        pick(&there, at).map(|number| (account, number))
    }

    async fn retry(&mut self, at: usize, number: i64) {
        let (store, now) = (self.store(), self.scene.now);
        let key = self.accounts[at].key;
        let turned = store.retry(key, number, now).await.unwrap();
        let books = &mut self.accounts[at];
        if turned == ManualOutcome::Missing {
            books.goes(number);
        }
        let known = books.deliveries[&number].clone();
        let is_there = books.endpoints[&known.endpoint].1;
        let expected = match known.state {
            _ if known.is_gone => ManualOutcome::Missing,
            DeliveryState::Pending => ManualOutcome::Done,
            DeliveryState::Dead if is_there => ManualOutcome::Done,
            state => ManualOutcome::WrongState(state),
        };
        assert_eq!(turned, expected, "{number}");
        if turned == ManualOutcome::Done {
            books.hurry(number);
            books.wake(known.endpoint);
        }
    }

    async fn cancel(&mut self, at: usize, number: i64) {
        let (store, now) = (self.store(), self.scene.now);
        let key = self.accounts[at].key;
        let turned = store.cancel(key, number, now).await.unwrap();
        let books = &mut self.accounts[at];
        if turned == ManualOutcome::Missing {
            books.goes(number);
        }
        let known = books.deliveries[&number].clone();
        let expected = match known.state {
            _ if known.is_gone => ManualOutcome::Missing,
            DeliveryState::Pending => ManualOutcome::Done,
            state => ManualOutcome::WrongState(state),
        };
        assert_eq!(turned, expected, "{number}");
        if turned == ManualOutcome::Done {
            books.deliveries.get_mut(&number).expect("it is there").state = DeliveryState::Cancelled;
            books.wake(known.endpoint);
        }
    }

    /// An endpoint that is there, by its place.
    fn endpoint(&self, account: usize, at: usize) -> Option<(usize, EndpointRef)> {
        let account = self.at(account);
        let books = &self.accounts[account];
        pick(&books.present(), at).map(|number| (account, books.target(number)))
    }

    async fn change_endpoint(&mut self, account: usize, at: usize, wish: &Wish) {
        let Some((at, target)) = self.endpoint(account, at) else { return };
        let mut changed = Endpoint::clone(&self.accounts[at].endpoints[&target.number].0);
        changed.shape.include_recording = !changed.shape.include_recording;
        self.store().put_endpoint(wished(changed, wish), None).await.unwrap().unwrap();
        self.accounts[at].wake(target.number);
    }

    async fn keep_transcripts(&mut self, account: usize, kept: Option<u64>) {
        let (at, kept) = (self.at(account), kept.map(Duration::from_secs));
        let (store, now) = (self.store(), self.scene.now);
        store.set_transcript_retention(self.accounts[at].key, kept, now).await.unwrap().unwrap();
        self.accounts[at].keep_transcripts(kept, now);
    }

    async fn erase(&mut self, account: usize, phone: usize) {
        let (at, store, now) = (self.at(account), self.store(), self.scene.now);
        let key = self.accounts[at].key;
        let mut guests = BTreeSet::new();
        for &batch in &self.accounts[at].batches {
            let contacts = store.contacts(key, batch, false, ALL).await.unwrap();
            let meant = contacts.iter().filter(|view| view.contact.phone.to_str() == PHONES[phone]);
            guests.extend(meant.flat_map(|view| words_of(&serde_json::to_string(&view.contact).unwrap())));
        }
        let asked = store.erase(key, Mention::of(PHONES[phone]).unwrap(), now).await.unwrap();
        self.accounts[at].erase(asked.number, phone, guests);
    }

    async fn give(&mut self, account: usize, people: &[usize], lost_after: Option<u64>) {
        let (at, store, now) = (self.at(account), self.store(), self.scene.now);
        let key = self.accounts[at].key;
        let opened = store.open_batch(NewBatch {
            account: key,
            given: Given::default(),
            contacts: i64::try_from(people.len()).unwrap(),
            max_attempts: 2,
            lost_after: lost_after.map(Duration::from_secs),
            created_at: now,
        });
        let Opened::As(batch) = opened.await.unwrap() else { panic!("there is room") };
        let mut contact = |&phone: &usize| {
            self.words += 1;
            let name = Text::from(format!("guest{at}n{}", self.words));
            Contact { phone: Text::from(PHONES[phone]), name: Some(name), ..Contact::default() }
        };
        let parts = vec![people.iter().map(&mut contact).collect()];
        store.add_contacts(key, batch, 1, parts).await.unwrap();
        let mut own = endpoint(key);
        let tag = store.config(key).unwrap().account.tag;
        own.scope.batch_id = Some(Text::from(id::format(Kind::Batch, tag, batch)));
        let endpoints = if lost_after.is_some() { vec![own] } else { Vec::new() };
        store.begin_batch(key, batch, endpoints, Secret::new("ofbatches")).await.unwrap();
        self.accounts[at].batches.push(batch);
        for made in &store.config(key).unwrap().endpoints {
            self.accounts[at].wake(made.number);
        }
    }

    async fn end_batch(&mut self, account: usize, at: usize) {
        let (account, store, now) = (self.at(account), self.store(), self.scene.now);
        let Some(batch) = pick(&self.accounts[account].batches, at) else { return };
        let failure = Failure { error: Text::from("Cancelled"), code: Text::from(CANCELLED) };
        let (ended, wake) = store.end_batch(self.accounts[account].key, batch, failure, now).await.unwrap();
        assert_ne!(ended, Ended::Missing);
        self.wake(wake);
    }

    async fn replay(
        &mut self,
        account: usize,
        which: Which,
        to: Option<usize>,
        rate: f64,
        dry_run: bool,
    ) -> Option<i64> {
        let (at, store, now) = (self.at(account), self.store(), self.scene.now);
        let books = &self.accounts[at];
        let calls = store.calls(books.key, CallFilter::default(), ALL).await.unwrap();
        let endpoints: Vec<i64> = books.endpoints.keys().copied().collect();
        let position = |at: usize| i64::try_from(at % books.events.len().max(1)).unwrap() + 1;
        let selection = match which {
            Which::All => {
                Selection { until: Some(now.after(Duration::from_secs(1_000_000))), ..Selection::default() }
            }
            Which::OfCall(at) => {
                Selection { call: pick(&calls, at).map(|view| view.number), ..Selection::default() }
            }
            Which::OfEvent(at) => Selection { event: Some(position(at)), ..Selection::default() },
            Which::OfEndpoint(at) => Selection { endpoint: pick(&endpoints, at), ..Selection::default() },
            Which::Dead => Selection { state: Some(DeliveryState::Dead), ..Selection::default() },
        };
        let to = to.and_then(|at| pick(&books.present(), at));
        let order = ReplayOrder { selection, to, rate, dry_run };
        if self.damaged.is_some_and(|(account, _)| account == at) {
            return None;
        }
        store.create_replay(books.key, order, now).await.unwrap().map(|replay| replay.number)
    }

    async fn cancel_replay(&mut self, account: usize, at: usize) {
        let (account, store, now) = (self.at(account), self.store(), self.scene.now);
        if self.damaged.is_some_and(|(damaged, _)| damaged == account) {
            return;
        }
        let key = self.accounts[account].key;
        let replays = store.replays(key, ALL).await.unwrap();
        if let Some(replay) = pick(&replays, at) {
            store.cancel_replay(key, replay.number, now).await.unwrap();
        }
    }

    fn damage(&mut self, at: usize, replay: i64) {
        if self.damaged.is_none() {
            self.write_selection(self.accounts[at].key, replay, "'nonsense' || selection");
            self.damaged = Some((at, replay));
            self.count("damaged rows", 1);
        }
    }

    pub(super) fn repair(&mut self) {
        if let Some((at, replay)) = self.damaged.take() {
            self.write_selection(self.accounts[at].key, replay, "substr(selection, 9)");
        }
    }

    fn write_selection(&self, account: AccountKey, replay: i64, selection: &str) {
        let key = (account.0 << 40) | replay;
        self.scene.place.sql(&format!("UPDATE replays SET selection = {selection} WHERE id = {key}"));
    }

    async fn crash(&mut self) {
        self.scene.crash().await;
        for books in &mut self.accounts {
            let all = books.owned.iter().map(|owned| owned.delivery).collect();
            books.give_back(&all);
            books.wake_all();
        }
        let was_maintained = F::GIVES_BACK_BY_A_CHORE;
        let at = was_maintained.then(some_time);
        self.look(Since { was_maintained, at, ..Since::default() }).await;
    }

    /// Brings an account into an empty one of a store.
    async fn bring(
        &self,
        at: usize,
        store: &Arc<dyn Store>,
        into: AccountKey,
        mark: usize,
        deliver: bool,
    ) -> Books {
        let (books, now) = (&self.accounts[at], self.scene.now);
        let lines = export(&self.scene.store, books.key, Secrets::Clear).await;
        lines.iter().for_each(|line| books.may_say(line, "a line of an export"));
        let numbered: Vec<(u64, String)> = (1..).zip(lines).collect();
        let mut has_ended = false;
        for lines in numbered.chunks(17) {
            let (lines, rules) = (lines.to_vec(), Arc::new(ByForm));
            let import = Import { lines, deliver, may_end: true, keeps_ids: true, rules, now };
            let done = store.import(into, import).await.unwrap();
            assert_eq!(done.wrong, []);
            has_ended |= done.ended;
        }
        assert!(has_ended);
        let config = store.config(into).unwrap();
        let mut brought = books.brought(into, mark, &config, now, self.elapsed);
        brought.wake_all();
        brought
    }

    async fn copy(&mut self, account: usize, deliver: bool) {
        self.repair();
        if self.accounts.len() == MOST_ACCOUNTS {
            return;
        }
        let (at, store) = (self.at(account), self.store());
        let into = self.scene.other_account("copy").await;
        let brought = self.bring(at, &store, into, self.accounts.len(), deliver).await;
        self.accounts.push(brought);
        self.count("accounts brought", 1);
    }

    async fn move_all(&mut self) {
        self.repair();
        let mut new = Scene::<F>::new().await;
        new.now = self.scene.now;
        new.room.set(self.places);
        let mut accounts = Vec::new();
        for at in 0..self.accounts.len() {
            let into = match at {
                0 => new.account,
                _ => new.other_account(&format!("account {at}")).await,
            };
            accounts.push(self.bring(at, &new.store, into, at, true).await);
        }
        self.count("accounts brought", accounts.len());
        // What is in memory has its places in the old queues.
        self.accounts = accounts;
        std::mem::replace(&mut self.scene, new).finish().await;
    }

    pub async fn act(&mut self, action: &Action) {
        let (store, now) = (self.store(), self.scene.now);
        self.count("actions", 1);
        match *action {
            Action::Room(places) => {
                self.places = places;
                self.scene.room.set(places);
            }
            Action::Commit(ref both) => return self.commit(both).await,
            Action::Together(seconds, ref both) => {
                self.wait(seconds);
                return self.together(both).await;
            }
            Action::Claim(at, places) => {
                if let Some((account, endpoint)) = pick(&self.to_look_at(), at) {
                    self.claim(account, endpoint, places).await;
                }
            }
            Action::Release(at) => {
                let at = self.at(at);
                let books = &mut self.accounts[at];
                let all: BTreeSet<i64> = books.owned.iter().map(|owned| owned.delivery).collect();
                let endpoints: Vec<i64> = books.owned.iter().map(|owned| owned.endpoint.number).collect();
                books.give_back(&all);
                store.release(books.key, all.into_iter().collect()).await.unwrap();
                endpoints.into_iter().for_each(|endpoint| books.wake(endpoint));
            }
            Action::Retry(account, at) => {
                if let Some((account, number)) = self.delivery(account, at) {
                    self.retry(account, number).await;
                }
            }
            Action::Cancel(account, at) => {
                if let Some((account, number)) = self.delivery(account, at) {
                    self.cancel(account, number).await;
                }
            }
            Action::MakeEndpoint(account, ref wish) => self.make_endpoint(account, wish).await,
            Action::ChangeEndpoint(account, at, ref wish) => self.change_endpoint(account, at, wish).await,
            Action::DeleteEndpoint(account, at) => {
                if let Some((_, target)) = self.endpoint(account, at) {
                    store.delete_endpoint(target.account, target.number, now).await.unwrap();
                }
            }
            Action::DisableEndpoint(account, at) => {
                if let Some((_, target)) = self.endpoint(account, at) {
                    let wake = store.disable_endpoint(target, "by hand".to_owned(), now).await.unwrap();
                    self.wake(wake.expect("it is there"));
                }
            }
            Action::EnableEndpoint(account, at) => {
                if let Some((account, target)) = self.endpoint(account, at) {
                    store.enable_endpoint(target).await.unwrap();
                    self.accounts[account].wake(target.number);
                }
            }
            Action::Keep(account, kept) => {
                let (at, kept) = (self.at(account), kept.map(Duration::from_secs));
                store.set_retention(self.accounts[at].key, kept, now).await.unwrap().unwrap();
                self.accounts[at].keep(kept, now);
            }
            Action::KeepTranscripts(account, kept) => self.keep_transcripts(account, kept).await,
            Action::Erase(account, phone) => self.erase(account, phone).await,
            Action::Give(account, ref people, lost_after) => self.give(account, people, lost_after).await,
            Action::EndBatch(account, at) => self.end_batch(account, at).await,
            Action::Replay { account, which, to, rate, dry_run, damaged } => {
                let begun = self.replay(account, which, to, rate, dry_run).await;
                if let Some(replay) = begun.filter(|_| damaged) {
                    self.damage(self.at(account), replay);
                }
            }
            Action::CancelReplay(account, at) => self.cancel_replay(account, at).await,
            Action::Repair => self.repair(),
            Action::Chore => {
                self.maintain().await;
                return;
            }
            Action::Chores => return self.chores().await,
            Action::Wait(seconds) => return self.wait(seconds),
            Action::Crash => return self.crash().await,
            Action::Copy(account, deliver) => self.copy(account, deliver).await,
            Action::Move => self.move_all().await,
        }
        self.look(Since::default()).await;
    }
}

/// The vendor's id of the call that a body is about. After some bodies there are others: what was heard of a call is known one
/// day, and nothing new happens to it.
fn name(says: &Says, number: usize) -> String {
    format!("call {}-{}", number / BODIES_OF_CALLS, says.call)
}

fn wished(endpoint: Endpoint, wish: &Wish) -> Endpoint {
    let mut endpoint = endpoint;
    endpoint.ordered = wish.ordered;
    endpoint.delivering.wait =
        wish.waits.clone().map(|(parts, seconds)| Wait { parts, up_to: Duration::from_secs(seconds) });
    endpoint
}
