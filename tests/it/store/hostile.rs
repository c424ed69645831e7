//! Imports that somebody changed: any number, any line, any order. What comes of one is a refusal that names the line, or books
//! that add up, and never a read, a loop or a memory as large as a number in a line says. Damaged rows are held to the same.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use postcall::ledger::Next;
use postcall::ledger::tally::Dimension;
use postcall::model::endpoint::{Part, Wait};
use postcall::model::event::{Heard, HeardBatch};
use postcall::model::id::{self, Kind, Tag};
use postcall::model::replay::{ReplayOrder, ReplayState, Selection};
use postcall::model::{AccountKey, Batch, EventType, Outcome, Raw, Secret, Step, Text};
use postcall::store::analytics::{Setting, TextPage};
use postcall::store::batches::{BatchState, Contact, Failure, Given, NewBatch, Opened};
use postcall::store::export::Secrets;
use postcall::store::{DeliveryFilter, Page, Parsed, StoreError};
use serde_json::{Value, json};

use super::carrying::{export, import};
use super::erasing::{PHONE, finish, person};
use super::scene::{Fixture, Scene, attempted, endpoint, heard, says};

const ENDED: Step = Step::Ended(Outcome::Completed);
const FAILED: Step = Step::Ended(Outcome::Failed);
/// Every record has its number in this many bits of a key.
const NUMBERS: i64 = 1 << 40;
/// Longer than anything here takes on a busy machine, and shorter than a loop over a number that somebody made up.
const PATIENCE: Duration = Duration::from_secs(20);
/// Rounds of maintenance that an account of a hundred lines may take.
const MOST_ROUNDS: usize = 500;

/// `all` tries every change, a number repeats what a run tried; without it some are chosen.
const CHOICE: &str = "POSTCALL_TEST_IMPORTS";
/// How many are chosen, and how many of them go into one store.
const CHOSEN: u32 = 40;
const OF_ONE_STORE: usize = 20;

async fn in_time<T>(what: &str, work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(done) => done,
        Err(_) => panic!("{what} takes more than {PATIENCE:?}"),
    }
}

fn batch_id<F: Fixture>(scene: &Scene<F>, batch: i64) -> Text {
    let tag = scene.store.config(scene.account).unwrap().account.tag;
    Text::from(id::format(Kind::Batch, tag, batch))
}

/// A batch with an endpoint of its own, on disk and not taken in yet.
async fn give<F: Fixture>(
    scene: &Scene<F>,
    contacts: usize,
    lost_after: Option<u64>,
    starts_in: Option<u64>,
) -> i64 {
    let given = Given {
        agent_id: Some(Text::from("ann")),
        options: Raw::parse("{\"pace\":2}"),
        scheduled_at: starts_in.map(|seconds| scene.later(seconds)),
        ..Given::default()
    };
    let opened = scene.store.open_batch(NewBatch {
        account: scene.account,
        given,
        contacts: i64::try_from(contacts).unwrap(),
        max_attempts: 2,
        lost_after: lost_after.map(Duration::from_secs),
        created_at: scene.now,
    });
    let Opened::As(batch) = opened.await.unwrap() else { panic!("there is room") };
    let contact = |at| Contact {
        phone: Text::from(format!("+1555{at:06}")),
        id: Some(Text::from(format!("p-{at}"))),
        metadata: Raw::parse("{\"tier\":1.50}"),
        ..Contact::default()
    };
    let all: Vec<Contact> = (0..contacts).map(contact).collect();
    let parts = all.chunks(2).map(<[_]>::to_vec).collect();
    scene.store.add_contacts(scene.account, batch, 1, parts).await.unwrap();
    let mut own = endpoint(scene.account);
    own.scope.batch_id = Some(batch_id(scene, batch));
    scene.store.begin_batch(scene.account, batch, vec![own], Secret::new("ofbatches")).await.unwrap();
    batch
}

fn of_batch(batch: &Text, call: &str, contact: usize, step: Step) -> Parsed {
    let mut body = heard(call, step);
    body.call.batch_id = Some(batch.clone());
    body.call.contact.phone = Some(Text::from(format!("+1555{contact:06}")));
    Parsed::events([Heard::Call(Box::new(body))])
}

