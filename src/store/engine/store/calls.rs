//! Calls, read by number, by page or by the vendor's id.

use crate::model::AccountKey;
use crate::store::calls::index::call_hash;
use crate::store::engine::database::{Database, SqlStore};
use crate::store::layout::keys::pack;
use crate::store::reads::pages;
use crate::store::{Answer, CallFilter, CallView, Calls, Page};

impl<D: Database> Calls for SqlStore<D> {
    fn call(&self, account: AccountKey, number: i64) -> Answer<'_, Option<CallView>> {
        self.database.read(account, move |db| pages::call(db, account, number))
    }

    fn calls(&self, account: AccountKey, filter: CallFilter, page: Page) -> Answer<'_, Vec<CallView>> {
        let CallFilter { call_id, source: only, outcome } = filter;
        let Some(call_id) = call_id else {
            return self.database.read(account, move |db| pages::calls(db, account, outcome, page));
        };
        Box::pin(async move {
            let look = |source| {
                let hash = call_hash(source, &call_id);
                (source, hash, self.database.recent_calls().of(hash))
            };
            let sources = match only {
                Some(source) => vec![pack(account, source)],
                None => self.database.read(account, move |db| pages::sources(db, account)).await?,
            };
            let sources = sources.into_iter().map(look).collect();
            self.database
                .read(account, move |db| pages::calls_of_vendor_id(db, &call_id, sources, outcome, page))
                .await
        })
    }
}
