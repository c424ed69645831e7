//! The configuration that other nodes changed, read again when it is newer than what is known here: every second by the
//! keeper, and at once for whoever is about to say that something is not there. Refuses to know what is configured.

use std::time::Instant;

use tokio::sync::Mutex;

use crate::model::AccountKey;
use crate::store::config::accounts::{self, Directory};
use crate::store::sql::Connection;
use crate::store::vault::Vault;
use crate::store::{EndpointRef, StoreError};

/// Reads every account that was changed since it was read. Gives its endpoints: some may have been enabled.
pub fn read_changed(
    db: &Connection,
    directory: &Directory,
    vault: &Vault,
) -> Result<Vec<EndpointRef>, StoreError> {
    let accounts: Vec<(i64, i64)> = db
        .prepare_cached("SELECT account, revision FROM accounts")?
        .query_map((), |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    let mut touched = Vec::new();
    for (account, revision) in accounts {
        let account = AccountKey(account);
        if directory.get(account).is_none_or(|known| known.revision < revision) {
            let config = accounts::load(db, vault, account)?;
            let endpoints = config.endpoints.iter().map(|it| it.number);
            touched.extend(endpoints.map(|number| EndpointRef { account, number }));
            directory.put(config);
        }
    }
    Ok(touched)
}

/// Looks that many may share: one at a time, and whoever asked before it began need not look again.
#[derive(Debug, Default)]
pub struct Looks {
    last_began: Mutex<Option<Instant>>,
}

impl Looks {
    /// Looks, unless a look that began after this was asked for has been made meanwhile.
    pub async fn share<F: Future<Output = Result<(), StoreError>>>(
        &self,
        look: impl FnOnce() -> F,
    ) -> Result<(), StoreError> {
        let asked = Instant::now();
        let mut last_began = self.last_began.lock().await;
        if last_began.is_some_and(|began| began >= asked) {
            return Ok(());
        }
        let began = Instant::now();
        look().await?;
        *last_began = Some(began);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::join_all;
    use tokio::task::yield_now;

    use super::*;

    #[tokio::test]
    async fn whoever_asks_at_the_same_time_shares_a_look() {
        let (looks, made) = (Looks::default(), AtomicUsize::new(0));
        let look = || async {
            made.fetch_add(1, Ordering::SeqCst);
            yield_now().await;
            Ok(())
        };
        let all = join_all((0..100).map(|_| looks.share(look))).await;
        assert!(all.iter().all(Result::is_ok));
        // The first began before the others asked; one more serves all of them.
        assert_eq!(made.load(Ordering::SeqCst), 2);
        looks.share(look).await.unwrap();
        assert_eq!(made.load(Ordering::SeqCst), 3, "who asks later needs a later look");
        let away = || async { Err(StoreError::Unavailable("away".to_owned())) };
        assert!(looks.share(away).await.is_err());
    }
}
