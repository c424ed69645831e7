//! How records lie in the store: keys, codes and packed values. Does not depend on tables.

pub mod codec;
pub mod keys;
