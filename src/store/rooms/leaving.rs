//! An account on its way out: each room gives its records as lines, page by page, each page one short read.
//! Refuses to know who asked, and which secrets they may see.

use crate::store::sql::{Connection, OptionalExtension, params};
use data_encoding::BASE64;
use serde::Serialize;

use super::codec::{state_of, unpack_attempts};
use super::keys::{pack, unpack};
use super::list::ROOMS;
use super::record::{OWNED, WAITING};
use super::sealed::{self, SealedCredential, SealedEndpoint, SealedSource};
use crate::model::id::{self, Kind, Tag};
use crate::model::{AccountKey, DeliveryState, EventType, Outcome, Raw, Text, Time};
use crate::store::StoreError;
use crate::store::export::{
    AccountLine, CallLine, Cursor, DeliveryLine, EndpointLine, EventLine, Exported, Heads, Secrets,
    ShapeLine, SourceLine, VERSION, line,
};
use crate::store::packed::{damaged, unpack_bytes, unpack_text};
use crate::store::vault::Vault;

/// Records of one page, and the bytes after which it ends: each is a read of a few milliseconds.
const PAGE: i64 = 200;
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
    /// After this number.
    after: i64,
    lines: Vec<String>,
    bytes: usize,
    last: i64,
}

impl Leaving<'_> {
    /// The keys of the room's records from the place of the cursor to `head`.
    fn range(&self, head: i64) -> [i64; 3] {
        [pack(self.account, self.after), pack(self.account, head), PAGE]
    }

    fn id(&self, kind: Kind, number: i64) -> String {
        id::format(kind, self.tag, number)
    }

    /// Adds a line; false when the page is full.
    fn add(&mut self, kind: &str, number: i64, fields: &impl Serialize) -> bool {
        let line = line(kind, fields);
        self.bytes += line.len();
        self.lines.push(line);
        self.last = number;
        self.bytes < PAGE_BYTES
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
    let mut head = head(db, account)?;
    let tag = head.tag;
    let heads =
        Heads { position: head.line.position, calls: head.line.calls, deliveries: head.line.deliveries };
    let cursor = cursor.unwrap_or(Cursor { after: None, heads });
    let begins = cursor.after.is_none();
    let Heads { position, calls, deliveries } = cursor.heads;
    (head.line.position, head.line.calls, head.line.deliveries) = (position, calls, deliveries);
    let mut lines = if begins { vec![line("account", &head.line)] } else { Vec::new() };
    let carried = ROOMS.iter().filter_map(|room| room.carry.as_ref()).collect::<Vec<_>>();
    let (mut room, mut after) = match cursor.after {
        None => (0, 0),
        Some((kind, number)) => match carried.iter().position(|carry| carry.kind == kind) {
            Some(room) => (room, number),
            None => return Err(StoreError::Unavailable("a cursor of no room".to_owned())),
        },
    };
    while let Some(carry) = carried.get(room) {
        let (heads, last) = (cursor.heads, after);
        let mut leaving =
            Leaving { db, vault, account, tag, secrets, heads, after, lines: Vec::new(), bytes: 0, last };
        (carry.give)(&mut leaving)?;
        if !leaving.lines.is_empty() {
            lines.append(&mut leaving.lines);
            let next = Cursor { after: Some((carry.kind, leaving.last)), heads };
            return Ok(Exported { lines, next: Some(next) });
        }
        (room, after) = (room + 1, 0);
    }
    lines.push(line("end", &serde_json::Map::new()));
    Ok(Exported { lines, next: None })
}

struct Head {
    tag: Tag,
    line: AccountLine,
}

fn head(db: &Connection, account: AccountKey) -> Result<Head, StoreError> {
    let mut statement = db.prepare_cached(
        "SELECT tag, name, created_at, retention, transcript_retention, position, calls, deliveries, sources, endpoints,
             purged, transcripts_gone FROM accounts WHERE account = ?",
    )?;
    Ok(statement.query_row([account.0], |row| {
        let tag = Tag::from_random(row.get::<i64>(0)?.cast_unsigned());
        let line = AccountLine {
            version: VERSION,
            id: id::format(Kind::Account, tag, account.0),
            name: row.get(1)?,
            created_at: Time::from_micros(row.get(2)?),
            retention: row.get(3)?,
            transcript_retention: row.get(4)?,
            position: row.get(5)?,
            calls: row.get(6)?,
            deliveries: row.get(7)?,
            sources: row.get(8)?,
            endpoints: row.get(9)?,
            purged: row.get(10)?,
            transcripts_gone: row.get(11)?,
        };
        Ok(Head { tag, line })
    })?)
}

fn time(micros: Option<i64>) -> Option<Time> {
    micros.map(Time::from_micros)
}

/// JSON text as a value of a line.
fn raw(json: &str) -> Result<Raw, StoreError> {
    Raw::parse(json).ok_or_else(|| damaged("stored JSON is none"))
}

