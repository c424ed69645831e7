//! The group commit over any store: a culprit harms nobody else, and what was submitted is written.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::future::join_all;
use postcall::clock::System;
use postcall::dialect::ReceiptKind::{Duplicate, Quarantined, Recorded};
use postcall::dialect::{self, Reading};
use postcall::ledger::Next;
use postcall::metrics::Metrics;
use postcall::model::{DeliveryState, DialectName, EventType, Outcome, Step};
use postcall::store::ingest::group::GroupWriter;
use postcall::store::{EndpointRef, Group, Incoming, Page, Parsed, Place, Settlement, StoreError};
use tokio::task::JoinHandle;

use super::scene::{Fixture, Room, Scene, attempted, done, endpoint as made, numbers, says, source};
use super::troubled::{CULPRIT, Fault, Notes, SPOILT, Troubled};

const ENDED: Step = Step::Ended(Outcome::Completed);

struct Rig {
    room: Arc<Room>,
    troubled: Arc<Troubled>,
    notes: Arc<Notes>,
    writer: GroupWriter,
    handle: JoinHandle<()>,
}

impl Rig {
    fn over<F: Fixture>(scene: &Scene<F>, faults: impl IntoIterator<Item = Fault>) -> Self {
        let troubled = Troubled::over(scene.store.clone(), faults);
        let notes = Notes::with(&scene.room);
        let (store, queues) = (Arc::clone(&troubled), Arc::clone(&notes));
        let (writer, handle) = GroupWriter::start(store, queues, System::shared(), Arc::new(Metrics::new()));
        Self { room: Arc::clone(&scene.room), troubled, notes, writer, handle }
    }

    fn place(&self) -> Place {
        self.room.places(1).remove(0)
    }

    /// Hands in what an attempt came to, and waits until it is written.
    async fn settle(&self, settlement: Settlement) {
        self.writer.settle(settlement, self.place());
        self.notes.settled().await;
    }

    /// Submits bodies so that they meet in one group: the store takes nothing before all are there.
    async fn together(&self, bodies: Vec<Incoming>) -> Vec<Result<postcall::store::Recorded, StoreError>> {
        let all = bodies.into_iter().map(|body| self.writer.record(body));
        tokio::join!(join_all(all), async { self.troubled.open() }).0
    }
}

pub async fn the_queues_are_told_after_the_commit<F: Fixture>(scene: Scene<F>) {
    let endpoint = scene.endpoint(|_| {}).await;
    let rig = Rig::over(&scene, []);
    rig.troubled.open();
    let recorded = rig.writer.record(scene.incoming(says("a", Step::Answered))).await;
    assert_eq!(recorded, Ok(done(Recorded, 1)));
    let owned = rig.notes.dispatched();
    assert_eq!(numbers(&owned), [1], "dispatched before the door answers");
    rig.settle(attempted(&owned[0], scene.now, Next::RetryAt(scene.later(9)))).await;
    scene.room.set(0);
    rig.writer.record(scene.incoming(says("b", ENDED))).await.unwrap();
    // The queues are told after the answer, so the next answer proves it.
    rig.writer.record(scene.incoming(says("b", ENDED))).await.unwrap();
    assert_eq!(rig.notes.alarms(), [(scene.target(endpoint), scene.later(9))]);
    assert_eq!(rig.notes.woken(), [scene.target(endpoint)]);
    assert!(rig.notes.dispatched().is_empty());
    scene.finish().await;
}

pub async fn a_culprit_goes_to_quarantine_and_its_neighbours_commit<F: Fixture>(scene: Scene<F>) {
    scene.endpoint(|_| {}).await;
    let rig = Rig::over(&scene, []);
    let mut bodies: Vec<Incoming> =
        (0..30).map(|call| scene.incoming(says(&format!("c-{call}"), ENDED))).collect();
    let raw = Bytes::from_static(b"what nobody can keep");
    bodies.insert(11, Incoming { raw: raw.clone(), ..scene.incoming(says(CULPRIT, ENDED)) });
    bodies.insert(7, scene.incoming(says("line", Step::Initiated)));
    bodies.insert(20, scene.incoming(says("line", Step::Answered)));
    let recorded = rig.together(bodies).await;
    for (at, recorded) in recorded.into_iter().enumerate() {
        let expected = match at {
            12 => done(Quarantined, 0),
            // A call that was in progress and still is changes no number.
            20 => postcall::store::Recorded::Done { kind: Recorded, planned: 1, booked: <_>::default() },
            _ => done(Recorded, 1),
        };
        assert_eq!(recorded, Ok(expected), "body {at}");
    }
    let groups = rig.troubled.groups();
    assert_eq!(groups[0], 33, "they met in one group");
    assert!(groups.len() <= 1 + 2 * 6 + 1, "found by halving: {groups:?}");
    let kept = scene.store.quarantined(scene.account, 1).await.unwrap().unwrap();
    assert_eq!(kept.body, raw);
    assert!(kept.reason.contains("told to refuse it"), "{}", kept.reason);
    let line: Vec<EventType> = scene
        .feed()
        .await
        .iter()
        .filter(|event| event.call_id().is_some_and(|id| *id == *"line"))
        .map(|event| event.kind)
        .collect();
    assert_eq!(line, [EventType::CallInitiated, EventType::CallAnswered], "in the order in which they came");
    scene.finish().await;
}

