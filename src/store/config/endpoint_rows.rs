//! The rows of endpoints and of the payload options that they had, a revision each (`shapes`): every statement that writes
//! them. Does not depend on who may change an endpoint.

use super::sealed::{self, SealedEndpoint};
use super::{account_row, endpoint_counters, limits};
use crate::model::account::Limited;
use crate::model::endpoint::EndpointState;
use crate::model::{Endpoint, Time};
use crate::store::StoreError;
use crate::store::layout::keys::pack;
use crate::store::sql::{Connection, OptionalExtension, params};
use crate::store::vault::Vault;

/// Writes an endpoint; a new one has number 0. What shapes its bodies gets a new revision when it changed. Gives
/// the number, or `None` when there is no such endpoint.
pub fn put(db: &Connection, vault: &Vault, endpoint: &Endpoint) -> Result<Option<i64>, StoreError> {
    let is_new = endpoint.number == 0;
    let number = if is_new {
        let Some(number) = account_row::next_number(db, endpoint.account, "endpoints")? else {
            return Ok(None);
        };
        if !endpoint.of_batch {
            limits::check(db, endpoint.account, Limited::Endpoints)?;
        }
        number
    } else {
        endpoint.number
    };
    let key = pack(endpoint.account, number);
    let is_there = is_new
        || db
            .prepare_cached("SELECT 1 FROM endpoints WHERE id = ? /*account of ?1*/ AND deleted_at IS NULL")?
            .exists([key])?;
    if !is_there {
        return Ok(None);
    }
    let shape =
        serde_json::to_string(&endpoint.shape).map_err(|error| StoreError::Data(error.to_string()))?;
    let newest: Option<(i64, String, String)> = db
        .prepare_cached(
            "SELECT revision, dialect, shape FROM shapes WHERE endpoint = ? /*account of ?1*/
             ORDER BY revision DESC LIMIT 1",
        )?
        .query_row([key], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let revision = match newest {
        Some((revision, dialect, known)) if dialect == endpoint.dialect.as_str() && known == shape => {
            revision
        }
        newest => {
            let revision = newest.map_or(1, |(revision, ..)| revision + 1);
            db.execute(
                "INSERT INTO shapes (endpoint, revision, dialect, shape /*!, account */)
                 VALUES (?, ?, ?, ? /*!, @1 */)",
                params![key, revision, endpoint.dialect.as_str(), shape],
            )?;
            revision
        }
    };
    let sealed = sealed::seal(vault, &SealedEndpoint::of(endpoint))?;
    let disabled = match &endpoint.state {
        EndpointState::Active => None,
        EndpointState::Disabled { reason } => Some(reason),
    };
    if is_new {
        db.execute(
            "INSERT INTO endpoints (id, revision, sealed, disabled, created_at, of_batch /*!, account */)
             VALUES (?, ?, ?, ?, ?, ? /*!, @1 */)",
            params![key, revision, sealed, disabled, endpoint.created_at.as_micros(), endpoint.of_batch],
        )?;
        endpoint_counters::begin(db, key)?;
        return Ok(Some(number));
    }
    db.execute(
        "UPDATE endpoints SET revision = ?, sealed = ? WHERE id = ? /*account of ?3*/",
        params![revision, sealed, key],
    )?;
    Ok(Some(number))
}

/// Lets an endpoint be sent to; false if there is none.
pub fn enable(db: &Connection, id: i64) -> Result<bool, StoreError> {
    let sql = "UPDATE endpoints SET disabled = NULL WHERE id = ? /*account of ?1*/ AND deleted_at IS NULL";
    Ok(db.prepare_cached(sql)?.execute([id])? == 1)
}

/// Disables an endpoint; says whether it was active before.
pub fn disable(db: &Connection, id: i64, reason: &str) -> Result<bool, StoreError> {
    let changed = db
        .prepare_cached(
            "UPDATE endpoints SET disabled = ?
             WHERE id = ? /*account of ?2*/ AND disabled IS NULL AND deleted_at IS NULL",
        )?
        .execute(params![reason, id])?;
    Ok(changed == 1)
}

/// Marks an endpoint as deleted; false if there is none.
pub fn delete(db: &Connection, id: i64, now: Time) -> Result<bool, StoreError> {
    let sql = "UPDATE endpoints SET deleted_at = ? WHERE id = ? /*account of ?2*/ AND deleted_at IS NULL";
    Ok(db.prepare_cached(sql)?.execute(params![now.as_micros(), id])? == 1)
}

/// Marks a deleted endpoint as one that is owed nothing more.
pub fn set_swept(db: &Connection, id: i64) -> Result<(), StoreError> {
    db.execute("UPDATE endpoints SET swept = 1 WHERE id = ? /*account of ?1*/", [id])?;
    Ok(())
}

/// Deletes the payload options before a revision, but for the newest: those are what the next delivery gets.
pub fn delete_shapes_before(db: &Connection, endpoint: i64, revision: i64) -> Result<(), StoreError> {
    Ok(db.later(
        "DELETE FROM shapes WHERE endpoint = ?1 /*account of ?1*/ AND revision < ?2
             AND revision < (SELECT MAX(revision) FROM shapes WHERE endpoint = ?1 /*account of ?1*/)",
        [endpoint, revision],
    )?)
}

/// An endpoint as it was where it comes from.
pub struct ImportedEndpoint {
    /// Its key.
    pub id: i64,
    /// The revision of its payload options.
    pub revision: i64,
    /// Its settings, sealed.
    pub sealed: Vec<u8>,
    /// Why it is not sent to, if it is not.
    pub disabled: Option<String>,
    /// When it was made.
    pub created_at: Time,
    /// When it was deleted, if it was.
    pub deleted_at: Option<Time>,
    /// Whether a batch brought it along.
    pub of_batch: bool,
}

/// Writes an endpoint that an import brings, in place of one of the same number, whose payload options go: its own are
/// those that [`add_imported_shape`] adds after it.
pub fn put_imported(db: &Connection, endpoint: &ImportedEndpoint) -> Result<(), StoreError> {
    db.prepare_cached(
        "INSERT INTO endpoints (id, revision, sealed, disabled, created_at, deleted_at, of_batch /*!, account */)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7 /*!, @1 */)
         ON CONFLICT (id /*!, account */) DO UPDATE SET
             revision = ?2, sealed = ?3, disabled = ?4, created_at = ?5, deleted_at = ?6, of_batch = ?7, swept = 0",
    )?
    .execute(params![
        endpoint.id,
        endpoint.revision,
        endpoint.sealed,
        endpoint.disabled,
        endpoint.created_at.as_micros(),
        endpoint.deleted_at.map(Time::as_micros),
        endpoint.of_batch
    ])?;
    db.prepare_cached("DELETE FROM shapes WHERE endpoint = ? /*account of ?1*/")?.execute([endpoint.id])?;
    Ok(())
}

/// Writes payload options of an endpoint that an import brings; `shape` is JSON.
pub fn add_imported_shape(
    db: &Connection,
    endpoint: i64,
    revision: i64,
    dialect: &str,
    shape: &str,
) -> Result<(), StoreError> {
    db.prepare_cached(
        "INSERT INTO shapes (endpoint, revision, dialect, shape /*!, account */)
             VALUES (?, ?, ?, ? /*!, @1 */)",
    )?
    .execute(params![endpoint, revision, dialect, shape])?;
    Ok(())
}
