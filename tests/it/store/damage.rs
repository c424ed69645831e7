//! A row that cannot be read: what it costs, and whom. Jobs of maintenance, by turns.

use std::time::Duration;

use postcall::ledger::Next;
use postcall::model::endpoint::{Part, Wait};
use postcall::model::replay::{ReplayOrder, ReplayState, Selection};
use postcall::model::{Outcome, Step};
use postcall::store::{CallFilter, Incoming, Page, Progress, StoreError};

use super::scene::{Fixture, Scene, attempted, numbers, says, source};

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
    assert_eq!(scene.store.ready().await, Ok(()), "the store is whole");
    scene.store.close().await.unwrap();
}

/// A job that meets damage rests for that account alone; every other job, and the same one for others, goes on, and what
/// was committed is told.
pub async fn a_job_that_fails_stops_nothing_else<F: Fixture>(mut scene: Scene<F>) {
    let wait = Wait { parts: vec![Part::Recording], up_to: Duration::from_secs(60) };
    let waits = scene.endpoint(|endpoint| endpoint.delivering.wait = Some(wait)).await;
    let gone = scene.endpoint(|_| {}).await;
    let other = scene.other_account("other").await;
    scene.room.set(0);
    scene.hear([says("a", ENDED)]).await;
    let order = ReplayOrder { selection: Selection::default(), to: None, rate: 1000.0, dry_run: true };
    let begin = async |scene: &Scene<F>, account| {
        scene.store.create_replay(account, order.clone(), scene.now).await.unwrap().unwrap().number
    };
    let state = async |scene: &Scene<F>, account, number| {
        scene.store.replay(account, number).await.map(|replay| replay.unwrap().state)
    };
    let mine = begin(&scene, scene.account).await;
    let theirs = begin(&scene, other).await;
    let damage = |scene: &Scene<F>, selection: &str| {
        let key = (scene.account.0 << 40) | mine;
        scene.place.sql(&format!("UPDATE replays SET selection = {selection} WHERE id = {key}"));
    };
    damage(&scene, "'nonsense' || selection");
    assert!(scene.store.delete_endpoint(scene.account, gone, scene.now).await.unwrap());
    scene.wait(60);

    let failed = |progress: &Progress| {
        progress.steps.iter().filter(|step| step.has_failed).map(|step| step.job).collect::<Vec<_>>()
    };
    let first = scene.store.maintain(scene.now).await.unwrap();
    assert_eq!(failed(&first), ["replays"]);
    assert_eq!(first.wake, [scene.target(waits)], "what was let go is told in the same round");
    let second = scene.store.maintain(scene.now).await.unwrap();
    assert_eq!(failed(&second), [""; 0], "it rests");
    assert_eq!(state(&scene, other, theirs).await, Ok(ReplayState::Done));
    scene.tidy_up().await;

    // It is tried again after a second, two, four.
    let mut tried = Vec::new();
    for second in 1..=7 {
        scene.wait(1);
        if failed(&scene.store.maintain(scene.now).await.unwrap()) == ["replays"] {
            tried.push(second);
        }
    }
    assert_eq!(tried, [1, 3, 7]);
    assert_eq!(begin(&scene, other).await, theirs + 1);
    scene.tidy_up().await;
    assert_eq!(state(&scene, other, theirs + 1).await, Ok(ReplayState::Done));

    damage(&scene, "substr(selection, 9)");
    scene.wait(8);
    scene.tidy_up().await;
    assert_eq!(state(&scene, scene.account, mine).await, Ok(ReplayState::Done));
    scene.finish().await;
}

/// However much there is to do for one account, another one's turn comes next.
pub async fn accounts_take_turns_in_every_job<F: Fixture>(scene: Scene<F>) {
    let others = [scene.other_account("b").await, scene.other_account("c").await];
    for call in 0..40 {
        scene.hear([says(&format!("c-{call}"), Step::Answered)]).await;
    }
    let order = ReplayOrder { selection: Selection::default(), to: None, rate: 1000.0, dry_run: true };
    let begin = async |account| {
        scene.store.create_replay(account, order.clone(), scene.now).await.unwrap().unwrap().number
    };
    // Sixteen that are due for the first account, and one of each other.
    for _ in 0..16 {
        begin(scene.account).await;
    }
    let theirs = [begin(others[0]).await, begin(others[1]).await];
    for _ in 0..3 {
        scene.store.maintain(scene.now).await.unwrap();
    }
    for (account, number) in others.into_iter().zip(theirs) {
        let replay = scene.store.replay(account, number).await.unwrap().unwrap();
        assert_eq!(replay.state, ReplayState::Done, "{account:?}");
    }
    scene.tidy_up().await;
    scene.finish().await;
}

/// Also where what is due for another account for longer are more rows than one look sees.
pub async fn an_account_behind_very_many_rows_has_its_turn<F: Fixture>(mut scene: Scene<F>) {
    let patient = |account| {
        let mut source = source(account);
        source.lost_after = Some(Duration::from_secs(60));
        source
    };
    let (mine, other) = (scene.account, scene.other_account("other").await);
    scene.source = scene.store.put_source(patient(mine), None).await.unwrap().unwrap().number;
    for hundred in 0..5 {
        let calls = (0..100).map(|call| says(&format!("{hundred}-{call}"), Step::Answered));
        scene.hear(calls).await;
        scene.wait(1);
    }
    let theirs = scene.store.put_source(patient(other), None).await.unwrap().unwrap().number;
    let body = Incoming { account: other, source: theirs, ..scene.incoming(says("theirs", Step::Answered)) };
    scene.commit(vec![body], Vec::new()).await;
    scene.wait(3600);
    for _ in 0..2 {
        scene.store.maintain(scene.now).await.unwrap();
    }
    let lost = async |account| {
        let filter = CallFilter { outcome: Some(Outcome::Lost), ..CallFilter::default() };
        scene.store.calls(account, filter, Page { after: None, limit: 1000 }).await.unwrap().len()
    };
    assert_eq!(lost(other).await, 1);
    assert!(lost(mine).await < 400, "there was more to do for the other one");
    scene.tidy_up().await;
    assert_eq!(lost(mine).await, 500);
    scene.finish().await;
}
