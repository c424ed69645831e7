//! Transcripts that go earlier than the rest: what stays of events and records, and what is sent of them.

use postcall::dialect::ReceiptKind::Duplicate;
use postcall::ledger::Next;
use postcall::model::{Erased, EventBody, Outcome, Step};
use std::time::Duration;

use super::erasing::{PHONE, SECRET, with};
use super::scene::{Fixture, Scene, attempted, done};

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
