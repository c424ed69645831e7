//! The states of batches, as `given_batches.state` has them: each code is defined here alone. Statements are made of the constants
//! when they are compiled, as a partial index is used only where a statement has the code in its text. Does not depend on what
//! brings a batch from one state to another.

/// How far a batch has come. The order is that of a batch's life; the numbers are the codes in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BatchState {
    /// Its contacts are still being written; its request has no answer yet.
    Arriving = 0,
    /// All of it is on disk; contacts are taken in step by step.
    Ingesting = 1,
    /// Sealed: every contact is taken in.
    Sealed = 2,
    /// Every contact has closed.
    Completed = 3,
    /// It was stopped.
    Failed = 4,
}

/// The code of [`BatchState::Arriving`]. Every later one is of a batch that was given whole.
pub const ARRIVING: i64 = BatchState::Arriving.code();
/// The code of [`BatchState::Ingesting`].
pub const INGESTING: i64 = BatchState::Ingesting.code();
/// The code of [`BatchState::Completed`], the first of those that are over: every earlier one is of an open batch.
pub const COMPLETED: i64 = BatchState::Completed.code();

impl BatchState {
    /// Every state.
    pub const ALL: [Self; 5] = [Self::Arriving, Self::Ingesting, Self::Sealed, Self::Completed, Self::Failed];

    /// Its number in the store.
    pub const fn code(self) -> i64 {
        self as i64
    }

    /// The state of a number in the store.
    pub fn from_code(code: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.code() == code)
    }

    /// Whether it is over.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Completed | Self::Failed)
    }
}
