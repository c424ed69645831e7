//! Repeats of what was removed: a body that comes once more after its call is gone, by its age or because its person was
//! erased, is a duplicate for as long as its account remembers. Time is moved by hand.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use postcall::dialect::ReceiptKind::{Duplicate, Recorded};
use postcall::ledger::Next;
use postcall::model::event::{Heard, HeardBatch};
use postcall::model::id::{self, Kind};
use postcall::model::time::Millis;
use postcall::model::{AccountKey, Batch, EventType, Outcome, Secret, Step, Text, Time};
use postcall::store::batches::{BatchView, Contact, Given, NewBatch, Opened};
use postcall::store::{CallFilter, Group, Page, Parsed, Recorded as Receipt};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::erasing::{PHONE, person};
use super::postgres::Postgres;
use super::scene::{Fixture, Scene, done, heard, says, some_time, source};

const ENDED: Step = Step::Ended(Outcome::Completed);
const LOST: Step = Step::Ended(Outcome::Lost);
/// How long accounts keep what is recorded here, in seconds.
const KEPT: u64 = 100;
/// Longer than a slot and the pause between two looks, for this retention.
const A_LITTLE: u64 = 3;
/// How long an account remembers unless it says otherwise, in seconds.
const THIRTY_DAYS: u64 = 30 * 24 * 3600;

fn batch_ends(id: &str, kind: EventType) -> Parsed {
    let batch = Batch { batch_id: id.into(), ..Batch::default() };
    Parsed::events([Heard::Batch(Box::new(HeardBatch { kind, at: None, batch }))])
}

fn duplicates(count: usize) -> Vec<Receipt> {
    vec![done(Duplicate, 0); count]
}

/// Lets everything that is there become too old, and go.
async fn remove_all<F: Fixture>(scene: &mut Scene<F>) {
    scene.wait(KEPT + A_LITTLE);
    scene.tidy_up().await;
    assert!(scene.feed().await.is_empty(), "it is gone");
}

async fn remember<F: Fixture>(scene: &Scene<F>, seconds: u64) {
    let length = Duration::from_secs(seconds);
    let changed = scene.store.set_repeat_memory(scene.account, length, scene.now).await.unwrap();
    assert_eq!(changed.expect("the account is there").repeat_memory, length);
}

async fn count_of<F: Fixture>(scene: &Scene<F>, call_id: &str) -> usize {
    let filter = CallFilter { call_id: Some(Text::from(call_id)), outcome: None, source: None };
    scene.store.calls(scene.account, filter, Page { after: None, limit: 10 }).await.unwrap().len()
}

pub async fn a_repeat_of_what_was_removed_is_a_duplicate_for_thirty_days<F: Fixture>(mut scene: Scene<F>) {
    let number = scene.endpoint(|_| {}).await;
    scene.keep(KEPT).await;
    let all = || {
        [
            says("a", Step::Answered),
            says("a", ENDED),
            batch_ends("batch", EventType::BatchFailed),
            batch_ends("batch", EventType::BatchCompleted),
        ]
    };
    let owned = scene.hear(all()).await.owned;
    scene.settle(&owned[0], Next::Delivered).await;
    // Nothing of it is under way.
    scene.store.release(scene.account, vec![2, 3, 4]).await.unwrap();
    remove_all(&mut scene).await;

    let before = (scene.sum(number).await, scene.store.rows(scene.account, false).await.unwrap());
    let nothing_more = async |scene: &Scene<F>| {
        let committed = scene.hear(all()).await;
        assert_eq!(committed.recorded, duplicates(4));
        assert!(committed.owned.is_empty() && scene.feed().await.is_empty());
        assert_eq!(count_of(scene, "a").await, 0);
        let now = (scene.sum(number).await, scene.store.rows(scene.account, false).await.unwrap());
        assert_eq!(now, before, "nothing is counted");
    };
    nothing_more(&scene).await;
    scene.crash().await;
    nothing_more(&scene).await;
    scene.wait(THIRTY_DAYS - A_LITTLE);
    scene.tidy_up().await;
    nothing_more(&scene).await;

    scene.wait(A_LITTLE);
    assert_eq!(scene.hear(all()).await.recorded, vec![done(Recorded, 1); 4], "then it is accepted as new");
    assert_eq!(scene.feed().await.iter().map(|event| event.position).collect::<Vec<_>>(), [5, 6, 7, 8]);
    scene.finish().await;
}

