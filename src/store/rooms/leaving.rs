//! An account on its way out: each room gives its records as lines, page by page, each page one short read.
//! Refuses to know who asked, and which secrets they may see.

use crate::store::sql::{Connection, OptionalExtension};
use data_encoding::BASE64;
use serde::Serialize;

use super::edges::Edges;
use super::keys::{pack, unpack};
use super::list::ROOMS;
use super::moving_batches;
use super::sealed::{self, SealedCredential, SealedEndpoint, SealedSource};
use super::spans;
use crate::model::id::{self, Kind, Tag};
use crate::model::{AccountKey, EventType, Outcome, Raw, Text, Time};
use crate::store::StoreError;
use crate::store::export::{
    AccountLine, After, CallLine, Cursor, EndpointLine, EventLine, Exported, Heads, Keys, Secrets, ShapeLine,
    SourceLine, VERSION, line,
};
use crate::store::packed::{damaged, unpack_text};
use crate::store::vault::Vault;

/// Records of one page, and the bytes after which it ends: each is a read of a few milliseconds.
pub const PAGE: i64 = 200;
const PAGE_BYTES: usize = 1 << 20;

/// What a room works with while it gives its records.
pub struct Leaving<'a> {
    /// The snapshot.
    pub db: &'a Connection,
    /// Opens what is sealed.
    pub vault: &'a Vault,
    /// Whose.
    pub account: AccountKey,
    /// Its mark in ids.
    pub tag: Tag,
    /// What of secrets goes along.
    pub secrets: Secrets,
    /// How far.
    pub heads: Heads,
    /// What is gone.
    pub(super) edges: Edges,
    after: Option<After>,
    lines: Vec<String>,
    bytes: usize,
    last: i64,
    last_name: Text,
}

impl Leaving<'_> {
    /// The number of the last record that was given; 0 at the beginning of a room.
    pub(super) fn after(&self) -> i64 {
        match self.after {
            Some(After::Number(_, number)) => number,
            _ => 0,
        }
    }

    /// The same where records go by names.
    pub(super) fn after_name(&self) -> &[u8] {
        match &self.after {
            Some(After::Name(_, name)) => name.as_bytes(),
            _ => b"",
        }
    }

    /// The keys of the room's records from the place of the cursor to `head`.
    pub(super) fn range(&self, head: i64) -> [i64; 3] {
        [pack(self.account, self.after()), pack(self.account, head), PAGE]
    }

    pub(super) fn id(&self, kind: Kind, number: i64) -> String {
        id::format(kind, self.tag, number)
    }

    /// Adds a line; false when the page is full.
    pub(super) fn add(&mut self, kind: &str, number: i64, fields: &impl Serialize) -> bool {
        let line = line(kind, fields);
        self.bytes += line.len();
        self.lines.push(line);
        self.last = number;
        self.bytes < PAGE_BYTES
    }

    /// The same where records go by names.
    pub(super) fn add_named(&mut self, kind: &str, name: Text, fields: &impl Serialize) -> bool {
        self.last_name = name;
        self.add(kind, 0, fields)
    }

    /// Whether nothing was given yet.
    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }
}

/// The next page of an account's lines. Without a cursor it begins with the account itself.
pub fn export(
    db: &Connection,
    vault: &Vault,
    account: AccountKey,
    secrets: Secrets,
    cursor: Option<Cursor>,
) -> Result<Exported, StoreError> {
    let mut head = head(db, vault, account, secrets)?;
    let tag = head.tag;
    let heads = Heads {
        position: head.line.position,
        calls: head.line.calls,
        deliveries: head.line.deliveries,
        batches: head.line.batches,
    };
    let cursor = cursor.unwrap_or(Cursor { after: None, heads });
    let heads = cursor.heads;
    (head.line.position, head.line.calls) = (heads.position, heads.calls);
    (head.line.deliveries, head.line.batches) = (heads.deliveries, heads.batches);
    let mut lines = if cursor.after.is_none() { vec![line("account", &head.line)] } else { Vec::new() };
    let carried = ROOMS.iter().filter_map(|room| room.carry.as_ref()).collect::<Vec<_>>();
    let mut room = match &cursor.after {
        None => 0,
        Some(after) => carried
            .iter()
            .position(|carry| carry.keys == after.keys())
            .ok_or_else(|| StoreError::Unavailable("a cursor of no room".to_owned()))?,
    };
    let (mut after, edges) = (cursor.after, Edges::of(db, account)?);
    while let Some(carry) = carried.get(room) {
        let mut leaving = Leaving {
            db,
            vault,
            account,
            tag,
            secrets,
            heads,
            edges,
            after: after.take(),
            lines: Vec::new(),
            bytes: 0,
            last: 0,
            last_name: Text::default(),
        };
        (carry.give)(&mut leaving)?;
        if !leaving.lines.is_empty() {
            lines.append(&mut leaving.lines);
            let last = match carry.keys {
                Keys::Numbers(kind) => After::Number(kind, leaving.last),
                Keys::Names(dimension) => After::Name(dimension, leaving.last_name),
            };
            return Ok(Exported { lines, next: Some(Cursor { after: Some(last), heads }) });
        }
        room += 1;
    }
    lines.push(line("end", &serde_json::Map::new()));
    Ok(Exported { lines, next: None })
}

