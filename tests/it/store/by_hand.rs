//! Retries and cancels by hand, in every state that a delivery can be in.

use postcall::ledger::Next;
use postcall::model::{DeliveryState, Outcome, Step};
use postcall::store::ManualOutcome;

use super::scene::{Fixture, Scene, numbers, says};

const ENDED: Step = Step::Ended(Outcome::Completed);

pub async fn a_retry_does_not_wait_for_its_time<F: Fixture>(scene: Scene<F>) {
    let endpoint = scene.endpoint(|_| {}).await;
    let owned = scene.step("c-1", ENDED).await;
    scene.settle(&owned[0], Next::RetryAt(scene.later(3600))).await;
    assert_eq!(scene.retry(1).await, ManualOutcome::Done);
    assert_eq!(scene.delivery(1).await.next_attempt_at, Some(scene.now));
    let claimed = scene.claim(endpoint, 9).await;
    assert_eq!((claimed[0].attempt, claimed[0].body.get().as_deref()), (2, Some(&b"body of attempt 1"[..])));
    assert_eq!(scene.sum(endpoint).await.owed, 1);
    scene.finish().await;
}

/// It keeps no order and blocks nobody: what waited for it may go.
pub async fn a_retry_out_of_line_lets_the_next_one_go<F: Fixture>(scene: Scene<F>) {
    let endpoint = scene.endpoint(|_| {}).await;
    let first = scene.step("c-1", Step::Answered).await;
    scene.step("c-1", ENDED).await;
    scene.settle(&first[0], Next::RetryAt(scene.later(3600))).await;
    assert_eq!(scene.retry(1).await, ManualOutcome::Done);
    let claimed = scene.claim(endpoint, 9).await;
    assert_eq!(numbers(&claimed), [1, 2]);
    assert_eq!(claimed[0].ordered_call, None);
    for owned in &claimed {
        scene.settle(owned, Next::Delivered).await;
    }
    assert_eq!(scene.sum(endpoint).await.delivered, 2);
    scene.finish().await;
}

pub async fn a_waiting_one_can_be_sent_before_its_turn<F: Fixture>(scene: Scene<F>) {
    let endpoint = scene.endpoint(|_| {}).await;
    let first = scene.step("c-1", Step::Initiated).await;
    scene.hear([says("c-1", Step::Answered), says("c-1", ENDED)]).await;
    assert_eq!(scene.retry(2).await, ManualOutcome::Done);
    let second = scene.claim(endpoint, 9).await;
    assert_eq!(numbers(&second), [2]);
    assert!(
        scene.settle(&second[0], Next::Delivered).await.owned.is_empty(),
        "the third waits for the first"
    );
    let third = scene.settle(&first[0], Next::Delivered).await.owned;
    assert_eq!(numbers(&third), [3]);
    scene.finish().await;
}

pub async fn one_that_is_under_way_is_left_alone<F: Fixture>(mut scene: Scene<F>) {
    let endpoint = scene.endpoint(|_| {}).await;
    let owned = scene.step("c-1", Step::Answered).await;
    scene.step("c-1", ENDED).await;
    assert_eq!(scene.retry(1).await, ManualOutcome::Done, "it is being attempted");
    assert!(scene.claim(endpoint, 9).await.is_empty());
    scene.settle(&owned[0], Next::RetryAt(scene.later(10))).await;
    assert!(scene.claim(endpoint, 9).await.is_empty(), "nothing passes it");
    scene.wait(10);
    let again = scene.claim(endpoint, 9).await;
    assert_eq!(numbers(&again), [1]);
    assert_eq!(numbers(&scene.settle(&again[0], Next::Delivered).await.owned), [2]);
    scene.finish().await;
}