pub async fn a_settlement_is_kept_without_what_cannot_be<F: Fixture>(scene: Scene<F>) {
    let endpoint = scene.endpoint(|_| {}).await;
    let owned = scene.hear(["a", "b", "c"].map(|call| says(call, ENDED))).await.owned;
    let rig = Rig::over(&scene, []);
    let settled = owned.iter().map(|owned| {
        let mut settlement = attempted(owned, scene.now, Next::Delivered);
        settlement.attempt.response_body = (owned.delivery == 2).then(|| CULPRIT.to_owned());
        rig.settle(settlement)
    });
    let opened = async { rig.troubled.open() };
    tokio::join!(join_all(settled), opened);
    assert_eq!(scene.sum(endpoint).await.delivered, 3);
    let kept = scene.delivery(2).await;
    assert_eq!((kept.state, kept.attempts[0].status), (DeliveryState::Delivered, Some(200)));
    assert_eq!(kept.attempts[0].response_body, None);
    assert!(kept.attempts[0].error.as_ref().is_some_and(|error| error.contains("told to refuse it")));
    scene.finish().await;
}

pub async fn a_group_that_loses_a_deadlock_is_tried_again<F: Fixture>(scene: Scene<F>) {
    let rig = Rig::over(&scene, [Fault::Conflict; 2]);
    let recorded = rig.together(["a", "b"].map(|call| scene.incoming(says(call, ENDED))).to_vec()).await;
    assert!(recorded.iter().all(|it| it == &Ok(done(Recorded, 0))), "{recorded:?}");
    assert_eq!(rig.troubled.groups(), [2, 2, 2]);
    // Who loses for ever is told that it cannot be.
    let rig = Rig::over(&scene, [Fault::Conflict; 9]);
    let recorded = rig.together(vec![scene.incoming(says("c", ENDED))]).await;
    assert!(matches!(recorded[..], [Err(StoreError::Conflict(_))]), "{recorded:?}");
    assert_eq!(rig.troubled.groups().len(), 4);
    scene.finish().await;
}

pub async fn while_the_store_is_away_doors_say_so_and_settlements_wait<F: Fixture>(scene: Scene<F>) {
    let endpoint = scene.endpoint(|_| {}).await;
    let owned = scene.hear([says("a", Step::Answered), says("a", ENDED)]).await.owned;
    let rig = Rig::over(&scene, [Fault::Unavailable; 3]);
    let settling = rig.settle(attempted(&owned[0], scene.now, Next::Delivered));
    let recording = rig.together(["b", "c"].map(|call| scene.incoming(says(call, ENDED))).to_vec());
    let ((), recorded) = tokio::join!(settling, recording);
    for recorded in recorded {
        assert!(matches!(recorded, Err(StoreError::Unavailable(_))), "{recorded:?}");
    }
    assert_eq!(scene.state(1).await, DeliveryState::Delivered, "written as soon as the store was back");
    let next: Vec<i64> = numbers(&rig.notes.dispatched());
    assert_eq!(next, [2], "and what it let go went");
    assert_eq!(rig.writer.record(scene.incoming(says("b", ENDED))).await, Ok(done(Recorded, 1)));
    assert_eq!(scene.sum(endpoint).await.owed, 3);
    scene.finish().await;
}

