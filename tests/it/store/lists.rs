//! Lists: newest first, page by page, without a gap or a repeat; and nothing of another account.

use std::fmt::Debug;

use postcall::dialect::ReceiptKind::Recorded;
use postcall::ledger::Next;
use postcall::model::{AccountKey, DeliveryState, Outcome, Step, Text};
use postcall::store::{
    CallFilter, CallView, DeliveryFilter, DeliveryView, EndpointRef, Incoming, ManualOutcome, Page, Parsed,
};

use super::scene::{Fixture, Scene, done, endpoint, says, source};

const ENDED: Step = Step::Ended(Outcome::Completed);

/// Walks a list in pages of every size and compares it with what it should hold.
async fn walk<T, R>(expected: &[i64], what: &impl Debug, number: fn(&T) -> i64, read: impl Fn(Page) -> R)
where
    R: Future<Output = Vec<T>>,
{
    for limit in [1, 3, 7, 1000] {
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = read(Page { after, limit }).await;
            assert!(page.len() <= limit);
            let Some(last) = page.last() else { break };
            after = Some(number(last));
            seen.extend(page.iter().map(number));
        }
        assert_eq!(seen, expected, "{what:?} in pages of {limit}");
    }
}

/// Three endpoints, six calls of three steps, every state.
async fn busy<F: Fixture>(scene: &mut Scene<F>) -> [i64; 3] {
    let endpoints = [
        scene.endpoint(|_| {}).await,
        scene.endpoint(|endpoint| endpoint.ordered = false).await,
        scene.endpoint(|endpoint| endpoint.completed_only = true).await,
    ];
    for call in 0..6 {
        let outcome = [Outcome::Completed, Outcome::NoAnswer, Outcome::Failed][call % 3];
        let id = format!("c-{call}");
        scene.room.set(if call == 5 { 0 } else { usize::MAX });
        let steps = [Step::Initiated, Step::Answered, Step::Ended(outcome)];
        let mut open = scene.hear(steps.map(|step| says(&id, step))).await.owned;
        let mut at = call;
        while let Some(owned) = open.pop() {
            let next = [Next::Delivered, Next::Dead, Next::RetryAt(scene.later(9)), Next::Delivered][at % 4];
            if at % 5 == 4 {
                scene.cancel(owned.delivery).await;
            } else {
                open.extend(scene.settle(&owned, next).await.owned);
            }
            at += 1;
        }
    }
    endpoints
}

pub async fn deliveries_by_every_filter<F: Fixture>(mut scene: Scene<F>) {
    let endpoints = busy(&mut scene).await;
    scene.store.delete_endpoint(scene.account, endpoints[1], scene.now).await.unwrap();
    let mut all: Vec<DeliveryView> = Vec::new();
    while let Some(view) = scene.store.delivery(scene.account, 1 + all.len() as i64).await.unwrap() {
        all.push(view);
    }
    all.reverse();
    for state in DeliveryState::ALL {
        assert!(all.iter().any(|view| view.state == state), "{state:?} is among them");
    }
    let call = scene.call("c-3").await.number;
    let events = scene.feed().await;
    let event = events.iter().find(|event| event.call_id() == Some(&Text::from("c-4"))).unwrap().position;
    let of_call = |view: &DeliveryView| view.call_id == Some(Text::from("c-3"));

    let options = |values: &[i64]| values.iter().map(|&value| Some(value)).chain([None]).collect::<Vec<_>>();
    for endpoint in options(&endpoints) {
        for state in DeliveryState::ALL.into_iter().map(Some).chain([None]) {
            for (call, event) in
                [(None, None), (Some(call), None), (None, Some(event)), (Some(call), Some(event))]
            {
                let filter = DeliveryFilter { endpoint, call, event, state };
                let expected: Vec<i64> = all
                    .iter()
                    .filter(|view| endpoint.is_none_or(|endpoint| view.endpoint == endpoint))
                    .filter(|view| state.is_none_or(|state| view.state == state))
                    .filter(|view| call.is_none() || of_call(view))
                    .filter(|view| event.is_none_or(|event| view.event == event))
                    .map(|view| view.number)
                    .collect();
                let read =
                    async |page| scene.store.deliveries(scene.account, filter.clone(), page).await.unwrap();
                walk(&expected, &filter, |view: &DeliveryView| view.number, read).await;
            }
        }
    }
    let nothing = [
        DeliveryFilter { endpoint: Some(99), ..DeliveryFilter::default() },
        DeliveryFilter { call: Some(99), ..DeliveryFilter::default() },
        DeliveryFilter { event: Some(0), ..DeliveryFilter::default() },
    ];
    for filter in nothing {
        assert!(scene.deliveries(filter.clone()).await.is_empty(), "{filter:?}");
    }
    scene.tidy_up().await;
    scene.finish().await;
}

