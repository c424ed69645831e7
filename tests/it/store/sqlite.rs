//! The embedded store as a place for the suite, and what only holds for it: one process, one key, one disk.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use postcall::dialect::ReceiptKind::Duplicate;
use postcall::ledger::Next;
use postcall::model::secret::Credential;
use postcall::model::{AccountKey, Outcome, Rights, Secret, Step, Text};
use postcall::store::sqlite::{Options, SqliteStore};
use postcall::store::{CallFilter, Incoming, Page, Parsed, Store, StoreError};
use tempfile::TempDir;

use super::scene::{Fixture, Scene, attempted, done, endpoint, heard, new_key, says, some_time, source};

const ENDED: Step = Step::Ended(Outcome::Completed);

/// A data directory.
pub struct Sqlite {
    pub dir: TempDir,
    store: Option<Arc<dyn Store>>,
    /// Stores that crashed, with their directories: kept, because dropping one would let it tidy up.
    crashed: Vec<(TempDir, Option<Arc<dyn Store>>)>,
}

fn open(dir: &Path, options: Options) -> Result<Arc<dyn Store>, String> {
    Ok(Arc::new(SqliteStore::open(dir, some_time(), options)?))
}

fn options() -> Options {
    // So few recent calls that the suite meets them everywhere: in memory, on disk, and on their way.
    Options { quarantine_quota: 3, recent_calls: 2, ..Options::default() }
}

impl Fixture for Sqlite {
    const GIVES_BACK_BY_A_CHORE: bool = false;
    const PASSES_OVER: bool = true;
    const CASES_OF: u32 = 1;

    async fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), store: None, crashed: Vec::new() }
    }

    async fn open(&mut self) -> Arc<dyn Store> {
        let store = open(self.dir.path(), options()).unwrap();
        self.store = Some(Arc::clone(&store));
        store
    }

    async fn reopen(&mut self) -> Arc<dyn Store> {
        let left = as_a_crash_leaves_it(self.dir.path());
        let crashed = std::mem::replace(&mut self.dir, left);
        self.crashed.push((crashed, self.store.take()));
        self.open().await
    }

    fn sql(&self, statement: &str) {
        let db = rusqlite::Connection::open(self.dir.path().join("postcall.db")).unwrap();
        db.execute_batch(statement).unwrap();
    }

    /// In any file, also in what SQLite keeps of deleted rows, rewritten rows and the log.
    fn holds(&self, needle: &[u8]) -> bool {
        holds(self.dir.path(), needle)
    }
}

/// A crash leaves the files as they are at that moment; so they are copied under the hands of the store. The shared
/// memory beside them is memory.
fn as_a_crash_leaves_it(dir: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(dir).unwrap() {
        let file = file.unwrap();
        if file.file_name() != "postcall.db-shm" {
            std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
        }
    }
    copy
}

fn holds(dir: &Path, needle: &[u8]) -> bool {
    std::fs::read_dir(dir).unwrap().any(|file| {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        bytes.windows(needle.len()).any(|window| window == needle)
    })
}

#[tokio::test]
async fn secrets_cannot_be_read_in_the_files() {
    let scene = Scene::<Sqlite>::new().await;
    let secrets =
        ["whsec_QUIET", "Bearer-QUIET-0123", "token-QUIET", "X-Api-QUIET", "user:QUIET@", "shown-QUIET"];
    let [secret, bearer, token, header, user, shown] = secrets;
    let credential =
        Credential { bearer_token: Some(Secret::new(bearer)), ..Credential::of_secret(Secret::new(secret)) };
    let mut door = source(scene.account);
    door.credential = credential.clone();
    door.url_token = Some(Secret::new(token));
    scene.store.put_source(door, None).await.unwrap();
    scene
        .endpoint(|endpoint| {
            endpoint.url = format!("https://{user}crm.example/");
            endpoint.headers = vec![("X-Key".to_owned(), header.to_owned())];
            endpoint.credential = credential;
        })
        .await;
    let (store, key) = (scene.store.clone(), b"k".to_vec());
    store.begin_idempotent(scene.account, key.clone(), [7; 32], scene.now).await.unwrap();
    store.finish_idempotent(scene.account, key, Some((201, shown.as_bytes().to_vec()))).await.unwrap();
    let key = "pk_QUIET_api_key";
    let hash = postcall::store::vault::hash_api_key(key);
    store.create_key(new_key(scene.account, "visible name", Rights::ALL, hash)).await.unwrap();
    scene.step("visible call", ENDED).await;

    let dir = scene.place.dir.path().to_owned();
    for checkpointed in [false, true] {
        if checkpointed {
            store.close().await.unwrap();
        }
        assert!(
            holds(&dir, b"visible call") && holds(&dir, b"visible name"),
            "it is the right place to look"
        );
        for secret in secrets.iter().chain([&key]) {
            assert!(!holds(&dir, secret.as_bytes()), "{secret} lies open");
            let encoded = data_encoding::BASE64.encode(secret.as_bytes());
            assert!(!holds(&dir, encoded.trim_end_matches('=').as_bytes()), "{secret} lies open, encoded");
        }
    }
}

