//! Complete before sending: the end of a call waits for what comes after it, up to its time, and is told once.

use std::time::Duration;

use postcall::ledger::Next;
use postcall::model::endpoint::{Part, Wait};
use postcall::model::event::Heard;
use postcall::model::{Call, DeliveryState, EventBody, EventType, Outcome, Step, Text};
use postcall::store::{DeliveryFilter, Owned, Parsed};

use super::scene::{Fixture, Scene, attempted, heard, numbers, says};

const ENDED: Step = Step::Ended(Outcome::Completed);
const UP_TO: u64 = 600;

async fn waiting<F: Fixture>(scene: &Scene<F>, parts: &[Part], ordered: bool) -> i64 {
    let wait = Wait { parts: parts.to_vec(), up_to: Duration::from_secs(UP_TO) };
    let change = |endpoint: &mut postcall::model::Endpoint| {
        endpoint.delivering.wait = Some(wait);
        endpoint.ordered = ordered;
    };
    scene.endpoint(change).await
}

/// The end of a call once more, with what the vendor sends later.
fn later(call: &str, fill: impl FnOnce(&mut Call)) -> Parsed {
    let mut body = heard(call, ENDED);
    fill(&mut body.call);
    Parsed::events([Heard::Call(Box::new(body))])
}

fn recording(call: &mut Call) {
    call.recording.url = Some(Text::from("https://r/1"));
}

fn transcript(call: &mut Call) {
    call.transcript.text = Some(Text::from("Hello."));
}

#[track_caller]
fn says_all(owned: &Owned) -> (EventType, i64, bool, bool, bool) {
    let EventBody::Call { call, changed } = &owned.event.body else { panic!("a call") };
    let (recording, transcript) = (call.recording.url.is_some(), call.transcript.text.is_some());
    (owned.event.kind, owned.event.position, recording, transcript, changed.is_empty())
}

/// What is under way when its event is past its age may need another attempt, and that says what the first one did.
pub async fn an_attempt_under_way_keeps_what_it_says<F: Fixture>(mut scene: Scene<F>) {
    let number = waiting(&scene, &[Part::Transcript], true).await;
    assert!(scene.step("c", ENDED).await.is_empty());
    let owned = scene.hear([later("c", transcript)]).await.owned;
    assert_eq!(numbers(&owned), [1]);
    scene.keep(60).await;
    scene.wait(600);
    scene.tidy_up().await;
    // Its event is left for it, and so is the one whose transcript it says.
    scene.settle(&owned[0], Next::RetryAt(scene.now)).await;
    let again = scene.claim(number, 9).await;
    assert_eq!(numbers(&again), [1]);
    assert!(says_all(&again[0]).3, "with the transcript");
    scene.settle(&again[0], Next::Delivered).await;
    scene.wait(7200);
    scene.tidy_up().await;
    assert!(scene.feed().await.is_empty(), "and then both go");
    scene.finish().await;
}

pub async fn the_end_of_a_call_waits_for_all_that_is_named<F: Fixture>(scene: Scene<F>) {
    for ordered in [true, false] {
        let number = waiting(&scene, &[Part::Recording, Part::Transcript], ordered).await;
        let other = scene.endpoint(|endpoint| endpoint.ordered = false).await;
        let call = format!("c-{ordered}");
        let of = |owned: Vec<Owned>| {
            owned.into_iter().filter(|it| it.endpoint.number == number).collect::<Vec<_>>()
        };
        let first = scene.step(&call, ENDED).await;
        let position = first.iter().find(|it| it.endpoint.number == other).unwrap().event.position;
        assert!(of(first).is_empty());
        assert_eq!(scene.sum(number).await.pending, 1, "it is owed");
        assert!(of(scene.hear([later(&call, recording)]).await.owned).is_empty());
        assert!(scene.claim(number, 9).await.is_empty());
        let complete = of(scene.hear([later(&call, transcript)]).await.owned);
        assert_eq!(complete.len(), 1);
        assert_eq!(says_all(&complete[0]), (EventType::CallEnded, position, true, true, true));
        scene.settle(&complete[0], Next::Delivered).await;
        assert_eq!(scene.sum(number).await.owed, 1, "what came meanwhile is in it and not owed again");
        assert_eq!(scene.sum(other).await.owed, 3, "who waits for nothing is told of each");
        // What comes after it is news again.
        let news =
            of(scene.hear([later(&call, |call| call.analysis.summary = Some(Text::from("s")))]).await.owned);
        assert_eq!(news.iter().map(|it| it.event.kind).collect::<Vec<_>>(), [EventType::CallUpdated]);
        scene.store.delete_endpoint(scene.account, number, scene.now).await.unwrap();
        scene.store.delete_endpoint(scene.account, other, scene.now).await.unwrap();
        scene.tidy_up().await;
    }
    scene.finish().await;
}

