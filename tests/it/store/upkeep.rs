//! What is done beside the hot path: calling off what deleted endpoints are owed, answers to repeated requests,
//! crashes at any moment.

use postcall::ledger::Next;
use postcall::model::{DeliveryState, Outcome, Step};
use postcall::store::{DeliveryFilter, Idempotent, Parsed, Progress};

use super::scene::{Fixture, Scene, says};

const ENDED: Step = Step::Ended(Outcome::Completed);

pub async fn a_deleted_endpoint_is_owed_nothing_in_steps<F: Fixture>(mut scene: Scene<F>) {
    let (gone, stays) = (scene.endpoint(|_| {}).await, scene.endpoint(|_| {}).await);
    let mut owned = scene.hear(["a", "b", "c", "d"].map(|call| says(call, Step::Answered))).await.owned;
    owned.retain(|owned| owned.endpoint.number == gone);
    scene.settle(&owned[0], Next::Delivered).await;
    scene.settle(&owned[1], Next::Dead).await;
    scene.settle(&owned[2], Next::RetryAt(scene.later(5))).await;
    // More than one step takes; many of them wait for an earlier one of the same call.
    for call in 0..400 {
        scene.room.set(call % 2);
        scene.hear([says(&format!("c-{call}"), Step::Answered), says(&format!("c-{call}"), ENDED)]).await;
    }
    assert_eq!(scene.store.delete_endpoint(scene.account, gone, scene.now).await, Ok(true));
    assert!(scene.store.maintain(scene.now).await.unwrap().more);
    let left = scene.sum(gone).await;
    assert!(left.pending > 0 && left.cancelled > 0, "in steps: {left:?}");
    scene.crash().await;
    scene.tidy_up().await;
    assert_eq!(scene.store.maintain(scene.now).await, Ok(Progress::default()));
    let sum = scene.sum(gone).await;
    assert_eq!((sum.owed, sum.delivered, sum.dead, sum.pending, sum.cancelled), (804, 1, 1, 0, 802));
    assert_eq!(scene.sum(stays).await.pending, 804, "nobody else is touched");
    scene.wait(10);
    assert!(scene.claim(gone, 9).await.is_empty());
    // An attempt that was under way all the while.
    scene.settle(&owned[3], Next::Delivered).await;
    let view = scene.delivery(owned[3].delivery).await;
    assert_eq!((view.state, view.attempts.len()), (DeliveryState::Cancelled, 1));
    scene.hear([says("later", ENDED)]).await;
    assert_eq!(scene.sum(gone).await.owed, 804);
    scene.finish().await;
}

pub async fn a_request_is_answered_once<F: Fixture>(mut scene: Scene<F>) {
    let (one, other) = (scene.account, scene.other_account("other").await);
    let begin = async |scene: &Scene<F>, account, key: &[u8], print: u8| {
        scene.store.begin_idempotent(account, key.to_vec(), [print; 32], scene.now).await.unwrap()
    };
    let finish = async |scene: &Scene<F>, key: &[u8], answer: Option<(u16, Vec<u8>)>| {
        scene.store.finish_idempotent(one, key.to_vec(), answer).await.unwrap();
    };
    let answered = Idempotent::Answered { status: 201, body: b"whsec_shown_once\0".to_vec() };
    assert_eq!(begin(&scene, one, b"k", 1).await, Idempotent::Fresh);
    assert_eq!(begin(&scene, one, b"k", 1).await, Idempotent::InProgress);
    assert_eq!(begin(&scene, one, b"k", 2).await, Idempotent::Mismatch);
    assert_eq!(begin(&scene, other, b"k", 2).await, Idempotent::Fresh, "each account has its own keys");
    assert_eq!(begin(&scene, one, b"k2", 2).await, Idempotent::Fresh);
    finish(&scene, b"k", Some((201, b"whsec_shown_once\0".to_vec()))).await;
    assert_eq!(begin(&scene, one, b"k", 1).await, answered);
    assert_eq!(begin(&scene, one, b"k", 2).await, Idempotent::Mismatch);
    finish(&scene, b"k2", None).await;
    assert_eq!(begin(&scene, one, b"k2", 3).await, Idempotent::Fresh, "a failed one is forgotten");
    finish(&scene, b"nobody began this", Some((200, Vec::new()))).await;

    scene.crash().await;
    assert_eq!(begin(&scene, one, b"k", 1).await, answered, "kept over a crash");
    assert_eq!(begin(&scene, one, b"k2", 9).await, Idempotent::Fresh, "what was under way is over");
    assert_eq!(begin(&scene, one, b"", 1).await, Idempotent::Fresh, "any bytes are a key");

    scene.wait(23 * 3600);
    scene.tidy_up().await;
    assert_eq!(begin(&scene, one, b"k", 1).await, answered);
    scene.wait(2 * 3600);
    scene.tidy_up().await;
    assert_eq!(begin(&scene, one, b"k", 1).await, Idempotent::Fresh, "forgotten after a day");
    scene.finish().await;
}

/// Whatever was answered is there after a crash, and looks as it did before.
pub async fn nothing_that_was_answered_is_lost<F: Fixture>(mut scene: Scene<F>) {
    let endpoint = scene.endpoint(|_| {}).await;
    for round in 0..3 {
        let call = format!("c-{round}");
        let owned = scene.hear([says(&call, Step::Answered), says(&call, ENDED)]).await.owned;
        let next = [Next::Delivered, Next::RetryAt(scene.later(60)), Next::Dead][round];
        scene.settle(&owned[0], next).await;
        scene.hear([Parsed::Unreadable(call.clone())]).await;
        if round == 2 {
            scene.retry(5).await;
            scene.cancel(6).await;
        }
        let look = async |scene: &Scene<F>| {
            let all = scene.deliveries(DeliveryFilter::default()).await;
            let deliveries: Vec<_> =
                all.into_iter().map(|view| (view.number, view.state, view.attempts)).collect();
            let store = &scene.store;
            let sums = store.sums(scene.account, false).await.unwrap();
            let quarantined = store.quarantine_size(scene.account).await.unwrap();
            let config = format!("{:?}", store.config(scene.account).unwrap());
            (scene.feed().await, deliveries, sums, quarantined, config, scene.call(&call).await.call)
        };
        let before = look(&scene).await;
        scene.crash().await;
        assert_eq!(look(&scene).await, before, "round {round}");
    }
    assert_eq!(scene.sum(endpoint).await.owed, 6);
    assert_eq!(scene.store.ready().await, Ok(()));
    scene.finish().await;
}

pub async fn a_closed_store_answers_that_it_is_closed<F: Fixture>(scene: Scene<F>) {
    scene.endpoint(|_| {}).await;
    let store = scene.store.clone();
    scene.finish().await;
    let page = postcall::store::Page { after: None, limit: 1 };
    assert!(store.events(postcall::model::AccountKey::DEFAULT, page).await.is_err());
    assert!(store.maintain(super::scene::some_time()).await.is_err());
    assert!(store.ready().await.is_err());
}
