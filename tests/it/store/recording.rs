//! The hot path: what comes through the doors becomes events, calls and owed deliveries, once.

use bytes::Bytes;
use postcall::dialect::ReceiptKind::{Duplicate, Quarantined, Recorded};
use postcall::ledger::Next;
use postcall::model::event::{Heard, HeardBatch, HeardCall};
use postcall::model::{
    AccountKey, Batch, Call, DialectName, EventBody, EventType, Outcome, Raw, Stage, Step, Text, Time,
};
use postcall::store::{Incoming, Page, Parsed, Recorded as Result, StoreError};

use super::scene::{Fixture, Scene, done, heard, says, source};

const ENDED: Step = Step::Ended(Outcome::Completed);

fn call_of(body: &EventBody) -> &Call {
    match body {
        EventBody::Call { call, .. } => call,
        other => panic!("{other:?}"),
    }
}

fn with(call_id: &str, step: Step, fill: impl FnOnce(&mut Call)) -> Parsed {
    let mut heard = heard(call_id, step);
    fill(&mut heard.call);
    Parsed::events(vec![Heard::Call(Box::new(heard))])
}

pub async fn a_call_becomes_event_record_and_deliveries<F: Fixture>(scene: Scene<F>) {
    let first = scene.endpoint(|_| {}).await;
    let deaf = scene.endpoint(|endpoint| endpoint.events = Some(vec![EventType::CallUpdated])).await;
    let second = scene.endpoint(|endpoint| endpoint.ordered = false).await;
    let committed = scene.hear([says("c-1", ENDED)]).await;
    assert_eq!(committed.recorded, [done(Recorded, 2)]);
    assert!(committed.wake.is_empty() && committed.wake_at.is_empty() && committed.disabled.is_empty());
    let [to_first, to_second] = &committed.owned[..] else { panic!("{:?}", committed.owned) };
    assert_eq!((to_first.endpoint, to_second.endpoint), (scene.target(first), scene.target(second)));
    assert_eq!((to_first.attempt, to_first.body.get()), (1, None));
    assert_eq!(to_first.event, to_second.event);

    let feed = scene.feed().await;
    assert_eq!(feed.len(), 1);
    assert_eq!(feed[0], *to_first.event, "what is delivered is what the feed shows");
    assert_eq!((feed[0].position, feed[0].kind, feed[0].test), (1, EventType::CallEnded, false));
    assert_eq!(feed[0].at, scene.now, "the vendor gave no time");
    let config = scene.store.config(scene.account).unwrap();
    assert_eq!(feed[0].source_id.as_ref(), Some(&config.source(scene.source).unwrap().id));

    let call = scene.call("c-1").await;
    assert_eq!((call.source, call.updated_at), (scene.source, scene.now));
    assert_eq!((call.call.stage, call.call.outcome), (Stage::Ended, Some(Outcome::Completed)));
    assert_eq!(&call.call, call_of(&feed[0].body));
    assert_eq!(to_first.call, Some(call.number));
    assert_eq!((to_first.ordered_call, to_second.ordered_call), (Some(call.number), None));

    for (endpoint, owed) in [(first, 1), (deaf, 0), (second, 1)] {
        let sum = scene.sum(endpoint).await;
        assert_eq!((sum.owed, sum.pending, sum.delivered, sum.dead, sum.cancelled), (owed, owed, 0, 0, 0));
    }
    scene.finish().await;
}

pub async fn a_repeat_is_a_duplicate<F: Fixture>(mut scene: Scene<F>) {
    scene.endpoint(|_| {}).await;
    let committed = scene.hear([says("c-1", ENDED), says("c-1", ENDED)]).await;
    assert_eq!(committed.recorded, [done(Recorded, 1), done(Duplicate, 0)], "in one group");
    let committed = scene.hear([says("c-1", ENDED), says("c-2", ENDED)]).await;
    assert_eq!(committed.recorded, [done(Duplicate, 0), done(Recorded, 1)], "in the next one");
    scene.crash().await;
    let committed = scene.hear([says("c-2", ENDED), says("c-1", ENDED)]).await;
    assert_eq!(committed.recorded, [done(Duplicate, 0), done(Duplicate, 0)], "after a crash");
    assert_eq!(scene.feed().await.len(), 2);
    scene.finish().await;
}

