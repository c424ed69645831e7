//! The numbers of accounts, and the campaigns and agents that they have heard of: whatever comes in whatever order, they
//! are those of the calls as they stand.

use std::collections::BTreeMap;
use std::sync::Arc;

use postcall::ledger::Tally;
use postcall::ledger::tally::{Dimension, begin_of, hour};
use postcall::model::event::{Heard, HeardCall};
use postcall::model::time::Millis;
use postcall::model::{AccountKey, Call, Outcome, Raw, Step, Text, Time};
use postcall::store::analytics::{Grain, Mentioned, Setting, Span, Subject, TextPage};
use postcall::store::{Booked, CallFilter, Group, Page, Parsed, Queues, Recorded};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::scene::{Fixture, Scene, heard, says};

const ENDED: Step = Step::Ended(Outcome::Completed);

fn with(call_id: &str, step: Step, fill: impl FnOnce(&mut Call)) -> Parsed {
    let mut heard = heard(call_id, step);
    fill(&mut heard.call);
    Parsed::events(vec![Heard::Call(Box::new(heard))])
}

fn time(text: &str) -> Time {
    Time::parse(text).unwrap()
}

fn of(dimension: Dimension, id: &str) -> Subject {
    Subject::Of(dimension, Text::from(id))
}

/// From one day to another.
fn days(from: &str, to: &str) -> Span {
    let midnight = |day: &str| hour(time(&format!("{day}T00:00:00Z")));
    Span { from: midnight(from), to: midnight(to) }
}

/// The sums of a stretch of time.
async fn total<F: Fixture>(scene: &Scene<F>, subject: Subject, span: Span) -> Tally {
    let mut found = scene.store.tallies(scene.account, subject, span, None).await.unwrap();
    found.pop().map(|(_, tally)| tally).unwrap_or_default()
}

/// What a group booked beside calls and deliveries.
async fn booked<F: Fixture>(scene: &Scene<F>, parsed: Parsed) -> Booked {
    let group =
        Arc::new(Group { now: scene.now, incoming: vec![scene.incoming(parsed)], settlements: Vec::new() });
    let committed = scene.store.commit(group, Arc::clone(&scene.room) as Arc<dyn Queues>).await.unwrap();
    match committed.recorded[0] {
        Recorded::Done { booked, .. } => booked,
        Recorded::QuotaExceeded => panic!("there is room"),
    }
}

pub async fn a_call_counts_once_and_as_it_stands<F: Fixture>(mut scene: Scene<F>) {
    let day = days("2026-02-27", "2026-02-28");
    let fill = |call: &mut Call| {
        call.ended_at = Some(time("2026-02-27T23:59:59Z"));
        call.duration_seconds = Millis::from_seconds(180.0);
        call.cost.total = Raw::parse("0.45");
        call.analysis.score = Raw::parse("85");
        call.analysis.success = Some(true);
    };
    scene.step("a", Step::Ringing).await;
    let open = scene.store.rows(scene.account, false).await.unwrap();
    assert_eq!(open.keys().cloned().collect::<Vec<_>>(), [(Subject::Account, Grain::Open, 0)]);
    scene.hear([with("a", ENDED, fill), with("a", ENDED, fill), says("b", Step::Ended(Outcome::Busy))]).await;
    let tally = total(&scene, Subject::Account, day).await;
    assert_eq!((tally.ended(), tally.outcome(Outcome::Completed), tally.in_progress()), (1, 1, 0));
    assert_eq!((tally.durations(), tally.costs(), tally.scores()), ((1, 180_000), (1, 450_000), (1, 85_000)));
    let today = Span { from: hour(scene.now), to: hour(scene.now) + 1 };
    assert_eq!(
        total(&scene, Subject::Account, today).await.outcome(Outcome::Busy),
        1,
        "heard now, so it ended now"
    );

    // A correction moves it to another hour, with what it cost after all.
    scene.crash().await;
    let corrected = |call: &mut Call| {
        fill(call);
        call.ended_at = Some(time("2026-02-28T00:00:00Z"));
        call.cost.total = Raw::parse("0.5");
    };
    let mut later = heard("a", ENDED);
    corrected(&mut later.call);
    later.at = Some(time("2026-02-28T01:00:00Z"));
    scene.hear([Parsed::events(vec![Heard::Call(Box::new(later))])]).await;
    assert!(total(&scene, Subject::Account, day).await.is_zero());
    let tally = total(&scene, Subject::Account, days("2026-02-28", "2026-03-01")).await;
    assert_eq!((tally.ended(), tally.costs()), (1, (1, 500_000)));
    scene.finish().await;
}