/// An account with something of every kind that moves, in few lines.
async fn furnish<F: Fixture>(scene: &mut Scene<F>) {
    let (store, account) = (Arc::clone(&scene.store), scene.account);
    let everything = scene.endpoint(|_| {}).await;
    scene.room.set(0);
    // Something that is gone by its age.
    scene.keep(100).await;
    scene.hear([says("gone", ENDED)]).await;
    for owned in scene.claim(everything, 9).await {
        scene.settle(&owned, Next::Delivered).await;
    }
    scene.wait(300);
    scene.tidy_up().await;
    scene.keep(1_000_000).await;
    store.set_transcript_retention(account, Some(Duration::from_secs(900_000)), scene.now).await.unwrap();
    store.set_credit(account, Some(3_600_000)).await.unwrap();

    scene.change(everything, |endpoint| endpoint.shape.include_recording = false).await;
    let wait = Wait { parts: vec![Part::Recording], up_to: Duration::from_secs(7200) };
    scene
        .endpoint(|endpoint| {
            endpoint.delivering.wait = Some(wait);
            endpoint.delivering.retry_delays = Some([1, 60, 3600].map(Duration::from_secs).into());
            endpoint.delivering.timeout = Some(Duration::from_secs(20));
            endpoint.delivering.max_in_flight = Some(4);
            endpoint.delivering.rate_limit = Some(2.5);
            endpoint.headers = vec![("X-Key".to_owned(), "k".to_owned())];
        })
        .await;
    let gone = scene.endpoint(|_| {}).await;
    scene.hear((0..3).map(|call| says(&format!("c-{call}"), Step::Answered))).await;
    let ends = [Next::Delivered, Next::Dead, Next::RetryAt(scene.later(60))];
    for (owned, end) in scene.claim(everything, 3).await.iter().zip(ends) {
        scene.settle(owned, end).await;
    }
    // One waits behind a retry, some are held, one says what came later.
    scene.hear(["c-2", "c-0", "held"].map(|call| says(call, ENDED))).await;
    let mut recorded = heard("c-0", ENDED);
    recorded.call.recording.url = Some(Text::from("https://r/1"));
    recorded.call.duration_seconds = postcall::model::time::Millis::from_seconds(61.5);
    scene.hear([Parsed::events([Heard::Call(Box::new(recorded))])]).await;
    scene.hear([super::erasing::with("e", ENDED, PHONE, super::erasing::SECRET)]).await;
    store.erase(account, person(PHONE), scene.now).await.unwrap();
    finish(scene).await;
    store.delete_endpoint(account, gone, scene.now).await.unwrap();
    finish(scene).await;

    // Complete, failed, half done, and one that is still being taken in.
    let [complete, failed, half] = [
        give(scene, 1, None, None).await,
        give(scene, 2, None, None).await,
        give(scene, 3, Some(90_000), Some(500)).await,
    ];
    scene.tidy_up().await;
    let failure = Failure { error: Text::from("no line"), code: Text::from("LINE") };
    store.end_batch(account, failed, failure, scene.now).await.unwrap();
    let ids = [complete, half].map(|batch| batch_id(scene, batch));
    scene.hear([of_batch(&ids[0], "b-0", 0, ENDED), of_batch(&ids[1], "b-1", 0, ENDED)]).await;
    scene.hear([of_batch(&ids[1], "b-2", 1, FAILED), of_batch(&ids[1], "b-3", 2, Step::Ringing)]).await;
    for (what, id) in [(Dimension::Campaign, "spring"), (Dimension::Agent, "ann")] {
        let name = Some(Some(Text::from("A name")));
        let setting = Setting { id: Text::from(id), name, expected_calls: Some(Some(70)) };
        store.put_mentioned(account, what, setting, scene.now).await.unwrap();
    }
    for (rate, dry_run) in [(1000.0, false), (0.001, false), (2.0, true)] {
        let order = ReplayOrder { selection: Selection::default(), to: Some(everything), rate, dry_run };
        let replay = store.create_replay(account, order, scene.now).await.unwrap().unwrap().number;
        if rate > 1.0 {
            while store.replay(account, replay).await.unwrap().unwrap().state == ReplayState::Running {
                scene.wait(1);
                store.maintain(scene.now).await.unwrap();
            }
        }
    }
    store.cancel_replay(account, 2, scene.now).await.unwrap();
    let batch = Batch { batch_id: Text::from("v-1"), ..Batch::default() };
    let vendors = HeardBatch { kind: EventType::BatchCompleted, at: None, batch };
    scene.hear([Parsed::events([Heard::Batch(Box::new(vendors))])]).await;
    scene.hear([Parsed::Test(Box::new(heard("t", ENDED)))]).await;
    give(scene, 5, Some(7200), None).await;
    store.maintain(scene.now).await.unwrap();
}

/// One change to the lines of an export.
#[derive(Clone, Debug)]
enum Change {
    /// Something else stands at a place of a line.
    Put {
        line: usize,
        at: String,
        value: Value,
    },
    /// Nothing does.
    Without {
        line: usize,
        at: String,
    },
    /// A line is missing, there twice, or behind the next one.
    Drop(usize),
    Double(usize),
    Swap(usize),
}

impl Change {
    fn apply(&self, lines: &[Value]) -> Vec<String> {
        let mut lines = lines.to_vec();
        match self {
            Self::Put { line, at, value } => *lines[*line].pointer_mut(at).unwrap() = value.clone(),
            Self::Without { line, at } => {
                let (parent, name) = at.rsplit_once('/').unwrap();
                match lines[*line].pointer_mut(parent).unwrap() {
                    Value::Object(fields) => drop(fields.remove(name)),
                    Value::Array(elements) => drop(elements.remove(name.parse().unwrap())),
                    other => panic!("{other} holds nothing"),
                }
            }
            Self::Drop(line) => drop(lines.remove(*line)),
            Self::Double(line) => lines.insert(*line, lines[*line].clone()),
            Self::Swap(line) => lines.swap(*line, line + 1),
        }
        lines.iter().map(Value::to_string).collect()
    }
}

/// Every place in a value: numbers, and ids with the numbers in them.
fn places(value: &Value, at: String, found: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                places(value, format!("{at}/{}", name.replace('~', "~0").replace('/', "~1")), found);
            }
        }
        Value::Array(elements) => {
            for (place, value) in elements.iter().enumerate() {
                places(value, format!("{at}/{place}"), found);
            }
        }
        Value::Number(_) | Value::String(_) => found.push((at, value.clone())),
        Value::Null | Value::Bool(_) => {}
    }
}

