//! A batch whatever happens in whatever order: calls of two sources heard early, late, twice and against each other,
//! some never, of sources that may report and that may not, between the steps of the intake, with and without a watchdog, across crashes. Its numbers are a recount of
//! its contacts and calls, and its end is told exactly once.

use std::collections::BTreeMap;
use std::time::Duration;

use postcall::ledger::{ContactBook, Counted};
use postcall::model::event::{Heard, HeardCall};
use postcall::model::id::{self, Kind};
use postcall::model::{Call, EventBody, EventType, Outcome, Secret, Step, Text, Time};
use postcall::store::batches::{BatchState, BatchView, Contact, Failure, Given, NewBatch, Opened, Reporters};
use postcall::store::export::Secrets;
use postcall::store::{CallFilter, CallView, Incoming, Page, Parsed};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::carrying::{export, import};
use super::scene::{Fixture, Scene, source};

/// Contacts of the batch; one more number is nobody's.
const CONTACTS: usize = 3;
/// More than what a move puts a deadline off by.
const PUT_OFF: u64 = 3601;
const ALL: Page = Page { after: None, limit: 10_000 };

#[derive(Clone, Debug)]
enum Action {
    /// A group of calls: source, call, step, the vendor's time.
    Hear(Vec<(bool, usize, Step, Option<i64>)>),
    /// One step of the chores.
    Chore,
    Wait(u64),
    Crash,
    Fail,
    /// The account moves to another house, where everything goes on.
    Move,
}

fn action() -> impl Strategy<Value = Action> {
    let ended = prop::sample::select(Outcome::ALL.to_vec()).prop_map(Step::Ended);
    let step = || prop_oneof![1 => Just(Step::Ringing), 3 => ended.clone()];
    let heard = (any::<bool>(), 0..8usize, step(), prop::option::of(0..3i64));
    prop_oneof![
        40 => prop::collection::vec(heard, 1..4).prop_map(Action::Hear),
        30 => Just(Action::Chore),
        10 => (1..8u64).prop_map(Action::Wait),
        5 => Just(Action::Crash),
        3 => Just(Action::Move),
        1 => Just(Action::Fail),
    ]
}

fn phone(number: usize) -> Text {
    Text::from(format!("+155501{number:02}"))
}

fn without_deadlines(lines: &[String]) -> Vec<String> {
    let cut = |line: &String| {
        let Some((front, rest)) = line.split_once(",\"lost_at\":\"") else { return line.clone() };
        format!("{front}{}", rest.split_once('"').unwrap().1)
    };
    lines.iter().map(cut).collect()
}

struct Run<F> {
    scene: Scene<F>,
    sources: [i64; 2],
    batch: i64,
    /// Whether the batch names the first source, so that calls of the second count for nothing.
    names_first: bool,
    has_failed: bool,
}

impl<F: Fixture> Run<F> {
    async fn new(max_attempts: i64, lost_after: Option<u64>, names_first: bool) -> Self {
        let scene = Scene::<F>::new().await;
        let second = scene.store.put_source(source(scene.account), None).await.unwrap().unwrap().number;
        let reporters = if names_first { Reporters::Listed(vec![scene.source]) } else { Reporters::All };
        let opened = scene.store.open_batch(NewBatch {
            account: scene.account,
            given: Given { reporters, ..Given::default() },
            contacts: i64::try_from(CONTACTS).unwrap(),
            max_attempts,
            lost_after: lost_after.map(Duration::from_secs),
            created_at: scene.now,
        });
        let Opened::As(batch) = opened.await.unwrap() else { panic!("there is room") };
        let parts =
            (0..CONTACTS).map(|at| vec![Contact { phone: phone(at), ..Contact::default() }]).collect();
        scene.store.add_contacts(scene.account, batch, 1, parts).await.unwrap();
        let secret =
            scene.store.begin_batch(scene.account, batch, Vec::new(), Secret::new("s")).await.unwrap();
        assert_eq!(secret, None, "without endpoints none is needed");
        let sources = [scene.source, second];
        Self { scene, sources, batch, names_first, has_failed: false }
    }

