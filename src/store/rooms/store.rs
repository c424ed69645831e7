//! The store that is made of the rooms: each method of the trait as one transaction on the database, by the lane that it
//! belongs to. Refuses to know which database it is.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tracing::{debug, error, info};

use super::call_index::call_hash;
use super::config::{self, Changed};
use super::database::{Database, NoQueues, RoomStore, Writing};
use super::keys::pack;
use super::maintenance::JOBS;
use super::purpose::Purpose;
use super::quarantine;
use super::recording::Recording;
use super::thread::Lane;
use super::{
    api_keys, erasure, export_account, import, owning, read, recount, replays, retention, tombstones,
    transcripts, upkeep,
};
use crate::clock::random_bytes;
use crate::model::account::{Account, Limits};
use crate::model::id::Tag;
use crate::model::replay::{Replay, ReplayOrder};
use crate::model::{AccountKey, ApiKey, Endpoint, Mention, Source, Time};
use crate::store::condition::Trouble;
use crate::store::erasure::{Erasure, digest};
use crate::store::export::{Cursor, Exported, Import, Imported, Secrets};
use crate::store::feed::FeedPage;
use crate::store::sql::Connection;
use crate::store::{
    AccountConfig, Answer, CallFilter, CallView, Claimed, Committed, DeliveryFilter, DeliveryView,
    EndpointRef, Group, Idempotent, JobStep, KeyUse, NewKey, Notification, Page, Place, Progress,
    Quarantined, Queues, Revoked, Store, StoreError, Sum, Turned,
};

/// The tag of a new account.
pub fn new_tag() -> Tag {
    Tag::from_random(u64::from_be_bytes(random_bytes()))
}

impl<D: Database> RoomStore<D> {
    /// Changes a setting of an account. What that is for decides whether it can be changed where the disk is full.
    fn set_account(
        &self,
        account: AccountKey,
        purpose: Purpose,
        set: impl FnOnce(&Connection) -> Result<(), StoreError> + Send + 'static,
    ) -> Answer<'_, Option<Account>> {
        self.database.write(Lane::Api, account, move |writer| {
            if writer.desk().directory.get(account).is_none() {
                return Ok(None);
            }
            if purpose == Purpose::Free {
                writer.make_room();
            }
            writer.for_purpose(purpose, |writer| {
                writer.transact(|db, _| Ok((set(db)?, vec![Changed::Account(account)])))
            })?;
            Ok(writer.desk().directory.get(account).map(|config| config.account.clone()))
        })
    }

    /// A round of maintenance: a step of each job, and one for the database itself. Each is a work of its own for the writer, so
    /// that nobody else waits for more than one of them. What is committed is in `progress`, whatever comes after it.
    async fn round(&self, now: Time, progress: &mut Progress) -> Result<(), StoreError> {
        let turns = || self.job_turns.lock().unwrap_or_else(PoisonError::into_inner);
        let none = AccountKey::NONE;
        if !self.database.write(Lane::Chore, none, move |writer| writer.begin_round(now)).await? {
            return Ok(());
        }
        for (at, job) in JOBS.iter().enumerate() {
            let Some(turn) = turns().next(at, now) else { continue };
            let run = move |writer: &mut D::Writer| writer.run_job(job, &turn, now);
            let ran = self.database.write(Lane::Chore, none, run).await?;
            turns().looked(at, ran.looked_up_to);
            let account = ran.account.unwrap_or(none);
            let (job, of) = (job.name, account.0);
            match &ran.failed {
                Some(error) if turns().failed(at, account, now) => {
                    error!(job, account = of, %error, "a job failed; it is tried again, and all else goes on");
                }
                Some(error) => debug!(job, account = of, %error, "still failing"),
                None => {
                    let was_blind = turns().found(at);
                    let was_resting = ran.account.is_some_and(|account| turns().worked(at, account));
                    if was_blind || was_resting {
                        info!(job, account = of, "works again");
                    }
                }
            }
            if ran.account.is_some() || ran.failed.is_some() || ran.more {
                progress.steps.push(JobStep { job, took: ran.took, has_failed: ran.failed.is_some() });
            }
            progress.more |= ran.more;
            progress.has_leisure |= ran.has_leisure;
            progress.wake.extend(ran.wake);
            progress.called_off.extend(ran.called_off);
        }
        let tend = move |writer: &mut D::Writer| writer.tend(now);
        let tended = self.database.write(Lane::Chore, none, tend).await;
        progress.more |= tended.inspect_err(|error| self.condition.met(error))?;
        Ok(())
    }

    /// The tag of an account, for ids.
    fn tag(&self, account: AccountKey) -> Tag {
        self.directory.get(account).map_or(Tag(0), |config| config.account.tag)
    }
}

