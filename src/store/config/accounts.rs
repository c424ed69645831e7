//! Accounts, sources and endpoints: read into snapshots that everybody shares. Does not depend on who may change them, and
//! how: that is in `account_row`, `source_rows` and `endpoint_rows`.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use super::sealed::{self, SealedEndpoint, SealedSource};
use super::{account_row, limits};
use crate::model::account::Account;
use crate::model::endpoint::{EndpointState, Scope};
use crate::model::id::{self, Kind, Tag};
use crate::model::{AccountKey, Endpoint, EventType, Source, Time};
use crate::store::layout::codec;
use crate::store::layout::keys::{pack, unpack};
use crate::store::sql::{Connection, OptionalExtension, Row};
use crate::store::vault::Vault;
use crate::store::{AccountConfig, EndpointRef, StoreError};

/// The snapshots of all accounts.
#[derive(Debug, Default)]
pub struct Directory(RwLock<Accounts>);

#[derive(Debug, Default)]
struct Accounts {
    by_key: BTreeMap<AccountKey, Arc<AccountConfig>>,
    by_tag: HashMap<Tag, AccountKey>,
}

impl Directory {
    fn accounts(&self) -> RwLockReadGuard<'_, Accounts> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// One account.
    pub fn get(&self, account: AccountKey) -> Option<Arc<AccountConfig>> {
        self.accounts().by_key.get(&account).cloned()
    }

    /// All, by key.
    pub fn all(&self) -> Vec<Arc<AccountConfig>> {
        self.accounts().by_key.values().cloned().collect()
    }

    /// The account of a tag.
    pub fn by_tag(&self, tag: Tag) -> Option<Arc<AccountConfig>> {
        let accounts = self.accounts();
        accounts.by_key.get(accounts.by_tag.get(&tag)?).cloned()
    }

    /// Takes in a new snapshot, unless there is a newer one.
    pub fn put(&self, config: AccountConfig) {
        let mut accounts = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let known = accounts.by_key.get(&config.account.key);
        if known.is_some_and(|known| known.revision > config.revision) {
            return;
        }
        accounts.by_tag.insert(config.account.tag, config.account.key);
        accounts.by_key.insert(config.account.key, Arc::new(config));
    }
}

/// What many nodes need: whether the configuration changed since it was read, and in whose tenure a delivery is owned.
pub const NODES: &str = r"
ALTER TABLE accounts ADD COLUMN revision INTEGER NOT NULL DEFAULT 0;
ALTER TABLE open ADD COLUMN owner INTEGER NOT NULL DEFAULT 0;
ALTER TABLE idempotency ADD COLUMN owner INTEGER NOT NULL DEFAULT 0;
ALTER TABLE given_batches ADD COLUMN owner INTEGER NOT NULL DEFAULT 0;
";

/// Every account's key.
pub fn account_keys(db: &Connection) -> Result<Vec<AccountKey>, StoreError> {
    let mut statement = db.prepare_cached("SELECT account FROM accounts")?;
    let rows = statement.query_map((), |row| row.get(0).map(AccountKey))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// A part of the configuration that a transaction changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// An account was made, or how long it keeps what is recorded was changed.
    Account(AccountKey),
    /// Everything in it, ids included.
    Everything(AccountKey),
    /// A source was made, changed or deleted.
    Source(AccountKey, i64),
    /// An endpoint was made, changed, disabled or deleted.
    Endpoint(EndpointRef),
}

impl Changed {
    /// Whose configuration.
    pub fn account(self) -> AccountKey {
        match self {
            Self::Account(account) | Self::Everything(account) | Self::Source(account, _) => account,
            Self::Endpoint(endpoint) => endpoint.account,
        }
    }
}

const SOURCE_COLUMNS: &str = "id, dialect, sealed, created_at";
const ENDPOINT_COLUMNS: &str = "id, revision, sealed, disabled, created_at, of_batch";

