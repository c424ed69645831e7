//! Proof that no statement walks over rows that it neither shows nor changes: each is counted in steps of SQLite's
//! machine, in a store where thousands of other rows lie between. Only a test.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use rusqlite::StatementStatus;
use rusqlite::trace::{TraceEvent, TraceEventCodes};

use super::*;
use crate::ledger::tally::{Dimension, begin_of};
use crate::ledger::{Decision, Next};
use crate::model::endpoint::{Delivering, EndpointState, Part, Scope, Shape, Wait};
use crate::model::event::{Heard, HeardBatch, HeardCall};
use crate::model::id::{self, Kind};
use crate::model::replay::{ReplayOrder, Selection};
use crate::model::secret::Credential;
use crate::model::{
    AccountKey, Attempt, Batch, Call, DeliveryState, DialectName, Endpoint, EventType, Mention, Outcome,
    Secret, Source, Step, Text,
};
use crate::store::analytics::{Grain, Setting, Span, Subject, TextPage, names, rollups};
use crate::store::batches::{Contact, Failure, Given, NewBatch, Opened, credit};
use crate::store::calls::index::call_hash;
use crate::store::config::api_keys;
use crate::store::deliveries::replays;
use crate::store::engine::database::{NoQueues, Writing};
use crate::store::export::{Import, Secrets, WireRules};
use crate::store::layout::keys::pack;
use crate::store::reads::{batches, pages};
use crate::store::records::export;
use crate::store::*;

/// Rows of the endpoint, the outcome and the state that nobody asks for.
const OTHERS: usize = 2000;
/// What a page of [`PAGE`] may cost. A walk over the others takes three steps for each at the least.
const MOST_STEPS: i32 = 1500;
/// What a step that looks at 250 rows may cost, far less than a walk over all.
const MOST_LOOKED_AT: i32 = 5000;
const PAGE: usize = 10;
pub(super) const ACCOUNT: AccountKey = AccountKey::DEFAULT;

struct Room;

impl Queues for Room {
    fn reserve(&self, _: EndpointRef, bytes: usize) -> Option<Place> {
        Place::take((&Arc::default(), usize::MAX), &DeliveryMemory::new(usize::MAX).part(), bytes)
    }
    fn dispatch(&self, _: Vec<Owned>) {}
    fn wake(&self, _: Vec<EndpointRef>) {}
    fn wake_at(&self, _: EndpointRef, _: Time) {}
    fn settled(&self, _: Vec<(EndpointRef, Place)>) {}
}

pub(super) fn now() -> Time {
    Time::from_micros(1_000_000)
}

fn target(number: i64) -> EndpointRef {
    EndpointRef { account: ACCOUNT, number }
}

async fn endpoint(store: &SqliteStore, events: Vec<EventType>) -> i64 {
    let wanted = Endpoint {
        account: ACCOUNT,
        number: 0,
        id: String::new(),
        revision: 0,
        url: "https://crm.example/hook".to_owned(),
        dialect: DialectName::Standard,
        shape: Shape::default(),
        events: Some(events),
        scope: Scope::default(),
        completed_only: false,
        ordered: true,
        headers: Vec::new(),
        plain_headers: <_>::default(),
        delivering: Delivering::default(),
        credential: Credential::default(),
        state: EndpointState::Active,
        of_batch: false,
        created_at: now(),
    };
    let made = store.put_endpoint(wanted, None);
    made.await.unwrap().unwrap().number
}

fn unreadable(received_at: Time) -> Incoming {
    Incoming { received_at, parsed: Parsed::Unreadable(String::new()), ..says(0, Step::Ringing) }
}

fn batch(number: usize) -> Incoming {
    let batch = Batch { batch_id: Text::from(format!("b-{number}")), ..Batch::default() };
    let heard = HeardBatch { kind: EventType::BatchCompleted, at: None, batch };
    Incoming { parsed: Parsed::events([Heard::Batch(Box::new(heard))]), ..says(0, Step::Ringing) }
}

pub(super) fn says(call: usize, step: Step) -> Incoming {
    let mut call = Call { call_id: Text::from(format!("c-{call}")), ..Call::default() };
    // A few calls of campaign 0, the others each of one of its own, each in an hour of its own.
    let number = i64::try_from(call.call_id.to_str()[2..].parse::<usize>().unwrap()).unwrap();
    call.campaign.id = Some(Text::from(format!("{:06}", if number < 100 { 0 } else { number })));
    call.ended_at = matches!(step, Step::Ended(_)).then(|| begin_of(number));
    Incoming {
        account: ACCOUNT,
        source: 1,
        received_at: now(),
        raw: Bytes::new(),
        content_type: None,
        parsed: Parsed::events([Heard::Call(Box::new(HeardCall { step, at: None, call }))]),
    }
}

