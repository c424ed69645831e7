//! Erasing a person: what goes wherever it lies, what stays for the books, and that it does not come back.

use std::collections::BTreeMap;

use postcall::dialect::ReceiptKind::{Duplicate, Recorded};
use postcall::ledger::Next;
use postcall::model::Secret;
use postcall::model::event::{Heard, HeardBatch};
use postcall::model::id::{self, Kind};
use postcall::model::{
    Batch, DeliveryState, Erased, Event, EventBody, EventType, Mention, Outcome, Raw, Step, Text,
};
use postcall::store::batches::{BatchState, Contact, Given, NewBatch, Opened};
use postcall::store::erasure::Erasure;
use postcall::store::{DeliveryFilter, EndpointRef, Idempotent, Incoming, Page, Parsed, Settlement, Sum};

use super::scene::{Fixture, Scene, attempted, done, heard, numbers, says};

const ENDED: Step = Step::Ended(Outcome::Completed);
/// The person.
pub const PHONE: &str = "+15551234567";
/// In everything that is personal.
pub const SECRET: &str = "PERSONALSECRET";

pub fn person(phone: &str) -> Mention {
    Mention::of(phone).unwrap()
}

/// A step of a call with this person, who says things.
pub fn with(call_id: &str, step: Step, phone: &str, said: &str) -> Parsed {
    let mut heard = heard(call_id, step);
    heard.call.contact.phone = Some(Text::from(phone));
    heard.call.contact.name = Some(Text::from(said));
    heard.call.transcript.text = Some(Text::from(said));
    heard.call.recording.url = Some(Text::from(format!("https://r.example/{said}")));
    heard.call.analysis.summary = Some(Text::from(said));
    heard.call.variables.set(Text::from("note"), Raw::from_value(&said));
    heard.call.metadata.set(Text::from("crm"), Raw::from_value(&said));
    heard.call.line.number = Some(Text::from("+15550000000"));
    Parsed::events(vec![Heard::Call(Box::new(heard))])
}

/// An attempt whose answer quotes what it was told.
pub fn quoting(settlement: Settlement) -> Settlement {
    let mut settlement = settlement;
    settlement.attempt.response_body = Some(format!("thanks for {SECRET}"));
    settlement
}

fn json(events: &[Event]) -> String {
    events.iter().map(Event::data_json).collect::<Vec<_>>().join("\n")
}

async fn erase<F: Fixture>(scene: &Scene<F>, phone: &str) -> (Erasure, Vec<(EndpointRef, i64)>) {
    let begun = scene.store.erase(scene.account, person(phone), scene.now).await.unwrap();
    assert!(begun.room.is_some() && begun.counts.is_empty() && begun.erased_at.is_none());
    let called_off = finish(scene).await;
    let receipt = scene.store.erasure(scene.account, begun.number).await.unwrap().unwrap();
    assert_eq!((receipt.room.as_deref(), &receipt.digest), (None, &begun.digest));
    assert!(receipt.erased_at >= Some(receipt.requested_at) && receipt.overwritten_at >= receipt.erased_at);
    (receipt, called_off)
}

/// Does chores to their end.
pub async fn finish<F: Fixture>(scene: &Scene<F>) -> Vec<(EndpointRef, i64)> {
    let mut called_off = Vec::new();
    loop {
        let progress = scene.store.maintain(scene.now).await.unwrap();
        called_off.extend(progress.called_off);
        if !progress.more {
            return called_off;
        }
    }
}

fn counts(of: &[(&str, i64)]) -> BTreeMap<String, i64> {
    of.iter().map(|&(name, count)| (name.to_owned(), count)).collect()
}

