//! What was erased on purpose: of an event, and of what receivers answered. Does not depend on who asked for it.

use super::pages;
use crate::model::id::Tag;
use crate::model::{AccountKey, Erased};
use crate::store::StoreError;
use crate::store::layout::codec::{pack_attempt, unpack_attempts};
use crate::store::sql::Connection;

/// How an attempt with an answer is told from others in its stored form.
pub const ANSWERED: &[u8] = b"\"response_body\":";

/// Attempts as they lie in a row, without what came back.
pub fn without_answers(packed: &[u8]) -> Vec<u8> {
    let mut attempts = unpack_attempts(Some(packed));
    for attempt in &mut attempts {
        attempt.response_body = None;
    }
    attempts.iter().flat_map(pack_attempt).collect()
}

/// What was removed from an event on purpose.
pub fn erased(db: &Connection, account: AccountKey, event: i64) -> Result<Option<Erased>, StoreError> {
    Ok(pages::event(db, Tag(0), account, event)?.0.body.erased())
}