pub async fn something_new_is_an_update<F: Fixture>(scene: Scene<F>) {
    scene.endpoint(|_| {}).await;
    let url = |url: &'static str| move |call: &mut Call| call.recording.url = Some(Text::from(url));
    scene.hear([says("c-1", ENDED)]).await;
    let committed = scene.hear([with("c-1", ENDED, url("https://r.example/1?sig=a"))]).await;
    assert_eq!(committed.recorded, [done(Recorded, 1)]);
    let feed = scene.feed().await;
    assert_eq!(feed[1].kind, EventType::CallUpdated);
    assert!(matches!(&feed[1].body, EventBody::Call { changed, .. } if *changed == ["recording.url"]));
    assert_eq!(call_of(&feed[0].body).recording.url, None, "an event never changes");

    let committed = scene.hear([with("c-1", ENDED, url("https://r.example/1?sig=b"))]).await;
    assert_eq!(committed.recorded, [done(Duplicate, 0)], "signed anew is no news");
    let shown = |view: postcall::store::CallView| view.call.recording.url.unwrap().to_string();
    assert_eq!(shown(scene.call("c-1").await), "https://r.example/1?sig=b", "but the record takes it");

    let summary = |call: &mut Call| call.analysis.summary = Some(Text::from("short"));
    scene.hear([with("c-1", ENDED, summary)]).await;
    let feed = scene.feed().await;
    let last = call_of(&feed[2].body);
    assert_eq!(last.recording.url, Some(Text::from("https://r.example/1?sig=b")), "nothing gets lost");
    assert_eq!(&scene.call("c-1").await.call, last);
    scene.finish().await;
}

pub async fn a_real_end_replaces_a_lost_one<F: Fixture>(scene: Scene<F>) {
    scene.endpoint(|_| {}).await;
    let bodies = [Step::Initiated, Step::Ended(Outcome::Lost), ENDED, Step::Ended(Outcome::Lost)];
    let committed = scene.hear(bodies.map(|step| says("c-1", step))).await;
    let recorded = [done(Recorded, 1), done(Recorded, 1), done(Recorded, 1), done(Duplicate, 0)];
    assert_eq!(committed.recorded, recorded);
    let kinds: Vec<EventType> = scene.feed().await.iter().map(|event| event.kind).collect();
    assert_eq!(kinds, [EventType::CallInitiated, EventType::CallFailed, EventType::CallEnded]);
    let call = scene.call("c-1").await.call;
    assert_eq!((call.outcome, call.contradicting_outcomes.len()), (Some(Outcome::Completed), 0));
    scene.finish().await;
}

pub async fn a_batch_ends_once<F: Fixture>(mut scene: Scene<F>) {
    scene.endpoint(|endpoint| endpoint.dialect = DialectName::Dialgen).await;
    let ends = |kind| {
        let batch = Batch { batch_id: Text::from("b-1"), ..Batch::default() };
        Parsed::events(vec![Heard::Batch(Box::new(HeardBatch { kind, at: None, batch }))])
    };
    let committed = scene.hear([ends(EventType::BatchCompleted), ends(EventType::BatchCompleted)]).await;
    assert_eq!(committed.recorded, [done(Recorded, 1), done(Duplicate, 0)]);
    assert_eq!((committed.owned[0].ordered_call, committed.owned[0].call), (None, None));
    scene.crash().await;
    let committed = scene.hear([ends(EventType::BatchFailed), ends(EventType::BatchCompleted)]).await;
    assert_eq!(committed.recorded, [done(Recorded, 1), done(Duplicate, 0)]);
    let feed = scene.feed().await;
    assert_eq!(feed.iter().map(|event| event.position).collect::<Vec<_>>(), [1, 2]);
    assert!(matches!(&feed[1].body, EventBody::Batch(batch) if batch.batch_id == *"b-1"));
    scene.finish().await;
}

pub async fn a_test_is_shown_and_nothing_else<F: Fixture>(scene: Scene<F>) {
    scene.endpoint(|_| {}).await;
    let test = || Parsed::Test(Box::new(heard("c-1", ENDED)));
    let committed = scene.hear([test(), test()]).await;
    assert_eq!(committed.recorded, [done(Recorded, 0), done(Recorded, 0)], "never deduped");
    assert!(committed.owned.is_empty());
    let feed = scene.feed().await;
    assert!(feed.iter().all(|event| event.test));
    assert_eq!(call_of(&feed[0].body).outcome, Some(Outcome::Completed));
    let all = scene.store.calls(scene.account, Default::default(), Page { after: None, limit: 10 }).await;
    assert_eq!(all.unwrap().len(), 0, "never booked");
    assert_eq!(scene.hear([says("c-1", ENDED)]).await.recorded, [done(Recorded, 1)], "the real one is news");
    scene.finish().await;
}

