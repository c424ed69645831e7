//! Replays: what is delivered once more, to whom, when and how often. Time is moved by hand.

use std::collections::BTreeSet;

use postcall::ledger::Next;
use postcall::model::event::Heard;
use postcall::model::replay::{Replay, ReplayOrder, ReplayState, Selection};
use postcall::model::{DeliveryState, EventType, Outcome, Step, Text};
use postcall::store::{DeliveryFilter, ManualOutcome, Page, Parsed};

use super::scene::{Fixture, Scene, heard, numbers, says};

const ENDED: Step = Step::Ended(Outcome::Completed);
const MOST_OPEN: usize = 1024;

fn order(selection: Selection) -> ReplayOrder {
    ReplayOrder { selection, to: None, rate: 1000.0, dry_run: false }
}

async fn begin<F: Fixture>(scene: &Scene<F>, order: ReplayOrder) -> i64 {
    let made = scene.store.create_replay(scene.account, order, scene.now).await.unwrap();
    made.expect("not too many are running").number
}

async fn look<F: Fixture>(scene: &Scene<F>, number: i64) -> Replay {
    scene.store.replay(scene.account, number).await.unwrap().expect("it is there")
}

/// Lets time go by until a replay has looked through everything.
async fn run<F: Fixture>(scene: &mut Scene<F>, number: i64) -> Replay {
    loop {
        scene.tidy_up().await;
        let replay = look(scene, number).await;
        if replay.state != ReplayState::Running {
            return replay;
        }
        scene.wait(1);
    }
}

/// Calls that end, delivered or dead by turns.
async fn past<F: Fixture>(scene: &mut Scene<F>, count: usize) {
    for call in 0..count {
        for owned in scene.step(&format!("c-{call}"), ENDED).await {
            let next = if call % 2 == 0 { Next::Delivered } else { Next::Dead };
            scene.settle(&owned, next).await;
        }
    }
}

pub async fn a_replay_is_a_new_delivery_of_the_same_event<F: Fixture>(mut scene: Scene<F>) {
    let number = scene.endpoint(|_| {}).await;
    past(&mut scene, 3).await;
    let only = Selection { event: Some(1), ..Selection::default() };
    let replay = begin(&scene, order(only.clone())).await;
    let done = run(&mut scene, replay).await;
    assert_eq!((done.state, done.deliveries, done.open, done.examined), (ReplayState::Done, 1, 1, 1));
    let again = scene.delivery(4).await;
    assert_eq!((again.event, again.endpoint, again.replay), (1, number, Some(replay)));
    assert_eq!(scene.delivery(1).await.replay, None);
    assert_eq!((scene.sum(number).await.owed, scene.sum(number).await.pending), (4, 1));

    // Encoded anew, in the shape of today.
    scene.change(number, |endpoint| endpoint.shape.include_recording = false).await;
    let twice = begin(&scene, order(Selection { state: None, ..only })).await;
    assert_eq!(run(&mut scene, twice).await.deliveries, 0, "what is pending comes anyway");
    let owned = scene.claim(number, 9).await;
    assert_eq!(numbers(&owned), [4]);
    assert_eq!((owned[0].attempt, owned[0].ordered_call), (1, None));
    scene.settle(&owned[0], Next::Delivered).await;
    assert_eq!(look(&scene, replay).await.open, 0);

    // Lists by event and call show it, newest first and page by page.
    let call = scene.call("c-0").await.number;
    for filter in [
        DeliveryFilter { event: Some(1), ..DeliveryFilter::default() },
        DeliveryFilter { call: Some(call), ..DeliveryFilter::default() },
    ] {
        let found = scene.deliveries(filter.clone()).await;
        assert_eq!(found.iter().map(|view| view.number).collect::<Vec<_>>(), [4, 1], "{filter:?}");
        let page = Page { after: Some(4), limit: 1 };
        let rest = scene.store.deliveries(scene.account, filter, page).await.unwrap();
        assert_eq!(rest.iter().map(|view| view.number).collect::<Vec<_>>(), [1]);
    }
    scene.finish().await;
}