    fn says(&self, (second, name, step, at): (bool, usize, Step, Option<i64>)) -> Incoming {
        let tag = self.scene.store.config(self.scene.account).unwrap().account.tag;
        let mut call = Call { call_id: Text::from(format!("call-{name}")), ..Call::default() };
        call.batch_id = Some(Text::from(id::format(Kind::Batch, tag, self.batch)));
        call.contact.phone = Some(phone(name % (CONTACTS + 1)));
        let at = at.and_then(Time::from_seconds);
        let what = Parsed::events([Heard::Call(Box::new(HeardCall { step, at, call }))]);
        Incoming { source: self.sources[usize::from(second)], ..self.scene.incoming(what) }
    }

    async fn act(&mut self, action: &Action) {
        match action {
            Action::Hear(all) => {
                let incoming = all.iter().map(|&one| self.says(one)).collect();
                self.scene.commit(incoming, Vec::new()).await;
            }
            Action::Chore => drop(self.scene.store.maintain(self.scene.now).await.unwrap()),
            Action::Wait(seconds) => self.scene.wait(*seconds),
            Action::Crash => self.scene.crash().await,
            Action::Move => self.move_house().await,
            Action::Fail => {
                let failure = Failure { error: Text::from("e"), code: Text::from("c") };
                let (scene, batch) = (&self.scene, self.batch);
                let ended = scene.store.end_batch(scene.account, batch, failure, scene.now).await.unwrap().0;
                self.has_failed |= ended == postcall::store::batches::Ended::Done;
            }
        }
    }

    /// The account is the same there, but for deadlines that are near: those are put off.
    async fn move_house(&mut self) {
        let lines = export(&self.scene.store, self.scene.account, Secrets::Clear).await;
        let mut new = Scene::<F>::new().await;
        new.now = self.scene.now;
        let done = import(&new, &lines, 7, true).await;
        assert_eq!((done.wrong.as_slice(), done.ended), (&[][..], true));
        let there = export(&new.store, new.account, Secrets::Clear).await;
        assert_eq!(without_deadlines(&there), without_deadlines(&lines));
        std::mem::replace(&mut self.scene, new).finish().await;
    }

    async fn view(&self) -> BatchView {
        self.scene.store.batch(self.scene.account, self.batch).await.unwrap().unwrap()
    }

    async fn check(&self) {
        let (store, account) = (&self.scene.store, self.scene.account);
        let view = self.view().await;
        let contacts = store.contacts(account, self.batch, false, ALL).await.unwrap();
        let books: Vec<ContactBook> = contacts.iter().map(|contact| contact.book).collect();
        let closed = |reached: bool| {
            let count = books.iter().filter(|book| book.is_closed && book.is_reached() == reached).count();
            i64::try_from(count).unwrap()
        };
        assert_eq!((view.tally.succeeded, view.tally.failed), (closed(true), closed(false)), "a recount");
        let open = store.contacts(account, self.batch, true, ALL).await.unwrap();
        assert_eq!(open.len(), books.iter().filter(|book| !book.is_closed).count());

        let feed = self.scene.feed().await;
        let count = |kind| feed.iter().filter(|event| event.kind == kind).count();
        assert_eq!(count(EventType::BatchCompleted), usize::from(view.state == BatchState::Completed));
        assert_eq!(count(EventType::BatchFailed), usize::from(self.has_failed));
        assert_eq!(view.state == BatchState::Failed, self.has_failed);
        assert_eq!(count(EventType::CallRequested), contacts.len());
        if matches!(view.state, BatchState::Sealed | BatchState::Completed) {
            let is_complete = view.tally.processed() == view.tally.total;
            assert_eq!(view.state == BatchState::Completed, is_complete, "{view:?}");
            self.recount(&contacts, &feed).await;
        }
    }

