//! Partitions of past weeks on PostgreSQL: dropped with rows in them, swept where one account keeps its own, and nobody who
//! was erased is left in one.

use std::time::Duration;

use postcall::ledger::Next;
use postcall::model::{AccountKey, DeliveryState, Outcome, Step};
use postcall::store::export::Secrets;
use postcall::store::{DeliveryFilter, EndpointRef, Page};
use tokio_postgres::NoTls;

use super::carrying::{export, import};
use super::erasing::{PHONE, SECRET, finish, person, quoting, with};
use super::postgres::{Postgres, dump};
use super::scene::{Scene, attempted, endpoint, says, source};

const ENDED: Step = Step::Ended(Outcome::Completed);
/// Long ago.
const WEEK: i64 = 100;
/// Seconds.
const DAY: i64 = 24 * 3600;

/// A number that a statement gives.
fn number(scene: &Scene<Postgres>, sql: &str) -> i64 {
    scene.place.database.sql(sql).trim().parse().unwrap()
}

/// As if all that is there had been recorded, and settled, in a week long ago.
fn age(scene: &Scene<Postgres>) {
    for table in ["events", "settled"] {
        scene.place.database.sql(&format!(
            "CREATE TABLE {table}_{WEEK} PARTITION OF {table} FOR VALUES FROM ({WEEK}) TO ({}); \
             UPDATE {table} SET week = {WEEK}",
            WEEK + 1
        ));
    }
}

fn partitions(scene: &Scene<Postgres>) -> i64 {
    number(
        scene,
        &format!(
            "SELECT count(*) FROM pg_inherits WHERE inhrelid::regclass::text IN ('events_{WEEK}', 'settled_{WEEK}')"
        ),
    )
}

/// Does chores until everything is past its age, and nobody has looked at partitions since.
async fn retire(scene: &mut Scene<Postgres>) {
    scene.wait(1000);
    scene.tidy_up().await;
    assert!(scene.feed().await.is_empty());
}

/// Has the partitions looked at once more.
async fn look(scene: &mut Scene<Postgres>) {
    scene.wait(3600);
    scene.tidy_up().await;
}

/// Another account with as many calls, each delivered.
async fn beside(scene: &mut Scene<Postgres>, calls: usize) -> AccountKey {
    let account = scene.other_account("other").await;
    let door = scene.store.put_source(source(account), None).await.unwrap().unwrap();
    scene.store.put_endpoint(endpoint(account), None).await.unwrap().unwrap();
    let mine = (scene.account, scene.source);
    (scene.account, scene.source) = (account, door.number);
    record(scene, "other", calls).await;
    (scene.account, scene.source) = mine;
    account
}