fn settled(owned: &Owned, next: Next) -> Settlement {
    let number = owned.attempt;
    Settlement {
        endpoint: owned.endpoint,
        delivery: owned.delivery,
        ordered_call: owned.ordered_call,
        event: owned.event.position,
        revision: owned.revision,
        attempt: Attempt {
            number,
            at: now(),
            latency_ms: 0.0,
            status: None,
            error: None,
            response_body: None,
            slow: false,
        },
        decision: Decision { next, disable_endpoint: false },
        body: Bytes::new(),
    }
}

pub(super) async fn commit(
    store: &SqliteStore,
    incoming: Vec<Incoming>,
    settlements: Vec<Settlement>,
    has_room: bool,
) -> Vec<Owned> {
    let queues: Arc<dyn Queues> = if has_room { Arc::new(Room) } else { Arc::new(NoQueues) };
    commit_at(store, now(), incoming, settlements, queues).await
}

pub(super) async fn commit_at(
    store: &SqliteStore,
    now: Time,
    incoming: Vec<Incoming>,
    settlements: Vec<Settlement>,
    queues: Arc<dyn Queues>,
) -> Vec<Owned> {
    let group = Arc::new(Group { now, incoming, settlements });
    store.commit(group, queues).await.unwrap().owned
}

/// Calls that end like this, their deliveries settled like this (or left open).
async fn calls(store: &SqliteStore, from: usize, count: usize, outcome: Outcome, next: Option<Next>) {
    let incoming = (from..from + count).map(|call| says(call, Step::Ended(outcome))).collect();
    let owned = commit(store, incoming, Vec::new(), next.is_some()).await;
    if let Some(next) = next {
        let all = owned.iter().map(|owned| settled(owned, next)).collect();
        commit(store, Vec::new(), all, true).await;
    }
}

