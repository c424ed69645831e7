//! Who may attempt a delivery: whoever owns it, and nobody else.

use std::collections::BTreeSet;

use postcall::ledger::Next;
use postcall::model::{DeliveryState, Outcome, Step};
use postcall::store::{Claimed, EndpointRef};

use super::scene::{Fixture, Scene, attempted, endpoint, numbers, says};

const ENDED: Step = Step::Ended(Outcome::Completed);

pub async fn a_reserved_delivery_is_never_claimable<F: Fixture>(mut scene: Scene<F>) {
    let endpoint = scene.endpoint(|_| {}).await;
    let owned = scene.step("c-1", ENDED).await;
    assert_eq!(numbers(&owned), [1]);
    assert_eq!(scene.room.taken(), 1);
    scene.wait(1_000_000);
    assert!(scene.claim(endpoint, 10).await.is_empty());
    assert_eq!(scene.store.next_due(scene.target(endpoint)).await, Ok(None));
    assert_eq!(scene.delivery(1).await.next_attempt_at, None);
    drop(owned);
    assert_eq!(scene.room.taken(), 0);
    assert!(scene.claim(endpoint, 10).await.is_empty(), "not even when the memory forgot it");
    scene.finish().await;
}

pub async fn without_a_place_it_is_claimable_at_once<F: Fixture>(scene: Scene<F>) {
    let endpoint = scene.endpoint(|_| {}).await;
    scene.room.set(0);
    let committed = scene.hear([says("c-1", ENDED), says("c-2", ENDED)]).await;
    assert!(committed.owned.is_empty());
    assert_eq!(committed.wake, [scene.target(endpoint)], "woken once");
    assert_eq!(scene.store.next_due(scene.target(endpoint)).await, Ok(Some(scene.now)));
    assert_eq!(scene.delivery(1).await.next_attempt_at, Some(scene.now));
    let claimed = scene.claim(endpoint, 10).await;
    assert_eq!(numbers(&claimed), [1, 2], "oldest first");
    assert_eq!((claimed[0].attempt, claimed[0].event.position), (1, 1));
    assert!(claimed[0].call.is_some() && claimed[0].call == claimed[0].ordered_call);
    assert_eq!(scene.room.taken(), 2, "places that were not needed are given back");
    assert!(scene.claim(endpoint, 10).await.is_empty());
    scene.finish().await;
}

pub async fn some_places_are_not_places_for_all<F: Fixture>(scene: Scene<F>) {
    let endpoint = scene.endpoint(|_| {}).await;
    scene.room.set(2);
    let committed = scene.hear((0..5).map(|call| says(&format!("c-{call}"), ENDED))).await;
    assert_eq!(numbers(&committed.owned), [1, 2]);
    assert_eq!(committed.wake, [scene.target(endpoint)]);
    let target = scene.target(endpoint);
    let Claimed { owned, more } = scene.store.claim(target, scene.now, scene.room.places(2)).await.unwrap();
    assert_eq!((numbers(&owned), more), (vec![3, 4], true), "ended for lack of places");
    let Claimed { owned, more } = scene.store.claim(target, scene.now, scene.room.places(2)).await.unwrap();
    assert_eq!((numbers(&owned), more), (vec![5], false));
    scene.finish().await;
}

pub async fn concurrent_claims_share_nothing<F: Fixture>(scene: Scene<F>) {
    let (one, other) = (scene.endpoint(|_| {}).await, scene.endpoint(|_| {}).await);
    scene.room.set(0);
    scene.hear((0..40).map(|call| says(&format!("c-{call}"), ENDED))).await;
    let mut claims = Vec::new();
    for round in 0..16 {
        let (store, places, now) = (scene.store.clone(), scene.room.places(7), scene.now);
        let target = scene.target(if round % 2 == 0 { one } else { other });
        claims.push(tokio::spawn(async move { store.claim(target, now, places).await.unwrap().owned }));
    }
    let mut seen = BTreeSet::new();
    for claim in claims {
        for owned in claim.await.unwrap() {
            assert!(seen.insert(owned.delivery), "delivery {} was given twice", owned.delivery);
        }
    }
    assert_eq!(seen.len(), 80);
    scene.finish().await;
}