pub async fn a_person_is_erased_everywhere<F: Fixture>(mut scene: Scene<F>) {
    let number = scene.endpoint(|_| {}).await;
    // Calls one to three are about the person; the third by what its second event says. The fourth is about somebody else,
    // over a line that has the number.
    let first = scene.hear([with("a", Step::Answered, PHONE, SECRET)]).await.owned;
    scene.commit(Vec::new(), vec![quoting(attempted(&first[0], scene.now, Next::Delivered))]).await;
    let second = scene.hear([with("b", ENDED, "+1 (555) 123-4567", SECRET)]).await.owned;
    let mut failed = attempted(&second[0], scene.now, Next::RetryAt(scene.later(60)));
    failed.body = SECRET.into();
    scene.commit(Vec::new(), vec![quoting(failed)]).await;
    let third = scene.hear([with("c", Step::Ringing, "", SECRET)]).await.owned;
    scene.settle(&third[0], Next::Dead).await;
    let in_memory = scene.hear([with("c", ENDED, PHONE, SECRET)]).await.owned;
    assert_eq!(numbers(&in_memory), [4]);
    let mut other = heard("d", ENDED);
    other.call.contact.name = Some(Text::from("Zoe"));
    other.call.line.number = Some(Text::from(PHONE));
    let others = scene.hear([Parsed::events(vec![Heard::Call(Box::new(other))])]).await.owned;
    // An update of the first call that says nothing of who it is, waiting for nobody.
    let update = scene.hear([with("a", ENDED, PHONE, SECRET)]).await.owned;
    let mut batch = Batch { batch_id: Text::from("b-1"), ..Batch::default() };
    batch.metadata.set(Text::from("last"), Raw::from_value(&format!("{SECRET} 001 555 123 4567")));
    let told = HeardBatch { kind: EventType::BatchCompleted, at: None, batch };
    let batch = scene.hear([Parsed::events(vec![Heard::Batch(Box::new(told))])]).await.owned;
    let mut test = heard("t", ENDED);
    test.call.contact.phone = Some(Text::from(PHONE));
    test.call.contact.name = Some(Text::from(SECRET));
    scene.hear([Parsed::Test(Box::new(test))]).await;
    let mut unreadable = scene.incoming(Parsed::Unreadable("no".to_owned()));
    unreadable.raw = format!("{SECRET}, 555.123.4567 or +1 555.123.4567").into();
    let mut foreign = scene.incoming(Parsed::Unreadable("no".to_owned()));
    foreign.raw = "somebody else, +1 555 123 45678".into();
    scene.commit(vec![unreadable, foreign], Vec::new()).await;
    for (key, answer) in
        [("one", format!("{{\"phone\":\"{PHONE}\"}}")), ("two", "{\"id\":\"ep_1\"}".to_owned())]
    {
        let key = key.as_bytes().to_vec();
        scene.store.begin_idempotent(scene.account, key.clone(), [1; 32], scene.now).await.unwrap();
        let answer = Some((200, answer.into_bytes()));
        scene.store.finish_idempotent(scene.account, key, answer).await.unwrap();
    }
    let before = scene.feed().await;
    let sum = scene.sum(number).await;

    scene.wait(5);
    let (receipt, called_off) = erase(&scene, PHONE).await;
    let expected = [
        ("calls", 3),
        ("events", 7),
        ("deliveries_cancelled", 4),
        ("deliveries_in_memory", 3),
        ("kept_bodies", 2),
        ("delivery_answers", 2),
        ("quarantined", 1),
        ("answers", 1),
    ];
    assert_eq!(receipt.counts, counts(&expected));
    let target = scene.target(number);
    let mut called_off: Vec<i64> = called_off
        .into_iter()
        .map(|(endpoint, delivery)| {
            assert_eq!(endpoint, target);
            delivery
        })
        .collect();
    called_off.sort_unstable();
    assert_eq!(called_off, [in_memory[0].delivery, update[0].delivery, batch[0].delivery]);

    let after = scene.feed().await;
    let left = json(&after);
    assert!(!left.contains(SECRET) && !left.contains("123 4567"), "{left}");
    assert_eq!(left.matches(PHONE).count(), 1, "the line is ours: {left}");
    assert!(left.contains("Zoe"));
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(
            (before.position, &before.id, before.kind, before.at),
            (after.position, &after.id, after.kind, after.at)
        );
        let (EventBody::Call { call: was, .. }, EventBody::Call { call: is, .. }) =
            (&before.body, &after.body)
        else {
            continue;
        };
        assert_eq!((&was.call_id, was.stage, was.outcome), (&is.call_id, is.stage, is.outcome));
        assert_eq!(is.erased, (is.contact.name.is_none()).then_some(Erased::Person));
    }
    for call_id in ["a", "b", "c"] {
        let call = scene.call(call_id).await.call;
        assert_eq!(
            (call.outcome, call.erased),
            (Some(Outcome::Completed), Some(Erased::Person)),
            "{call_id}"
        );
        assert!(call.contact.is_empty() && call.transcript.is_empty() && call.variables.is_empty());
    }
    let deliveries = scene.deliveries(DeliveryFilter::default()).await;
    assert!(deliveries.iter().flat_map(|view| &view.attempts).all(|attempt| attempt.response_body.is_none()));
    assert_eq!(deliveries.iter().map(|view| view.attempts.len()).sum::<usize>(), 3, "attempts stay");
    let now = scene.sum(number).await;
    assert_eq!(now, Sum { pending: sum.pending - 4, cancelled: 4, ..sum });
    assert_eq!(scene.state(others[0].delivery).await, DeliveryState::Pending);
    let quarantine = scene.store.quarantine(scene.account, Page { after: None, limit: 9 }).await.unwrap();
    assert_eq!(quarantine.iter().map(|body| body.number).collect::<Vec<_>>(), [2]);
    let again = |key: &str| scene.store.begin_idempotent(scene.account, key.into(), [1; 32], scene.now);
    let emptied = br#"{"erased":"person"}"#.to_vec();
    assert_eq!(again("one").await, Ok(Idempotent::Answered { status: 200, body: emptied }));
    assert_eq!(
        again("two").await,
        Ok(Idempotent::Answered { status: 200, body: br#"{"id":"ep_1"}"#.to_vec() })
    );

    // An attempt that was on the wire at that moment goes on record, and what came back does not.
    scene.commit(Vec::new(), vec![quoting(attempted(&in_memory[0], scene.now, Next::Delivered))]).await;
    scene
        .commit(Vec::new(), vec![quoting(attempted(&update[0], scene.now, Next::RetryAt(scene.later(9))))])
        .await;
    for owned in [&in_memory[0], &update[0]] {
        let view = scene.delivery(owned.delivery).await;
        assert_eq!((view.state, view.attempts.len()), (DeliveryState::Cancelled, 1));
        assert_eq!(view.attempts[0].response_body, None);
    }
    let (again, _) = erase(&scene, "1 555 123 4567").await;
    assert_eq!(again.counts, counts(&[]), "there is nothing left of it");
    assert_ne!(again.digest, receipt.digest, "another number as it was asked for");
    let (again, _) = erase(&scene, "+1 555 123 4567").await;
    assert_eq!(again.digest, receipt.digest);
    let listed = scene.store.erasures(scene.account, Page { after: None, limit: 2 }).await.unwrap();
    assert_eq!(listed.iter().map(|erasure| erasure.number).collect::<Vec<_>>(), [3, 2]);
    scene.finish().await;
}

/// Retention leaves an event while an attempt on it is under way, and removes a later one of its call: the call's events do not
/// lead to it any more.
pub async fn an_event_left_for_its_attempt_is_erased_too<F: Fixture>(mut scene: Scene<F>) {
    let number = scene.endpoint(|_| {}).await;
    scene.keep(60).await;
    let under_way = scene.hear([with("c", Step::Answered, PHONE, SECRET)]).await.owned;
    assert_eq!(numbers(&under_way), [1]);
    scene.hear([with("c", ENDED, PHONE, SECRET)]).await;
    scene.wait(50);
    scene.hear([with("c", ENDED, PHONE, "PERSONALSECRET, once more")]).await;
    scene.wait(30);
    scene.tidy_up().await;
    erase(&scene, PHONE).await;
    assert_eq!(scene.state(1).await, DeliveryState::Cancelled, "nobody is told of the person any more");
    scene.settle(&under_way[0], Next::RetryAt(scene.now)).await;
    assert!(scene.claim(number, 9).await.is_empty());
    assert!(!json(&scene.feed().await).contains(SECRET));
    scene.finish().await;
}

pub async fn what_is_erased_does_not_come_back<F: Fixture>(scene: Scene<F>) {
    scene.endpoint(|_| {}).await;
    scene.hear([with("a", Step::Ringing, PHONE, SECRET)]).await;
    erase(&scene, PHONE).await;
    // The same again, something new of the person, and the end of the call.
    let repeat = scene.hear([with("a", Step::Ringing, PHONE, SECRET)]).await;
    assert_eq!(repeat.recorded, [done(Duplicate, 0)]);
    let update = scene.hear([with("a", Step::Ringing, PHONE, "another PERSONALSECRET")]).await;
    assert_eq!(update.recorded, [done(Duplicate, 0)]);
    let ended = scene.hear([with("a", ENDED, PHONE, SECRET)]).await;
    assert_eq!(ended.recorded, [done(Recorded, 1)], "that it ended is told, and not who it was");
    let feed = scene.feed().await;
    assert_eq!((feed.len(), feed[1].kind), (2, EventType::CallEnded));
    assert!(!json(&feed).contains(SECRET) && !json(&feed).contains("5551234567"), "{feed:?}");
    assert_eq!(scene.call("a").await.call.outcome, Some(Outcome::Completed));
    // A new call is news.
    scene.hear([with("b", ENDED, PHONE, SECRET)]).await;
    assert!(scene.call("b").await.call.contact.phone.is_some());
    scene.finish().await;
}

pub async fn an_id_that_is_the_number_goes_too<F: Fixture>(mut scene: Scene<F>) {
    scene.endpoint(|_| {}).await;
    let id = format!("call-{PHONE}-1");
    scene.hear([says(&id, Step::Answered), says(&id, ENDED)]).await;
    let (receipt, _) = erase(&scene, PHONE).await;
    assert_eq!((receipt.counts["calls"], receipt.counts["events"]), (1, 2));
    assert!(!json(&scene.feed().await).contains("5551234567"));
    assert_eq!(scene.call("erased-1").await.call.outcome, Some(Outcome::Completed));
    assert!(!scene.place.holds(b"5551234567"), "a digest is all that is left of the id");
    scene.crash().await;
    let again = || [says(&id, Step::Answered), says(&id, ENDED)];
    assert_eq!(scene.hear(again()).await.recorded, vec![done(Duplicate, 0); 2]);
    scene.wait(30 * 24 * 3600 - 1);
    scene.tidy_up().await;
    assert_eq!(scene.hear(again()).await.recorded, vec![done(Duplicate, 0); 2], "for thirty days");
    scene.wait(1);
    assert_eq!(scene.hear([says(&id, ENDED)]).await.recorded, [done(Recorded, 1)], "and then it is new");
    scene.finish().await;
}

pub async fn an_erasure_goes_on_after_a_crash<F: Fixture>(mut scene: Scene<F>) {
    scene.endpoint(|_| {}).await;
    for block in 0..4 {
        let calls = (0..150).map(|call| with(&format!("{block}-{call}"), ENDED, PHONE, SECRET));
        scene.hear(calls).await;
    }
    let number = scene.store.erase(scene.account, person(PHONE), scene.now).await.unwrap().number;
    let mut crashes = 0;
    loop {
        let progress = scene.store.maintain(scene.now).await.unwrap();
        crashes += 1;
        if crashes < 12 {
            scene.crash().await;
            // Somebody goes on calling meanwhile.
            scene.hear([with("0-0", ENDED, PHONE, &format!("{SECRET}{crashes}"))]).await;
        } else if !progress.more {
            break;
        }
    }
    let receipt = scene.store.erasure(scene.account, number).await.unwrap().unwrap();
    assert!(receipt.overwritten_at.is_some());
    assert_eq!(receipt.counts["calls"], 600);
    let feed = scene.feed().await;
    assert!(feed.len() >= 600 && !json(&feed).contains(SECRET));
    scene.finish().await;
}

pub async fn only_the_accounts_own<F: Fixture>(mut scene: Scene<F>) {
    scene.hear([with("a", ENDED, PHONE, SECRET)]).await;
    let first = (scene.account, scene.source);
    scene.account = scene.other_account("other").await;
    scene.source =
        scene.store.put_source(super::scene::source(scene.account), None).await.unwrap().unwrap().number;
    scene.hear([with("a", ENDED, PHONE, SECRET)]).await;
    let (receipt, _) = erase(&scene, PHONE).await;
    assert_eq!(receipt.counts["calls"], 1);
    assert!(scene.store.erasure(first.0, receipt.number).await.unwrap().is_none());
    assert!(!json(&scene.feed().await).contains(SECRET));
    (scene.account, scene.source) = first;
    assert!(json(&scene.feed().await).contains(SECRET));
    scene.finish().await;
}

/// Two people who are erased at the same time from a file with many free pages, each of which both overwrite.
pub async fn two_erasures_end_over_many_free_pages<F: Fixture>(mut scene: Scene<F>) {
    // Text that packing does not make small.
    let noise = |seed: u64| (1..1500).map(move |at: u64| (at * seed).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let text = |seed| noise(seed).map(|number| format!("{number:x}")).collect::<String>();
    for hundred in 0..4 {
        let calls = (0..100).map(|call| {
            with(&format!("{hundred}-{call}"), ENDED, "+15550000000", &text(hundred * 100 + call + 1))
        });
        scene.hear(calls).await;
    }
    let other = scene.other_account("other").await;
    let theirs = scene.store.put_source(super::scene::source(other), None).await.unwrap().unwrap().number;
    for (account, source) in [(scene.account, scene.source), (other, theirs)] {
        let body = Incoming { account, source, ..scene.incoming(with("a", ENDED, PHONE, SECRET)) };
        scene.commit(vec![body], Vec::new()).await;
    }
    scene.keep(3600).await;
    scene.wait(1);
    let receipts = [
        scene.store.erase(scene.account, person(PHONE), scene.now).await.unwrap().number,
        scene.store.erase(other, person(PHONE), scene.now).await.unwrap().number,
    ];
    // The old ones go at the same time, and leave their pages.
    scene.wait(7200);
    let mut rounds = 0;
    loop {
        let mut are_over = true;
        for (account, number) in [scene.account, other].into_iter().zip(receipts) {
            let erasure = scene.store.erasure(account, number).await.unwrap().unwrap();
            are_over &= erasure.overwritten_at.is_some();
        }
        if are_over {
            break;
        }
        rounds += 1;
        assert!(rounds < 2000, "they go on for ever");
        scene.store.maintain(scene.now).await.unwrap();
    }
    scene.tidy_up().await;
    scene.finish().await;
}

/// The contact stays for the numbers; it is called no more, and its batch can end.
pub async fn a_contact_goes_and_its_batch_can_end<F: Fixture>(scene: Scene<F>) {
    let (store, account) = (&scene.store, scene.account);
    let new = NewBatch {
        account,
        given: Given::default(),
        contacts: 2,
        max_attempts: 3,
        lost_after: None,
        created_at: scene.now,
    };
    let Opened::As(batch) = store.open_batch(new).await.unwrap() else { panic!("there is room") };
    let named = |phone: &str, name: &str| Contact {
        phone: Text::from(phone),
        name: Some(Text::from(name)),
        ..Contact::default()
    };
    let parts = vec![vec![named(PHONE, SECRET)], vec![named("+15550002222", "somebody else")]];
    store.add_contacts(account, batch, 1, parts).await.unwrap();
    store.begin_batch(account, batch, Vec::new(), Secret::new("s")).await.unwrap();
    let (receipt, _) = erase(&scene, PHONE).await;
    assert_eq!(receipt.counts["contacts"], 1);
    let page = Page { after: None, limit: 10 };
    let contacts = store.contacts(account, batch, false, page).await.unwrap();
    let phones: Vec<String> = contacts.iter().map(|view| view.contact.phone.to_string()).collect();
    assert_eq!(phones, ["", "+15550002222"]);
    assert_eq!(contacts.iter().map(|view| view.book.is_closed).collect::<Vec<_>>(), [true, false]);
    assert!(!json(&scene.feed().await).contains(SECRET), "also not in what was requested");

    let mut call = heard("c", ENDED);
    call.call.batch_id = Some(Text::from(id::format(Kind::Batch, store.accounts()[0].account.tag, batch)));
    call.call.contact.phone = Some(Text::from("+15550002222"));
    scene.hear([Parsed::events(vec![Heard::Call(Box::new(call))])]).await;
    let view = store.batch(account, batch).await.unwrap().unwrap();
    assert_eq!(view.state, BatchState::Completed);
    assert_eq!((view.tally.succeeded, view.tally.failed), (1, 1));
    scene.finish().await;
}

/// Whoever is taken in while he is erased is told of to nobody.
pub async fn a_contact_on_its_way_in_goes_with_its_request<F: Fixture>(scene: Scene<F>) {
    let (store, account) = (&scene.store, scene.account);
    let new = NewBatch {
        account,
        given: Given::default(),
        contacts: 60,
        max_attempts: 1,
        lost_after: None,
        created_at: scene.now,
    };
    let Opened::As(batch) = store.open_batch(new).await.unwrap() else { panic!("there is room") };
    let one = |at: usize| Contact {
        phone: if at == 59 { Text::from(PHONE) } else { Text::from(format!("+155500020{at:02}")) },
        name: Some(Text::from(if at == 59 { SECRET } else { "somebody else" })),
        ..Contact::default()
    };
    let all: Vec<Contact> = (0..60).map(one).collect();
    store.add_contacts(account, batch, 1, all.chunks(25).map(<[_]>::to_vec).collect()).await.unwrap();
    store.begin_batch(account, batch, Vec::new(), Secret::new("s")).await.unwrap();
    let (receipt, _) = erase(&scene, PHONE).await;
    assert_eq!(receipt.counts["contacts"], 1);
    let feed = scene.feed().await;
    assert_eq!(feed.len(), 60, "each was asked for");
    assert!(!json(&feed).contains(SECRET) && !json(&feed).contains("5551234567"));
    scene.finish().await;
}

pub async fn nothing_of_an_erased_person_is_left<F: Fixture>(scene: Scene<F>) {
    scene.endpoint(|_| {}).await;
    for block in 0..5 {
        let said = |call: i32| {
            format!("{SECRET} {}", "of which there is much to say ".repeat(1 + (call % 90) as usize))
        };
        let calls = (0..60).map(|call| {
            let phone = if call % 3 == 0 { "+15559876543" } else { PHONE };
            let said = if call % 3 == 0 { "somebody else".to_owned() } else { said(call) };
            with(&format!("{block}-{call}"), ENDED, phone, &said)
        });
        let owned = scene.hear(calls).await.owned;
        let failed = owned.iter().map(|owned| {
            let failed = attempted(owned, scene.now, Next::RetryAt(scene.later(60)));
            match owned.event.data_json().contains(PHONE) {
                true => Settlement { body: SECRET.repeat(100).into(), ..quoting(failed) },
                false => failed,
            }
        });
        scene.commit(Vec::new(), failed.collect()).await;
    }
    // What was rewritten and deleted before anybody asked.
    scene
        .hear((0..40).map(|call| with(&format!("0-{call}"), ENDED, PHONE, &format!("{SECRET} again"))))
        .await;
    let mut body = scene.incoming(Parsed::Unreadable("no".to_owned()));
    body.raw = format!("{PHONE} {}", SECRET.repeat(3000)).into();
    scene.commit(vec![body], Vec::new()).await;
    let page = postcall::store::Page { after: None, limit: 200 };
    for view in scene.store.deliveries(scene.account, <_>::default(), page).await.unwrap() {
        scene.store.cancel(scene.account, view.number, scene.now).await.unwrap();
    }

    let holds = |needle: &str| scene.place.holds(needle.as_bytes());
    assert!(holds(SECRET) && holds("5551234567"), "it is the right place to look");
    scene.store.erase(scene.account, person(PHONE), scene.now).await.unwrap();
    finish(&scene).await;
    let receipt = scene.store.erasure(scene.account, 1).await.unwrap().unwrap();
    assert!(receipt.overwritten_at.is_some());
    for needle in [SECRET, "5551234567", "much to say"] {
        assert!(!holds(needle), "{needle} is still there");
    }
    assert!(holds("somebody else") && holds("15559876543"));
    scene.finish().await;
}