const KINDS: [Kind; 8] = [
    Kind::Source,
    Kind::Endpoint,
    Kind::Event,
    Kind::Delivery,
    Kind::Call,
    Kind::Batch,
    Kind::Contact,
    Kind::Replay,
];

fn numbered(text: &str) -> Option<(Kind, Tag, i64)> {
    KINDS.into_iter().find_map(|kind| id::parse(kind, text).map(|(tag, number)| (kind, tag, number)))
}

/// Everything that is tried.
fn changes(lines: &[Value]) -> Vec<Change> {
    let mut all = Vec::new();
    for (line, value) in lines.iter().enumerate() {
        let mut found = Vec::new();
        places(value, String::new(), &mut found);
        for (at, value) in found {
            let put = |value: Value| Change::Put { line, at: at.clone(), value };
            if let Some(text) = value.as_str() {
                let Some((kind, tag, number)) = numbered(text) else { continue };
                let ids = [0, 1, number - 1, number + 1, number + 7, NUMBERS / 2, NUMBERS - 2, NUMBERS - 1];
                let ids = ids.into_iter().filter(|other| (0..NUMBERS).contains(other) && *other != number);
                all.extend(ids.map(|other| put(json!(id::format(kind, tag, other)))));
                all.push(put(json!(id::format(kind, Tag(tag.0 ^ 1), number))));
            } else {
                let near = value.as_i64().map(|number| [number.saturating_sub(1), number.saturating_add(1)]);
                let near = near.into_iter().flatten();
                let far = [
                    0,
                    1,
                    -1,
                    i64::from(i32::MAX),
                    i64::from(i32::MAX) + 1,
                    i64::from(i32::MIN),
                    i64::from(u32::MAX),
                    i64::from(u32::MAX) + 1,
                    NUMBERS - 1,
                    NUMBERS,
                    NUMBERS + 1,
                    1_000_000_000_000,
                    1 << 53,
                    i64::MAX,
                    i64::MIN,
                ];
                all.extend(near.chain(far).map(|number| put(json!(number))));
                let others =
                    [json!(u64::MAX), json!(1e308), json!(-1e-308), json!(0.5), json!("NaN"), json!("1")];
                all.extend(
                    others.into_iter().chain([Value::Null, json!([]), json!({}), json!(true)]).map(put),
                );
            }
            all.push(Change::Without { line, at });
        }
        all.extend([Change::Drop(line), Change::Double(line)]);
        all.extend((line + 1 < lines.len()).then_some(Change::Swap(line)));
    }
    all
}

/// Some of them, those of a seed.
fn choose(all: &[Change], seed: u64, most: usize) -> Vec<Change> {
    // SplitMix64: enough to pick, and the same on every machine.
    let mut state = seed;
    let mut next = move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) >> 8).unwrap()
    };
    (0..most).map(|_| all[next() % all.len()].clone()).collect()
}

fn chosen<F: Fixture>(all: &[Change]) -> Vec<Change> {
    #[expect(clippy::disallowed_methods, reason = "which changes are tried is for who starts the tests")]
    let choice = std::env::var(CHOICE).ok();
    let seed = match choice.as_deref() {
        Some("all") => return all.to_vec(),
        Some(seed) => seed.parse().expect("`all` or a seed"),
        None => RandomState::new().build_hasher().finish(),
    };
    println!("{CHOICE}={seed} tries the same once more");
    choose(all, seed, usize::try_from(CHOSEN / F::CASES_OF).unwrap())
}

/// What an account shows, all of it, each answer in time and no larger than was asked for.
async fn look_at_everything<F: Fixture>(scene: &Scene<F>) {
    let (store, account) = (&scene.store, scene.account);
    let page = Page { after: None, limit: 50 };
    let feed = scene.feed().await;
    for event in &feed {
        let filter = DeliveryFilter { event: Some(event.position), ..DeliveryFilter::default() };
        let found = store.deliveries(account, filter, page).await.unwrap();
        assert!(found.iter().all(|view| view.event == event.position), "another event's: {found:?}");
    }
    for call in store.calls(account, <_>::default(), page).await.unwrap() {
        let filter = DeliveryFilter { call: Some(call.number), ..DeliveryFilter::default() };
        store.deliveries(account, filter, page).await.unwrap();
    }
    for state in postcall::model::DeliveryState::ALL {
        store
            .deliveries(account, DeliveryFilter { state: Some(state), ..DeliveryFilter::default() }, page)
            .await
            .unwrap();
    }
    for batch in store.batches(account, page).await.unwrap() {
        let contacts = store.contacts(account, batch.number, false, page).await.unwrap();
        store.batch_calls(account, batch.number, page).await.unwrap();
        if !batch.state.is_over() {
            let closed = |reached: bool| {
                contacts.iter().filter(move |it| it.book.is_closed && it.book.is_reached() == reached)
            };
            let counts = [closed(true).count(), closed(false).count(), contacts.len()];
            let counts = counts.map(|count| i64::try_from(count).unwrap());
            assert_eq!([batch.tally.succeeded, batch.tally.failed, batch.taken_in], counts, "{batch:?}");
        }
    }
    store.replays(account, page).await.unwrap();
    store.quarantine(account, page).await.unwrap();
    for what in [Dimension::Campaign, Dimension::Agent] {
        store.all_mentioned(account, what, TextPage { after: None, limit: 50 }).await.unwrap();
    }
    store.credit(account).await.unwrap();
}

