//! One endpoint hears one call's events in their order; calls do not wait for each other.

use postcall::ledger::Next;
use postcall::model::{DeliveryState, EventType, Outcome, Step};

use super::scene::{Fixture, Scene, attempted, numbers, says};

const ENDED: Step = Step::Ended(Outcome::Completed);

pub async fn a_later_event_waits_for_the_earlier_one<F: Fixture>(mut scene: Scene<F>) {
    let endpoint = scene.endpoint(|_| {}).await;
    let first = scene.step("c-1", Step::Initiated).await;
    for step in [Step::Ringing, ENDED] {
        let committed = scene.hear([says("c-1", step)]).await;
        assert!(committed.owned.is_empty() && committed.wake.is_empty());
    }
    scene.wait(1_000_000);
    assert!(scene.claim(endpoint, 9).await.is_empty());
    assert_eq!(scene.store.next_due(scene.target(endpoint)).await, Ok(None));
    assert_eq!(scene.delivery(2).await.next_attempt_at, None);
    let second = scene.settle(&first[0], Next::Delivered).await.owned;
    assert_eq!((numbers(&second), second[0].event.kind), (vec![2], EventType::CallRinging));
    assert_eq!((second[0].attempt, second[0].ordered_call), (1, first[0].ordered_call));
    let third = scene.settle(&second[0], Next::Delivered).await.owned;
    assert_eq!(numbers(&third), [3]);
    assert!(scene.settle(&third[0], Next::Delivered).await.owned.is_empty());
    assert_eq!(scene.sum(endpoint).await.delivered, 3);
    scene.finish().await;
}

pub async fn a_retry_lets_nothing_pass_and_a_death_does<F: Fixture>(mut scene: Scene<F>) {
    let endpoint = scene.endpoint(|_| {}).await;
    let first = scene.step("c-1", Step::Answered).await;
    scene.step("c-1", ENDED).await;
    let committed = scene.settle(&first[0], Next::RetryAt(scene.later(60))).await;
    assert!(committed.owned.is_empty());
    assert_eq!(committed.wake_at, [(scene.target(endpoint), scene.later(60))]);
    scene.wait(60);
    let again = scene.claim(endpoint, 9).await;
    assert_eq!((numbers(&again), again[0].attempt), (vec![1], 2));
    let second = scene.settle(&again[0], Next::Dead).await.owned;
    assert_eq!(numbers(&second), [2]);
    scene.finish().await;
}

pub async fn a_promoted_one_needs_a_place_too<F: Fixture>(scene: Scene<F>) {
    let endpoint = scene.endpoint(|_| {}).await;
    let first = scene.step("c-1", Step::Answered).await;
    scene.step("c-1", ENDED).await;
    scene.room.set(0);
    let committed = scene.settle(&first[0], Next::Delivered).await;
    assert!(committed.owned.is_empty());
    assert_eq!(committed.wake, [scene.target(endpoint)]);
    assert_eq!(numbers(&scene.claim(endpoint, 9).await), [2]);
    scene.finish().await;
}

pub async fn unordered_endpoints_wait_for_nothing<F: Fixture>(scene: Scene<F>) {
    let ordered = scene.endpoint(|_| {}).await;
    let unordered = scene.endpoint(|endpoint| endpoint.ordered = false).await;
    let owned = scene.hear([says("c-1", Step::Answered), says("c-1", ENDED)]).await.owned;
    let to = |number| owned.iter().filter(|owned| owned.endpoint.number == number).count();
    assert_eq!((to(ordered), to(unordered)), (1, 2));
    scene.finish().await;
}

pub async fn calls_do_not_wait_for_each_other<F: Fixture>(scene: Scene<F>) {
    let endpoint = scene.endpoint(|_| {}).await;
    let first = scene.hear(["a", "b", "c"].map(|call| says(call, Step::Answered))).await.owned;
    assert_eq!(first.len(), 3);
    scene.hear(["c", "b", "a"].map(|call| says(call, ENDED))).await;
    let next = scene.settle(&first[1], Next::Delivered).await.owned;
    assert_eq!(next[0].event.call_id(), first[1].event.call_id());
    assert_eq!(next.len(), 1);
    assert_eq!(scene.sum(endpoint).await.pending, 5);
    scene.finish().await;
}

pub async fn one_endpoint_does_not_wait_for_another<F: Fixture>(scene: Scene<F>) {
    let (slow, quick) = (scene.endpoint(|_| {}).await, scene.endpoint(|_| {}).await);
    let first = scene.step("c-1", Step::Answered).await;
    scene.step("c-1", ENDED).await;
    let to_quick = first.iter().find(|owned| owned.endpoint.number == quick).unwrap();
    let next = scene.settle(to_quick, Next::Delivered).await.owned;
    assert_eq!((next.len(), next[0].endpoint.number), (1, quick));
    assert_eq!(scene.sum(slow).await.pending, 2);
    scene.finish().await;
}

/// The end of a call arrives in the same group in which the delivery before it is settled.
pub async fn a_group_may_hear_and_settle_at_once<F: Fixture>(scene: Scene<F>) {
    let endpoint = scene.endpoint(|_| {}).await;
    let first = scene.step("c-1", Step::Answered).await;
    let settled = attempted(&first[0], scene.now, Next::Delivered);
    let committed = scene.commit(vec![scene.incoming(says("c-1", ENDED))], vec![settled]).await;
    assert_eq!(numbers(&committed.owned), [2]);
    assert_eq!(scene.sum(endpoint).await.pending, 1);
    scene.finish().await;
}

pub async fn the_order_outlives_a_crash<F: Fixture>(mut scene: Scene<F>) {
    let endpoint = scene.endpoint(|_| {}).await;
    scene.hear([Step::Initiated, Step::Answered, ENDED].map(|step| says("c-1", step))).await;
    for expected in [1, 2, 3] {
        scene.crash().await;
        scene.room.set(0);
        let claimed = scene.claim(endpoint, 9).await;
        assert_eq!(numbers(&claimed), [expected]);
        scene.settle(&claimed[0], Next::Delivered).await;
    }
    assert_eq!(scene.sum(endpoint).await.delivered, 3);
    scene.finish().await;
}

pub async fn turning_order_off_and_on_leaves_nothing_behind<F: Fixture>(scene: Scene<F>) {
    let endpoint = scene.endpoint(|_| {}).await;
    let first = scene.step("c-1", Step::Initiated).await;
    scene.step("c-1", Step::Ringing).await;
    scene.change(endpoint, |endpoint| endpoint.ordered = false).await;
    let third = scene.step("c-1", Step::Answered).await;
    assert_eq!(numbers(&third), [3], "waits for nothing from now on");
    scene.change(endpoint, |endpoint| endpoint.ordered = true).await;
    assert!(scene.step("c-1", ENDED).await.is_empty(), "waits for the ones that kept the order");
    scene.settle(&third[0], Next::Delivered).await;
    let second = scene.settle(&first[0], Next::Delivered).await.owned;
    assert_eq!(numbers(&second), [2]);
    let fourth = scene.settle(&second[0], Next::Delivered).await.owned;
    assert_eq!(numbers(&fourth), [4]);
    scene.settle(&fourth[0], Next::Delivered).await;
    for number in 1..=4 {
        assert_eq!(scene.state(number).await, DeliveryState::Delivered);
    }
    scene.finish().await;
}