pub async fn every_filter_selects_what_a_look_at_all_finds<F: Fixture>(mut scene: Scene<F>) {
    let first = scene.endpoint(|_| {}).await;
    let second = scene.endpoint(|endpoint| endpoint.ordered = false).await;
    for call in 0..24usize {
        let outcome = [Outcome::Completed, Outcome::Busy, Outcome::Failed][call % 3];
        for step in [Step::Ringing, Step::Ended(outcome)] {
            let mut body = heard(&format!("c-{call}"), step);
            body.call.batch_id = Some(Text::from(["b-0", "b-1"][call % 2]));
            body.call.campaign.id = Some(Text::from(["k-0", "k-1", "k-2"][call % 3]));
            body.call.agent.id = Some(Text::from(["a-0", "a-1", "a-2", "a-3"][call % 4]));
            body.at = Some(scene.now);
            let owned = scene.hear([Parsed::events([Heard::Call(Box::new(body))])]).await.owned;
            for (at, owned) in owned.into_iter().enumerate() {
                match (call + at) % 5 {
                    0 => drop(scene.settle(&owned, Next::Dead).await),
                    1 => drop(scene.cancel(owned.delivery).await),
                    _ => drop(scene.settle(&owned, Next::Delivered).await),
                }
            }
        }
        scene.wait(60);
    }
    let feed = scene.feed().await;
    let all = scene.deliveries(DeliveryFilter::default()).await;
    let text = |text: &str| Some(Text::from(text));
    let middle = feed[20].at;
    let of_call = scene.call("c-5").await.number;
    let some = Selection::default;
    let selections = [
        some(),
        Selection { call: Some(of_call), ..some() },
        Selection { endpoint: Some(second), ..some() },
        Selection { kinds: vec![EventType::CallFailed, EventType::CallRinging], ..some() },
        Selection { batch: text("b-1"), ..some() },
        Selection { campaign: text("k-2"), agent: text("a-3"), ..some() },
        Selection { outcome: Some(Outcome::Busy), ..some() },
        Selection { from: Some(middle), ..some() },
        Selection { until: Some(middle), state: Some(DeliveryState::Dead), ..some() },
        Selection { state: Some(DeliveryState::Cancelled), endpoint: Some(first), ..some() },
        Selection { batch: text("nobody's"), ..some() },
    ];
    let mut found = Vec::new();
    for selection in selections {
        let mut expected = BTreeSet::new();
        for view in &all {
            let event = &feed[usize::try_from(view.event - 1).unwrap()];
            let call = scene.call(&event.call_id().unwrap().to_str()).await;
            let is = |wanted: &Option<Text>, is: &Option<Text>| wanted.is_none() || wanted == is;
            let fits = selection.call.is_none_or(|wanted| wanted == call.number)
                && selection.endpoint.is_none_or(|wanted| wanted == view.endpoint)
                && (selection.kinds.is_empty() || selection.kinds.contains(&event.kind))
                && is(&selection.batch, &call.call.batch_id)
                && is(&selection.campaign, &call.call.campaign.id)
                && is(&selection.agent, &call.call.agent.id)
                && selection.outcome.is_none_or(|wanted| call.call.outcome == Some(wanted))
                && selection.from.is_none_or(|from| event.at >= from)
                && selection.until.is_none_or(|until| event.at < until)
                && selection.state.is_none_or(|state| view.state == state);
            if fits {
                expected.insert((view.event, view.endpoint));
            }
        }
        let dry = begin(&scene, ReplayOrder { dry_run: true, ..order(selection.clone()) }).await;
        let owed = scene.sum(first).await.owed + scene.sum(second).await.owed;
        let counted = run(&mut scene, dry).await;
        assert_eq!(counted.deliveries, i64::try_from(expected.len()).unwrap(), "{selection:?}");
        assert_eq!(scene.sum(first).await.owed + scene.sum(second).await.owed, owed, "it only counts");

        found.push((selection, expected));
    }
    // What a count finds is what is planned. Called off again, all of it is as good as it was for the next selection.
    for (selection, expected) in found.into_iter().filter(|(selection, _)| selection.state.is_none()) {
        let replay = begin(&scene, order(selection.clone())).await;
        run(&mut scene, replay).await;
        let planned = scene.deliveries(DeliveryFilter::default()).await;
        let planned = planned.iter().filter(|view| view.replay == Some(replay));
        let planned: Vec<_> = planned.map(|view| (view.event, view.endpoint)).collect();
        assert_eq!(planned.len(), expected.len(), "{selection:?}");
        assert_eq!(planned.into_iter().collect::<BTreeSet<_>>(), expected, "{selection:?}");
        scene.store.cancel_replay(scene.account, replay, scene.now).await.unwrap();
        scene.tidy_up().await;
    }
    scene.finish().await;
}