pub async fn what_is_booked_is_said_and_only_that<F: Fixture>(scene: Scene<F>) {
    let of_campaign = |call: &mut Call| call.campaign.id = Some(Text::from("march"));
    let all = Booked { analytics: true, campaign: true };
    let numbers = Booked { analytics: true, campaign: false };
    assert_eq!(booked(&scene, with("a", Step::Initiated, of_campaign)).await, all);
    assert_eq!(
        booked(&scene, with("a", Step::Ringing, of_campaign)).await,
        Booked::default(),
        "still in progress"
    );
    assert_eq!(booked(&scene, with("a", ENDED, of_campaign)).await, all);
    assert_eq!(booked(&scene, with("a", ENDED, of_campaign)).await, Booked::default(), "a repeat");
    let summary = |call: &mut Call| call.analysis.summary = Some(Text::from("short"));
    assert_eq!(booked(&scene, with("a", ENDED, summary)).await, Booked::default(), "news, but in no number");
    assert_eq!(booked(&scene, says("b", ENDED)).await, numbers);
    let test = Parsed::Test(Box::new(heard("c", ENDED)));
    assert_eq!(booked(&scene, test).await, Booked::default());
    assert_eq!(booked(&scene, Parsed::Unreadable("no".to_owned())).await, Booked::default());
    scene.finish().await;
}

pub async fn what_is_gone_by_its_age_goes_on_counting<F: Fixture>(mut scene: Scene<F>) {
    scene.keep(100).await;
    let of_campaign = |call: &mut Call| call.campaign.id = Some(Text::from("march"));
    scene.hear([with("old", ENDED, of_campaign), with("hung", Step::Ringing, of_campaign)]).await;
    scene.wait(200);
    scene.hear([with("young", ENDED, of_campaign)]).await;
    scene.tidy_up().await;
    assert_eq!(scene.feed().await.len(), 1, "the old ones are gone");
    let id = Text::from("march");
    let march = scene.store.mentioned(scene.account, Dimension::Campaign, id).await.unwrap().unwrap();
    assert_eq!(
        (march.tally.ended(), march.tally.in_progress()),
        (2, 0),
        "what never ended is in progress no more"
    );
    // A repeat of its end counts nothing. The other one was never heard to end, and does so now.
    for (call, ended) in [("old", 2), ("hung", 3)] {
        scene.hear([with(call, ENDED, of_campaign)]).await;
        let march = total(&scene, of(Dimension::Campaign, "march"), days("2026-03-01", "2026-03-02")).await;
        assert_eq!((march.ended(), march.in_progress()), (ended, 0), "{call}");
    }
    scene.finish().await;
}