pub async fn a_step_that_was_not_received_is_recorded_and_the_others_stay_repeats<F: Fixture>(
    mut scene: Scene<F>,
) {
    scene.keep(KEPT).await;
    scene.hear([says("a", Step::Answered), says("a", ENDED)]).await;
    scene.hear([batch_ends("b", EventType::BatchFailed)]).await;
    remove_all(&mut scene).await;
    let first = scene.hear([says("a", Step::Ringing), batch_ends("b", EventType::BatchCompleted)]).await;
    assert_eq!(first.recorded, vec![done(Recorded, 0); 2]);
    let all = || {
        let steps = [Step::Answered, Step::Ringing, ENDED, Step::Ended(Outcome::Failed)];
        let ends = [EventType::BatchFailed, EventType::BatchCompleted];
        steps.into_iter().map(|step| says("a", step)).chain(ends.map(|end| batch_ends("b", end)))
    };
    assert_eq!(scene.hear(all()).await.recorded, duplicates(6), "what is there, and what was there");
    assert_eq!(scene.call("a").await.call.outcome, None);
    // In one group with the step that is new, too.
    let group = [says("a", ENDED), says("a", Step::Initiated), says("a", ENDED), says("a", Step::Initiated)];
    let recorded = scene.hear(group).await.recorded;
    assert_eq!(recorded, [duplicates(1), vec![done(Recorded, 0)], duplicates(2)].concat());

    // Gone once more, all of it is remembered.
    remove_all(&mut scene).await;
    assert_eq!(scene.hear(all()).await.recorded, duplicates(6));
    assert_eq!(scene.hear([says("a", Step::Initiated)]).await.recorded, duplicates(1));
    assert_eq!(scene.hear([says("a", Step::Requested)]).await.recorded, [done(Recorded, 0)]);
    scene.finish().await;
}

pub async fn the_real_end_of_a_lost_call_may_come_after_its_removal<F: Fixture>(mut scene: Scene<F>) {
    scene.keep(KEPT).await;
    scene.hear([says("a", LOST)]).await;
    remove_all(&mut scene).await;
    assert_eq!(scene.hear([says("a", LOST)]).await.recorded, duplicates(1));
    assert_eq!(scene.hear([says("a", ENDED)]).await.recorded, [done(Recorded, 0)]);
    assert_eq!(scene.call("a").await.call.outcome, Some(Outcome::Completed));
    remove_all(&mut scene).await;
    assert_eq!(scene.hear([says("a", ENDED), says("a", LOST)]).await.recorded, duplicates(2));
    scene.finish().await;
}

/// We give it up, of a call that is there: no body says it, so it is no repeat of one.
pub async fn a_removed_call_that_comes_late_can_be_given_up<F: Fixture>(mut scene: Scene<F>) {
    let mut patient = source(scene.account);
    patient.lost_after = Some(Duration::from_secs(10));
    scene.source = scene.store.put_source(patient, None).await.unwrap().unwrap().number;
    scene.keep(KEPT).await;
    scene.hear([says("a", ENDED)]).await;
    remove_all(&mut scene).await;
    scene.hear([says("a", Step::Ringing)]).await;
    scene.wait(11);
    scene.tidy_up().await;
    assert_eq!(scene.call("a").await.call.outcome, Some(Outcome::Lost), "it is not under way for ever");
    assert_eq!(scene.hear([says("a", ENDED)]).await.recorded, duplicates(1));
    scene.finish().await;
}

