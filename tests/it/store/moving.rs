//! What moves with an account beside its calls: batches that are under way, campaigns and agents set by hand, replays,
//! held deliveries. A batch that is half done ends in the new house, once and with the right numbers.

use std::time::Duration;

use postcall::dialect::ReceiptKind;
use postcall::ledger::tally::Dimension;
use postcall::ledger::{ContactBook, Next};
use postcall::model::endpoint::{Part, Wait};
use postcall::model::event::{Heard, HeardBatch};
use postcall::model::id::{self, Kind};
use postcall::model::replay::{ReplayOrder, ReplayState, Selection};
use postcall::model::{Batch, EventBody, EventType, Outcome, Raw, Secret, Step, Text, Time};
use postcall::store::analytics::{Mentioned, Setting, TextPage};
use postcall::store::batches::{
    BatchState, BatchView, Contact, Failure, Given, NewBatch, Opened, contact_number,
};
use postcall::store::export::Secrets;
use postcall::store::{DeliveryFilter, DeliveryView, Page, Parsed};

use super::carrying::{export, import};
use super::erasing::{PHONE, finish, person};
use super::scene::{Fixture, Scene, done, endpoint, heard, says};

const ENDED: Step = Step::Ended(Outcome::Completed);
const FAILED: Step = Step::Ended(Outcome::Failed);
const ALL: Page = Page { after: None, limit: 10_000 };

fn phone(number: usize) -> Text {
    Text::from(format!("+1555{number:06}"))
}

fn batch_id<F: Fixture>(scene: &Scene<F>, batch: i64) -> Text {
    let tag = scene.store.config(scene.account).unwrap().account.tag;
    Text::from(id::format(Kind::Batch, tag, batch))
}

/// A batch of these contacts, on disk and not taken in yet, with an endpoint of its own.
async fn give<F: Fixture>(scene: &Scene<F>, contacts: Vec<Contact>, lost_after: Option<u64>) -> i64 {
    give_for(scene, contacts, lost_after, None).await
}

/// The same, with a time of its own.
async fn give_for<F: Fixture>(
    scene: &Scene<F>,
    contacts: Vec<Contact>,
    lost_after: Option<u64>,
    scheduled_at: Option<Time>,
) -> i64 {
    let opened = scene.store.open_batch(NewBatch {
        account: scene.account,
        given: Given {
            agent_id: Some(Text::from("ann")),
            options: Raw::parse("{\"pace\":2}"),
            scheduled_at,
            ..Given::default()
        },
        contacts: i64::try_from(contacts.len()).unwrap(),
        max_attempts: 2,
        lost_after: lost_after.map(Duration::from_secs),
        created_at: scene.now,
    });
    let Opened::As(batch) = opened.await.unwrap() else { panic!("there is room") };
    let parts = contacts.chunks(2).map(<[_]>::to_vec).collect();
    scene.store.add_contacts(scene.account, batch, 1, parts).await.unwrap();
    let mut own = endpoint(scene.account);
    own.scope.batch_id = Some(batch_id(scene, batch));
    let fresh = Secret::new("ofbatches");
    scene.store.begin_batch(scene.account, batch, vec![own], fresh).await.unwrap();
    batch
}

fn people(count: usize) -> Vec<Contact> {
    let one = |at| Contact {
        phone: phone(at),
        id: (at % 2 == 0).then(|| Text::from(format!("p-{at}"))),
        metadata: Raw::parse("{\"tier\":1.50}"),
        ..Contact::default()
    };
    (0..count).map(one).collect()
}

/// A step of a call for a contact of a batch.
fn of_batch(batch: &Text, call: &str, contact: usize, step: Step) -> Parsed {
    let mut body = heard(call, step);
    body.call.batch_id = Some(batch.clone());
    body.call.contact.phone = Some(phone(contact));
    Parsed::events([Heard::Call(Box::new(body))])
}

async fn view<F: Fixture>(scene: &Scene<F>, batch: i64) -> BatchView {
    scene.store.batch(scene.account, batch).await.unwrap().expect("it is there")
}

async fn count<F: Fixture>(scene: &Scene<F>, kind: EventType) -> usize {
    scene.feed().await.iter().filter(|event| event.kind == kind).count()
}

