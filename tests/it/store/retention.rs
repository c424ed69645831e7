//! The lifetime of data: what goes when, what stays, and what goes on counting. Time is moved by hand.

use std::time::Duration;

use postcall::dialect::ReceiptKind::{Duplicate, Quarantined, Recorded};
use postcall::ledger::Next;
use postcall::model::event::Heard;
use postcall::model::replay::{ReplayOrder, ReplayState, Selection};
use postcall::model::{DeliveryState, EventType, Outcome, Step, Time};
use postcall::store::export::Secrets;
use postcall::store::{DeliveryFilter, ManualOutcome, Page, Parsed, Progress, Sum};

use super::carrying::{export, import};
use super::scene::{Fixture, Scene, done, endpoint, heard, numbers, says, source};

const ENDED: Step = Step::Ended(Outcome::Completed);
/// Longer than what is remembered of a clock: a slot and the pause between two looks, for the retentions used here.
const A_LITTLE: u64 = 3;

fn positions(events: &[postcall::model::Event]) -> Vec<i64> {
    events.iter().map(|event| event.position).collect()
}

/// The feed from after a position, if it has no gap there.
async fn feed_after<F: Fixture>(scene: &Scene<F>, after: Option<i64>) -> Option<Vec<i64>> {
    let page = Page { after, limit: 100 };
    scene.store.events(scene.account, page).await.unwrap().map(|page| positions(&page.events))
}

pub async fn everything_is_kept_unless_said_otherwise<F: Fixture>(mut scene: Scene<F>) {
    let number = scene.endpoint(|_| {}).await;
    scene.step("a", ENDED).await;
    scene.hear([Parsed::Unreadable("no".to_owned())]).await;
    scene.wait(20 * 365 * 24 * 3600);
    scene.tidy_up().await;
    assert_eq!(scene.store.config(scene.account).unwrap().account.retention, None);
    assert_eq!((scene.feed().await.len(), scene.sum(number).await.pending), (1, 1));

    // What was set is kept over a crash, and can be taken back before anything is gone.
    scene.keep(3600).await;
    scene.crash().await;
    let kept = scene.store.config(scene.account).unwrap().account.retention;
    assert_eq!(kept, Some(Duration::from_secs(3600)));
    let account = scene.store.set_retention(scene.account, None, scene.now).await.unwrap().unwrap();
    assert_eq!(account.retention, None);
    scene.tidy_up().await;
    assert_eq!((scene.feed().await.len(), scene.store.quarantine_size(scene.account).await), (1, Ok(1)));
    let nobody = postcall::model::AccountKey(77);
    assert_eq!(scene.store.set_retention(nobody, None, scene.now).await, Ok(None));
    scene.finish().await;
}

pub async fn what_is_past_its_age_goes_and_what_is_not_stays<F: Fixture>(mut scene: Scene<F>) {
    let number = scene.endpoint(|_| {}).await;
    scene.keep(100).await;
    let owned = scene.hear(["a", "b"].map(|call| says(call, ENDED))).await.owned;
    scene.settle(&owned[0], Next::Delivered).await;
    scene.settle(&owned[1], Next::Dead).await;
    scene.wait(50);
    let young = scene.step("c", ENDED).await;
    scene.settle(&young[0], Next::Delivered).await;
    let (old, call) = (scene.delivery(1).await, scene.call("a").await.number);
    assert_eq!(old.call_id.as_ref().map(|id| id.as_bytes()), Some(&b"a"[..]));

    scene.wait(49);
    scene.tidy_up().await;
    assert_eq!(scene.feed().await.len(), 3, "nothing goes before its age");
    scene.wait(1 + A_LITTLE);
    scene.tidy_up().await;
    assert_eq!(positions(&scene.feed().await), [3]);
    assert!(scene.store.delivery(scene.account, 1).await.unwrap().is_none());
    assert!(scene.store.call(scene.account, call).await.unwrap().is_none());
    assert_eq!(scene.deliveries(DeliveryFilter::default()).await.len(), 1);
    assert_eq!(
        (scene.retry(2).await, scene.cancel(1).await),
        (ManualOutcome::Missing, ManualOutcome::Missing)
    );
    let all = Sum { endpoint: number, owed: 3, delivered: 2, dead: 1, ..Sum::default() };
    assert_eq!(scene.sum(number).await, all, "what is gone still counts");
    assert_eq!(scene.store.sums(scene.account, true).await.unwrap(), [all]);

    scene.crash().await;
    assert_eq!(positions(&scene.feed().await), [3]);
    scene.wait(100);
    scene.tidy_up().await;
    assert!(scene.feed().await.is_empty(), "also the newest of an account where nothing happens any more");
    assert_eq!(scene.hear([says("d", ENDED)]).await.owned[0].event.position, 4, "numbers go on");
    assert_eq!(positions(&scene.feed().await), [4]);
    scene.finish().await;
}