pub async fn numbers_are_read_by_time_and_by_id<F: Fixture>(scene: Scene<F>) {
    let ended = |id: &str, at: &str, campaign: &str, agent: &str| {
        with(id, ENDED, |call| {
            call.ended_at = Some(time(at));
            call.campaign.id = Some(Text::from(campaign));
            call.agent.id = Some(Text::from(agent));
        })
    };
    scene
        .hear([
            ended("a", "2026-01-01T00:00:00Z", "x", "ann"),
            ended("b", "2026-01-01T10:59:59Z", "x", "bob"),
            ended("c", "2026-01-02T10:00:00Z", "y", "bob"),
            ended("d", "2026-02-02T10:00:00Z", "z", "bob"),
        ])
        .await;
    let january = days("2026-01-01", "2026-02-01");
    let by = async |subject, span, grain| {
        let found = scene.store.tallies(scene.account, subject, span, Some(grain)).await.unwrap();
        found
            .into_iter()
            .map(|(begin, tally)| (begin_of(begin).to_string(), tally.ended()))
            .collect::<Vec<_>>()
    };
    let row = |at: &str, calls: i64| (at.to_owned(), calls);
    assert_eq!(
        by(Subject::Account, january, Grain::Day).await,
        [row("2026-01-01T00:00:00Z", 2), row("2026-01-02T00:00:00Z", 1)]
    );
    assert_eq!(by(of(Dimension::Agent, "bob"), january, Grain::Hour).await.len(), 2);
    let part = Span { from: january.from + 1, to: january.from + 35 };
    assert_eq!(
        by(Subject::Account, part, Grain::Day).await,
        [row("2026-01-01T00:00:00Z", 1), row("2026-01-02T00:00:00Z", 1)],
        "days that are cut count only what is asked for"
    );
    assert_eq!(total(&scene, Subject::Account, part).await.ended(), 2);
    assert!(total(&scene, of(Dimension::Batch, "x"), january).await.is_zero());

    let page = |after: Option<&str>, limit| TextPage { after: after.map(Text::from), limit };
    let campaigns = async |after, limit| {
        let page = page(after, limit);
        let found = scene.store.tallies_by(scene.account, Dimension::Campaign, january, page).await.unwrap();
        let ids: Vec<String> = found.0.iter().map(|(id, tally)| format!("{id} {}", tally.ended())).collect();
        (ids, found.1)
    };
    assert_eq!(
        campaigns(None, 10).await,
        (vec!["x 2".to_owned(), "y 1".to_owned()], None),
        "not z, in february"
    );
    assert_eq!(campaigns(None, 1).await, (vec!["x 2".to_owned()], Some(Text::from("x"))));
    assert_eq!(campaigns(Some("x"), 1).await.0, ["y 1"]);
    scene.finish().await;
}

async fn find<F: Fixture>(scene: &Scene<F>, what: Dimension, id: &str) -> Option<Mentioned> {
    scene.store.mentioned(scene.account, what, Text::from(id)).await.unwrap()
}

pub async fn campaigns_and_agents_are_made_on_first_mention<F: Fixture>(mut scene: Scene<F>) {
    let told = |id: &str, step: Step, name: Option<&str>| {
        with(id, step, |call| {
            call.campaign.id = Some(Text::from("camp"));
            call.campaign.name = name.map(Text::from);
            call.agent.id = Some(Text::from("ann"));
        })
    };
    assert_eq!(find(&scene, Dimension::Campaign, "camp").await, None);
    scene.hear([told("a", Step::Requested, None), told("b", Step::Ringing, Some("March"))]).await;
    let made = scene.now;
    scene.wait(10);
    scene.hear([told("a", ENDED, None), told("c", ENDED, Some("March Outreach"))]).await;
    let camp = find(&scene, Dimension::Campaign, "camp").await.unwrap();
    assert_eq!((camp.name, camp.created_at), (Some(Text::from("March Outreach")), made));
    assert_eq!((camp.tally.in_progress(), camp.tally.ended()), (1, 2));
    let ann = find(&scene, Dimension::Agent, "ann").await.unwrap();
    assert_eq!((ann.name, ann.tally.ended()), (None, 2));
    scene.crash().await;
    scene.hear([told("d", ENDED, None)]).await;
    assert_eq!(find(&scene, Dimension::Campaign, "camp").await.unwrap().created_at, made);
    scene.finish().await;
}