pub async fn each_source_and_account_remembers_its_own<F: Fixture>(mut scene: Scene<F>) {
    let (mine, first) = (scene.account, scene.source);
    let second = scene.store.put_source(source(mine), None).await.unwrap().unwrap().number;
    let other = scene.other_account("other").await;
    let theirs = scene.store.put_source(source(other), None).await.unwrap().unwrap().number;
    assert_eq!(theirs, first, "the same number in another account");
    scene.keep(KEPT).await;
    scene.hear([says("a", ENDED)]).await;
    remove_all(&mut scene).await;
    assert_eq!(scene.hear([says("a", ENDED)]).await.recorded, duplicates(1));
    for (account, source) in [(mine, second), (other, theirs)] {
        (scene.account, scene.source) = (account, source);
        assert_eq!(scene.hear([says("a", ENDED)]).await.recorded, [done(Recorded, 0)], "{account:?}");
    }
    // One that is made anew has another number.
    (scene.account, scene.source) = (mine, first);
    scene.store.delete_source(mine, first, scene.now).await.unwrap();
    scene.source = scene.store.put_source(source(mine), None).await.unwrap().unwrap().number;
    assert_eq!(scene.hear([says("a", ENDED)]).await.recorded, [done(Recorded, 0)]);
    scene.finish().await;
}

pub async fn a_test_is_recorded_each_time<F: Fixture>(mut scene: Scene<F>) {
    scene.keep(KEPT).await;
    let test = || [Parsed::Test(Box::new(heard("t", ENDED)))];
    for _ in 0..2 {
        let recorded = scene.hear(test()).await.recorded;
        assert!(matches!(recorded[..], [Receipt::Done { kind: Recorded, .. }]), "{recorded:?}");
        remove_all(&mut scene).await;
    }
    assert_eq!(scene.hear([says("t", ENDED)]).await.recorded, [done(Recorded, 0)], "a test is no call");
    scene.finish().await;
}

/// A batch with two contacts, taken in.
async fn give<F: Fixture>(scene: &Scene<F>) -> (i64, Text) {
    let (store, account) = (&scene.store, scene.account);
    let opened = store.open_batch(NewBatch {
        account,
        given: Given::default(),
        contacts: 2,
        max_attempts: 3,
        lost_after: None,
        created_at: scene.now,
    });
    let Opened::As(batch) = opened.await.unwrap() else { panic!("there is room") };
    let contact = |phone: &str| Contact { phone: Text::from(phone), ..Contact::default() };
    let parts = vec![vec![contact("+15550000001"), contact("+15550000002")]];
    store.add_contacts(account, batch, 1, parts).await.unwrap();
    store.begin_batch(account, batch, Vec::new(), Secret::new("s")).await.unwrap();
    scene.tidy_up().await;
    let tag = store.config(account).unwrap().account.tag;
    (batch, Text::from(id::format(Kind::Batch, tag, batch)))
}

fn of_batch(batch: &Text, call: &str, contact: u8, outcome: Outcome) -> Parsed {
    let mut body = heard(call, Step::Ended(outcome));
    body.call.batch_id = Some(batch.clone());
    body.call.contact.phone = Some(Text::from(format!("+1555000000{contact}")));
    body.call.duration_seconds = Millis::from_seconds(60.0);
    Parsed::events([Heard::Call(Box::new(body))])
}