#[tokio::test]
async fn no_statement_walks_over_what_it_does_not_show() {
    use EventType::{CallAnswered, CallEnded, CallFailed, CallInitiated, CallRinging};
    let dir = tempfile::tempdir().unwrap();
    let options = Options { recent_calls: 100, ..Options::default() };
    let store = SqliteStore::open(dir.path(), now(), options).unwrap();
    // A few rows at the beginning, thousands of others after them: the newest first is the worst way to look.
    let quiet = endpoint(&store, vec![CallEnded, CallAnswered]).await;
    let gone = endpoint(&store, vec![CallRinging]).await;
    let busy = endpoint(&store, vec![CallFailed, CallInitiated]).await;
    let call = Outcome::Completed;
    calls(&store, 0, 20, call, Some(Next::Delivered)).await;
    calls(&store, 20, 20, call, Some(Next::Dead)).await;
    calls(&store, 40, 20, call, Some(Next::RetryAt(now()))).await;
    calls(&store, 60, 20, call, None).await;
    commit(&store, (0..20).map(|call| says(call, Step::Ringing)).collect(), Vec::new(), false).await;
    store.cancel(ACCOUNT, 1 + 20 + 20 + 20 + 20, now()).await.unwrap();
    calls(&store, 1_000, OTHERS, Outcome::Failed, None).await;
    calls(&store, 10_000, OTHERS, Outcome::Failed, Some(Next::Dead)).await;
    calls(&store, 20_000, OTHERS, Outcome::NoAnswer, Some(Next::Delivered)).await;
    store.delete_endpoint(ACCOUNT, gone, now()).await.unwrap();
    for key in 0..OTHERS {
        let begun = store.begin_idempotent(ACCOUNT, key.to_be_bytes().to_vec(), [0; 32], now());
        begun.await.unwrap();
    }

    let counted = trace(&store).await;

    // What commits and claims do.
    let claimed =
        store.claim(target(quiet), now(), (0..5).filter_map(|_| Room.reserve(target(quiet), 0)).collect());
    let claimed = claimed.await.unwrap().owned;
    assert_eq!(claimed.len(), 5);
    let outcomes = [Next::Delivered, Next::Dead, Next::RetryAt(now()), Next::Delivered, Next::Delivered];
    let all = claimed.iter().zip(outcomes).map(|(owned, next)| settled(owned, next)).collect();
    let heard = [
        says(60, Step::Answered),
        says(60, Step::Ringing),
        says(1, Step::Ended(call)),
        says(99_999, Step::Initiated),
    ];
    commit(&store, heard.to_vec(), all, true).await;
    store.release(ACCOUNT, vec![claimed[0].delivery]).await.unwrap();
    let claimed = store.claim(target(busy), now(), vec![Room.reserve(target(busy), 0).unwrap()]);
    let owned = claimed.await.unwrap().owned;
    commit(&store, Vec::new(), vec![settled(&owned[0], Next::Delivered)], true).await;
    for delivery in [25, 45, 65, 30_000] {
        store.retry(ACCOUNT, delivery, now()).await.unwrap();
        store.cancel(ACCOUNT, delivery, now()).await.unwrap();
    }
    while store.maintain(now()).await.unwrap().more {}
    store.begin_idempotent(ACCOUNT, b"new".to_vec(), [0; 32], now()).await.unwrap();
    store.finish_idempotent(ACCOUNT, b"new".to_vec(), None).await.unwrap();
    store.disable_endpoint(target(busy), String::new(), now()).await.unwrap();

    // What lists do, on the connection that is traced.
    let tag = store.config(ACCOUNT).unwrap().account.tag;
    let lists = store.database.write(Priority::Api, ACCOUNT, move |writer| {
        let db = &writer.desk.db;
        for after in [None, Some(100)] {
            let page = Page { after, limit: PAGE };
            pages::events(db, tag, ACCOUNT, page)?;
            pages::quarantine(db, ACCOUNT, page)?;
            for outcome in Outcome::ALL.into_iter().map(Some).chain([None]) {
                pages::calls(db, ACCOUNT, outcome, page)?;
            }
            let call_id = Text::from("c-3");
            let of_sources = pages::sources(db, ACCOUNT)?.into_iter();
            let of_sources = of_sources.map(|it| (it, call_hash(it, &call_id), Vec::new())).collect();
            pages::calls_of_vendor_id(db, &call_id, of_sources, None, page)?;
            for endpoint in [None, Some(quiet), Some(gone), Some(busy)] {
                for state in DeliveryState::ALL.into_iter().map(Some).chain([None]) {
                    let filter = DeliveryFilter { endpoint, state, ..DeliveryFilter::default() };
                    pages::deliveries(db, tag, ACCOUNT, &filter, page)?;
                }
            }
            let of_call = DeliveryFilter { call: Some(3), ..DeliveryFilter::default() };
            pages::deliveries(db, tag, ACCOUNT, &of_call, page)?;
        }
        pages::next_due(db, ACCOUNT, quiet)?;
        pages::next_due(db, ACCOUNT, gone)?;
        pages::sums(db, ACCOUNT)?;
        pages::quarantine_size(db, ACCOUNT)?;
        let campaign = Subject::Of(Dimension::Campaign, Text::from("000000"));
        for subject in [Subject::Account, campaign] {
            for by in [None, Some(Grain::Day), Some(Grain::Hour)] {
                rollups::tallies(db, ACCOUNT, &subject, Span { from: 20, to: 28 }, by)?;
            }
        }
        for after in [None, Some(Text::from("010000"))] {
            let page = TextPage { after, limit: PAGE };
            rollups::tallies_by(db, ACCOUNT, Dimension::Campaign, Span { from: 0, to: 30_000 }, &page)?;
            names::all(db, ACCOUNT, Dimension::Campaign, &page)?;
        }
        names::one(db, ACCOUNT, Dimension::Campaign, &Text::from("010001"))?;
        let setting = Setting { id: Text::from("010001"), name: None, expected_calls: None };
        names::put(db, ACCOUNT, Dimension::Campaign, &setting, now())?;
        api_keys::find(db, &[0; 32])?;
        api_keys::list(db, ACCOUNT)?;
        Ok(())
    });
    lists.await.unwrap();

    judge(&counted, 40, dir.path());
    store.close().await.unwrap();
}

