//! How bodies lie in a store: LZ4 blocks with their length in front, which any database keeps as bytes.
//! Refuses to know what is in them and where they lie.

use super::StoreError;

/// The largest value that is kept, in bytes; a body is 1 MiB unless configured.
const LARGEST: usize = 64 * 1024 * 1024;

/// What to say of stored data that cannot be read: the fault is in the data, and the store goes on without it.
pub fn damaged(why: impl std::fmt::Display) -> StoreError {
    StoreError::Data(format!("stored data is damaged: {why}"))
}

/// Packs a value.
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
///
/// # Errors
/// When it is damaged.
pub fn unpack_bytes(packed: &[u8]) -> Result<Vec<u8>, StoreError> {
    let length = packed.first_chunk::<4>().map(|bytes| u32::from_le_bytes(*bytes));
    if length.is_none_or(|length| usize::try_from(length).unwrap_or(usize::MAX) > LARGEST) {
        return Err(damaged("its length is missing or absurd"));
    }
    lz4_flex::block::decompress_size_prepended(packed).map_err(damaged)
}

/// The same as text.
///
/// # Errors
/// When it is damaged.
pub fn unpack_text(packed: &[u8]) -> Result<String, StoreError> {
    String::from_utf8(unpack_bytes(packed)?).map_err(damaged)
}