pub async fn what_was_set_by_hand_stays<F: Fixture>(scene: Scene<F>) {
    let set = async |name: Option<Option<&str>>, expected_calls| {
        let name = name.map(|name| name.map(Text::from));
        let setting = Setting { id: Text::from("camp"), name, expected_calls };
        scene.store.put_mentioned(scene.account, Dimension::Campaign, setting, scene.now).await.unwrap()
    };
    let told = |id: &str, name: &str| {
        with(id, ENDED, |call| {
            call.campaign.id = Some(Text::from("camp"));
            call.campaign.name = Some(Text::from(name));
        })
    };
    let shown = async || {
        let found = find(&scene, Dimension::Campaign, "camp").await.unwrap();
        (found.name.unwrap().to_string(), found.expected_calls)
    };
    assert!(set(Some(Some("Ours")), Some(Some(10))).await, "made");
    scene.hear([told("a", "Theirs")]).await;
    assert_eq!(shown().await, ("Ours".to_owned(), Some(10)));
    assert!(!set(None, None).await, "it was there");
    assert_eq!(shown().await, ("Ours".to_owned(), Some(10)), "what is left out stays");
    set(None, Some(None)).await;
    assert_eq!(shown().await, ("Ours".to_owned(), None));
    let again = Setting { id: Text::from("camp"), name: None, expected_calls: Some(Some(7)) };
    let made = scene.store.make_mentioned(scene.account, Dimension::Campaign, again, scene.now).await;
    assert_eq!((made, shown().await), (Ok(false), ("Ours".to_owned(), None)), "what is there is not made");
    set(Some(None), None).await;
    scene.hear([told("b", "Theirs, too")]).await;
    assert_eq!(shown().await.0, "Theirs, too");
    scene.finish().await;
}

pub async fn accounts_count_their_own<F: Fixture>(scene: Scene<F>) {
    scene.hear([with("a", ENDED, |call| call.campaign.id = Some(Text::from("camp")))]).await;
    let other = scene.other_account("other").await;
    let always = Span { from: -1_000_000, to: 1_000_000 };
    for subject in [Subject::Account, of(Dimension::Campaign, "camp")] {
        assert_eq!(scene.store.tallies(other, subject, always, None).await, Ok(Vec::new()));
    }
    let page = TextPage { after: None, limit: 10 };
    let store = &scene.store;
    assert_eq!(
        store.tallies_by(other, Dimension::Campaign, always, page.clone()).await,
        Ok((Vec::new(), None))
    );
    assert_eq!(store.all_mentioned(other, Dimension::Campaign, page).await, Ok(Vec::new()));
    assert_eq!(store.mentioned(other, Dimension::Campaign, Text::from("camp")).await, Ok(None));
    assert_eq!(store.rows(AccountKey(77), true).await, Ok(BTreeMap::new()));
    scene.finish().await;
}

/// A body about one of a few calls, with whatever numbers.
fn body() -> impl Strategy<Value = HeardCall> {
    let step = prop_oneof![
        Just(Step::Requested),
        Just(Step::Ringing),
        prop::sample::select(Outcome::ALL.to_vec()).prop_map(Step::Ended),
        prop::sample::select(Outcome::ALL.to_vec()).prop_map(Step::Ended),
    ];
    let id = || prop::option::of(prop::sample::select(vec!["x", "y"]));
    let moment = || prop::option::of((0..60i64).prop_map(|hours| begin_of(490_000 + hours)));
    let numbers = (
        prop::option::of(0..8000u64),
        prop::option::of(prop::sample::select(vec!["0.45", "1e-3", "0.3000001", "12", "1e99", "-1"])),
        prop::option::of(prop::sample::select(vec!["0", "85.5", "100", "101"])),
        prop::option::of(any::<bool>()),
        prop::option::of(prop::sample::select(vec!["positive", "Negative", "angry"])),
    );
    (0..4u8, step, moment(), moment(), (id(), id(), id()), numbers).prop_map(
        |(call, step, at, ended_at, (campaign, batch, agent), (seconds, cost, score, success, sentiment))| {
            let mut heard = heard(&format!("c{call}"), step);
            heard.at = at;
            let call = &mut heard.call;
            call.ended_at = ended_at;
            call.campaign.id = campaign.map(Text::from);
            call.batch_id = batch.map(Text::from);
            call.agent.id = agent.map(Text::from);
            call.duration_seconds = seconds.map(|seconds| Millis(seconds * 1000 + 1));
            call.cost.total = cost.and_then(Raw::parse);
            call.analysis.score = score.and_then(Raw::parse);
            call.analysis.success = success;
            call.analysis.sentiment = sentiment.map(Text::from);
            heard
        },
    )
}