pub fn sources(leaving: &mut Leaving<'_>) -> Result<(), StoreError> {
    let mut statement = leaving.db.prepare_cached(
        "SELECT id, dialect, sealed, created_at, deleted_at FROM sources WHERE id > ? AND id <= ? ORDER BY id LIMIT ?",
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
        "SELECT id, revision, sealed, disabled, created_at, deleted_at FROM endpoints
         WHERE id > ? AND id <= ? ORDER BY id LIMIT ?",
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
        }
        let gone: Option<[i64; 3]> = db
            .prepare_cached("SELECT delivered, dead, cancelled FROM purged WHERE endpoint = ?")?
            .query_row([id], |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?]))
            .optional()?;
        let fields = EndpointLine {
            id: leaving.id(Kind::Endpoint, unpack(id).1),
            created_at: Time::from_micros(row.get(4)?),
            deleted_at: time(row.get(5)?),
            disabled: row.get(3)?,
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
    let mut statement = db
        .prepare_cached("SELECT revision, dialect, shape FROM shapes WHERE endpoint = ? ORDER BY revision")?;
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
         WHERE id > ? AND id <= ? ORDER BY id LIMIT ?",
    )?;
    let mut rows = statement.query(leaving.range(leaving.heads.position))?;
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
         WHERE id > ? AND id <= ? ORDER BY id LIMIT ?",
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
                .prepare_cached("SELECT previous FROM events WHERE id = ?")?
                .query_row([pack(leaving.account, event)], |row| row.get(0))
                .optional()?;
            event = previous.flatten().unwrap_or(0);
        }
        let record = record.map(|packed| raw(&unpack_text(&packed)?)).transpose()?;
        let marks: Vec<u8> = row.get(5)?;
        let outcome: Option<i64> = row.get(3)?;
        let outcome = outcome.and_then(|code| Outcome::ALL.get(usize::try_from(code).ok()?));
        let fields = CallLine {
            id: leaving.id(Kind::Call, number),
            source_id: leaving.id(Kind::Source, unpack(row.get(1)?).1),
            call_id: Text::from_bytes(row.get::<Vec<u8>>(2)?),
            outcome: outcome.map(|outcome| outcome.as_str().to_owned()),
            event: leaving.id(Kind::Event, event),
            marks: raw(&String::from_utf8_lossy(&marks))?,
            record,
            updated_at: Time::from_micros(row.get(7)?),
        };
        if !leaving.add("call", number, &fields) {
            break;
        }
    }
    Ok(())
}

/// A delivery's row in either table.
struct Row {
    endpoint: i64,
    event: i64,
    revision: i64,
    attempts: Option<Vec<u8>>,
    state: DeliveryState,
    open: Option<(Option<i64>, i64, i64)>,
}

/// Open and settled ones in the order of their numbers.
pub fn deliveries(leaving: &mut Leaving<'_>) -> Result<(), StoreError> {
    let (db, range) = (leaving.db, leaving.range(leaving.heads.deliveries));
    let mut ids: Vec<i64> = Vec::new();
    for table in ["open", "settled"] {
        let sql = format!("SELECT id FROM {table} WHERE id > ? AND id <= ? ORDER BY id LIMIT ?");
        for id in db.prepare_cached(&sql)?.query_map(range, |row| row.get(0))? {
            ids.push(id?);
        }
    }
    ids.sort_unstable();
    ids.truncate(usize::try_from(PAGE).unwrap_or(usize::MAX));
    for id in ids {
        let open = db
            .prepare_cached(
                "SELECT endpoint, event, revision, attempts, call, state, due FROM open WHERE id = ?",
            )?
            .query_row([id], |row| {
                Ok(Row {
                    endpoint: row.get(0)?,
                    event: row.get(1)?,
                    revision: row.get(2)?,
                    attempts: row.get(3)?,
                    state: DeliveryState::Pending,
                    open: Some((row.get(4)?, row.get(5)?, row.get(6)?)),
                })
            })
            .optional()?;
        let row = match open {
            Some(row) => row,
            None => db
                .prepare_cached(
                    "SELECT endpoint, event, revision, attempts, state FROM settled WHERE id = ?",
                )?
                .query_row([id], |row| {
                    Ok(Row {
                        endpoint: row.get(0)?,
                        event: row.get(1)?,
                        revision: row.get(2)?,
                        attempts: row.get(3)?,
                        state: state_of(row.get(4)?),
                        open: None,
                    })
                })?,
        };
        let body: Option<Vec<u8>> = db
            .prepare_cached("SELECT body FROM bodies WHERE delivery = ?")?
            .query_row(params![id], |row| row.get(0))
            .optional()?;
        let order = row.open.and_then(|(call, ..)| call).map(|call| unpack(call).1);
        let fields = DeliveryLine {
            id: leaving.id(Kind::Delivery, unpack(id).1),
            event_id: leaving.id(Kind::Event, row.event),
            endpoint_id: leaving.id(Kind::Endpoint, unpack(row.endpoint).1),
            revision: row.revision,
            state: row.state.as_str().to_owned(),
            due: row.open.map(|(_, _, due)| Time::from_micros(due)),
            order: order.map(|call| leaving.id(Kind::Call, call)),
            // One that is under way is as one whose turn it is: nobody owns it anywhere else.
            waits: row.open.is_some_and(|(_, state, _)| state == WAITING && state != OWNED),
            attempts: unpack_attempts(row.attempts.as_deref()),
            body: body.map(|packed| unpack_bytes(&packed)).transpose()?.map(|body| BASE64.encode(&body)),
        };
        if !leaving.add("delivery", unpack(id).1, &fields) {
            break;
        }
    }
    Ok(())
}
