//! Looking: what the store shows is compared with what the model knows, after each action and at the end, when all that is open
//! has to come up.

use std::collections::{BTreeMap, BTreeSet};

use postcall::model::endpoint::EndpointState;
use postcall::model::replay::ReplayState;
use postcall::model::{AccountKey, DeliveryState, EventType};
use postcall::store::batches::BatchState;
use postcall::store::{CallFilter, DeliveryFilter, Sum};

use super::actions::Came;
use super::books::Seen;
use super::house::{ALL, Counts, House, Since};
use crate::store::scene::Fixture;

impl<F: Fixture> House<F> {
    /// Compares what the store shows with what the model knows, and takes what was given.
    pub(super) async fn look(&mut self, since: Since) {
        let Since { given, was_maintained, is_whole, at } = since;
        let (store, now) = (self.store(), self.scene.now);
        for account in 0..self.accounts.len() {
            let key = self.accounts[account].key;
            let of_account = given.iter().filter(|owned| owned.endpoint.account == key);
            let state = (!is_whole).then_some(DeliveryState::Pending);
            let filter = DeliveryFilter { state, ..DeliveryFilter::default() };
            let views = store.deliveries(key, filter, ALL).await.unwrap();
            let listed: BTreeSet<i64> = views.iter().map(|view| view.number).collect();
            let known = &self.accounts[account].deliveries;
            let mut sought: BTreeSet<i64> =
                known.iter().filter(|(_, known)| known.is_open()).map(|(&number, _)| number).collect();
            let last = known.keys().next_back().copied().unwrap_or(0);
            sought.extend(last + 1..listed.last().copied().unwrap_or(0));
            let mut others = BTreeMap::new();
            for &number in sought.difference(&listed) {
                others.insert(number, store.delivery(key, number).await.unwrap());
            }
            // What was called off as soon as it was planned.
            for number in listed.last().copied().unwrap_or(0).max(last) + 1.. {
                let Some(view) = store.delivery(key, number).await.unwrap() else { break };
                others.insert(number, Some(view));
            }
            let seen = Seen {
                config: store.config(key).unwrap(),
                feed: self.feed(key).await,
                calls: store.calls(key, CallFilter::default(), ALL).await.unwrap(),
                views,
                are_all: is_whole,
                others,
                given: of_account.map(|owned| owned.delivery).collect(),
                was_maintained,
                recorded_at: at.unwrap_or(now),
                now,
                elapsed: self.elapsed,
            };
            self.accounts[account].learn(&seen);
            self.check(account, was_maintained).await;
        }
        self.count("given at once", given.len());
        for owned in given {
            self.books(owned.endpoint.account).take(owned, now, was_maintained);
        }
    }

    async fn feed(&self, account: AccountKey) -> Vec<postcall::model::Event> {
        let page = self.scene.store.events(account, ALL).await.unwrap().expect("from its beginning");
        assert!(!page.more);
        page.events
    }

    async fn check(&mut self, account: usize, was_maintained: bool) {
        let (store, key) = (self.store(), self.accounts[account].key);
        let by_endpoint = |sums: Vec<Sum>| -> BTreeMap<i64, Sum> {
            sums.into_iter().filter(|sum| sum.owed > 0).map(|sum| (sum.endpoint, sum)).collect()
        };
        let counted = by_endpoint(store.sums(key, false).await.unwrap());
        self.accounts[account].check_sums(&counted, was_maintained);
        let recounted = by_endpoint(store.sums(key, true).await.unwrap());
        assert_eq!(recounted, counted, "and in the rows");
        if was_maintained {
            for at in 0..self.accounts[account].erasures.len() {
                let asked = &self.accounts[account].erasures[at];
                if asked.is_done {
                    continue;
                }
                let receipt = store.erasure(key, asked.number).await.unwrap().unwrap();
                if receipt.erased_at.is_some() {
                    self.accounts[account].erased(at);
                    self.count("people erased", 1);
                }
            }
        }
        self.check_batches(account).await;
        if self.damaged.is_none_or(|(damaged, _)| damaged != account) {
            self.check_replays(account).await;
        }
    }

    async fn check_replays(&mut self, account: usize) {
        let (store, books) = (self.store(), &self.accounts[account]);
        for replay in store.replays(books.key, ALL).await.unwrap() {
            let planned = books.deliveries.values().filter(|known| known.replay == Some(replay.number));
            let (mut open, mut count, mut to) = (0, 0, BTreeSet::new());
            for known in planned {
                open += i64::from(known.is_open());
                count += 1;
                assert!(to.insert((known.event, known.endpoint)), "{replay:?} planned something twice");
            }
            assert_eq!(replay.open, open, "{replay:?}");
            assert!(count <= if replay.order.dry_run { 0 } else { replay.deliveries }, "{replay:?}");
        }
    }

