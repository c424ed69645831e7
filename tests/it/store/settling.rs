//! What attempts come to: written once, in order, and counted.

use bytes::Bytes;
use postcall::ledger::{Decision, Next};
use postcall::model::endpoint::{EndpointState, Shape};
use postcall::model::{Attempt, DeliveryState, DialectName, EventBody, EventType, Outcome, Step};
use postcall::store::{ManualOutcome, Settlement};

use super::scene::{Fixture, Scene, attempted, numbers, says};

const ENDED: Step = Step::Ended(Outcome::Completed);

fn attempts(all: &[Attempt]) -> Vec<(u32, Option<u16>)> {
    all.iter().map(|attempt| (attempt.number, attempt.status)).collect()
}

pub async fn a_delivered_one_is_done<F: Fixture>(mut scene: Scene<F>) {
    let endpoint = scene.endpoint(|_| {}).await;
    let owned = scene.step("c-1", ENDED).await;
    let mut settlement = attempted(&owned[0], scene.now, Next::Delivered);
    settlement.attempt.response_body = Some("{\"ok\":true}\u{0}".to_owned());
    settlement.attempt.slow = true;
    let attempt = settlement.attempt.clone();
    let committed = scene.commit(Vec::new(), vec![settlement]).await;
    assert!(committed.owned.is_empty() && committed.wake.is_empty() && committed.wake_at.is_empty());
    scene.crash().await;
    let view = scene.delivery(1).await;
    assert_eq!((view.state, view.next_attempt_at), (DeliveryState::Delivered, None));
    assert_eq!((view.endpoint, view.event, view.kind), (endpoint, 1, EventType::CallEnded));
    assert_eq!(view.attempts, [attempt]);
    assert!(scene.claim(endpoint, 9).await.is_empty());
    let sum = scene.sum(endpoint).await;
    assert_eq!((sum.owed, sum.delivered, sum.pending), (1, 1, 0));
    scene.finish().await;
}

/// Same event, same bytes: what was sent first is sent again, whatever became of the encoder.
pub async fn a_retry_sends_the_bytes_of_the_first_attempt<F: Fixture>(mut scene: Scene<F>) {
    let endpoint = scene.endpoint(|_| {}).await;
    let first = scene.step("c-1", ENDED).await;
    scene.settle(&first[0], Next::RetryAt(scene.later(5))).await;
    let view = scene.delivery(1).await;
    assert_eq!((view.state, view.next_attempt_at), (DeliveryState::Pending, Some(scene.later(5))));
    for number in 2..5 {
        scene.wait(5);
        if number == 3 {
            scene.crash().await;
        }
        let claimed = scene.claim(endpoint, 9).await;
        assert_eq!(
            (claimed[0].attempt, claimed[0].body.get().as_deref()),
            (number, Some(&b"body of attempt 1"[..]))
        );
        assert_eq!(claimed[0].event, first[0].event);
        let mut again = attempted(&claimed[0], scene.now, Next::RetryAt(scene.later(5)));
        again.body = Bytes::from_static(b"other bytes");
        scene.commit(Vec::new(), vec![again]).await;
    }
    scene.wait(5);
    let last = scene.claim(endpoint, 9).await;
    scene.settle(&last[0], Next::Delivered).await;
    let view = scene.delivery(1).await;
    let expected: Vec<_> = (1..6).map(|number| (number, Some(if number < 5 { 500 } else { 200 }))).collect();
    assert_eq!(attempts(&view.attempts), expected, "every attempt, in order");
    assert_eq!(scene.sum(endpoint).await.delivered, 1);
    scene.finish().await;
}

pub async fn a_dead_one_is_given_up<F: Fixture>(mut scene: Scene<F>) {
    let endpoint = scene.endpoint(|_| {}).await;
    let owned = scene.hear([says("a", ENDED), says("b", ENDED)]).await.owned;
    scene.settle(&owned[0], Next::Dead).await;
    scene.settle(&owned[1], Next::RetryAt(scene.now)).await;
    let again = scene.claim(endpoint, 9).await;
    scene.settle(&again[0], Next::Dead).await;
    scene.crash().await;
    scene.wait(1_000_000);
    assert!(scene.claim(endpoint, 9).await.is_empty());
    assert_eq!(scene.store.next_due(scene.target(endpoint)).await, Ok(None));
    assert_eq!(attempts(&scene.delivery(1).await.attempts), [(1, Some(500))]);
    assert_eq!(attempts(&scene.delivery(2).await.attempts), [(1, Some(500)), (2, Some(500))]);
    let sum = scene.sum(endpoint).await;
    assert_eq!((sum.owed, sum.dead, sum.pending), (2, 2, 0));
    scene.finish().await;
}