pub async fn calls_by_every_filter<F: Fixture>(mut scene: Scene<F>) {
    busy(&mut scene).await;
    let other = scene.store.put_source(source(scene.account), None).await.unwrap().unwrap().number;
    let again = Incoming { source: other, ..scene.incoming(says("c-1", ENDED)) };
    scene.commit(vec![again], Vec::new()).await;
    scene.store.delete_source(scene.account, other, scene.now).await.unwrap();
    scene.hear([says("open", Step::Ringing)]).await;

    let mut all: Vec<CallView> = Vec::new();
    while let Some(view) = scene.store.call(scene.account, 1 + all.len() as i64).await.unwrap() {
        all.push(view);
    }
    assert_eq!(all.len(), 8);
    all.reverse();
    let ids = [None, Some("c-1"), Some("c-2"), Some("open"), Some("nobody")];
    for call_id in ids.map(|id| id.map(Text::from)) {
        for outcome in Outcome::ALL.into_iter().map(Some).chain([None]) {
            let filter = CallFilter { call_id: call_id.clone(), outcome, ..CallFilter::default() };
            let expected: Vec<i64> = all
                .iter()
                .filter(|view| call_id.as_ref().is_none_or(|id| view.call.call_id == *id))
                .filter(|view| outcome.is_none_or(|outcome| view.call.outcome == Some(outcome)))
                .map(|view| view.number)
                .collect();
            let read = async |page| scene.store.calls(scene.account, filter.clone(), page).await.unwrap();
            walk(&expected, &filter, |view: &CallView| view.number, read).await;
        }
    }
    scene.finish().await;
}

/// Numbers come from ids and cursors that anybody can make up.
pub async fn made_up_numbers_find_nothing<F: Fixture>(mut scene: Scene<F>) {
    busy(&mut scene).await;
    scene.hear([Parsed::Unreadable("x".to_owned())]).await;
    let mut accounts = vec![scene.account];
    for name in ["b", "c", "d"] {
        accounts.push(scene.other_account(name).await);
    }
    // Ids have room for 45 bits, whatever a store makes of them.
    let far = (38..45).flat_map(|bit| (0..8).map(move |low| (1 << bit) | low));
    let numbers: Vec<i64> = far.chain([i64::MIN, -1, 0, 1 << 45, i64::MAX]).collect();
    for &account in &accounts {
        let mine = account == scene.account;
        for &number in &numbers {
            let store = &scene.store;
            assert!(store.call(account, number).await.unwrap().is_none(), "{account:?} {number}");
            assert!(store.delivery(account, number).await.unwrap().is_none());
            assert!(store.quarantined(account, number).await.unwrap().is_none());
            assert_eq!(store.retry(account, number, scene.now).await, Ok(ManualOutcome::Missing));
            assert_eq!(store.cancel(account, number, scene.now).await, Ok(ManualOutcome::Missing));
            assert_eq!(store.discard(account, number).await, Ok(false));
            let target = EndpointRef { account, number };
            assert!(store.claim(target, scene.now, scene.room.places(9)).await.unwrap().owned.is_empty());
            assert_eq!(store.next_due(target).await, Ok(None));
            let page = Page { after: Some(number), limit: 1000 };
            let all = number > 0;
            let feed = store.events(account, page).await.unwrap().unwrap().events;
            assert_eq!(!feed.is_empty(), mine && !all, "the feed after {number}");
            for filter in [
                DeliveryFilter::default(),
                DeliveryFilter { state: Some(DeliveryState::Dead), ..Default::default() },
            ] {
                let listed = store.deliveries(account, filter, page).await.unwrap();
                assert_eq!(!listed.is_empty(), mine && all, "deliveries before {number}");
            }
            let by = |endpoint, call, event| DeliveryFilter { endpoint, call, event, state: None };
            for filter in
                [by(Some(number), None, None), by(None, Some(number), None), by(None, None, Some(number))]
            {
                let page = Page { after: None, limit: 1000 };
                assert!(store.deliveries(account, filter, page).await.unwrap().is_empty());
            }
            let calls = store.calls(account, CallFilter::default(), page).await.unwrap();
            assert_eq!(!calls.is_empty(), mine && all, "calls before {number}");
            let quarantine = store.quarantine(account, page).await.unwrap();
            assert_eq!(!quarantine.is_empty(), mine && all, "quarantine before {number}");
        }
    }
    scene.finish().await;
}

