//! Fetches what a group needs in one round trip, where the database is far away. Does not depend on what the group does.

use std::collections::BTreeSet;

use super::recording::Recording;
use crate::model::{AccountKey, Text};
use crate::store::batches::loaded::{
    BATCH_COLUMNS, BatchBook, CONTACT_COLUMNS, LoadedContact, Placed, id_hash, named, phone_hash,
};
use crate::store::calls::index::call_hash;
use crate::store::calls::loaded::Loaded;
use crate::store::calls::tombstones::{self, Digest, Of};
use crate::store::ingest::prepared::PreparedEvent;
use crate::store::layout::keys::{pack, unpack};
use crate::store::sql::Rows;
use crate::store::tx::head::{COLUMNS, Head};
use crate::store::{Group, Parsed, StoreError};

const CALLS: &str =
    "SELECT c.id, c.source, c.vendor_id, c.event, c.marks, COALESCE(c.record, e.body), c.counted,
         CASE WHEN c.record IS NULL THEN 0 ELSE 1 END
     FROM calls c LEFT JOIN events e
         ON c.record IS NULL AND e.id = (c.id >> 40 << 40) + c.event AND e.account = c.account
     WHERE c.hash = ANY(?) AND c.account = ANY(?)";

const LINES_OF_HASHES: &str = "SELECT call, endpoint, id, state FROM open
     WHERE call = ANY(ARRAY(SELECT id FROM calls WHERE hash = ANY(?1) AND account = ANY(?2)))
         AND account = ANY(?2)";

const LINES_OF_CALLS: &str = "SELECT call, endpoint, id, state FROM open
     WHERE call = ANY(?) AND account = ANY(@1)";

const SETTLING: &str = "SELECT id, tries, owner, attempts FROM open WHERE id = ANY(?) AND account = ANY(@1)";

const LINKS: &str = "SELECT b.batch, b.contact, b.counted, c.id
     FROM calls c LEFT JOIN batch_calls b ON b.call = c.id AND b.account = c.account
     WHERE c.hash = ANY(?1) AND c.account = ANY(@2)";

/// What a group needs, by its keys.
struct Wanted {
    /// Its accounts, in the order in which every transaction locks them.
    accounts: Vec<AccountKey>,
    /// The hashes of the calls that it tells of.
    hashes: Vec<i64>,
    /// The deliveries that it settles.
    settling: Vec<i64>,
    /// The calls whose next deliveries may go by that.
    calls: Vec<i64>,
}

impl Wanted {
    fn of(group: &Group) -> Self {
        let of_incoming = group.incoming.iter().map(|incoming| incoming.account);
        let of_settlements = group.settlements.iter().map(|settlement| settlement.endpoint.account);
        let mut accounts: Vec<AccountKey> = of_incoming.chain(of_settlements).collect();
        accounts.sort_unstable();
        accounts.dedup();
        let (mut hashes, mut settling, mut calls) = (Vec::new(), Vec::new(), Vec::new());
        for incoming in &group.incoming {
            let Parsed::Events(all) = &incoming.parsed else { continue };
            let source = pack(incoming.account, incoming.source);
            hashes.extend(all.iter().filter_map(|prepared| match prepared {
                PreparedEvent::Call(prepared) => Some(call_hash(source, prepared.call_id())),
                PreparedEvent::Batch(_) => None,
            }));
        }
        for settlement in &group.settlements {
            let account = settlement.endpoint.account;
            settling.push(pack(account, settlement.delivery));
            calls.extend(settlement.ordered_call.map(|call| pack(account, call)));
        }
        Self { accounts, hashes, settling, calls }
    }
}

