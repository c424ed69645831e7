//! The ends of batches that vendors report, each recorded once, in the caller's transaction. Does not depend on how an account
//! gives batches of its own: that is `attribution`.

use super::append::EventContext;
use super::recording::Recording;
use crate::model::EventBody;
use crate::model::event::HeardBatch;
use crate::store::batches::vendor_batch_rows;
use crate::store::calls::tombstones::Of;
use crate::store::layout::keys::pack;
use crate::store::{Incoming, StoreError};

impl Recording<'_> {
    /// Records the end of a batch. Gives the deliveries planned, or `None` for a duplicate.
    pub fn hear_batch(
        &mut self,
        incoming: &Incoming,
        heard: &HeardBatch,
    ) -> Result<Option<usize>, StoreError> {
        if let Some(has_ended) = self.hear_of_given(incoming, heard)? {
            return Ok(has_ended.then_some(0));
        }
        let source = pack(incoming.account, incoming.source);
        let id = &heard.batch.batch_id;
        let mut book = vendor_batch_rows::find(self.tx.db, source, id)?;
        let Some(kind) = book.hear(heard) else { return Ok(None) };
        if self.received_before(source, Of::Batch(id))?.has_end(kind) {
            return Ok(None);
        }
        vendor_batch_rows::put(self.tx.db, source, id, book)?;
        let about = EventContext { source: Some(incoming.source), ..EventContext::default() };
        let body = EventBody::Batch(Box::new(heard.batch.clone()));
        let at = heard.at.unwrap_or(incoming.received_at);
        let (_, planned) = self.append(incoming.account, kind, at, about, body, None)?;
        Ok(Some(planned))
    }
}