/// Brings the account to a new house.
async fn moved<F: Fixture>(scene: &Scene<F>) -> (Scene<F>, Vec<String>) {
    let lines = export(&scene.store, scene.account, Secrets::Clear).await;
    let mut new = Scene::<F>::new().await;
    new.now = scene.now;
    let done = import(&new, &lines, 13, true).await;
    assert_eq!((done.wrong.as_slice(), done.ended), (&[][..], true));
    (new, lines)
}

async fn mentioned<F: Fixture>(scene: &Scene<F>) -> Vec<Mentioned> {
    let mut all = Vec::new();
    for what in [Dimension::Campaign, Dimension::Agent] {
        let page = TextPage { after: None, limit: 1000 };
        all.extend(scene.store.all_mentioned(scene.account, what, page).await.unwrap());
    }
    all
}

pub async fn what_stands_beside_the_calls_moves_too<F: Fixture>(mut scene: Scene<F>) {
    let (store, account) = (std::sync::Arc::clone(&scene.store), scene.account);
    store.set_credit(account, Some(3_600_000)).await.unwrap();
    let everything = scene.endpoint(|_| {}).await;
    // Complete, failed, half done with somebody who was erased, and some that wait.
    let [done_one, failed, half] =
        [give(&scene, people(1), None).await, give(&scene, people(5), None).await, {
            let mut all = people(4);
            all[3].phone = Text::from(PHONE);
            give(&scene, all, Some(90_000)).await
        }];
    scene.tidy_up().await;
    let failure = Failure { error: Text::from("no line"), code: Text::from("LINE") };
    store.end_batch(account, failed, failure, scene.now).await.unwrap();
    let ids = [done_one, half].map(|batch| batch_id(&scene, batch));
    scene.hear([of_batch(&ids[0], "a", 0, ENDED), of_batch(&ids[1], "b", 0, ENDED)]).await;
    scene.hear([of_batch(&ids[1], "c", 1, FAILED), of_batch(&ids[1], "d", 2, Step::Ringing)]).await;
    store.erase(account, person(PHONE), scene.now).await.unwrap();
    finish(&scene).await;
    let waiting = give(&scene, people(9), Some(7200)).await;
    store.maintain(scene.now).await.unwrap();
    assert_eq!(view(&scene, waiting).await.state, BatchState::Ingesting);
    // One that never arrived was promised to nobody.
    let new = NewBatch {
        account,
        given: Given::default(),
        contacts: 1,
        max_attempts: 1,
        lost_after: None,
        created_at: scene.now,
    };
    store.open_batch(new).await.unwrap();
    for (what, id, name) in [
        (Dimension::Campaign, "spring.2026", Some(Some("Spring"))),
        (Dimension::Agent, "ann", Some(Some("Ann"))),
        (Dimension::Agent, "bob \u{1f600}", None),
    ] {
        let name = name.map(|name: Option<&str>| name.map(|name| Text::from(name.to_owned())));
        let setting = Setting { id: Text::from(id.to_owned()), name, expected_calls: Some(Some(70)) };
        store.put_mentioned(account, what, setting, scene.now).await.unwrap();
    }
    let order = ReplayOrder { selection: Selection::default(), to: None, rate: 1000.0, dry_run: false };
    for owned in scene.claim(everything, 2).await {
        scene.settle(&owned, Next::Delivered).await;
    }
    let replay = store.create_replay(account, order, scene.now).await.unwrap().unwrap().number;
    // The batch that waits is to stay so: a replay goes on before it is all in only as far as chores do.
    while store.replay(account, replay).await.unwrap().unwrap().state == ReplayState::Running {
        scene.wait(1);
        store.maintain(scene.now).await.unwrap();
    }
    let vendors = Batch { batch_id: Text::from("v-1"), ..Batch::default() };
    let vendors = HeardBatch { kind: EventType::BatchCompleted, at: None, batch: vendors };
    scene.hear([Parsed::events([Heard::Batch(Box::new(vendors.clone()))])]).await;

    let (mut new, lines) = moved(&scene).await;
    let of =
        |kind: &str| lines.iter().filter(|line| line.starts_with(&format!("{{\"kind\":\"{kind}\","))).count();
    assert_eq!([of("batch"), of("replay"), of("campaign"), of("agent")], [4, 1, 1, 2]);
    assert_eq!(export(&new.store, account, Secrets::Clear).await, lines);
    let again = import(&new, &lines, 41, true).await;
    assert_eq!((again.unchanged + 1, again.added.len(), again.wrong.len()), (lines.len() as u64, 0, 0));
    for batch in [done_one, failed, half, waiting] {
        let [old, there] = [view(&scene, batch).await, view(&new, batch).await];
        assert_eq!(format!("{old:?}"), format!("{there:?}"));
        let [old, there] = [&scene, &new].map(|scene| scene.store.contacts(account, batch, false, ALL));
        assert_eq!(format!("{:?}", old.await.unwrap()), format!("{:?}", there.await.unwrap()));
        let [old, there] = [&scene, &new].map(|scene| scene.store.batch_calls(account, batch, ALL));
        assert_eq!(format!("{:?}", old.await.unwrap()), format!("{:?}", there.await.unwrap()));
    }
    assert_eq!(new.store.credit(account).await, Ok(Some(3_600_000)));
    assert_eq!(new.store.rows(account, false).await, scene.store.rows(account, false).await);
    assert_eq!(mentioned(&new).await, mentioned(&scene).await);
    assert_eq!(new.store.replay(account, replay).await, scene.store.replay(account, replay).await);
    let [old, there] = [&scene, &new].map(|scene| scene.deliveries(DeliveryFilter::default()));
    let (old, there) = (old.await, there.await);
    for (old, there) in old.iter().zip(&there) {
        let known = |view: &DeliveryView| (view.number, view.endpoint, view.event, view.state, view.replay);
        assert_eq!(known(old), known(there));
    }
    assert_eq!(old.len(), there.len());
    assert!(there.iter().any(|view| view.replay == Some(replay)));

    // What was told is not told again, and what was set by hand stays.
    let repeat = new.hear([Parsed::events([Heard::Batch(Box::new(vendors))])]).await;
    assert_eq!(repeat.recorded, [done(ReceiptKind::Duplicate, 0)]);
    let mut named = heard("x", ENDED);
    (named.call.agent.id, named.call.agent.name) = (Some(Text::from("ann")), Some(Text::from("Anna")));
    new.hear([Parsed::events([Heard::Call(Box::new(named))])]).await;
    let ann = new.store.mentioned(account, Dimension::Agent, Text::from("ann")).await.unwrap().unwrap();
    assert_eq!(ann.name, Some(Text::from("Ann")));

    // Those that waited are taken in, and numbers go on behind the old ones.
    let (requested, half) = (count(&new, EventType::CallRequested).await, view(&new, waiting).await);
    assert_eq!(half.state, BatchState::Ingesting);
    new.tidy_up().await;
    let news = i64::try_from(count(&new, EventType::CallRequested).await - requested).unwrap();
    assert!(news > 0 && news == 9 - half.taken_in, "{news}");
    assert_eq!(
        (view(&new, waiting).await.state, view(&new, waiting).await.taken_in),
        (BatchState::Sealed, 9)
    );
    assert_eq!(give(&new, people(1), None).await, waiting + 2);
    new.wait(1);
    new.finish().await;
    scene.finish().await;
}

