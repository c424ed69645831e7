//! Values on the command line that several commands read.

use crate::model::DialectName;

/// Reads a dialect's name.
pub fn dialect_name(name: &str) -> Result<DialectName, String> {
    let names = DialectName::ALL.map(DialectName::as_str).join(", ");
    DialectName::parse(name).ok_or_else(|| format!("the dialects are {names}"))
}