#[tokio::test]
async fn one_process_has_the_directory() {
    let scene = Scene::<Sqlite>::new().await;
    let dir = scene.place.dir.path();
    let refused = open(dir, options()).err().unwrap();
    assert!(refused.contains("in use by another postcall"), "{refused}");
    scene.store.close().await.unwrap();
    open(dir, options()).unwrap();
}

#[tokio::test]
async fn a_dropped_store_lets_go_of_its_directory() {
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..3 {
        let store = open(dir.path(), options()).unwrap();
        store.put_endpoint(endpoint(AccountKey::DEFAULT), None).await.unwrap();
    }
    let store = open(dir.path(), options()).unwrap();
    assert_eq!(store.config(AccountKey::DEFAULT).unwrap().endpoints.len(), 3);
}

#[tokio::test]
async fn another_key_opens_nothing() {
    let mut scene = Scene::<Sqlite>::new().await;
    scene.crash().await;
    let copy = as_a_crash_leaves_it(scene.place.dir.path());
    let key_file = copy.path().join("master.key");
    let key = std::fs::read(&key_file).unwrap();

    std::fs::write(&key_file, [7; 32]).unwrap();
    let refused = open(copy.path(), options()).err().unwrap();
    assert!(refused.contains("sealed under another master.key"), "{refused}");
    std::fs::write(&key_file, b"short").unwrap();
    let refused = open(copy.path(), options()).err().unwrap();
    assert!(refused.contains("not 32 bytes"), "{refused}");
    std::fs::remove_file(&key_file).unwrap();
    let refused = open(copy.path(), options()).err().unwrap();
    assert!(refused.contains("master.key is missing"), "{refused}");
    assert!(!key_file.exists(), "no new one stands in the way of the old one");

    std::fs::write(&key_file, key).unwrap();
    let store = open(copy.path(), options()).unwrap();
    assert_eq!(store.config(scene.account).unwrap().sources.len(), 1);
}

#[tokio::test]
async fn the_data_of_a_newer_postcall_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path(), options()).unwrap().close().await.unwrap();
    let db = rusqlite::Connection::open(dir.path().join("postcall.db")).unwrap();
    db.pragma_update(None, "user_version", 1000).unwrap();
    let refused = open(dir.path(), options()).err().unwrap();
    assert!(refused.contains("newer postcall"), "{refused}");
}

/// A full disk costs what comes while it is full, and nothing of what was there.
#[tokio::test]
async fn a_full_disk_is_survived() {
    let dir = tempfile::tempdir().unwrap();
    let full = Options { most_pages: Some(200), ..Options::default() };
    let mut scene = Scene::<Sqlite>::new().await;
    scene.store = open(dir.path(), full).unwrap();
    scene.source = scene.store.put_source(source(scene.account), None).await.unwrap().unwrap().number;
    let endpoint = scene.endpoint(|_| {}).await;
    let owned = scene.step("before", ENDED).await;

    // Bytes that do not compress, from a generator that every run repeats.
    let mut state = 1u64;
    let mut noise = move || -> Vec<u8> {
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        (0..50_000).map(|_| next()).collect()
    };
    let mut kept = 0;
    let refused = loop {
        let raw = Bytes::from(noise());
        let body = Incoming { raw, ..scene.incoming(Parsed::Unreadable("noise".to_owned())) };
        match scene.try_commit(vec![body], Vec::new()).await {
            Ok(_) => kept += 1,
            Err(refused) => break refused,
        }
        assert!(kept < 100, "it must be full at some time");
    };
    assert!(matches!(refused, StoreError::Full(_)), "{refused:?}");
    assert_eq!(scene.store.quarantine_size(scene.account).await, Ok(kept), "what was answered is there");
    let mut large = heard("large", ENDED);
    large.call.transcript.text = Some(Text::from(data_encoding::BASE64.encode(&noise()).as_str()));
    let large = || Parsed::events(vec![postcall::model::event::Heard::Call(Box::new(large.clone()))]);
    let refused = scene.try_commit(vec![scene.incoming(large())], Vec::new()).await;
    assert!(matches!(refused, Err(StoreError::Full(_))), "{refused:?}");
    assert_eq!(scene.feed().await.len(), 1);
    assert_eq!(scene.room.taken(), 1, "its place is given back");

    // Somebody makes room; everything goes on in the same process.
    assert_eq!(scene.store.discard(scene.account, 1).await, Ok(true));
    assert_eq!(scene.store.discard(scene.account, 2).await, Ok(true));
    let committed = scene.hear([large()]).await;
    assert_eq!(committed.recorded, [done(postcall::dialect::ReceiptKind::Recorded, 1)]);
    assert_eq!(committed.owned[0].event.position, 2);
    assert_eq!(scene.store.ready().await, Ok(()));
    scene.settle(&owned[0], Next::Delivered).await;
    assert_eq!(scene.sum(endpoint).await.delivered, 1);
    scene.hear([says("after", ENDED)]).await;
    scene.finish().await;
}