pub async fn a_repeat_counts_for_no_batch_and_uses_no_minutes<F: Fixture>(mut scene: Scene<F>) {
    scene.keep(KEPT).await;
    scene.store.set_credit(scene.account, Some(3_600_000)).await.unwrap();
    let (batch, id) = give(&scene).await;
    let failed = || [of_batch(&id, "a", 1, Outcome::Failed)];
    assert_eq!(scene.hear(failed()).await.recorded, [done(Recorded, 0)]);
    remove_all(&mut scene).await;
    let seen = async |scene: &Scene<F>| {
        let view: BatchView = scene.store.batch(scene.account, batch).await.unwrap().expect("it is open");
        let page = Page { after: None, limit: 10 };
        let contacts = scene.store.contacts(scene.account, batch, false, page).await.unwrap();
        let books: Vec<_> = contacts.into_iter().map(|view| view.book).collect();
        (view.state, view.tally, books, scene.store.credit(scene.account).await.unwrap())
    };
    let before = seen(&scene).await;
    assert_eq!((before.2[0].ended, before.3), (1, Some(3_540_000)));
    assert_eq!(scene.hear(failed()).await.recorded, duplicates(1));
    assert_eq!(seen(&scene).await, before);
    scene.finish().await;
}

/// A batch that the account gave is told of by its number, which is handed out once.
pub async fn the_end_of_a_removed_batch_is_a_repeat<F: Fixture>(mut scene: Scene<F>) {
    scene.keep(KEPT).await;
    let (batch, id) = give(&scene).await;
    scene.hear([of_batch(&id, "a", 1, Outcome::Completed), of_batch(&id, "b", 2, Outcome::Completed)]).await;
    assert_eq!(scene.feed().await.iter().filter(|it| it.kind == EventType::BatchCompleted).count(), 1);
    // Contacts, links and the batch go in steps, each with its pause.
    for _ in 0..5 {
        remove_all(&mut scene).await;
    }
    assert!(scene.store.batch(scene.account, batch).await.unwrap().is_none());
    let ends =
        || [EventType::BatchCompleted, EventType::BatchFailed].map(|end| batch_ends(&id.to_string(), end));
    assert_eq!(scene.hear(ends()).await.recorded, duplicates(2));
    scene.wait(THIRTY_DAYS);
    assert_eq!(scene.hear(ends()).await.recorded, duplicates(2));
    assert!(scene.feed().await.is_empty());
    scene.finish().await;
}

pub async fn an_account_says_how_long_it_remembers<F: Fixture>(mut scene: Scene<F>) {
    scene.keep(KEPT).await;
    assert_eq!(
        scene.store.config(scene.account).unwrap().account.repeat_memory,
        Duration::from_secs(THIRTY_DAYS)
    );
    // Longer, also for what was removed before.
    scene.hear([says("a", ENDED)]).await;
    remove_all(&mut scene).await;
    remember(&scene, 2 * THIRTY_DAYS).await;
    scene.wait(2 * THIRTY_DAYS - A_LITTLE);
    scene.tidy_up().await;
    scene.crash().await;
    assert_eq!(scene.hear([says("a", ENDED)]).await.recorded, duplicates(1));
    // Shorter, likewise: from one moment to the next, and the digests go.
    scene.hear([says("b", ENDED)]).await;
    remove_all(&mut scene).await;
    remember(&scene, 10).await;
    assert_eq!(scene.hear([says("b", Step::Ringing)]).await.recorded, [done(Recorded, 0)]);
    assert_eq!(scene.hear([says("b", ENDED)]).await.recorded, duplicates(1));
    scene.wait(11);
    assert_eq!(scene.hear([says("b", ENDED)]).await.recorded, [done(Recorded, 0)]);
    remove_all(&mut scene).await;
    remember(&scene, 0).await;
    assert_eq!(scene.hear([says("b", ENDED)]).await.recorded, [done(Recorded, 0)], "not at all");
    scene.tidy_up().await;
    remember(&scene, THIRTY_DAYS).await;
    assert_eq!(scene.hear([says("a", ENDED)]).await.recorded, [done(Recorded, 0)], "what was forgotten is");
    // Nothing was written while nothing was remembered.
    remember(&scene, 0).await;
    remove_all(&mut scene).await;
    remember(&scene, THIRTY_DAYS).await;
    assert_eq!(scene.hear([says("a", ENDED)]).await.recorded, [done(Recorded, 0)]);
    let nobody = scene.store.set_repeat_memory(AccountKey(77), Duration::ZERO, scene.now).await;
    assert_eq!(nobody, Ok(None));
    scene.finish().await;
}

