//! What happens to the tables on PostgreSQL beside the work: an embedded store moves in, a newer version changes them while
//! nodes of this one serve.

use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use postcall::dialect::ReceiptKind::{Duplicate, Recorded};
use postcall::ledger::Next;
use postcall::model::{Outcome, Right, Rights, Step, Text};
use postcall::store::analytics::{Setting, Subject};
use postcall::store::postgres::transfer::{Transferred, transfer};
use postcall::store::{KeyUse, NewKey, Page};

use super::postgres::{Postgres, open};
use super::scene::{Scene, done, new_key, says, source};
use super::sqlite::Sqlite;
use crate::database::Database;

const ENDED: Step = Step::Ended(Outcome::Completed);

/// Calls that make more than one page of several tables.
const CALLS: usize = 1300;

#[tokio::test(flavor = "multi_thread")]
async fn an_embedded_store_moves_in_whatever_breaks_off() {
    let mut scene = Scene::<Sqlite>::new().await;
    let endpoint = scene.endpoint(|_| {}).await;
    for from in (0..CALLS).step_by(100) {
        let said = (from..from + 100).map(|call| says(&format!("c-{call}"), ENDED));
        let owned = scene.hear(said).await.owned;
        for (at, owned) in owned.iter().enumerate().filter(|(at, _)| at % 3 > 0) {
            scene.settle(owned, if at % 3 == 1 { Next::Delivered } else { Next::Dead }).await;
        }
    }
    scene.hear([says("half \0 a call", Step::Ringing)]).await;
    // One was removed before all others were recorded, in an account of its own.
    let mine = (scene.account, scene.source);
    let other = scene.other_account("other").await;
    let theirs = scene.store.put_source(source(other), None).await.unwrap().unwrap().number;
    (scene.account, scene.source) = (other, theirs);
    scene.hear([says("removed", ENDED)]).await;
    scene.keep(100).await;
    scene.wait(103);
    scene.tidy_up().await;
    assert!(scene.feed().await.is_empty());
    (scene.account, scene.source) = mine;
    let setting = Setting {
        id: Text::from("march"),
        name: Some(Some(Text::from("M\u{e4}rz"))),
        expected_calls: Some(Some(9)),
    };
    let campaign = postcall::ledger::tally::Dimension::Campaign;
    scene.store.put_mentioned(scene.account, campaign, setting, scene.now).await.unwrap();
    let account = scene.account;
    let (expires_at, usage) = (Some(scene.now), KeyUse { account, number: 1, at: scene.now });
    let rights = [Right::Ingest].into_iter().collect();
    let new = NewKey { expires_at, ..new_key(account, "D\u{fc}rer", rights, [8; 32]) };
    scene.store.create_key(new).await.unwrap();
    scene.store.note_key_uses(vec![usage]).await.unwrap();
    let keys = scene.store.keys(account).await.unwrap();
    assert_eq!(keys[0].last_used_at, Some(scene.now));
    let sums = scene.store.sums(account, true).await.unwrap();
    let feed = scene.feed().await;
    let rows = scene.store.rows(account, false).await.unwrap();
    assert!(rows.keys().any(|(subject, ..)| *subject == Subject::Account));
    scene.store.close().await.unwrap();
    let dir = scene.place.dir.path().to_owned();
    let database = Database::new();

    // It breaks off in the midst of it, and whoever starts a node then is told.
    let seen = AtomicU64::new(0);
    let broken = transfer(&dir, &database.url(), None, |done, total| {
        seen.store(done, Ordering::Relaxed);
        assert!(done < total / 2, "the power is gone");
    });
    assert!(broken.is_err());
    let reached = seen.load(Ordering::Relaxed);
    assert!(reached > 1000, "{reached}");
    let refused = open(&database, &dir).err().unwrap();
    assert!(refused.contains("migrate-store"), "{refused}");

    let has_begun_anew = AtomicBool::new(false);
    let moved = transfer(&dir, &database.url(), None, |done, _| {
        has_begun_anew.fetch_or(done < reached, Ordering::Relaxed);
    });
    let Transferred { accounts, owed, .. } = moved.unwrap();
    assert_eq!((accounts, owed), (2, sums.iter().map(|sum| sum.owed).sum()));
    assert!(!has_begun_anew.into_inner(), "it went on where it was");
    assert!(transfer(&dir, &database.url(), None, |_, _| {}).unwrap_err().contains("already"));

    let there = open(&database, &dir).unwrap();
    assert_eq!(there.sums(account, true).await.unwrap(), sums);
    assert_eq!(there.sums(account, false).await.unwrap(), sums);
    assert_eq!(there.rows(account, false).await.unwrap(), rows);
    assert_eq!(there.rows(account, true).await.unwrap(), rows, "counted anew from its calls");
    assert_eq!(there.config(account).unwrap().endpoints.len(), 1);
    assert_eq!(there.keys(account).await.unwrap(), keys, "with their rights, end and last use");
    let page = Page { after: None, limit: feed.len() };
    let moved = there.events(account, page).await.unwrap().unwrap().events;
    assert_eq!(moved, feed[..moved.len()]);
    // It goes on: a repeat is a duplicate, what was in memory can be claimed, numbers go on where they were.
    scene.store = there;
    let committed = scene.hear([says("c-7", ENDED), says("a new one", ENDED)]).await;
    assert_eq!(committed.owned.len(), 1);
    assert_eq!(committed.owned[0].event.position, feed.last().unwrap().position + 1);
    assert!(!scene.claim(endpoint, 10).await.is_empty());
    (scene.account, scene.source) = (other, theirs);
    let again = scene.hear([says("removed", ENDED), says("removed", Step::Ringing)]).await.recorded;
    assert_eq!(
        again,
        [done(Duplicate, 0), done(Recorded, 0)],
        "a repeat of what was removed is one here too"
    );
    let made = scene.store.create_account("second".to_owned(), scene.now).await.unwrap().unwrap();
    assert!(made.key > other, "{:?}", made.key);
    scene.store.close().await.unwrap();

    let left = postcall::store::sqlite::SqliteStore::open(&dir, scene.now, Default::default()).err().unwrap();
    assert!(left.contains("moved"), "{left}");
    for file in std::fs::read_dir(&dir).unwrap() {
        let file = file.unwrap();
        let mode = file.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", file.file_name());
    }
    let taken = transfer(&dir, &database.url(), None, |_, _| {}).unwrap_err();
    assert!(taken.contains("already"), "{taken}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_moves_into_a_database_that_has_a_store() {
    let scene = Scene::<Postgres>::new().await;
    let embedded = Scene::<Sqlite>::new().await;
    embedded.store.close().await.unwrap();
    let from = embedded.place.dir.path();
    let url = scene.place.database.url();
    let refused = transfer(from, &url, None, |_, _| {}).unwrap_err();
    assert!(refused.contains("master.key"), "another key: {refused}");
    std::fs::copy(scene.place.data.path().join("master.key"), from.join("master.key")).unwrap();
    assert!(transfer(from, &url, None, |_, _| {}).is_err());
    let nothing = transfer(scene.place.data.path(), &url, None, |_, _| {}).unwrap_err();
    assert!(nothing.contains("no store"), "{nothing}");
    assert!(!nothing.contains("postgres://"), "{nothing}");
    scene.finish().await;
}

/// A node of the version before, which serves beside this one, makes keys as it always did.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_an_older_node_has_the_rights_that_it_had() {
    let scene = Scene::<Postgres>::new().await;
    let insert = |number: i64, admin: i64| {
        format!(
            "INSERT INTO api_keys (id, name, admin, hash, created_at) VALUES
             (1::BIGINT << 40 | {number}, 'k', {admin}, decode(repeat('0{number}', 32), 'hex'), 0);"
        )
    };
    scene.place.database.sql(&(insert(1, 0) + &insert(2, 1)));
    for (hash, rights) in [([1; 32], Rights::PLAIN), ([2; 32], Rights::ALL)] {
        let key = scene.store.find_key(hash).await.unwrap().expect("the key of the older node");
        assert_eq!((key.rights, key.expires_at, key.last_used_at), (rights, None, None));
    }
    scene.finish().await;
}