/// Reads an account with all that is configured in it.
pub fn load(db: &Connection, vault: &Vault, key: AccountKey) -> Result<AccountConfig, StoreError> {
    let (account, revision) = account_of(db, key)?;
    let tag = account.tag;
    let range = [pack(key, 0), pack(AccountKey(key.0 + 1), 0)];
    let select = |columns, table| {
        format!(
            "SELECT {columns} FROM {table}
             WHERE id > ? AND id < ? /*account of ?1*/ AND deleted_at IS NULL ORDER BY id"
        )
    };
    let mut config = AccountConfig { account, revision, sources: Vec::new(), endpoints: Vec::new() };
    let mut statement = db.prepare_cached(&select(SOURCE_COLUMNS, "sources"))?;
    let mut rows = statement.query(range)?;
    while let Some(row) = rows.next()? {
        config.sources.push(Arc::new(source_of(&row, vault, tag)?));
    }
    let mut statement = db.prepare_cached(&select(ENDPOINT_COLUMNS, "endpoints"))?;
    let mut rows = statement.query(range)?;
    while let Some(row) = rows.next()? {
        config.endpoints.push(Arc::new(endpoint_of(&row, vault, tag)?));
    }
    Ok(config)
}

fn account_of(db: &Connection, key: AccountKey) -> Result<(Account, i64), StoreError> {
    let mut statement = db.prepare_cached(&format!(
        "SELECT account, tag, name, created_at, retention, transcript_retention, call_credit IS NOT NULL, revision, origin,
             repeat_memory, {} FROM accounts WHERE account = ?",
        limits::OF_ACCOUNT
    ))?;
    let account = statement.query_row([key.0], |row| {
        let tag = Tag::from_random(row.get::<i64>(1)?.cast_unsigned());
        let origin = row.get::<Option<i64>>(8)?.map(|mark| Tag::from_random(mark.cast_unsigned()));
        let account = Account {
            key: AccountKey(row.get(0)?),
            tag,
            origin: origin.filter(|origin| *origin != tag),
            name: row.get(2)?,
            created_at: Time::from_micros(row.get(3)?),
            retention: row.get::<Option<i64>>(4)?.map(codec::length),
            transcript_retention: row.get::<Option<i64>>(5)?.map(codec::length),
            repeat_memory: codec::length(row.get(9)?),
            is_metered: row.get(6)?,
            limits: limits::read(row, 10)?,
        };
        Ok((account, row.get(7)?))
    })?;
    Ok(account)
}

/// An account after a change to it. Only what changed is read and unsealed: an account may have many endpoints.
pub fn reload(
    db: &Connection,
    vault: &Vault,
    known: Option<&AccountConfig>,
    changed: Changed,
) -> Result<AccountConfig, StoreError> {
    let account = changed.account();
    let revision = account_row::next_revision(db, account)?;
    // What another node changed has not been seen.
    let Some(known) = known.filter(|known| known.revision + 1 == revision) else {
        return load(db, vault, account);
    };
    let tag = known.account.tag;
    let mut config = AccountConfig {
        account: known.account.clone(),
        revision,
        sources: known.sources.clone(),
        endpoints: known.endpoints.clone(),
    };
    let select = |columns, table| {
        format!("SELECT {columns} FROM {table} WHERE id = ? /*account of ?1*/ AND deleted_at IS NULL")
    };
    match changed {
        Changed::Account(_) => config.account = account_of(db, account)?.0,
        Changed::Everything(_) => return load(db, vault, account),
        Changed::Source(_, number) => {
            let mut statement = db.prepare_cached(&select(SOURCE_COLUMNS, "sources"))?;
            let mut rows = statement.query([pack(account, number)])?;
            let source = rows.next()?.map(|row| source_of(&row, vault, tag)).transpose()?;
            replace(&mut config.sources, number, |source| source.number, source);
        }
        Changed::Endpoint(EndpointRef { number, .. }) => {
            let mut statement = db.prepare_cached(&select(ENDPOINT_COLUMNS, "endpoints"))?;
            let mut rows = statement.query([pack(account, number)])?;
            let endpoint = rows.next()?.map(|row| endpoint_of(&row, vault, tag)).transpose()?;
            replace(&mut config.endpoints, number, |endpoint| endpoint.number, endpoint);
        }
    }
    Ok(config)
}