pub async fn many_are_forgotten_in_steps<F: Fixture>(mut scene: Scene<F>) {
    const MANY: usize = 900;
    scene.keep(KEPT).await;
    let all = || (0..MANY).map(|call| says(&format!("c-{call}"), ENDED));
    scene.hear(all()).await;
    remove_all(&mut scene).await;
    // A younger one, which stays.
    scene.hear([says("young", ENDED)]).await;
    remove_all(&mut scene).await;
    assert_eq!(scene.hear(all()).await.recorded, duplicates(MANY));
    scene.wait(THIRTY_DAYS - KEPT - A_LITTLE);
    let mut steps = 0;
    while scene.store.maintain(scene.now).await.unwrap().more {
        steps += 1;
        assert_eq!(scene.hear([says("young", ENDED)]).await.recorded, duplicates(1));
    }
    assert!(steps >= 4, "in steps: {steps}");
    // What is deleted is not there for a longer memory either.
    remember(&scene, 3 * THIRTY_DAYS).await;
    let recorded = scene.hear(all()).await.recorded;
    assert!(recorded.iter().all(|it| *it == done(Recorded, 0)));
    assert_eq!(scene.hear([says("young", ENDED)]).await.recorded, duplicates(1));
    scene.finish().await;
}

/// A node that has not seen the removal knows of it with the next body.
#[tokio::test(flavor = "multi_thread")]
async fn what_one_node_removed_the_other_does_not_record_again() {
    let mut scene = Scene::<Postgres>::new().await;
    let other = scene.place.join();
    scene.keep(KEPT).await;
    scene.hear([says("a", ENDED)]).await;
    let hear = async |scene: &Scene<Postgres>, call: &str| {
        let incoming = vec![scene.incoming(says(call, ENDED))];
        let group = Group { now: scene.now, incoming, settlements: Vec::new() };
        other.commit(Arc::new(group), Arc::clone(&scene.room) as _).await.unwrap().recorded
    };
    let kinds = |recorded: &[Receipt]| match recorded {
        [Receipt::Done { kind, .. }] => *kind,
        other => panic!("{other:?}"),
    };
    // The other node has worked on the account while it had no tombstones.
    assert_eq!(kinds(&hear(&scene, "b").await), Recorded);
    assert_eq!(kinds(&hear(&scene, "a").await), Duplicate);
    remove_all(&mut scene).await;
    for _ in 0..2 {
        assert_eq!(kinds(&hear(&scene, "a").await), Duplicate);
        assert_eq!(kinds(&hear(&scene, "b").await), Duplicate);
    }
    scene.wait(THIRTY_DAYS);
    assert_eq!(kinds(&hear(&scene, "a").await), Recorded);
    other.close().await.unwrap();
    scene.finish().await;
}

/// The clock may be set back between the request and the work.
pub async fn an_erasure_is_no_older_than_its_request<F: Fixture>(mut scene: Scene<F>) {
    scene.hear([says(&call_id(0), ENDED)]).await;
    scene.wait(THIRTY_DAYS);
    scene.store.erase(scene.account, person(PHONE), scene.now).await.unwrap();
    while scene.store.maintain(some_time()).await.unwrap().more {}
    assert_eq!(scene.hear([says(&call_id(0), ENDED)]).await.recorded, duplicates(1));
    scene.finish().await;
}

/// What happens between bodies.
#[derive(Clone, Debug)]
enum Action {
    /// These steps of these calls are received, each in a group of its own or all in one.
    Receive(Vec<(u8, usize)>, bool),
    Wait(u64),
    /// One step of the chores, or all there are.
    Chore,
    TidyUp,
    Erase,
    Crash,
}