pub async fn gone_disables_the_endpoint_and_tells<F: Fixture>(mut scene: Scene<F>) {
    let gone = scene.endpoint(|_| {}).await;
    let witness = scene.endpoint(|endpoint| endpoint.events = Some(vec![EventType::EndpointDisabled])).await;
    let deaf = scene.endpoint(|endpoint| endpoint.dialect = DialectName::Air).await;
    let owned = scene.hear(["a", "b", "c"].map(|call| says(call, Step::Answered))).await.owned;
    let decision = Decision { next: Next::Dead, disable_endpoint: true };
    let settle = |at: usize| Settlement { decision, ..attempted(&owned[at], scene.now, Next::Dead) };
    let committed = scene.commit(Vec::new(), vec![settle(0), settle(1)]).await;
    assert_eq!(committed.disabled, [scene.target(gone)], "once, though two said so");
    let told: Vec<i64> = committed.owned.iter().map(|owned| owned.endpoint.number).collect();
    assert!(told.contains(&witness) && !told.contains(&deaf), "{told:?}");
    for reopened in [false, true] {
        if reopened {
            scene.crash().await;
        }
        assert!(
            matches!(&scene.configured(gone).state, EndpointState::Disabled { reason } if reason.contains("410"))
        );
        let feed = scene.feed().await;
        assert_eq!(feed.len(), 4);
        assert!(
            matches!(&feed[3].body, EventBody::Endpoint(told) if told.endpoint_id == scene.configured(gone).id),
            "{:?}",
            feed[3]
        );
    }
    assert_eq!(scene.state(1).await, DeliveryState::Dead);
    scene.step("d", Step::Answered).await;
    let sum = scene.sum(gone).await;
    assert_eq!((sum.dead, sum.pending), (2, 3), "it goes on being owed: c, its own end, d");
    scene.finish().await;
}

pub async fn an_attempt_under_way_outlives_a_cancel<F: Fixture>(scene: Scene<F>) {
    let endpoint = scene.endpoint(|_| {}).await;
    let owned = scene.hear(["a", "b", "c"].map(|call| says(call, ENDED))).await.owned;
    for number in 1..=3 {
        assert_eq!(scene.cancel(number).await, ManualOutcome::Done);
    }
    let outcomes = [Next::Delivered, Next::RetryAt(scene.later(5)), Next::Dead];
    for (owned, next) in owned.iter().zip(outcomes) {
        let committed = scene.settle(owned, next).await;
        assert!(committed.owned.is_empty() && committed.wake_at.is_empty());
        let view = scene.delivery(owned.delivery).await;
        assert_eq!((view.state, view.attempts.len()), (DeliveryState::Cancelled, 1), "it stays on record");
    }
    let sum = scene.sum(endpoint).await;
    assert_eq!((sum.owed, sum.cancelled, sum.delivered, sum.dead), (3, 3, 0, 0));
    scene.finish().await;
}

/// A commit whose end nobody heard is made again.
pub async fn settling_twice_is_settling_once<F: Fixture>(mut scene: Scene<F>) {
    let endpoint = scene.endpoint(|_| {}).await;
    let owned = scene.hear(["a", "b", "c"].map(|call| says(call, Step::Answered))).await.owned;
    scene.hear([says("a", ENDED)]).await;
    let outcomes = [Next::Delivered, Next::RetryAt(scene.later(5)), Next::Dead];
    let settled = |scene: &Scene<F>| -> Vec<Settlement> {
        owned.iter().zip(outcomes).map(|(owned, next)| attempted(owned, scene.now, next)).collect()
    };
    let before = scene.commit(Vec::new(), settled(&scene)).await;
    assert_eq!(numbers(&before.owned), [4], "the end of call a is promoted");
    let after = scene.commit(Vec::new(), settled(&scene)).await;
    assert!(after.owned.is_empty());
    scene.wait(5);
    let second = scene.claim(endpoint, 9).await;
    assert_eq!((numbers(&second), second[0].attempt), (vec![2], 2));
    scene.commit(Vec::new(), settled(&scene)).await;
    assert!(scene.claim(endpoint, 9).await.is_empty(), "a late repeat does not take away who owns it");
    scene.settle(&second[0], Next::Delivered).await;
    scene.commit(Vec::new(), settled(&scene)).await;
    for (number, count) in [(1, 1), (2, 2), (3, 1)] {
        assert_eq!(scene.delivery(number).await.attempts.len(), count, "{number}");
    }
    let sum = scene.sum(endpoint).await;
    assert_eq!((sum.owed, sum.delivered, sum.dead, sum.pending), (4, 2, 1, 1));
    scene.finish().await;
}

/// What is said is pinned when it is planned; how it is sent is always current.
pub async fn a_delivery_keeps_the_shape_it_was_planned_with<F: Fixture>(mut scene: Scene<F>) {
    let endpoint = scene.endpoint(|_| {}).await;
    let planned = scene.hear([says("a", Step::Answered), says("a", ENDED)]).await.owned;
    let old = scene.configured(endpoint).revision;
    assert_eq!(planned[0].revision, old);
    scene.settle(&planned[0], Next::RetryAt(scene.now)).await;

    let moved = scene.change(endpoint, |endpoint| endpoint.url = "https://new.example".to_owned()).await;
    assert_eq!(moved.revision, old, "where it is sent shapes no body");
    let changed = scene
        .change(endpoint, |endpoint| {
            endpoint.shape = Shape { include_recording: false };
            endpoint.dialect = DialectName::Aloro;
        })
        .await;
    assert!(changed.revision > old);
    let fresh = scene.step("b", ENDED).await;
    assert_eq!(
        (fresh[0].revision, fresh[0].dialect, fresh[0].shape.include_recording),
        (changed.revision, DialectName::Aloro, false)
    );
    let same = scene.change(endpoint, |endpoint| endpoint.shape = Shape { include_recording: false }).await;
    assert_eq!(same.revision, changed.revision, "nothing changed");

    scene.crash().await;
    let claimed = scene.claim(endpoint, 1).await;
    let promoted = scene.settle(&claimed[0], Next::Delivered).await.owned;
    for owned in claimed.iter().chain(&promoted) {
        let pinned = (owned.revision, owned.dialect, owned.shape.include_recording);
        assert_eq!(pinned, (old, DialectName::Standard, true), "delivery {}", owned.delivery);
    }
    assert_eq!(numbers(&promoted), [2]);
    scene.finish().await;
}
