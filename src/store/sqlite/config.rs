//! Accounts, keys, sources and endpoints: read into snapshots that everybody shares, written sealed.
//! Refuses to know who may change them.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use data_encoding::BASE64;
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};

use super::schema::{MOST_ACCOUNTS, pack, unpack};
use crate::model::account::Account;
use crate::model::endpoint::{Delivering, EndpointState, Scope, Shape};
use crate::model::id::{self, Kind, Tag};
use crate::model::json::Text;
use crate::model::secret::{Credential, DatedSecret, Secret};
use crate::model::{AccountKey, ApiKey, DialectName, Endpoint, EventType, Source, Time};
use crate::store::vault::Vault;
use crate::store::{AccountConfig, StoreError};

/// The snapshots of all accounts.
#[derive(Debug, Default)]
pub struct Directory {
    accounts: RwLock<HashMap<AccountKey, Arc<AccountConfig>>>,
}

impl Directory {
    /// One account.
    pub fn get(&self, account: AccountKey) -> Option<Arc<AccountConfig>> {
        self.accounts.read().unwrap_or_else(PoisonError::into_inner).get(&account).cloned()
    }

    /// All, by key.
    pub fn all(&self) -> Vec<Arc<AccountConfig>> {
        let accounts = self.accounts.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = accounts.values().cloned().collect();
        all.sort_by_key(|config| config.account.key);
        all
    }

    /// The account of a tag.
    pub fn by_tag(&self, tag: Tag) -> Option<Arc<AccountConfig>> {
        let accounts = self.accounts.read().unwrap_or_else(PoisonError::into_inner);
        accounts.values().find(|config| config.account.tag == tag).cloned()
    }

    /// Takes in a new snapshot.
    pub fn put(&self, config: AccountConfig) {
        let mut accounts = self.accounts.write().unwrap_or_else(PoisonError::into_inner);
        accounts.insert(config.account.key, Arc::new(config));
    }
}

#[derive(Serialize, Deserialize)]
struct SealedSecret {
    secret: String,
    active_from: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<i64>,
}

#[derive(Default, Serialize, Deserialize)]
struct SealedCredential {
    secrets: Vec<SealedSecret>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bearer_token: Option<String>,
}

fn encode(secret: &Secret) -> String {
    BASE64.encode(secret.expose())
}

fn decode(text: &str) -> Result<Secret, StoreError> {
    let bytes = BASE64.decode(text.as_bytes());
    bytes.map(Secret::new).map_err(|error| damaged(&error))
}

fn damaged(why: &dyn std::fmt::Display) -> StoreError {
    StoreError::Unavailable(format!("stored configuration is damaged: {why}"))
}

impl SealedCredential {
    fn of(credential: &Credential) -> Self {
        let secrets = credential.secrets.iter().map(|dated| SealedSecret {
            secret: encode(&dated.secret),
            active_from: dated.active_from.as_micros(),
            expires_at: dated.expires_at.map(Time::as_micros),
        });
        Self { secrets: secrets.collect(), bearer_token: credential.bearer_token.as_ref().map(encode) }
    }

    fn open(&self) -> Result<Credential, StoreError> {
        let secrets = self.secrets.iter().map(|sealed| {
            Ok(DatedSecret {
                secret: decode(&sealed.secret)?,
                active_from: Time::from_micros(sealed.active_from),
                expires_at: sealed.expires_at.map(Time::from_micros),
            })
        });
        Ok(Credential {
            secrets: secrets.collect::<Result<_, StoreError>>()?,
            bearer_token: self.bearer_token.as_deref().map(decode).transpose()?,
        })
    }
}

#[derive(Serialize, Deserialize)]
struct SealedSource {
    name: String,
    credential: SealedCredential,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    url_token: Option<String>,
}

/// Everything of an endpoint that may hold a secret; URLs and headers often do.
#[derive(Serialize, Deserialize)]
struct SealedEndpoint {
    url: String,
    dialect: String,
    shape: Shape,
    events: Option<Vec<String>>,
    agent_id: Option<Text>,
    campaign_id: Option<Text>,
    batch_id: Option<Text>,
    completed_only: bool,
    ordered: bool,
    headers: Vec<(String, String)>,
    timeout: Option<Duration>,
    retry_delays: Option<Vec<Duration>>,
    max_in_flight: Option<u32>,
    rate_limit: Option<f64>,
    credential: SealedCredential,
}

