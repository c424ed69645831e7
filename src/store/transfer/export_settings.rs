//! Sources and endpoints on their way out.

use data_encoding::BASE64;

use super::export_page::{ExportPage, raw, time};
use crate::model::Time;
use crate::model::id::Kind;
use crate::store::StoreError;
use crate::store::config::sealed::{self, SealedCredential, SealedEndpoint, SealedSource};
use crate::store::export::{EndpointLine, Secrets, ShapeLine, SourceLine};
use crate::store::layout::keys::unpack;
use crate::store::packed::damaged;
use crate::store::sql::{Connection, OptionalExtension};

pub fn give_sources(page: &mut ExportPage<'_>) -> Result<(), StoreError> {
    let mut statement = page.db.prepare_cached(
        "SELECT id, dialect, sealed, created_at, deleted_at FROM sources
         WHERE id > ? AND id <= ? /*account of ?1*/ ORDER BY id LIMIT ?",
    )?;
    let mut rows = statement.query(page.range(i64::MAX))?;
    while let Some(row) = rows.next()? {
        let number = unpack(row.get(0)?).1;
        let packed: Vec<u8> = row.get(2)?;
        let source: SealedSource = sealed::open(page.vault, &packed)?;
        let is_there = row.get::<Option<i64>>(4)?.is_none();
        let secrets = match page.secrets {
            Secrets::Clear if is_there => Some(raw(&serde_json::to_string(&source).map_err(damaged)?)?),
            _ => None,
        };
        let fields = SourceLine {
            id: page.id(Kind::Source, number),
            name: source.name,
            dialect: row.get(1)?,
            created_at: Time::from_micros(row.get(3)?),
            deleted_at: time(row.get(4)?),
            secrets,
            sealed: (page.secrets == Secrets::Sealed && is_there).then(|| BASE64.encode(&packed)),
        };
        if !page.lines.add("source", number, &fields) {
            break;
        }
    }
    Ok(())
}

pub fn give_endpoints(page: &mut ExportPage<'_>) -> Result<(), StoreError> {
    let db = page.db;
    let mut statement = db.prepare_cached(
        "SELECT id, revision, sealed, disabled, created_at, deleted_at, of_batch FROM endpoints
         WHERE id > ? AND id <= ? /*account of ?1*/ ORDER BY id LIMIT ?",
    )?;
    let mut rows = statement.query(page.range(i64::MAX))?;
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        let packed: Vec<u8> = row.get(2)?;
        let mut settings: SealedEndpoint = sealed::open(page.vault, &packed)?;
        let is_there = row.get::<Option<i64>>(5)?.is_none();
        let has_secret = is_there && !settings.credential.is_empty();
        if page.secrets != Secrets::Clear || !is_there {
            settings.credential = SealedCredential::default();
            settings.headers.clear();
            settings.plain_headers.clear();
        }
        let gone: Option<[i64; 3]> = db
            .prepare_cached(
                "SELECT delivered, dead, cancelled FROM purged WHERE endpoint = ? /*account of ?1*/",
            )?
            .query_row([id], |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?]))
            .optional()?;
        let fields = EndpointLine {
            id: page.id(Kind::Endpoint, unpack(id).1),
            created_at: Time::from_micros(row.get(4)?),
            deleted_at: time(row.get(5)?),
            disabled: row.get(3)?,
            of_batch: row.get(6)?,
            has_secret,
            revision: row.get(1)?,
            shapes: shapes(db, id)?,
            gone: gone.unwrap_or_default(),
            settings: raw(&serde_json::to_string(&settings).map_err(damaged)?)?,
            sealed: (page.secrets == Secrets::Sealed && is_there).then(|| BASE64.encode(&packed)),
        };
        if !page.lines.add("endpoint", unpack(id).1, &fields) {
            break;
        }
    }
    Ok(())
}

fn shapes(db: &Connection, endpoint: i64) -> Result<Vec<ShapeLine>, StoreError> {
    let mut statement = db.prepare_cached(
        "SELECT revision, dialect, shape FROM shapes WHERE endpoint = ? /*account of ?1*/
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
