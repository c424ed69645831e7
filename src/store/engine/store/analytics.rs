//! The numbers of an account, its campaigns and its agents.

use std::collections::BTreeMap;

use crate::ledger::Tally;
use crate::ledger::tally::Dimension;
use crate::model::{AccountKey, Text, Time};
use crate::store::analytics::{
    Grain, Mentioned, Named, Row, Setting, Span, Subject, TextPage, names, rollups,
};
use crate::store::engine::database::{Database, SqlStore, Writing};
use crate::store::engine::writer_thread::Priority;
use crate::store::{Analytics, Answer};

impl<D: Database> Analytics for SqlStore<D> {
    fn tallies(
        &self,
        account: AccountKey,
        subject: Subject,
        span: Span,
        by: Option<Grain>,
    ) -> Answer<'_, Vec<(i64, Tally)>> {
        self.database.read(account, move |db| rollups::tallies(db, account, &subject, span, by))
    }

    fn tallies_by(
        &self,
        account: AccountKey,
        dimension: Dimension,
        span: Span,
        page: TextPage,
    ) -> Answer<'_, Named> {
        self.database.read(account, move |db| rollups::tallies_by(db, account, dimension, span, &page))
    }

    fn rows(&self, account: AccountKey, recount: bool) -> Answer<'_, BTreeMap<Row, Tally>> {
        match recount {
            true => self.database.recount(account, move |db| rollups::recount(db, account)),
            false => self.database.read(account, move |db| rollups::rows(db, account, "tallies")),
        }
    }

    fn mentioned(&self, account: AccountKey, what: Dimension, id: Text) -> Answer<'_, Option<Mentioned>> {
        self.database.read(account, move |db| names::one(db, account, what, &id))
    }

    fn all_mentioned(
        &self,
        account: AccountKey,
        what: Dimension,
        page: TextPage,
    ) -> Answer<'_, Vec<Mentioned>> {
        self.database.read(account, move |db| names::all(db, account, what, &page))
    }

    fn make_mentioned(
        &self,
        account: AccountKey,
        what: Dimension,
        setting: Setting,
        now: Time,
    ) -> Answer<'_, bool> {
        self.database.write(Priority::Api, account, move |writer| {
            writer.write(|db, writer| {
                writer.remembered.forget(account, what, &setting.id);
                names::make(db, account, what, &setting, now)
            })
        })
    }

    fn put_mentioned(
        &self,
        account: AccountKey,
        what: Dimension,
        setting: Setting,
        now: Time,
    ) -> Answer<'_, bool> {
        self.database.write(Priority::Api, account, move |writer| {
            writer.write(|db, writer| {
                writer.remembered.forget(account, what, &setting.id);
                names::put(db, account, what, &setting, now)
            })
        })
    }
}
