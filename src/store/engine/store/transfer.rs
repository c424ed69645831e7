//! An account as lines, out of the tables and into them.

use std::sync::Arc;

use crate::model::AccountKey;
use crate::store::engine::database::{Database, SqlStore, Writing};
use crate::store::engine::writer_thread::Priority;
use crate::store::export::{Cursor, Exported, Import, Imported, Secrets};
use crate::store::records::{export, import};
use crate::store::{Answer, Transfer};

impl<D: Database> Transfer for SqlStore<D> {
    fn export(&self, account: AccountKey, secrets: Secrets, cursor: Option<Cursor>) -> Answer<'_, Exported> {
        let vault = Arc::clone(&self.vault);
        self.database.read(account, move |db| export::export(db, &vault, account, secrets, cursor))
    }

    fn import(&self, account: AccountKey, import: Import) -> Answer<'_, Imported> {
        self.database.write(Priority::Chore, account, move |writer| {
            let (imported, found) = writer.transact(|db, desk| {
                let known = import::Known { vault: &desk.vault, remembered: &desk.remembered };
                let (done, mut effects) = import::import(db, known, account, &import)?;
                desk.call_index.settle(db, &mut effects.found)?;
                Ok(((done, effects.found), effects.changed))
            })?;
            writer.desk_mut().call_index.apply(found);
            Ok(imported)
        })
    }
}