/// Puts, replaces or removes the record of a number in a list that is sorted by number.
fn replace<T>(all: &mut Vec<Arc<T>>, number: i64, number_of: impl Fn(&T) -> i64, record: Option<T>) {
    match (all.binary_search_by_key(&number, |known| number_of(known)), record) {
        (Ok(at), Some(record)) => all[at] = Arc::new(record),
        (Ok(at), None) => drop(all.remove(at)),
        (Err(at), Some(record)) => all.insert(at, Arc::new(record)),
        (Err(_), None) => {}
    }
}

fn source_of(row: &Row<'_>, vault: &Vault, tag: Tag) -> Result<Source, StoreError> {
    let (account, number) = unpack(row.get(0)?);
    let sealed: SealedSource = sealed::open(vault, row.blob(2)?)?;
    Ok(Source {
        account,
        number,
        id: id::format(Kind::Source, tag, number),
        name: sealed.name,
        dialect: sealed::dialect_of(&row.get::<String>(1)?)?,
        credential: sealed.credential.open()?,
        url_token: sealed.url_token.as_deref().map(sealed::decode).transpose()?,
        lost_after: sealed.lost_after,
        created_at: Time::from_micros(row.get(3)?),
    })
}

fn endpoint_of(row: &Row<'_>, vault: &Vault, tag: Tag) -> Result<Endpoint, StoreError> {
    let (account, number) = unpack(row.get(0)?);
    let sealed: SealedEndpoint = sealed::open(vault, row.blob(2)?)?;
    let events =
        sealed.events.as_ref().map(|names| names.iter().filter_map(|name| EventType::parse(name)).collect());
    let delivering = sealed::delivering_of(&sealed);
    Ok(Endpoint {
        account,
        number,
        id: id::format(Kind::Endpoint, tag, number),
        revision: row.get(1)?,
        url: sealed.url,
        dialect: sealed::dialect_of(&sealed.dialect)?,
        shape: sealed.shape,
        events,
        scope: Scope {
            agent_id: sealed.agent_id,
            campaign_id: sealed.campaign_id,
            batch_id: sealed.batch_id,
        },
        completed_only: sealed.completed_only,
        ordered: sealed.ordered,
        headers: sealed.headers,
        plain_headers: sealed.plain_headers,
        delivering,
        credential: sealed.credential.open()?,
        state: match row.get(3)? {
            None => EndpointState::Active,
            Some(reason) => EndpointState::Disabled { reason },
        },
        of_batch: row.get(5)?,
        created_at: Time::from_micros(row.get(4)?),
    })
}

/// Locks an account's row, as every transaction does before it changes anything of the account: a group takes the row
/// before it disables an endpoint, and who comes the other way round would deadlock with it. Gives the revision of the
/// configuration.
pub fn lock(db: &Connection, account: AccountKey) -> Result<Option<i64>, StoreError> {
    let sql = "SELECT revision FROM accounts WHERE account = ? /*! FOR UPDATE */";
    Ok(db.prepare_cached(sql)?.query_row([account.0], |row| row.get(0)).optional()?)
}

/// The same, before something is set that was made from this revision of the configuration, if from any. Refuses it when
/// there is another one by now: what it does not know of would be undone.
pub fn lock_at(db: &Connection, account: AccountKey, made_from: Option<i64>) -> Result<(), StoreError> {
    let revision = lock(db, account)?;
    match made_from {
        Some(made_from) if revision.is_some_and(|revision| revision != made_from) => Err(StoreError::Stale),
        _ => Ok(()),
    }
}