pub async fn a_batch_goes_on_in_the_new_house<F: Fixture>(scene: Scene<F>) {
    let batch = give(&scene, people(4), Some(86_400)).await;
    scene.tidy_up().await;
    let id = batch_id(&scene, batch);
    scene.hear([of_batch(&id, "c-0", 0, ENDED), of_batch(&id, "c-1", 1, FAILED)]).await;
    scene.hear([of_batch(&id, "c-2", 2, Step::Ringing)]).await;
    let (mut new, _) = moved(&scene).await;
    new.tidy_up().await;
    let half = view(&new, batch).await;
    assert_eq!((half.state, half.tally.succeeded, half.tally.failed), (BatchState::Sealed, 1, 0));

    // A call that was under way ends here, a repeat counts nothing, a contact is named by its id.
    let repeat = new.hear([of_batch(&id, "c-0", 0, ENDED)]).await;
    assert_eq!(repeat.recorded, [done(ReceiptKind::Duplicate, 0)]);
    let mut third = heard("c-3", FAILED);
    let tag = new.store.config(new.account).unwrap().account.tag;
    third.call.contact.id = Some(Text::from(id::format(Kind::Contact, tag, contact_number(batch, 4))));
    new.hear([of_batch(&id, "c-2", 2, ENDED), Parsed::events([Heard::Call(Box::new(third))])]).await;
    new.hear([of_batch(&id, "c-1b", 1, FAILED)]).await;
    assert_eq!(count(&new, EventType::BatchCompleted).await, 0, "somebody is open");
    // Nobody calls the last one again.
    for _ in 0..2 {
        new.wait(86_401);
        new.tidy_up().await;
    }
    let whole = view(&new, batch).await;
    assert_eq!((whole.state, whole.tally.succeeded, whole.tally.failed), (BatchState::Completed, 2, 2));
    let books = new.store.contacts(new.account, batch, false, ALL).await.unwrap();
    let books: Vec<ContactBook> = books.into_iter().map(|contact| contact.book).collect();
    let book = |heard, ended, completed| ContactBook { heard, ended, completed, is_closed: true };
    assert_eq!(books, [book(1, 1, 1), book(2, 2, 0), book(1, 1, 1), book(2, 2, 0)]);

    // Told once, in this house, to the batch's own endpoint too.
    assert_eq!(count(&scene, EventType::BatchCompleted).await, 0);
    let feed = new.feed().await;
    let told: Vec<&EventBody> = feed
        .iter()
        .filter(|event| event.kind == EventType::BatchCompleted)
        .map(|event| &event.body)
        .collect();
    let [EventBody::Batch(told)] = told[..] else { panic!("{told:?}") };
    let statistics = format!("{:?}", told.statistics);
    assert!(
        statistics.contains("succeeded: Some(2)") && statistics.contains("failed: Some(2)"),
        "{statistics}"
    );
    let own = new.store.config(new.account).unwrap().endpoints[0].number;
    let owed = new.deliveries(DeliveryFilter { endpoint: Some(own), ..DeliveryFilter::default() }).await;
    let last = feed.iter().find(|event| event.kind == EventType::BatchCompleted).unwrap().position;
    assert_eq!(owed.iter().filter(|view| view.event == last).count(), 1);
    new.finish().await;
    scene.finish().await;
}