pub async fn what_cannot_be_read_is_kept_up_to_a_quota<F: Fixture>(mut scene: Scene<F>) {
    let (store, account) = (scene.store.clone(), scene.account);
    let other = store.put_source(source(account), None).await.unwrap().unwrap().number;
    let body = |source: i64, raw: &'static [u8]| Incoming {
        source,
        raw: Bytes::from_static(raw),
        content_type: (!raw.is_empty()).then(|| "text/plain".to_owned()),
        ..scene.incoming(Parsed::Unreadable("no JSON".to_owned()))
    };
    let mine = scene.source;
    let bodies =
        [body(mine, b"\0\xff"), body(mine, b""), body(mine, b"3"), body(mine, b"4"), body(other, b"5")];
    let committed = scene.commit(bodies.to_vec(), Vec::new()).await;
    let kept = || done(Quarantined, 0);
    assert_eq!(committed.recorded, [kept(), kept(), kept(), Result::QuotaExceeded, kept()]);
    assert!(scene.feed().await.is_empty());
    scene.crash().await;
    let store = scene.store.clone();
    assert_eq!(store.quarantine_size(account).await, Ok(4));

    let all = store.quarantine(account, Page { after: None, limit: 10 }).await.unwrap();
    let shown: Vec<(i64, i64, &[u8])> = all.iter().map(|q| (q.number, q.source, &q.body[..])).collect();
    let expected: [(i64, i64, &[u8]); 4] =
        [(4, other, b"5"), (3, mine, b"3"), (2, mine, b""), (1, mine, b"\0\xff")];
    assert_eq!(shown, expected, "newest first, byte for byte");
    assert_eq!((all[3].reason.as_str(), all[3].content_type.as_deref()), ("no JSON", Some("text/plain")));
    assert_eq!((all[3].received_at, all[2].content_type.as_deref()), (scene.now, None));
    let rest = store.quarantine(account, Page { after: Some(3), limit: 1 }).await.unwrap();
    assert_eq!(rest.iter().map(|q| q.number).collect::<Vec<_>>(), [2]);

    assert_eq!(store.discard(account, 3).await, Ok(true));
    assert_eq!(store.discard(account, 3).await, Ok(false));
    assert_eq!(store.quarantined(account, 3).await.unwrap().map(|q| q.number), None);
    assert_eq!(store.quarantined(account, 1).await.unwrap().unwrap().body, &b"\0\xff"[..]);
    assert!(store.delete_source(account, other, scene.now).await.unwrap());
    assert_eq!(store.quarantine_size(account).await, Ok(3), "a deleted source's bodies stay");
    let more = Incoming { source: mine, ..scene.incoming(Parsed::Unreadable("still".to_owned())) };
    let committed = scene.commit(vec![more.clone(), more], Vec::new()).await;
    assert_eq!(
        committed.recorded,
        [kept(), Result::QuotaExceeded],
        "one was discarded, so there is room for one"
    );
    assert_eq!(
        store.quarantined(account, 5).await.unwrap().unwrap().reason,
        "still",
        "no number is used twice"
    );
    scene.finish().await;
}

pub async fn one_body_may_tell_of_several_calls<F: Fixture>(scene: Scene<F>) {
    let endpoint = scene.endpoint(|_| {}).await;
    let call = |id, step| Heard::Call(Box::new(heard(id, step)));
    let body =
        Parsed::events(vec![call("a", Step::Answered), call("b", ENDED), call("a", ENDED), call("b", ENDED)]);
    let committed = scene.hear([body]).await;
    assert_eq!(committed.recorded, [done(Recorded, 3)]);
    assert_eq!(committed.owned.len(), 2, "the second of call a waits");
    let known = Parsed::events(vec![call("a", ENDED), call("c", Step::Ringing)]);
    assert_eq!(scene.hear([known]).await.recorded, [done(Recorded, 1)], "something in it was new");
    let known = Parsed::events(vec![call("a", ENDED), call("c", Step::Ringing)]);
    assert_eq!(scene.hear([known]).await.recorded, [done(Duplicate, 0)]);
    assert_eq!(scene.sum(endpoint).await.owed, 4);
    scene.finish().await;
}