async fn books_add_up<F: Fixture>(scene: &Scene<F>) {
    let (store, account) = (&scene.store, scene.account);
    let sums = store.sums(account, false).await.unwrap();
    assert_eq!(sums, store.sums(account, true).await.unwrap(), "counted, and from the rows");
    for sum in sums {
        assert_eq!(sum.owed, sum.delivered + sum.pending + sum.dead + sum.cancelled, "{sum:?}");
        assert!(
            [sum.delivered, sum.pending, sum.dead, sum.cancelled].iter().all(|&part| part >= 0),
            "{sum:?}"
        );
    }
    assert_eq!(store.rows(account, false).await.unwrap(), store.rows(account, true).await.unwrap());
}

/// Maintenance until there is nothing more to do.
async fn tend<F: Fixture>(scene: &Scene<F>) {
    for _ in 0..MOST_ROUNDS {
        let progress = scene.store.maintain(scene.now).await.unwrap();
        let failed: Vec<&str> =
            progress.steps.iter().filter(|step| step.has_failed).map(|step| step.job).collect();
        assert_eq!(failed, [""; 0], "a job failed");
        if !progress.more {
            return;
        }
    }
    panic!("after {MOST_ROUNDS} rounds of maintenance there is more to do");
}

/// Sends what is due.
async fn drain<F: Fixture>(scene: &Scene<F>) {
    let endpoints: Vec<i64> =
        scene.store.config(scene.account).unwrap().endpoints.iter().map(|it| it.number).collect();
    for endpoint in endpoints {
        let mut rounds = 0;
        loop {
            let owned = scene.claim(endpoint, 50).await;
            if owned.is_empty() {
                break;
            }
            let settled = owned.iter().map(|owned| attempted(owned, scene.now, Next::Delivered)).collect();
            scene.commit(Vec::new(), settled).await;
            rounds += 1;
            assert!(rounds < MOST_ROUNDS, "endpoint {endpoint} is owed without end");
        }
    }
}

/// What a changed import comes to in an account of its own.
async fn judge<F: Fixture>(scene: &mut Scene<F>, number: usize, lines: &[String]) {
    scene.account = scene.other_account(&format!("hostile {number}")).await;
    let done = in_time("the import", import(scene, lines, 29, true)).await;
    for wrong in &done.wrong {
        assert!((1..=lines.len() as u64).contains(&wrong.line), "{wrong:?}");
        assert!(!wrong.code.is_empty() && wrong.detail.ends_with(['.', '?']), "{wrong:?}");
    }
    assert!(done.ended || !done.wrong.is_empty() || !lines.last().unwrap().contains("\"end\""), "{done:?}");
    in_time("the books", books_add_up(scene)).await;
    // Whoever left a line out can end it all the same.
    let end = in_time("its end", import(scene, &["{\"kind\":\"end\"}".to_owned()], 1, true)).await;
    if end.stopped {
        return assert!(done.stopped || lines.len() < 2 || !lines[0].contains("\"account\""), "{end:?}");
    }
    in_time("a look", look_at_everything(scene)).await;
    in_time("maintenance", tend(scene)).await;
    in_time("the books", books_add_up(scene)).await;

    // It goes on: what is recorded now has a position behind all others, is shown, and goes out.
    let last = scene.feed().await.last().map_or(0, |event| event.position);
    scene.hear([says("afterwards", ENDED)]).await;
    let feed = scene.feed().await;
    let new = feed.last().unwrap();
    assert!(new.position > last && new.call_id() == Some(&Text::from("afterwards")), "{new:?}");
    in_time("draining", drain(scene)).await;
    let filter = DeliveryFilter { event: Some(new.position), ..DeliveryFilter::default() };
    let planned = in_time("its deliveries", scene.deliveries(filter)).await;
    let config = scene.store.config(scene.account).unwrap();
    let hears =
        config.endpoints.iter().filter(|it| it.scope.batch_id.is_none() && it.delivering.wait.is_none());
    let at_least = hears.filter(|it| it.state == postcall::model::endpoint::EndpointState::Active).count();
    assert!(planned.len() >= at_least, "{planned:?}");

    let again = in_time("an export", export(&scene.store, scene.account, Secrets::Clear)).await;
    let first = scene.account;
    scene.account = scene.other_account(&format!("again {number}")).await;
    let done = in_time("its import", import(scene, &again, 200, true)).await;
    assert_eq!((done.wrong.as_slice(), done.ended), (&[][..], true), "what came in cannot go on");
    in_time("the books", books_add_up(scene)).await;
    scene.account = first;

    // And it ends: what is held goes, what is old is removed.
    for seconds in [8000, 2_000_000] {
        scene.wait(seconds);
        in_time("maintenance", tend(scene)).await;
        in_time("draining", drain(scene)).await;
        in_time("the books", books_add_up(scene)).await;
    }
}