/// What attempts came to goes on, whatever bodies it meets in its group.
pub async fn where_bodies_have_no_room_settlements_are_written<F: Fixture>(scene: Scene<F>) {
    scene.endpoint(|_| {}).await;
    let owned = scene.hear([says("a", ENDED)]).await.owned;
    let rig = Rig::over(&scene, [Fault::Full]);
    rig.writer.settle(attempted(&owned[0], scene.now, Next::Delivered), rig.place());
    let recorded = rig.together(["b", "c"].map(|call| scene.incoming(says(call, ENDED))).to_vec()).await;
    assert!(recorded.iter().all(|it| matches!(it, Err(StoreError::Full(_)))), "{recorded:?}");
    // What comes next finds it written: it did not have to wait until no body is beside it.
    assert_eq!(rig.writer.record(scene.incoming(says("d", ENDED))).await, Ok(done(Recorded, 1)));
    assert_eq!(rig.troubled.groups(), [3, 1, 1], "they met in one group");
    assert_eq!(scene.state(1).await, DeliveryState::Delivered);
    scene.finish().await;
}

/// Its own sender alone is refused; there is nothing wrong with the body, so it is not put away.
pub async fn who_meets_damage_stops_no_neighbour<F: Fixture>(scene: Scene<F>) {
    let rig = Rig::over(&scene, []);
    let mut bodies: Vec<Incoming> =
        (0..12).map(|call| scene.incoming(says(&format!("c-{call}"), ENDED))).collect();
    bodies.insert(5, scene.incoming(says(SPOILT, ENDED)));
    let recorded = rig.together(bodies).await;
    for (at, recorded) in recorded.into_iter().enumerate() {
        match at {
            5 => assert!(matches!(recorded, Err(StoreError::Damaged(_))), "{recorded:?}"),
            _ => assert_eq!(recorded, Ok(done(Recorded, 0)), "body {at}"),
        }
    }
    assert_eq!(rig.troubled.groups()[0], 13, "they met in one group");
    assert_eq!(scene.store.quarantine_size(scene.account).await, Ok(0));
    scene.finish().await;
}

pub async fn a_commit_that_nobody_heard_of_counts_once<F: Fixture>(scene: Scene<F>) {
    let endpoint = scene.endpoint(|_| {}).await;
    let owned = scene.step("a", ENDED).await;
    let rig = Rig::over(&scene, [Fault::UnheardOf, Fault::UnheardOf]);
    rig.troubled.open();
    let recorded = rig.writer.record(scene.incoming(says("b", ENDED))).await;
    assert!(matches!(recorded, Err(StoreError::Unknown(_))), "{recorded:?}");
    assert!(rig.notes.dispatched().is_empty());
    assert_eq!(
        rig.writer.record(scene.incoming(says("b", ENDED))).await.map(drop),
        Err(StoreError::Unknown("told to keep quiet".to_owned()))
    );
    assert_eq!(rig.writer.record(scene.incoming(says("b", ENDED))).await, Ok(done(Duplicate, 0)));

    let rig = Rig::over(&scene, [Fault::UnheardOf]);
    rig.troubled.open();
    rig.settle(attempted(&owned[0], scene.now, Next::Delivered)).await;
    assert_eq!(rig.troubled.groups(), [1, 1], "made again");
    assert_eq!(scene.delivery(1).await.attempts.len(), 1, "written once");
    let sum = scene.sum(endpoint).await;
    assert_eq!((sum.owed, sum.delivered, sum.pending), (2, 1, 1));
    scene.finish().await;
}

pub async fn what_was_submitted_is_written_before_the_end<F: Fixture>(scene: Scene<F>) {
    let endpoint = scene.endpoint(|_| {}).await;
    let owned = scene.hear((0..20).map(|call| says(&format!("c-{call}"), ENDED))).await.owned;
    let rig = Rig::over(&scene, [Fault::Unavailable; 2]);
    for owned in &owned {
        rig.writer.settle(attempted(owned, scene.now, Next::Delivered), rig.place());
    }
    let Rig { troubled, writer, handle, .. } = rig;
    drop(writer);
    troubled.open();
    handle.await.unwrap();
    assert_eq!(scene.sum(endpoint).await.delivered, 20);
    scene.finish().await;
}

