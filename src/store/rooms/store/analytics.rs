//! The numbers of an account, its campaigns and its agents.

use std::collections::BTreeMap;

use crate::ledger::Tally;
use crate::ledger::tally::Dimension;
use crate::model::{AccountKey, Text, Time};
use crate::store::analytics::{Grain, Mentioned, Named, Row, Setting, Span, Subject, TextPage};
use crate::store::rooms::database::{Database, RoomStore, Writing};
use crate::store::rooms::thread::Lane;
use crate::store::rooms::{mentioned, tallies};
use crate::store::{Analytics, Answer};

impl<D: Database> Analytics for RoomStore<D> {
    fn tallies(
        &self,
        account: AccountKey,
        subject: Subject,
        span: Span,
        by: Option<Grain>,
    ) -> Answer<'_, Vec<(i64, Tally)>> {
        self.database.read(account, move |db| tallies::tallies(db, account, &subject, span, by))
    }

    fn tallies_by(
        &self,
        account: AccountKey,
        dimension: Dimension,
        span: Span,
        page: TextPage,
    ) -> Answer<'_, Named> {
        self.database.read(account, move |db| tallies::tallies_by(db, account, dimension, span, &page))
    }

    fn rows(&self, account: AccountKey, recount: bool) -> Answer<'_, BTreeMap<Row, Tally>> {
        match recount {
            true => self.database.recount(account, move |db| tallies::recount(db, account)),
            false => self.database.read(account, move |db| tallies::rows(db, account, "tallies")),
        }
    }

    fn mentioned(&self, account: AccountKey, what: Dimension, id: Text) -> Answer<'_, Option<Mentioned>> {
        self.database.read(account, move |db| mentioned::one(db, account, what, &id))
    }

    fn all_mentioned(
        &self,
        account: AccountKey,
        what: Dimension,
        page: TextPage,
    ) -> Answer<'_, Vec<Mentioned>> {
        self.database.read(account, move |db| mentioned::all(db, account, what, &page))
    }

    fn make_mentioned(
        &self,
        account: AccountKey,
        what: Dimension,
        setting: Setting,
        now: Time,
    ) -> Answer<'_, bool> {
        self.database.write(Lane::Api, account, move |writer| {
            writer.write(|db, writer| {
                writer.remembered.forget(account, what, &setting.id);
                mentioned::make(db, account, what, &setting, now)
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
        self.database.write(Lane::Api, account, move |writer| {
            writer.write(|db, writer| {
                writer.remembered.forget(account, what, &setting.id);
                mentioned::put(db, account, what, &setting, now)
            })
        })
    }
}