struct Head {
    tag: Tag,
    line: AccountLine,
}

fn head(db: &Connection, vault: &Vault, account: AccountKey, secrets: Secrets) -> Result<Head, StoreError> {
    let mut statement = db.prepare_cached(
        "SELECT tag, name, created_at, retention, transcript_retention, position, calls, deliveries, sources, endpoints,
             purged, transcripts_gone, batches, replays, call_credit, batch_secret, repeat_memory FROM accounts WHERE account = ?",
    )?;
    let (mut head, secret) = statement.query_row([account.0], |row| {
        let tag = Tag::from_random(row.get::<i64>(0)?.cast_unsigned());
        let line = AccountLine {
            version: VERSION,
            id: id::format(Kind::Account, tag, account.0),
            name: row.get(1)?,
            created_at: Time::from_micros(row.get(2)?),
            retention: row.get(3)?,
            transcript_retention: row.get(4)?,
            repeat_memory: row.get(16)?,
            position: row.get(5)?,
            calls: row.get(6)?,
            deliveries: row.get(7)?,
            sources: row.get(8)?,
            endpoints: row.get(9)?,
            purged: row.get(10)?,
            transcripts_gone: row.get(11)?,
            batches: row.get(12)?,
            replays: row.get(13)?,
            call_credit: row.get(14)?,
            batch_secret: None,
            batch_secret_sealed: None,
        };
        Ok((Head { tag, line }, row.get::<Option<Vec<u8>>>(15)?))
    })?;
    match (secrets, secret) {
        (Secrets::Clear, Some(sealed)) => {
            let secret = vault.open(&sealed).map_err(damaged)?;
            head.line.batch_secret = Some(BASE64.encode(&secret));
        }
        (Secrets::Sealed, Some(sealed)) => head.line.batch_secret_sealed = Some(BASE64.encode(&sealed)),
        _ => {}
    }
    Ok(head)
}

pub(super) fn time(micros: Option<i64>) -> Option<Time> {
    micros.map(Time::from_micros)
}

/// JSON text as a value of a line.
pub(super) fn raw(json: &str) -> Result<Raw, StoreError> {
    Raw::parse(json).ok_or_else(|| damaged("stored JSON is none"))
}

pub fn sources(leaving: &mut Leaving<'_>) -> Result<(), StoreError> {
    let mut statement = leaving.db.prepare_cached(
        "SELECT id, dialect, sealed, created_at, deleted_at FROM sources
         WHERE id > ? AND id <= ? /*! AND account = @1 */ ORDER BY id LIMIT ?",
    )?;
    let mut rows = statement.query(leaving.range(i64::MAX))?;
    while let Some(row) = rows.next()? {
        let number = unpack(row.get(0)?).1;
        let packed: Vec<u8> = row.get(2)?;
        let source: SealedSource = sealed::open(leaving.vault, &packed)?;
        let is_there = row.get::<Option<i64>>(4)?.is_none();
        let secrets = match leaving.secrets {
            Secrets::Clear if is_there => Some(raw(&serde_json::to_string(&source).map_err(damaged)?)?),
            _ => None,
        };
        let fields = SourceLine {
            id: leaving.id(Kind::Source, number),
            name: source.name,
            dialect: row.get(1)?,
            created_at: Time::from_micros(row.get(3)?),
            deleted_at: time(row.get(4)?),
            secrets,
            sealed: (leaving.secrets == Secrets::Sealed && is_there).then(|| BASE64.encode(&packed)),
        };
        if !leaving.add("source", number, &fields) {
            break;
        }
    }
    Ok(())
}

pub fn endpoints(leaving: &mut Leaving<'_>) -> Result<(), StoreError> {
    let db = leaving.db;
    let mut statement = db.prepare_cached(
        "SELECT id, revision, sealed, disabled, created_at, deleted_at, of_batch FROM endpoints
         WHERE id > ? AND id <= ? /*! AND account = @1 */ ORDER BY id LIMIT ?",
    )?;
    let mut rows = statement.query(leaving.range(i64::MAX))?;
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        let packed: Vec<u8> = row.get(2)?;
        let mut settings: SealedEndpoint = sealed::open(leaving.vault, &packed)?;
        let is_there = row.get::<Option<i64>>(5)?.is_none();
        let has_secret = is_there && !settings.credential.is_empty();
        if leaving.secrets != Secrets::Clear || !is_there {
            settings.credential = SealedCredential::default();
            settings.headers.clear();
            settings.plain_headers.clear();
        }
        let gone: Option<[i64; 3]> = db
            .prepare_cached(
                "SELECT delivered, dead, cancelled FROM purged WHERE endpoint = ? /*! AND account = @1 */",
            )?
            .query_row([id], |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?]))
            .optional()?;
        let fields = EndpointLine {
            id: leaving.id(Kind::Endpoint, unpack(id).1),
            created_at: Time::from_micros(row.get(4)?),
            deleted_at: time(row.get(5)?),
            disabled: row.get(3)?,
            of_batch: row.get(6)?,
            has_secret,
            revision: row.get(1)?,
            shapes: shapes(db, id)?,
            gone: gone.unwrap_or_default(),
            settings: raw(&serde_json::to_string(&settings).map_err(damaged)?)?,
            sealed: (leaving.secrets == Secrets::Sealed && is_there).then(|| BASE64.encode(&packed)),
        };
        if !leaving.add("endpoint", unpack(id).1, &fields) {
            break;
        }
    }
    Ok(())
}