/// A call that came before its contact was taken in counts for nobody once its batch has failed, whatever is heard of it.
pub async fn a_call_that_a_failed_batch_never_placed_moves_as_it_is<F: Fixture>(scene: Scene<F>) {
    let batch = give(&scene, people(3), None).await;
    let id = batch_id(&scene, batch);
    scene.hear([of_batch(&id, "early", 2, Step::Ringing)]).await;
    let failure = Failure { error: Text::from("no line"), code: Text::from("LINE") };
    scene.store.end_batch(scene.account, batch, failure, scene.now).await.unwrap();
    scene.hear([of_batch(&id, "early", 2, ENDED)]).await;
    let (new, lines) = moved(&scene).await;
    assert!(lines.iter().any(|line| line.contains("\"counted\":\"heard\"")), "{lines:#?}");
    assert_eq!(export(&new.store, scene.account, Secrets::Clear).await, lines);
    new.finish().await;
    scene.finish().await;
}

/// Beside the account that it came from ids cannot stay, but dialers go on saying the old ones.
pub async fn a_batch_goes_on_under_its_old_ids<F: Fixture>(mut scene: Scene<F>) {
    let batch = give(&scene, people(2), None).await;
    scene.tidy_up().await;
    let (old, first) = (batch_id(&scene, batch), scene.account);
    scene.hear([of_batch(&old, "c-0", 0, Step::Ringing)]).await;
    let lines = export(&scene.store, first, Secrets::Clear).await;
    scene.account = scene.other_account("other").await;
    let done = import(&scene, &lines, 200, true).await;
    assert_eq!((done.wrong.as_slice(), done.ended), (&[][..], true));
    scene.tidy_up().await;
    let id = batch_id(&scene, batch);
    assert_ne!(id, old);
    let own = scene.configured(1);
    assert_eq!(own.scope.batch_id.as_ref(), Some(&id));
    let started = scene.feed().await.len();
    scene.hear([of_batch(&old, "c-0", 0, ENDED), of_batch(&old, "c-1", 1, ENDED)]).await;
    let whole = view(&scene, batch).await;
    assert_eq!((whole.state, whole.tally.succeeded), (BatchState::Completed, 2));
    let news = &scene.feed().await[started..];
    assert_eq!(news.len(), 3);
    for event in news {
        let owed = DeliveryFilter { event: Some(event.position), ..DeliveryFilter::default() };
        assert_eq!(scene.deliveries(owed).await.len(), 1, "the batch's own endpoint hears of it: {event:?}");
    }
    let others = scene.store.batch(first, batch).await.unwrap().unwrap();
    assert_eq!(
        (others.state, others.tally.succeeded),
        (BatchState::Sealed, 0),
        "the first goes on by itself"
    );
    scene.finish().await;
}