/// What a removal by age takes away lies in front of thousands of other rows, in every table.
#[tokio::test]
async fn no_removal_walks_over_what_it_leaves() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { recent_calls: 100, ..Options::default() };
    let store = SqliteStore::open(dir.path(), now(), options).unwrap();
    let kept = Duration::from_secs(3600);
    store.set_retention(ACCOUNT, Some(kept), now()).await.unwrap();
    let source = Source {
        account: ACCOUNT,
        number: 0,
        id: String::new(),
        name: String::new(),
        dialect: DialectName::Standard,
        credential: Credential::default(),
        url_token: None,
        lost_after: None,
        created_at: now(),
    };
    store.put_source(source, None).await.unwrap();
    let number = endpoint(&store, EventType::ALL.to_vec()).await;
    let mut changed = Endpoint::clone(store.config(ACCOUNT).unwrap().endpoint(number).unwrap());
    let young = now().after(kept / 2);
    for (at, count) in [(now(), 20), (young, OTHERS)] {
        let from = if at == young { 1000 } else { 0 };
        let ended = (from..from + count).map(|call| says(call, Step::Ended(Outcome::Completed)));
        let incoming = ended.chain((from..from + count).map(batch)).chain((0..count).map(|_| unreadable(at)));
        let owned = commit_at(&store, at, incoming.collect(), Vec::new(), Arc::new(Room)).await;
        let settlements = owned.iter().filter_map(|owned| {
            let next = match owned.delivery % 4 {
                0 => Next::Delivered,
                1 => Next::Dead,
                2 => Next::RetryAt(at),
                // One in twenty stays under way.
                _ if owned.delivery % 20 == 3 => return None,
                _ => Next::RetryAt(now().after(kept * 2)),
            };
            Some(Settlement { body: Bytes::from_static(b"body"), ..settled(owned, next) })
        });
        let settlements = settlements.collect();
        commit_at(&store, at, Vec::new(), settlements, Arc::new(Room)).await;
        changed.shape.include_recording = !changed.shape.include_recording;
        store.put_endpoint(changed.clone(), None).await.unwrap();
    }
    let crowd = store.database.write(Priority::Api, ACCOUNT, move |writer| {
        writer.write(|db, _| {
            // Slots, shapes and counts of thousands of others, beside what the store has made itself.
            let numbers = "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 3000)";
            let (account, end) = (ACCOUNT.0, young.after(Duration::from_secs(60)).as_micros());
            db.execute_batch(&format!(
                "{numbers} INSERT INTO slots SELECT {account}, {end} + x, 4000 + x FROM n;
                 {numbers} INSERT INTO slots SELECT 1000 + x, x, 1 FROM n;
                 {numbers} INSERT INTO shapes SELECT -x, 1, '', '' FROM n;
                 {numbers} INSERT INTO purged SELECT -x, 0, 0, 0 FROM n;
                 {numbers} INSERT INTO accounts (account, tag, name, created_at) SELECT 1000 + x, x, x, 0 FROM n;"
            ))?;
            Ok(())
        })
    });
    crowd.await.unwrap();

    let counted = trace(&store).await;
    let later = now().after(kept + Duration::from_secs(60));
    let empty = store.create_account("empty".to_owned(), later).await.unwrap().unwrap();
    store.set_retention(empty.key, Some(kept), later).await.unwrap();
    while store.maintain(later).await.unwrap().more {}
    commit_at(&store, later, vec![says(1, Step::Ringing)], Vec::new(), Arc::new(Room)).await;
    store.set_retention(ACCOUNT, Some(kept), later).await.unwrap();
    // A few tombstones of that go, in front of thousands of others.
    let remembered = Duration::from_secs(7200);
    store.set_repeat_memory(ACCOUNT, remembered, later).await.unwrap();
    let crowd = store.database.write(Priority::Api, ACCOUNT, move |writer| {
        writer.write(|db, _| {
            let numbers = "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 3000)";
            let (own, other) = (pack(ACCOUNT, 1_000_000), pack(AccountKey(7), 0));
            let young = later.after(kept * 2).as_micros();
            db.execute_batch(&format!(
                "{numbers} INSERT INTO tombstones SELECT {own} + x, x * 7919, x, 16, {young} FROM n;
                 {numbers} INSERT INTO tombstones SELECT {other} + x, x * 7919, x, 16, 0 FROM n;"
            ))?;
            Ok(())
        })
    });
    crowd.await.unwrap();
    let repeat = vec![says(3, Step::Ended(Outcome::Completed)), batch(3)];
    commit_at(&store, later, repeat, Vec::new(), Arc::new(Room)).await;
    let much_later = later.after(remembered + Duration::from_secs(60));
    store.set_retention(ACCOUNT, None, much_later).await.unwrap();
    while store.maintain(much_later).await.unwrap().more {}
    let left = store.database.read(ACCOUNT, |db| {
        let sql = "SELECT COUNT(*) FROM tombstones WHERE id < ?";
        Ok(db.prepare_cached(sql)?.query_row([pack(ACCOUNT, 1_000_000)], |row| row.get::<i64>(0))?)
    });
    assert_eq!(left.await, Ok(0));
    counted.lock().unwrap().retain(|sql, _| !sql.contains("RECURSIVE"));
    judge(&counted, 25, dir.path());
    let page = Page { after: None, limit: usize::MAX };
    let left = store.events(ACCOUNT, page).await.unwrap().unwrap().events;
    assert_eq!(left.len(), 2 * OTHERS + 1, "the others are there");
    assert_eq!(store.quarantine_size(ACCOUNT).await, Ok(i64::try_from(OTHERS).unwrap()));
    assert_eq!(store.sums(ACCOUNT, false).await, store.sums(ACCOUNT, true).await);
    store.close().await.unwrap();
}