/// Half an emoji, digits beyond any float, NUL, repeated and index-like keys, a megabyte of text.
pub async fn values_survive_as_they_came<F: Fixture>(mut scene: Scene<F>) {
    let endpoint = scene.endpoint(|_| {}).await;
    let nested = format!("{}1e400{}", "[".repeat(100), "]".repeat(100));
    let id = Text::from_bytes(&b"half \xed\xa0\xbd and \0"[..]);
    let mut heard = HeardCall { at: Time::parse("2023-12-31T23:12:05.62705Z"), ..heard("", ENDED) };
    heard.call.call_id = id.clone();
    heard.call.contact.name = Some(Text::from_bytes(&b"\xed\xa0\xbd"[..]));
    heard.call.transcript.text = Some(Text::from("\u{2028}wort ".repeat(100_000).as_str()));
    heard.call.variables =
        [("10", "12345678901234567890123"), ("9", "\"\\ud83d\""), ("", "-0"), ("deep", &nested)]
            .into_iter()
            .map(|(key, value)| (Text::from(key), Raw::parse(value).unwrap()))
            .collect();
    let committed = scene.hear([Parsed::events(vec![Heard::Call(Box::new(heard.clone()))])]).await;
    let said = committed.owned[0].event.clone();
    assert_eq!(said.at, heard.at.unwrap());
    assert_eq!(call_of(&said.body).variables, heard.call.variables);
    drop(committed);
    scene.crash().await;
    assert_eq!(scene.feed().await[0], *said);
    let claimed = scene.claim(endpoint, 1).await;
    assert_eq!(*claimed[0].event, *said);
    assert_eq!(scene.delivery(1).await.call_id, Some(id.clone()));
    let filter = postcall::store::CallFilter { call_id: Some(id), ..Default::default() };
    let found = scene.store.calls(scene.account, filter, Page { after: None, limit: 2 }).await.unwrap();
    assert_eq!(&found[0].call, call_of(&said.body));
    scene.settle(&claimed[0], Next::Delivered).await;
    scene.finish().await;
}

pub async fn sources_do_not_share_calls<F: Fixture>(scene: Scene<F>) {
    scene.endpoint(|_| {}).await;
    let other = scene.store.put_source(source(scene.account), None).await.unwrap().unwrap().number;
    let from = |source| Incoming { source, ..scene.incoming(says("c-1", ENDED)) };
    let committed = scene.commit(vec![from(scene.source), from(other)], Vec::new()).await;
    assert_eq!(committed.recorded, [done(Recorded, 1), done(Recorded, 1)]);
    let filter = postcall::store::CallFilter { call_id: Some(Text::from("c-1")), ..Default::default() };
    let found = scene.store.calls(scene.account, filter, Page { after: None, limit: 9 }).await.unwrap();
    assert_eq!(found.iter().map(|call| call.source).collect::<Vec<_>>(), [other, scene.source]);
    scene.finish().await;
}

pub async fn a_group_is_written_whole_or_not_at_all<F: Fixture>(scene: Scene<F>) {
    let endpoint = scene.endpoint(|_| {}).await;
    let owned = scene.step("c-1", ENDED).await;
    let settlement = super::scene::attempted(&owned[0], scene.now, Next::Delivered);
    let lost = Incoming { account: AccountKey(77), ..scene.incoming(says("c-3", ENDED)) };
    let group = vec![scene.incoming(says("c-2", ENDED)), lost];
    let refused = scene.try_commit(group, vec![settlement]).await;
    assert!(matches!(refused, Err(StoreError::Data(_))), "a culprit in the data: {refused:?}");
    assert_eq!(scene.feed().await.len(), 1);
    assert_eq!(scene.room.taken(), 1, "places of the failed group are given back");
    assert_eq!(scene.sum(endpoint).await.pending, 1);
    let committed = scene.hear([says("c-2", ENDED)]).await;
    assert_eq!(committed.owned[0].event.position, 2, "no position is lost to a failed group");
    scene.finish().await;
}

pub async fn positions_have_no_gap<F: Fixture>(mut scene: Scene<F>) {
    scene.endpoint(|_| {}).await;
    let steps = [Step::Initiated, Step::Initiated, Step::Ringing, Step::Answered, ENDED, ENDED];
    for round in 0..4 {
        let bodies = (0..5).flat_map(|call| steps.map(|step| says(&format!("c-{round}-{call}"), step)));
        scene.hear(bodies).await;
        scene.hear([says(&format!("c-{round}-0"), ENDED), Parsed::Unreadable("x".to_owned())]).await;
        scene.crash().await;
    }
    let positions: Vec<i64> = scene.feed().await.iter().map(|event| event.position).collect();
    assert_eq!(positions, (1..=80).collect::<Vec<i64>>());
    let mut paged = Vec::new();
    loop {
        let after = paged.last().copied();
        let page = scene.store.events(scene.account, Page { after, limit: 7 }).await.unwrap().unwrap().events;
        if page.is_empty() {
            break;
        }
        paged.extend(page.iter().map(|event| event.position));
    }
    assert_eq!(paged, positions);
    scene.finish().await;
}
