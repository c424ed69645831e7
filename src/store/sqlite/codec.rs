//! How values lie in columns: compressed JSON, attempts in a row, codes for states.
//! Refuses to know tables.

use crate::model::{Attempt, DeliveryState, Outcome};
use crate::store::StoreError;

/// The largest value that is kept; a body is 1 MiB unless configured.
const LARGEST: usize = 64 * 1024 * 1024;

/// What to say of stored data that cannot be read: the fault is in the data, and the store goes on without it.
pub fn damaged(why: impl std::fmt::Display) -> StoreError {
    StoreError::Data(format!("stored data is damaged: {why}"))
}

/// LZ4 block with its length in front.
///
/// # Errors
/// When it is too large to be unpacked again: a call that thousands of bodies added to.
pub fn pack_bytes(bytes: &[u8]) -> Result<Vec<u8>, StoreError> {
    if bytes.len() > LARGEST {
        return Err(StoreError::Data(format!("{} bytes are too many for one record", bytes.len())));
    }
    Ok(lz4_flex::block::compress_prepend_size(bytes))
}

/// The inverse of [`pack_bytes`].
pub fn unpack_bytes(packed: &[u8]) -> Result<Vec<u8>, StoreError> {
    let length = packed.first_chunk::<4>().map(|bytes| u32::from_le_bytes(*bytes));
    if length.is_none_or(|length| usize::try_from(length).unwrap_or(usize::MAX) > LARGEST) {
        return Err(damaged("its length is missing or absurd"));
    }
    lz4_flex::block::decompress_size_prepended(packed).map_err(damaged)
}

/// The same as text.
pub fn unpack_text(packed: &[u8]) -> Result<String, StoreError> {
    String::from_utf8(unpack_bytes(packed)?).map_err(damaged)
}

/// Attempts are JSON objects one behind the other, so that one more is an append.
pub fn pack_attempt(attempt: &Attempt) -> Vec<u8> {
    serde_json::to_vec(attempt).unwrap_or_default()
}

/// The inverse of [`pack_attempt`], for any number of them.
pub fn unpack_attempts(packed: Option<&[u8]>) -> Vec<Attempt> {
    let packed = packed.unwrap_or_default();
    serde_json::Deserializer::from_slice(packed).into_iter().map_while(Result::ok).collect()
}

/// The states of `settled`.
pub fn state_code(state: DeliveryState) -> i64 {
    match state {
        DeliveryState::Pending => 0,
        DeliveryState::Delivered => 1,
        DeliveryState::Dead => 2,
        DeliveryState::Cancelled => 3,
    }
}

/// The inverse of [`state_code`].
pub fn state_of(code: i64) -> DeliveryState {
    match code {
        1 => DeliveryState::Delivered,
        2 => DeliveryState::Dead,
        3 => DeliveryState::Cancelled,
        _ => DeliveryState::Pending,
    }
}

/// The code of an outcome, for filters.
pub fn outcome_code(outcome: Outcome) -> i64 {
    Outcome::ALL.iter().position(|&known| known == outcome).map_or(0, |at| i64::try_from(at).unwrap_or(0))
}