impl<D: Database> Store for RoomStore<D> {
    fn config(&self, account: AccountKey) -> Option<Arc<AccountConfig>> {
        self.directory.get(account)
    }

    fn config_by_tag(&self, tag: Tag) -> Option<Arc<AccountConfig>> {
        self.directory.by_tag(tag)
    }

    fn accounts(&self) -> Vec<Arc<AccountConfig>> {
        self.directory.all()
    }

    fn link_key(&self) -> &ring::hmac::Key {
        self.vault.link_key()
    }

    fn commit<'a>(&'a self, group: Arc<Group>, queues: Arc<dyn Queues>) -> Answer<'a, Committed> {
        self.database.write(Lane::Hot, AccountKey::NONE, move |writer| {
            let work = |recording: &mut Recording<'_>| {
                recording.prepare(&group)?;
                let recorded = group.incoming.iter().map(|incoming| recording.record(incoming));
                let recorded = recorded.collect::<Result<Vec<_>, _>>()?;
                group.settlements.iter().try_for_each(|settlement| recording.settle(settlement))?;
                Ok(recorded)
            };
            let purpose = if group.incoming.is_empty() { Purpose::Settle } else { Purpose::Add };
            let (recorded, mut committed) =
                writer.for_purpose(purpose, |writer| writer.recording(queues.as_ref(), group.now, work))?;
            committed.recorded = recorded;
            committed.waited = writer.waited();
            Ok(committed)
        })
    }

    fn claim(&self, endpoint: EndpointRef, now: Time, places: Vec<Place>) -> Answer<'_, Claimed> {
        self.database.write(Lane::Claim, endpoint.account, move |writer| {
            writer.for_purpose(Purpose::Settle, |writer| {
                writer.transact_ownership(|_, desk| {
                    let mut recording = desk.record(&NoQueues, now);
                    let more = recording.claim(endpoint, places)?;
                    Ok(Claimed { owned: recording.finish()?.0.owned, more })
                })
            })
        })
    }

    fn release(&self, account: AccountKey, deliveries: Vec<i64>) -> Answer<'_, ()> {
        self.database.write(Lane::Claim, account, move |writer| {
            writer.for_purpose(Purpose::Settle, |writer| {
                writer.transact_ownership(|db, desk| owning::release(db, account, &deliveries, desk.tenure))
            })
        })
    }

    fn next_due(&self, endpoint: EndpointRef) -> Answer<'_, Option<Time>> {
        self.database.read(endpoint.account, move |db| read::next_due(db, endpoint.account, endpoint.number))
    }

    fn create_account(&self, name: String, now: Time) -> Answer<'_, Option<Account>> {
        self.database.write(Lane::Api, AccountKey::NONE, move |writer| {
            let made = writer.transact(|db, _| {
                let made = config::create_account(db, &name, new_tag(), now)?;
                Ok((made, made.map(Changed::Account).into_iter().collect()))
            })?;
            let config = made.and_then(|account| writer.desk().directory.get(account));
            Ok(config.map(|config| config.account.clone()))
        })
    }

    fn set_retention(
        &self,
        account: AccountKey,
        retention: Option<Duration>,
        now: Time,
    ) -> Answer<'_, Option<Account>> {
        self.set_account(account, Purpose::Free, move |db| retention::set(db, account, retention, now))
    }

    fn set_transcript_retention(
        &self,
        account: AccountKey,
        retention: Option<Duration>,
        now: Time,
    ) -> Answer<'_, Option<Account>> {
        self.set_account(account, Purpose::Free, move |db| transcripts::set(db, account, retention, now))
    }

    fn set_limits(
        &self,
        account: AccountKey,
        limits: Limits,
        made_from: Option<i64>,
    ) -> Answer<'_, Option<Account>> {
        self.set_account(account, Purpose::Add, move |db| {
            config::lock_at(db, account, made_from)?;
            super::limits::set(db, account, limits)
        })
    }

    fn set_repeat_memory(
        &self,
        account: AccountKey,
        length: Duration,
        now: Time,
    ) -> Answer<'_, Option<Account>> {
        self.set_account(account, Purpose::Free, move |db| tombstones::set(db, account, length, now))
    }

    fn create_key(&self, key: NewKey) -> Answer<'_, ApiKey> {
        self.database
            .write(Lane::Api, key.account, move |writer| writer.write(|db, _| api_keys::create(db, &key)))
    }

    fn find_key(&self, hash: [u8; 32]) -> Answer<'_, Option<ApiKey>> {
        self.database.read(AccountKey::NONE, move |db| api_keys::find(db, &hash))
    }

    fn note_key_uses(&self, uses: Vec<KeyUse>) -> Answer<'_, ()> {
        self.database.write(Lane::Chore, AccountKey::NONE, move |writer| {
            writer.for_purpose(Purpose::Settle, |writer| writer.write(|db, _| api_keys::note_uses(db, uses)))
        })
    }

    fn keys(&self, account: AccountKey) -> Answer<'_, Vec<ApiKey>> {
        self.database.read(account, move |db| api_keys::list(db, account))
    }

    fn revoke_key(&self, account: AccountKey, number: i64, now: Time) -> Answer<'_, Revoked> {
        self.database.write(Lane::Api, account, move |writer| {
            writer.freeing(|writer| writer.write(|db, _| api_keys::revoke(db, account, number, now)))
        })
    }

    fn put_source(&self, source: Source, made_from: Option<i64>) -> Answer<'_, Option<Arc<Source>>> {
        self.database.write(Lane::Api, source.account, move |writer| {
            let account = source.account;
            let number = writer.transact(|db, desk| {
                config::lock_at(db, account, made_from)?;
                let number = config::put_source(db, &desk.vault, &source)?;
                Ok((number, number.map(|number| Changed::Source(account, number)).into_iter().collect()))
            })?;
            let config = writer.desk().directory.get(account);
            Ok(number.zip(config).and_then(|(number, config)| config.source(number).cloned()))
        })
    }

    fn delete_source(&self, account: AccountKey, number: i64, now: Time) -> Answer<'_, bool> {
        self.database.write(Lane::Api, account, move |writer| {
            writer.freeing(|writer| {
                writer.transact(|db, _| {
                    config::lock(db, account)?;
                    let is_done = config::delete(db, "sources", pack(account, number), now)?;
                    Ok((is_done, vec![Changed::Source(account, number)]))
                })
            })
        })
    }

    fn put_endpoint(&self, endpoint: Endpoint, made_from: Option<i64>) -> Answer<'_, Option<Arc<Endpoint>>> {
        self.database.write(Lane::Api, endpoint.account, move |writer| {
            let account = endpoint.account;
            let number = writer.transact(|db, desk| {
                config::lock_at(db, account, made_from)?;
                let number = config::put_endpoint(db, &desk.vault, &endpoint)?;
                let changed = |number| Changed::Endpoint(EndpointRef { account, number });
                Ok((number, number.map(changed).into_iter().collect()))
            })?;
            let config = writer.desk().directory.get(account);
            Ok(number.zip(config).and_then(|(number, config)| config.endpoint(number).cloned()))
        })
    }

    fn disable_endpoint(
        &self,
        endpoint: EndpointRef,
        reason: String,
        now: Time,
    ) -> Answer<'_, Option<Vec<EndpointRef>>> {
        self.database.write(Lane::Api, endpoint.account, move |writer| {
            let is_there = |config: Arc<AccountConfig>| config.endpoint(endpoint.number).is_some();
            if !writer.desk().directory.get(endpoint.account).is_some_and(is_there) {
                return Ok(None);
            }
            let work = |recording: &mut Recording<'_>| recording.disable(endpoint, &reason);
            Ok(Some(writer.recording(&NoQueues, now, work)?.1.wake))
        })
    }

    fn enable_endpoint(&self, endpoint: EndpointRef) -> Answer<'_, bool> {
        self.database.write(Lane::Api, endpoint.account, move |writer| {
            writer.transact(|db, _| {
                config::lock(db, endpoint.account)?;
                let is_there = config::enable(db, pack(endpoint.account, endpoint.number))?;
                let changed = if is_there { vec![Changed::Endpoint(endpoint)] } else { Vec::new() };
                Ok((is_there, changed))
            })
        })
    }

    fn delete_endpoint(&self, account: AccountKey, number: i64, now: Time) -> Answer<'_, bool> {
        self.database.write(Lane::Api, account, move |writer| {
            writer.freeing(|writer| {
                writer.transact(|db, _| {
                    config::lock(db, account)?;
                    let is_done = config::delete(db, "endpoints", pack(account, number), now)?;
                    Ok((is_done, vec![Changed::Endpoint(EndpointRef { account, number })]))
                })
            })
        })
    }

    fn call(&self, account: AccountKey, number: i64) -> Answer<'_, Option<CallView>> {
        self.database.read(account, move |db| read::call(db, account, number))
    }

    fn calls(&self, account: AccountKey, filter: CallFilter, page: Page) -> Answer<'_, Vec<CallView>> {
        let CallFilter { call_id, source: only, outcome } = filter;
        let Some(call_id) = call_id else {
            return self.database.read(account, move |db| read::calls(db, account, outcome, page));
        };
        Box::pin(async move {
            let look = |source| {
                let hash = call_hash(source, &call_id);
                (source, hash, self.database.recent_calls().of(hash))
            };
            let sources = match only {
                Some(source) => vec![pack(account, source)],
                None => self.database.read(account, move |db| read::sources(db, account)).await?,
            };
            let sources = sources.into_iter().map(look).collect();
            self.database
                .read(account, move |db| read::calls_of_vendor_id(db, &call_id, sources, outcome, page))
                .await
        })
    }

    fn events(&self, account: AccountKey, page: Page) -> Answer<'_, Option<FeedPage>> {
        let tag = self.tag(account);
        self.database.read(account, move |db| read::events(db, tag, account, page))
    }

    fn follow(&self, account: AccountKey) -> Answer<'_, watch::Receiver<i64>> {
        // First the signal, then the look: what is committed between the two is in one of them.
        let follower = self.feeds.follow(account);
        self.database.followed();
        Box::pin(async move {
            let position = self.database.read(account, move |db| read::position(db, account)).await?;
            self.feeds.moved(account, position);
            Ok(follower)
        })
    }

    fn deliveries(
        &self,
        account: AccountKey,
        filter: DeliveryFilter,
        page: Page,
    ) -> Answer<'_, Vec<DeliveryView>> {
        let tag = self.tag(account);
        self.database.read(account, move |db| read::deliveries(db, tag, account, &filter, page))
    }

    fn delivery(&self, account: AccountKey, number: i64) -> Answer<'_, Option<DeliveryView>> {
        let tag = self.tag(account);
        self.database.read(account, move |db| read::delivery(db, tag, account, number))
    }

    fn sums(&self, account: AccountKey, recount: bool) -> Answer<'_, Vec<Sum>> {
        match recount {
            true => self.database.recount(account, move |db| recount::sums(db, account)),
            false => self.database.read(account, move |db| read::sums(db, account)),
        }
    }

    fn quarantine(&self, account: AccountKey, page: Page) -> Answer<'_, Vec<Quarantined>> {
        self.database.read(account, move |db| read::quarantine(db, account, page))
    }

    fn quarantined(&self, account: AccountKey, number: i64) -> Answer<'_, Option<Quarantined>> {
        self.database.read(account, move |db| read::quarantined(db, account, number))
    }

    fn quarantine_size(&self, account: AccountKey) -> Answer<'_, i64> {
        self.database.read(account, move |db| read::quarantine_size(db, account))
    }

    fn retry(&self, account: AccountKey, delivery: i64, now: Time) -> Answer<'_, Turned> {
        self.database.write(Lane::Api, account, move |writer| {
            if writer.desk().directory.get(account).is_none() {
                return Ok(Turned::Missing);
            }
            let work = |recording: &mut Recording<'_>| recording.retry_by_hand(account, delivery);
            Ok(writer.recording(&NoQueues, now, work)?.0)
        })
    }

    fn cancel(&self, account: AccountKey, delivery: i64, now: Time) -> Answer<'_, Turned> {
        self.database.write(Lane::Api, account, move |writer| {
            if writer.desk().directory.get(account).is_none() {
                return Ok(Turned::Missing);
            }
            let work = |recording: &mut Recording<'_>| recording.cancel(account, delivery);
            writer.freeing(|writer| Ok(writer.recording(&NoQueues, now, work)?.0))
        })
    }

    fn create_replay(
        &self,
        account: AccountKey,
        order: ReplayOrder,
        now: Time,
    ) -> Answer<'_, Option<Replay>> {
        self.database.write(Lane::Api, account, move |writer| {
            writer.write(|db, _| replays::create(db, account, &order, now))
        })
    }

    fn replay(&self, account: AccountKey, number: i64) -> Answer<'_, Option<Replay>> {
        self.database.read(account, move |db| replays::replay(db, account, number))
    }

    fn replays(&self, account: AccountKey, page: Page) -> Answer<'_, Vec<Replay>> {
        self.database.read(account, move |db| replays::replays(db, account, page))
    }

    fn cancel_replay(&self, account: AccountKey, number: i64, now: Time) -> Answer<'_, bool> {
        self.database.write(Lane::Api, account, move |writer| {
            writer.freeing(|writer| writer.write(|db, _| replays::cancel(db, account, number, now)))
        })
    }

    fn discard(&self, account: AccountKey, number: i64) -> Answer<'_, bool> {
        self.database.write(Lane::Api, account, move |writer| {
            writer.freeing(|writer| writer.write(|db, _| quarantine::discard(db, account, number)))
        })
    }

    fn begin_idempotent(
        &self,
        account: AccountKey,
        key: Vec<u8>,
        fingerprint: [u8; 32],
        now: Time,
    ) -> Answer<'_, Idempotent> {
        self.database.write(Lane::Api, account, move |writer| {
            writer.freeing(|writer| {
                writer.write(|db, desk| {
                    upkeep::begin_idempotent(db, &desk.vault, account, (&key, &fingerprint), desk.tenure, now)
                })
            })
        })
    }

    fn finish_idempotent(
        &self,
        account: AccountKey,
        key: Vec<u8>,
        answer: Option<(u16, Vec<u8>)>,
    ) -> Answer<'_, ()> {
        self.database.write(Lane::Api, account, move |writer| {
            writer.freeing(|writer| {
                writer.write(|db, desk| upkeep::finish_idempotent(db, &desk.vault, account, &key, answer))
            })
        })
    }

    fn erase(&self, account: AccountKey, person: Mention, now: Time) -> Answer<'_, Erasure> {
        let digest = digest(self.vault.link_key(), self.tag(account), &person);
        self.database.write(Lane::Api, account, move |writer| {
            writer.freeing(|writer| {
                writer.write(|db, desk| erasure::create(db, &desk.vault, account, &person, &digest, now))
            })
        })
    }

    fn erasure(&self, account: AccountKey, number: i64) -> Answer<'_, Option<Erasure>> {
        self.database.read(account, move |db| erasure::find(db, account, number))
    }

    fn erasures(&self, account: AccountKey, page: Page) -> Answer<'_, Vec<Erasure>> {
        self.database.read(account, move |db| erasure::list(db, account, page))
    }

    fn export(&self, account: AccountKey, secrets: Secrets, cursor: Option<Cursor>) -> Answer<'_, Exported> {
        let vault = Arc::clone(&self.vault);
        self.database.read(account, move |db| export_account::export(db, &vault, account, secrets, cursor))
    }

    fn import(&self, account: AccountKey, import: Import) -> Answer<'_, Imported> {
        self.database.write(Lane::Chore, account, move |writer| {
            let (imported, found) = writer.transact(|db, desk| {
                let known = import::Known { vault: &desk.vault, remembered: &desk.remembered };
                let (done, mut effects) = import::import(db, known, account, &import)?;
                desk.call_index.settle(db, &mut effects.found)?;
                Ok(((done, effects.found), effects.changed))
            })?;
            writer.desk_mut().call_index.apply(found);
            Ok(imported)
        })
    }

    fn maintain(&self, now: Time) -> Answer<'_, Progress> {
        Box::pin(async move {
            let mut progress = Progress::default();
            match self.round(now, &mut progress).await {
                // What was committed is told all the same; who asks again hears of it soon enough.
                Err(_) if !(progress.wake.is_empty() && progress.called_off.is_empty()) => {
                    Ok(Progress { more: true, ..progress })
                }
                Err(error) => Err(error),
                Ok(()) => Ok(progress),
            }
        })
    }

    fn ready(&self) -> Answer<'_, ()> {
        Box::pin(async move {
            self.database.write(Lane::Hot, AccountKey::NONE, Writing::prove).await?;
            self.condition.check_whole()
        })
    }

    fn trouble(&self) -> Trouble {
        self.condition.trouble()
    }

    fn close(&self) -> Answer<'_, ()> {
        self.database.close()
    }

    fn notifications(&self) -> Option<mpsc::UnboundedReceiver<Notification>> {
        self.database.notifications()
    }

    fn catch_up(&self) -> Answer<'_, ()> {
        self.database.catch_up(&self.directory, &self.vault)
    }

    fn outlasts(&self, attempt: Duration) -> bool {
        self.database.outlasts(attempt)
    }

    fn queues_emptied(&self) {
        self.database.queues_emptied();
    }
}