/// A call is found while it is recent, when it is filed, and after a crash at any moment in between.
#[tokio::test]
async fn a_call_is_found_wherever_it_lies() {
    let mut scene = Scene::<Sqlite>::new().await;
    let few = Options { recent_calls: 20, ..options() };
    scene.store.close().await.unwrap();
    scene.store = open(scene.place.dir.path(), few).unwrap();
    scene.endpoint(|_| {}).await;
    scene.keep(1000).await;
    let name = |number: usize| format!("c-{number}");
    // Whether each of these calls is there, once, with the number that it had at first.
    let are_found = async |scene: &Scene<Sqlite>, count: usize| {
        for number in 0..count {
            assert_eq!(scene.call(&name(number)).await.number, i64::try_from(number).unwrap() + 1);
        }
        let again = (0..count).map(|number| says(&name(number), Step::Answered));
        let committed = scene.hear(again).await;
        assert!(committed.owned.is_empty() && committed.recorded.iter().all(|it| *it == done(Duplicate, 0)));
    };
    for round in 1..=12 {
        let owned =
            scene.hear((round * 10 - 10..round * 10).map(|at| says(&name(at), Step::Answered))).await.owned;
        let settled = owned.iter().map(|owned| attempted(owned, scene.now, Next::Delivered));
        scene.commit(Vec::new(), settled.collect()).await;
        are_found(&scene, round * 10).await;
        if round % 3 == 0 {
            let left = as_a_crash_leaves_it(scene.place.dir.path());
            let store = open(left.path(), few).unwrap();
            let crashed = std::mem::replace(&mut scene.place.dir, left);
            scene.place.crashed.push((crashed, Some(std::mem::replace(&mut scene.store, store))));
            are_found(&scene, round * 10).await;
        }
    }
    let db = rusqlite::Connection::open(scene.place.dir.path().join("postcall.db")).unwrap();
    let filed = || db.query_row("SELECT COUNT(*) FROM call_hashes", [], |row| row.get::<_, i64>(0)).unwrap();
    assert!((60..120).contains(&filed()), "some are filed, some are not: {}", filed());

    // What is removed is nowhere any more, and what stays is found.
    scene.wait(900);
    scene.hear((115..120).map(|at| says(&name(at), ENDED))).await;
    scene.wait(105);
    scene.tidy_up().await;
    assert!(filed() <= 5, "{} of five", filed());
    let filter = CallFilter { call_id: Some(Text::from("c-3")), ..CallFilter::default() };
    let page = Page { after: None, limit: 10 };
    assert!(scene.store.calls(scene.account, filter, page).await.unwrap().is_empty());
    for number in 115..120 {
        assert_eq!(scene.call(&name(number)).await.number, i64::try_from(number).unwrap() + 1);
    }
    scene.hear((0..30).map(|at| says(&name(at), ENDED))).await;
    assert_eq!(scene.call("c-3").await.number, 124, "it is news again");
    scene.finish().await;
}

fn size(dir: &Path, file: &str) -> u64 {
    std::fs::metadata(dir.join(file)).unwrap().len()
}