/// Calls that are over, delivered and dead by turns.
async fn record(scene: &Scene<Postgres>, name: &str, calls: usize) {
    for from in (0..calls).step_by(100) {
        let said = (from..calls.min(from + 100)).map(|call| says(&format!("{name}-{call}"), ENDED));
        let owned = scene.hear(said).await.owned;
        let settled = owned.iter().enumerate().map(|(at, owned)| {
            attempted(owned, scene.now, if at % 2 == 0 { Next::Delivered } else { Next::Dead })
        });
        scene.commit(Vec::new(), settled.collect()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_is_dropped_with_all_that_is_in_it() {
    let mut scene = Scene::<Postgres>::new().await;
    let endpoint = scene.endpoint(|_| {}).await;
    record(&scene, "mine", 20).await;
    let other = beside(&mut scene, 30).await;
    age(&scene);
    // One that was settled a week after its event.
    let late = scene.hear([says("late", ENDED)]).await.owned;
    scene.place.database.sql(&format!("UPDATE events SET week = {WEEK} WHERE week <> {WEEK}"));
    scene.settle(&late[0], Next::Delivered).await;
    scene.tidy_up().await;
    assert_eq!(partitions(&scene), 2, "somebody needs what is in them");

    scene.keep(60).await;
    let kept = Some(Duration::from_secs(100));
    scene.store.set_retention(other, kept, scene.now).await.unwrap().unwrap();
    retire(&mut scene).await;
    let store = scene.store.clone();
    let seen = async |account: AccountKey| {
        let page = Page { after: Some(1), limit: 9 };
        let sums = store.sums(account, true).await.unwrap();
        assert_eq!(sums, store.sums(account, false).await.unwrap());
        let cursor = store.events(account, page).await.unwrap().is_none();
        (sums, cursor, store.delivery(account, 7).await.unwrap().is_none())
    };
    let before = [seen(scene.account).await, seen(other).await];
    assert!(before.iter().all(|(.., expired, gone)| *expired && *gone));
    assert_eq!(number(&scene, &format!("SELECT count(*) FROM events_{WEEK}")), 51, "the rows lie there");
    assert_eq!(number(&scene, &format!("SELECT count(*) FROM settled_{WEEK}")), 50);
    assert_eq!(number(&scene, "SELECT count(*) FROM settled"), 50, "the late one goes at once");

    look(&mut scene).await;
    assert_eq!(partitions(&scene), 0);
    assert_eq!([seen(scene.account).await, seen(other).await], before);
    let sum = scene.sum(endpoint).await;
    assert_eq!((sum.owed, sum.delivered, sum.dead), (21, 11, 10));
    assert_eq!(scene.step("new", ENDED).await[0].event.position, 22, "numbers go on");
    scene.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_in_the_way_of_a_drop_is_not_waited_for() {
    let mut scene = Scene::<Postgres>::new().await;
    scene.endpoint(|_| {}).await;
    record(&scene, "mine", 2).await;
    age(&scene);
    scene.tidy_up().await;
    scene.keep(60).await;
    retire(&mut scene).await;
    // As a dump does, it reads for as long as it likes: a drop that waited for it would wait here for good.
    let (reader, connection) = tokio_postgres::connect(&scene.place.database.url(), NoTls).await.unwrap();
    let reading = tokio::spawn(connection);
    reader.batch_execute("BEGIN; SELECT count(*) FROM events").await.unwrap();
    look(&mut scene).await;
    assert_eq!(partitions(&scene), 1, "that of deliveries was in nobody's way");
    reader.batch_execute("COMMIT").await.unwrap();
    drop(reader);
    reading.await.unwrap().unwrap();
    scene.wait(301);
    scene.tidy_up().await;
    assert_eq!(partitions(&scene), 0, "soon after");
    scene.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_one_account_keeps_its_rows_those_of_others_go_alone() {
    let mut scene = Scene::<Postgres>::new().await;
    let endpoint = scene.endpoint(|_| {}).await;
    record(&scene, "mine", 300).await;
    let other = beside(&mut scene, 10).await;
    age(&scene);
    // Nobody had made a partition for this one.
    scene
        .place
        .database
        .sql(&format!("UPDATE events SET week = 50 WHERE id = {}", (scene.account.0 << 40) + 7));
    scene.tidy_up().await;
    scene.keep(60).await;
    retire(&mut scene).await;
    assert_eq!(number(&scene, "SELECT count(*) FROM events"), 310);
    assert_eq!(number(&scene, "SELECT count(*) FROM events_default"), 1);
    look(&mut scene).await;
    assert_eq!(partitions(&scene), 2);
    for (table, left) in [("events", 10), ("settled", 10)] {
        assert_eq!(number(&scene, &format!("SELECT count(*) FROM {table}")), left, "{table}");
        let theirs = format!("SELECT count(*) FROM {table} WHERE id >> 40 = {}", other.0);
        assert_eq!(number(&scene, &theirs), left, "{table}");
    }
    let page = Page { after: None, limit: 100 };
    assert_eq!(scene.store.events(other, page).await.unwrap().unwrap().events.len(), 10);
    let sum = scene.sum(endpoint).await;
    assert_eq!((sum.owed, sum.delivered, sum.dead), (300, 150, 150));
    scene.finish().await;
}

/// As if all that is there had been recorded in the week in which it is.
fn of_this_week(scene: &Scene<Postgres>) -> i64 {
    let this = scene.now.as_seconds().div_euclid(7 * DAY);
    for table in ["events", "settled"] {
        // A partition of this week is there where the clock of the machine is in it as well.
        let moved = format!(
            "CREATE TABLE IF NOT EXISTS {table}_{this} PARTITION OF {table} FOR VALUES FROM ({this}) TO ({}); \
             UPDATE {table} SET week = {this}",
            this + 1
        );
        scene.place.database.sql(&moved);
    }
    this
}

/// What has not lain for its time and a week more is left to the drop.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_swept_that_may_soon_be_dropped() {
    let mut scene = Scene::<Postgres>::new().await;
    scene.endpoint(|_| {}).await;
    record(&scene, "mine", 3).await;
    beside(&mut scene, 1).await;
    let (day, this) = (DAY, of_this_week(&scene));
    scene.keep(u64::try_from(day).unwrap()).await;
    let ends = (this + 1) * 7 * day - scene.now.as_seconds();
    scene.wait(u64::try_from(ends + 8 * day - 2 * 3600 - 1).unwrap());
    scene.tidy_up().await;
    look(&mut scene).await;
    assert!(scene.feed().await.is_empty());
    assert_eq!(number(&scene, "SELECT count(*) FROM events"), 4);
    look(&mut scene).await;
    look(&mut scene).await;
    assert_eq!(number(&scene, "SELECT count(*) FROM events"), 1);
    assert_eq!(number(&scene, "SELECT count(*) FROM settled"), 1);
    scene.finish().await;
}

/// A longer retention is for what is there, not for what was gone before.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_past_another_retention_does_not_lie_there_for_the_new_one() {
    let mut scene = Scene::<Postgres>::new().await;
    scene.endpoint(|_| {}).await;
    record(&scene, "mine", 3).await;
    beside(&mut scene, 1).await;
    of_this_week(&scene);
    let day = u64::try_from(DAY).unwrap();
    scene.keep(day).await;
    scene.wait(2 * day);
    scene.tidy_up().await;
    assert!(scene.feed().await.is_empty());
    scene.keep(365 * day).await;
    scene.wait(day);
    look(&mut scene).await;
    assert_eq!(number(&scene, "SELECT count(*) FROM events"), 4, "they might be dropped");
    scene.wait(20 * day);
    look(&mut scene).await;
    assert_eq!(number(&scene, "SELECT count(*) FROM events"), 1);
    assert_eq!(number(&scene, "SELECT count(*) FROM settled"), 1);
    scene.finish().await;
}

/// Also of events of a call that is gone, and where only one of them says who it was.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_erased_is_not_left_in_a_partition() {
    let mut scene = Scene::<Postgres>::new().await;
    scene.endpoint(|_| {}).await;
    scene.keep(60).await;
    for said in [with("a", Step::Ringing, "", SECRET), with("a", Step::Answered, PHONE, SECRET)] {
        let owned = scene.hear([said]).await.owned;
        scene.commit(Vec::new(), vec![quoting(attempted(&owned[0], scene.now, Next::Delivered))]).await;
    }
    let test = says("b", ENDED);
    let owned = scene.hear([with("a", ENDED, PHONE, SECRET), test]).await.owned;
    for owned in &owned {
        scene.commit(Vec::new(), vec![quoting(attempted(owned, scene.now, Next::Delivered))]).await;
    }
    retire(&mut scene).await;
    let target = EndpointRef { account: scene.account, number: 1 };
    assert_eq!(scene.store.next_due(target).await, Ok(None));
    assert_eq!(number(&scene, "SELECT count(*) FROM events"), 4);
    assert_eq!(number(&scene, "SELECT count(*) FROM calls"), 0);
    let holds = |dump: &str, needle: &str| dump.contains(&data_encoding::HEXLOWER.encode(needle.as_bytes()));
    // The answers lie open; bodies may be packed.
    assert!(holds(&dump(&scene.place.database), SECRET));

    let begun = scene.store.erase(scene.account, person(PHONE), scene.now).await.unwrap();
    finish(&scene).await;
    let receipt = scene.store.erasure(scene.account, begun.number).await.unwrap().unwrap();
    assert!(receipt.overwritten_at.is_some());
    assert_eq!((receipt.counts["events"], receipt.counts["delivery_answers"]), (3, 3));
    assert_eq!(number(&scene, "SELECT count(*) FROM events"), 4, "the rows lie there, without the person");
    let bodies = scene.place.database.sql("SELECT encode(body, 'hex') FROM events ORDER BY id");
    for body in bodies.lines().take(3) {
        let packed = data_encoding::HEXLOWER.decode(body.trim().as_bytes()).unwrap();
        let text = postcall::store::packed::unpack_text(&packed).unwrap();
        assert!(!text.contains(SECRET) && !text.contains(PHONE), "{text}");
    }
    let left = scene.place.database.sql("SELECT encode(attempts, 'escape') FROM settled ORDER BY id");
    assert_eq!(left.matches(SECRET).count(), 1, "that of the other call: {left}");
    scene.finish().await;
}

/// Under way at its age: counted once, whatever comes of it, and never behind the edge before.
#[tokio::test(flavor = "multi_thread")]
async fn what_settles_late_is_counted_once() {
    let mut scene = Scene::<Postgres>::new().await;
    let number = scene.endpoint(|_| {}).await;
    scene.keep(60).await;
    let owned = scene.hear(["a", "b", "c"].map(|call| says(call, ENDED))).await.owned;
    scene.settle(&owned[0], Next::Dead).await;
    scene.settle(&owned[2], Next::Delivered).await;
    scene.wait(100);
    scene.tidy_up().await;
    let left = async |scene: &Scene<Postgres>| -> Vec<i64> {
        scene.deliveries(DeliveryFilter::default()).await.iter().map(|view| view.number).collect()
    };
    assert_eq!(left(&scene).await, [3, 2]);
    scene.settle(&owned[1], Next::Delivered).await;
    assert_eq!(scene.state(2).await, DeliveryState::Delivered);
    scene.wait(3);
    scene.tidy_up().await;
    assert!(left(&scene).await.is_empty());
    // Heard of once more, as after a commit that nobody heard the end of.
    scene.settle(&owned[1], Next::Delivered).await;
    let sum = scene.sum(number).await;
    assert_eq!((sum.owed, sum.delivered, sum.dead, sum.pending), (3, 2, 1, 0));
    scene.finish().await;
}

/// The oldest deliveries to an endpoint that takes nothing are always in the memory of some node.
#[tokio::test(flavor = "multi_thread")]
async fn what_stays_under_way_is_not_waited_for_for_ever() {
    let mut scene = Scene::<Postgres>::new().await;
    let number = scene.endpoint(|_| {}).await;
    scene.keep(60).await;
    let owned = scene.hear(["a", "b", "c"].map(|call| says(call, ENDED))).await.owned;
    assert_eq!(owned.len(), 3);
    scene.wait(1800);
    scene.hear([says("d", ENDED)]).await;
    scene.wait(100);
    assert!(finish(&scene).await.is_empty());
    assert_eq!(scene.feed().await.len(), 4, "it waits");
    scene.wait(1800);
    let called_off = finish(&scene).await;
    assert_eq!(called_off.iter().map(|(_, delivery)| *delivery).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(
        scene.feed().await.iter().map(|event| event.position).collect::<Vec<_>>(),
        [4],
        "for the others"
    );
    // One was on the wire all the same.
    scene.settle(&owned[0], Next::Delivered).await;
    let sum = scene.sum(number).await;
    assert_eq!((sum.owed, sum.cancelled, sum.delivered, sum.pending), (4, 3, 0, 1));
    scene.finish().await;
}

/// With the same age for what was said as for all the rest, it is taken out first.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_said_goes_before_the_edge_comes() {
    let mut scene = Scene::<Postgres>::new().await;
    let kept = Some(Duration::from_secs(60));
    scene.keep(60).await;
    scene.store.set_transcript_retention(scene.account, kept, scene.now).await.unwrap().unwrap();
    for call in ["a", "b", "c"] {
        scene.hear([with(call, ENDED, "", SECRET)]).await;
        scene.wait(5);
    }
    for _ in 0..30 {
        scene.wait(5);
        scene.tidy_up().await;
    }
    assert!(scene.feed().await.is_empty());
    let bodies = scene.place.database.sql("SELECT encode(body, 'hex') FROM events ORDER BY id");
    assert_eq!(bodies.lines().count(), 3);
    for body in bodies.lines() {
        let packed = data_encoding::HEXLOWER.decode(body.trim().as_bytes()).unwrap();
        let text = postcall::store::packed::unpack_text(&packed).unwrap();
        assert!(text.contains(SECRET) && !text.contains("\"transcript\":{"), "{text}");
    }
    scene.finish().await;
}

/// An event that was passed over where it came from is behind no edge here: its delivery is still to come.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_passed_over_elsewhere_is_there_after_it_came_in() {
    let scene = Scene::<Postgres>::new().await;
    scene.endpoint(|_| {}).await;
    scene.hear([says("passed over", ENDED), says("young", ENDED)]).await;
    let lines = export(&scene.store, scene.account, Secrets::Clear).await;
    let lines: Vec<String> =
        lines.into_iter().map(|line| line.replace("\"purged\":0", "\"purged\":1")).collect();
    assert!(lines[0].contains("\"purged\":1"), "{}", lines[0]);
    let mut new = Scene::<Postgres>::new().await;
    let done = import(&new, &lines, 2, true).await;
    assert_eq!((done.wrong.as_slice(), done.ended), (&[][..], true));
    let feed = new.feed().await;
    assert_eq!(feed.iter().map(|event| event.position).collect::<Vec<_>>(), [1, 2]);
    let owned = new.claim(1, 9).await;
    assert_eq!(owned.len(), 2);
    for owned in &owned {
        new.settle(owned, Next::Delivered).await;
    }
    new.keep(60).await;
    retire(&mut new).await;
    // The same lines once more change nothing that is gone.
    let again = import(&new, &lines, 2, true).await;
    assert!(again.stopped && again.added.is_empty(), "{again:?}");
    assert!(new.feed().await.is_empty());
    assert_eq!(new.sum(1).await.delivered, 2);
    new.finish().await;
    scene.finish().await;
}
