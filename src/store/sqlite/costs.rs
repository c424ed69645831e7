//! Proof that a group runs few statements for what stands beside its calls: they are counted on the writer's connection.
//! Only a test.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rusqlite::trace::{TraceEvent, TraceEventCodes};

use super::plans::{ACCOUNT, commit, commit_at, now, says};
use super::*;
use crate::model::event::{Heard, HeardCall};
use crate::model::{Call, Outcome, Step, Text};
use crate::store::engine::database::NoQueues;
use crate::store::{ConfigChanges, Incoming, Maintenance, Parsed};

/// Notes every statement that the writer runs from now on.
async fn note(store: &SqliteStore) -> Arc<Mutex<Vec<String>>> {
    let runs: Arc<Mutex<Vec<String>>> = Arc::default();
    let noted = Arc::clone(&runs);
    let traced = store.database.write(Priority::Api, ACCOUNT, move |writer| {
        let note = move |event: TraceEvent<'_>| {
            if let TraceEvent::Profile(statement, _) = event {
                noted.lock().unwrap().push(statement.sql().into_owned());
            }
        };
        writer.desk.db.sqlite_mut().trace_v2(TraceEventCodes::SQLITE_TRACE_PROFILE, Some(note))?;
        Ok(())
    });
    traced.await.unwrap();
    runs
}

/// The numbers cost a group a handful of statements, not each of its events: one for each row that changes.
#[tokio::test]
async fn numbers_cost_a_group_few_statements() {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(dir.path(), now(), Options::default()).unwrap();
    let runs = note(&store).await;
    let group = |from: usize, has_ids: bool, step: Step| -> Vec<Incoming> {
        let body = |call: usize| {
            let mut call = Call { call_id: Text::from(format!("c-{call}")), ..Call::default() };
            if has_ids {
                call.campaign.id = Some(Text::from("march"));
                call.agent.id = Some(Text::from("ann"));
            }
            let heard = HeardCall { step, at: None, call };
            Incoming { parsed: Parsed::events([Heard::Call(Box::new(heard))]), ..says(0, Step::Ringing) }
        };
        (from..from + 64).map(body).collect()
    };
    let ended = Step::Ended(Outcome::Completed);
    for (from, has_ids, step, expected) in [
        // A day and an hour of the account.
        (0, false, ended, 2),
        // The same of campaign and agent, and their records.
        (100, true, ended, 8),
        // The records are known now.
        (200, true, ended, 6),
        (300, true, Step::Initiated, 3),
        (300, true, Step::Ringing, 0),
        (300, true, ended, 9),
        (300, true, ended, 0),
    ] {
        commit(&store, group(from, has_ids, step), Vec::new(), true).await;
        let runs = std::mem::take(&mut *runs.lock().unwrap());
        let ours = runs.iter().filter(|sql| sql.contains("tallies") || sql.contains("mentioned")).count();
        assert_eq!(ours, expected, "{from} {step:?}");
    }
    store.close().await.unwrap();
}

/// New calls ask for no tombstones where there are none, and where there are the filter answers.
#[tokio::test]
async fn a_new_call_costs_no_look_for_what_was_removed() {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(dir.path(), now(), Options::default()).unwrap();
    let runs = note(&store).await;
    let ended = |from: usize| (from..from + 64).map(|call| says(call, Step::Ended(Outcome::Completed)));
    let looks = async |at: Time, incoming: Vec<Incoming>| {
        runs.lock().unwrap().clear();
        commit_at(&store, at, incoming, Vec::new(), Arc::new(NoQueues)).await;
        let runs = std::mem::take(&mut *runs.lock().unwrap());
        let of_tombstones = |table: &str| runs.iter().filter(|sql| sql.contains(table)).count();
        (of_tombstones("FROM tombstones") + of_tombstones("INTO tombstones"), runs.len())
    };
    let (none, without) = looks(now(), ended(1000).collect()).await;
    assert_eq!(none, 0);
    let kept = Duration::from_secs(3600);
    store.set_retention(ACCOUNT, Some(kept), now()).await.unwrap();
    let later = now().after(kept * 2);
    while store.maintain(later).await.unwrap().more {}
    // With one for each of them, and the same work otherwise: a slot of time begins in both.
    let (none, with) = looks(later, ended(2000).collect()).await;
    assert!(none == 0 && with <= without, "a new call is known to be new: {with}, {without} without any");
    let (asked, _) = looks(later, ended(1000).collect()).await;
    assert_eq!(asked, 64, "a repeat is looked for once");
    store.close().await.unwrap();
}