/// A node of the next version adds a column and a table and says that today's nodes can go on; the one after it takes
/// something away.
#[tokio::test(flavor = "multi_thread")]
async fn a_newer_version_may_change_the_tables_while_this_one_serves() {
    let mut scene = Scene::<Postgres>::new().await;
    let endpoint = scene.endpoint(|_| {}).await;
    let known: i64 = scene.place.database.sql("SELECT MAX(version) FROM migrations").trim().parse().unwrap();
    let owned = scene.step("before", ENDED).await;
    let change = format!(
        "BEGIN; ALTER TABLE calls ADD COLUMN later BIGINT NOT NULL DEFAULT 7; CREATE TABLE later (id BIGINT PRIMARY KEY);
         ALTER TABLE open ADD COLUMN later BYTEA; INSERT INTO migrations VALUES ({}, {known}); COMMIT",
        known + 1
    );
    scene.place.database.sql(&change);
    scene.settle(&owned[0], Next::Delivered).await;
    assert_eq!(scene.step("after", ENDED).await.len(), 1, "statements that were prepared before go on");
    scene.crash().await;
    assert_eq!(scene.claim(endpoint, 2).await.len(), 1, "and so does a node of this version that starts now");
    scene.finish().await;

    let scene = Scene::<Postgres>::new().await;
    scene.place.database.sql(&format!("INSERT INTO migrations VALUES ({0}, {0})", known + 1));
    let refused = open(&scene.place.database, scene.place.data.path()).err().unwrap();
    assert!(refused.contains("newer postcall"), "{refused}");
    scene.finish().await;
}
