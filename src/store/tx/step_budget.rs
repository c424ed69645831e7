//! How much one step of a removal may do: a few milliseconds. Does not depend on what is removed.

/// Rows of one table that a step removes at most, and the bytes in them: a few milliseconds.
pub const STEP: i64 = 250;
const STEP_BYTES: i64 = 2 << 20;

/// What a step may remove yet.
pub struct Budget {
    rows: i64,
    bytes: i64,
}

impl Budget {
    /// That of a fresh step.
    pub fn new() -> Self {
        Self { rows: STEP, bytes: STEP_BYTES }
    }

    /// Takes a row of so many bytes; false when the budget is used up. Even the largest row fits a fresh one.
    pub fn take(&mut self, bytes: i64) -> bool {
        let is_left = self.rows > 0 && self.bytes > 0;
        self.rows -= 1;
        self.bytes -= bytes;
        is_left
    }
}