/// Whoever was not asked for yet is, in the house where the batch is when its time comes; nobody is twice.
pub async fn a_batch_keeps_its_time_in_the_new_house<F: Fixture>(scene: Scene<F>) {
    let start = scene.later(3600);
    let batch = give_for(&scene, people(150), Some(60), Some(start)).await;
    // Some are taken in, some wait.
    scene.store.maintain(scene.now).await.unwrap();
    let (mut second, lines) = moved(&scene).await;
    assert_eq!(export(&second.store, second.account, Secrets::Clear).await, lines);
    second.tidy_up().await;
    assert_eq!(view(&second, batch).await.taken_in, 150);
    assert_eq!(count(&second, EventType::CallRequested).await, 0);

    second.now = start;
    second.store.maintain(second.now).await.unwrap();
    let asked = count(&second, EventType::CallRequested).await;
    assert!((1..150).contains(&asked), "the rest is asked for in the next house: {asked}");
    let (third, _) = moved(&second).await;
    third.tidy_up().await;
    let events = third.feed().await;
    let mut phones: Vec<Text> = Vec::new();
    for event in events.iter().filter(|event| event.kind == EventType::CallRequested) {
        let EventBody::Call { call, .. } = &event.body else { panic!("{event:?}") };
        phones.extend(call.contact.phone.clone());
    }
    assert_eq!(phones, (0..150).map(phone).collect::<Vec<_>>(), "each once, in the order given");
    for scene in [scene, second, third] {
        scene.finish().await;
    }
}

pub async fn a_replay_stops_with_the_move<F: Fixture>(scene: Scene<F>) {
    let number = scene.endpoint(|_| {}).await;
    for call in 0..6 {
        for owned in scene.step(&format!("c-{call}"), ENDED).await {
            scene.settle(&owned, Next::Delivered).await;
        }
    }
    let order =
        |rate| ReplayOrder { selection: Selection::default(), to: Some(number), rate, dry_run: false };
    let begin = async |scene: &Scene<F>, rate| {
        let made = scene.store.create_replay(scene.account, order(rate), scene.now).await;
        made.unwrap().unwrap().number
    };
    let slow = begin(&scene, 1.0).await;
    scene.store.maintain(scene.now).await.unwrap();
    let off = begin(&scene, 1000.0).await;
    for _ in 0..3 {
        scene.store.maintain(scene.now).await.unwrap();
    }
    assert!(scene.store.cancel_replay(scene.account, off, scene.now).await.unwrap());
    let (mut new, _) = moved(&scene).await;
    let look =
        async |scene: &Scene<F>, number| scene.store.replay(scene.account, number).await.unwrap().unwrap();
    let (before, after) = (look(&scene, slow).await, look(&new, slow).await);
    assert_eq!((before.state, after.state), (ReplayState::Running, ReplayState::Cancelled));
    assert_eq!(after.finished_at, Some(new.now));
    assert_eq!((after.deliveries, after.open), (before.deliveries, before.open));
    assert!(after.open > 0 && look(&new, off).await.open > 0);
    new.tidy_up().await;
    new.wait(60);
    new.tidy_up().await;
    assert_eq!(look(&new, slow).await, after, "it plans nothing more, and what it planned is owed");
    assert_eq!(look(&new, off).await.open, 0, "what was called off is");
    // Its deliveries are sent and tell whose they are.
    let owned = new.claim(number, 99).await;
    assert_eq!(i64::try_from(owned.len()).unwrap(), after.open);
    assert_eq!(new.delivery(owned[0].delivery).await.replay, Some(slow));
    assert_eq!(begin(&new, 1.0).await, off + 1);
    new.finish().await;
    scene.finish().await;
}

