//! A row that cannot be read: what it costs, and whom.

use postcall::ledger::Next;
use postcall::model::{Outcome, Step};
use postcall::store::StoreError;

use super::scene::{Fixture, Scene, attempted, numbers, says};

const ENDED: Step = Step::Ended(Outcome::Completed);

/// One row that cannot be read costs its own delivery some time, and nobody else anything.
pub async fn a_damaged_row_harms_nobody_else<F: Fixture>(mut scene: Scene<F>) {
    let endpoint = scene.endpoint(|_| {}).await;
    scene.room.set(0);
    scene.hear(["a", "b", "c"].map(|call| says(call, Step::Answered))).await;
    scene.hear(["a", "c"].map(|call| says(call, ENDED))).await;
    let damage = |event: i64| {
        let key = (1i64 << 40) | event;
        scene.place.sql(&format!("UPDATE events SET body = CAST('nonsense' AS BLOB) WHERE id = {key}"));
    };
    damage(2);
    damage(5);
    let claimed = scene.claim(endpoint, 9).await;
    assert_eq!(numbers(&claimed), [1, 3], "the second is passed over");
    assert_eq!(scene.sum(endpoint).await.pending, 5);

    scene.room.set(usize::MAX);
    let settled = claimed.iter().map(|owned| attempted(owned, scene.now, Next::Delivered));
    let committed = scene.commit(Vec::new(), settled.collect()).await;
    assert_eq!(numbers(&committed.owned), [4], "the fifth cannot be promoted into memory");
    assert_eq!(scene.sum(endpoint).await.delivered, 2, "but what was before it is settled");

    let refused = scene.try_commit(vec![scene.incoming(says("b", ENDED))], Vec::new()).await;
    assert!(matches!(refused, Err(StoreError::Data(_))), "a culprit for the group commit: {refused:?}");
    let shown = scene.store.delivery(scene.account, 2).await;
    assert!(matches!(shown, Err(StoreError::Unavailable(_))), "{shown:?}");
    scene.wait(3600);
    assert!(scene.claim(endpoint, 9).await.is_empty(), "looked at again, and still damaged");
    assert_eq!(scene.store.next_due(scene.target(endpoint)).await, Ok(Some(scene.later(3600))));
    let recounted = scene.store.rows(scene.account, true).await;
    assert!(matches!(recounted, Err(StoreError::Unavailable(_))), "no recount passes over a call");
    assert_eq!(scene.store.sums(scene.account, false).await, scene.store.sums(scene.account, true).await);
    scene.store.close().await.unwrap();
}
