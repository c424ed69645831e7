//! The kinds of records: how a person is erased from each, and how each is exported and imported. A new kind joins with an
//! entry in [`KINDS`] and its functions. Does not depend on who is erased and in how many steps.

use crate::ledger::tally::Dimension;
use crate::model::id::Kind;
use crate::store::StoreError;
use crate::store::export::Keys::{self, Names, Numbers};
use crate::store::lifetime::erasing::{self, Erasing};
use crate::store::lifetime::erasing_contacts;
use crate::store::transfer::export_page::ExportPage;
use crate::store::transfer::import_line::{ImportContext, LineOutcome, Refused};
use crate::store::transfer::{batches, calls, deliveries, events, names, replays, settings};

/// One step of erasing a person in a room; true when there is more.
type Erase = fn(&mut Erasing<'_, '_>) -> Result<bool, StoreError>;

/// A kind of record.
pub struct RecordKind {
    /// Its name in jobs that are under way. Never use one again for something else.
    pub name: &'static str,
    /// Does one step of erasing a person; true when there is more. `None` where no person is.
    pub erase: Option<Erase>,
    /// How its records leave and come in; `None` where they stay.
    pub carry: Option<Carry>,
}

/// How records of a room leave with an account, and come in with one.
pub struct Carry {
    /// What they go by, which tells where a cursor is.
    pub keys: Keys,
    /// The `kind` of their lines.
    pub word: &'static str,
    /// Gives a page of them.
    pub give: fn(&mut ExportPage<'_>) -> Result<(), StoreError>,
    /// Takes a line of them in.
    pub take: fn(&mut ImportContext<'_>, &str) -> Result<LineOutcome, Refused>,
}

impl Carry {
    const fn of(
        keys: Keys,
        word: &'static str,
        give: fn(&mut ExportPage<'_>) -> Result<(), StoreError>,
        take: fn(&mut ImportContext<'_>, &str) -> Result<LineOutcome, Refused>,
    ) -> Option<Self> {
        Some(Self { keys, word, give, take })
    }
}

/// Every room, in the order in which they are gone through: whatever a record points to stands before it. Only contacts
/// stand behind the calls that count for them: a call that ends between the two is then counted, not waited for.
pub const KINDS: &[RecordKind] = &[
    // First of all, so that no event is recorded of a person any more once events are gone through: contacts that are asked
    // for, or given up, are told of.
    RecordKind { name: "requests", erase: Some(erasing_contacts::erase), carry: None },
    RecordKind {
        name: "sources",
        erase: None,
        carry: Carry::of(Numbers(Kind::Source), "source", settings::give_sources, settings::take_source),
    },
    RecordKind {
        name: "endpoints",
        erase: None,
        carry: Carry::of(
            Numbers(Kind::Endpoint),
            "endpoint",
            settings::give_endpoints,
            settings::take_endpoint,
        ),
    },
    RecordKind {
        name: "campaigns",
        erase: None,
        carry: Carry::of(Names(Dimension::Campaign), "campaign", names::give_campaigns, names::take_campaign),
    },
    RecordKind {
        name: "agents",
        erase: None,
        carry: Carry::of(Names(Dimension::Agent), "agent", names::give_agents, names::take_agent),
    },
    RecordKind {
        // Erased with their contacts.
        name: "batches",
        erase: None,
        carry: Carry::of(Numbers(Kind::Batch), "batch", batches::give_batches, batches::take_batch),
    },
    RecordKind {
        name: "events",
        erase: Some(erasing::events),
        carry: Carry::of(Numbers(Kind::Event), "event", events::give, events::take),
    },
    RecordKind {
        name: "calls",
        erase: Some(erasing::calls),
        carry: Carry::of(Numbers(Kind::Call), "call", calls::give, calls::take),
    },
    RecordKind {
        name: "contacts",
        erase: Some(erasing_contacts::erase),
        carry: Carry::of(Numbers(Kind::Contact), "contact", batches::give_contacts, batches::take_contact),
    },
    RecordKind {
        name: "replays",
        erase: None,
        carry: Carry::of(Numbers(Kind::Replay), "replay", replays::give, replays::take),
    },
    RecordKind {
        // Erased with the events that they tell of.
        name: "deliveries",
        erase: None,
        carry: Carry::of(Numbers(Kind::Delivery), "delivery", deliveries::give, deliveries::take),
    },
    RecordKind { name: "quarantine", erase: Some(erasing::quarantine), carry: None },
    RecordKind { name: "answers", erase: Some(erasing::answers), carry: None },
];