    /// What each contact counts, from the records of the calls and from what was given up without one.
    async fn recount(
        &self,
        contacts: &[postcall::store::batches::ContactView],
        feed: &[postcall::model::Event],
    ) {
        let calls = self.scene.store.calls(self.scene.account, CallFilter::default(), ALL).await.unwrap();
        let mut expected: BTreeMap<Text, ContactBook> = BTreeMap::new();
        let is_claim = |view: &&CallView| self.names_first && view.source == self.sources[1];
        for view in calls.iter().filter(is_claim) {
            assert!(view.call.batch_id.is_none() && view.call.claimed_batch_id.is_some(), "{view:?}");
        }
        for view in calls.iter().filter(|view| !is_claim(view)) {
            let book = expected.entry(view.call.contact.phone.clone().unwrap()).or_default();
            book.count(None, Counted::of(&view.call), i64::MAX);
        }
        for event in feed.iter().filter(|event| event.kind == EventType::CallFailed) {
            let EventBody::Call { call, .. } = &event.body else { panic!("{event:?}") };
            if call.call_id.as_bytes().starts_with(b"con_") {
                expected.entry(call.contact.phone.clone().unwrap()).or_default().give_up(i64::MAX);
            }
        }
        for contact in contacts {
            let known = expected.remove(&contact.contact.phone).unwrap_or_default();
            let counted = (contact.book.heard, contact.book.ended, contact.book.completed);
            assert_eq!(counted, (known.heard, known.ended, known.completed), "{contact:?}");
            assert!(contact.book.is_closed || known.completed == 0, "a completed call closes");
        }
    }

    /// With a watchdog every batch ends.
    async fn drain(mut self, max_attempts: i64, lost_after: Option<u64>) {
        self.scene.tidy_up().await;
        self.check().await;
        if let Some(seconds) = lost_after {
            for _ in 0..=2 * max_attempts {
                self.scene.wait(seconds + PUT_OFF);
                self.scene.tidy_up().await;
                self.check().await;
            }
            assert!(self.view().await.state.is_over());
        }
        self.scene.finish().await;
    }
}

/// Run by the suite beside the random test of deliveries.
pub fn a_batch_whatever_happens<F: Fixture>() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let config = Config { cases: 60 / F::CASES_OF, failure_persistence: None, ..Config::default() };
    let runs = (prop::collection::vec(action(), 1..40), 1..4i64, prop::option::of(5..10u64), any::<bool>());
    let run = TestRunner::new(config).run(&runs, |(actions, max_attempts, lost_after, names_first)| {
        runtime.block_on(async {
            let mut run = Run::<F>::new(max_attempts, lost_after, names_first).await;
            for action in &actions {
                run.act(action).await;
                run.check().await;
            }
            run.drain(max_attempts, lost_after).await;
        });
        Ok(())
    });
    if let Err(failure) = run {
        panic!("{failure}");
    }
}

/// What was never promised is forgotten, what was is taken in after all.
pub async fn a_crash_breaks_no_intake<F: Fixture>(mut scene: Scene<F>) {
    let new = || NewBatch {
        account: scene.account,
        given: Given::default(),
        contacts: 2,
        max_attempts: 1,
        lost_after: None,
        created_at: scene.now,
    };
    let parts = || (0..2).map(|at| vec![Contact { phone: phone(at), ..Contact::default() }]).collect();
    let mut batches = Vec::new();
    for _ in 0..2 {
        let Opened::As(batch) = scene.store.open_batch(new()).await.unwrap() else { panic!("there is room") };
        scene.store.add_contacts(scene.account, batch, 1, parts()).await.unwrap();
        batches.push(batch);
    }
    assert!(scene.store.batch(scene.account, batches[0]).await.unwrap().is_none(), "nobody knows of it yet");
    scene.store.begin_batch(scene.account, batches[0], Vec::new(), Secret::new("s")).await.unwrap();
    scene.store.maintain(scene.now).await.unwrap();
    scene.crash().await;
    scene.tidy_up().await;
    let begun = scene.store.batch(scene.account, batches[0]).await.unwrap().unwrap();
    assert_eq!((begun.state, begun.taken_in), (BatchState::Sealed, 2));
    assert!(scene.store.batch(scene.account, batches[1]).await.unwrap().is_none());
    assert_eq!(scene.store.batches(scene.account, ALL).await.unwrap().len(), 1);
    assert!(scene.store.begin_batch(scene.account, batches[1], Vec::new(), Secret::new("s")).await.is_err());
    let requested = scene.feed().await.iter().filter(|event| event.kind == EventType::CallRequested).count();
    assert_eq!(requested, 2, "each contact is asked for once");
    scene.finish().await;
}