pub async fn whatever_is_changed_in_an_import<F: Fixture>(mut scene: Scene<F>) {
    furnish(&mut scene).await;
    let now = scene.now;
    let lines = export(&scene.store, scene.account, Secrets::Clear).await;
    scene.finish().await;
    let lines: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |kind: &str| lines.iter().filter(|line| line["kind"] == kind).count();
    for kind in
        ["source", "endpoint", "campaign", "agent", "batch", "event", "call", "contact", "replay", "delivery"]
    {
        assert!(of(kind) > 0, "{kind}");
    }
    let all = changes(&lines);
    let chosen = chosen::<F>(&all);
    println!("{} of {} changes to {} lines", chosen.len(), all.len(), lines.len());
    for (place, part) in chosen.chunks(OF_ONE_STORE).enumerate() {
        let mut scene = Scene::<F>::new().await;
        for (at, change) in part.iter().enumerate() {
            scene.now = now;
            let number = place * OF_ONE_STORE + at;
            // Shown when it fails.
            println!("{number}: {change:?}");
            judge(&mut scene, number, &change.apply(&lines)).await;
        }
        scene.store.close().await.unwrap();
    }
}

/// A part of the lines of an honest export, changed.
fn changed(lines: &[String], kind: &str, change: impl FnOnce(&mut Value)) -> (usize, Vec<String>) {
    let at = lines.iter().position(|line| line.starts_with(&format!("{{\"kind\":\"{kind}\","))).expect(kind);
    (at, changed_at(lines, at, change))
}

fn changed_at(lines: &[String], at: usize, change: impl FnOnce(&mut Value)) -> Vec<String> {
    let mut value = serde_json::from_str(&lines[at]).unwrap();
    change(&mut value);
    let mut lines = lines.to_vec();
    lines[at] = value.to_string();
    lines
}

/// What is said of a line by an import of all into an account of its own.
async fn refusal<F: Fixture>(scene: &mut Scene<F>, lines: &[String], at: usize) -> Option<&'static str> {
    let name = format!("refusal {}", scene.store.accounts().len());
    scene.account = scene.other_account(&name).await;
    let done = in_time("the import", import(scene, lines, 50, true)).await;
    books_add_up(scene).await;
    done.wrong.iter().find(|wrong| wrong.line == at as u64 + 1).map(|wrong| wrong.code)
}

/// An account with two endpoints and some calls: its lines.
async fn some_lines<F: Fixture>(scene: &mut Scene<F>) -> Vec<String> {
    scene.endpoint(|_| {}).await;
    scene.endpoint(|_| {}).await;
    scene.room.set(0);
    scene.hear(["a", "b", "c"].map(|call| says(call, Step::Answered))).await;
    scene.hear(["a", "b", "c"].map(|call| says(call, ENDED))).await;
    export(&scene.store, scene.account, Secrets::Clear).await
}

pub async fn an_event_has_no_more_deliveries_than_can_be<F: Fixture>(mut scene: Scene<F>) {
    let lines = some_lines(&mut scene).await;
    for many in [1_000_000_000_000, 3, -1, i64::MAX] {
        let (at, broken) = changed(&lines, "event", |event| event["deliveries"] = json!(many));
        assert_eq!(refusal(&mut scene, &broken, at).await, Some("out_of_range"), "{many}");
        // Also where the first line says that so many were handed out.
        let most = NUMBERS / 2 - 1;
        let broken = changed_at(&broken, 0, |account| account["deliveries"] = json!(most));
        assert_eq!(refusal(&mut scene, &broken, at).await, Some("out_of_range"), "{many}");
    }
    // No event has those of another.
    let (at, broken) = changed(&lines, "event", |event| event["deliveries"] = json!(1));
    let second = changed_at(&broken, at + 1, |event| {
        let (_, tag, number) = numbered(event["first_delivery"].as_str().unwrap()).unwrap();
        event["first_delivery"] = json!(id::format(Kind::Delivery, tag, number - 2));
    });
    assert_eq!(refusal(&mut scene, &second, at + 1).await, Some("out_of_range"));
    // And no delivery is numbered as another event's.
    let (delivery, broken) = changed(&lines, "delivery", |delivery| {
        let (_, tag, number) = numbered(delivery["event_id"].as_str().unwrap()).unwrap();
        delivery["event_id"] = json!(id::format(Kind::Event, tag, number + 1));
    });
    assert_eq!(refusal(&mut scene, &broken, delivery).await, Some("out_of_range"));
    scene.finish().await;
}

pub async fn positions_leave_room_for_what_comes<F: Fixture>(mut scene: Scene<F>) {
    let lines = some_lines(&mut scene).await;
    let heads = ["position", "calls", "deliveries", "sources", "endpoints", "batches", "replays"];
    for number in [NUMBERS - 1, NUMBERS, NUMBERS / 2, -1, i64::MAX, i64::MIN] {
        for head in heads {
            let broken = changed_at(&lines, 0, |account| account[head] = json!(number));
            assert_eq!(refusal(&mut scene, &broken, 0).await, Some("out_of_range"), "{head} {number}");
        }
    }
    for kind in ["event", "call", "delivery"] {
        for number in [NUMBERS - 1, NUMBERS - 2, NUMBERS / 2, 7] {
            let (at, broken) = changed(&lines, kind, |line| {
                let (kind, tag, _) = numbered(line["id"].as_str().unwrap()).unwrap();
                line["id"] = json!(id::format(kind, tag, number));
            });
            assert_eq!(refusal(&mut scene, &broken, at).await, Some("out_of_range"), "{kind} {number}");
        }
    }
    // As many as may be are handed out: what comes has its place behind them.
    let most = NUMBERS / 2 - 1;
    let far = changed_at(&lines, 0, |account| {
        heads.iter().filter(|head| **head != "batches").for_each(|head| account[*head] = json!(most));
    });
    assert_eq!(refusal(&mut scene, &far, 0).await, None);
    scene.hear([says("a", ENDED), says("next", ENDED)]).await;
    let feed = scene.feed().await;
    assert_eq!(feed.iter().map(|event| event.position).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, most + 1]);
    let planned =
        scene.deliveries(DeliveryFilter { event: Some(most + 1), ..DeliveryFilter::default() }).await;
    assert_eq!(planned.iter().map(|view| view.number).collect::<Vec<_>>(), [most + 2, most + 1]);
    assert_eq!(scene.claim(1, 99).await.len(), 4, "one of each call, in order");
    scene.finish().await;
}

