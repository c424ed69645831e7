//! Which sources may report on the batches of an account. What another source says of one counts for nothing there: its
//! calls are recorded like any other, with the batch that they name as a claim. Does not depend on what a call counts for.

use std::sync::Arc;

use super::recording::Recording;
use crate::model::AccountKey;
use crate::model::id::{self, Kind};
use crate::store::batches::loaded::{Named, named_batch};
use crate::store::ingest::prepared::PreparedCall;
use crate::store::layout::keys::pack;
use crate::store::{Incoming, StoreError};

impl Recording<'_> {
    /// Whether a source may report on a batch. Nobody may report on one whose number was not handed out yet: whoever names
    /// it has guessed. One that is gone by its age is what its source calls it.
    pub fn may_report(&mut self, account: AccountKey, batch: i64, source: i64) -> Result<bool, StoreError> {
        let Some(book) = self.batch(pack(account, batch))? else {
            return self.was_given(account, batch);
        };
        if book.given.reporters.is_all() {
            return Ok(true);
        }
        let given = Arc::clone(&book.given);
        let config = self.config(account)?;
        Ok(given.reporters.include(source, config.source(source).map(|source| source.dialect)))
    }

    /// Whether a batch of this number was given once: it is there, or gone by its age.
    pub fn was_given(&mut self, account: AccountKey, number: i64) -> Result<bool, StoreError> {
        Ok((1..=self.newest_batch(account)?).contains(&number))
    }

    /// The last number of a batch that the account has handed out.
    fn newest_batch(&mut self, account: AccountKey) -> Result<i64, StoreError> {
        self.batches.newest(&self.tx, account)
    }

    /// What a body says of a call, with a batch that its source may not report on as a claim. Batch and campaign are taken out
    /// before anything follows from them: scopes of endpoints, numbers and replays go by these. `None` when there is none.
    pub fn with_claims(
        &mut self,
        incoming: &Incoming,
        prepared: &PreparedCall,
        names: Named,
    ) -> Result<Option<Arc<PreparedCall>>, StoreError> {
        let (account, config) = (incoming.account, self.config(incoming.account)?);
        let mut is_claim = |batch: Option<i64>| match batch {
            Some(batch) => self.may_report(account, batch, incoming.source).map(|may| !may),
            None => Ok(false),
        };
        let call = &prepared.book.call;
        let of_batch = is_claim(named_batch(call.batch_id.as_ref(), &config.account))?;
        let of_campaign = is_claim(named_batch(call.campaign.id.as_ref(), &config.account))?;
        let of_contact = is_claim(names.contact.map(|_| names.batch))?;
        if !of_batch && !of_campaign && !of_contact {
            return Ok(None);
        }
        let mut heard = prepared.heard();
        let batch = heard.call.batch_id.take_if(|_| of_batch);
        let campaign = heard.call.campaign.id.take_if(|_| of_campaign);
        let contacts = || id::format(Kind::Batch, config.account.tag, names.batch).into();
        heard.call.claimed_batch_id = batch.or(campaign).or_else(|| of_contact.then(contacts));
        Ok(Some(Arc::new(PreparedCall::of(heard))))
    }
}
