//! How each kind of record is exported and imported, one file a kind. Does not depend on how lines travel.

pub mod batches;
pub mod calls;
pub mod deliveries;
pub mod events;
pub mod export_page;
pub mod import_line;
pub mod names;
pub mod plausible;
pub mod replays;
pub mod settings;