/// An erasure, an export and an import look at every record of an account, a page at a time; no statement does more.
#[tokio::test]
async fn no_step_walks_over_what_it_does_not_look_at() {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(dir.path(), now(), Options::default()).unwrap();
    endpoint(&store, vec![EventType::CallEnded]).await;
    let source = Source {
        account: ACCOUNT,
        number: 0,
        id: String::new(),
        name: "dialer".to_owned(),
        dialect: DialectName::Standard,
        credential: Credential::default(),
        url_token: Some(crate::model::Secret::new("opensesame")),
        lost_after: None,
        created_at: now(),
    };
    store.put_source(source, None).await.unwrap();
    for from in [0, 10_000, 20_000, 30_000] {
        calls(&store, from, OTHERS, Outcome::Completed, (from > 0).then_some(Next::Dead)).await;
    }
    let call = Call { call_id: Text::from("+15551234567"), ..Call::default() };
    let heard = HeardCall { step: Step::Ended(Outcome::Completed), at: None, call };
    let parsed = Parsed::events([Heard::Call(Box::new(heard))]);
    commit(&store, vec![Incoming { parsed, ..says(0, Step::Ringing) }], Vec::new(), false).await;
    let quarantined = (0..OTHERS).map(|_| unreadable(now())).collect();
    commit(&store, quarantined, Vec::new(), false).await;
    for key in 0..OTHERS {
        let key = key.to_be_bytes().to_vec();
        store.begin_idempotent(ACCOUNT, key, [0; 32], now()).await.unwrap();
    }

    let far = Some(Duration::from_secs(30 * 24 * 3600));
    let big = give(&store, OTHERS, far).await;
    while store.maintain(now()).await.unwrap().more {}
    let all = (0..OTHERS).map(|at| calls_of(&store, big, at, Step::Ringing)).collect();
    commit(&store, all, Vec::new(), true).await;
    let selection = Selection { event: Some(5_000), ..Selection::default() };
    let order = ReplayOrder { selection, to: None, rate: 1000.0, dry_run: false };
    store.create_replay(ACCOUNT, order, now()).await.unwrap().unwrap();

    let counted = trace(&store).await;
    store.erase(ACCOUNT, Mention::of("+15551234567").unwrap(), now()).await.unwrap();
    while store.maintain(now()).await.unwrap().more {}
    assert!(store.erasure(ACCOUNT, 1).await.unwrap().unwrap().overwritten_at.is_some());
    store.set_transcript_retention(ACCOUNT, Some(Duration::from_secs(1)), now()).await.unwrap();
    let later = now().after(Duration::from_secs(3 * 3600));
    while store.maintain(later).await.unwrap().more {}
    let waits = give(&store, OTHERS, far).await;
    let other = store.create_account("other".to_owned(), later).await.unwrap().unwrap().key;
    let mut cursor = None;
    loop {
        let vault = Arc::clone(&store.vault);
        let page = store.database.write(Priority::Api, ACCOUNT, move |writer| {
            export::export(&writer.desk.db, &vault, ACCOUNT, Secrets::Clear, cursor)
        });
        let page = page.await.unwrap();
        let lines = (1..).zip(page.lines).collect();
        let done = store
            .import(
                other,
                Import {
                    lines,
                    deliver: true,
                    may_end: true,
                    keeps_ids: true,
                    rules: Arc::new(Anywhere),
                    now: later,
                },
            )
            .await
            .unwrap();
        assert_eq!(done.wrong, []);
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    judge_within(&counted, 40, dir.path(), MOST_LOOKED_AT);
    for batch in [big, waits] {
        let [old, new] = [ACCOUNT, other].map(|account| store.batch(account, batch));
        let (old, new) = (old.await.unwrap().unwrap(), new.await.unwrap().unwrap());
        assert_eq!((new.state, new.tally, new.taken_in), (old.state, old.tally, old.taken_in));
    }
    assert_eq!(store.sums(other, true).await.unwrap(), store.sums(ACCOUNT, true).await.unwrap());
    store.close().await.unwrap();
}

/// Everything can be sent to.
struct Anywhere;

impl WireRules for Anywhere {
    fn check_url(&self, _: &str) -> Result<(), String> {
        Ok(())
    }

    fn check_header(&self, _: &str, _: &str) -> Result<(), String> {
        Ok(())
    }
}

/// Of a batch with this many contacts, all on disk.
async fn give(store: &SqliteStore, contacts: usize, lost_after: Option<Duration>) -> i64 {
    let given = NewBatch {
        account: ACCOUNT,
        // Its time comes in the middle of what the proof does.
        given: Given { scheduled_at: Some(now().after(Duration::from_secs(1))), ..Given::default() },
        contacts: i64::try_from(contacts).unwrap(),
        max_attempts: 1,
        lost_after,
        created_at: now(),
    };
    let Opened::As(batch) = store.open_batch(given).await.unwrap() else { panic!("there is room") };
    let contact = |at| Contact { phone: Text::from(format!("+1555{at}")), ..Contact::default() };
    let all: Vec<Contact> = (0..contacts).map(contact).collect();
    let parts = all.chunks(10).map(<[_]>::to_vec).collect();
    store.add_contacts(ACCOUNT, batch, 1, parts).await.unwrap();
    store.begin_batch(ACCOUNT, batch, Vec::new(), Secret::new("s")).await.unwrap();
    batch
}

/// A step of a call for a contact of a batch.
fn calls_of(store: &SqliteStore, batch: i64, contact: usize, step: Step) -> Incoming {
    let mut call = Call { call_id: Text::from(format!("b-{batch}-{contact}")), ..Call::default() };
    call.batch_id =
        Some(Text::from(id::format(Kind::Batch, store.config(ACCOUNT).unwrap().account.tag, batch)));
    call.contact.phone = Some(Text::from(format!("+1555{contact}")));
    Incoming {
        parsed: Parsed::events([Heard::Call(Box::new(HeardCall { step, at: None, call }))]),
        ..says(0, step)
    }
}

/// Beside a batch of a few contacts lies one of thousands, and thousands of others that are over.
#[tokio::test]
async fn no_batch_walks_over_another() {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(dir.path(), now(), Options::default()).unwrap();
    let (kept, patience) = (Duration::from_secs(3600), Duration::from_secs(60));
    let far = Some(kept * 1000);
    let ended = |step| Step::Ended(step);
    let big = give(&store, OTHERS, far).await;
    while store.maintain(now()).await.unwrap().more {}
    let all = (0..OTHERS).map(|at| calls_of(&store, big, at, Step::Ringing)).collect();
    commit(&store, all, Vec::new(), true).await;
    let half = (0..OTHERS / 2).map(|at| calls_of(&store, big, at, ended(Outcome::Failed))).collect();
    commit(&store, half, Vec::new(), true).await;
    let crowd = store.database.write(Priority::Api, ACCOUNT, move |writer| {
        writer.write(|db, _| {
            let numbers = "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 3000)";
            let columns = "id, account, state, intake, total, taken_in, succeeded, failed, max_attempts, created_at, \
                           ended_at, release_at, given";
            let (own, far) = (pack(ACCOUNT, 100_000), now().after(kept * 1000).as_micros());
            db.execute_batch(&format!(
                "{numbers} INSERT INTO given_batches ({columns})
                     SELECT {own} + x, {account}, 3, 0, 1, 1, 1, 0, 1, 0, {far}, {far}, x'7b7d' FROM n;
                 {numbers} INSERT INTO given_batches ({columns})
                     SELECT {other} + x, 2, 2, 0, 1, 1, 0, 0, 1, 0, NULL, NULL, x'7b7d' FROM n;",
                account = ACCOUNT.0,
                other = pack(AccountKey(2), 0),
            ))?;
            Ok(())
        })
    });
    crowd.await.unwrap();

    let counted = trace(&store).await;
    let small = give(&store, 20, Some(patience)).await;
    commit(&store, vec![calls_of(&store, small, 19, Step::Ringing)], Vec::new(), true).await;
    while store.maintain(now()).await.unwrap().more {}
    for (contact, step) in
        [(0, Step::Ringing), (1, ended(Outcome::Completed)), (77, Step::Ringing), (0, Step::Answered)]
    {
        commit(&store, vec![calls_of(&store, small, contact, step)], Vec::new(), true).await;
    }
    store.set_credit(ACCOUNT, Some(60_000)).await.unwrap();
    let late = now().after(patience * 2);
    while store.maintain(late).await.unwrap().more {}
    let cancelled = give(&store, 20, None).await;
    store.end_batch(ACCOUNT, cancelled, Failure::cancelled(), late).await.unwrap();
    while store.maintain(late).await.unwrap().more {}
    store.set_credit(ACCOUNT, Some(0)).await.unwrap();
    while store.maintain(late).await.unwrap().more {}
    store.set_retention(ACCOUNT, Some(kept), late).await.unwrap();
    while store.maintain(late.after(kept * 3)).await.unwrap().more {}
    let lists = store.database.write(Priority::Api, ACCOUNT, move |writer| {
        let db = &writer.desk.db;
        let range = [pack(ACCOUNT, 0), pack(AccountKey(ACCOUNT.0 + 1), 0)];
        batches::views(db, "id > ?1 AND id < ?2", range, PAGE)?;
        for after in [None, Some(crate::store::batches::contact_number(big, 1500))] {
            let page = Page { after, limit: PAGE };
            batches::contacts(db, pack(ACCOUNT, big), true, page)?;
            batches::contacts(db, pack(ACCOUNT, big), false, page)?;
            batches::calls(db, ACCOUNT, big, Page { after: after.map(|_| 100), limit: PAGE })?;
        }
        credit::left(db, ACCOUNT)?;
        Ok(())
    });
    lists.await.unwrap();
    // What recording and retention do beside it has proofs of its own, with pages of other sizes.
    let ours = ["given_batches", "contacts", "contact_keys", "batch_calls", "watched", "intake"];
    let tables = [&ours[..], &["out_of_credit", "scheduled"]].concat();
    counted.lock().unwrap().retain(|sql, _| tables.iter().any(|table| sql.contains(table)));
    judge(&counted, 30, dir.path());
    assert!(store.batch(ACCOUNT, small).await.unwrap().is_none(), "it went with its age");
    store.close().await.unwrap();
}

/// A replay that walks along a long feed beside another one, and held deliveries among thousands of others.
#[tokio::test]
async fn no_replay_and_no_hold_walks_over_what_it_does_not_touch() {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(dir.path(), now(), Options::default()).unwrap();
    let number = endpoint(&store, vec![EventType::CallEnded, EventType::CallUpdated]).await;
    let mut waiting = Endpoint::clone(store.config(ACCOUNT).unwrap().endpoint(number).unwrap());
    calls(&store, 0, 20, Outcome::Completed, Some(Next::Delivered)).await;
    calls(&store, 10_000, OTHERS, Outcome::Completed, Some(Next::Dead)).await;
    let wait = Wait { parts: vec![Part::Recording], up_to: Duration::from_secs(60) };
    waiting.delivering.wait = Some(wait);
    store.put_endpoint(waiting, None).await.unwrap();
    calls(&store, 20_000, OTHERS, Outcome::Completed, None).await;
    let crowd = store.database.write(Priority::Api, ACCOUNT, move |writer| {
        writer.write(|db, _| {
            let numbers = "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 3000)";
            let (first, event) = (pack(AccountKey(7), 0), pack(ACCOUNT, 5));
            db.execute_batch(&format!(
                "{numbers} INSERT INTO replays SELECT {first} + x, 0, '{{}}', NULL, 1, 0, 1, NULL, 0, 0, 0, 0, 0, 0 FROM n;
                 {numbers} INSERT INTO replayed SELECT {event} + 1000000 + x, x, x FROM n;
                 {numbers} INSERT INTO rendered SELECT {first} + x, x FROM n;
                 {numbers} INSERT INTO open SELECT {first} + x, -x, 1, NULL, 1, 3, 0, 0, NULL, -x, NULL, 0 FROM n;"
            ))?;
            Ok(())
        })
    });
    crowd.await.unwrap();

    let counted = trace(&store).await;
    let order = |selection| ReplayOrder { selection, to: None, rate: 1000.0, dry_run: false };
    let few = Selection { event: Some(3), ..Selection::default() };
    store.create_replay(ACCOUNT, order(few), now()).await.unwrap().unwrap();
    let agent = Selection { agent: Some(Text::from("nobody")), ..Selection::default() };
    let along = store.create_replay(ACCOUNT, order(agent), now()).await.unwrap().unwrap();
    let of_call = Selection { call: Some(2), ..Selection::default() };
    store.create_replay(ACCOUNT, order(of_call), now()).await.unwrap().unwrap();
    while store.maintain(now()).await.unwrap().more {}
    store.cancel_replay(ACCOUNT, along.number, now()).await.unwrap();
    let claimed =
        store.claim(target(number), now(), (0..5).filter_map(|_| Room.reserve(target(number), 0)).collect());
    assert_eq!(claimed.await.unwrap().owned.len(), 2);
    let mut complete = heard_again(20_001);
    complete.call.recording.url = Some(Text::from("https://r"));
    let complete =
        Incoming { parsed: Parsed::events([Heard::Call(Box::new(complete))]), ..says(0, Step::Ringing) };
    assert_eq!(commit(&store, vec![complete], Vec::new(), true).await.len(), 1, "it is let go");
    let held = i64::try_from(20 + OTHERS + 5).unwrap();
    store.retry(ACCOUNT, held, now()).await.unwrap();
    store.cancel(ACCOUNT, held + 1, now()).await.unwrap();
    let tag = store.config(ACCOUNT).unwrap().account.tag;
    let lists = store.database.write(Priority::Api, ACCOUNT, move |writer| {
        let page = Page { after: None, limit: PAGE };
        replays::replays(&writer.desk.db, ACCOUNT, page)?;
        replays::replay(&writer.desk.db, ACCOUNT, 1)?;
        for filter in [
            DeliveryFilter { call: Some(2), ..DeliveryFilter::default() },
            DeliveryFilter { event: Some(3), ..DeliveryFilter::default() },
        ] {
            assert_eq!(pages::deliveries(&writer.desk.db, tag, ACCOUNT, &filter, page)?.len(), 2);
        }
        Ok(())
    });
    lists.await.unwrap();
    judge(&counted, 40, dir.path());
    store.close().await.unwrap();
}

fn heard_again(call: usize) -> HeardCall {
    let call = Call { call_id: Text::from(format!("c-{call}")), ..Call::default() };
    HeardCall { step: Step::Ended(Outcome::Completed), at: None, call }
}

type Counted = Arc<Mutex<BTreeMap<String, i32>>>;

/// From now on counts what every statement of the writer takes.
async fn trace(store: &SqliteStore) -> Counted {
    let counted: Counted = Arc::default();
    let count = Arc::clone(&counted);
    let traced = store.database.write(Priority::Api, ACCOUNT, move |writer| {
        // Counted anew for each run, so nothing prepared may be kept.
        writer.db().set_prepared_statement_cache_capacity(0);
        let note = move |event: TraceEvent<'_>| {
            if let TraceEvent::Profile(statement, _) = event {
                let steps = statement.get_status(StatementStatus::VmStep);
                let mut counted = count.lock().unwrap();
                let most = counted.entry(statement.sql().into_owned()).or_default();
                *most = steps.max(*most);
            }
        };
        writer.desk.db.sqlite_mut().trace_v2(TraceEventCodes::SQLITE_TRACE_PROFILE, Some(note))?;
        Ok(())
    });
    traced.await.unwrap();
    counted
}

fn judge(counted: &Counted, least: usize, dir: &Path) {
    judge_within(counted, least, dir, MOST_STEPS);
}

fn judge_within(counted: &Counted, least: usize, dir: &Path, most: i32) {
    let counted = std::mem::take(&mut *counted.lock().unwrap());
    assert!(counted.len() > least, "the statements were counted: {}", counted.len());
    let db = rusqlite::Connection::open(dir.join("postcall.db")).unwrap();
    for (sql, steps) in counted {
        let plan = || -> Vec<String> {
            let mut explained = db.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let rows = explained.raw_query().mapped(|row| row.get(3)).collect::<Result<_, _>>();
            rows.unwrap()
        };
        assert!(steps < most, "{steps} steps for {sql}\nby {:#?}", plan());
    }
}