/// Memory is bounded: what would not fit is refused at once, and what was taken is written.
pub async fn only_so_much_may_wait<F: Fixture>(scene: Scene<F>) {
    let rig = Rig::over(&scene, []);
    // With what is parsed out of it a little less than 16 MiB.
    let large = Bytes::from(vec![b' '; (16 << 20) - (64 << 10)]);
    let body =
        |call: usize| Incoming { raw: large.clone(), ..scene.incoming(says(&format!("c-{call}"), ENDED)) };
    let recorded = rig.together((0..7).map(body).collect()).await;
    let taken = recorded.iter().filter(|recorded| **recorded == Ok(done(Recorded, 0))).count();
    let refused =
        recorded.iter().filter(|recorded| matches!(recorded, Err(StoreError::Unavailable(_)))).count();
    assert_eq!((taken, refused), (4, 3), "64 MiB may wait");
    assert!(rig.troubled.groups().iter().all(|&members| members == 1), "large ones go one by one");
    assert_eq!(rig.writer.record(body(9)).await, Ok(done(Recorded, 0)), "there is room again");
    let huge = Incoming { raw: Bytes::from(vec![b' '; 65 << 20]), ..body(10) };
    assert_eq!(rig.writer.record(huge).await, Ok(done(Recorded, 0)), "one alone may be larger than all");
    assert_eq!(
        rig.writer.record(scene.incoming(Parsed::Unreadable("x".to_owned()))).await,
        Ok(done(Quarantined, 0))
    );
    let page = Page { after: None, limit: 10 };
    assert_eq!(scene.store.quarantine(scene.account, page).await.unwrap().len(), 1);
    scene.finish().await;
}

/// A source of another account, and what comes through it.
async fn quiet<F: Fixture>(scene: &Scene<F>) -> impl Fn(usize) -> Incoming + use<F> {
    let account = scene.other_account("quiet").await;
    let source = scene.store.put_source(source(account), None).await.unwrap().unwrap().number;
    let one = scene.incoming(says("", ENDED));
    move |call| Incoming { account, source, parsed: says(&format!("q-{call}"), ENDED), ..one.clone() }
}

/// One account has many groups' worth waiting: another's body goes with the next group all the same.
pub async fn a_busy_account_lets_anothers_body_into_the_next_group<F: Fixture>(scene: Scene<F>) {
    let quiet = quiet(&scene).await;
    let rig = Rig::over(&scene, []);
    let busy = (0..1000).map(|call| scene.incoming(says(&format!("b-{call}"), ENDED)));
    let answered = Mutex::new(Vec::new());
    let record = async |body: Incoming| {
        let account = body.account;
        assert_eq!(rig.writer.record(body).await, Ok(done(Recorded, 0)));
        answered.lock().unwrap().push(account);
    };
    // Every one of the busy account's is there before the other's.
    let all = busy.chain([quiet(1)]).map(record);
    tokio::join!(join_all(all), async { rig.troubled.open() });
    let answered = answered.into_inner().unwrap();
    let before = answered.iter().take_while(|account| **account == scene.account).count();
    assert!(before < 64, "{before} of {} were answered before it", answered.len());
    let groups = rig.troubled.groups();
    assert!(groups[0] <= 64, "a group of {} holds up whoever waits for the next", groups[0]);
    assert_eq!(groups.iter().sum::<usize>(), 1001, "each is written once");
    scene.finish().await;
}

/// One account has as much waiting as it gets: what another one brings is taken in all the same.
pub async fn a_busy_account_leaves_room_for_another<F: Fixture>(scene: Scene<F>) {
    let quiet = quiet(&scene).await;
    let rig = Rig::over(&scene, []);
    let large = Bytes::from(vec![b' '; 1 << 20]);
    let busy = (0..70).map(|call| scene.incoming(says(&format!("b-{call}"), ENDED)));
    let bodies = busy.chain((0..5).map(quiet)).map(|body| Incoming { raw: large.clone(), ..body });
    let recorded = rig.together(bodies.collect()).await;
    let taken =
        |recorded: &[Result<_, _>]| recorded.iter().filter(|it| **it == Ok(done(Recorded, 0))).count();
    let (busy, quiet) = recorded.split_at(70);
    assert_eq!(taken(quiet), 5, "{quiet:?}");
    let most_of_it = 40..=56;
    assert!(most_of_it.contains(&taken(busy)), "{} of 64 MiB", taken(busy));
    let refused = busy.iter().filter(|it| matches!(it, Err(StoreError::Unavailable(_)))).count();
    assert_eq!(refused, 70 - taken(busy));
    scene.finish().await;
}

/// What attempts of one account came to fills many groups: another account's is written with the next.
pub async fn a_busy_account_lets_anothers_settlement_into_the_next_group<F: Fixture>(scene: Scene<F>) {
    let quiet = quiet(&scene).await;
    let endpoint = scene.endpoint(|_| {}).await;
    let owned = scene.hear((0..600).map(|call| says(&format!("b-{call}"), ENDED))).await.owned;
    let account = quiet(1).account;
    let theirs = scene.store.put_endpoint(made(account), None).await.unwrap().unwrap().number;
    let heard = Group { now: scene.now, incoming: vec![quiet(1)], settlements: Vec::new() };
    let other = scene.store.commit(Arc::new(heard), Arc::clone(&scene.room) as _).await.unwrap().owned;
    let rig = Rig::over(&scene, []);
    for owned in owned.iter().chain(&other) {
        rig.writer.settle(attempted(owned, scene.now, Next::Delivered), rig.place());
    }
    rig.troubled.open();
    let mut written = Vec::new();
    while written.len() < 601 {
        rig.notes.settled().await;
        written.extend(rig.notes.written());
    }
    let theirs = EndpointRef { account, number: theirs };
    let before = written.iter().take_while(|endpoint| **endpoint != theirs).count();
    assert!(before < 64, "{before} of 600 were written before it");
    assert_eq!(scene.sum(endpoint).await.delivered, 600);
    scene.finish().await;
}

