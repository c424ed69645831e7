//! An account leaves: each kind of record gives its lines, page by page, each page one short read. Does not depend on who asked,
//! and which secrets they may see.

use data_encoding::BASE64;

use super::kinds::KINDS;
use crate::model::id::{self, Kind, Tag};
use crate::model::{AccountKey, Time};
use crate::store::StoreError;
use crate::store::export::{AccountLine, After, Cursor, Exported, Heads, Keys, Secrets, VERSION, line};
use crate::store::packed::damaged;
use crate::store::sql::Connection;
use crate::store::transfer::export_page::{ExportPage, PageLines};
use crate::store::tx::watermarks::Watermarks;
use crate::store::vault::Vault;

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
    let carried = KINDS.iter().filter_map(|kind| kind.carry.as_ref()).collect::<Vec<_>>();
    let mut room = match &cursor.after {
        None => 0,
        Some(after) => carried
            .iter()
            .position(|carry| carry.keys == after.keys())
            .ok_or_else(|| StoreError::Unavailable("a cursor of no room".to_owned()))?,
    };
    let (mut after, edges) = (cursor.after, Watermarks::of(db, account)?);
    while let Some(carry) = carried.get(room) {
        let mut page = ExportPage {
            db,
            vault,
            account,
            tag,
            secrets,
            heads,
            edges,
            after: after.take(),
            lines: PageLines::default(),
        };
        (carry.give)(&mut page)?;
        let mut given = page.lines;
        if !given.is_empty() {
            lines.append(&mut given.lines);
            let last = match carry.keys {
                Keys::Numbers(kind) => After::Number(kind, given.last),
                Keys::Names(dimension) => After::Name(dimension, given.last_name),
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