pub async fn what_waits_is_what_can_be_taken_in<F: Fixture>(mut scene: Scene<F>) {
    give(&scene, 6, None, None).await;
    let lines = export(&scene.store, scene.account, Secrets::Clear).await;
    let of = |line: &Value| line["waiting"].as_array().unwrap().len();
    let (at, crowded) = changed(&lines, "contact", |line| {
        let one = line["waiting"][0].clone();
        line["waiting"] = Value::Array(vec![one; 100_000]);
    });
    let first: Value = serde_json::from_str(&lines[at]).unwrap();
    assert_eq!(of(&first), 2);
    // More than there are, more than a step takes, and more than until the next one.
    assert_eq!(refusal(&mut scene, &crowded, at).await, Some("malformed_line"));
    let (batch, roomy) = changed(&crowded, "batch", |batch| batch["total"] = json!(100_000));
    assert_eq!(refusal(&mut scene, &roomy, batch).await, None);
    assert_eq!(refusal(&mut scene, &roomy, at).await, Some("malformed_line"));
    let three = changed_at(&lines, at, |line| {
        let one = line["waiting"][0].clone();
        line["waiting"].as_array_mut().unwrap().push(one);
    });
    assert_eq!(refusal(&mut scene, &three, at + 1).await, Some("number_taken"));
    let mut swapped = three.clone();
    swapped.swap(at, at + 1);
    assert_eq!(refusal(&mut scene, &swapped, at + 1).await, Some("number_taken"));
    let odd = changed_at(&lines, at, |line| line["waiting"][0]["phone"] = json!("x"));
    assert_eq!(refusal(&mut scene, &odd, at).await, Some("setting_refused"));

    // One of which contacts are missing would never complete.
    let mut lines = changed_at(&lines, batch, |batch| batch["total"] = json!(90_000));
    lines.drain(at..at + 2);
    assert_eq!(refusal(&mut scene, &lines, batch).await, None);
    assert!(import(&scene, &["{\"kind\":\"end\"}".to_owned()], 1, true).await.ended);
    tend(&scene).await;
    let view = scene.store.batch(scene.account, 1).await.unwrap().unwrap();
    assert_eq!((view.tally.total, view.taken_in, view.state), (90_000, 2, BatchState::Failed));
    assert_eq!(view.failure.unwrap().code, Text::from("CONTACTS_MISSING"));
    scene.finish().await;
}

pub async fn sums_are_what_an_account_can_have<F: Fixture>(mut scene: Scene<F>) {
    let lines = some_lines(&mut scene).await;
    let most = NUMBERS / 2 - 1;
    for gone in [[i64::MAX, 0, 0], [i64::MAX, i64::MAX, i64::MAX], [-1, 1, 0], [most, 1, 0]] {
        let (at, broken) = changed(&lines, "endpoint", |endpoint| endpoint["gone"] = json!(gone));
        assert_eq!(refusal(&mut scene, &broken, at).await, Some("out_of_range"), "{gone:?}");
    }
    // Together, too.
    let (first, both) = changed(&lines, "endpoint", |endpoint| endpoint["gone"] = json!([most - 3, 1, 1]));
    let both = changed_at(&both, first + 1, |endpoint| endpoint["gone"] = json!([0, 2, 0]));
    assert_eq!(refusal(&mut scene, &both, first).await, None);
    assert_eq!(refusal(&mut scene, &both, first + 1).await, Some("out_of_range"));
    // What is owed something is not replaced by another one, whose sums would not be those of the rows.
    let other = changed_at(&lines, first, |endpoint| endpoint["created_at"] = json!("2020-01-01T00:00:00Z"));
    assert_eq!(refusal(&mut scene, &lines, first).await, None);
    let fresh = scene.other_account("fresh").await;
    scene.account = fresh;
    let (last, end) = (lines.len() - 1, lines.len());
    let mut doubled = lines[..last].to_vec();
    doubled.push(other[first].clone());
    let done = import(&scene, &doubled, 50, true).await;
    assert_eq!(
        done.wrong.iter().map(|it| (it.line, it.code)).collect::<Vec<_>>(),
        [(end as u64, "number_taken")]
    );
    books_add_up(&scene).await;
    scene.finish().await;
}