fn action() -> impl Strategy<Value = Action> {
    let bodies = prop::collection::vec((0..3u8, 0..STEPS.len()), 1..4);
    prop_oneof![
        10 => (bodies, any::<bool>()).prop_map(|(bodies, at_once)| Action::Receive(bodies, at_once)),
        4 => (0..15u64).prop_map(Action::Wait),
        3 => Just(Action::Chore),
        4 => Just(Action::TidyUp),
        1 => Just(Action::Erase),
        1 => Just(Action::Crash),
    ]
}

const STEPS: [Step; 4] = [Step::Ringing, Step::Answered, ENDED, LOST];

/// What a plain map knows of what was recorded, beside a store that keeps things for ten seconds and remembers for twenty.
struct Model {
    /// When a step of a call was recorded last.
    recorded: BTreeMap<(u8, usize), Time>,
    /// Whether somebody was ever erased: then a call may be gone at once.
    has_erased: bool,
}

impl Model {
    const KEPT: Duration = Duration::from_secs(10);
    const REMEMBERED: Duration = Duration::from_secs(20);

    /// What may become of a step: `None` where either is right.
    fn expects(&self, (call, step): (u8, usize), now: Time) -> Option<bool> {
        // After a real end there is no news in a loss.
        let repeats: &[usize] = if STEPS[step] == LOST { &[2, 3] } else { &[step] };
        let last = repeats.iter().filter_map(|&step| self.recorded.get(&(call, step))).max();
        let Some(&last) = last else { return Some(true) };
        let kept = if self.has_erased { Duration::ZERO } else { Self::KEPT };
        (now.since(last) < kept + Self::REMEMBERED).then_some(false)
    }

    fn note(&mut self, body: (u8, usize), now: Time, receipt: &Receipt) {
        let expected = self.expects(body, now);
        let Receipt::Done { kind, .. } = receipt else { panic!("{receipt:?}") };
        let is_recorded = *kind == Recorded;
        assert!(expected.is_none_or(|expected| expected == is_recorded), "{body:?} at {now}: {receipt:?}");
        if is_recorded {
            self.recorded.insert(body, now);
        }
    }
}

/// Some ids hold the number of the person who is erased, and are replaced then.
fn call_id(call: u8) -> String {
    if call == 0 { format!("call-{PHONE}") } else { format!("call-{call}") }
}

/// Bodies in any order and any number of times, removals by age and for a person, and crashes: a step that is remembered is
/// never recorded again, and one that was never received always is.
pub fn no_call_ends_twice_while_it_is_remembered<F: Fixture>() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let config = Config { cases: 60 / F::CASES_OF, failure_persistence: None, ..Config::default() };
    let actions = prop::collection::vec(action(), 1..60);
    let run = TestRunner::new(config).run(&actions, |actions| {
        runtime.block_on(async {
            let mut scene = Scene::<F>::new().await;
            scene.keep(Model::KEPT.as_secs()).await;
            remember(&scene, Model::REMEMBERED.as_secs()).await;
            let mut model = Model { recorded: BTreeMap::new(), has_erased: false };
            for action in &actions {
                match action {
                    Action::Receive(bodies, at_once) => {
                        let groups: Vec<_> =
                            if *at_once { vec![&bodies[..]] } else { bodies.chunks(1).collect() };
                        for group in groups {
                            let said = group.iter().map(|&(call, step)| says(&call_id(call), STEPS[step]));
                            let recorded = scene.hear(said).await.recorded;
                            for (&body, receipt) in group.iter().zip(&recorded) {
                                model.note(body, scene.now, receipt);
                            }
                        }
                    }
                    Action::Wait(seconds) => scene.wait(*seconds),
                    Action::Chore => drop(scene.store.maintain(scene.now).await.unwrap()),
                    Action::TidyUp => scene.tidy_up().await,
                    Action::Erase => {
                        scene.store.erase(scene.account, person(PHONE), scene.now).await.unwrap();
                        model.has_erased = true;
                    }
                    Action::Crash => scene.crash().await,
                }
            }
            scene.finish().await;
        });
        Ok(())
    });
    if let Err(failure) = run {
        panic!("{failure}");
    }
}
