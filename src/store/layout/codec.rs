//! How values lie in columns: attempts in a row, codes for outcomes.
//! Refuses to know tables.

use std::time::Duration;

use crate::model::{Attempt, Outcome};

/// Attempts are JSON objects one behind the other, so that one more is an append.
pub fn pack_attempt(attempt: &Attempt) -> Vec<u8> {
    serde_json::to_vec(attempt).unwrap_or_default()
}

/// The inverse of [`pack_attempt`], for any number of them.
pub fn unpack_attempts(packed: Option<&[u8]>) -> Vec<Attempt> {
    let packed = packed.unwrap_or_default();
    serde_json::Deserializer::from_slice(packed).into_iter().map_while(Result::ok).collect()
}

/// The code of an outcome, for filters.
pub fn outcome_code(outcome: Outcome) -> i64 {
    Outcome::ALL.iter().position(|&known| known == outcome).map_or(0, |at| i64::try_from(at).unwrap_or(0))
}

/// A retention as it lies in the store.
pub fn length(micros: i64) -> Duration {
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}