fn dialect_of(name: &str) -> Result<DialectName, StoreError> {
    DialectName::parse(name).ok_or_else(|| damaged(&format!("unknown dialect {name}")))
}

fn open_sealed<T: for<'a> Deserialize<'a>>(vault: &Vault, sealed: &[u8]) -> Result<T, StoreError> {
    let plain = vault.open(sealed).map_err(|error| damaged(&error))?;
    serde_json::from_slice(&plain).map_err(|error| damaged(&error))
}

fn seal<T: Serialize>(vault: &Vault, value: &T) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(value)
        .map(|plain| vault.seal(&plain))
        .map_err(|error| StoreError::Data(error.to_string()))
}

/// Every account's key.
pub fn account_keys(db: &Connection) -> Result<Vec<AccountKey>, StoreError> {
    let mut statement = db.prepare_cached("SELECT account FROM accounts")?;
    let rows = statement.query_map([], |row| row.get(0).map(AccountKey))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Reads an account with all that is configured in it.
pub fn load(db: &Connection, vault: &Vault, account: AccountKey) -> Result<AccountConfig, StoreError> {
    let account = db
        .prepare_cached("SELECT account, tag, name, created_at FROM accounts WHERE account = ?")?
        .query_row([account.0], |row| {
            Ok(Account {
                key: AccountKey(row.get(0)?),
                tag: Tag::from_random(row.get::<_, i64>(1)?.cast_unsigned()),
                name: row.get(2)?,
                created_at: Time::from_micros(row.get(3)?),
            })
        })?;
    let (first, last) = (pack(account.key, 0), pack(AccountKey(account.key.0 + 1), 0));

    let mut sources = Vec::new();
    let mut statement = db.prepare_cached(
        "SELECT id, dialect, sealed, created_at FROM sources WHERE id >= ? AND id < ? AND deleted_at IS NULL ORDER BY id",
    )?;
    let mut rows = statement.query([first, last])?;
    while let Some(row) = rows.next()? {
        let number = unpack(row.get(0)?).1;
        let sealed: SealedSource = open_sealed(vault, row.get_ref(2)?.as_blob().map_err(|e| damaged(&e))?)?;
        sources.push(Arc::new(Source {
            account: account.key,
            number,
            id: id::format(Kind::Source, account.tag, number),
            name: sealed.name,
            dialect: dialect_of(&row.get::<_, String>(1)?)?,
            credential: sealed.credential.open()?,
            url_token: sealed.url_token.as_deref().map(decode).transpose()?,
            created_at: Time::from_micros(row.get(3)?),
        }));
    }

    let mut endpoints = Vec::new();
    let mut statement = db.prepare_cached(
        "SELECT id, revision, sealed, disabled, created_at FROM endpoints
         WHERE id >= ? AND id < ? AND deleted_at IS NULL ORDER BY id",
    )?;
    let mut rows = statement.query([first, last])?;
    while let Some(row) = rows.next()? {
        let number = unpack(row.get(0)?).1;
        let sealed: SealedEndpoint = open_sealed(vault, row.get_ref(2)?.as_blob().map_err(|e| damaged(&e))?)?;
        let events =
            sealed.events.map(|names| names.iter().filter_map(|name| EventType::parse(name)).collect());
        endpoints.push(Arc::new(Endpoint {
            account: account.key,
            number,
            id: id::format(Kind::Endpoint, account.tag, number),
            revision: row.get(1)?,
            url: sealed.url,
            dialect: dialect_of(&sealed.dialect)?,
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
            delivering: Delivering {
                timeout: sealed.timeout,
                retry_delays: sealed.retry_delays,
                max_in_flight: sealed.max_in_flight,
                rate_limit: sealed.rate_limit,
            },
            credential: sealed.credential.open()?,
            state: match row.get(3)? {
                None => EndpointState::Active,
                Some(reason) => EndpointState::Disabled { reason },
            },
            created_at: Time::from_micros(row.get(4)?),
        }));
    }
    Ok(AccountConfig { account, sources, endpoints })
}

/// Makes an account; `None` when the name is taken.
pub fn create_account(
    db: &Connection,
    name: &str,
    tag: Tag,
    now: Time,
) -> Result<Option<AccountKey>, StoreError> {
    let made = db.execute(
        "INSERT INTO accounts (tag, name, created_at) VALUES (?, ?, ?) ON CONFLICT (name) DO NOTHING",
        params![tag.0.cast_signed(), name, now.as_micros()],
    )?;
    if made == 0 {
        return Ok(None);
    }
    let account = AccountKey(db.last_insert_rowid());
    if account.0 > MOST_ACCOUNTS {
        return Err(StoreError::Unavailable(format!(
            "this store holds {MOST_ACCOUNTS} accounts and no more"
        )));
    }
    Ok(Some(account))
}

/// The next number of a kind (a column of the account's head).
fn next_number(db: &Connection, account: AccountKey, column: &str) -> Result<Option<i64>, StoreError> {
    let sql = format!("UPDATE accounts SET {column} = {column} + 1 WHERE account = ? RETURNING {column}");
    Ok(db.prepare_cached(&sql)?.query_row([account.0], |row| row.get(0)).optional()?)
}

/// Writes a source; a new one has number 0. Gives the number, or `None` when there is no such source.
pub fn put_source(db: &Connection, vault: &Vault, source: &Source) -> Result<Option<i64>, StoreError> {
    let sealed = seal(
        vault,
        &SealedSource {
            name: source.name.clone(),
            credential: SealedCredential::of(&source.credential),
            url_token: source.url_token.as_ref().map(encode),
        },
    )?;
    if source.number == 0 {
        let Some(number) = next_number(db, source.account, "sources")? else { return Ok(None) };
        db.execute(
            "INSERT INTO sources (id, dialect, sealed, created_at) VALUES (?, ?, ?, ?)",
            params![
                pack(source.account, number),
                source.dialect.as_str(),
                sealed,
                source.created_at.as_micros()
            ],
        )?;
        return Ok(Some(number));
    }
    let changed = db.execute(
        "UPDATE sources SET dialect = ?, sealed = ? WHERE id = ? AND deleted_at IS NULL",
        params![source.dialect.as_str(), sealed, pack(source.account, source.number)],
    )?;
    Ok((changed == 1).then_some(source.number))
}

/// Writes an endpoint; a new one has number 0. What shapes its bodies gets a new revision when it changed. Gives
/// the number, or `None` when there is no such endpoint.
pub fn put_endpoint(db: &Connection, vault: &Vault, endpoint: &Endpoint) -> Result<Option<i64>, StoreError> {
    let is_new = endpoint.number == 0;
    let number = if is_new {
        let Some(number) = next_number(db, endpoint.account, "endpoints")? else { return Ok(None) };
        number
    } else {
        endpoint.number
    };
    let key = pack(endpoint.account, number);
    let shape =
        serde_json::to_string(&endpoint.shape).map_err(|error| StoreError::Data(error.to_string()))?;
    let newest: Option<(i64, String, String)> = db
        .prepare_cached(
            "SELECT revision, dialect, shape FROM shapes WHERE endpoint = ? ORDER BY revision DESC LIMIT 1",
        )?
        .query_row([key], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let revision = match newest {
        Some((revision, dialect, known)) if dialect == endpoint.dialect.as_str() && known == shape => {
            revision
        }
        newest => {
            let revision = newest.map_or(1, |(revision, ..)| revision + 1);
            db.execute(
                "INSERT INTO shapes (endpoint, revision, dialect, shape) VALUES (?, ?, ?, ?)",
                params![key, revision, endpoint.dialect.as_str(), shape],
            )?;
            revision
        }
    };
    let sealed = seal(
        vault,
        &SealedEndpoint {
            url: endpoint.url.clone(),
            dialect: endpoint.dialect.as_str().to_owned(),
            shape: endpoint.shape.clone(),
            events: endpoint
                .events
                .as_ref()
                .map(|events| events.iter().map(|kind| kind.as_str().to_owned()).collect()),
            agent_id: endpoint.scope.agent_id.clone(),
            campaign_id: endpoint.scope.campaign_id.clone(),
            batch_id: endpoint.scope.batch_id.clone(),
            completed_only: endpoint.completed_only,
            ordered: endpoint.ordered,
            headers: endpoint.headers.clone(),
            timeout: endpoint.delivering.timeout,
            retry_delays: endpoint.delivering.retry_delays.clone(),
            max_in_flight: endpoint.delivering.max_in_flight,
            rate_limit: endpoint.delivering.rate_limit,
            credential: SealedCredential::of(&endpoint.credential),
        },
    )?;
    let disabled = match &endpoint.state {
        EndpointState::Active => None,
        EndpointState::Disabled { reason } => Some(reason),
    };
    if is_new {
        db.execute(
            "INSERT INTO endpoints (id, revision, sealed, disabled, created_at) VALUES (?, ?, ?, ?, ?)",
            params![key, revision, sealed, disabled, endpoint.created_at.as_micros()],
        )?;
        db.execute(
            "INSERT INTO endpoint_sums (endpoint, owed, delivered, pending, dead, cancelled) VALUES (?, 0, 0, 0, 0, 0)",
            [key],
        )?;
        return Ok(Some(number));
    }
    let changed = db.execute(
        "UPDATE endpoints SET revision = ?, sealed = ?, disabled = ? WHERE id = ? AND deleted_at IS NULL",
        params![revision, sealed, disabled, key],
    )?;
    Ok((changed == 1).then_some(number))
}

/// Disables an endpoint; says whether it was active before.
pub fn disable(db: &Connection, key: i64, reason: &str) -> Result<bool, StoreError> {
    let changed = db
        .prepare_cached(
            "UPDATE endpoints SET disabled = ? WHERE id = ? AND disabled IS NULL AND deleted_at IS NULL",
        )?
        .execute(params![reason, key])?;
    Ok(changed == 1)
}

/// Marks a source or endpoint as deleted.
pub fn delete(db: &Connection, table: &str, key: i64, now: Time) -> Result<bool, StoreError> {
    let sql = format!("UPDATE {table} SET deleted_at = ? WHERE id = ? AND deleted_at IS NULL");
    Ok(db.prepare_cached(&sql)?.execute(params![now.as_micros(), key])? == 1)
}

/// Makes a key.
pub fn create_key(
    db: &Connection,
    account: AccountKey,
    name: String,
    admin: bool,
    hash: &[u8; 32],
    now: Time,
) -> Result<ApiKey, StoreError> {
    let number = next_number(db, account, "keys")?
        .ok_or_else(|| StoreError::Data("a key for an account that does not exist".to_owned()))?;
    db.execute(
        "INSERT INTO api_keys (id, name, admin, hash, created_at) VALUES (?, ?, ?, ?, ?)",
        params![pack(account, number), name, admin, hash, now.as_micros()],
    )?;
    Ok(ApiKey { number, account, name, admin, created_at: now })
}

fn key_of(row: &rusqlite::Row<'_>) -> rusqlite::Result<ApiKey> {
    let (account, number) = unpack(row.get(0)?);
    Ok(ApiKey {
        number,
        account,
        name: row.get(1)?,
        admin: row.get(2)?,
        created_at: Time::from_micros(row.get(3)?),
    })
}

/// The key of a hash.
pub fn find_key(db: &Connection, hash: &[u8; 32]) -> Result<Option<ApiKey>, StoreError> {
    Ok(db
        .prepare_cached(
            "SELECT id, name, admin, created_at FROM api_keys WHERE hash = ? AND revoked_at IS NULL",
        )?
        .query_row([hash], key_of)
        .optional()?)
}

/// The keys of an account.
pub fn keys(db: &Connection, account: AccountKey) -> Result<Vec<ApiKey>, StoreError> {
    let mut statement = db.prepare_cached(
        "SELECT id, name, admin, created_at FROM api_keys
         WHERE id >= ? AND id < ? AND revoked_at IS NULL ORDER BY id",
    )?;
    let rows = statement.query_map([pack(account, 0), pack(AccountKey(account.0 + 1), 0)], key_of)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Revokes a key.
pub fn revoke_key(db: &Connection, account: AccountKey, number: i64, now: Time) -> Result<bool, StoreError> {
    let sql = "UPDATE api_keys SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL";
    Ok(db.prepare_cached(sql)?.execute(params![now.as_micros(), pack(account, number)])? == 1)
}