pub async fn a_dead_one_rises_again<F: Fixture>(mut scene: Scene<F>) {
    let endpoint = scene.endpoint(|_| {}).await;
    let owned = scene.hear([says("a", Step::Answered), says("b", Step::Answered)]).await.owned;
    scene.settle(&owned[0], Next::Dead).await;
    scene.settle(&owned[1], Next::RetryAt(scene.now)).await;
    let second = scene.claim(endpoint, 9).await;
    scene.settle(&second[0], Next::Dead).await;
    for number in [1, 2] {
        assert_eq!(scene.retry(number).await, ManualOutcome::Done);
    }
    let sum = scene.sum(endpoint).await;
    assert_eq!((sum.owed, sum.dead, sum.pending), (2, 0, 2));
    scene.crash().await;
    scene.room.set(0);
    scene.hear([says("a", ENDED)]).await;
    let claimed = scene.claim(endpoint, 9).await;
    assert_eq!(numbers(&claimed), [1, 2, 3], "it holds nobody up");
    assert_eq!((claimed[0].attempt, claimed[1].attempt), (2, 3));
    for owned in &claimed[..2] {
        assert_eq!(owned.body.get().as_deref(), Some(&b"body of attempt 1"[..]), "the same bytes");
        assert_eq!(owned.ordered_call, None);
    }
    scene.settle(&claimed[0], Next::Dead).await;
    scene.settle(&claimed[1], Next::Delivered).await;
    let view = scene.delivery(2).await;
    assert_eq!(view.state, DeliveryState::Delivered);
    assert_eq!(view.attempts.iter().map(|attempt| attempt.number).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(scene.retry(1).await, ManualOutcome::Done, "as often as somebody likes");
    let sum = scene.sum(endpoint).await;
    assert_eq!((sum.owed, sum.dead, sum.delivered, sum.pending), (3, 0, 1, 2));
    scene.finish().await;
}

pub async fn what_is_over_cannot_be_retried<F: Fixture>(scene: Scene<F>) {
    scene.endpoint(|_| {}).await;
    let owned = scene.hear([says("a", ENDED), says("b", ENDED)]).await.owned;
    scene.settle(&owned[0], Next::Delivered).await;
    scene.cancel(2).await;
    assert_eq!(scene.retry(1).await, ManualOutcome::WrongState(DeliveryState::Delivered));
    assert_eq!(scene.retry(2).await, ManualOutcome::WrongState(DeliveryState::Cancelled));
    for number in [0, -1, 3, i64::MAX] {
        assert_eq!(scene.retry(number).await, ManualOutcome::Missing);
        assert_eq!(scene.cancel(number).await, ManualOutcome::Missing);
    }
    scene.finish().await;
}

/// Nobody would ever send it: what a deleted endpoint was owed has been called off.
pub async fn a_dead_one_of_a_deleted_endpoint_stays_dead<F: Fixture>(scene: Scene<F>) {
    let endpoint = scene.endpoint(|_| {}).await;
    let owned = scene.step("a", ENDED).await;
    scene.settle(&owned[0], Next::Dead).await;
    assert!(scene.store.delete_endpoint(scene.account, endpoint, scene.now).await.unwrap());
    assert_eq!(scene.retry(1).await, ManualOutcome::WrongState(DeliveryState::Dead));
    scene.tidy_up().await;
    assert_eq!(scene.retry(1).await, ManualOutcome::WrongState(DeliveryState::Dead));
    assert_eq!(scene.sum(endpoint).await.dead, 1);
    scene.finish().await;
}

pub async fn any_pending_one_can_be_called_off<F: Fixture>(mut scene: Scene<F>) {
    let endpoint = scene.endpoint(|_| {}).await;
    let owned = scene
        .hear(["owned", "later", "line", "dead", "done"].map(|call| says(call, Step::Answered)))
        .await
        .owned;
    scene.settle(&owned[1], Next::RetryAt(scene.later(10))).await;
    scene.settle(&owned[3], Next::Dead).await;
    scene.settle(&owned[4], Next::Delivered).await;
    scene.step("line", ENDED).await;
    scene.room.set(0);
    scene.step("free", ENDED).await;
    for number in [1, 2, 6, 7] {
        assert_eq!(scene.cancel(number).await, ManualOutcome::Done, "{number}");
        assert_eq!(scene.state(number).await, DeliveryState::Cancelled);
        assert_eq!(scene.cancel(number).await, ManualOutcome::WrongState(DeliveryState::Cancelled));
    }
    assert_eq!(scene.cancel(4).await, ManualOutcome::WrongState(DeliveryState::Dead));
    assert_eq!(scene.cancel(5).await, ManualOutcome::WrongState(DeliveryState::Delivered));
    assert_eq!(scene.delivery(2).await.attempts.len(), 1, "what was tried stays on record");
    scene.wait(10);
    assert!(scene.claim(endpoint, 9).await.is_empty());
    let sum = scene.sum(endpoint).await;
    assert_eq!((sum.owed, sum.delivered, sum.pending, sum.dead, sum.cancelled), (7, 1, 1, 1, 4));
    scene.finish().await;
}

pub async fn a_cancelled_one_makes_way<F: Fixture>(scene: Scene<F>) {
    let endpoint = scene.endpoint(|_| {}).await;
    scene.hear([Step::Initiated, Step::Ringing, Step::Answered, ENDED].map(|step| says("c-1", step))).await;
    scene.cancel(2).await;
    assert!(scene.claim(endpoint, 9).await.is_empty(), "the first is still under way");
    scene.cancel(1).await;
    let third = scene.claim(endpoint, 9).await;
    assert_eq!(numbers(&third), [3]);
    assert_eq!(numbers(&scene.settle(&third[0], Next::Delivered).await.owned), [4]);
    scene.finish().await;
}