pub async fn at_the_deadline_it_goes_with_what_there_is<F: Fixture>(mut scene: Scene<F>) {
    let number = waiting(&scene, &[Part::Recording, Part::Transcript], true).await;
    scene.step("a", ENDED).await;
    scene.step("b", ENDED).await;
    scene.hear([later("a", recording)]).await;
    assert_eq!(scene.delivery(1).await.next_attempt_at, Some(scene.later(UP_TO)));
    scene.wait(UP_TO - 1);
    scene.tidy_up().await;
    assert!(scene.claim(number, 9).await.is_empty());
    scene.wait(1);
    scene.tidy_up().await;
    let owned = scene.claim(number, 9).await;
    let said: Vec<_> = owned.iter().map(says_all).collect();
    assert_eq!(
        said,
        [(EventType::CallEnded, 1, true, false, true), (EventType::CallEnded, 2, false, false, true)]
    );
    for owned in &owned {
        scene.settle(owned, Next::Delivered).await;
    }
    let update = scene.hear([later("a", transcript)]).await.owned;
    assert_eq!(says_all(&update[0]).0, EventType::CallUpdated, "it came too late");
    scene.finish().await;
}

pub async fn where_nothing_is_missing_nothing_waits<F: Fixture>(scene: Scene<F>) {
    waiting(&scene, &[Part::Recording], true).await;
    assert_eq!(scene.hear([later("whole", recording)]).await.owned.len(), 1);
    assert_eq!(scene.step("busy", Step::Ended(Outcome::Busy)).await.len(), 1, "nobody was reached");
    let steps = [says("b", Step::Initiated), later("b", recording)];
    assert_eq!(scene.hear(steps).await.owned.len(), 1, "only the end waits, and in its order");
    scene.finish().await;
}

pub async fn a_held_delivery_keeps_its_place_in_the_order<F: Fixture>(scene: Scene<F>) {
    let number = waiting(&scene, &[Part::Recording], true).await;
    let answered = scene.step("a", Step::Answered).await;
    assert!(scene.step("a", ENDED).await.is_empty());
    // It is complete before the one in front of it is settled.
    assert!(scene.hear([later("a", recording)]).await.owned.is_empty());
    assert!(scene.claim(number, 9).await.is_empty());
    let promoted = scene.settle(&answered[0], Next::Delivered).await.owned;
    assert_eq!(says_all(&promoted[0]), (EventType::CallEnded, 2, true, false, true));
    scene.settle(&promoted[0], Next::Delivered).await;

    // The other way round, and what comes after a held one waits for it.
    let answered = scene.step("b", Step::Answered).await;
    scene.step("b", ENDED).await;
    assert!(scene.settle(&answered[0], Next::Delivered).await.owned.is_empty());
    assert!(scene.step("b", Step::Ringing).await.is_empty());
    let complete = scene.hear([later("b", recording)]).await.owned;
    assert_eq!(complete.len(), 1);
    let next = scene.settle(&complete[0], Next::Delivered).await.owned;
    assert_eq!(next.iter().map(|it| it.event.kind).collect::<Vec<_>>(), [EventType::CallRinging]);
    scene.finish().await;
}

/// A step that is heard of after the end may be the one that says what is missing.
pub async fn a_late_step_may_bring_what_is_waited_for<F: Fixture>(scene: Scene<F>) {
    for (ordered, call) in [(true, "a"), (false, "b")] {
        let number = waiting(&scene, &[Part::Recording], ordered).await;
        assert!(scene.step(call, ENDED).await.is_empty());
        let mut late = heard(call, Step::Answered);
        recording(&mut late.call);
        let owned = scene.hear([Parsed::events([Heard::Call(Box::new(late))])]).await.owned;
        let end = owned.iter().find(|it| it.event.kind == EventType::CallEnded).expect("the end goes");
        assert_eq!(says_all(end), (EventType::CallEnded, end.event.position, true, false, true));
        let after = scene.settle(end, Next::Delivered).await.owned;
        let told = owned.iter().chain(&after).map(|it| it.event.kind);
        assert_eq!(
            told.filter(|kind| *kind == EventType::CallAnswered).count(),
            1,
            "and the step in its turn"
        );
        scene.store.delete_endpoint(scene.account, number, scene.now).await.unwrap();
        scene.tidy_up().await;
    }
    scene.finish().await;
}