pub async fn age_counts_from_the_recording<F: Fixture>(mut scene: Scene<F>) {
    scene.endpoint(|_| {}).await;
    scene.room.set(0);
    let mut ancient = heard("ancient", ENDED);
    ancient.at = Time::parse("2001-01-01T00:00:00Z");
    scene.hear([Parsed::events(vec![Heard::Call(Box::new(ancient))])]).await;
    scene.wait(1000);
    scene.step("b", ENDED).await;
    // What was recorded when everything was kept for ever has an age, too.
    scene.keep(1500).await;
    scene.wait(400);
    scene.tidy_up().await;
    assert_eq!(positions(&scene.feed().await), [1, 2]);
    scene.wait(1100 + A_LITTLE);
    scene.tidy_up().await;
    assert!(scene.feed().await.is_empty());

    // Set back, the clock keeps things longer and loses nothing.
    scene.step("c", ENDED).await;
    scene.now = Time::from_micros(scene.now.as_micros() - 5_000_000_000);
    scene.step("d", ENDED).await;
    scene.wait(1400);
    scene.tidy_up().await;
    assert_eq!(positions(&scene.feed().await), [3, 4]);
    scene.wait(5000 + 1500);
    scene.tidy_up().await;
    assert!(scene.feed().await.is_empty());
    scene.finish().await;
}

pub async fn a_call_goes_with_its_last_event<F: Fixture>(mut scene: Scene<F>) {
    scene.endpoint(|_| {}).await;
    scene.keep(100).await;
    let first = scene.hear([says("a", Step::Answered), says("b", ENDED)]).await.owned;
    for owned in &first {
        scene.settle(owned, Next::Delivered).await;
    }
    scene.wait(60);
    let later = scene.step("a", ENDED).await;
    scene.wait(40 + A_LITTLE);
    scene.tidy_up().await;
    assert_eq!(positions(&scene.feed().await), [3]);
    let call = scene.call("a").await;
    assert_eq!(call.call.outcome, Some(Outcome::Completed));
    let of_call = DeliveryFilter { call: Some(call.number), ..DeliveryFilter::default() };
    let listed = scene.deliveries(of_call.clone()).await;
    assert_eq!(listed.iter().map(|view| view.number).collect::<Vec<_>>(), [3]);
    let of_gone = DeliveryFilter { event: Some(1), ..DeliveryFilter::default() };
    assert!(scene.deliveries(of_gone).await.is_empty());

    // Its books go on where they were: a repeat is a repeat, something new is an update that waits for its turn.
    let committed = scene.hear([says("a", Step::Answered), says("a", Step::Ringing)]).await;
    assert_eq!(committed.recorded, [done(Duplicate, 0), done(Recorded, 1)]);
    assert!(committed.owned.is_empty());
    assert_eq!(numbers(&scene.settle(&later[0], Next::Delivered).await.owned), [4]);
    assert_eq!(scene.deliveries(of_call).await.len(), 2);
    scene.finish().await;
}