/// What a removal frees goes back to the disk while the store is open, and the log stays short meanwhile.
#[tokio::test]
async fn space_is_given_back() {
    let mut scene = Scene::<Sqlite>::new().await;
    scene.endpoint(|_| {}).await;
    scene.keep(1000).await;
    let mut state = 7u64;
    let mut noise = move || {
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        data_encoding::BASE64.encode(&(0..3000).map(|_| next()).collect::<Vec<u8>>())
    };
    for round in 0..40 {
        let said = (0..100).map(|call| {
            let mut large = heard(&format!("{round}-{call}"), ENDED);
            large.call.transcript.text = Some(Text::from(noise().as_str()));
            Parsed::events(vec![postcall::model::event::Heard::Call(Box::new(large))])
        });
        let owned = scene.hear(said.collect::<Vec<_>>()).await.owned;
        let settled = owned.iter().map(|owned| attempted(owned, scene.now, Next::Delivered));
        scene.commit(Vec::new(), settled.collect()).await;
    }
    scene.wait(900);
    scene.step("young", ENDED).await;
    let dir = scene.place.dir.path().to_owned();
    let full = size(&dir, "postcall.db") + size(&dir, "postcall.db-wal");
    assert!(full > 16 << 20, "{full} bytes before");
    scene.wait(105);
    let mut longest = 0;
    while scene.store.maintain(scene.now).await.unwrap().more {
        longest = longest.max(size(&dir, "postcall.db-wal"));
    }
    assert_eq!(scene.feed().await.len(), 1);
    assert!(longest < 64 << 20, "the log stays short: {longest}");
    scene.store.close().await.unwrap();
    let left = size(&dir, "postcall.db");
    assert!(left < 2 << 20, "{left} bytes are left");
    let db = rusqlite::Connection::open(dir.join("postcall.db")).unwrap();
    let intact: String = db.pragma_query_value(None, "integrity_check", |row| row.get(0)).unwrap();
    assert_eq!(intact, "ok");
}