fn shapes(db: &Connection, endpoint: i64) -> Result<Vec<ShapeLine>, StoreError> {
    let mut statement = db.prepare_cached(
        "SELECT revision, dialect, shape FROM shapes WHERE endpoint = ? /*! AND account = @1 */
             ORDER BY revision",
    )?;
    let mut rows = statement.query([endpoint])?;
    let mut shapes = Vec::new();
    while let Some(row) = rows.next()? {
        let shape = raw(&row.get::<String>(2)?)?;
        shapes.push(ShapeLine { revision: row.get(0)?, dialect: row.get(1)?, shape });
    }
    Ok(shapes)
}

pub fn events(leaving: &mut Leaving<'_>) -> Result<(), StoreError> {
    let mut statement = leaving.db.prepare_cached(
        "SELECT id, kind, at, source, call, previous, test, first_delivery, deliveries, body FROM events
         WHERE id > ? AND id <= ? /*! AND account = @1 */ ORDER BY id LIMIT ?",
    )?;
    let [after, head, page] = leaving.range(leaving.heads.position);
    let mut rows = statement.query([after.max(leaving.edges.before_events()), head, page])?;
    while let Some(row) = rows.next()? {
        let number = unpack(row.get(0)?).1;
        let kind = EventType::from_code(row.get(1)?).ok_or_else(|| damaged("unknown event type"))?;
        let id = |kind, number: Option<i64>| number.map(|number| leaving.id(kind, number));
        let fields = EventLine {
            id: leaving.id(Kind::Event, number),
            kind: kind.as_str().to_owned(),
            timestamp: Time::from_micros(row.get(2)?),
            source_id: id(Kind::Source, row.get(3)?),
            call: id(Kind::Call, row.get(4)?),
            previous: id(Kind::Event, row.get(5)?),
            test: row.get(6)?,
            first_delivery: leaving.id(Kind::Delivery, row.get(7)?),
            deliveries: row.get(8)?,
            data: raw(&unpack_text(row.blob(9)?)?)?,
        };
        if !leaving.add("event", number, &fields) {
            break;
        }
    }
    Ok(())
}

pub fn calls(leaving: &mut Leaving<'_>) -> Result<(), StoreError> {
    let db = leaving.db;
    let mut statement = db.prepare_cached(
        "SELECT id, source, vendor_id, outcome, event, marks, record, updated_at FROM calls
         WHERE id > ? AND id <= ? /*! AND account = @1 */ ORDER BY id LIMIT ?",
    )?;
    let mut rows = statement.query(leaving.range(leaving.heads.calls))?;
    while let Some(row) = rows.next()? {
        let number = unpack(row.get(0)?).1;
        let mut event: i64 = row.get(4)?;
        let mut record: Option<Vec<u8>> = row.get(6)?;
        // What was heard of it since the export began is left out.
        while event > leaving.heads.position {
            record = None;
            let previous: Option<Option<i64>> = db
                .prepare_cached("SELECT previous FROM events WHERE id = ? /*! AND account = @1 */")?
                .query_row([pack(leaving.account, event)], |row| row.get(0))
                .optional()?;
            event = spans::before(event, previous.flatten()).unwrap_or(0);
        }
        let record = record.map(|packed| raw(&unpack_text(&packed)?)).transpose()?;
        let marks: Vec<u8> = row.get(5)?;
        let outcome: Option<i64> = row.get(3)?;
        let outcome = outcome.and_then(|code| Outcome::ALL.get(usize::try_from(code).ok()?));
        let moving_batches::Placing { counts_for, counted, lost_at } =
            moving_batches::placing(leaving, row.get(0)?)?;
        let fields = CallLine {
            id: leaving.id(Kind::Call, number),
            source_id: leaving.id(Kind::Source, unpack(row.get(1)?).1),
            call_id: Text::from_bytes(row.get::<Vec<u8>>(2)?),
            outcome: outcome.map(|outcome| outcome.as_str().to_owned()),
            event: leaving.id(Kind::Event, event),
            marks: raw(&String::from_utf8_lossy(&marks))?,
            record,
            updated_at: Time::from_micros(row.get(7)?),
            counts_for,
            counted,
            lost_at,
        };
        if !leaving.add("call", number, &fields) {
            break;
        }
    }
    Ok(())
}