pub async fn by_hand_it_goes_at_once_or_never<F: Fixture>(mut scene: Scene<F>) {
    let number = waiting(&scene, &[Part::Recording, Part::Transcript], true).await;
    scene.step("a", ENDED).await;
    scene.step("b", ENDED).await;
    scene.hear([later("a", recording)]).await;
    scene.retry(1).await;
    scene.cancel(2).await;
    let owned = scene.claim(number, 9).await;
    assert_eq!(
        owned.iter().map(says_all).collect::<Vec<_>>(),
        [(EventType::CallEnded, 1, true, false, true)]
    );
    scene.wait(2 * UP_TO);
    scene.tidy_up().await;
    assert!(scene.claim(number, 9).await.is_empty(), "nothing is held any more");
    assert_eq!(scene.state(2).await, DeliveryState::Cancelled);
    let update = scene.hear([later("b", recording)]).await.owned;
    assert_eq!(numbers(&update).len(), 1, "an update is news again");
    scene.finish().await;
}

pub async fn what_is_held_outlives_a_crash_and_a_death<F: Fixture>(mut scene: Scene<F>) {
    let number = waiting(&scene, &[Part::Recording], true).await;
    scene.step("a", ENDED).await;
    scene.crash().await;
    assert!(scene.claim(number, 9).await.is_empty());
    scene.room.set(0);
    scene.hear([later("a", recording)]).await;
    scene.room.set(usize::MAX);
    scene.crash().await;
    let owned = scene.claim(number, 9).await;
    assert_eq!(says_all(&owned[0]), (EventType::CallEnded, 1, true, false, true));
    let mut dead = super::scene::attempted(&owned[0], scene.now, Next::Dead);
    dead.body = bytes::Bytes::new();
    scene.commit(Vec::new(), vec![dead]).await;
    scene.retry(1).await;
    let again = scene.claim(number, 9).await;
    assert_eq!(says_all(&again[0]), (EventType::CallEnded, 1, true, false, true), "the same is said again");
    scene.settle(&again[0], Next::Delivered).await;

    let order = postcall::model::replay::ReplayOrder {
        selection: postcall::model::replay::Selection { event: Some(1), ..Default::default() },
        to: None,
        rate: 100.0,
        dry_run: false,
    };
    scene.store.create_replay(scene.account, order, scene.now).await.unwrap().unwrap();
    scene.tidy_up().await;
    let replayed = scene.claim(number, 9).await;
    assert_eq!(says_all(&replayed[0]), (EventType::CallEnded, 1, true, false, true));
    scene.finish().await;
}

pub async fn an_endpoint_that_is_deleted_or_old_holds_nothing<F: Fixture>(mut scene: Scene<F>) {
    let number = waiting(&scene, &[Part::Recording], true).await;
    scene.keep(100).await;
    scene.step("a", ENDED).await;
    scene.wait(105);
    scene.tidy_up().await;
    assert!(scene.deliveries(DeliveryFilter::default()).await.is_empty());
    assert_eq!(scene.sum(number).await.cancelled, 1);
    scene.step("b", ENDED).await;
    scene.store.delete_endpoint(scene.account, number, scene.now).await.unwrap();
    scene.tidy_up().await;
    scene.wait(UP_TO);
    scene.tidy_up().await;
    assert_eq!(scene.sum(number).await.cancelled, 2);
    scene.finish().await;
}

/// What a body lets go and what the settlement beside it promotes may be the same.
pub async fn one_that_is_let_go_as_the_one_before_is_settled_goes_too<F: Fixture>(scene: Scene<F>) {
    let number = waiting(&scene, &[Part::Recording], true).await;
    for (places, call) in [(0, "a"), (9, "b")] {
        scene.room.set(9);
        let before = scene.step(call, Step::Answered).await;
        assert_eq!((before.len(), scene.step(call, ENDED).await.len()), (1, 0), "the end is held");
        scene.room.set(places);
        let settled = attempted(&before[0], scene.now, Next::Delivered);
        let complete = scene.incoming(later(call, recording));
        let mut owned = scene.commit(vec![complete], vec![settled]).await.owned;
        scene.room.set(9);
        owned.extend(scene.claim(number, 9).await);
        assert_eq!(owned.len(), 1, "{call}");
        assert_eq!(says_all(&owned[0]).0, EventType::CallEnded);
        scene.settle(&owned[0], Next::Delivered).await;
    }
    assert_eq!(scene.sum(number).await.pending, 0);
    scene.finish().await;
}
