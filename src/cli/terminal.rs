//! Where commands write to: results to standard output, remarks to standard error. What vendors and callers have written
//! may be anywhere in it, so whatever a terminal would obey is shown escaped. Does not know what is written.

use std::io::Write;

use crate::model::printable;

/// Writes results to standard output. Unlike `println!` it does not panic when whoever reads them is gone.
///
/// # Errors
/// A sentence when they cannot be written.
pub fn say(text: &str) -> Result<(), String> {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(printable::block(text).as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| format!("cannot write to standard output: {error}"))
}

/// Writes a remark to standard error, as far as somebody reads it.
pub fn remark(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{}", printable::block(text));
}