    async fn check_batches(&mut self, account: usize) {
        let (store, key) = (self.store(), self.accounts[account].key);
        for batch in self.accounts[account].batches.clone() {
            let books = &mut self.accounts[account];
            let Some(view) = store.batch(key, batch).await.unwrap() else {
                assert!(books.may_forget_batches, "batch {batch} is gone");
                books.batches.retain(|known| *known != batch);
                continue;
            };
            let contacts = store.contacts(key, batch, false, ALL).await.unwrap();
            let closed = |reached: bool| {
                let closed = contacts.iter().filter(|contact| contact.book.is_closed);
                i64::try_from(closed.filter(|contact| contact.book.is_reached() == reached).count()).unwrap()
            };
            // Those of one that goes by its age go first.
            if !books.may_forget_batches {
                assert_eq!(
                    (view.tally.succeeded, view.tally.failed),
                    (closed(true), closed(false)),
                    "a recount"
                );
                assert_eq!(i64::try_from(contacts.len()).unwrap(), view.taken_in);
            }
            for contact in &contacts {
                let json = serde_json::to_string(&contact.contact).unwrap();
                books.may_say(&json, "a contact");
            }
            let open = store.contacts(key, batch, true, ALL).await.unwrap();
            assert_eq!(open.len(), contacts.iter().filter(|contact| !contact.book.is_closed).count());
            let ends =
                [EventType::BatchCompleted, EventType::BatchFailed].map(|kind| books.ends(batch, kind));
            let expected = match view.state {
                BatchState::Completed => [1, 0],
                BatchState::Failed => [0, 1],
                _ => [0, 0],
            };
            assert_eq!(ends, expected, "{view:?}");
            if matches!(view.state, BatchState::Sealed | BatchState::Completed) {
                let is_complete = view.tally.processed() == view.tally.total;
                assert_eq!(view.state == BatchState::Completed, is_complete, "{view:?}");
            }
        }
    }

    /// Nothing owed is lost: everything that is open comes up sooner or later, by what was told of it alone.
    pub async fn drain(mut self) -> Counts {
        self.repair();
        let store = self.store();
        for at in 0..self.accounts.len() {
            let key = self.accounts[at].key;
            store.set_retention(key, None, self.scene.now).await.unwrap().unwrap();
            self.accounts[at].keep(None, self.scene.now);
            let disabled: Vec<i64> = (self.accounts[at].endpoints.iter())
                .filter(|(_, (known, is_there))| *is_there && known.state != EndpointState::Active)
                .map(|(&number, _)| number)
                .collect();
            for number in disabled {
                store.enable_endpoint(self.accounts[at].target(number)).await.unwrap();
                self.accounts[at].wake(number);
            }
        }
        self.look(Since::default()).await;
        // All that can be attempted fails once more, and so has its body kept.
        self.attempt_all(Came::Failed(1)).await;
        let ahead = i64::try_from(self.latest.since(self.scene.now).as_secs()).unwrap();
        self.wait(ahead + 1_000_000);
        for _ in 0..200 {
            self.chores().await;
            if !self.attempt_all(Came::Delivered).await && !self.is_replaying().await {
                break;
            }
        }
        for books in &self.accounts {
            let open: Vec<_> = books.deliveries.iter().filter(|(_, known)| known.is_open()).collect();
            assert!(open.is_empty(), "something owed never came up: {open:#?}");
        }
        assert!(!self.is_replaying().await, "a replay never ends");
        self.scene.finish().await;
        self.counts
    }

    /// Attempts everything that is there to be attempted. True when there was something.
    async fn attempt_all(&mut self, came: Came) -> bool {
        for did_something in [false].into_iter().chain(std::iter::repeat(true)) {
            for (account, endpoint) in self.to_look_at() {
                self.claim(account, endpoint, 3).await;
            }
            let mut settlements = Vec::new();
            for at in 0..self.accounts.len() {
                for owned in std::mem::take(&mut self.accounts[at].owned) {
                    settlements.push(self.came(at, &owned, came));
                }
            }
            if settlements.is_empty() && self.to_look_at().is_empty() {
                return did_something;
            }
            let committed = self.scene.commit(Vec::new(), settlements).await;
            let given = self.committed(committed);
            self.look(Since { given, ..Since::default() }).await;
        }
        unreachable!("it is repeated for ever")
    }

    async fn is_replaying(&self) -> bool {
        for books in &self.accounts {
            let replays = self.scene.store.replays(books.key, ALL).await.unwrap();
            if replays.iter().any(|replay| replay.state == ReplayState::Running) {
                return true;
            }
        }
        false
    }
}