pub async fn what_is_owed_too_long_expires_and_the_next_one_goes<F: Fixture>(mut scene: Scene<F>) {
    let number = scene.endpoint(|_| {}).await;
    scene.keep(100).await;
    let owned = scene.step("a", Step::Answered).await;
    scene.settle(&owned[0], Next::RetryAt(scene.later(10_000))).await;
    scene.room.set(0);
    scene.hear([says("a", Step::Ringing), says("b", ENDED)]).await;
    scene.wait(60);
    scene.step("a", ENDED).await;
    assert_eq!(numbers(&scene.claim(number, 1).await), [3], "of the other call; the line is held up");
    scene.store.release(scene.account, vec![3]).await.unwrap();

    scene.wait(40 + A_LITTLE);
    let mut woken = Vec::new();
    loop {
        let Progress { more, wake, .. } = scene.store.maintain(scene.now).await.unwrap();
        woken.extend(wake);
        if !more {
            break;
        }
    }
    assert!(woken.contains(&scene.target(number)), "somebody has to look at the next one");
    let expected = Sum { endpoint: number, owed: 4, pending: 1, cancelled: 3, ..Sum::default() };
    assert_eq!(scene.sum(number).await, expected);
    assert!(scene.store.delivery(scene.account, 1).await.unwrap().is_none());
    let next = scene.claim(number, 9).await;
    assert_eq!(numbers(&next), [4]);
    scene.settle(&next[0], Next::Delivered).await;
    // A late end of an attempt that was called off changes nothing.
    scene.settle(&owned[0], Next::Delivered).await;
    assert_eq!(scene.sum(number).await.delivered, 1);
    scene.finish().await;
}

pub async fn what_is_under_way_is_left_until_it_is_settled<F: Fixture>(mut scene: Scene<F>) {
    let (one, other) = (scene.endpoint(|_| {}).await, scene.endpoint(|_| {}).await);
    scene.keep(100).await;
    // One is under way with the body of its first attempt, the other waits for its second.
    let owned = scene.hear([says("a", ENDED), says("b", ENDED), says("c", ENDED)]).await.owned;
    assert_eq!(numbers(&owned), [1, 2, 3, 4, 5, 6]);
    scene.settle(&owned[2], Next::RetryAt(scene.later(1))).await;
    scene.settle(&owned[3], Next::RetryAt(scene.later(1))).await;
    scene.settle(&owned[4], Next::Delivered).await;
    scene.settle(&owned[5], Next::Dead).await;
    scene.wait(1);
    let again = scene.claim(one, 1).await;
    assert_eq!(numbers(&again), [3]);
    scene.wait(100 + A_LITTLE);
    scene.tidy_up().await;
    let left: Vec<i64> =
        scene.deliveries(DeliveryFilter::default()).await.iter().map(|view| view.number).collect();
    if F::PASSES_OVER {
        assert!(scene.feed().await.is_empty(), "the feed shows none of them");
        assert_eq!(left, [3, 2, 1]);
        assert_eq!((scene.sum(one).await.pending, scene.sum(other).await.pending), (2, 1));
        assert_eq!(scene.sum(other).await.cancelled, 1);
    } else {
        assert_eq!(positions(&scene.feed().await), [1, 2, 3], "it waits in front of the first");
        assert_eq!(left, [6, 5, 4, 3, 2, 1]);
        assert_eq!((scene.sum(one).await.pending, scene.sum(other).await.pending), (2, 2));
    }

    scene.settle(&owned[0], Next::Delivered).await;
    scene.settle(&owned[1], Next::RetryAt(scene.later(5000))).await;
    assert_eq!(scene.state(1).await, DeliveryState::Delivered);
    scene.wait(A_LITTLE);
    scene.tidy_up().await;
    let left: Vec<i64> =
        scene.deliveries(DeliveryFilter::default()).await.iter().map(|view| view.number).collect();
    if F::PASSES_OVER {
        assert_eq!(left, [3], "settled, or back in the store: then they go");
    } else {
        assert_eq!((left, positions(&scene.feed().await)), (vec![6, 5, 4, 3], vec![2, 3]));
    }
    scene.settle(&again[0], Next::RetryAt(scene.now)).await;
    let again = scene.claim(one, 1).await;
    assert_eq!(again[0].body.get().as_deref(), Some(&b"body of attempt 1"[..]), "its body was left, too");
    scene.settle(&again[0], Next::Dead).await;
    scene.wait(A_LITTLE);
    scene.tidy_up().await;
    let one = scene.sum(one).await;
    assert_eq!((one.delivered, one.dead, one.cancelled, one.pending), (2, 1, 0, 0));
    let other = scene.sum(other).await;
    assert_eq!((other.delivered, other.dead, other.cancelled, other.pending), (0, 1, 2, 0));
    assert!(scene.deliveries(DeliveryFilter::default()).await.is_empty());
    scene.finish().await;
}

