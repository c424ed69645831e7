//! Group commits: what came in and what attempts came to, in one transaction.

use std::sync::Arc;

use crate::model::AccountKey;
use crate::store::apply::recording::Recording;
use crate::store::engine::database::{Database, SqlStore, Writing};
use crate::store::engine::writer_thread::Priority;
use crate::store::tx::purpose::Purpose;
use crate::store::{Answer, Committed, Group, Ingest, Queues};

impl<D: Database> Ingest for SqlStore<D> {
    fn commit<'a>(&'a self, group: Arc<Group>, queues: Arc<dyn Queues>) -> Answer<'a, Committed> {
        self.database.write(Priority::Hot, AccountKey::NONE, move |writer| {
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
}
