//! The first start: what a new store needs, made once, however many nodes start on it at the same moment, and written to
//! files of the node that makes it. Does not know which store it is, nor what is printed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::warn;

use crate::api;
use crate::clock::{Clock, random_bytes};
use crate::model::secret::{Credential, Secret};
use crate::model::{AccountKey, DialectName, Rights, Source};
use crate::store::vault::{ADMIN_KEY, DIALER_SECRET, hash_api_key};
use crate::store::{ApiKeys, Idempotent, NewKey, Store, StoreError, private_files};

/// The shortest admin key that may be set by hand.
const SHORTEST_KEY: usize = 16;
/// What nodes take turns by: an `Idempotency-Key` that no request can carry, as no header holds this first byte.
const TURN: &[u8] = b"\0first start";
/// How long one node waits for another's first start, which takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(30);
/// The name of the source behind `POST /aiDialerCallbackWithData`.
const DIALER: &str = "AI dialer callback";
/// Wait between two looks at it.
const PAUSE: Duration = Duration::from_millis(100);

/// What the first start made. Not printed by any `Debug`.
#[derive(Clone)]
pub struct FirstStart {
    /// The admin key, unless it was given.
    pub admin_key: Option<String>,
    /// Where it was written.
    pub admin_key_file: Option<PathBuf>,
    /// The secret of the source behind `POST /aiDialerCallbackWithData`.
    pub dialer_secret: String,
    /// Where it was written; `None` when that failed, which the log says.
    pub dialer_secret_file: Option<PathBuf>,
}

/// Makes what a new store needs: the source of `POST /aiDialerCallbackWithData`, and an admin key. A key that was set by
/// hand is made whenever it is not there. `None` when this was not the first start, or another node's.
///
/// # Errors
/// A sentence for the operator.
pub async fn first_start(
    store: &dyn Store,
    clock: &dyn Clock,
    data: &Path,
    admin_key: Option<&str>,
) -> Result<Option<FirstStart>, String> {
    if admin_key.is_some_and(|key| key.len() < SHORTEST_KEY) {
        return Err(format!("the admin key that was set is shorter than {SHORTEST_KEY} characters"));
    }
    let deadline = Instant::now() + PATIENCE;
    let begin = || store.begin_idempotent(AccountKey::DEFAULT, TURN.to_vec(), [0; 32], clock.now());
    loop {
        if is_done(store, admin_key).await.map_err(trouble)? {
            return Ok(None);
        }
        if begin().await.map_err(trouble)? == Idempotent::Fresh {
            break;
        }
        if Instant::now() > deadline {
            return Err("another node began the first start of this store and did not finish it; \
                        start this one again in a few minutes"
                .to_owned());
        }
        sleep(PAUSE).await;
    }
    let made = make(store, clock, data, admin_key).await;
    if let Err(error) = store.finish_idempotent(AccountKey::DEFAULT, TURN.to_vec(), None).await {
        // What was made has to be shown all the same.
        warn!(%error, "other nodes will wait in vain for this first start");
    }
    made
}

fn trouble(error: StoreError) -> String {
    error.to_string()
}

/// Whether there is nothing to make.
async fn is_done(store: &dyn ApiKeys, admin_key: Option<&str>) -> Result<bool, StoreError> {
    if store.keys(AccountKey::DEFAULT).await?.is_empty() {
        return Ok(false);
    }
    match admin_key {
        Some(key) => Ok(store.find_key(hash_api_key(key)).await?.is_some()),
        None => Ok(true),
    }
}

/// Makes what is missing. This node alone does, but another may have done it before its turn came.
async fn make(
    store: &dyn Store,
    clock: &dyn Clock,
    data: &Path,
    admin_key: Option<&str>,
) -> Result<Option<FirstStart>, String> {
    let account = AccountKey::DEFAULT;
    let is_first = store.keys(account).await.map_err(trouble)?.is_empty();
    // The keys come last: until there is one, a start that broke off begins anew.
    let dialer_secret =
        if is_first { Some(dialer_secret(store, clock).await.map_err(trouble)?) } else { None };
    if let Some(key) = admin_key
        && store.find_key(hash_api_key(key)).await.map_err(trouble)?.is_none()
    {
        let name = "admin (set by hand)".to_owned();
        store.create_key(admin(name, key, clock)).await.map_err(trouble)?;
    }
    let Some(dialer_secret) = dialer_secret else { return Ok(None) };
    let file = data.join(DIALER_SECRET);
    let dialer_secret_file = match write_private(&file, &dialer_secret) {
        Ok(()) => Some(file),
        // Who has set the admin key by hand can make another secret with it.
        Err(error) if admin_key.is_some() => {
            warn!(%error, "{} cannot be written; rotate the secret of the source \"{DIALER}\" to get one", file.display());
            None
        }
        Err(error) => return Err(unwritten(&file, &error)),
    };
    let mut made = FirstStart { admin_key: None, admin_key_file: None, dialer_secret, dialer_secret_file };
    if admin_key.is_none() {
        let key = api::auth::new_api_key();
        let file = data.join(ADMIN_KEY);
        write_private(&file, &key).map_err(|error| unwritten(&file, &error))?;
        let name = "admin".to_owned();
        store.create_key(admin(name, &key, clock)).await.map_err(trouble)?;
        made.admin_key = Some(key);
        made.admin_key_file = Some(file);
    }
    Ok(Some(made))
}

/// A key of the account `default` that may do everything and does not expire.
fn admin(name: String, key: &str, clock: &dyn Clock) -> NewKey {
    let (account, hash, created_at) = (AccountKey::DEFAULT, hash_api_key(key), clock.now());
    NewKey { account, name, rights: Rights::ALL, expires_at: None, hash, created_at }
}

/// The secret of the source behind `POST /aiDialerCallbackWithData`, which is made unless an earlier start got so far.
async fn dialer_secret(store: &dyn Store, clock: &dyn Clock) -> Result<String, StoreError> {
    let (account, dialect, now) = (AccountKey::DEFAULT, DialectName::Voicegenie, clock.now());
    let config = store.config(account);
    let earlier = config.as_ref().and_then(|config| config.sources.iter().find(|it| it.dialect == dialect));
    if let Some(secret) = earlier.and_then(|source| source.credential.signing(now)) {
        return Ok(String::from_utf8_lossy(secret.expose()).into_owned());
    }
    let secret = data_encoding::HEXLOWER.encode(&random_bytes::<32>());
    let source = Source {
        account,
        number: 0,
        id: String::new(),
        name: DIALER.to_owned(),
        dialect,
        credential: Credential::of_secret(Secret::new(secret.clone())),
        url_token: None,
        lost_after: None,
        created_at: now,
    };
    store.put_source(source, None).await?;
    Ok(secret)
}

fn write_private(path: &Path, secret: &str) -> std::io::Result<()> {
    private_files::write_whole(path, format!("{secret}\n").as_bytes())
}

fn unwritten(path: &Path, error: &std::io::Error) -> String {
    format!("cannot write {}: {error}", path.display())
}