pub async fn what_is_under_way_outlives_a_crash<F: Fixture>(mut scene: Scene<F>) {
    let number = scene.endpoint(|_| {}).await;
    scene.keep(100).await;
    scene.hear([says("a", ENDED), says("b", ENDED)]).await;
    scene.wait(100 + A_LITTLE);
    scene.tidy_up().await;
    scene.crash().await;
    let claimed = scene.claim(number, 1).await;
    assert_eq!((numbers(&claimed), claimed[0].event.position), (vec![1], 1), "its event is there");
    scene.wait(A_LITTLE);
    scene.tidy_up().await;
    let sum = scene.sum(number).await;
    if F::PASSES_OVER {
        assert_eq!((sum.pending, sum.cancelled), (1, 1), "nobody holds the other one any more");
    } else {
        assert_eq!((sum.pending, positions(&scene.feed().await)), (2, vec![1, 2]));
        scene.settle(&claimed[0], Next::Delivered).await;
        scene.wait(A_LITTLE);
        scene.tidy_up().await;
        let sum = scene.sum(number).await;
        assert_eq!((sum.pending, sum.delivered, sum.cancelled), (0, 1, 1));
        assert!(scene.feed().await.is_empty());
    }
    scene.finish().await;
}

pub async fn old_quarantine_makes_room<F: Fixture>(mut scene: Scene<F>) {
    scene.keep(100).await;
    let body = || Parsed::Unreadable("no JSON".to_owned());
    scene.hear([body(), body()]).await;
    scene.wait(60);
    scene.hear([body()]).await;
    assert_eq!(scene.hear([body()]).await.recorded, [postcall::store::Recorded::QuotaExceeded]);
    scene.wait(40 + A_LITTLE);
    scene.tidy_up().await;
    assert_eq!(scene.store.quarantine_size(scene.account).await, Ok(1));
    assert!(scene.store.quarantined(scene.account, 1).await.unwrap().is_none());
    let page = Page { after: None, limit: 9 };
    assert_eq!(scene.store.quarantine(scene.account, page).await.unwrap()[0].number, 3);
    assert_eq!(scene.hear([body(), body()]).await.recorded, vec![done(Quarantined, 0); 2]);
    assert_eq!(scene.hear([body()]).await.recorded, [postcall::store::Recorded::QuotaExceeded]);
    scene.finish().await;
}

pub async fn a_feed_says_when_it_has_a_gap<F: Fixture>(mut scene: Scene<F>) {
    scene.keep(100).await;
    scene.hear(["a", "b", "c"].map(|call| says(call, ENDED))).await;
    scene.wait(60);
    scene.hear(["d", "e"].map(|call| says(call, ENDED))).await;
    scene.wait(40 + A_LITTLE);
    assert_eq!(feed_after(&scene, Some(1)).await, Some(vec![2, 3, 4, 5]), "not before they are gone");
    scene.tidy_up().await;
    assert_eq!(feed_after(&scene, None).await, Some(vec![4, 5]));
    assert_eq!(feed_after(&scene, Some(3)).await, Some(vec![4, 5]), "it has seen all that is gone");
    assert_eq!(feed_after(&scene, Some(5)).await, Some(Vec::new()));
    for late in [i64::MIN, 0, 1, 2] {
        assert_eq!(feed_after(&scene, Some(late)).await, None, "{late}");
    }
    scene.finish().await;
}

