//! The kinds of records, and what goes through all of them: erasure, export, import.

pub mod erase;
pub mod export;
pub mod import;
pub mod kinds;
