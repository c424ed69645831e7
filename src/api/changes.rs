//! Changes to what is configured. Each is made from what is there and written only if nobody, on any node, changed the account
//! meanwhile; else it is made once more, from what is there by then. So none is lost to another one, and none brings back
//! what another one took away. Does not depend on what a change says.

use std::sync::Arc;

use super::problem::Problem;
use super::state::ApiState;
use crate::model::account::{Account, Limits};
use crate::model::{AccountKey, Endpoint, Source};
use crate::store::{AccountConfig, Answer, ConfigChanges, StoreError};

/// How often a change is made at the most: each time another one of the account was written.
const TRIES: u32 = 100;

/// What can be set.
pub trait Setting: Sized + Send {
    /// What it is when it is written.
    type Written: Send;
    /// What people call it, for a 404.
    const NAME: &'static str;
    /// Writes it, if the account's configuration is still of this revision. `None` when there is nothing of the kind.
    fn write(self, store: &dyn ConfigChanges, made_from: i64) -> Answer<'_, Option<Self::Written>>;
}

impl Setting for Endpoint {
    type Written = Arc<Self>;
    const NAME: &'static str = "endpoint";
    fn write(self, store: &dyn ConfigChanges, made_from: i64) -> Answer<'_, Option<Arc<Self>>> {
        store.put_endpoint(self, Some(made_from))
    }
}

impl Setting for Source {
    type Written = Arc<Self>;
    const NAME: &'static str = "source";
    fn write(self, store: &dyn ConfigChanges, made_from: i64) -> Answer<'_, Option<Arc<Self>>> {
        store.put_source(self, Some(made_from))
    }
}

impl Setting for (AccountKey, Limits) {
    type Written = Account;
    const NAME: &'static str = "account";
    fn write(self, store: &dyn ConfigChanges, made_from: i64) -> Answer<'_, Option<Account>> {
        store.set_limits(self.0, self.1, Some(made_from))
    }
}

/// Writes what `make` makes of an account's configuration. Gives it as it is written, with what else `make` gave.
///
/// # Errors
/// What `make` refuses; 404 when it is not there; 409 when others changed the account each time.
pub async fn change<S: Setting, T: Send>(
    state: &ApiState,
    account: AccountKey,
    mut make: impl FnMut(&AccountConfig) -> Result<(S, T), Problem> + Send,
) -> Result<(S::Written, T), Problem> {
    let missing = || Problem::not_found(S::NAME);
    for _ in 0..TRIES {
        let config = state.store.config(account).ok_or_else(missing)?;
        let (setting, beside) = make(&config)?;
        match setting.write(&*state.store, config.revision).await {
            Err(StoreError::Stale) => state.store.catch_up().await?,
            written => return Ok((written?.ok_or_else(missing)?, beside)),
        }
    }
    let detail =
        "The settings of this account were changed by others each time. Nothing was changed: try again.";
    Err(Problem::conflict("changed_meanwhile", detail))
}