/// What is parsed out of a body may take many times its bytes, and that is what counts.
pub async fn a_body_of_tiny_fields_counts_as_what_it_takes_parsed<F: Fixture>(scene: Scene<F>) {
    const FIELDS: usize = 100_000;
    // A key and a value, each in an allocation of at least 16 bytes, and their two headers.
    const PARSED: usize = FIELDS * (16 + 16 + 24 + 16);
    let rig = Rig::over(&scene, []);
    let fields: String = (0..FIELDS).map(|number| format!(",\"{number:x}\":1")).collect();
    let body = |call: usize| {
        let raw = Bytes::from(format!("{{\"callId\":\"c-{call}\"{fields}}}"));
        assert!(raw.len() < 1 << 20);
        let Reading::Events(heard) = dialect::get(DialectName::Cllr).read(&raw) else { panic!("readable") };
        Incoming { raw, ..scene.incoming(Parsed::events(heard)) }
    };
    let recorded = rig.together((0..16).map(body).collect()).await;
    let taken = recorded.iter().filter(|recorded| recorded.is_ok()).count();
    assert!((1..=(64 << 20) / PARSED).contains(&taken), "{taken} of 16 MiB");
    assert_eq!(rig.writer.record(body(99)).await, Ok(done(Recorded, 0)), "there is room again");
    scene.finish().await;
}

/// A connection that went dead: the group hangs, the doors do not.
pub async fn a_store_that_does_not_answer_keeps_no_door_waiting<F: Fixture>(scene: Scene<F>) {
    scene.endpoint(|_| {}).await;
    let rig = Rig::over(&scene, []);
    tokio::time::pause();
    let start = tokio::time::Instant::now();
    let first = rig.writer.record(scene.incoming(says("a", ENDED))).await;
    assert!(matches!(first, Err(StoreError::Unknown(_))), "{first:?}");
    assert_eq!(start.elapsed().as_secs(), 5);
    for _ in 0..2 {
        let start = tokio::time::Instant::now();
        let next = rig.writer.record(scene.incoming(says("b", ENDED))).await;
        assert!(matches!(next, Err(StoreError::Unavailable(_))), "{next:?}");
        assert_eq!(start.elapsed().as_millis(), 0, "at once");
    }
    tokio::time::resume();
    rig.troubled.open();
    // What hung was committed in the end. The sender sent it again, as it was told to.
    loop {
        match rig.writer.record(scene.incoming(says("a", ENDED))).await {
            Err(StoreError::Unavailable(_)) => tokio::task::yield_now().await,
            recorded => break assert_eq!(recorded, Ok(done(Duplicate, 0))),
        }
    }
    assert_eq!(rig.writer.record(scene.incoming(says("b", ENDED))).await, Ok(done(Recorded, 1)));
    assert_eq!(numbers(&rig.notes.dispatched()), [1, 2], "and sent once");
    scene.finish().await;
}

pub async fn what_a_lapsed_tenure_attempted_is_given_up<F: Fixture>(scene: Scene<F>) {
    scene.endpoint(|_| {}).await;
    let owned = scene.step("a", ENDED).await;
    let rig = Rig::over(&scene, [Fault::Lapsed]);
    let settling = rig.settle(attempted(&owned[0], scene.now, Next::Delivered));
    let recording = rig.together(vec![scene.incoming(says("b", ENDED))]);
    let ((), recorded) = tokio::join!(settling, recording);
    assert!(matches!(recorded[..], [Err(StoreError::Lapsed(_))]), "{recorded:?}");
    assert_eq!(rig.writer.record(scene.incoming(says("b", ENDED))).await, Ok(done(Recorded, 1)));
    assert_eq!(rig.troubled.groups(), [2, 1], "not tried again");
    assert_eq!(scene.state(1).await, DeliveryState::Pending, "whoever owns it now attempts it");
    scene.finish().await;
}