pub async fn only_what_is_due_is_claimed_earliest_first<F: Fixture>(mut scene: Scene<F>) {
    let endpoint = scene.endpoint(|_| {}).await;
    let owned = scene.hear(["a", "b", "c"].map(|call| says(call, ENDED))).await.owned;
    for (owned, seconds) in owned.iter().zip([30, 10, 20]) {
        scene.settle(owned, Next::RetryAt(scene.later(seconds))).await;
    }
    assert!(scene.claim(endpoint, 9).await.is_empty());
    assert_eq!(scene.store.next_due(scene.target(endpoint)).await, Ok(Some(scene.later(10))));
    scene.wait(20);
    assert_eq!(numbers(&scene.claim(endpoint, 9).await), [2, 3]);
    assert_eq!(scene.store.next_due(scene.target(endpoint)).await, Ok(Some(scene.later(10))));
    scene.finish().await;
}

pub async fn a_crash_makes_everything_claimable_again<F: Fixture>(mut scene: Scene<F>) {
    let endpoint = scene.endpoint(|_| {}).await;
    let owned = scene.hear(["a", "b", "c"].map(|call| says(call, ENDED))).await.owned;
    scene.settle(&owned[1], Next::RetryAt(scene.now)).await;
    scene.settle(&owned[2], Next::Delivered).await;
    assert_eq!(numbers(&scene.claim(endpoint, 1).await), [2]);
    scene.room.set(0);
    scene.hear([says("d", ENDED), says("a", Step::Ringing)]).await;
    scene.crash().await;
    scene.wait(1);
    let claimed = scene.claim(endpoint, 9).await;
    let attempts: BTreeSet<(i64, u32)> =
        claimed.iter().map(|owned| (owned.delivery, owned.attempt)).collect();
    assert_eq!(attempts, BTreeSet::from([(1, 1), (2, 2), (4, 1)]), "the fifth waits for the first");
    assert!(scene.claim(endpoint, 9).await.is_empty());
    scene.finish().await;
}

pub async fn release_gives_back<F: Fixture>(scene: Scene<F>) {
    let endpoint = scene.endpoint(|_| {}).await;
    let owned = scene.hear(["a", "b", "c", "a"].map(|call| says(call, ENDED))).await.owned;
    scene.hear([says("a", Step::Answered)]).await;
    scene.settle(&owned[1], Next::Delivered).await;
    scene.settle(&owned[2], Next::RetryAt(scene.later(10))).await;
    scene.store.release(scene.account, vec![1, 2, 3, 4, 99]).await.unwrap();
    let claimed = scene.claim(endpoint, 9).await;
    assert_eq!(numbers(&claimed), [1], "not the settled one, the later one, the waiting one");
    assert_eq!(scene.state(2).await, DeliveryState::Delivered);
    scene.finish().await;
}

pub async fn accounts_and_endpoints_claim_their_own<F: Fixture>(scene: Scene<F>) {
    let mine = scene.endpoint(|_| {}).await;
    let other = scene.other_account("other").await;
    let theirs = scene.store.put_endpoint(endpoint(other), None).await.unwrap().unwrap().number;
    assert_eq!(mine, theirs, "numbers are the account's own");
    scene.room.set(0);
    scene.step("c-1", ENDED).await;
    let target = EndpointRef { account: other, number: theirs };
    let claimed = scene.store.claim(target, scene.now, scene.room.places(9)).await.unwrap();
    assert!(claimed.owned.is_empty());
    scene.store.release(other, vec![1]).await.unwrap();
    assert_eq!(numbers(&scene.claim(mine, 9).await), [1]);
    scene.store.release(other, vec![1]).await.unwrap();
    assert!(scene.claim(mine, 9).await.is_empty());
    scene.finish().await;
}

pub async fn what_is_owned_is_settled_whatever_came_between<F: Fixture>(scene: Scene<F>) {
    let endpoint = scene.endpoint(|_| {}).await;
    let owned = scene.step("c-1", ENDED).await;
    scene.store.release(scene.account, vec![1]).await.unwrap();
    // The dispatcher gives back what it has not begun only; should both happen, nothing is counted twice.
    scene.commit(Vec::new(), vec![attempted(&owned[0], scene.now, Next::Delivered)]).await;
    assert!(scene.claim(endpoint, 9).await.is_empty());
    assert_eq!(scene.sum(endpoint).await.delivered, 1);
    scene.finish().await;
}