pub async fn fresh_traffic_goes_first<F: Fixture>(mut scene: Scene<F>) {
    let number = scene.endpoint(|_| {}).await;
    past(&mut scene, 10).await;
    let replay = begin(&scene, order(Selection { endpoint: Some(number), ..Selection::default() })).await;
    run(&mut scene, replay).await;
    scene.wait(60);
    scene.room.set(0);
    scene.hear([says("fresh", ENDED)]).await;
    scene.room.set(usize::MAX);
    let claimed = scene.claim(number, 3).await;
    assert_eq!(
        numbers(&claimed),
        [21, 11, 12],
        "what is fresh goes before what is older and was told before"
    );
    scene.crash().await;
    let rest = scene.claim(number, 100).await;
    assert_eq!(rest.len(), 11);
    // It blocks nobody: the next event of a call with an open replay does not wait for it.
    assert_eq!(scene.step("c-5", Step::Ringing).await.len(), 1);
    scene.finish().await;
}

pub async fn a_replay_goes_on_after_a_crash_and_plans_nothing_twice<F: Fixture>(mut scene: Scene<F>) {
    let number = scene.endpoint(|_| {}).await;
    past(&mut scene, 450).await;
    let replay = begin(&scene, order(Selection { endpoint: Some(number), ..Selection::default() })).await;
    let mut steps = 0;
    while look(&scene, replay).await.state == ReplayState::Running {
        scene.store.maintain(scene.now).await.unwrap();
        scene.crash().await;
        scene.wait(1);
        steps += 1;
    }
    assert!(steps > 4, "in steps: {steps}");
    let planned =
        scene.deliveries(DeliveryFilter { state: Some(DeliveryState::Pending), ..Default::default() }).await;
    let events: BTreeSet<i64> = planned.iter().map(|view| view.event).collect();
    assert_eq!((planned.len(), events.len()), (450, 450));
    let done = look(&scene, replay).await;
    assert_eq!((done.examined, done.total, done.deliveries, done.open), (450, Some(450), 450, 450));
    scene.finish().await;
}

pub async fn only_so_many_are_open_at_a_time<F: Fixture>(mut scene: Scene<F>) {
    let number = scene.endpoint(|_| {}).await;
    let calls: Vec<String> = (0..MOST_OPEN + 200).map(|call| format!("c-{call}")).collect();
    for part in calls.chunks(200) {
        let owned = scene.hear(part.iter().map(|call| says(call, ENDED))).await.owned;
        for owned in &owned {
            scene.settle(owned, Next::Delivered).await;
        }
    }
    let replay = begin(&scene, order(Selection { endpoint: Some(number), ..Selection::default() })).await;
    for _ in 0..5 {
        scene.tidy_up().await;
        scene.wait(1);
    }
    let full = look(&scene, replay).await;
    assert_eq!((full.state, full.open), (ReplayState::Running, i64::try_from(MOST_OPEN).unwrap()));
    for owned in scene.claim(number, 300).await {
        scene.settle(&owned, Next::Delivered).await;
    }
    let done = run(&mut scene, replay).await;
    assert_eq!(done.deliveries, i64::try_from(calls.len()).unwrap());
    scene.finish().await;
}