/// Once the last space is given back the file is cut, also when nothing is written any more.
#[tokio::test]
async fn the_file_shrinks_in_silence() {
    let mut scene = Scene::<Sqlite>::new().await;
    scene.keep(100).await;
    for _ in 0..3 {
        let raw: Vec<u8> = (0..5_000_000u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let body = Incoming { raw: raw.into(), ..scene.incoming(Parsed::Unreadable("large".to_owned())) };
        scene.commit(vec![body], Vec::new()).await;
    }
    scene.wait(103);
    scene.tidy_up().await;
    assert_eq!(scene.store.quarantine_size(scene.account).await, Ok(0));
    let path = scene.place.dir.path().join("postcall.db");
    let is_cut = async {
        while std::fs::metadata(&path).unwrap().len() > 3 << 20 {
            tokio::task::yield_now().await;
        }
    };
    let patience = std::time::Duration::from_secs(30);
    tokio::time::timeout(patience, is_cut).await.expect("the log is copied when all is given back");
    scene.finish().await;
}

/// A shape goes with the last delivery that was planned with it.
#[tokio::test]
async fn shapes_go_when_nothing_points_to_them() {
    let mut scene = Scene::<Sqlite>::new().await;
    let number = scene.endpoint(|_| {}).await;
    scene.keep(100).await;
    let turn = |endpoint: &mut postcall::model::Endpoint| {
        endpoint.shape.include_recording = !endpoint.shape.include_recording;
    };
    let mut owned = Vec::new();
    for call in ["a", "b", "c", "d"] {
        owned.extend(scene.step(call, ENDED).await);
        scene.change(number, turn).await;
        scene.wait(20);
    }
    scene.settle(&owned[0], Next::Dead).await;
    scene.settle(&owned[2], Next::Dead).await;
    let revisions = || -> Vec<i64> {
        let db = rusqlite::Connection::open(scene.place.dir.path().join("postcall.db")).unwrap();
        let mut statement = db.prepare("SELECT revision FROM shapes ORDER BY revision").unwrap();
        let all = statement.query_map([], |row| row.get(0)).unwrap();
        all.collect::<Result<_, _>>().unwrap()
    };
    assert_eq!(revisions(), [1, 2, 3, 4, 5]);
    scene.now = scene.later(25);
    scene.tidy_up().await;
    assert_eq!(revisions(), [2, 3, 4, 5]);
    // The second is under way and keeps its own, and what follows it.
    scene.now = scene.later(40);
    scene.tidy_up().await;
    assert_eq!(revisions(), [2, 3, 4, 5]);
    scene.settle(&owned[1], Next::Dead).await;
    scene.settle(&owned[3], Next::Dead).await;
    scene.now = scene.later(40);
    scene.tidy_up().await;
    assert_eq!(revisions(), [5], "what the next one gets stays");
    assert_eq!(scene.step("e", ENDED).await[0].revision, 5);
    scene.finish().await;
}

/// Data from before there was a lifetime is opened, and its age counts from when it is first asked for.
#[tokio::test]
async fn older_data_gets_an_age() {
    let mut scene = Scene::<Sqlite>::new().await;
    let number = scene.endpoint(|_| {}).await;
    let owned = scene.hear([says("a", ENDED), says("b", ENDED)]).await.owned;
    scene.settle(&owned[0], Next::Delivered).await;
    scene.store.close().await.unwrap();
    scene.crash().await;
    scene.store.close().await.unwrap();
    let dir = scene.place.dir.path().to_owned();
    let db = rusqlite::Connection::open(dir.join("postcall.db")).unwrap();
    db.execute_batch(
        "DROP INDEX endpoints_there; DROP INDEX sources_there; DROP INDEX api_keys_there;
         ALTER TABLE accounts DROP COLUMN endpoint_limit; ALTER TABLE accounts DROP COLUMN source_limit;
         ALTER TABLE accounts DROP COLUMN key_limit; ALTER TABLE endpoints DROP COLUMN of_batch;
         ALTER TABLE api_keys DROP COLUMN rights; ALTER TABLE api_keys DROP COLUMN expires_at;
         ALTER TABLE api_keys DROP COLUMN last_used_at;
         DROP TABLE tombstones; DROP INDEX accounts_with_tombstones; ALTER TABLE accounts DROP COLUMN repeat_memory;
         ALTER TABLE accounts DROP COLUMN tombstones; ALTER TABLE accounts DROP COLUMN tombstones_at;
         ALTER TABLE accounts DROP COLUMN purged_deliveries; ALTER TABLE accounts DROP COLUMN retention_set_at;
         DROP TABLE scheduled; ALTER TABLE accounts DROP COLUMN imported_at;
         DROP TABLE held; DROP TABLE rendered; ALTER TABLE open DROP COLUMN snapshot;
         DROP INDEX open_by_replay; DROP INDEX open_behind; ALTER TABLE open DROP COLUMN replay;
         DROP TABLE replays; DROP TABLE replayed; ALTER TABLE accounts DROP COLUMN replays;
         DROP TABLE call_hashes; CREATE INDEX calls_by_hash ON calls (hash);
         ALTER TABLE accounts DROP COLUMN calls_filed;
         DROP TABLE slots; DROP TABLE purged; DROP INDEX accounts_to_purge;
         ALTER TABLE accounts DROP COLUMN retention; ALTER TABLE accounts DROP COLUMN purge_at;
         ALTER TABLE accounts DROP COLUMN purged; ALTER TABLE accounts DROP COLUMN slot_ends;
         DROP TABLE erasures; DROP TABLE erasure_calls; DROP TABLE overwritten; DROP INDEX accounts_to_silence;
         ALTER TABLE accounts DROP COLUMN erasures; ALTER TABLE accounts DROP COLUMN transcript_retention;
         ALTER TABLE accounts DROP COLUMN transcripts_at; ALTER TABLE accounts DROP COLUMN transcripts_gone;
         ALTER TABLE accounts DROP COLUMN origin; ALTER TABLE accounts DROP COLUMN importing;
         DROP TABLE out_of_credit; DROP TABLE given_batches; DROP TABLE intake; DROP TABLE contacts;
         DROP TABLE contact_keys; DROP TABLE batch_calls; DROP TABLE watched;
         ALTER TABLE accounts DROP COLUMN batches; ALTER TABLE accounts DROP COLUMN call_credit;
         ALTER TABLE accounts DROP COLUMN batch_secret;
         DROP TABLE tallies; DROP TABLE tallies_gone; DROP TABLE mentioned; ALTER TABLE calls DROP COLUMN counted;
         ALTER TABLE accounts DROP COLUMN revision; ALTER TABLE open DROP COLUMN owner;
         ALTER TABLE idempotency DROP COLUMN owner;
         PRAGMA user_version = 1;",
    )
    .unwrap();
    drop(db);
    scene.store = open(&dir, options()).unwrap();
    assert_eq!(scene.feed().await.len(), 2);
    assert_eq!((scene.call("a").await.number, scene.call("b").await.number), (1, 2));
    scene.keep(1000).await;
    scene.tidy_up().await;
    scene.wait(999);
    scene.tidy_up().await;
    assert_eq!(scene.feed().await.len(), 2);
    scene.hear([says("c", ENDED)]).await;
    scene.wait(4);
    scene.tidy_up().await;
    let left = scene.feed().await;
    assert_eq!((left.len(), left[0].position), (1, 3));
    let sum = scene.sum(number).await;
    assert_eq!((sum.owed, sum.delivered, sum.cancelled, sum.pending), (3, 1, 1, 1));
    scene.finish().await;
}