pub async fn accounts_keep_as_long_as_each_says<F: Fixture>(mut scene: Scene<F>) {
    let mine = (scene.account, scene.source);
    scene.room.set(0);
    let other = scene.other_account("other").await;
    let third = scene.other_account("third").await;
    let mut all = vec![mine];
    for account in [other, third] {
        let door = scene.store.put_source(source(account), None).await.unwrap().unwrap();
        scene.store.put_endpoint(endpoint(account), None).await.unwrap().unwrap();
        all.push((account, door.number));
    }
    for (account, source) in all {
        (scene.account, scene.source) = (account, source);
        scene.hear([says("a", ENDED), Parsed::Unreadable("no".to_owned())]).await;
    }
    let kept = Some(Duration::from_secs(10));
    scene.store.set_retention(other, kept, scene.now).await.unwrap().unwrap();
    let longer = Some(Duration::from_secs(30));
    scene.store.set_retention(third, longer, scene.now).await.unwrap().unwrap();
    for (seconds, left) in [(10 + A_LITTLE, [1, 0, 1]), (20 + A_LITTLE, [1, 0, 0])] {
        scene.wait(seconds);
        scene.tidy_up().await;
        for (account, left) in [mine.0, other, third].into_iter().zip(left) {
            let page = Page { after: None, limit: 9 };
            let events = scene.store.events(account, page).await.unwrap().unwrap().events;
            assert_eq!(i64::try_from(events.len()).unwrap(), left, "{account:?}");
            assert_eq!(scene.store.quarantine_size(account).await, Ok(left), "{account:?}");
        }
    }
    assert_eq!(scene.store.sums(third, false).await.unwrap()[0].cancelled, 1);
    scene.finish().await;
}

/// Steps are small, and whatever is recorded or settled between them is there afterwards.
pub async fn a_purge_in_steps_loses_nothing_younger<F: Fixture>(mut scene: Scene<F>) {
    let (one, other) = (scene.endpoint(|_| {}).await, scene.endpoint(|made| made.ordered = false).await);
    scene.keep(1000).await;
    for round in 0..20 {
        let calls = (0..50).map(|call| says(&format!("old-{round}-{call}"), Step::Answered));
        let owned = scene.hear(calls).await.owned;
        for (at, owned) in owned.iter().enumerate() {
            match at % 5 {
                0 => scene.settle(owned, Next::Delivered).await,
                1 => scene.settle(owned, Next::Dead).await,
                2 => scene.settle(owned, Next::RetryAt(scene.later(5000))).await,
                // Nobody is on it any more.
                _ => continue,
            };
        }
        let rest: Vec<i64> = numbers(&owned).into_iter().filter(|number| (number - 1) % 5 > 2).collect();
        scene.store.release(scene.account, rest).await.unwrap();
        scene.wait(10);
    }
    scene.wait(1000);
    let (mut steps, mut young) = (0, Vec::new());
    while scene.store.maintain(scene.now).await.unwrap().more {
        steps += 1;
        let page = scene.feed().await;
        let (old, rest) = page.split_at(page.len() - young.len());
        assert_eq!(positions(rest), young, "after {steps} steps");
        assert!(old.is_empty() || old.last().unwrap().position == 1000, "the oldest go first");
        if steps <= 8 {
            // Something new, and something new of a call that is going.
            let heard = [says(&format!("young-{steps}"), ENDED), says(&format!("old-19-{steps}"), ENDED)];
            let committed = scene.hear(heard).await;
            young.extend([1, 0].map(|back| 1000 + 2 * steps - back));
            scene.store.release(scene.account, numbers(&committed.owned)).await.unwrap();
        }
        let sums = scene.store.sums(scene.account, false).await.unwrap();
        assert_eq!(sums, scene.store.sums(scene.account, true).await.unwrap(), "after {steps} steps");
    }
    assert!(steps > 8, "in many steps: {steps}");
    assert_eq!(positions(&scene.feed().await), young);
    for number in [one, other] {
        let sum = scene.sum(number).await;
        assert_eq!((sum.owed, sum.delivered, sum.dead), (1016, 200, 200), "{sum:?}");
        assert_eq!((sum.pending, sum.cancelled), (16, 600), "{sum:?}");
    }
    // Everything young is still owed, and comes up.
    let mut calls = Vec::new();
    loop {
        let claimed = scene.claim(one, 9).await;
        if claimed.is_empty() {
            break;
        }
        for owned in claimed {
            calls.push(owned.event.position);
            scene.settle(&owned, Next::Delivered).await;
        }
    }
    calls.sort_unstable();
    assert_eq!(calls, young);
    scene.finish().await;
}