pub async fn a_cancelled_replay_plans_nothing_more<F: Fixture>(mut scene: Scene<F>) {
    let number = scene.endpoint(|_| {}).await;
    past(&mut scene, 250).await;
    let all = Selection { endpoint: Some(number), ..Selection::default() };
    let replay = begin(&scene, order(all.clone())).await;
    scene.store.maintain(scene.now).await.unwrap();
    let begun = look(&scene, replay).await;
    assert!(begun.deliveries > 0 && begun.state == ReplayState::Running);
    let under_way = scene.claim(number, 1).await;
    assert_eq!(scene.store.cancel_replay(scene.account, replay, scene.now).await, Ok(true));
    scene.wait(9);
    scene.tidy_up().await;
    let over = look(&scene, replay).await;
    assert_eq!((over.state, over.deliveries, over.open), (ReplayState::Cancelled, begun.deliveries, 0));
    assert_eq!(scene.sum(number).await.cancelled, begun.deliveries);
    scene.settle(&under_way[0], Next::Delivered).await;
    assert_eq!(scene.store.cancel_replay(scene.account, replay, scene.now).await, Ok(false), "it is over");
    assert_eq!(scene.store.cancel_replay(scene.account, 99, scene.now).await, Ok(false));

    // Only so many may run at a time, and a deleted endpoint's are called off.
    let mut running = Vec::new();
    while let Some(made) = scene
        .store
        .create_replay(scene.account, ReplayOrder { to: Some(number), ..order(all.clone()) }, scene.now)
        .await
        .unwrap()
    {
        running.push(made.number);
    }
    assert_eq!(running.len(), 16);
    scene.store.delete_endpoint(scene.account, number, scene.now).await.unwrap();
    scene.tidy_up().await;
    for replay in running {
        assert_eq!(look(&scene, replay).await.state, ReplayState::Cancelled);
    }
    scene.finish().await;
}

pub async fn a_dead_one_that_is_retried_is_its_replays_again<F: Fixture>(mut scene: Scene<F>) {
    let number = scene.endpoint(|_| {}).await;
    past(&mut scene, 1).await;
    let only = Selection { event: Some(1), ..Selection::default() };
    let replay = begin(&scene, order(only)).await;
    run(&mut scene, replay).await;
    let owned = scene.claim(number, 1).await;
    scene.settle(&owned[0], Next::Dead).await;
    assert_eq!(look(&scene, replay).await.open, 0);
    assert_eq!(scene.retry(owned[0].delivery).await, ManualOutcome::Done);
    assert_eq!(look(&scene, replay).await.open, 1);
    assert_eq!(scene.store.cancel_replay(scene.account, replay, scene.now).await, Ok(true));
    scene.tidy_up().await;
    assert_eq!(scene.delivery(owned[0].delivery).await.state, DeliveryState::Cancelled);
    assert_eq!(look(&scene, replay).await.open, 0);
    scene.finish().await;
}

pub async fn a_replay_keeps_to_its_rate<F: Fixture>(mut scene: Scene<F>) {
    let number = scene.endpoint(|_| {}).await;
    past(&mut scene, 60).await;
    let slow =
        ReplayOrder { rate: 4.0, ..order(Selection { endpoint: Some(number), ..Selection::default() }) };
    let replay = begin(&scene, slow).await;
    for second in 0..10 {
        scene.tidy_up().await;
        let planned = look(&scene, replay).await.deliveries;
        assert!((4 * second..=4 * (second + 1)).contains(&planned), "{planned} after {second} seconds");
        scene.wait(1);
    }
    scene.wait(3600);
    scene.tidy_up().await;
    let planned = look(&scene, replay).await.deliveries;
    assert!(planned <= 40 + 4 * 3, "an hour without a look is not made up for: {planned}");
    scene.finish().await;
}

