//! Transcripts that go earlier than the rest: what stays of events and records, and what is sent of them.

use std::time::Duration;

use postcall::dialect::ReceiptKind::Duplicate;
use postcall::ledger::Next;
use postcall::model::endpoint::{Part, Wait};
use postcall::model::replay::{ReplayOrder, Selection};
use postcall::model::{Erased, EventBody, Outcome, Step};
use postcall::store::Owned;

use super::erasing::{PHONE, SECRET, with};
use super::scene::{Fixture, Scene, attempted, done, says};

const ENDED: Step = Step::Ended(Outcome::Completed);
/// A slot and the pause between two looks, for the ages used here.
const A_LITTLE: u64 = 3;

async fn keep<F: Fixture>(scene: &Scene<F>, seconds: Option<u64>) {
    let kept = seconds.map(Duration::from_secs);
    let changed = scene.store.set_transcript_retention(scene.account, kept, scene.now).await.unwrap();
    assert_eq!(changed.expect("the account is there").transcript_retention, kept);
}

async fn spoken<F: Fixture>(scene: &Scene<F>) -> Vec<bool> {
    let is_spoken = |body: &EventBody| match body {
        EventBody::Call { call, .. } => {
            assert!(call.contact.name.is_some() && !call.variables.is_empty(), "everything else stays");
            assert_eq!(call.erased, call.transcript.is_empty().then_some(Erased::Transcript));
            !call.transcript.is_empty()
        }
        _ => panic!("only calls"),
    };
    scene.feed().await.iter().map(|event| is_spoken(&event.body)).collect()
}

pub async fn transcripts_may_go_earlier<F: Fixture>(mut scene: Scene<F>) {
    scene.endpoint(|_| {}).await;
    keep(&scene, Some(100)).await;
    scene.keep(1000).await;
    scene.hear([with("a", ENDED, PHONE, SECRET)]).await;
    scene.wait(50);
    scene.hear([with("b", ENDED, PHONE, SECRET)]).await;
    scene.wait(49);
    scene.tidy_up().await;
    assert_eq!(spoken(&scene).await, [true, true], "nothing goes before its age");
    scene.wait(1 + A_LITTLE);
    scene.crash().await;
    scene.tidy_up().await;
    assert_eq!(spoken(&scene).await, [false, true]);
    assert!(scene.call("a").await.call.transcript.is_empty());
    assert!(scene.call("a").await.call.contact.phone.is_some());
    let repeat = scene.hear([with("a", ENDED, PHONE, SECRET)]).await;
    assert_eq!(repeat.recorded, [done(Duplicate, 0)], "a repeat brings nothing back");
    keep(&scene, None).await;
    scene.wait(200);
    scene.tidy_up().await;
    assert_eq!(spoken(&scene).await, [false, true], "what was kept until now is kept with the rest");
    scene.wait(800);
    scene.tidy_up().await;
    assert!(scene.feed().await.is_empty(), "and goes with it");
    scene.finish().await;
}

pub async fn what_is_sent_afterwards_says_no_more<F: Fixture>(mut scene: Scene<F>) {
    let number = scene.endpoint(|_| {}).await;
    keep(&scene, Some(100)).await;
    let owned = scene.hear(["a", "b"].map(|call| with(call, ENDED, PHONE, SECRET))).await.owned;
    let mut failed = attempted(&owned[0], scene.now, Next::RetryAt(scene.later(500)));
    failed.body = SECRET.into();
    scene.commit(Vec::new(), vec![failed]).await;
    scene.wait(100 + A_LITTLE);
    scene.tidy_up().await;
    // The second one was under way meanwhile.
    let mut failed = attempted(&owned[1], scene.now, Next::RetryAt(scene.later(1)));
    failed.body = SECRET.into();
    scene.commit(Vec::new(), vec![failed]).await;
    scene.wait(500);
    let again = scene.claim(number, 9).await;
    assert_eq!(again.len(), 2);
    for owned in &again {
        assert_eq!((owned.attempt, owned.body.get()), (2, None), "encoded anew");
        assert!(!owned.event.data_json().contains("\"transcript\":"));
    }
    scene.finish().await;
}