pub async fn an_event_for_very_many_goes_in_steps<F: Fixture>(mut scene: Scene<F>) {
    const MANY: usize = 700;
    let mut endpoints = Vec::new();
    for _ in 0..MANY {
        endpoints.push(scene.endpoint(|_| {}).await);
    }
    scene.keep(100).await;
    let owned = scene.step("a", ENDED).await;
    assert_eq!(owned.len(), MANY);
    let mut settlements = Vec::new();
    for (at, owned) in owned.iter().enumerate() {
        let next = match at % 3 {
            0 => Next::Delivered,
            1 => Next::RetryAt(scene.later(5000)),
            // The last of all is under way all the while.
            _ if at == MANY - 2 => continue,
            _ => Next::Dead,
        };
        settlements.push(super::scene::attempted(owned, scene.now, next));
    }
    scene.commit(Vec::new(), settlements).await;
    scene.wait(100 + A_LITTLE);
    let mut steps = 0;
    while scene.store.maintain(scene.now).await.unwrap().more {
        steps += 1;
    }
    let mut left = [1, 232];
    if !F::PASSES_OVER {
        let seen = scene.deliveries(DeliveryFilter::default()).await.len();
        assert_eq!(seen, MANY, "it waits");
        scene.settle(&owned[MANY - 2], Next::Dead).await;
        scene.wait(A_LITTLE);
        while scene.store.maintain(scene.now).await.unwrap().more {
            steps += 1;
            // Gone in parts, counted once.
            let counted = scene.store.sums(scene.account, false).await.unwrap();
            assert_eq!(counted, scene.store.sums(scene.account, true).await.unwrap());
        }
        left = [0, 233];
    }
    assert!(steps >= 3, "in steps: {steps}");
    let sums = scene.store.sums(scene.account, false).await.unwrap();
    let total = |state| sums.iter().map(|sum| sum.of(state)).sum::<i64>();
    let [delivered, dead, cancelled, pending] =
        [DeliveryState::Delivered, DeliveryState::Dead, DeliveryState::Cancelled, DeliveryState::Pending]
            .map(total);
    assert_eq!((delivered, dead, cancelled, pending), (234, left[1], 233, left[0]));
    let there = scene.deliveries(DeliveryFilter::default()).await.len();
    assert_eq!(i64::try_from(there).unwrap(), left[0]);
    scene.finish().await;
}

