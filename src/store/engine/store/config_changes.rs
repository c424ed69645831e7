//! Changes to accounts, sources and endpoints, each shown once it is committed.

use std::sync::Arc;
use std::time::Duration;

use super::new_tag;
use crate::model::account::{Account, Limits};
use crate::model::{AccountKey, Endpoint, Source, Time};
use crate::store::apply::recording::Recording;
use crate::store::config::accounts::{self, Changed};
use crate::store::config::{account_row, endpoint_rows, source_rows};
use crate::store::engine::database::{Database, NoQueues, SqlStore, Writing};
use crate::store::engine::writer_thread::Priority;
use crate::store::layout::keys::pack;
use crate::store::lifetime::{retention, transcripts};
use crate::store::sql::Connection;
use crate::store::tx::purpose::Purpose;
use crate::store::{AccountConfig, Answer, ConfigChanges, EndpointRef, StoreError};

impl<D: Database> SqlStore<D> {
    /// Changes a setting of an account. What that is for decides whether it can be changed where the disk is full.
    fn set_account(
        &self,
        account: AccountKey,
        purpose: Purpose,
        set: impl FnOnce(&Connection) -> Result<(), StoreError> + Send + 'static,
    ) -> Answer<'_, Option<Account>> {
        self.database.write(Priority::Api, account, move |writer| {
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
}

impl<D: Database> ConfigChanges for SqlStore<D> {
    fn create_account(&self, name: String, now: Time) -> Answer<'_, Option<Account>> {
        self.database.write(Priority::Api, AccountKey::NONE, move |writer| {
            let made = writer.transact(|db, _| {
                let made = account_row::create(db, &name, new_tag(), now)?;
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
            accounts::lock_at(db, account, made_from)?;
            account_row::set_limits(db, account, limits)
        })
    }

    fn set_repeat_memory(
        &self,
        account: AccountKey,
        length: Duration,
        now: Time,
    ) -> Answer<'_, Option<Account>> {
        self.set_account(account, Purpose::Free, move |db| {
            account_row::set_repeat_memory(db, account, length, now)
        })
    }

    fn put_source(&self, source: Source, made_from: Option<i64>) -> Answer<'_, Option<Arc<Source>>> {
        self.database.write(Priority::Api, source.account, move |writer| {
            let account = source.account;
            let number = writer.transact(|db, desk| {
                accounts::lock_at(db, account, made_from)?;
                let number = source_rows::put(db, &desk.vault, &source)?;
                Ok((number, number.map(|number| Changed::Source(account, number)).into_iter().collect()))
            })?;
            let config = writer.desk().directory.get(account);
            Ok(number.zip(config).and_then(|(number, config)| config.source(number).cloned()))
        })
    }

    fn delete_source(&self, account: AccountKey, number: i64, now: Time) -> Answer<'_, bool> {
        self.database.write(Priority::Api, account, move |writer| {
            writer.freeing(|writer| {
                writer.transact(|db, _| {
                    accounts::lock(db, account)?;
                    let is_done = source_rows::delete(db, pack(account, number), now)?;
                    Ok((is_done, vec![Changed::Source(account, number)]))
                })
            })
        })
    }

    fn put_endpoint(&self, endpoint: Endpoint, made_from: Option<i64>) -> Answer<'_, Option<Arc<Endpoint>>> {
        self.database.write(Priority::Api, endpoint.account, move |writer| {
            let account = endpoint.account;
            let number = writer.transact(|db, desk| {
                accounts::lock_at(db, account, made_from)?;
                let number = endpoint_rows::put(db, &desk.vault, &endpoint)?;
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
        self.database.write(Priority::Api, endpoint.account, move |writer| {
            let is_there = |config: Arc<AccountConfig>| config.endpoint(endpoint.number).is_some();
            if !writer.desk().directory.get(endpoint.account).is_some_and(is_there) {
                return Ok(None);
            }
            let work = |recording: &mut Recording<'_>| recording.disable(endpoint, &reason);
            Ok(Some(writer.recording(&NoQueues, now, work)?.1.wake))
        })
    }

    fn enable_endpoint(&self, endpoint: EndpointRef) -> Answer<'_, bool> {
        self.database.write(Priority::Api, endpoint.account, move |writer| {
            writer.transact(|db, _| {
                accounts::lock(db, endpoint.account)?;
                let is_there = endpoint_rows::enable(db, pack(endpoint.account, endpoint.number))?;
                let changed = if is_there { vec![Changed::Endpoint(endpoint)] } else { Vec::new() };
                Ok((is_there, changed))
            })
        })
    }

    fn delete_endpoint(&self, account: AccountKey, number: i64, now: Time) -> Answer<'_, bool> {
        self.database.write(Priority::Api, account, move |writer| {
            writer.freeing(|writer| {
                writer.transact(|db, _| {
                    accounts::lock(db, account)?;
                    let is_done = endpoint_rows::delete(db, pack(account, number), now)?;
                    Ok((is_done, vec![Changed::Endpoint(EndpointRef { account, number })]))
                })
            })
        })
    }
}