/// What the records say, counted by hand: calls that ended, and the length of those that were completed.
fn by_hand(calls: &[Call], dimension: impl Fn(&Call) -> Option<&Text>) -> BTreeMap<String, (i64, i64, i64)> {
    let mut counts: BTreeMap<String, (i64, i64, i64)> = BTreeMap::new();
    for call in calls {
        let Some(id) = dimension(call) else { continue };
        let (ended, completed, length) = counts.entry(id.to_string()).or_default();
        let Some(outcome) = call.outcome else { continue };
        *ended += 1;
        *completed += i64::from(outcome == Outcome::Completed);
        *length += call.duration_seconds.map_or(0, |length| i64::try_from(length.0).unwrap());
    }
    counts
}

/// Random bodies in random groups, repeated and corrected, with crashes between: the numbers that were kept are those of
/// a recount, and those that the records show.
pub fn numbers_agree_with_a_recount_in_any_order<F: Fixture>() {
    let groups = prop::collection::vec(body(), 1..10).prop_flat_map(|bodies| {
        let repeated: Vec<HeardCall> = bodies.iter().chain(&bodies).cloned().collect();
        (Just(repeated).prop_shuffle(), prop::collection::vec(1..6usize, 8), any::<bool>())
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut runner =
        TestRunner::new(Config { cases: 40 / F::CASES_OF, failure_persistence: None, ..Config::default() });
    let done = runner.run(&groups, |(bodies, sizes, crashes)| {
        runtime.block_on(async {
            let mut scene = Scene::<F>::new().await;
            let mut bodies = bodies.into_iter();
            for size in sizes {
                let group = bodies.by_ref().take(size);
                scene.hear(group.map(|heard| Parsed::events([Heard::Call(Box::new(heard))]))).await;
                scene.wait(1800);
                let kept = scene.store.rows(scene.account, false).await.unwrap();
                prop_assert_eq!(kept, scene.store.rows(scene.account, true).await.unwrap());
                if crashes {
                    scene.crash().await;
                }
            }
            let page = Page { after: None, limit: 100 };
            let calls = scene.store.calls(scene.account, CallFilter::default(), page).await.unwrap();
            let calls: Vec<Call> = calls.into_iter().map(|view| view.call).collect();
            for (dimension, counts) in [
                (Dimension::Campaign, by_hand(&calls, |call| call.campaign.id.as_ref())),
                (Dimension::Batch, by_hand(&calls, |call| call.batch_id.as_ref())),
                (Dimension::Agent, by_hand(&calls, |call| call.agent.id.as_ref())),
            ] {
                for (id, (ended, completed, length)) in counts {
                    let tally = total(&scene, of(dimension, &id), Span { from: 0, to: 600_000 }).await;
                    prop_assert_eq!(tally.ended(), ended);
                    prop_assert_eq!(tally.outcome(Outcome::Completed), completed);
                    prop_assert_eq!(tally.durations().1, length);
                }
            }
            scene.store.close().await.unwrap();
            Ok(())
        })
    });
    done.unwrap();
}