/// Bodies that are kept for another attempt, beside those of an event's own deliveries.
pub async fn no_kept_body_says_what_is_gone<F: Fixture>(mut scene: Scene<F>) {
    let wait = Wait { parts: vec![Part::Transcript], up_to: Duration::from_secs(600) };
    let waits = scene.endpoint(|endpoint| endpoint.delivering.wait = Some(wait)).await;
    keep(&scene, Some(100)).await;
    let fail = async |scene: &Scene<F>, owned: &Owned, seconds| {
        let mut failed = attempted(owned, scene.now, Next::RetryAt(scene.later(seconds)));
        failed.body = SECRET.into();
        scene.commit(Vec::new(), vec![failed]).await;
    };
    let body = async |scene: &Scene<F>, endpoint| {
        let claimed = scene.claim(endpoint, 9).await;
        assert_eq!(claimed.len(), 1);
        let body = claimed[0].body.get();
        scene.settle(&claimed[0], Next::RetryAt(scene.later(0))).await;
        body
    };

    // An end that waited for its transcript, which came later and is older later.
    assert!(scene.hear([says("held", ENDED)]).await.owned.is_empty());
    scene.wait(50);
    let owned = scene.hear([with("held", ENDED, PHONE, SECRET)]).await.owned;
    fail(&scene, &owned[0], 0).await;
    scene.wait(50 + A_LITTLE);
    scene.tidy_up().await;
    assert_eq!(body(&scene, waits).await.as_deref(), Some(SECRET.as_bytes()), "nothing goes before its age");
    scene.wait(50);
    scene.tidy_up().await;
    assert_eq!(body(&scene, waits).await, None);
    scene.store.delete_endpoint(scene.account, waits, scene.now).await.unwrap();

    // One that was replayed.
    let plain = scene.endpoint(|_| {}).await;
    let owned = scene.hear([with("replayed", ENDED, PHONE, SECRET)]).await.owned;
    scene.settle(&owned[0], Next::Delivered).await;
    let selection = Selection { endpoint: Some(plain), ..Selection::default() };
    let order = ReplayOrder { selection, to: None, rate: 1000.0, dry_run: false };
    scene.store.create_replay(scene.account, order, scene.now).await.unwrap().unwrap();
    scene.tidy_up().await;
    let again = scene.claim(plain, 9).await;
    assert_eq!(again.len(), 1);
    fail(&scene, &again[0], 0).await;
    assert_eq!(body(&scene, plain).await.as_deref(), Some(SECRET.as_bytes()));
    scene.wait(100 + A_LITTLE);
    scene.tidy_up().await;
    assert_eq!(body(&scene, plain).await, None);
    scene.finish().await;
}

/// An attempt that was begun before its event's transcript went fails, and the next one encodes what is left.
async fn the_next_attempt_says_no_more<F: Fixture>(scene: &mut Scene<F>, endpoint: i64, owned: &Owned) {
    let mut failed = attempted(owned, scene.now, Next::RetryAt(scene.later(1)));
    failed.body = SECRET.into();
    scene.commit(Vec::new(), vec![failed]).await;
    scene.wait(1);
    let again = scene.claim(endpoint, 9).await;
    assert_eq!((again.len(), again[0].body.get()), (1, None), "encoded anew");
    assert!(!again[0].event.data_json().contains("\"transcript\":"));
    scene.settle(&again[0], Next::Delivered).await;
}

/// What is past its retention too, and is there for an attempt that is under way alone.
pub async fn what_an_attempt_keeps_there_says_no_more<F: Fixture>(mut scene: Scene<F>) {
    let number = scene.endpoint(|_| {}).await;
    for transcripts in [100, 200] {
        keep(&scene, Some(transcripts)).await;
        scene.keep(100).await;
        let owned = scene.hear([with(&format!("c-{transcripts}"), ENDED, PHONE, SECRET)]).await.owned;
        scene.wait(transcripts + A_LITTLE);
        scene.tidy_up().await;
        the_next_attempt_says_no_more(&mut scene, number, &owned[0]).await;
    }
    scene.finish().await;
}

/// Ages that are switched off bring nothing back, also what an attempt had with it when they still stood.
pub async fn what_is_gone_stays_gone_when_all_is_kept_again<F: Fixture>(mut scene: Scene<F>) {
    let number = scene.endpoint(|_| {}).await;
    keep(&scene, Some(100)).await;
    let owned = scene.hear([with("c-1", ENDED, PHONE, SECRET)]).await.owned;
    scene.wait(100 + A_LITTLE);
    scene.tidy_up().await;
    keep(&scene, None).await;
    the_next_attempt_says_no_more(&mut scene, number, &owned[0]).await;
    scene.finish().await;
}