/// Two accounts with the same numbers everywhere, and no way from one to the other.
pub async fn accounts_see_only_their_own<F: Fixture>(mut scene: Scene<F>) {
    let mine = scene.account;
    let other = scene.other_account("other").await;
    let stranger = scene.other_account("stranger").await;
    for account in [mine, other] {
        let number = match account == mine {
            true => scene.source,
            false => scene.store.put_source(source(account), None).await.unwrap().unwrap().number,
        };
        assert_eq!(number, scene.source, "numbers are each account's own");
        scene.store.put_endpoint(endpoint(account), None).await.unwrap().unwrap();
        let call = if account == mine { "mine" } else { "theirs" };
        let from = |what| Incoming { account, source: number, ..scene.incoming(what) };
        let both = scene.commit(vec![from(says(call, ENDED)), from(says("both", ENDED))], Vec::new()).await;
        assert!(
            both.recorded.iter().all(|recorded| *recorded == done(Recorded, 1)),
            "the same call id is not shared"
        );
        scene.commit(vec![from(Parsed::Unreadable(call.to_owned()))], Vec::new()).await;
    }
    scene.crash().await;
    let (store, page) = (scene.store.clone(), Page { after: None, limit: 100 });
    for (account, call) in [(mine, "mine"), (other, "theirs")] {
        let id = Text::from(call);
        let feed = store.events(account, page).await.unwrap().unwrap().events;
        assert_eq!(feed.len(), 2);
        assert_eq!(feed[0].call_id(), Some(&id));
        assert_eq!(store.call(account, 1).await.unwrap().unwrap().call.call_id, id);
        assert_eq!(store.calls(account, CallFilter::default(), page).await.unwrap().len(), 2);
        let both = CallFilter { call_id: Some(Text::from("both")), ..CallFilter::default() };
        assert_eq!(store.calls(account, both, page).await.unwrap().len(), 1);
        let named = CallFilter { call_id: Some(id.clone()), outcome: Some(Outcome::Completed), source: None };
        assert_eq!(store.calls(account, named, page).await.unwrap().len(), 1);
        assert_eq!(store.delivery(account, 1).await.unwrap().unwrap().call_id, Some(id.clone()));
        let listed = store.deliveries(account, DeliveryFilter::default(), page).await.unwrap();
        assert_eq!(listed.iter().map(|view| view.number).collect::<Vec<_>>(), [2, 1]);
        let of_call = DeliveryFilter { call: Some(1), ..DeliveryFilter::default() };
        let listed = store.deliveries(account, of_call, page).await.unwrap();
        assert_eq!(listed.iter().map(|view| view.call_id.clone()).collect::<Vec<_>>(), [Some(id)]);
        assert_eq!(store.quarantine(account, page).await.unwrap()[0].reason, call);
        assert_eq!(store.quarantined(account, 1).await.unwrap().unwrap().reason, call);
        assert_eq!(store.quarantine_size(account).await, Ok(1));
        assert_eq!(store.sums(account, false).await.unwrap()[0].owed, 2);
    }
    let mut feeds = Vec::new();
    for account in [mine, other] {
        feeds.push(store.events(account, page).await.unwrap().unwrap().events);
    }
    assert!(
        feeds[0].iter().all(|event| feeds[1].iter().all(|theirs| event.id != theirs.id)),
        "ids never meet"
    );

    for account in [stranger, AccountKey(77)] {
        assert!(store.events(account, page).await.unwrap().unwrap().events.is_empty());
        assert!(store.calls(account, CallFilter::default(), page).await.unwrap().is_empty());
        assert!(store.deliveries(account, DeliveryFilter::default(), page).await.unwrap().is_empty());
        assert!(store.quarantine(account, page).await.unwrap().is_empty());
        assert!(store.sums(account, true).await.unwrap().is_empty());
        assert!(store.keys(account).await.unwrap().is_empty());
        assert_eq!(store.cancel(account, 1, scene.now).await, Ok(ManualOutcome::Missing));
    }
    assert_eq!(store.cancel(other, 1, scene.now).await, Ok(ManualOutcome::Done));
    assert_eq!(scene.state(1).await, DeliveryState::Pending, "mine is untouched");
    assert_eq!(store.discard(other, 1).await, Ok(true));
    assert_eq!(store.quarantine_size(mine).await, Ok(1));
    scene.finish().await;
}