pub async fn what_is_held_goes_on_waiting<F: Fixture>(scene: Scene<F>) {
    let wait = Wait { parts: vec![Part::Recording], up_to: Duration::from_secs(7200) };
    let number = scene.endpoint(|endpoint| endpoint.delivering.wait = Some(wait)).await;
    let complete = |call: &str| {
        let mut body = heard(call, ENDED);
        body.call.recording.url = Some(Text::from("https://r/1"));
        Parsed::events([Heard::Call(Box::new(body))])
    };
    scene.room.set(0);
    scene.hear(["sent", "held"].map(|call| says(call, ENDED))).await;
    scene.hear([complete("sent")]).await;
    let (new, lines) = moved(&scene).await;
    assert_eq!(export(&new.store, new.account, Secrets::Clear).await, lines);
    let has_recording = |owned: &postcall::store::Owned| {
        let EventBody::Call { call, .. } = &owned.event.body else { panic!("a call") };
        call.recording.url.is_some()
    };
    let owned = new.claim(number, 9).await;
    assert_eq!((owned.len(), has_recording(&owned[0])), (1, true), "it says what had come");
    let owned = new.hear([complete("held")]).await.owned;
    assert_eq!((owned.len(), has_recording(&owned[0])), (1, true), "the other one waited for it");
    assert_eq!(new.sum(number).await.owed, 2);
    new.finish().await;
    scene.finish().await;
}

pub async fn wrong_lines_about_batches_are_named<F: Fixture>(scene: Scene<F>) {
    let batch = give(&scene, people(3), None).await;
    scene.store.maintain(scene.now).await.unwrap();
    let id = batch_id(&scene, batch);
    scene.hear([of_batch(&id, "c-0", 0, Step::Ringing)]).await;
    let order = ReplayOrder { selection: Selection::default(), to: None, rate: 1.0, dry_run: true };
    scene.store.create_replay(scene.account, order, scene.now).await.unwrap();
    let lines = export(&scene.store, scene.account, Secrets::Clear).await;
    let at = |kind: &str, nth: usize| {
        let is = |line: &&String| line.starts_with(&format!("{{\"kind\":\"{kind}\","));
        lines.iter().filter(is).nth(nth).cloned().expect(kind)
    };
    let (one, call, contact, waiting) = (at("batch", 0), at("call", 0), at("contact", 0), at("contact", 2));
    assert!(waiting.contains("\"waiting\":["), "{waiting}");
    let own = batch_id(&scene, batch).to_str().into_owned();
    let numbered =
        |kind: Kind, number| id::format(kind, scene.store.config(scene.account).unwrap().account.tag, number);
    let wrong = [
        (one.replace("ingesting", "begun"), "unknown_state"),
        (one.replace("\"total\":3", "\"total\":-3"), "malformed_line"),
        (one.replace("ingesting", "completed"), "malformed_line"),
        (one.replace(&own, &numbered(Kind::Call, 1)), "bad_id"),
        (one.replace(&own, &id::format(Kind::Batch, postcall::model::id::Tag(5), 1)), "other_account"),
        (one.replace("\"max_attempts\":2,", ""), "malformed_line"),
        (contact.replace("\"taken_in\"", "\"taken\""), "no_such_batch"),
        (contact.clone(), "no_such_batch"),
        (call.replace(&numbered(Kind::Contact, contact_number(batch, 1)), &own), "no_such_event"),
        (at("replay", 0).replace("running", "idle"), "unknown_state"),
        (at("replay", 0).replace("\"rate\":1.0", "\"rate\":1e-20"), "malformed_line"),
        (at("replay", 0).replace("\"last\":", "\"last\":-"), "malformed_line"),
        (at("agent", 0).replace("\"id\":\"ann\"", "\"id\":\"\""), "malformed_line"),
    ];
    let new = Scene::<F>::new().await;
    let mut broken = vec![lines[0].clone()];
    broken.extend(wrong.iter().map(|(line, _)| line.clone()));
    let found = import(&new, &broken, 50, true).await;
    let codes: Vec<(u64, &str)> = found.wrong.iter().map(|wrong| (wrong.line, wrong.code)).collect();
    let expected: Vec<(u64, &str)> = (2..).zip(wrong.iter().map(|(_, code)| *code)).collect();
    assert_eq!(codes, expected, "{:?}", found.wrong);
    assert!(found.wrong.iter().all(|wrong| wrong.detail.ends_with('.')), "{:?}", found.wrong);

    // With its batch there, a contact has to fit into it.
    let fourth = numbered(Kind::Contact, contact_number(batch, 4));
    let first = numbered(Kind::Contact, contact_number(batch, 1));
    let wrong = [
        (contact.replace(&first, &fourth), "malformed_line"),
        (contact.replace("\"taken_in\"", "\"taken\""), "malformed_line"),
        (contact.replace("\"heard\":1", "\"heard\":-1"), "malformed_line"),
        (waiting.replace("\"phone\"", "\"number\""), "malformed_line"),
    ];
    let mut broken = vec![lines[0].clone(), one.clone()];
    broken.extend(wrong.iter().map(|(line, _)| line.clone()));
    let found = import(&new, &broken, 50, true).await;
    let codes: Vec<&str> = found.wrong.iter().map(|wrong| wrong.code).collect();
    assert_eq!(codes, wrong.map(|(_, code)| code), "{:?}", found.wrong);

    let done = import(&new, &lines, 3, true).await;
    assert_eq!((done.wrong.as_slice(), done.ended), (&[][..], true));
    let other = one.replace(&one[one.find("\"created_at\":\"20").unwrap()..][..16], "\"created_at\":\"21");
    let found = import(&new, &[other, contact.replace("555000000", "555000077")], 9, true).await;
    assert_eq!(found.wrong.iter().map(|wrong| wrong.code).collect::<Vec<_>>(), ["number_taken"; 2]);
    new.finish().await;
    scene.finish().await;
}

