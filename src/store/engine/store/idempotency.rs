//! Requests that happen once, and their answers.

use crate::model::{AccountKey, Time};
use crate::store::config::idempotency_rows;
use crate::store::engine::database::{Database, SqlStore, Writing};
use crate::store::engine::writer_thread::Priority;
use crate::store::{Answer, Idempotency, Idempotent};

impl<D: Database> Idempotency for SqlStore<D> {
    fn begin_idempotent(
        &self,
        account: AccountKey,
        key: Vec<u8>,
        fingerprint: [u8; 32],
        now: Time,
    ) -> Answer<'_, Idempotent> {
        self.database.write(Priority::Api, account, move |writer| {
            writer.freeing(|writer| {
                writer.write(|db, desk| {
                    idempotency_rows::begin(db, &desk.vault, account, (&key, &fingerprint), desk.tenure, now)
                })
            })
        })
    }

    fn finish_idempotent(
        &self,
        account: AccountKey,
        key: Vec<u8>,
        answer: Option<(u16, Vec<u8>)>,
    ) -> Answer<'_, ()> {
        self.database.write(Priority::Api, account, move |writer| {
            writer.freeing(|writer| {
                writer.write(|db, desk| idempotency_rows::finish(db, &desk.vault, account, &key, answer))
            })
        })
    }
}
