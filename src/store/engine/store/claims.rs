//! Claims of deliveries, for which no door waits. Which node may own what is the database's own.

use std::time::Duration;

use tokio::sync::mpsc;

use crate::model::{AccountKey, Time};
use crate::store::deliveries::open_rows;
use crate::store::engine::database::{Database, NoQueues, SqlStore, Writing};
use crate::store::engine::writer_thread::Priority;
use crate::store::reads::pages;
use crate::store::tx::purpose::Purpose;
use crate::store::{Answer, Claimed, Claims, EndpointRef, Notification, Place};

impl<D: Database> Claims for SqlStore<D> {
    fn claim(&self, endpoint: EndpointRef, now: Time, places: Vec<Place>) -> Answer<'_, Claimed> {
        self.database.write(Priority::Claim, endpoint.account, move |writer| {
            writer.for_purpose(Purpose::Settle, |writer| {
                writer.transact_ownership(|_, desk| {
                    let mut recording = desk.record(&NoQueues, now);
                    let more = recording.claim(endpoint, places)?;
                    Ok(Claimed { owned: recording.finish()?.0.owned, more })
                })
            })
        })
    }

    fn release(&self, account: AccountKey, deliveries: Vec<i64>) -> Answer<'_, ()> {
        self.database.write(Priority::Claim, account, move |writer| {
            writer.for_purpose(Purpose::Settle, |writer| {
                writer
                    .transact_ownership(|db, desk| open_rows::release(db, account, &deliveries, desk.tenure))
            })
        })
    }

    fn next_due(&self, endpoint: EndpointRef) -> Answer<'_, Option<Time>> {
        self.database.read(endpoint.account, move |db| pages::next_due(db, endpoint.account, endpoint.number))
    }

    fn outlasts(&self, attempt: Duration) -> bool {
        self.database.outlasts(attempt)
    }

    fn notifications(&self) -> Option<mpsc::UnboundedReceiver<Notification>> {
        self.database.notifications()
    }

    fn queues_emptied(&self) {
        self.database.queues_emptied();
    }
}