impl Recording<'_> {
    /// Takes the lines of a group's accounts, in their order, and fetches what it needs.
    pub fn prepare(&mut self, group: &Group) -> Result<(), StoreError> {
        if self.tx.db.postgres().is_none() {
            return Ok(());
        }
        let Wanted { accounts, hashes, settling, calls } = Wanted::of(group);
        let with_tombstones: BTreeSet<AccountKey> =
            accounts.iter().copied().filter(|&account| self.tombstones.memory.are_in(account)).collect();
        let digests = self.digests_of(group, |account| with_tombstones.contains(&account));
        let accounts: Vec<i64> = accounts.into_iter().map(|account| account.0).collect();
        let heads = format!(
            "SELECT {COLUMNS}, account FROM accounts WHERE account = ANY(?) ORDER BY account FOR UPDATE"
        );
        let questions: [(&str, &[&[i64]]); 6] = [
            (&heads, &[&accounts]),
            (CALLS, &[&hashes, &accounts]),
            (LINES_OF_HASHES, &[&hashes, &accounts]),
            (LINES_OF_CALLS, &[&calls]),
            (SETTLING, &[&settling]),
            (tombstones::OF_HASHES, &[&digests, &accounts]),
        ];
        let Some(answers) = self.tx.db.fetch(&questions)? else { return Ok(()) };
        let Ok([mut heads, mut found, of_hashes, of_calls, open, removed]) =
            <[Rows<'static>; 6]>::try_from(answers)
        else {
            return Ok(());
        };
        while let Some(row) = heads.next()? {
            let (head, revision) = Head::of(&row)?;
            let account = AccountKey(row.get(8)?);
            self.accounts.entered(&self.tx, account, head, revision)?;
            self.tombstones.memory.note(account, head.has_tombstones);
        }
        self.tombstones.prefetched(digests, removed)?;
        // Of an account whose first tombstones are new to this thread.
        let memory = self.tombstones.memory;
        let late = |account| memory.are_in(account) && !with_tombstones.contains(&account);
        let digests = self.digests_of(group, late);
        if let Some(removed) = self.tx.db.fetch(&[(tombstones::OF_HASHES, &[&digests, &accounts])])?
            && let Some(removed) = removed.into_iter().next()
        {
            self.tombstones.prefetched(digests, removed)?;
        }
        let mut lined_up = calls;
        while let Some(row) = found.next()? {
            let id: i64 = row.get(0)?;
            let key = (row.get(1)?, Text::from_bytes(row.get::<Vec<u8>>(2)?));
            let loaded =
                Loaded::of(unpack(id).1, row.get(3)?, row.blob(4)?, row.blob(5)?, row.get(6)?, row.get(7)?)?;
            lined_up.push(id);
            self.calls.prefetched(key, loaded);
        }
        if !hashes.is_empty() {
            self.deliveries.calls_prefetched();
        }
        self.calls.asked(hashes);
        self.deliveries.lines_prefetched(lined_up, of_hashes)?;
        self.deliveries.lines_prefetched([], of_calls)?;
        self.deliveries.open_prefetched(settling, open)?;
        self.prepare_batches(group)
    }

    /// Fetches what is open of these calls, where that is not known, before many of them are looked at.
    pub fn line_up_calls(&mut self, calls: impl Iterator<Item = i64>) -> Result<(), StoreError> {
        let is_unknown = |call: &i64| !self.deliveries.is_lined_up(*call);
        let calls: Vec<i64> = calls.filter(is_unknown).collect::<BTreeSet<_>>().into_iter().collect();
        let Some(answers) = self.tx.db.fetch(&[(LINES_OF_CALLS, &[&calls])])? else { return Ok(()) };
        for lines in answers {
            self.deliveries.lines_prefetched(calls.iter().copied(), lines)?;
        }
        Ok(())
    }

    /// The hashes under which tombstones of what a group tells would be found, in some of its accounts.
    fn digests_of(&self, group: &Group, is_asked: impl Fn(AccountKey) -> bool) -> Vec<i64> {
        let mut hashes = Vec::new();
        for incoming in group.incoming.iter().filter(|incoming| is_asked(incoming.account)) {
            let Parsed::Events(all) = &incoming.parsed else { continue };
            let source = pack(incoming.account, incoming.source);
            hashes.extend(all.iter().map(|prepared| {
                let of = match prepared {
                    PreparedEvent::Call(prepared) => Of::Call(prepared.call_id()),
                    PreparedEvent::Batch(heard) => Of::Batch(&heard.batch.batch_id),
                };
                Digest::of(self.tx.vault, source, of).hash
            }));
        }
        hashes
    }

    /// Fetches what calls that name a batch of their account need. Groups without such calls pay nothing.
    fn prepare_batches(&mut self, group: &Group) -> Result<(), StoreError> {
        let (mut batches, mut contacts) = (BTreeSet::new(), BTreeSet::new());
        let (mut keys, mut calls) = (BTreeSet::new(), BTreeSet::new());
        for incoming in &group.incoming {
            let Parsed::Events(all) = &incoming.parsed else { continue };
            let (account, source) = (incoming.account, pack(incoming.account, incoming.source));
            let Some(config) = self.tx.directory.get(account) else { continue };
            for prepared in all {
                let PreparedEvent::Call(prepared) = prepared else { continue };
                let said = &prepared.book.call;
                let Some(named) = named(said, &config.account) else { continue };
                let batch = pack(account, named.batch);
                batches.insert(batch);
                contacts.extend(named.contact.map(|contact| pack(account, contact)));
                keys.extend(said.contact.id.as_ref().map(|id| id_hash(batch, id)));
                keys.extend(said.contact.phone.as_ref().map(|phone| phone_hash(batch, phone)));
                calls.insert(call_hash(source, prepared.call_id()));
            }
        }
        if batches.is_empty() {
            return Ok(());
        }
        let [batches, contacts, keys, calls] =
            [batches, contacts, keys, calls].map(|all| all.into_iter().collect::<Vec<i64>>());
        let of_batches =
            format!("SELECT {BATCH_COLUMNS} FROM given_batches WHERE id = ANY(?) AND account = ANY(@1)");
        let of_contacts =
            format!("SELECT {CONTACT_COLUMNS} FROM contacts WHERE id = ANY(?) AND account = ANY(@1)");
        let of_keys = format!(
            "SELECT {CONTACT_COLUMNS}, hash FROM contact_keys k JOIN contacts c
                 ON c.id = k.contact AND c.account = k.account
             WHERE k.hash = ANY(?1) AND k.account = ANY(@2)"
        );
        let answers = self.tx.db.fetch(&[
            (&of_batches, &[&batches]),
            (&of_contacts, &[&contacts]),
            (&of_keys, &[&keys, &batches]),
            (LINKS, &[&calls, &batches]),
        ])?;
        let answers = answers.map(<[Rows<'static>; 4]>::try_from);
        let Some(Ok([mut given, mut named, mut found, mut links])) = answers else { return Ok(()) };
        let books = &mut self.batches;
        while let Some(row) = given.next()? {
            books.batches.insert(row.get(0)?, BatchBook::of(&row)?);
        }
        books.missing.extend(batches.iter().filter(|batch| !books.batches.contains_key(batch)));
        books.contacts.extend(contacts.into_iter().map(|contact| (contact, None)));
        while let Some(row) = named.next()? {
            books.contacts.insert(row.get(0)?, Some(LoadedContact::of(&row)?));
        }
        books.keys.extend(keys.into_iter().map(|key| (key, Vec::new())));
        while let Some(row) = found.next()? {
            let id: i64 = row.get(0)?;
            books.contacts.insert(id, Some(LoadedContact::of(&row)?));
            books.keys.entry(row.get(7)?).or_default().push(id);
        }
        while let Some(row) = links.next()? {
            let link = row.get::<Option<i64>>(0)?.map(|_| Placed::of(&row)).transpose()?;
            books.links.insert(row.get(3)?, link);
        }
        Ok(())
    }
}