pub async fn settings_are_held_to_what_the_api_takes<F: Fixture>(mut scene: Scene<F>) {
    let lines = some_lines(&mut scene).await;
    let huge = json!({ "secs": u64::MAX / 2, "nanos": 0 });
    let many = |one: Value, count: usize| Value::Array(vec![one; count]);
    let settings = [
        ("url", json!("ftp://crm.example/")),
        ("url", json!(format!("https://crm.example/{}", "x".repeat(3000)))),
        ("timeout", huge.clone()),
        ("timeout", json!({ "secs": 301, "nanos": 0 })),
        ("retry_delays", many(json!({ "secs": 1, "nanos": 0 }), 51)),
        ("retry_delays", json!([huge])),
        ("max_in_flight", json!(0)),
        ("max_in_flight", json!(u32::MAX)),
        ("rate_limit", json!(0.0)),
        ("rate_limit", json!(-1.5)),
        ("wait", json!({ "parts": ["recording"], "up_to": { "secs": 86_401, "nanos": 0 } })),
        ("wait", json!({ "parts": [], "up_to": { "secs": 1, "nanos": 0 } })),
        ("events", json!([])),
        ("events", many(json!("call.ended"), 1000)),
        ("agent_id", json!("x".repeat(3000))),
        ("headers", json!([["Host", "internal"]])),
        ("headers", json!([["X-A", "1"], ["x-a", "2"]])),
        ("headers", json!((0..33).map(|at| [format!("X-{at}"), "v".to_owned()]).collect::<Vec<_>>())),
        ("credential", json!({ "secrets": [{ "secret": "", "active_from": 0 }] })),
        ("dialect", json!("morse")),
    ];
    for (name, value) in settings {
        let (at, broken) = changed(&lines, "endpoint", |endpoint| endpoint["settings"][name] = value.clone());
        let refused = refusal(&mut scene, &broken, at).await;
        assert!(refused.is_some_and(|code| code != "malformed_line"), "{name} {value}: {refused:?}");
    }
    for (name, value) in [("revision", json!(2)), ("revision", json!(i64::MAX)), ("shapes", json!([]))] {
        let (at, broken) = changed(&lines, "endpoint", |endpoint| endpoint[name] = value.clone());
        assert_eq!(refusal(&mut scene, &broken, at).await, Some("malformed_line"), "{name} {value}");
    }
    let of_source = [
        ("name", json!("")),
        ("lost_after", json!({ "secs": 30 * 24 * 3600 + 1, "nanos": 0 })),
        ("lost_after", json!({ "secs": 0, "nanos": 0 })),
        ("credential", json!({ "secrets": [] })),
        ("credential", json!({ "secrets": many(json!({ "secret": "eA==", "active_from": 0 }), 3) })),
    ];
    for (name, value) in of_source {
        // The one that every account here has from its start is of the same age; another one is not.
        let (at, broken) = changed(&lines, "source", |source| {
            source["created_at"] = json!("2020-01-01T00:00:00Z");
            source["secrets"][name] = value.clone();
        });
        assert_eq!(refusal(&mut scene, &broken, at).await, Some("setting_refused"), "{name} {value}");
    }
    for (name, value) in [
        ("retention", json!(-1)),
        ("retention", json!(0)),
        ("retention", json!(i64::MAX)),
        ("transcript_retention", json!(0)),
        ("repeat_memory", json!(-1)),
        ("repeat_memory", json!(i64::MAX)),
        ("call_credit", json!(i64::MIN)),
        ("purged", json!(7)),
        ("transcripts_gone", json!(7)),
    ] {
        let broken = changed_at(&lines, 0, |account| account[name] = value.clone());
        assert_eq!(refusal(&mut scene, &broken, 0).await, Some("out_of_range"), "{name} {value}");
    }
    assert_eq!(refusal(&mut scene, &lines, 0).await, None);
    scene.finish().await;
}

/// The key of a record of the first account.
fn key(number: i64) -> i64 {
    (AccountKey::DEFAULT.0 << 40) | number
}

/// What a row says of how many deliveries there are is believed by nobody who would loop over them.
pub async fn an_event_that_says_it_has_a_billion_deliveries<F: Fixture>(mut scene: Scene<F>) {
    let lines = some_lines(&mut scene).await;
    assert!(!lines.is_empty());
    let before = scene.deliveries(DeliveryFilter::default()).await.len();
    assert_eq!(before, 12);
    for (position, first, count) in
        [(2, 3, 1_000_000_000_000i64), (3, 5, i64::MAX), (4, -9, 1_000_000_000_000)]
    {
        scene.place.sql(&format!(
            "UPDATE events SET first_delivery = {first}, deliveries = {count} WHERE id = {}",
            key(position)
        ));
    }
    let page = Page { after: None, limit: 5 };
    for event in 1..=6 {
        let filter = DeliveryFilter { event: Some(event), ..DeliveryFilter::default() };
        let found = in_time("a page", scene.store.deliveries(scene.account, filter, page)).await.unwrap();
        assert_eq!(found.len(), 2, "{event}: {found:?}");
        assert!(found.iter().all(|view| view.event == event), "{found:?}");
    }
    for selection in [
        Selection { endpoint: Some(1), ..Selection::default() },
        Selection { call: Some(2), ..Selection::default() },
    ] {
        let order = ReplayOrder { selection, to: None, rate: 1000.0, dry_run: true };
        let number =
            scene.store.create_replay(scene.account, order, scene.now).await.unwrap().unwrap().number;
        in_time("a replay", tend(&scene)).await;
        let replay = scene.store.replay(scene.account, number).await.unwrap().unwrap();
        assert_eq!(replay.state, ReplayState::Done);
    }
    // An erasure touches nobody else's, and old events go without younger ones' deliveries.
    scene.keep(100).await;
    in_time("maintenance", tend(&scene)).await;
    assert_eq!(scene.deliveries(DeliveryFilter::default()).await.len(), before);
    scene.wait(1000);
    scene.hear([says("young", ENDED)]).await;
    in_time("maintenance", tend(&scene)).await;
    let young = scene.deliveries(DeliveryFilter { event: Some(7), ..DeliveryFilter::default() }).await;
    assert_eq!(young.len(), 2);
    assert_eq!(scene.sum(1).await.pending, 1, "the young one");
    books_add_up(&scene).await;
    scene.store.close().await.unwrap();
}