pub async fn secrets_of_batches_go_as_the_others<F: Fixture>(scene: Scene<F>) {
    give(&scene, people(1), None).await;
    let encoded = data_encoding::BASE64.encode(b"ofbatches");
    let line = async |secrets| export(&scene.store, scene.account, secrets).await[0].clone();
    assert!(line(Secrets::Clear).await.contains(&encoded));
    for secrets in [Secrets::Without, Secrets::Sealed] {
        assert!(!export(&scene.store, scene.account, secrets).await.concat().contains(&encoded));
    }
    assert!(line(Secrets::Sealed).await.contains("batch_secret_sealed"));
    assert!(!line(Secrets::Without).await.contains("batch_secret"));

    // Who has it signs as before; who has not makes another one, and shows it.
    let begin = async |new: &Scene<F>| {
        let opened = new.store.open_batch(NewBatch {
            account: new.account,
            given: Given::default(),
            contacts: 1,
            max_attempts: 1,
            lost_after: None,
            created_at: new.now,
        });
        let Opened::As(batch) = opened.await.unwrap() else { panic!("there is room") };
        let endpoints = vec![endpoint(new.account)];
        new.store.begin_batch(new.account, batch, endpoints, Secret::new("another")).await.unwrap()
    };
    for (secrets, is_shown) in [(Secrets::Clear, false), (Secrets::Without, true)] {
        let lines = export(&scene.store, scene.account, secrets).await;
        let new = Scene::<F>::new().await;
        assert!(import(&new, &lines, 99, true).await.ended);
        assert_eq!(begin(&new).await.is_some(), is_shown);
        new.finish().await;
    }
    let new = Scene::<F>::new().await;
    let found = import(&new, &[line(Secrets::Sealed).await], 1, true).await;
    assert_eq!((found.wrong[0].code, found.stopped), ("sealed_elsewhere", true));
    new.finish().await;
    scene.finish().await;
}

/// An old export is not past its age before all of it is in.
pub async fn what_came_ages_from_the_import_on<F: Fixture>(scene: Scene<F>) {
    scene.keep(1000).await;
    let batch = give(&scene, people(2), None).await;
    scene.tidy_up().await;
    let id = batch_id(&scene, batch);
    scene.hear([of_batch(&id, "a", 0, ENDED), of_batch(&id, "b", 1, ENDED)]).await;
    let lines = export(&scene.store, scene.account, Secrets::Clear).await;
    let mut new = Scene::<F>::new().await;
    new.now = Time::from_micros(scene.now.as_micros() + 1_000_000_000_000);
    for line in lines.chunks(1) {
        import(&new, line, 1, true).await;
        new.tidy_up().await;
    }
    assert_eq!(view(&new, batch).await.tally.succeeded, 2);
    assert_eq!(new.store.contacts(new.account, batch, false, ALL).await.unwrap().len(), 2);
    new.wait(1100);
    new.tidy_up().await;
    assert!(new.store.batch(new.account, batch).await.unwrap().is_none(), "now it is");
    new.finish().await;
    scene.finish().await;
}