/// Every way to ask, between the removal and the moment in which the rows go from the disk.
pub async fn what_is_gone_is_gone_for_everybody_who_asks<F: Fixture>(mut scene: Scene<F>) {
    let number = scene.endpoint(|_| {}).await;
    scene.keep(100).await;
    for (step, next) in [(Step::Answered, Next::Delivered), (ENDED, Next::Dead)] {
        let owned = scene.step("old", step).await;
        scene.settle(&owned[0], next).await;
    }
    let (called_off, last) = (scene.step("also old", ENDED).await, scene.step("late", ENDED).await);
    scene.cancel(called_off[0].delivery).await;
    scene.settle(&last[0], Next::Delivered).await;
    let order = |selection: Selection| ReplayOrder { selection, to: None, rate: 1000.0, dry_run: false };
    let first = order(Selection { event: Some(1), ..Selection::default() });
    scene.store.create_replay(scene.account, first.clone(), scene.now).await.unwrap().unwrap();
    scene.tidy_up().await;
    let again = scene.claim(number, 1).await;
    assert_eq!(numbers(&again), [5]);
    scene.settle(&again[0], Next::Delivered).await;
    let call = scene.call("old").await.number;
    scene.wait(60);
    let young = scene.step("young", ENDED).await;
    scene.settle(&young[0], Next::Dead).await;
    scene.wait(40 + A_LITTLE);
    let waiting = order(Selection { kinds: vec![EventType::CallEnded], ..Selection::default() });
    scene.tidy_up().await;

    assert_eq!(positions(&scene.feed().await), [5]);
    assert_eq!((feed_after(&scene, Some(3)).await, feed_after(&scene, Some(4)).await), (None, Some(vec![5])));
    let all = DeliveryFilter::default;
    let mut filters = vec![(all(), vec![6]), (DeliveryFilter { endpoint: Some(number), ..all() }, vec![6])];
    for (state, left) in [
        (DeliveryState::Delivered, vec![]),
        (DeliveryState::Dead, vec![6]),
        (DeliveryState::Cancelled, vec![]),
    ] {
        filters.push((DeliveryFilter { state: Some(state), ..all() }, left.clone()));
        filters.push((DeliveryFilter { state: Some(state), endpoint: Some(number), ..all() }, left));
    }
    filters.extend((1..=4).map(|event| (DeliveryFilter { event: Some(event), ..all() }, vec![])));
    filters.push((DeliveryFilter { event: Some(5), ..all() }, vec![6]));
    filters.push((DeliveryFilter { call: Some(call), ..all() }, vec![]));
    for (filter, left) in filters {
        let found = scene.deliveries(filter.clone()).await;
        assert_eq!(found.iter().map(|view| view.number).collect::<Vec<_>>(), left, "{filter:?}");
    }
    for gone in 1..=5 {
        assert!(scene.store.delivery(scene.account, gone).await.unwrap().is_none());
        assert_eq!(
            (scene.retry(gone).await, scene.cancel(gone).await),
            (ManualOutcome::Missing, ManualOutcome::Missing)
        );
    }
    assert!(scene.store.call(scene.account, call).await.unwrap().is_none());
    // A late end of an attempt of what was called off.
    scene.settle(&called_off[0], Next::Delivered).await;
    let sum = Sum { endpoint: number, owed: 6, delivered: 3, dead: 2, cancelled: 1, ..Sum::default() };
    assert_eq!(scene.store.sums(scene.account, true).await.unwrap(), [sum]);

    for (order, planned) in [
        (first, 0),
        (order(Selection { call: Some(call), ..Selection::default() }), 0),
        (order(Selection { state: Some(DeliveryState::Delivered), ..Selection::default() }), 0),
        (waiting, 1),
    ] {
        let order = ReplayOrder { dry_run: true, ..order };
        let made = scene.store.create_replay(scene.account, order.clone(), scene.now).await.unwrap().unwrap();
        scene.tidy_up().await;
        let done = scene.store.replay(scene.account, made.number).await.unwrap().unwrap();
        assert_eq!((done.state, done.deliveries), (ReplayState::Done, planned), "{order:?}");
    }
    let lines = export(&scene.store, scene.account, Secrets::Clear).await;
    let of = |kind: &str| lines.iter().filter(|line| line.contains(&format!("\"kind\":\"{kind}\""))).count();
    assert_eq!((of("event"), of("call"), of("delivery")), (1, 1, 1));
    let mut new = Scene::<F>::new().await;
    new.now = scene.now;
    let done = import(&new, &lines, 3, true).await;
    assert_eq!((done.wrong.as_slice(), done.ended), (&[][..], true));
    assert_eq!(new.store.sums(new.account, true).await.unwrap(), [sum]);
    assert_eq!(positions(&new.feed().await), [5]);
    new.finish().await;
    scene.finish().await;
}