pub async fn another_endpoint_takes_what_it_would_be_owed<F: Fixture>(mut scene: Scene<F>) {
    let first = scene.endpoint(|_| {}).await;
    for (call, outcome) in [("a", Outcome::Completed), ("b", Outcome::Busy)] {
        for step in [Step::Ringing, Step::Ended(outcome)] {
            for owned in scene.step(call, step).await {
                scene.settle(&owned, if call == "a" { Next::Dead } else { Next::Delivered }).await;
            }
        }
    }
    let later = scene
        .endpoint(|endpoint| endpoint.events = Some(vec![EventType::CallEnded, EventType::CallFailed]))
        .await;
    let to = |selection| ReplayOrder { to: Some(later), ..order(selection) };
    let everything = Selection { until: Some(scene.later(1000)), ..Selection::default() };
    let replay = begin(&scene, to(everything)).await;
    assert_eq!(run(&mut scene, replay).await.deliveries, 2, "the ends, though it was never owed them");
    let dead = Selection { endpoint: Some(first), state: Some(DeliveryState::Dead), ..Selection::default() };
    let replay = begin(&scene, to(dead)).await;
    assert_eq!(run(&mut scene, replay).await.deliveries, 1);
    assert_eq!((scene.sum(later).await.owed, scene.sum(first).await.owed), (3, 4));
    scene.finish().await;
}

pub async fn what_replays_planned_goes_with_its_event<F: Fixture>(mut scene: Scene<F>) {
    let number = scene.endpoint(|_| {}).await;
    scene.keep(100).await;
    past(&mut scene, 4).await;
    scene.wait(50);
    scene.step("young", ENDED).await;
    let all = Selection { endpoint: Some(number), ..Selection::default() };
    for _ in 0..2 {
        let replay = begin(&scene, order(all.clone())).await;
        assert_eq!(run(&mut scene, replay).await.deliveries, 4);
        for owned in scene.claim(number, 3).await {
            scene.settle(&owned, Next::Delivered).await;
        }
        let rest = scene
            .deliveries(DeliveryFilter { state: Some(DeliveryState::Pending), ..Default::default() })
            .await;
        for view in rest.iter().filter(|view| view.replay == Some(replay)) {
            scene.cancel(view.number).await;
        }
    }
    let last = begin(&scene, order(all)).await;
    run(&mut scene, last).await;
    let under_way = scene.claim(number, 1).await;
    scene.wait(55);
    scene.tidy_up().await;
    let left: Vec<i64> = scene.feed().await.iter().map(|event| event.position).collect();
    assert_eq!(left, if F::PASSES_OVER { vec![5] } else { vec![1, 2, 3, 4, 5] });
    assert!(scene.store.delivery(scene.account, under_way[0].delivery).await.unwrap().is_some());
    scene.settle(&under_way[0], Next::Delivered).await;
    scene.wait(5);
    scene.tidy_up().await;
    let left = scene.deliveries(DeliveryFilter::default()).await;
    assert_eq!(left.iter().map(|view| view.event).collect::<Vec<_>>(), [5], "and nothing else is left");
    scene.wait(200);
    scene.tidy_up().await;
    let page = Page { after: None, limit: 9 };
    assert!(scene.store.replays(scene.account, page).await.unwrap().is_empty());
    scene.finish().await;
}

pub async fn accounts_replay_only_their_own<F: Fixture>(mut scene: Scene<F>) {
    scene.endpoint(|_| {}).await;
    past(&mut scene, 2).await;
    let replay = begin(&scene, order(Selection { event: Some(1), ..Selection::default() })).await;
    let other = scene.other_account("other").await;
    assert_eq!(scene.store.replay(other, replay).await, Ok(None));
    assert_eq!(scene.store.cancel_replay(other, replay, scene.now).await, Ok(false));
    let page = Page { after: None, limit: 9 };
    assert!(scene.store.replays(other, page).await.unwrap().is_empty());
    let theirs = order(Selection { event: Some(1), ..Selection::default() });
    let theirs = scene.store.create_replay(other, theirs, scene.now).await.unwrap().unwrap();
    scene.tidy_up().await;
    assert_eq!(scene.store.replay(other, theirs.number).await.unwrap().unwrap().deliveries, 0);
    assert_eq!(look(&scene, replay).await.deliveries, 1);
    let listed = scene.store.replays(scene.account, page).await.unwrap();
    assert_eq!(listed.iter().map(|replay| replay.number).collect::<Vec<_>>(), [replay]);
    scene.finish().await;
}