/// Events of a call chain backwards; a row that chains to itself or forwards ends the chain.
pub async fn a_chain_that_leads_in_a_circle_ends<F: Fixture>(mut scene: Scene<F>) {
    some_lines(&mut scene).await;
    scene.place.sql(&format!("UPDATE events SET previous = 5 WHERE id IN ({}, {})", key(2), key(5)));
    let filter = DeliveryFilter { call: Some(2), ..DeliveryFilter::default() };
    assert_eq!(in_time("a page", scene.deliveries(filter)).await.len(), 2, "those of the last event");
    let selection = Selection { call: Some(2), ..Selection::default() };
    let order = ReplayOrder { selection, to: None, rate: 1000.0, dry_run: true };
    let number = scene.store.create_replay(scene.account, order, scene.now).await.unwrap().unwrap().number;
    in_time("a replay", tend(&scene)).await;
    assert_eq!(scene.store.replay(scene.account, number).await.unwrap().unwrap().examined, 1);
    // One that leads to another call's event leaves that alone.
    scene.place.sql(&format!("UPDATE events SET previous = 1 WHERE id = {}", key(5)));
    let mut named = heard("b", ENDED);
    named.call.contact.phone = Some(Text::from(PHONE));
    scene.hear([Parsed::events([Heard::Call(Box::new(named))])]).await;
    scene.place.sql(&format!("UPDATE events SET previous = 1 WHERE id = {}", key(7)));
    scene.store.erase(scene.account, person(PHONE), scene.now).await.unwrap();
    in_time("an erasure", finish(&scene)).await;
    let others = scene.deliveries(DeliveryFilter { event: Some(1), ..DeliveryFilter::default() }).await;
    assert!(others.iter().all(|view| view.state == postcall::model::DeliveryState::Pending), "{others:?}");
    let lines = in_time("an export", export(&scene.store, scene.account, Secrets::Clear)).await;
    assert!(lines.len() > 10);
    books_add_up(&scene).await;
    scene.store.close().await.unwrap();
}

/// An account whose numbers are used up, or damaged, records nothing more, says so, and harms no other.
pub async fn numbers_that_are_used_up_collide_with_nothing<F: Fixture>(mut scene: Scene<F>) {
    some_lines(&mut scene).await;
    let (first, other) = (scene.account, scene.other_account("other").await);
    for head in ["position", "calls", "deliveries"] {
        for number in [NUMBERS - 1, NUMBERS - 2, -1, i64::MAX] {
            scene.place.sql(&format!("UPDATE accounts SET {head} = {number} WHERE account = {}", first.0));
            scene.account = first;
            let refused = scene.try_commit(vec![scene.incoming(says("d", ENDED))], Vec::new()).await;
            assert!(matches!(refused, Err(StoreError::Data(_))), "{head} {number}: {refused:?}");
            scene.account = other;
            scene.hear([says(&format!("{head}{number}"), ENDED)]).await;
        }
        scene.place.sql(&format!("UPDATE accounts SET {head} = 12 WHERE account = {}", first.0));
    }
    scene.account = first;
    scene.hear([says("d", ENDED)]).await;
    scene.finish().await;
}

/// Attempts and their counts are numbers, too.
pub async fn attempts_are_what_can_have_been_made<F: Fixture>(mut scene: Scene<F>) {
    let endpoint = scene.endpoint(|_| {}).await;
    scene.room.set(0);
    scene.hear([says("a", ENDED)]).await;
    let owned = scene.claim(endpoint, 1).await;
    scene.settle(&owned[0], Next::RetryAt(scene.later(1))).await;
    let lines = export(&scene.store, scene.account, Secrets::Clear).await;
    for (name, value) in [
        ("number", json!(0)),
        ("number", json!(u32::MAX)),
        ("latency_ms", json!(-1.0)),
        ("latency_ms", json!(1e308)),
        ("status", json!(7)),
        ("response_body", json!("x".repeat(1 << 20))),
    ] {
        let (at, broken) =
            changed(&lines, "delivery", |delivery| delivery["attempts"][0][name] = value.clone());
        assert_eq!(refusal(&mut scene, &broken, at).await, Some("malformed_line"), "{name}");
    }
    // In a row that is damaged, the one after the last that can be counted is none.
    scene.account = AccountKey::DEFAULT;
    scene.place.sql(&format!("UPDATE open SET tries = {} WHERE id = {}", u32::MAX, key(1)));
    scene.wait(10);
    assert!(scene.claim(endpoint, 9).await.is_empty());
    assert_eq!(scene.sum(endpoint).await.pending, 1);
    scene.finish().await;
}
